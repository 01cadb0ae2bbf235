"""Recordings that libsndfile reads, through soundfile."""

from __future__ import annotations

import functools
import os
import re
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dtln.audio.chunks import au_extent, chunk_extent
from dtln.audio.extent import Extent, Part, Spliced
from dtln.audio.info import REMEDY, TAGS, AudioInfo, DecodingError, SampleFormat
from dtln.audio.streams import flac_extent, mpeg_extent, ogg_extent
from dtln.errors import AudioFileError, require

if TYPE_CHECKING:
    from soundfile import SoundFile

__all__ = ["SoundFileRecording", "name_for_libsndfile", "UnreadableError", "libsndfile_reason"]

EXACT_SEEKS = re.compile(r"PCM_|FLOAT|DOUBLE|ULAW|ALAW|OPUS")  # of libsndfile 1.2; MP3 and Vorbis land elsewhere
EXAMINED = {"WAV", "WAVEX", "RF64", "W64", "AIFF", "SVX", "CAF", "AU", "OGG", "FLAC", "MP3", "RAW"}
MATLAB_NAME = b"samplerate"  # of a matrix that a recording has, in the first bytes
MATLAB_HEADER = 512
SALVAGED_BLOCK = 4096  # samples, as many as a FLAC frame holds by default
PLAIN_TAGS = (b"\1\0", b"\3\0", b"\xfe\xff")  # of a wav: integers, floats, and those that say it further on
NO_CODEC = 4  # likewise
NO_FORMAT = 1  # libsndfile's number of the error


class UnreadableError(Exception):
    """libsndfile cannot open a file; the message is its own.

    recognised: whether it knows the format. other_codec: whether all it lacks is the codec in it.
    """

    def __init__(self, reason: str, recognised: bool, other_codec: bool = False) -> None:
        super().__init__(reason)
        self.recognised, self.other_codec = recognised, other_codec


class SoundFileRecording:
    """A `Recording` in a file that libsndfile reads.

    Raises UnreadableError where it does not, and AudioFileError where the file holds less or more than its header
    announces; with `salvage`, what is there is read.
    """

    def __init__(self, path: Path, salvage: bool = False) -> None:
        self._soundfile = require("soundfile", "reading recordings")
        self._path, self._salvage = path, salvage
        status = os.stat(path)
        self._extent = _extent_of(os.fspath(path), status.st_mtime_ns, status.st_size)
        self.fault = self._extent.fault
        self._refuse()
        self._parts = list(self._extent.parts or (None,))
        self._file: SoundFile | None = None
        self._own = ExitStack()
        try:
            first = self._file = self._open(self._parts.pop(0))
            self._require_header(first)
            if first.format not in EXAMINED:
                self.fault = _logged_shortage(first.extra_info)
                if first.format == "NIST":
                    self.fault = _nist_shortage(path, first.frames)
                self._refuse()
            if self._extent.there > first.frames:
                raise AudioFileError(
                    f"{path}: does not say that it holds {self._extent.there} samples per channel, of which only "
                    f"{first.frames} could be read. Convert it, to FLAC say."
                )
        except BaseException:
            self._own.close()
            raise
        self.info = AudioInfo(
            first.samplerate,
            first.channels,
            first.frames,
            self._sample_format(first),
            {name: text for name in TAGS if (text := getattr(first, name))},
            exact=not self._extent.there,
        )
        self.announced = self._extent.announced
        if self.announced is None and not self._extent.share:
            self.announced = first.frames
        self.share = self._extent.share
        self.can_seek = bool(EXACT_SEEKS.match(first.subtype) or first.format == "FLAC") and not self._parts

    def _require_header(self, file: SoundFile) -> None:
        """Raises UnreadableError for what libsndfile only guesses to be sound: bytes without a header, any matrix."""
        guessed = file.format == "RAW" and not self._extent.raw
        if file.format.startswith("MAT"):
            with open(self._path, "rb") as content:
                guessed = MATLAB_NAME not in content.read(MATLAB_HEADER)
        if guessed:
            raise UnreadableError("Format not recognised", recognised=False)

    def _refuse(self) -> None:
        if self.fault and not self._salvage:
            raise AudioFileError(f"{self._path}: {self.fault}. {REMEDY}")

    def _open(self, part: Part | None) -> SoundFile:
        """Opens the file, or a part of it, as one that libsndfile reads."""
        self._own.close()
        source: Any = self._path
        kind: dict[str, Any] = {}
        if part is not None:
            source = Spliced(self._own.enter_context(open(self._path, "rb")), part)  # noqa: SIM115
        if self._extent.raw:
            with _sound_file(self._path) as plain:
                kind = {"samplerate": plain.samplerate, "channels": plain.channels, "subtype": plain.subtype}
            kind |= {"format": "RAW", "endian": self._extent.raw.upper()}
        return self._own.enter_context(_sound_file(source, **kind))

    def _sample_format(self, file: SoundFile) -> SampleFormat:
        """The format by the file's own header, of which a part may show something else."""
        if file.format in ("RAW", "MP3") and self._extent.parts:
            try:
                with _sound_file(self._path) as plain:
                    return SampleFormat(plain.format, plain.subtype)
            except UnreadableError:
                pass
        return SampleFormat(file.format, file.subtype)

    def read(self, count: int) -> np.ndarray:
        assert self._file
        if self._salvage:  # where decoding fails, the block is lost
            count = min(count, SALVAGED_BLOCK)
        try:
            samples = self._file.read(count, dtype="float32", always_2d=True)  # (M, channels)
        except (self._soundfile.SoundFileError, RuntimeError) as error:
            raise DecodingError(libsndfile_reason(error)) from error
        if len(samples) or not self._parts:
            return samples
        try:
            self._file = self._open(self._parts.pop(0))
        except UnreadableError as error:
            raise DecodingError(f"what follows cannot be read: {error}") from error
        if (self._file.samplerate, self._file.channels) != (self.info.sample_rate, self.info.channels):
            raise DecodingError(
                f"what follows has {self._file.samplerate} Hz and {self._file.channels} channels, what comes before "
                f"{self.info.sample_rate} Hz and {self.info.channels}; cut it into its parts"
            )
        return self.read(count)

    def seek(self, sample: int) -> None:
        assert self._file
        try:
            self._file.seek(sample)
        except (self._soundfile.SoundFileError, RuntimeError) as error:
            raise DecodingError(libsndfile_reason(error)) from error

    def close(self) -> None:
        self._own.close()


def _sound_file(source: Any, **kind: Any) -> SoundFile:
    soundfile = require("soundfile", "reading recordings")
    try:
        return soundfile.SoundFile(name_for_libsndfile(source) if isinstance(source, Path) else source, **kind)
    except (soundfile.SoundFileError, RuntimeError, TypeError) as error:  # TypeError: extension .raw
        code = getattr(error, "code", NO_FORMAT)
        other_codec = code == NO_CODEC or (isinstance(source, Path) and _has_codec(source))
        raise UnreadableError(libsndfile_reason(error), code != NO_FORMAT, other_codec) from error


def name_for_libsndfile(path: Path) -> Path | bytes:
    """The name of a file as soundfile takes it, also where it is not UTF-8, which only POSIX has."""
    return os.fsencode(path) if os.name == "posix" else path


def _has_codec(path: Path) -> bool:
    """Whether a file is a wav whose samples are coded."""
    with open(path, "rb") as file:
        head = file.read(4096)
    position = head.find(b"fmt ")
    return head.startswith(b"RIFF") and position > 0 and head[position + 8 : position + 10] not in PLAIN_TAGS


def libsndfile_reason(error: Exception) -> str:
    """libsndfile's own message, without the path that soundfile puts before it and without its full stop."""
    return str(getattr(error, "error_string", error)).strip().rstrip(".")


@functools.lru_cache(maxsize=4096)
def _extent_of(path: str, mtime_ns: int, size: int) -> Extent:
    """What the header of a file announces against what lies there, which is found out once."""
    with open(path, "rb") as file:
        found: Extent | tuple[int, int] | None = chunk_extent(file, 0, size)
        if isinstance(found, tuple):  # MPEG in a wav
            found = mpeg_extent(file, *found) or Extent()
        for extent_of in (au_extent, flac_extent, ogg_extent, lambda file, end: mpeg_extent(file, 0, end)):
            found = found or extent_of(file, size)
    return found or Extent()


def _nist_shortage(path: Path, frames: int) -> str | None:
    """What a file of NIST lacks or has too much, in words: libsndfile reads to its end, whatever the header says."""
    with open(path, "rb") as file:
        told = re.search(rb"\nsample_count -i (\d+)", file.read(1024))
    announced = int(told[1]) if told else frames
    words = f"the header announces {announced} samples per channel, {frames} are there"
    if frames == announced:
        return None
    return f"is truncated: {words}" if frames < announced else f"goes on behind its announced end: {words}"


def _logged_shortage(log: str) -> str | None:
    """What a file lacks, in words, by libsndfile's log of its header."""
    for line in log.splitlines():
        sizes = re.search(r": (\d+) \(should be (\d+)\)", line)
        if sizes and int(sizes[2]) < int(sizes[1]) < 0x7FFFF000:  # from there on: a stream of unknown length
            return f"is truncated: the header announces {sizes[1]} bytes, {sizes[2]} are there"
    return None
