"""Records what a live session hears and plays to WAV files, without ever holding it up."""

from __future__ import annotations

import errno
import os
import threading
import wave
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dtln.errors import SettingsError, in_words

__all__ = ["Recorder"]

QUEUE_SECONDS = 10.0  # of sound that may wait for the disk
WRITE_SECONDS = 0.25  # between two looks into the queues
CLOSE_SECONDS = 15.0  # that the end of a session waits for the disk
SAMPLE_BYTES = 2
LARGEST_FILE = 2**32 - 2**20  # bytes; a WAV file counts them in 32 bits


class Recorder:
    """Writes PREFIX_input.wav and PREFIX_output.wav, 16-bit PCM, from a thread of its own.

    put_input, put_output: take samples, from one thread each; they never wait. What does not fit into the queues, of
    QUEUE_SECONDS each, is counted in `dropped` and is silence in the file, so both stay aligned.

    A file that is being written is named PREFIX_input.unfinished.wav. Its header is right after each write, so a run
    that is killed leaves a file that can be played. Before 4 GiB are full, and when rates or channels change, both
    files end at the same moment, and PREFIX_input_2.wav and PREFIX_output_2.wav begin. An error of the disk ends the
    recording, never the session; `pop_event` tells it.

    Raises SettingsError where a file exists already, and OSError where the folder cannot be written to.
    """

    def __init__(
        self, prefix: str | Path, input_rate: int, input_channels: int, output_rate: int, output_channels: int
    ) -> None:
        self._events: deque[str] = deque()
        self._tracks = {kind: _Track(Path(prefix), kind) for kind in ("input", "output")}
        formats = {"input": (input_rate, input_channels), "output": (output_rate, output_channels)}
        try:
            for kind, track in self._tracks.items():
                track.begin(*formats[kind], _longest(formats))
        except BaseException:
            for track in self._tracks.values():
                track.discard()
            raise
        self._formats = formats
        self._ended = threading.Event()
        self._failed = False
        self._thread = threading.Thread(target=self._write_all, name="dtln-recorder", daemon=True)
        self._thread.start()

    def put_input(self, samples: np.ndarray) -> None:
        """What was heard: float32 (L, C), or (L,) of one channel, full scale 1."""
        self._put("input", samples)

    def put_output(self, samples: np.ndarray) -> None:
        """What was played, as in `put_input`."""
        self._put("output", samples)

    def _put(self, kind: str, samples: np.ndarray) -> None:
        if not self._failed:
            self._tracks[kind].put(samples)

    def change(self, input_rate: int, input_channels: int, output_rate: int, output_channels: int) -> None:
        """The devices were opened again: where rates or channels differ, new files begin. Nobody may put meanwhile.

        Else the shorter file, which lacks what was being denoised, is filled up with silence.
        """
        formats = {"input": (input_rate, input_channels), "output": (output_rate, output_channels)}
        if formats == self._formats:
            seconds = max(track.length / formats[kind][0] for kind, track in self._tracks.items())
            for kind, track in self._tracks.items():
                track.fill_up(round(seconds * formats[kind][0]))
        elif not self._failed:
            self._formats = formats
            for kind, track in self._tracks.items():
                track.change(*formats[kind], _longest(formats))

    @property
    def dropped(self) -> dict[str, int]:
        """Samples of each channel that were not recorded, because the disk was too slow."""
        return {kind: track.dropped for kind, track in self._tracks.items()}

    @property
    def clipped(self) -> dict[str, int]:
        """Samples beyond full scale, of all channels, which 16 bits cannot hold."""
        return {kind: track.clipped for kind, track in self._tracks.items()}

    @property
    def paths(self) -> list[Path]:
        """The files so far, in the order in which they were begun."""
        return [path for track in self._tracks.values() for path in track.paths]

    def describe(self) -> str:
        """What was recorded, in lines for people."""
        files = ", ".join(map(str, self._files())) or "nothing"
        if self._failed:
            return f"recorded until that failed: {files}"
        return "\n".join(
            [
                f"recorded: {files}",
                f"samples missing there, because the disk was slow: {_both(self.dropped)}; "
                f"clipped: {_both(self.clipped)}",
            ]
        )

    def _files(self) -> list[Path]:
        """Those that are there, finished or not."""
        return [path for path in (*self.paths, *map(unfinished, self.paths)) if path.exists()]

    def pop_event(self) -> str | None:
        """What a person must know about the recording and was not told yet."""
        return self._events.popleft() if self._events else None

    def close(self) -> None:
        """Writes what waits and gives the files their names; nobody puts any more.

        It waits CLOSE_SECONDS at most for a disk that hangs.
        """
        for track in self._tracks.values():
            track.note_gap()
        self._ended.set()
        self._thread.join(CLOSE_SECONDS)
        if self._thread.is_alive():
            self._events.append("the disk of the recording does not answer: its end may be missing")

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _write_all(self) -> None:
        try:
            ended = False
            while not ended:
                ended = self._ended.wait(WRITE_SECONDS)  # asked before the queues are read, which then hold all
                for track in self._tracks.values():
                    track.write()
            for track in self._tracks.values():
                track.finish()
        except Exception as error:
            self._failed = True
            for track in self._tracks.values():
                track.abandon()
            left = self._files()
            rest = f" What was recorded: {', '.join(map(str, left))}" if left else ""
            self._events.append(f"the recording has ended: {in_words(error)}{rest}")


def _both(numbers: dict[str, int]) -> str:
    return ", ".join(f"{number} of the {kind}" for kind, number in numbers.items())


def unfinished(path: Path) -> Path:
    """The name of a recording while it is being written."""
    return path.with_suffix(f".unfinished{path.suffix}")


def _longest(formats: dict[str, tuple[int, int]]) -> int:
    """Seconds that fit into the larger of two files."""
    return LARGEST_FILE // max(rate * channels * SAMPLE_BYTES for rate, channels in formats.values())


class _Track:
    """One of the two recordings. `put`, `note_gap`, `change` belong to the thread that puts, the rest to the other."""

    def __init__(self, prefix: Path, kind: str) -> None:
        self._prefix, self._kind = prefix, kind
        self._queue: deque[np.ndarray | int | tuple[int, int, int]] = deque()  # samples, gaps, formats
        self._put = self._taken = 0  # samples; each has one thread that writes it
        self.length = 0  # samples of this format until now, those that were dropped, too
        self._gap = 0  # samples of silence since the last that were put
        self._capacity = 0
        self.dropped = self.clipped = 0
        self.path: Path | None = None  # of the file that is being written, when it is complete
        self.paths: list[Path] = []

    def put(self, samples: np.ndarray) -> None:
        """(L,) or (L, C)."""
        self.length += len(samples)
        if self._put - self._taken + len(samples) > self._capacity:
            self._gap += len(samples)
            self.dropped += len(samples)
            return
        self.note_gap()
        self._put += len(samples)
        self._queue.append(np.array(samples, np.float32))  # the caller may use its array again

    def fill_up(self, length: int) -> None:
        """Silence up to so many samples of this format."""
        self._gap += length - self.length
        self.length = length

    def note_gap(self) -> None:
        """Puts the samples that are missing into the queue, as a number."""
        if self._gap:
            self._queue.append(self._gap)
            self._gap = 0

    def change(self, rate: int, channels: int, seconds: int) -> None:
        """What comes from now on has another format."""
        self.note_gap()
        self._capacity = round(QUEUE_SECONDS * rate)
        self.length = 0
        self._queue.append((rate, channels, seconds))

    def begin(self, rate: int, channels: int, seconds: int) -> None:
        """Opens the next file, for so many seconds at most."""
        number = len(self.paths) + 1
        name = f"{self._prefix.name}_{self._kind}{f'_{number}' if number > 1 else ''}.wav"
        path = self._prefix.with_name(name)
        for taken in (path, unfinished(path)):
            if os.path.lexists(taken):
                raise SettingsError(
                    f"{taken}: exists already, perhaps from an earlier recording. Move it, or choose another prefix."
                )
        self._raw: BinaryIO = open(unfinished(path), "xb")  # noqa: SIM115
        self.path = path
        self.paths.append(path)
        self._rate, self._channels, self._seconds = rate, channels, seconds
        self._capacity = self._capacity or round(QUEUE_SECONDS * rate)
        self._left = rate * seconds  # samples that the file still takes
        self._file = wave.open(self._raw, "wb")  # noqa: SIM115
        self._file.setnchannels(channels)
        self._file.setsampwidth(SAMPLE_BYTES)
        self._file.setframerate(rate)
        self._file.writeframes(b"")  # the header
        self._raw.flush()

    def write(self) -> None:
        """Writes what waits. Raises OSError where the disk does not take it."""
        pieces: list[np.ndarray] = []
        while self._queue:
            item = self._queue.popleft()
            if isinstance(item, tuple):
                self._write(pieces)
                pieces = []
                self.finish()
                self.begin(*item)
            elif isinstance(item, int):
                self._write(pieces)
                pieces = []
                while item > 0:
                    length = min(item, self._rate)
                    self._write([np.zeros((length, self._channels), np.float32)])
                    item -= length
            else:
                self._taken += len(item)
                pieces.append(item.reshape(-1, self._channels))
        self._write(pieces)
        self._raw.flush()
        if not self._is_there():
            raise OSError(f"{self.path}: was deleted while it was written, or its folder was.")

    def _write(self, pieces: list[np.ndarray]) -> None:
        """(L, C) each, one after the other, in as many files as it takes."""
        samples = np.concatenate(pieces) if pieces else np.zeros((0, self._channels), np.float32)
        while len(samples):
            if not self._left:
                self.finish()
                self.begin(self._rate, self._channels, self._seconds)
            part, samples = samples[: self._left], samples[self._left :]
            scaled = np.nan_to_num(part * np.float32(32768), nan=0.0)
            self.clipped += int(np.count_nonzero(np.abs(scaled) > 32768))
            self._file.writeframes(np.rint(scaled).clip(-32768, 32767).astype("<i2").tobytes())
            self._left -= len(part)

    def _is_there(self) -> bool:
        assert self.path is not None
        try:
            return os.path.samestat(os.fstat(self._raw.fileno()), os.stat(unfinished(self.path)))
        except FileNotFoundError:
            return False

    def finish(self) -> None:
        """Gives the file its final name. Raises OSError where that cannot be done."""
        assert self.path is not None
        self._file.close()
        self._raw.close()
        if os.path.lexists(self.path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(self.path))
        os.rename(unfinished(self.path), self.path)
        self.path = None

    def abandon(self) -> None:
        """Closes the file as it is, under its unfinished name, after an error."""
        self._queue.clear()
        with suppress(Exception):  # whatever the disk says to the last bytes, too
            self._file.close()
        with suppress(Exception):
            self._raw.close()

    def discard(self) -> None:
        """Deletes the file, into which nothing was written."""
        if self.path is not None:
            self.abandon()
            unfinished(self.path).unlink(missing_ok=True)
