"""Audio facts and audio files: the numbers of the DTLN signal path, and reading, resampling and writing of recordings.

Everything here needs numpy only; soundfile and soxr are imported inside the functions that use them, so that a device
that only streams (microphone in, loudspeaker out) can do without them.
"""

from __future__ import annotations

import functools
import io
import math
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np

SAMPLE_RATE = 16000  # Hz, the only rate the published network knows
BLOCK_LENGTH = 512  # samples the network looks at at once: 32 ms
BLOCK_SHIFT = 128  # samples between two blocks: 8 ms
OVERLAP_DELAY = BLOCK_LENGTH - BLOCK_SHIFT  # 384 samples that later blocks still add to: 24 ms
SHIFT_KEY = "block_shift"  # where exports note their shift: ONNX metadata, SavedModel attribute, TF-lite tensor name

assert BLOCK_LENGTH % BLOCK_SHIFT == 0
assert BLOCK_SHIFT * 1000 == 8 * SAMPLE_RATE


class AudioFileError(ValueError):
    """A recording that cannot be used; the message names the file, what was found and what to do."""


def whole_blocks(length: int, block_length: int = BLOCK_LENGTH, block_shift: int = BLOCK_SHIFT) -> int:
    """Length in samples after zeros are added at the end: one block at least, then whole shifts beyond it."""
    shifts = max(0, -(-(length - block_length) // block_shift))
    return block_length + shifts * block_shift


def pad_for_overlap(signal: np.ndarray, block_length: int = BLOCK_LENGTH, block_shift: int = BLOCK_SHIFT) -> np.ndarray:
    """Adds block_length - block_shift zeros before and after a signal (..., L), so that every sample of it is covered
    by the full number of blocks; `crop_overlap` takes them off the network's output again."""
    delay = block_length - block_shift
    return np.pad(signal, [(0, 0)] * (signal.ndim - 1) + [(delay, delay)])


def crop_overlap(
    signal: np.ndarray, length: int, block_length: int = BLOCK_LENGTH, block_shift: int = BLOCK_SHIFT
) -> np.ndarray:
    """The `length` samples of a signal (..., L) that `pad_for_overlap` had put zeros before and after."""
    delay = block_length - block_shift
    return signal[..., delay : delay + length]


def audio_extensions() -> set[str]:
    """Lower-case file name extensions, with dot, that soundfile reads, the usual aliases among them."""
    import soundfile

    names = {f".{name.lower()}" for name in soundfile.available_formats()}
    aliases = {".aif", ".aifc", ".iff", ".8svx", ".mat", ".mp1", ".mp2", ".oga", ".opus", ".sf", ".snd", ".sph"}
    return (names | aliases) - {".raw"}  # raw samples say neither rate nor format


def find_audio_files(folder: str | Path) -> list[Path]:
    """All audio files below a folder, sorted by path; links are followed, and listed even where they dangle.

    Raises AudioFileError if the folder is missing, holds none, or holds a folder that cannot be listed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise AudioFileError(f"{folder}: expected a folder of audio files, found {found}. Check the path.")

    def refuse(error: OSError) -> None:
        raise AudioFileError(
            f"{error.filename}: cannot be listed ({error.strerror}). Check its permissions."
        ) from error

    extensions = audio_extensions()
    files, visited = [], set()
    for root, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        real = os.path.realpath(root)
        if real in visited:  # a link back up would be walked for ever
            folders.clear()
            continue
        visited.add(real)
        files += [Path(root, n) for n in names if Path(n).suffix.lower() in extensions and not n.startswith(".")]
    if not files:
        raise AudioFileError(
            f"{folder}: holds no audio files. Expected files ending in .wav, .flac, .ogg or another extension that "
            "soundfile reads, in it or in its sub-folders."
        )
    return sorted(files)


def pair_files(
    noisy_names: Sequence[str],
    clean_names: Sequence[str],
    noisy_dir: str | Path = "",
    clean_dir: str | Path = "",
    all_clean: bool = False,
) -> list[tuple[str, str]]:
    """The clean partner of each noisy file, in the order of the noisy names: [(noisy name, clean name), ...].

    Names are paths below their folders, which serve the messages alone. Partners are files of equal name, extensions
    aside; of those left over, files with the same `fileid_N`: the DNS-Challenge set calls its pairs
    `..._snr5_tl-25_fileid_12.wav` and `clean_fileid_12.wav` (https://github.com/microsoft/DNS-Challenge).
    all_clean: a clean file without a noisy one is an error, too. Raises AudioFileError, naming the file, where one has
    no partner or several, or an id stands twice on one side.
    """
    clean_by_stem: dict[str, list[str]] = {}
    for name in clean_names:
        clean_by_stem.setdefault(_stem(name), []).append(name)
    partners: dict[str, str] = {}
    for name in noisy_names:
        equal = clean_by_stem.get(_stem(name), [])
        if len(equal) > 1:
            raise AudioFileError(
                f"{Path(noisy_dir, name)}: has {len(equal)} partners, {Path(clean_dir, equal[0])} and "
                f"{Path(clean_dir, equal[1])} among them. Expected one; remove the others."
            )
        if equal:
            partners[name] = equal[0]
    taken = set(partners.values())
    noisy_by_id = _names_by_fileid((n for n in noisy_names if n not in partners), Path(noisy_dir))
    clean_by_id = _names_by_fileid((n for n in clean_names if n not in taken), Path(clean_dir), set(noisy_by_id))
    partners |= {noisy: clean_by_id[fileid] for fileid, noisy in noisy_by_id.items() if fileid in clean_by_id}
    alone = [(n, noisy_dir, clean_dir) for n in noisy_names if n not in partners]
    if all_clean and not alone:
        taken = set(partners.values())
        alone = [(n, clean_dir, noisy_dir) for n in clean_names if n not in taken]
    if alone:
        name, here, there = min(alone)
        raise AudioFileError(
            f"{Path(here, name)}: has no partner in {there or 'the other folder'} ({len(alone)} such files). Expected "
            "equally named noisy and clean files, or one noisy and one clean file for each fileid_N; add the partner "
            "or remove the file."
        )
    return [(name, partners[name]) for name in noisy_names]


def _stem(name: str) -> str:
    return PurePath(name).with_suffix("").as_posix()


def _names_by_fileid(names: Iterable[str], folder: Path, wanted: set[int] | None = None) -> dict[int, str]:
    """The name that carries each `fileid_N`, the last one in the name; AudioFileError for an id that stands twice.

    wanted: look at these ids alone.
    """
    found: dict[int, str] = {}
    for name in names:
        ids = re.findall(r"fileid_(\d+)", PurePath(name).stem)
        if not ids or (wanted is not None and int(ids[-1]) not in wanted):
            continue
        other = found.setdefault(int(ids[-1]), name)
        if other != name:
            raise AudioFileError(
                f"{folder / name}: has the same fileid as {folder / other}. Expected fileid_{ids[-1]} once in the "
                "folder; remove or rename one, or give the sub-folders one by one."
            )
    return found


@dataclass(frozen=True)
class SampleFormat:
    """How a file stores its samples, in soundfile's words: container ("WAV", "FLAC", ...), subtype ("PCM_16", ...)."""

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
    """What the header of a recording says: rate in Hz, channels, samples per channel, sample format."""

    sample_rate: int
    channels: int
    length: int
    sample_format: SampleFormat


def audio_info(path: str | Path) -> AudioInfo:
    """Reads the header of a recording. Raises AudioFileError if the file cannot be opened or is no audio file."""
    with _opened(Path(path)) as file:
        return AudioInfo(file.samplerate, file.channels, file.frames, SampleFormat(file.format, file.subtype))


READ_BLOCK = 1 << 18  # samples per channel that are decoded at once


def read_audio(path: str | Path, sample_rate: int | None = None, mono: bool = False) -> tuple[np.ndarray, int]:
    """Reads a recording: (samples, sample rate in Hz); samples are float32 in full scale 1.

    sample_rate: resample to this rate; None keeps the file's own. mono: average the channels and return (L,), else
    (L, channels). A recording of n samples becomes ceil(n * sample_rate / rate) samples.
    Raises AudioFileError if the file cannot be opened or decoded, ends early, or holds NaN or Inf.
    """
    info = audio_info(path)
    blocks = list(audio_blocks(path, sample_rate, mono))
    samples = np.concatenate(blocks) if blocks else np.zeros((0, 1 if mono else info.channels), np.float32)
    return (samples[:, 0] if mono else samples), sample_rate or info.sample_rate


STRETCH_MARGIN = 0.02  # s on either side, for the resampler's filter
EXACT_SEEKS = re.compile(r"PCM_|FLOAT|DOUBLE|ULAW|ALAW|OPUS")  # of libsndfile 1.2; MP3 and Vorbis land elsewhere


def read_stretch(path: str | Path, start: int, length: int, sample_rate: int) -> np.ndarray:
    """What `read_audio(path, sample_rate, mono=True)` has from sample `start` on: float32 (length,), less at the end.

    Decodes little else, where the format can be entered anywhere: PCM, FLAC, Opus (there some 60 dB exact), but not MP3
    or Vorbis. Raises as `read_audio` does, for what it meets.
    """
    rate = audio_info(path).sample_rate
    common = math.gcd(rate, sample_rate)
    period, own_period = sample_rate // common, rate // common  # both rates have a sample at each multiple of these
    margin = 0 if rate == sample_rate else round(STRETCH_MARGIN * sample_rate)
    first = max(0, start - margin) // period
    end = -(-(start + length + margin) // period)
    blocks = audio_blocks(path, sample_rate, mono=True, stretch=(first * own_period, end * own_period))
    samples = np.concatenate([np.zeros((0, 1), np.float32), *blocks])[:, 0]
    return samples[start - first * period :][:length]


def audio_blocks(
    path: str | Path, sample_rate: int | None = None, mono: bool = False, stretch: tuple[int, int] | None = None
) -> Iterator[np.ndarray]:
    """`read_audio` piece by piece, in constant memory: float32 (M, channels), (M, 1) if mono. Raises as it does.

    stretch: (first, end) in the file's own samples, what to read of it; beyond its end is nothing.
    """
    import soundfile

    path = Path(path)
    with _opened(path) as file:
        announced, container = file.frames, file.format
        if announced >= UNKNOWN_LENGTH:
            raise AudioFileError(
                f"{path}: does not say how many samples it holds. Expected a file that was closed properly; convert it "
                "again from its source."
            )
        _require_complete(path, container, file.extra_info)
        estimated = container == "MP3" and (length := _mp3_length(path)) is not None
        if estimated and length > announced:
            raise AudioFileError(
                f"{path}: does not say that it holds {length} samples per channel, of which only {announced} could be "
                "read. Expected an MP3 with a header that tells (Xing, Info, VBRI); convert it, to FLAC say."
            )
        resampler = Resampler(file.samplerate, sample_rate or file.samplerate, 1 if mono else file.channels)
        start, end = (min(sample, announced) for sample in stretch or (0, announced))
        read = 0
        while read < end:
            try:
                if read < start and EXACT_SEEKS.match(file.subtype):
                    read = file.seek(start)
                wanted = (start if read < start else end) - read
                samples = file.read(min(READ_BLOCK, wanted), dtype="float32", always_2d=True)  # (M, channels)
            except (soundfile.SoundFileError, RuntimeError) as error:
                raise AudioFileError(
                    f"{path}: is truncated or damaged: the header announces {announced} samples per channel, decoding "
                    f"them failed ({_reason(error)}). Copy or convert it again from its source."
                ) from error
            read += len(samples)
            if not len(samples) and estimated:
                yield resampler.process(np.zeros((0, resampler.channels), np.float32), last=True)
                return
            if not len(samples):
                raise AudioFileError(
                    f"{path}: is truncated: the header announces {announced} samples per channel, {read} are there. "
                    "Copy or convert it again from its source."
                )
            unusable = samples.size - int(np.count_nonzero(np.isfinite(samples)))
            if unusable:
                raise AudioFileError(
                    f"{path}: {unusable} samples are NaN or Inf. Expected finite samples; repair the file."
                )
            if read <= start:
                continue
            if mono:
                samples = samples.mean(axis=1, keepdims=True)  # (M, 1)
            yield resampler.process(samples, last=read == end)


UNKNOWN_LENGTH = 1 << 62  # libsndfile announces its largest number where a FLAC stream leaves the length open


@contextmanager
def _opened(path: Path) -> Iterator:
    """An open soundfile.SoundFile; AudioFileError where the path leads to no audio file."""
    import soundfile

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
    except (soundfile.SoundFileError, RuntimeError, TypeError) as error:  # TypeError: extension .raw
        raise AudioFileError(
            f"{path}: cannot be read as audio ({_reason(error)}). Expected a file that soundfile can open; convert it "
            "again from its source."
        ) from error
    with file:
        yield file


def _reason(error: Exception) -> str:
    """libsndfile's own words, without the path that soundfile puts before them and without the full stop."""
    return str(getattr(error, "error_string", error)).strip().rstrip(".")


def _require_complete(path: Path, container: str, log: str) -> None:
    """libsndfile shortens most truncated files silently: compare what the file announces with the bytes it has.

    log: what libsndfile noted while it read the header.
    """
    if container in ("WAV", "WAVEX"):
        shortage = _riff_shortage(path)
    elif container == "OGG":
        shortage = _ogg_shortage(path)
    else:
        shortage = _logged_shortage(log)
    if shortage:
        raise AudioFileError(f"{path}: is truncated: {shortage}. Copy or convert it again from its source.")


def _mp3_length(path: Path) -> int | None:
    """Samples per channel of an MP3 that does not say how many it holds, for which libsndfile estimates it from the
    size; None for one that does, in a header of LAME (Xing, Info) or Fraunhofer (VBRI) within its first frame.

    Counts frames (ISO 11172-3, 2.4.2.3, and ISO 13818-3) up to the first thing that is none.
    """
    with open(path, "rb") as file:
        tag = file.read(10)
        position = sum(byte << 7 * (3 - i) for i, byte in enumerate(tag[6:])) + 10 if tag.startswith(b"ID3") else 0
        file.seek(position)
        if re.search(b"Xing|Info|VBRI", file.read(256)):
            return None
        length = 0
        while True:
            file.seek(position)
            header = int.from_bytes(file.read(4), "big")
            version, layer, padding = header >> 19 & 3, header >> 17 & 3, header >> 9 & 1
            bit_rate, rate = header >> 12 & 15, header >> 10 & 3
            if header >> 21 != 0x7FF or layer != 1 or version == 1 or bit_rate in (0, 15) or rate == 3:
                return length
            samples, kilobits = (1152, MPEG_1_KILOBITS) if version == 3 else (576, MPEG_2_KILOBITS)
            sample_rate = MPEG_RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]
            position += samples // 8 * 1000 * kilobits[bit_rate - 1] // sample_rate + padding
            length += samples


# kbit/s and Hz that the header of an MP3's frame numbers, there are half and a quarter of the latter, too
MPEG_1_KILOBITS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
MPEG_2_KILOBITS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
MPEG_RATES = (44100, 48000, 32000)


def _riff_shortage(path: Path) -> str | None:
    """What a RIFF wav lacks, in words; None if it is complete, or a stream of unknown length.

    Programs that write into a pipe cannot go back to the header: ffmpeg leaves 0xFFFFFFFF there as the size of the
    samples, sox 0x7FFFF000, arecord 0x80000000.
    """
    size_of_file = os.path.getsize(path)
    with open(path, "rb") as file:
        order = {b"RIFF": "little", b"RIFX": "big"}.get(file.read(4))
        if order is None:
            return None
        file.seek(12)
        while len(header := file.read(8)) == 8:
            size = int.from_bytes(header[4:], order)
            if header[:4] != b"data":
                file.seek(size + size % 2, os.SEEK_CUR)
                continue
            present = size_of_file - file.tell()
            if size == 0 and present:
                following = file.read(8)
                fits = len(following) == 8 and int.from_bytes(following[4:], order) <= present - 8
                if not (fits and following[:4].isascii() and following[:4].decode("ascii").isprintable()):
                    return f"the file was never closed: its header announces no samples, {present} bytes of them follow"
            streamed = size >= 0xFFFFF000 or 0x7FFFF000 <= size <= 0x80000000
            if size > present and not streamed:
                return f"the header announces {size} bytes of samples, {present} are there"
            return None
        return "the header breaks off before the samples begin"


def _ogg_shortage(path: Path) -> str | None:
    """What an Ogg file lacks, in words: its last page must end where the file ends or before (RFC 3533, section 6)."""
    longest_page = 27 + 255 + 255 * 255  # bytes: header, segment table, segments
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - longest_page))
        tail = file.read()
    page = tail[tail.rfind(b"OggS") :]
    size = 27 + page[26] + sum(page[27 : 27 + page[26]]) if len(page) > 26 else 27
    if len(page) < size or len(page) < 27 + page[26]:
        return f"its last page announces {size} bytes, {len(page)} are there"
    return None


def _logged_shortage(log: str) -> str | None:
    """What a file lacks according to libsndfile's log of its header, in words."""
    for line in log.splitlines():
        sizes = re.search(r": (\d+) \(should be (\d+)\)", line)
        if sizes and int(sizes[2]) < int(sizes[1]) < 0x7FFFF000:  # from there on: a stream of unknown length
            return f"the header announces {sizes[1]} bytes, {sizes[2]} are there"
        frames = re.search(r"frame count (\d+) does not match value from 'ds64' chunk of (\d+)", line)
        if frames and int(frames[1]) < int(frames[2]):
            return f"the header announces {frames[2]} samples per channel, {frames[1]} are there"
    return None


@functools.lru_cache(maxsize=256)
def can_write(sample_format: SampleFormat, sample_rate: int, channels: int) -> bool:
    """Whether soundfile writes this format at this rate (Hz) and gives back as many samples as it was given.

    Tried in memory, because libsndfile has no question for it: its writers differ in rates and channel counts, and
    ADPCM and GSM round lengths up to whole blocks. An odd length shows also the rounding to whole words.
    """
    import soundfile

    length = 97
    memory = io.BytesIO()
    kind = {"format": sample_format.container, "subtype": sample_format.subtype}
    try:
        with soundfile.SoundFile(memory, "w", sample_rate, channels, **kind) as file:
            file.write(np.zeros((length, channels), np.float32))
        memory.seek(0)
        with soundfile.SoundFile(memory) as file:
            return file.samplerate == sample_rate and len(file.read(2 * length)) == length
    except (soundfile.SoundFileError, RuntimeError, ValueError, TypeError):
        return False


def writable_format(sample_format: SampleFormat, sample_rate: int, channels: int) -> SampleFormat:
    """The format itself where it can be written at this rate (Hz), else a wav of its or the nearest integer subtype."""
    subtype = sample_format.subtype
    bits = re.search(r"(?:PCM_[SU]?|ALAC_|DWVW_)(\d+)", subtype)
    nearest = {8: "PCM_U8", 12: "PCM_16", 20: "PCM_24", 24: "PCM_24", 32: "PCM_32"}
    fallbacks = (
        sample_format,
        SampleFormat("WAV", subtype),
        SampleFormat("WAV", nearest.get(int(bits[1]), "PCM_16") if bits else "PCM_16"),
    )
    return next((f for f in fallbacks if can_write(f, sample_rate, channels)), fallbacks[-1])


WRITE_BLOCK = 1 << 16  # samples per channel; libsndfile's Vorbis encoder overflows the stack on millions at once


def write_audio(path: str | Path, samples: np.ndarray, sample_rate: int, sample_format: SampleFormat) -> int:
    """Writes samples (L,) or (L, channels), full scale 1, complete or not at all; returns how many were clipped.

    Clipped are samples beyond full scale in formats that cannot hold them; they are set to full scale.
    Raises AudioFileError if soundfile cannot write it, e.g. for want of space; OSError if the folder cannot be used.
    """
    with audio_writer(path, sample_rate, 1 if samples.ndim == 1 else samples.shape[1], sample_format) as write:
        return write(samples)


@contextmanager
def audio_writer(
    path: str | Path, sample_rate: int, channels: int, sample_format: SampleFormat
) -> Iterator[Callable[[np.ndarray], int]]:
    """`write_audio` piece by piece: a function that writes samples and returns how many were clipped.

    The file appears under its name when the context is left without an error. Raises as `write_audio`.
    """
    import soundfile

    def write(samples: np.ndarray) -> int:
        for start in range(0, len(samples), WRITE_BLOCK):
            file.write(_rounded(samples[start : start + WRITE_BLOCK], sample_format))
        return int(np.count_nonzero(np.abs(samples) > 1.0)) if sample_format.clips else 0

    kind = {"format": sample_format.container, "subtype": sample_format.subtype}
    try:
        with complete_file(path) as partial, soundfile.SoundFile(partial, "w", sample_rate, channels, **kind) as file:
            yield write
    except AudioFileError:  # of what is read meanwhile
        raise
    except (soundfile.SoundFileError, RuntimeError, ValueError) as error:
        raise AudioFileError(
            f"{path}: cannot be written as {sample_format} at {sample_rate} Hz with {channels} channels "
            f"({_reason(error)}). Check the free space, or choose another format."
        ) from error


def resampled_length(length: int, rate: int, new_rate: int) -> int:
    """Samples a recording of `length` samples has after resampling: ceil(length * new_rate / rate)."""
    return -(-length * new_rate // rate)


def resample(signal: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Resamples (L,) or (L, channels) without delay to exactly `resampled_length` samples, float32.

    Raises ModuleNotFoundError with the remedy where soxr is not installed.
    """
    if rate == new_rate:
        return signal
    columns = signal.reshape(len(signal), -1 if signal.size else int(np.prod(signal.shape[1:])))
    resampled = Resampler(rate, new_rate, columns.shape[1]).process(columns, last=True)
    return resampled.reshape(-1, *signal.shape[1:])


class Resampler:
    """`resample` piece by piece. Rates in Hz; equal rates pass the samples through.

    Raises ModuleNotFoundError with the remedy where soxr is not installed.
    """

    def __init__(self, rate: int, new_rate: int, channels: int) -> None:
        self.rate, self.new_rate, self.channels = rate, new_rate, channels
        self._taken = self._given = 0
        if rate == new_rate:
            return
        try:
            import soxr
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"resampling from {rate} Hz to {new_rate} Hz needs the package soxr: pip install soxr"
            ) from error
        self._stream = soxr.ResampleStream(rate, new_rate, channels, dtype="float32", quality="HQ")

    def process(self, samples: np.ndarray, last: bool = False) -> np.ndarray:
        """Samples (M, channels) -> those (M', channels) that are complete by now; with `last` all of them."""
        if self.rate == self.new_rate:
            return samples
        self._taken += len(samples)
        resampled = np.zeros((0, self.channels), np.float32)
        if self._taken:
            resampled = self._stream.resample_chunk(samples.astype(np.float32, copy=False), last=last)
            resampled = resampled.reshape(-1, self.channels)
        if last:
            length = resampled_length(self._taken, self.rate, self.new_rate) - self._given
            resampled = np.pad(resampled, [(0, max(0, length - len(resampled))), (0, 0)])[:length]
        self._given += len(resampled)
        return resampled


def _rounded(samples: np.ndarray, sample_format: SampleFormat) -> np.ndarray:
    """The nearest steps of an integer subtype; libsndfile would take the one below: twice the error, and a bias."""
    bits = re.fullmatch(r"(?:PCM_[SU]?|ALAC_)(8|16|20|24)", sample_format.subtype)  # float32 resolves no more than 24
    steps = 2.0 ** (int(bits[1]) - 1) if bits else 0.0  # from 0 to full scale
    return np.round(samples * steps) / steps if steps else samples


@contextmanager
def complete_file(path: str | Path) -> Iterator[Path]:
    """Gives a temporary path beside `path`, with the same suffix; the file written there takes the final name when the
    block ends without an error, and is removed otherwise: a partial file never appears under its final name."""
    path = Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem[:80]}.partial.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        umask = os.umask(0)
        os.umask(umask)
        partial.chmod(0o666 & ~umask)  # mkstemp makes files private
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
