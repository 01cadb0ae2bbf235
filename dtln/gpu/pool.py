"""Segments on the GPU, drawn by processes of the host and paired anew for every batch."""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
import mmap
import multiprocessing
import queue
import signal
import threading
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dtln.errors import SettingsError
from dtln.gpu.settings import BLOCK_SEGMENTS, blocks_kept
from dtln.mixing.mixer import PEAK_LIMIT, Mixer
from dtln.mixing.segment import Segment

BLOCKS_AHEAD = 3  # for each process, and as many on the device
INT16_PEAK = 32000.0  # peak of a segment in the pool; levels are drawn when it is mixed
POLL_SECONDS = 0.2  # between two looks at whether the processes are alive
UNDRAWN_DB = 1e6  # SNR and level of segments in the pool: what is near it afterwards was moved, anything else was set
MIXTURE_VALUES = 6  # of `mixture_values`


def mixture_values(segment: Segment) -> tuple[float, ...]:
    """What the augmentations of a segment ask of its mixture, where its SNR and level began at UNDRAWN_DB.

    (1 where the drawn SNR counts, else 0; dB on top; the same two of the level; 1 where full scale may be exceeded,
    else 0; offset).
    """

    def share_and_rest(value: float) -> tuple[float, float]:
        return (1.0, value - UNDRAWN_DB) if value > UNDRAWN_DB / 2 else (0.0, value)

    return (
        *share_and_rest(segment.snr_db),
        *share_and_rest(segment.level_dbfs),
        float(segment.over_full_scale),
        float(segment.offset),
    )


def mix_batch(
    speech: Tensor,
    noise: Tensor,
    snr_db: Tensor,
    level_dbfs: Tensor,
    over_full_scale: Tensor | None = None,
    offset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`dtln.mixing.Mixer.draw` after the augmentations, for a batch: (noisy, clean), (B, L) each.

    speech, noise: (B, L) of any scale. snr_db, level_dbfs: (B,). over_full_scale: (B,), above 0 where the mixture may
    exceed it. offset: (B,), added to the mixture.
    """
    speech, noise = speech.float(), noise.float()
    speech_power, noise_power = (part.square().mean(dim=-1) for part in (speech, noise))  # (B,)
    scale = torch.sqrt(speech_power / noise_power) * 10 ** (-snr_db / 20)
    both = (speech_power > 0) & (noise_power > 0)
    noisy = speech + noise * torch.where(both, scale, 1.0)[:, None]
    power = noisy.square().mean(dim=-1)
    peak = torch.maximum(noisy.abs().amax(dim=-1), speech.abs().amax(dim=-1))
    limit = PEAK_LIMIT / peak
    if over_full_scale is not None:
        limit = torch.where(over_full_scale > 0, math.inf, limit)
    gain = torch.minimum(10 ** (level_dbfs / 20) / torch.sqrt(power), limit)
    gain = torch.where(power > 0, gain, 1.0)[:, None]
    noisy, clean = noisy * gain, speech * gain
    return noisy if offset is None else noisy + offset[:, None], clean


class SegmentPool:
    """Segments of speech and of noise on a device, and the processes that keep replacing them.

    size: segments kept, rounded down to whole blocks. Block number N holds the segments of the seed [seed, N], whatever
    the number of processes, and lies where N modulo the pool's blocks says; first_block: the first one that is drawn.
    `batch` pairs any speech with any noise; what augmentations ask of the mixture goes with the noise. Use it as a
    context: the processes run inside it. They are forked, so make it before CUDA is first used. Raises SettingsError
    for a mixer whose targets or clipping depend on the pairing, and on systems that cannot fork.
    """

    def __init__(self, mixer: Mixer, size: int, processes: int, seed: int, first_block: int = 0) -> None:
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
        self.mixer, self.blocks_kept = mixer, blocks_kept(size)
        self.size = self.blocks_kept * BLOCK_SEGMENTS
        self.first_block = self.next_block = first_block  # next: the first one that is not in the pool yet
        self._undrawn = copy.copy(mixer)
        self._undrawn.snr_db = self._undrawn.level_dbfs = (UNDRAWN_DB, UNDRAWN_DB)
        shape = (processes, BLOCKS_AHEAD, 2, BLOCK_SEGMENTS, mixer.segment_length)
        self._audio = _shared(np.int16, shape)
        self._values = _shared(np.float32, (processes, BLOCKS_AHEAD, BLOCK_SEGMENTS, MIXTURE_VALUES))
        context = multiprocessing.get_context("fork")
        self._free = [context.Semaphore(BLOCKS_AHEAD) for _ in range(processes)]
        self._ready = [context.Semaphore(0) for _ in range(processes)]
        self._processes = [
            context.Process(target=self._draw, args=(seed, number), daemon=True) for number in range(processes)
        ]
        self._fetched = 0  # blocks taken from the processes
        self._staged: queue.Queue[tuple[Tensor, Tensor]] = queue.Queue(BLOCKS_AHEAD)
        self._thread: threading.Thread | None = None
        self._ending = threading.Event()
        self._failure: BaseException | None = None

    @property
    def uploaded(self) -> int:
        """Segments that have come into the pool so far; it holds the last ones."""
        return (self.next_block - self.first_block) * BLOCK_SEGMENTS

    def _draw(self, seed: int, number: int) -> None:
        # what the program does at signals is not for its processes: a fork inherits it, and would wake the program
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the program ends them
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for count in itertools.count():
            self._free[number].acquire()
            place = count % BLOCKS_AHEAD
            rng = np.random.default_rng([seed, self.first_block + count * len(self._processes) + number])
            for row in range(BLOCK_SEGMENTS):
                segment = self._undrawn.segment(rng)
                self._values[number, place, row] = mixture_values(segment)
                for part, samples in enumerate((segment.speech, segment.noise)):
                    peak = max(float(np.abs(samples).max()), 1e-9)
                    self._audio[number, place, part, row] = np.rint(samples * (INT16_PEAK / peak))
            self._ready[number].release()

    def __enter__(self) -> SegmentPool:
        for process in self._processes:
            process.start()
        return self

    def open(self, device: torch.device, until: int) -> None:
        """Waits for the first blocks, all before number `until`. Raises RuntimeError where a process ends before."""
        self.device = device
        self._pool = torch.zeros((2, self.size, self.mixer.segment_length), dtype=torch.int16, device=device)
        self._pool_values = torch.zeros((self.size, MIXTURE_VALUES), device=device)
        self._filled = torch.zeros((), device=device)
        while self.next_block < until:
            block = self._fetch()
            assert block is not None
            self._enter(block)

    def start(self) -> None:
        """Begins to fetch further blocks; not before a CUDA graph has been recorded."""
        self._thread = threading.Thread(target=self._keep_fetching, daemon=True)
        self._thread.start()

    def advance(self, until: int | None = None) -> None:
        """Replaces the oldest segments by those that have arrived or, with `until`, by all blocks before that number.

        It waits for the latter. Between two steps it may be called as often as wanted. Raises the exception that ended
        the fetching of blocks, if one did: the pool would go stale.
        """
        while until is None or self.next_block < until:
            if self._failure is not None:
                raise self._failure
            try:
                block = self._staged.get(block=until is not None, timeout=POLL_SECONDS)
            except queue.Empty:
                if until is None:
                    return
            else:
                self._enter(block)

    def _keep_fetching(self) -> None:
        own: Any = contextlib.nullcontext()
        try:
            if self.device.type == "cuda":  # in a stream that does not wait behind the kernels of the steps
                own = torch.cuda.stream(torch.cuda.Stream(self.device, priority=-1))
            with own:
                while (block := self._fetch()) is not None:
                    while not self._ending.is_set():
                        with contextlib.suppress(queue.Full):
                            self._staged.put(block, timeout=POLL_SECONDS)
                            break
        except BaseException as error:  # an exception ends only this thread: `advance` raises it in the other one
            self._failure = error

    def _fetch(self) -> tuple[Tensor, Tensor] | None:
        """The next block, on the device; None when the pool is ending."""
        count, number = divmod(self._fetched, len(self._processes))
        while not self._ready[number].acquire(timeout=POLL_SECONDS):
            if self._ending.is_set():
                return None
            if not all(process.is_alive() for process in self._processes):
                raise RuntimeError(
                    "a process that draws segments has ended. What it printed says why; if it printed nothing, memory "
                    "may have run out"
                )
        if self._ending.is_set():
            return None
        place = count % BLOCKS_AHEAD
        # copies, also on a CPU: the process may write there at once. From such memory, CUDA copies before it returns
        audio, values = (
            torch.from_numpy(part[number, place]).to(self.device, copy=True) for part in (self._audio, self._values)
        )
        self._free[number].release()
        self._fetched += 1
        return audio, values

    def _enter(self, block: tuple[Tensor, Tensor]) -> None:
        """Copies a block into the pool, in the stream of the steps: before the next one, after the one before."""
        start = self.next_block % self.blocks_kept * BLOCK_SEGMENTS
        places = slice(start, start + BLOCK_SEGMENTS)
        if self.device.type == "cuda":
            for part in block:  # made in another stream, which must not use its memory again too early
                part.record_stream(torch.cuda.current_stream())
        self._pool[:, places].copy_(block[0])
        self._pool_values[places].copy_(block[1])
        self.next_block += 1
        if self.uploaded <= self.size:
            self._filled.fill_(self.uploaded)

    def batch(self, count: int) -> tuple[Tensor, Tensor]:
        """(noisy, clean), float32 (count, L) each, of PyTorch's generator. It can be recorded."""
        places = (torch.rand((2, count), device=self.device) * self._filled).long()
        return self.pairs(places, torch.rand((2, count), device=self.device))

    def pairs(self, places: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        """(noisy, clean), float32 (B, L) each.

        places: of speech and noise in the pool, (2, B). draws: of SNR and level between the ends of the mixer's
        ranges, from 0 to 1, (2, B); augmentations that set SNR or level win.
        """
        (snr_low, snr_high), (level_low, level_high) = self.mixer.snr_db, self.mixer.level_dbfs
        values = self._pool_values.index_select(0, places[1]).T  # (MIXTURE_VALUES, B)
        snr_share, snr_db, level_share, level_dbfs, over_full_scale, offset = values
        return mix_batch(
            self._pool[0].index_select(0, places[0]),
            self._pool[1].index_select(0, places[1]),
            snr_share * (snr_low + (snr_high - snr_low) * draws[0]) + snr_db,
            level_share * (level_low + (level_high - level_low) * draws[1]) + level_dbfs,
            over_full_scale,
            offset,
        )

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for process in self._processes:
            process.terminate()
        if self._thread is not None:
            self._thread.join()
        for process in self._processes:
            process.join()


def _shared(kind: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Zeros that this process and those that it forks see alike."""
    memory = mmap.mmap(-1, math.prod(shape) * np.dtype(kind).itemsize)
    return np.frombuffer(memory, kind).reshape(shape)
