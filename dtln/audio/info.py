"""What is known of a recording before its samples are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

__all__ = ["REMEDY", "TAGS", "AudioInfo", "DecodingError", "Recording", "SampleFormat"]

TAGS = ("title", "artist", "album", "date", "tracknumber", "genre", "comment", "copyright", "license")

REMEDY = "Copy or convert it again from its source; --salvage (in Python salvage=True) reads what is there."


@dataclass(frozen=True)
class SampleFormat:
    """How a file stores its samples, by soundfile's names: container ("WAV", "FLAC", ...), subtype ("PCM_16", ...).

    By FFmpeg's, in upper case, where soundfile does not read it: "MP4", "AAC".
    """

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

    tags: title, artist and other texts about the recording, by soundfile's names, of `TAGS`. exact: False where the
    length is estimated. salvaged: what is there and what the header announces, in words, where these differ; `length`
    is then what is there.
    """

    sample_rate: int
    channels: int
    length: int
    sample_format: SampleFormat
    tags: Mapping[str, str] = field(default_factory=dict)
    exact: bool = True
    salvaged: str | None = None


class Recording(Protocol):
    """An open recording; it is read from its beginning, or from where it was sent to.

    can_seek: whether that is possible, to the exact sample. announced: samples per channel that the header announces;
    share: these divided by those that are there, where that is known instead. fault: what is wrong with the file,
    where it is read nevertheless.
    """

    info: AudioInfo
    can_seek: bool
    announced: int | None
    share: float | None
    fault: str | None

    def read(self, count: int) -> np.ndarray:
        """The next samples, float32 (M, channels), at most `count`; (0, channels) at the end. Raises DecodingError."""

    def seek(self, sample: int) -> None:
        """Goes to a sample."""

    def close(self) -> None:
        """Lets go of the file."""


class DecodingError(Exception):
    """A recording cannot be decoded any further; the message is the decoder's."""
