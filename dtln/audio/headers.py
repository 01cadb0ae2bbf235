"""What the header of a recording says."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dtln.errors import AudioFileError, require

if TYPE_CHECKING:
    from soundfile import SoundFile


@dataclass(frozen=True)
class SampleFormat:
    """How a file stores its samples, by soundfile's names: container ("WAV", "FLAC", ...), subtype ("PCM_16", ...)."""

    container: str
    subtype: str

    def __str__(self) -> str:
        return f"{self.container} {self.subtype}"

    @property
    def clips(self) -> bool:
        """Whether samples beyond full scale are cut off."""
        return self.subtype not in ("FLOAT", "DOUBLE", "VORBIS")


@dataclass(frozen=True)
class AudioInfo:
    """What the header of a recording says: rate in Hz, channels, samples per channel, sample format.

    tags: title, artist and other texts about the recording, by soundfile's names, of `TAGS`.
    """

    sample_rate: int
    channels: int
    length: int
    sample_format: SampleFormat
    tags: Mapping[str, str] = field(default_factory=dict)


TAGS = ("title", "artist", "album", "date", "tracknumber", "genre", "comment", "copyright", "license")


def audio_info(path: str | Path, salvage: bool = False) -> AudioInfo:
    """Reads the header of a recording. Raises AudioFileError if the file cannot be opened or is no audio file.

    salvage: says it of all that is there, where the header announces more or less.
    """
    with opened_audio(Path(path)) as file:
        tags = {name: text for name in TAGS if (text := getattr(file, name))}
        return AudioInfo(file.samplerate, file.channels, file.frames, SampleFormat(file.format, file.subtype), tags)


@contextmanager
def opened_audio(path: Path) -> Iterator[SoundFile]:
    """Opens a recording for the length of the block. Raises AudioFileError where the path leads to none."""
    soundfile = require("soundfile", "reading recordings")
    if path.is_symlink() and not path.exists():
        raise AudioFileError(
            f"{path}: is a link to {os.readlink(path)}, which does not exist. Mend or remove the link."
        )
    if not path.is_file():
        found = "a folder" if path.is_dir() else "something that is no file" if path.exists() else "nothing"
        raise AudioFileError(f"{path}: expected an audio file, found {found}. Check the path.")
    try:
        if path.stat().st_size == 0:
            raise AudioFileError(
                f"{path}: is a file of 0 bytes. Expected an audio file; copy it again from its source."
            )
        with open(path, "rb"):
            pass
    except OSError as error:
        raise AudioFileError(f"{path}: cannot be opened ({error.strerror}). Check its permissions.") from error
    try:
        file = soundfile.SoundFile(path)
    except UnicodeError as error:
        raise AudioFileError(
            f"{os.fsencode(path)!r}: has a name that is not UTF-8, which soundfile cannot open. Rename the file."
        ) from error
    except (soundfile.SoundFileError, RuntimeError, TypeError) as error:  # TypeError: extension .raw
        raise AudioFileError(
            f"{path}: cannot be read as audio ({libsndfile_reason(error)}). Expected a file that soundfile can open; "
            "convert it again from its source."
        ) from error
    with file:
        yield file


def libsndfile_reason(error: Exception) -> str:
    """libsndfile's own message, without the path that soundfile puts before it and without its full stop."""
    return str(getattr(error, "error_string", error)).strip().rstrip(".")
