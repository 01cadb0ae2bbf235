"""Recordings that soundfile does not read, and the sound of videos, through PyAV (FFmpeg)."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from dtln.audio.extent import Spliced, read_at
from dtln.audio.folders import MEDIA_EXTENSIONS
from dtln.audio.info import REMEDY, TAGS, AudioInfo, DecodingError, SampleFormat
from dtln.errors import AudioFileError, NotAudioError, install_line, require

__all__ = ["MediaRecording", "is_media"]

MAGICS = ((4, b"ftyp"), (0, b"\x1a\x45\xdf\xa3"), (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"), (0, b"#!AMR"))
ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")  # the object that holds the size of the file
TAG_NAMES = {"track": "tracknumber"}  # FFmpeg's names of tags where they are not soundfile's
LOSSLESS = ("alac", "flac", "wavpack", "ape", "tta")
SHORTAGE_SECONDS = 0.5  # what may be missing of the length that a container tells: priming, padding, rounding
TELLS_LENGTH = {"mov", "mp4", "asf", "avi", "wv", "tta", "ape"}  # containers that say how long the sound itself is
LONGEST_FRAME = 4096  # samples: by so much the last frame may go beyond the end that an mp4 tells


def is_media(path: Path) -> bool:
    """Whether a file is one for PyAV: by its extension, or by its first bytes whatever the extension."""
    if path.suffix.lower() in MEDIA_EXTENSIONS:
        return True
    with open(path, "rb") as file:
        start = file.read(16)
    return any(start[offset : offset + len(magic)] == magic for offset, magic in MAGICS)


class MediaRecording:
    """A `Recording` that is the sound of a file that FFmpeg reads, its first one.

    It is as players have it: edit lists are heeded, the priming of encoders is left out, and so
    is what the last frame of an mp4 holds beyond its end. Raises AudioFileError for a
    file that FFmpeg does not read, or where PyAV is not installed; NotAudioError for one without sound.
    """

    can_seek = False
    share: float | None = None

    def __init__(self, path: Path, salvage: bool = False) -> None:
        self._path, self._salvage = path, salvage
        if not importlib.util.find_spec("av"):
            raise AudioFileError(
                f"{path}: is of a format that soundfile does not read. {install_line('av')} brings what does, or "
                "convert it, to FLAC say."
            )
        self._av = require("av", "reading videos")
        self.fault: str | None = None
        self._file: BinaryIO = open(path, "rb")  # noqa: SIM115, closed by close()
        self._container: Any = None
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        try:
            size = os.path.getsize(self._path)
            self.fault = _fault(self._file, size)
            view: Any = Spliced(self._file, ((0, size),))  # in which a damaged file can be sent anywhere
            view.name = self._path.name.encode(errors="replace").decode()  # its extension helps FFmpeg to guess
            self._container = self._av.open(view, metadata_errors="replace")
            streams = self._container.streams
            stream = streams.audio[0] if streams.audio else None
        except (self._av.FFmpegError, OSError, ValueError) as error:
            raise AudioFileError(
                f"{self._path}: cannot be read as audio ({_reason(error)}). Copy or convert it again from its source."
            ) from error
        if stream is None:
            kinds = ", ".join(dict.fromkeys(s.type for s in streams)) or "nothing"
            raise NotAudioError(f"{self._path}: holds no sound, but {kinds}.")
        if self.fault and not self._salvage:
            raise AudioFileError(f"{self._path}: {self.fault}. {REMEDY}")
        self._stream = stream
        self._frames = self._decoded()
        self._rest: list[np.ndarray] = []
        self._rate = self._channels = self._read = 0
        self._broken: DecodingError | None = None
        self._ended = False
        self._end = 0.0
        self.announced: int | None = None
        codec = stream.codec_context
        try:
            first = next(self._frames, None)
        except DecodingError as error:
            raise AudioFileError(
                f"{self._path}: is damaged ({error}). Copy or convert it again from its source."
            ) from error
        if first is None:
            self._rate, self._channels = codec.sample_rate or 0, codec.channels or 0
        else:
            self._rest.append(first)
        container = self._container.format.name.split(",")
        self._told = round(self._told_seconds(container) * self._rate)
        self._cut = "mp4" in container
        fine = codec.name in LOSSLESS and codec.format is not None and codec.format.name.startswith("s32")
        subtype = "ALAC_24" if fine else codec.name.upper()  # what becomes wav takes its bits from the name
        tags = {TAG_NAMES.get(k.lower(), k.lower()): v for k, v in [*self._container.metadata.items()]}
        name = self._path.suffix[1:].upper() or container[0].upper()
        self.info = AudioInfo(
            self._rate,
            self._channels,
            self._told,
            SampleFormat(name, subtype),
            {name: tags[name] for name in TAGS if tags.get(name)},
            exact=False,
        )

    def _told_seconds(self, container: list[str]) -> float:
        """How long the sound lasts by the container; 0 where it does not tell, or where FFmpeg only estimates it."""
        stream = self._stream
        if TELLS_LENGTH & set(container) and stream.duration:
            return float(stream.duration * stream.time_base)
        told = re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", ""))  # Matroska, by FFmpeg
        if told:
            return 3600 * int(told[1]) + 60 * int(told[2]) + float(told[3])
        if "matroska" in container and self._container.duration and len(self._container.streams) == 1:
            return self._container.duration / self._av.time_base
        return 0.0

    def _container_frames(self) -> Iterator[Any]:
        """The frames of FFmpeg; keeps where the last packet ends, in s from the first frame on."""
        first = None
        for packet in self._container.demux(self._stream):
            frames = packet.decode()
            if first is None and frames:
                first = frames[0].time or 0.0
            if packet.pts is not None and packet.duration:
                self._end = float((packet.pts + packet.duration) * packet.time_base) - (first or 0.0)
            yield from frames

    def _decoded(self) -> Iterator[np.ndarray]:
        """The frames, float32 (M, channels)."""
        try:
            for frame in self._container_frames():
                shape = (frame.sample_rate, len(frame.layout.channels))
                if not self._rate:
                    self._rate, self._channels = shape
                if shape != (self._rate, self._channels):
                    raise DecodingError(
                        f"from {frame.time or 0:.2f} s on it has {shape[1]} channels at {shape[0]} Hz, before "
                        f"{self._channels} at {self._rate} Hz"
                    )
                yield _samples(frame)
        except (self._av.FFmpegError, OSError, ValueError) as error:
            raise DecodingError(_reason(error)) from error

    def read(self, count: int) -> np.ndarray:
        gathered = sum(map(len, self._rest))
        try:
            while gathered < count + LONGEST_FRAME and not (self._broken or self._ended):
                samples = next(self._frames, None)
                if samples is None:
                    self._ended = True
                    break
                self._rest.append(samples)
                gathered += len(samples)
        except DecodingError as error:
            self._broken = error
        if self._ended and self._cut and 0 < self._read + gathered - round(self._end * self._rate) <= LONGEST_FRAME:
            gathered = max(0, round(self._end * self._rate) - self._read)
        if gathered:
            whole = np.concatenate(self._rest)[:gathered]
            self._rest = [whole[count:]]
            self._read += min(count, len(whole))
            return whole[:count]
        missing = self._told - self._read
        self.announced = self._told if missing > SHORTAGE_SECONDS * self._rate else None  # less is rounding
        if self._broken:
            raise self._broken
        if self.announced:
            raise DecodingError(f"{self._read} samples per channel are there")
        return np.zeros((0, self._channels), np.float32)

    def seek(self, sample: int) -> None:
        raise NotImplementedError("frames are decoded from the first on")

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
        self._file.close()


def _fault(file: BinaryIO, end: int) -> str | None:
    """What the structure of a file says it lacks, or has too much, in words: FFmpeg plays what it finds."""
    start = read_at(file, 0, 1 << 16)
    announced = joined = 0
    if start[4:8] == b"ftyp":
        position = 0
        while 0 <= end - position >= 8:
            box = read_at(file, position, 16)
            joined += box[4:8] == b"ftyp"
            size = int.from_bytes(box[:4], "big")
            size = int.from_bytes(box[8:], "big") if size == 1 else size or end - position
            if size < 8 or not box[4:8].isalnum():
                break
            position += size
            announced = position
    elif start[:4] == b"RIFF" and start[8:12] == b"AVI ":
        announced = 8 + int.from_bytes(start[4:8], "little")
        joined = int(read_at(file, announced, 12)[8:] == b"AVI ") + 1
    elif start[:4] == b"\x1a\x45\xdf\xa3":
        body = 5 + start[4] % 128 if start[4] & 128 else start.find(b"\x18\x53\x80\x67", 4)
        segment = start[body : body + 12]
        width = 9 - segment[4].bit_length() if len(segment) == 12 and segment[4] else 8
        size = int.from_bytes(segment[4 : 4 + width], "big") - (1 << 7 * width)
        if segment[:4] == b"\x18\x53\x80\x67" and size < (1 << 7 * width) - 1:  # else it is not told
            announced = body + 4 + width + size
            joined = int(read_at(file, announced, 4) == start[:4]) + 1
    elif start[:16] == ASF_HEADER and (found := start.find(ASF_FILE)) > 0:
        announced = int.from_bytes(start[found + 40 : found + 48], "little")
        joined = int(read_at(file, announced, 16) == ASF_HEADER) + 1
    if announced > end:
        return f"is truncated: its structure announces {announced} bytes, {end} are there"
    return f"holds {joined} recordings joined end to end, of which the first alone can be read" if joined > 1 else None


def _samples(frame: Any) -> np.ndarray:
    """The samples of a frame of FFmpeg: float32 (M, channels), full scale 1."""
    samples, kind = frame.to_ndarray(), frame.format.name
    if not frame.format.is_planar:
        samples = samples.reshape(-1, len(frame.layout.channels)).T
    samples = samples.T  # (M, channels)
    if samples.dtype.kind == "f":
        return np.ascontiguousarray(samples, np.float32)
    offset = 128 if kind.startswith("u8") else 0
    scale = 128.0 if offset else -float(np.iinfo(samples.dtype).min)
    return ((samples.astype(np.float64) - offset) / scale).astype(np.float32)


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).strip().rstrip(".")
