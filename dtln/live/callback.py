"""The audio callback, and what it counts."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from dtln.facts import SAMPLE_RATE
from dtln.live.counters import FLAGS
from dtln.streaming.backends import Backend, States
from dtln.streaming.engine import StreamingDenoiser
from dtln.streaming.times import BlockTimes, describe_times

__all__ = ["FLAGS", "LiveDenoiser", "PassThrough"]


class PassThrough:
    """A back end that returns each block, scaled so that their overlap-add is the signal again."""

    def __init__(self, backend: Backend) -> None:
        self.runtime = "bypass"
        self.block_length, self.block_shift = backend.block_length, backend.block_shift
        self._scale = np.float32(self.block_shift / self.block_length)  # one over the number of overlapping blocks

    def initial_states(self) -> States:
        """None."""
        return ()

    def run(self, block: np.ndarray, states: States) -> tuple[np.ndarray, States]:
        """(block float32 (N,), states) -> (scaled block float32 (N,), states)."""
        return block * self._scale, states


class LiveDenoiser:
    """The audio callback: denoises whatever the devices deliver, and counts what the main thread reports.

    It collects whole shifts itself, which adds a delay of one shift to that of the network's overlap. PortAudio would
    do it, too, if a block size were asked for. But when PulseAudio's ALSA plugin delivers varying numbers of samples,
    PortAudio plays stale samples again without setting a flag (seen with PortAudio 19.6 on a busy machine: 1 to 26
    samples, up to four times in 12 s).

    level: as in StreamingDenoiser.
    error: the exception after which it plays only silence; None while all is well.
    silent_callbacks: how many came before the microphone delivered anything. PortAudio fills the output buffer with
    them and flags each as input underflow, but nothing is lost: the network starts with the first sound.
    """

    def __init__(self, backend: Backend, level: str = "raw") -> None:
        self.denoiser = StreamingDenoiser(backend, level)
        self.times = BlockTimes()
        self.flags = dict.fromkeys(FLAGS, 0)
        self.error: Exception | None = None
        self.callbacks = self.silent_callbacks = 0
        self._heard = np.zeros(backend.block_shift, np.float32)  # the shift that is being collected
        self._denoised = np.zeros(backend.block_shift, np.float32)  # the shift that is played meanwhile
        self._position = 0  # in both

    def __call__(self, indata: np.ndarray, outdata: np.ndarray, frames: int, time_info: Any, status: Any) -> None:
        """indata, outdata: (frames, 1). Runs in PortAudio's thread: no files, no printing, nothing that grows."""
        self.callbacks += 1
        if self.silent_callbacks == self.callbacks - 1 and status and status.input_underflow:
            self.silent_callbacks += 1
            outdata[:] = 0.0
            return
        if status:
            for name in FLAGS:
                self.flags[name] += getattr(status, name)
        if self.error is not None:
            outdata[:] = 0.0
            return
        try:
            self._exchange(indata[:, 0], outdata[:, 0])
        except Exception as error:
            outdata[:] = 0.0
            self.error = error

    def _exchange(self, heard: np.ndarray, played: np.ndarray) -> None:
        """(L,) in, (L,) out, for any L."""
        done = 0
        while done < len(heard):
            count = min(len(heard) - done, len(self._heard) - self._position)
            here, there = slice(done, done + count), slice(self._position, self._position + count)
            played[here] = self._denoised[there]
            self._heard[there] = heard[here]
            self._position += count
            done += count
            if self._position == len(self._heard):
                start = time.perf_counter()
                self._denoised = self.denoiser.process_block(self._heard)
                self.times.add((time.perf_counter() - start) * 1e3)
                self._position = 0

    def report(self) -> str:
        """What happened, in lines for people."""
        summary = self.times.summary(self.denoiser.block_shift)
        seconds = summary.blocks * self.denoiser.block_shift / SAMPLE_RATE
        return "\n".join(
            [
                f"{summary.blocks} blocks, {seconds:.1f} s of sound",
                ", ".join(f"{name.replace('_', ' ')}s: {number}" for name, number in self.flags.items()),
                f"callbacks before the first input: {self.silent_callbacks}",
                f"silenced blocks (NaN, Inf or far beyond full scale): {self.denoiser.silenced_blocks}",
                describe_times(summary),
            ]
        )
