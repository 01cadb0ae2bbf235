"""Training of DTLN networks on one CUDA GPU, in a fraction of the time that Keras takes; needs PyTorch.

A step through Keras spends most of its time in Python and in starting thousands of small kernels: the LSTMs go block by
block. Here

- mixing, network, loss, gradient and optimizer of a step are recorded once as a CUDA graph and replayed from then on;
- several networks train side by side on the same batches: one alone fills a small part of the GPU;
- processes of the host draw segments with `dtln_mixing.Mixer`; speech and noise lie apart in a pool on the GPU, where
  every step pairs some of them anew, at a new SNR and level. So the host need not keep up.

The network (`denoise`), the loss and the optimizer are those of `DTLN_model.py` and Keras, written once more in plain
PyTorch: Keras's own would not go into a CUDA graph. tests/cuda_training.py holds the two together. On a CPU everything
runs, too, step by step, for tests.

Shapes in comments: B signals, L samples, T blocks, N block length, S block shift, F = N // 2 + 1 frequency bins,
E encoder size, U LSTM units, P segments in the pool.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import mmap
import multiprocessing
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dtln_mixing import PEAK_LIMIT, Mixer
from dtln_weights import EPSILON, DTLNConfig

# ----------------------------------------------------------------------------------------------------------------------
# Network and loss
# ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parts:
    """The parts of the network that a GPU spends its time on: plain PyTorch, or what is faster on CUDA."""

    lstm: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    magnitudes: Callable[[Tensor], Tensor]
    normalised: Callable[[Tensor, Tensor, Tensor], Tensor]
    masked: Callable[[Tensor, Tensor], Tensor]
    negative_snr: Callable[[Tensor, Tensor], Tensor]
    overlap_add: Callable[[Tensor, int], Tensor]


def denoise(
    weights: Sequence[Tensor],
    config: DTLNConfig,
    noisy: Tensor,
    dropout: float = 0.0,
    dtype: torch.dtype = torch.float32,
    parts: Parts | None = None,
) -> Tensor:
    """The batch graph of `DTLN_model.build_network`: signals of whole shifts (B, L) -> (B, L).

    weights: in the order of `.h5` files. dropout: of the outputs of every LSTM of a core but the last. dtype: of the
    cores; the signal stays float32. parts: plain PyTorch unless given.
    """
    parts, rest = parts or PLAIN, iter(weights)
    blocks = noisy.unfold(1, config.block_length, config.block_shift)  # (B, T, N)
    spectrum = torch.view_as_real(torch.fft.rfft(blocks))  # (B, T, F, 2)
    features = parts.magnitudes(spectrum)  # (B, T, F)
    if config.norm_stft:
        features = parts.normalised(torch.log(features + EPSILON), next(rest), next(rest))
    logits = _logits(features.to(dtype), rest, config, dropout, parts)  # (B, T, F)
    spectrum = torch.view_as_complex(parts.masked(spectrum, logits[..., None]))
    blocks = torch.fft.irfft(spectrum, n=config.block_length)  # (B, T, N)
    encoded = blocks @ next(rest)[0]  # (B, T, E)
    features = parts.normalised(encoded, next(rest), next(rest)).to(dtype)
    logits = _logits(features, rest, config, dropout, parts)  # (B, T, E)
    return parts.overlap_add(parts.masked(encoded, logits) @ next(rest)[0], config.block_shift)  # (B, L)


def _logits(features: Tensor, weights: Iterator[Tensor], config: DTLNConfig, dropout: float, parts: Parts) -> Tensor:
    """`DTLN_model.SeparationCore` without its activation: (B, T, C) -> (B, T, mask size)."""
    for layer in range(config.lstm_layers):
        kernel, recurrent, bias = (next(weights).to(features.dtype) for _ in range(3))
        excess = -features.shape[-1] % 8  # 257 features in half precision go slowly, 264 do not
        if excess:
            features, kernel = functional.pad(features, (0, excess)), functional.pad(kernel, (0, 0, 0, excess))
        features = parts.lstm(features, kernel, recurrent, bias)  # (B, T, U)
        if layer < config.lstm_layers - 1:
            features = functional.dropout(features, dropout, training=dropout > 0)
    return features @ next(weights).to(features.dtype) + next(weights).to(features.dtype)


def _magnitudes(spectrum: Tensor) -> Tensor:
    """(B, T, F, 2) -> (B, T, F)."""
    return torch.sqrt(spectrum.square().sum(dim=-1))


def _normalised(features: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    """`DTLN_model.InstantLayerNormalization`: (B, T, C) -> (B, T, C)."""
    centred = features - features.mean(dim=-1, keepdim=True)
    variance = centred.square().mean(dim=-1, keepdim=True)  # (B, T, 1)
    return centred * torch.rsqrt(variance + EPSILON) * gain + bias


def _masked(signal: Tensor, logits: Tensor) -> Tensor:
    """The signal, float32, times the sigmoid of the logits."""
    return signal * torch.sigmoid(logits.float())


def _lstm(features: Tensor, kernel: Tensor, recurrent: Tensor, bias: Tensor) -> Tensor:
    """A Keras LSTM from zero states: (B, T, C) -> (B, T, U) through PyTorch's operator (on CUDA cuDNN's)."""
    # both keep the gates in the order i, f, c, o; PyTorch's matrices are transposed and its bias comes in two
    weights = [kernel.T.contiguous(), recurrent.T.contiguous(), bias, torch.zeros_like(bias)]
    state = features.new_zeros(1, features.shape[0], recurrent.shape[0])
    return torch.lstm(features, (state, state), weights, True, 1, 0.0, torch.is_grad_enabled(), False, True)[0]


def _overlap_add(blocks: Tensor, block_shift: int) -> Tensor:
    """`DTLN_model.overlap_add` for blocks of whole shifts: (B, T, N) -> (B, (T - 1) * S + N)."""
    batch, count, block_length = blocks.shape
    pieces = block_length // block_shift
    blocks = blocks.reshape(batch, count, pieces, block_shift)
    shifted = [functional.pad(blocks[:, :, i], (0, 0, i, pieces - 1 - i)) for i in range(pieces)]
    return sum(shifted[1:], shifted[0]).reshape(batch, -1)


def negative_snr(target: Tensor, estimate: Tensor) -> Tensor:
    """`DTLN_model.negative_snr`, the paper's loss, in dB: (B, L), (B, L) -> (B,)."""
    power = target.square().mean(dim=-1)
    error = (target - estimate).square().mean(dim=-1)
    power = torch.where(power > 0, power, EPSILON)
    return -10.0 / math.log(10.0) * (torch.log(power) - torch.log(error + EPSILON))


PLAIN = Parts(_lstm, _magnitudes, _normalised, _masked, negative_snr, _overlap_add)


def compiled_parts() -> Parts:
    """What Triton makes of them, for CUDA: the LSTMs of `dtln_triton.py`, and each of the others one kernel or two."""
    import dtln_triton

    others = (_magnitudes, _normalised, _masked, negative_snr, _overlap_add)
    return Parts(dtln_triton.lstm, *(torch.compile(part, dynamic=False) for part in others))


# ----------------------------------------------------------------------------------------------------------------------
# Optimizer
# ----------------------------------------------------------------------------------------------------------------------

MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5
UPDATE_RMS = 0.2
ADAM_BETAS = (0.9, 0.999)
ADAM_EPSILON = 1e-7


class Muon:
    """`keras.optimizers.Muon` as run_training.py sets it up: Muon for matrices, Adam for all other weights.

    weights are changed in place. adam_share: Adam's learning rate over Muon's; clip_norm: of the gradient of each
    weight. Everything it depends on lies in tensors, so that a step can be recorded.
    """

    def __init__(self, weights: Sequence[Tensor], adam_share: float = 1.0, clip_norm: float = 3.0) -> None:
        self.weights, self.adam_share, self.clip_norm = list(weights), adam_share, clip_norm
        self.momenta = [torch.zeros_like(w) for w in self.weights]
        self.velocities = [torch.zeros_like(w) for w in self.weights if w.ndim != 2]
        self.steps = torch.zeros((), device=self.weights[0].device)

    @property
    def state(self) -> list[Tensor]:
        """All that a step changes, the weights first."""
        return [*self.weights, *self.momenta, *self.velocities, self.steps]

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], rate: Tensor) -> None:
        """One step with a learning rate ()."""
        self.steps += 1
        beta_1, beta_2 = ADAM_BETAS
        adam_rate = rate * self.adam_share * torch.sqrt(1 - beta_2**self.steps) / (1 - beta_1**self.steps)
        velocities = iter(self.velocities)
        for weight, gradient, momentum in zip(self.weights, gradients, self.momenta, strict=True):
            norm = gradient.norm()
            scale = torch.where(torch.isfinite(norm), self.clip_norm / norm.clamp(min=self.clip_norm), 0.0)
            gradient = torch.nan_to_num(gradient) * scale  # what is not finite moves nothing, rather than everything
            if weight.ndim == 2:
                momentum.mul_(MOMENTUM).add_(gradient)
                update = _orthogonalised(gradient + MOMENTUM * momentum)
                weight.sub_(rate * (UPDATE_RMS * math.sqrt(max(weight.shape))) * update)
            else:
                velocity = next(velocities)
                momentum.lerp_(gradient, 1 - beta_1)
                velocity.lerp_(gradient.square(), 1 - beta_2)
                weight.sub_(adam_rate * momentum / (velocity.sqrt() + ADAM_EPSILON))


def _orthogonalised(matrix: Tensor) -> Tensor:
    """The nearest orthogonal matrix, roughly, by Newton-Schulz steps: Jordan et al., "Muon", 2024."""
    a, b, c = NEWTON_SCHULZ
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


# ----------------------------------------------------------------------------------------------------------------------
# Segments: drawn by processes, kept in a pool, paired on the device
# ----------------------------------------------------------------------------------------------------------------------

BLOCK_SEGMENTS = 64  # that a process draws before it hands them over
BLOCKS_AHEAD = 3  # for each process
INT16_PEAK = 32000.0  # of what lies in the pool; levels are drawn when it is mixed


def mix(speech: Tensor, noise: Tensor, snr_db: Tensor, level_dbfs: Tensor) -> tuple[Tensor, Tensor]:
    """`dtln_mixing.mix` for a batch: signals (B, L) of any scale, SNR and level (B,) -> (noisy, clean), (B, L) each."""
    speech, noise = speech.float(), noise.float()
    speech_power, noise_power = (part.square().mean(dim=-1) for part in (speech, noise))  # (B,)
    scale = torch.sqrt(speech_power / noise_power) * 10 ** (-snr_db / 20)
    both = (speech_power > 0) & (noise_power > 0)
    noisy = speech + noise * torch.where(both, scale, 1.0)[:, None]
    power = noisy.square().mean(dim=-1)
    peak = torch.maximum(noisy.abs().amax(dim=-1), speech.abs().amax(dim=-1))
    gain = torch.minimum(10 ** (level_dbfs / 20) / torch.sqrt(power), PEAK_LIMIT / peak)
    gain = torch.where(power > 0, gain, 1.0)[:, None]
    return noisy * gain, speech * gain


class SegmentPool:
    """Segments of speech and of noise on a device, and the processes that keep replacing them.

    size: segments kept, rounded down to whole blocks. `batch` pairs any speech with any noise. Use it as a context:
    the processes run in between. They are forked, so make it before CUDA is first used. Raises ValueError for a mixer
    whose targets or clipping depend on the pairing.
    """

    def __init__(self, mixer: Mixer, size: int, processes: int, seed: int) -> None:
        if mixer.room_target != "reverberant" or any(name.startswith("clipping") for name in mixer.augmentations):
            raise ValueError(
                "speech and noise are paired after they are drawn: expected the room target reverberant, and no "
                "clipping among the augmentations"
            )
        self.mixer, self.size = mixer, max(1, size // BLOCK_SEGMENTS) * BLOCK_SEGMENTS
        self.uploaded = 0  # segments, of which the pool holds the last ones
        blocks, shape = processes * BLOCKS_AHEAD, (2, BLOCK_SEGMENTS, mixer.segment_length)
        shared = mmap.mmap(-1, blocks * int(np.prod(shape)) * 2)  # seen by parent and children alike
        self._blocks = np.frombuffer(shared, np.int16).reshape(blocks, *shape)
        context = multiprocessing.get_context("fork")
        self._free, self._ready = context.Queue(), context.Queue()
        for block in range(blocks):
            self._free.put(block)
        self._processes = [
            context.Process(target=self._draw, args=(seed, number), daemon=True) for number in range(processes)
        ]

    def _draw(self, seed: int, number: int) -> None:
        for count in itertools.count():
            block = self._free.get()
            rng = np.random.default_rng([seed, number, count])
            for row in range(BLOCK_SEGMENTS):
                draw = self.mixer.parts(rng)
                for part, signal in enumerate((draw.speech, draw.noise)):
                    peak = max(float(np.abs(signal).max()), 1e-9)
                    self._blocks[block, part, row] = np.rint(signal * (INT16_PEAK / peak))
            self._ready.put(block)

    def __enter__(self) -> SegmentPool:
        for process in self._processes:
            process.start()
        return self

    def open(self, device: torch.device, first: int) -> None:
        """Waits for the first segments, at most as many as fit. RuntimeError where a process ended before they came."""
        self.device = device
        self._pool = torch.zeros((2, self.size, self.mixer.segment_length), dtype=torch.int16, device=device)
        self._filled = torch.zeros((), device=device)
        while self.uploaded < min(first, self.size):
            self._upload()

    def start(self) -> None:
        """Begins to replace segments while batches are drawn; not before a CUDA graph has been recorded."""
        threading.Thread(target=self._keep_uploading, daemon=True).start()

    def _keep_uploading(self) -> None:
        own: Any = contextlib.nullcontext()
        if self.device.type == "cuda":
            own = torch.cuda.stream(torch.cuda.Stream(self.device, priority=-1))  # not behind the kernels of the steps
        with own:
            while True:
                self._upload()

    def _upload(self) -> None:
        while True:
            with contextlib.suppress(queue.Empty):
                block = self._ready.get(timeout=5.0)
                break
            if not all(process.is_alive() for process in self._processes):
                raise RuntimeError("a process that draws segments has ended; what it printed says why")
        start = self.uploaded % self.size
        self._pool[:, start : start + BLOCK_SEGMENTS] = torch.from_numpy(self._blocks[block]).to(self.device)
        self._free.put(block)
        self.uploaded += BLOCK_SEGMENTS
        if self.uploaded <= self.size:
            self._filled.fill_(self.uploaded)

    def batch(self, count: int) -> tuple[Tensor, Tensor]:
        """(noisy, clean), float32 (count, L) each, of PyTorch's generator. It can be recorded."""
        places = (torch.rand((2, count), device=self.device) * self._filled).long()
        draws = torch.rand((2, count), device=self.device)
        (snr_low, snr_high), (level_low, level_high) = self.mixer.snr_db, self.mixer.level_dbfs
        return mix(
            self._pool[0].index_select(0, places[0]),
            self._pool[1].index_select(0, places[1]),
            snr_low + (snr_high - snr_low) * draws[0],
            level_low + (level_high - level_low) * draws[1],
        )

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join()


# ----------------------------------------------------------------------------------------------------------------------
# Training loop
# ----------------------------------------------------------------------------------------------------------------------


@dataclass
class TrainedNetwork:
    """One of the networks that train side by side.

    weights: float32, in the order of `.h5` files; learning_rate: the highest of the schedule.
    """

    name: str
    config: DTLNConfig
    weights: list[Tensor]
    learning_rate: float
    adam_share: float = 1.0
    clip_norm: float = 3.0

    def __post_init__(self) -> None:
        self.weights = [weight.detach().clone().requires_grad_() for weight in self.weights]
        self.optimizer = Muon(self.weights, self.adam_share, self.clip_norm)
        self.loss = torch.zeros((), device=self.weights[0].device)  # sum over the steps since it was last read

    def step(self, noisy: Tensor, clean: Tensor, shape: Tensor, dtype: torch.dtype, parts: Parts = PLAIN) -> None:
        """One step on a batch, at `shape` () times the highest rate."""
        estimate = denoise(self.weights, self.config, noisy, self.config.dropout, dtype, parts)
        loss = parts.negative_snr(clean, estimate).mean()
        self.optimizer.step(torch.autograd.grad(loss, self.weights), shape * self.learning_rate)
        self.loss += loss.detach()

    @torch.no_grad()
    def validate(self, noisy: Tensor, clean: Tensor, batch_size: int, dtype: torch.dtype) -> float:
        """The mean loss in dB over signals (B, L), without dropout."""
        losses = [
            negative_snr(target, denoise(self.weights, self.config, signal, dtype=dtype))
            for signal, target in zip(noisy.split(batch_size), clean.split(batch_size), strict=True)
        ]
        return float(torch.cat(losses).mean())


class Steps:
    """Steps of networks on the batches of a pool: on CUDA a recorded graph, the networks side by side in it."""

    def __init__(
        self,
        networks: Sequence[TrainedNetwork],
        pool: SegmentPool,
        batch_size: int,
        dtype: torch.dtype,
        graph: bool = False,
        parts: Parts = PLAIN,
    ) -> None:
        self.networks, self.pool, self.batch_size, self.dtype, self.parts = networks, pool, batch_size, dtype, parts
        self.shape = torch.zeros((), device=pool.device)
        self._noisy, self._clean = (
            torch.zeros((batch_size, pool.mixer.segment_length), device=pool.device) for _ in range(2)
        )
        self._replay: Callable[[], None] = self._eager
        if graph:
            self._streams = [torch.cuda.Stream() for _ in networks]
            self._record()

    def _mix(self) -> None:
        for kept, new in zip((self._noisy, self._clean), self.pool.batch(self.batch_size), strict=True):
            kept.copy_(new)

    def _eager(self) -> None:
        self._mix()
        for network in self.networks:
            network.step(self._noisy, self._clean, self.shape, self.dtype, self.parts)

    def _side_by_side(self) -> None:
        self._mix()
        main = torch.cuda.current_stream()
        for network, stream in zip(self.networks, self._streams, strict=True):
            stream.wait_stream(main)
            with torch.cuda.stream(stream):
                network.step(self._noisy, self._clean, self.shape, self.dtype, self.parts)
        for stream in self._streams:
            main.wait_stream(stream)

    def _record(self) -> None:
        before = [tensor.detach().clone() for network in self.networks for tensor in network.optimizer.state]
        warm_up = torch.cuda.Stream()
        warm_up.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(warm_up):
            for _ in range(3):  # plans, handles and workspaces are made here
                self._side_by_side()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._side_by_side()
        self._replay = graph.replay
        after = [tensor for network in self.networks for tensor in network.optimizer.state]
        with torch.no_grad():
            for tensor, value in zip(after, before, strict=True):
                tensor.copy_(value)
        for network in self.networks:
            network.loss.zero_()

    def take(self, shape: float) -> None:
        """One step of every network, at `shape` times its highest rate. Does not wait for the GPU."""
        self.shape.fill_(shape)
        self._replay()


def schedule(progress: float, step: int, warmup_steps: int) -> float:
    """The learning rate over the highest: a warm-up over steps, then half a cosine over the whole training.

    progress: from 0 to 1.
    """
    return min(1.0, (step + 1) / max(1, warmup_steps)) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
