"""Training steps of several networks side by side, recorded as a CUDA graph."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dtln.gpu.losses import Loss, negative_snr
from dtln.gpu.network import PLAIN, Operations, denoise
from dtln.gpu.optimizer import Muon
from dtln.gpu.pool import SegmentPool
from dtln.weights import DTLNConfig

STEPS_AHEAD = 2  # of the GPU: enough for it never to wait, few enough to end within half a second


@dataclass
class TrainedNetwork:
    """One of the networks that train side by side.

    weights: float32, in the order of `.h5` files. learning_rate: the highest of the schedule. ema: as `Muon` takes it.
    """

    name: str
    config: DTLNConfig
    weights: list[Tensor]
    learning_rate: float
    adam_share: float = 1.0
    clip_norm: float = 3.0
    ema: float = 0.0

    def __post_init__(self) -> None:
        self.weights = [weight.detach().clone().requires_grad_() for weight in self.weights]
        self.optimizer = Muon(self.weights, self.adam_share, self.clip_norm, self.ema)
        device = self.weights[0].device
        self.loss = torch.zeros((), device=device)  # sum over the steps since it was last read
        self.rate_share = torch.ones((), device=device)  # of the learning rate that is left: `set_back` halves it
        self.good = [tensor.detach().clone() for tensor in self.optimizer.state]

    @property
    def state(self) -> list[Tensor]:
        """All that its next steps and the log of them depend on."""
        sums = [self.loss, self.optimizer.largest, self.optimizer.left_out]
        return [*self.optimizer.state, self.rate_share, *sums, *self.good]

    @property
    def validated(self) -> list[Tensor]:
        """The weights that are validated and written: their moving average, if there is one."""
        return self.optimizer.averages or self.weights

    def step(
        self,
        noisy: Tensor,
        clean: Tensor,
        shape: Tensor,
        dtype: torch.dtype,
        operations: Operations = PLAIN,
        loss: Loss = negative_snr,
    ) -> None:
        """One step on a batch, at `shape` () times the highest rate."""
        estimate = denoise(self.weights, self.config, noisy, self.config.dropout, dtype, operations)
        mean = loss(clean, estimate).mean()
        rate = shape * self.rate_share * self.learning_rate
        self.optimizer.step(torch.autograd.grad(mean, self.weights), rate)
        self.loss += mean.detach()

    @torch.no_grad()
    def validate(
        self, noisy: Tensor, clean: Tensor, batch_size: int, dtype: torch.dtype, loss: Loss = negative_snr
    ) -> float:
        """The mean loss in dB over signals (B, L), without dropout."""
        losses = [
            loss(target, denoise(self.validated, self.config, signal, dtype=dtype))
            for signal, target in zip(noisy.split(batch_size), clean.split(batch_size), strict=True)
        ]
        return float(torch.cat(losses).mean())

    @torch.no_grad()
    def keep(self) -> None:
        """Keeps the state as a good one."""
        for kept, tensor in zip(self.good, self.optimizer.state, strict=True):
            kept.copy_(tensor)

    @torch.no_grad()
    def set_back(self) -> None:
        """Takes the last good state again, with half the learning rate from here on."""
        for tensor, kept in zip(self.optimizer.state, self.good, strict=True):
            tensor.copy_(kept)
        self.rate_share /= 2

    @torch.no_grad()
    def begin_sums(self) -> None:
        """Sets to 0 what is summed from one validation to the next."""
        for total in (self.loss, self.optimizer.largest, self.optimizer.left_out):
            total.zero_()


class Steps:
    """Steps of networks on the batches of a pool. graph: on CUDA, record a step with all networks and replay it."""

    def __init__(
        self,
        networks: Sequence[TrainedNetwork],
        pool: SegmentPool,
        batch_size: int,
        dtype: torch.dtype,
        graph: bool = False,
        operations: Operations = PLAIN,
        loss: Loss = negative_snr,
    ) -> None:
        self.networks, self.pool, self.batch_size = networks, pool, batch_size
        self.dtype, self.operations, self.loss = dtype, operations, loss
        self._under_way: deque[torch.cuda.Event] = deque()
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
            network.step(self._noisy, self._clean, self.shape, self.dtype, self.operations, self.loss)

    def _side_by_side(self) -> None:
        self._mix()
        main = torch.cuda.current_stream()
        for network, stream in zip(self.networks, self._streams, strict=True):
            stream.wait_stream(main)
            with torch.cuda.stream(stream):
                network.step(self._noisy, self._clean, self.shape, self.dtype, self.operations, self.loss)
        for stream in self._streams:
            main.wait_stream(stream)

    def _record(self) -> None:
        before = [tensor.detach().clone() for network in self.networks for tensor in network.state]
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
        after = [tensor for network in self.networks for tensor in network.state]
        with torch.no_grad():
            for tensor, value in zip(after, before, strict=True):
                tensor.copy_(value)

    def take(self, shape: float) -> None:
        """One step of every network, at `shape` times its highest rate.

        On CUDA it waits until no more than STEPS_AHEAD steps are under way: clock and interrupts must not run far ahead
        of the GPU.
        """
        self.shape.fill_(shape)
        self._replay()
        if self.shape.is_cuda:
            self._under_way.append(torch.cuda.Event(blocking=True))  # it leaves the core to the mixing
            self._under_way[-1].record()
            if len(self._under_way) > STEPS_AHEAD:
                self._under_way.popleft().synchronize()


def schedule(progress: float, step: int, warmup_steps: int) -> float:
    """The learning rate as a share of the highest: a linear warm-up, times half a cosine over the whole training.

    progress: from 0 to 1.
    """
    return min(1.0, (step + 1) / max(1, warmup_steps)) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
