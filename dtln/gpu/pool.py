"""Segments on the GPU, drawn by processes and paired anew for every batch."""

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

from dtln.mixing.mixer import PEAK_LIMIT, Mixer

BLOCK_SEGMENTS = 64  # that a process draws before it hands them over
BLOCKS_AHEAD = 3  # for each process
INT16_PEAK = 32000.0  # of what lies in the pool; levels are drawn when it is mixed


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
        return mix_batch(
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
