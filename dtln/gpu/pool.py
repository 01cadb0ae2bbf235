"""Segments on the GPU, drawn by processes of the host and paired anew for every batch."""

from __future__ import annotations

import contextlib
import itertools
import mmap
import multiprocessing
import queue
import threading
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dtln.errors import SettingsError
from dtln.mixing.mixer import PEAK_LIMIT, Mixer

BLOCK_SEGMENTS = 64  # segments that a process draws before it hands them over
BLOCKS_AHEAD = 3  # for each process
INT16_PEAK = 32000.0  # peak of a segment in the pool; levels are drawn when it is mixed
POLL_SECONDS = 1.0  # between two looks at whether the processes are alive


def mix_batch(speech: Tensor, noise: Tensor, snr_db: Tensor, level_dbfs: Tensor) -> tuple[Tensor, Tensor]:
    """`dtln.mixing.mix` for a batch: signals (B, L) of any scale, SNR and level (B,) -> (noisy, clean), (B, L) each."""
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

    size: segments kept, rounded down to whole blocks. `batch` pairs any speech with any noise. Use it as a context: the
    processes run inside it. They are forked, so make it before CUDA is first used. Raises SettingsError for a mixer
    whose targets or clipping depend on the pairing, and on systems that cannot fork.
    """

    def __init__(self, mixer: Mixer, size: int, processes: int, seed: int) -> None:
        if mixer.room_target != "reverberant" or any(name.startswith("clipping") for name in mixer.augmentations):
            raise SettingsError(
                "speech and noise are paired after they are drawn: expected the room target reverberant, and no "
                "clipping among the augmentations"
            )
        if mixer.snr_over != "all":
            raise SettingsError(
                f"SNRs over {mixer.snr_over} frames are not computed on a GPU: leave --snr-over, or take --engine keras"
            )
        if "fork" not in multiprocessing.get_all_start_methods():
            raise SettingsError("training on a GPU forks the processes that mix, which this system cannot: use Linux")
        self.mixer, self.size = mixer, max(1, size // BLOCK_SEGMENTS) * BLOCK_SEGMENTS
        self.uploaded = 0  # segments so far; the pool holds the last ones
        blocks, shape = processes * BLOCKS_AHEAD, (2, BLOCK_SEGMENTS, mixer.segment_length)
        shared = mmap.mmap(-1, blocks * int(np.prod(shape)) * 2)  # parent and children see the same memory
        self._blocks = np.frombuffer(shared, np.int16).reshape(blocks, *shape)
        context = multiprocessing.get_context("fork")
        self._free: multiprocessing.Queue[int] = context.Queue()
        self._ready: multiprocessing.Queue[int] = context.Queue()
        for block in range(blocks):
            self._free.put(block)
        self._processes = [
            context.Process(target=self._draw, args=(seed, number), daemon=True) for number in range(processes)
        ]
        self._thread: threading.Thread | None = None
        self._ending = threading.Event()
        self._failure: BaseException | None = None

    def _draw(self, seed: int, number: int) -> None:
        for count in itertools.count():
            block = self._free.get()
            rng = np.random.default_rng([seed, number, count])
            for row in range(BLOCK_SEGMENTS):
                segment = self.mixer.segment(rng)
                for part, signal in enumerate((segment.speech, segment.noise)):
                    peak = max(float(np.abs(signal).max()), 1e-9)
                    self._blocks[block, part, row] = np.rint(signal * (INT16_PEAK / peak))
            self._ready.put(block)

    def __enter__(self) -> SegmentPool:
        for process in self._processes:
            process.start()
        return self

    def open(self, device: torch.device, first: int) -> None:
        """Waits for the first segments, at most as many as fit. Raises RuntimeError where a process ends before."""
        self.device = device
        self._pool = torch.zeros((2, self.size, self.mixer.segment_length), dtype=torch.int16, device=device)
        self._filled = torch.zeros((), device=device)
        while self.uploaded < min(first, self.size):
            self._upload()

    def start(self) -> None:
        """Begins to replace segments while batches are drawn; not before a CUDA graph has been recorded."""
        self._thread = threading.Thread(target=self._keep_uploading, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises the exception that ended the replacing of segments, if one did."""
        if self._failure is not None:
            raise self._failure

    def _keep_uploading(self) -> None:
        own: Any = contextlib.nullcontext()
        try:
            if self.device.type == "cuda":  # in a stream that does not wait behind the kernels of the steps
                own = torch.cuda.stream(torch.cuda.Stream(self.device, priority=-1))
            with own:
                while not self._ending.is_set():
                    self._upload()
        except BaseException as error:  # an exception ends only this thread: `check` raises it in the other one
            self._failure = error

    def _upload(self) -> None:
        """Copies the next block to the device; returns without one when the pool is ending."""
        block = None
        while block is None:
            if self._ending.is_set():
                return
            if not all(process.is_alive() for process in self._processes):
                raise RuntimeError(
                    "a process that draws segments has ended. What it printed says why; if it printed nothing, memory "
                    "may have run out"
                )
            with contextlib.suppress(queue.Empty):
                block = self._ready.get(timeout=POLL_SECONDS)
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
        return mix_batch(
            self._pool[0].index_select(0, places[0]),
            self._pool[1].index_select(0, places[1]),
            snr_low + (snr_high - snr_low) * draws[0],
            level_low + (level_high - level_low) * draws[1],
        )

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        if self._thread is not None:
            self._thread.join()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join()
