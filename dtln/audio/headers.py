"""What the header of a recording says, and the reader that opens it."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from dtln.audio.folders import AMBIGUOUS_EXTENSIONS
from dtln.audio.info import TAGS, AudioInfo, DecodingError, Recording, SampleFormat
from dtln.audio.media import MediaRecording, is_media
from dtln.audio.sound_file import SoundFileRecording, UnreadableError, libsndfile_reason
from dtln.errors import AudioFileError, NotAudioError, in_words

__all__ = ["TAGS", "AudioInfo", "SampleFormat", "audio_info", "libsndfile_reason", "opened_audio"]

LOWEST_RATE, HIGHEST_RATE = 1000, 768000  # Hz; the lowest in use are 4 and 5.5 kHz, of old telephones and computers
MOST_CHANNELS = 256
PCM_CONTAINERS = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF")  # in which nothing needs to be decoded
COUNTING_BLOCK = 1 << 18  # samples, of all channels


def audio_info(path: str | Path, salvage: bool = False, counted: bool = False) -> AudioInfo:
    """Reads the header of a recording.

    counted: decodes a recording whose header does not tell its length exactly. salvage: takes a file that breaks off,
    or whose header announces more or less than it holds, for what is there, which decodes it once.
    Raises AudioFileError for such a file otherwise, and for one that cannot be opened, or whose header says what cannot
    be; NotAudioError for one that holds no sound.
    """
    path = Path(path)
    with opened_audio(path, salvage) as recording:
        stored = recording.info.sample_format
        pcm = stored.container in PCM_CONTAINERS and stored.subtype.startswith(("PCM_", "FLOAT", "DOUBLE"))
        known = recording.info.exact or (recording.info.length and not counted)
        if known and not (salvage and (recording.fault or not pcm)):
            return recording.info
    status = os.stat(path)
    return _counted(os.fspath(path), status.st_mtime_ns, status.st_size, salvage)


@functools.lru_cache(maxsize=4096)
def _counted(path: str, mtime_ns: int, size: int, salvage: bool) -> AudioInfo:
    """`audio_info` of a recording that has to be decoded to say how long it is."""
    with opened_audio(Path(path), salvage) as recording:
        info, length, broken = recording.info, 0, ""
        try:
            while count := len(recording.read(max(1, COUNTING_BLOCK // info.channels))):
                length += count
        except DecodingError as error:
            broken = f" ({error})"
            if not salvage:
                return info  # reading says the same in full
        announced = recording.announced
        if announced is None and recording.share:
            announced = math.ceil(length * recording.share - 1e-6)  # the last sample there may be half of one
        info = replace(info, length=length, exact=True)
        if not salvage or not (recording.fault or broken or announced not in (None, length)):
            return info
        told = f"the file {recording.fault or 'does not say how many'}"
        if announced is not None:
            told = f"the header announces {announced}"
        return replace(info, salvaged=f"{length} samples per channel are there, {told}{broken}")


@contextmanager
def opened_audio(path: Path, salvage: bool = False) -> Iterator[Recording]:
    """Opens a recording for the length of the block. Raises as `audio_info`."""
    _require_file(path)
    try:
        recording = _opened(path, salvage)
    except OSError as error:
        raise AudioFileError(f"{path}: cannot be read ({error.strerror}). Check the disk, or copy it again.") from error
    try:
        info = recording.info
        if not LOWEST_RATE <= info.sample_rate <= HIGHEST_RATE or not 0 < info.channels <= MOST_CHANNELS:
            raise AudioFileError(
                f"{path}: its header says {info.channels} channels at {info.sample_rate} Hz, so that it is damaged. "
                f"Expected at most {MOST_CHANNELS} channels at {LOWEST_RATE} to {HIGHEST_RATE} Hz; copy or convert it "
                "again from its source."
            )
        yield recording
    finally:
        recording.close()


def _opened(path: Path, salvage: bool) -> Recording:
    """The recording, opened by the reader for it."""
    if is_media(path):
        return MediaRecording(path, salvage)
    try:
        return SoundFileRecording(path, salvage)
    except UnreadableError as error:
        if error.other_codec:
            return MediaRecording(path, salvage)
        extension = path.suffix.lower()
        if extension in AMBIGUOUS_EXTENSIONS and (not error.recognised or extension.startswith(".mat")):
            raise NotAudioError(f"{path}: holds no sound that could be recognised ({error}).") from error
        raise AudioFileError(
            f"{path}: cannot be read as audio ({error}). Expected a file that soundfile can open; convert it again "
            "from its source."
        ) from error


def _require_file(path: Path) -> None:
    """Raises AudioFileError where the path leads to no file that can be read."""
    try:
        if path.is_symlink() and not path.exists():
            raise AudioFileError(
                f"{path}: is a link to {os.readlink(path)}, which does not exist. Mend or remove the link."
            )
        if not path.is_file():
            found = "a folder" if path.is_dir() else "something that is no file" if path.exists() else "nothing"
            raise AudioFileError(f"{path}: expected an audio file, found {found}. Check the path.")
        if path.stat().st_size == 0:
            raise AudioFileError(
                f"{path}: is a file of 0 bytes. Expected an audio file; copy it again from its source."
            )
        with open(path, "rb"):
            pass
    except OSError as error:
        raise AudioFileError(in_words(error)) from error
