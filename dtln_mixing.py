"""Mixing of speech and noise into (noisy, clean) training segments.

One mixer serves the data generator (on the fly, `run_training.py --speech --noise`) and everything that writes mixtures
to disk. A segment is made in four steps, each drawn from the random generator that the caller passes in, so that the
same generator state gives the same segment:

    random crop of speech -> random crop of noise -> augmentations, by name, in the order given -> a room, if there are
    any -> noise scaled to a random SNR, mixture scaled to a random level, peak kept below full scale

Recordings are decoded once and kept as int16 (115 MB an hour); a cache file holds them between runs.
"""

from __future__ import annotations

import functools
import hashlib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from dtln_audio import SAMPLE_RATE, AudioFileError, complete_file, find_audio_files, read_audio

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

PEAK_LIMIT = 0.99  # of full scale; a louder mixture is turned down as a whole, its SNR kept
SILENCE_POWER = 1e-8  # mean square (-80 dBFS) under which a crop counts as a pause
CROP_ATTEMPTS = 10  # crops drawn before a pause is accepted
INT16_SCALE = 32768.0
CACHE_VERSION = 1

RESPONSE_LENGTH = round(0.6 * SAMPLE_RATE)  # samples kept of a room response, from the direct sound on
EARLY_LENGTH = round(0.05 * SAMPLE_RATE)  # samples from the direct sound on that count as early reflections: 50 ms
RESPONSE_LEAD = 40  # samples kept before the direct sound: half of pyroomacoustics' fractional delay filter (81)
ROOM_TARGETS = ("reverberant", "early")
SOUND_SPEED = 343.0  # m/s
ROOMS_VERSION = 1  # of cached banks
HIGHEST_ORDER = 60  # of image sources; the orders above hold 3 % of a long decay at 0.5 s, and cost most of the time


def mean_power(signal: np.ndarray) -> float:
    """Mean square of a signal (L,), full scale 1; 0.0 for an empty one."""
    return float(np.mean(np.square(signal, dtype=np.float64))) if signal.size else 0.0


@dataclass
class Recordings:
    """Decoded mono recordings at 16 kHz, kept as int16.

    names: path of each recording relative to its folder; signals: one int16 array (L,) each; weights: how much more
    often than its duration says each is drawn, None for all alike.
    """

    names: list[str]
    signals: list[np.ndarray]
    weights: list[float] | None = None

    @property
    def hours(self) -> float:
        """Duration of all recordings together, in hours."""
        return sum(len(signal) for signal in self.signals) / SAMPLE_RATE / 3600

    def select(self, names: set[str]) -> Recordings:
        """The recordings whose names are in `names`, in this order."""
        chosen = [index for index, name in enumerate(self.names) if name in names]
        return Recordings(
            [self.names[i] for i in chosen],
            [self.signals[i] for i in chosen],
            None if self.weights is None else [self.weights[i] for i in chosen],
        )

    def by_folder(self) -> dict[str, Recordings]:
        """These recordings by the first folder of their names, "" for those in none, in alphabetical order."""
        folders: dict[str, set[str]] = {}
        for name in self.names:
            folders.setdefault(name.partition("/")[0] if "/" in name else "", set()).add(name)
        return {folder: self.select(folders[folder]) for folder in sorted(folders)}

    def weighted(self, folders: Mapping[str, float]) -> Recordings:
        """These recordings with the weight of the folder that each lies in, 1 for those in no folder named.

        folders: weights of at least 0 by folder, as the names of the recordings begin; the longest that fits counts.
        Raises ValueError for a folder that holds none of them, for other weights, and where nothing is left to draw.
        """
        weights = [1.0] * len(self.names)
        for folder in sorted(folders, key=len):
            if not 0 <= folders[folder] < math.inf:
                raise ValueError(f"{folder}={folders[folder]:g}: expected a weight of at least 0")
            members = [i for i, name in enumerate(self.names) if name.startswith(f"{folder.strip('/')}/")]
            if not members:
                known = ", ".join(filter(None, self.by_folder()))
                raise ValueError(f"{folder}: no recording to weight lies in a folder of this name. There are: {known}")
            for i in members:
                weights[i] = folders[folder]
        if not any(weights):
            raise ValueError("every recording has the weight 0: expected at least one to draw")
        return Recordings(self.names, self.signals, weights)

    @cached_property
    def _ends(self) -> np.ndarray:
        lengths = np.array([len(signal) for signal in self.signals])
        return np.cumsum(lengths if self.weights is None else np.rint(lengths * self.weights).astype(np.int64))

    def crop(self, rng: np.random.Generator, length: int) -> np.ndarray:
        """A random stretch of one random recording, float32 (length,); a short recording is repeated.

        Recordings are drawn in proportion to their duration times their weight. Pauses are drawn again, up to
        CROP_ATTEMPTS times.
        """
        durations = self._ends
        crop = np.zeros(length, np.float32)
        for _ in range(CROP_ATTEMPTS):
            signal = self.signals[int(np.searchsorted(durations, rng.integers(durations[-1]), side="right"))]
            start = int(rng.integers(max(1, len(signal) - length + 1)))
            stretch = signal[start : start + length]
            if len(stretch) < length:
                stretch = np.tile(stretch, -(-length // len(stretch)))[:length]
            crop = stretch.astype(np.float32) / np.float32(INT16_SCALE)
            if mean_power(crop) > SILENCE_POWER:
                break
        return crop


def load_recordings(folder: str | Path, cache_dir: str | Path | None = None) -> Recordings:
    """Decodes every audio file below `folder` (any format of soundfile, any rate, channels averaged).

    cache_dir: where the decoded int16 samples are kept; a cache is used again while names, sizes and modification
    times of the files are the same. None keeps nothing.
    Raises AudioFileError for a missing or empty folder and for a file that cannot be read.
    """
    folder = Path(folder)
    files = find_audio_files(folder)
    names = [file.relative_to(folder).as_posix() for file in files]
    stamps = [(name, file.stat().st_size, file.stat().st_mtime_ns) for name, file in zip(names, files, strict=True)]
    key = hashlib.sha256(repr((CACHE_VERSION, SAMPLE_RATE, stamps)).encode()).hexdigest()[:16]
    cache = Path(cache_dir) / f"{folder.resolve().name}_{key}.npz" if cache_dir is not None else None
    if cache is not None and cache.exists():
        with np.load(cache) as stored:
            ends = np.cumsum(stored["lengths"])
            return Recordings(names, np.split(stored["samples"], ends[:-1]))

    def decode(file: Path) -> np.ndarray:
        signal, _ = read_audio(file, sample_rate=SAMPLE_RATE, mono=True)
        if signal.size == 0:
            raise AudioFileError(f"{file}: holds no samples; expected a recording. Remove the file.")
        return np.clip(np.round(signal * INT16_SCALE), -INT16_SCALE, INT16_SCALE - 1).astype(np.int16)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoders run outside the interpreter lock
        signals = list(pool.map(decode, files))
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with complete_file(cache) as partial, open(partial, "wb") as stream:
            np.savez(stream, samples=np.concatenate(signals), lengths=[len(signal) for signal in signals])
    return Recordings(names, signals)


def speaker_of(name: str) -> str:
    """The speaker a recording belongs to, read from its relative path: everything before the last underscore.

    `speechocean762/spk0001_00.opus` -> `speechocean762/spk0001`; a name without underscore is its own speaker.
    """
    stem = name.rsplit(".", 1)[0]
    folder, _, base = stem.rpartition("/")
    return f"{folder}/{base.rpartition('_')[0] or base}".lstrip("/")


def split_by_group(recordings: Recordings, validation_share: float) -> tuple[Recordings, Recordings]:
    """Splits recordings into (training, validation) so that no speaker (or noise class) is in both.

    A group goes to validation if a hash of its name says so: the split stays the same when recordings are added.
    A group that holds over a tenth of all samples (one speaker filling a whole set) always stays in training.
    Raises ValueError if either part would be empty.
    """
    durations: dict[str, int] = {}
    for name, signal in zip(recordings.names, recordings.signals, strict=True):
        durations[speaker_of(name)] = durations.get(speaker_of(name), 0) + len(signal)
    total = sum(durations.values())

    def is_validation(group: str) -> bool:
        draw = int(hashlib.sha256(group.encode()).hexdigest()[:8], 16) / 16**8
        return draw < validation_share and durations[group] <= 0.1 * total

    chosen = {name for name in recordings.names if is_validation(speaker_of(name))}
    training, validation = recordings.select(set(recordings.names) - chosen), recordings.select(chosen)
    if not training.names or not validation.names:
        raise ValueError(
            f"{len(recordings.names)} recordings of {len(durations)} speakers or kinds cannot be split into training "
            f"and validation with a share of {validation_share}: one part would be empty. Add recordings, change the "
            "share, or give validation folders of their own"
        )
    return training, validation


@dataclass
class Draw:
    """One segment while it is being made: augmentations change it in place.

    speech, noise: float32 (L,); the target is `speech` as it stands after all augmentations, unless `target` is set.
    snr_db, level_dbfs: what the mixture will be scaled to. clipped_share: of its samples, the loudest, that will be
    clipped. mixer: for further crops, and for its rooms.
    """

    speech: np.ndarray
    noise: np.ndarray
    snr_db: float
    level_dbfs: float
    mixer: Mixer
    target: np.ndarray | None = None
    clipped_share: float = 0.0


Change = Callable[[Draw, np.random.Generator], None]


@dataclass(frozen=True)
class Augmentation:
    """A change to segments, and the share of them that undergo it."""

    change: Change
    share: float

    def __call__(self, draw: Draw, rng: np.random.Generator) -> None:
        """Changes the segment, or leaves it as it is."""
        if self.share >= 1 or rng.random() < self.share:
            self.change(draw, rng)

    @property
    def description(self) -> str:
        """The first line of what the change says of itself."""
        return (self.change.__doc__ or "").splitlines()[0]


AUGMENTATIONS: dict[str, Augmentation] = {}  # by name, each with the share that it has unless told otherwise


def augmentation(share: float) -> Callable[[Change], Change]:
    """Registers a function under its name in AUGMENTATIONS; called itself, it changes every segment."""

    def register(change: Change) -> Change:
        AUGMENTATIONS[change.__name__] = Augmentation(change, share)
        return change

    return register


def augmentation_by_name(name: str) -> Augmentation:
    """The augmentation called `name`, or `name=share` for that share of segments; ValueError for what is neither."""
    name, given, share = name.partition("=")
    if name not in AUGMENTATIONS:
        raise ValueError(f"unknown augmentation {name!r}: expected one of {', '.join(sorted(AUGMENTATIONS))}")
    if not given:
        return AUGMENTATIONS[name]
    try:
        value = float(share)
    except ValueError:
        value = math.nan
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"augmentation {name}={share}: expected a share of segments from 0 to 1, {name}=0.3 say")
    return replace(AUGMENTATIONS[name], share=value)


def _shape_spectrum(signal: np.ndarray, gain: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Filters a signal (L,) with a real, zero-phase gain given as a function of the frequencies in Hz."""
    return _from_spectrum(_spectrum(signal) * gain(_frequencies(len(signal))).astype(np.float32), len(signal))


def _spectrum(signal: np.ndarray, length: int | None = None) -> np.ndarray:
    """The spectrum of a signal (L,), padded to `length`, or of each row of an array: complex64, of the same energy."""
    return np.fft.rfft(signal, length, norm="ortho")  # by default NumPy takes float32 through float64


def _from_spectrum(spectrum: np.ndarray, length: int) -> np.ndarray:
    """The signal, or the rows, of `_spectrum`: float32 (length,)."""
    return np.fft.irfft(spectrum, length, norm="ortho").astype(np.float32, copy=False)


@functools.lru_cache(maxsize=64)
def _frequencies(length: int) -> np.ndarray:
    """The frequencies of the spectrum of a signal of `length` samples in Hz."""
    return np.fft.rfftfreq(length, 1 / SAMPLE_RATE).astype(np.float32)


def _scaled_to(signal: np.ndarray, power: float) -> np.ndarray:
    """The signal scaled to a mean square; silence stays silence."""
    own = mean_power(signal)
    return signal * np.float32(np.sqrt(power / own)) if own > 0 else signal


@augmentation(1.0)
def spectral_tilt(draw: Draw, rng: np.random.Generator) -> None:
    """Tilts the spectra of speech and noise, each by -3 to 3 dB per octave around 1 kHz, powers kept."""
    for part in ("speech", "noise"):
        slope = rng.uniform(-3.0, 3.0)
        signal = getattr(draw, part)
        tilted = _shape_spectrum(signal, lambda f, s=slope: 10 ** (s * np.log2(np.maximum(f, 50.0) / 1000.0) / 20))
        setattr(draw, part, _scaled_to(tilted, mean_power(signal)))


@augmentation(1.0)
def equalisation(draw: Draw, rng: np.random.Generator) -> None:
    """Equalises speech and noise, each with gains of -8 to 8 dB at six frequencies from 60 Hz to 8 kHz, powers kept.

    Between the frequencies, which are equally spaced on a logarithmic scale, the gain in dB is interpolated linearly.
    """
    draw.speech, draw.noise = _equalised(rng, draw.speech, 8.0), _equalised(rng, draw.noise, 8.0)


def _equalised(rng: np.random.Generator, signal: np.ndarray, limit_db: float) -> np.ndarray:
    """The signal (L,) with six random gains of up to `limit_db` in either direction, see `equalisation`."""
    return _scaled_to(_shape_spectrum(signal, _equaliser(rng, limit_db)), mean_power(signal))


def _equaliser(rng: np.random.Generator, limit_db: float) -> Callable[[np.ndarray], np.ndarray]:
    """The gain of `equalisation` with six gains of up to `limit_db` in either direction."""
    gains_db = rng.uniform(-limit_db, limit_db, 6)
    points = np.linspace(np.log(60.0), np.log(SAMPLE_RATE / 2), 6)
    return lambda f: 10 ** (np.interp(np.log(np.maximum(f, 1.0)), points, gains_db) / 20)


SPEED_STEP = 1 / 40  # speeds are multiples of it: lengths before and after then share large factors, as FFTs like


@augmentation(1.0)
def speed_perturbation(draw: Draw, rng: np.random.Generator) -> None:
    """Plays speech at 0.9 to 1.1 and noise at 0.7 to 1.4 times its speed, each in half of the segments.

    Tempo and pitch change together, as in Ko et al., "Audio augmentation for speech recognition", Interspeech 2015.
    """
    length = len(draw.speech)
    for part, slowest, fastest in (("speech", 36, 44), ("noise", 28, 56)):
        speed = int(rng.integers(slowest, fastest + 1)) * SPEED_STEP
        if rng.random() < 0.5:
            setattr(draw, part, _crop_at_speed(rng, getattr(draw.mixer, part), length, speed))


@augmentation(0.5)
def speech_speed(draw: Draw, rng: np.random.Generator) -> None:
    """Plays speech at 0.8 to 1.25 times its speed: other voices, drawled and hurried ones."""
    draw.speech = _crop_at_speed(rng, draw.mixer.speech, len(draw.speech), _log_uniform(rng, 0.8, 1.25))


FORMANT_COEFFICIENTS = 24  # of the cepstrum, up to 1.5 ms: formants, but no voice below 670 Hz
FORMANT_LIMIT = 2.3  # natural logarithm of the largest gain or loss: 20 dB


@augmentation(0.5)
def vocal_tract_length(draw: Draw, rng: np.random.Generator) -> None:
    """Moves the formants of speech to 0.85 to 1.18 times their frequency, its pitch kept: more voices.

    The idea of Jaitly and Hinton, "Vocal tract length perturbation improves speech recognition", 2013, applied to the
    envelope alone: each block of 32 ms is filtered from its own, smoothed by its cepstrum, to the same one stretched.
    """
    spectra = _block_spectra(draw.speech)  # (T, F)
    cepstra = np.log(np.abs(spectra) + np.float32(1e-6)) @ _cepstral_analysis()  # (T, FORMANT_COEFFICIENTS)
    stretched = _cepstral_synthesis(_log_uniform(rng, 0.85, 1 / 0.85)) - _cepstral_synthesis(1.0)
    gains = np.exp(np.clip(cepstra @ stretched, -FORMANT_LIMIT, FORMANT_LIMIT))  # (T, F)
    draw.speech = _scaled_to(_from_block_spectra(spectra * gains, len(draw.speech)), mean_power(draw.speech))


@functools.cache
def _cepstral_analysis() -> np.ndarray:
    """Takes log magnitudes (T, F) of `_block_spectra` to cepstra: float32 (F, FORMANT_COEFFICIENTS)."""
    bins = BAND_BLOCK // 2
    weights = np.ones(bins + 1)
    weights[[0, -1]] = 0.5
    multiples = np.where(np.arange(FORMANT_COEFFICIENTS), 2.0, 1.0) / bins
    return (weights[:, None] * _cepstral_synthesis(1.0).T * multiples).astype(np.float32)


def _cepstral_synthesis(stretch: float) -> np.ndarray:
    """Takes cepstra to smooth log magnitudes, stretched along the frequency axis: float32 (FORMANT_COEFFICIENTS, F).

    Where that asks for what lies beyond the band, the last bin is repeated.
    """
    bins = BAND_BLOCK // 2
    places = np.minimum(np.arange(bins + 1) / stretch, bins)
    return np.cos(np.pi / bins * np.outer(np.arange(FORMANT_COEFFICIENTS), places)).astype(np.float32)


@augmentation(0.5)
def noise_speed(draw: Draw, rng: np.random.Generator) -> None:
    """Plays the noise at half to twice its speed: other engines, crowds and dishes, where recordings are few."""
    draw.noise = _crop_at_speed(rng, draw.mixer.noise, len(draw.noise), _log_uniform(rng, 0.5, 2.0))


@augmentation(0.3)
def frequency_shift(draw: Draw, rng: np.random.Generator) -> None:
    """Moves the noise's spectrum by -300 to 600 Hz: noises of other timbre and of the same course."""
    length = len(draw.noise)
    spectrum = _spectrum(draw.noise)
    shift = round(rng.uniform(-300.0, 600.0) * length / SAMPLE_RATE)  # in bins; what leaves the band is gone
    moved = np.zeros_like(spectrum)
    moved[max(shift, 0) : len(moved) + min(shift, 0)] = spectrum[max(-shift, 0) : len(moved) - max(shift, 0)]
    draw.noise = _from_spectrum(moved, length)


@augmentation(0.3)
def time_reversal(draw: Draw, rng: np.random.Generator) -> None:
    """Plays the noise backwards."""
    draw.noise = draw.noise[::-1].copy()


def _crop_at_speed(rng: np.random.Generator, recordings: Recordings, length: int, speed: float) -> np.ndarray:
    """A random crop that comes out as (length,) when played at about that speed, the nearest multiple of SPEED_STEP."""
    speed = SPEED_STEP * round(speed / SPEED_STEP)
    return _resampled(recordings.crop(rng, round(length * speed)), length)


def _resampled(signal: np.ndarray, length: int, gain: Callable[[np.ndarray], np.ndarray] | None = None) -> np.ndarray:
    """The signal (L,) band-limited and resampled to (length,) by cutting or padding its spectrum.

    gain: a filter for the result, as `_shape_spectrum` takes it.
    """
    spectrum = _spectrum(signal)[: length // 2 + 1] * np.float32(math.sqrt(length / len(signal)))
    if gain is not None:
        spectrum *= gain(_frequencies(length)[: len(spectrum)]).astype(np.float32)
    return _from_spectrum(spectrum, length)


@augmentation(0.4)
def noise_pieces(draw: Draw, rng: np.random.Generator) -> None:
    """Joins pieces of 0.2 to 2 s of other noises, at half to twice their speed, instead.

    Each has a level of -6 to 6 dB and an equaliser of -12 to 12 dB of its own and passes into the next within 10 ms.
    """
    length = len(draw.noise)
    joined = np.zeros(length, np.float32)
    start = 0
    while start < length:
        piece = _piece(rng, draw.mixer.noise, _log_uniform(rng, 0.2, 2.0), _log_uniform(rng, 0.5, 2.0), 12.0)
        piece = piece * _fades(len(piece)) * np.float32(10 ** (rng.uniform(-6.0, 6.0) / 20))
        joined[start : start + len(piece)] += piece[: length - start]
        start += len(piece) - PIECE_FADE
    draw.noise = joined


PIECE_STEP = 800  # samples: lengths of pieces are multiples of it, which suits FFTs as SPEED_STEP does
PIECE_FADE = SAMPLE_RATE // 100  # samples in which a piece appears and vanishes


def _piece(
    rng: np.random.Generator, recordings: Recordings, seconds: float, speed: float, equaliser_db: float | None = None
) -> np.ndarray:
    """A stretch of a random recording at another speed: float32 of about `seconds`, mean square 1e-3.

    equaliser_db: gains of up to that in either direction, as in `equalisation`.
    """
    samples = PIECE_STEP * max(1, round(seconds * SAMPLE_RATE / PIECE_STEP))
    speed = SPEED_STEP * round(speed / SPEED_STEP)
    crop = recordings.crop(rng, round(samples * speed))
    gain = None if equaliser_db is None else _equaliser(rng, equaliser_db)
    return _scaled_to(_resampled(crop, samples, gain), 1e-3)


@functools.lru_cache(maxsize=64)
def _fades(length: int) -> np.ndarray:
    """Gains (length,) that rise from 0 within PIECE_FADE samples and fall back to it in the last ones."""
    ramp = np.linspace(0.0, 1.0, PIECE_FADE, dtype=np.float32)
    return np.concatenate([ramp, np.ones(length - 2 * PIECE_FADE, np.float32), ramp[::-1]])


@augmentation(1 / 8)
def altered_voices(draw: Draw, rng: np.random.Generator) -> None:
    """Adds bursts of speech too slow or too fast for a human voice, -10 to 10 dB.

    They last 60 ms to 1.4 s, at 0.3 to 0.5 or 2 to 3.3 times the speed, half of them backwards: what animals, toys and
    squeaking things have of a voice. Those of one segment have one speed.
    """
    length = len(draw.noise)
    slowest, fastest = (0.3, 0.5) if rng.random() < 0.5 else (2.0, 3.3)
    speed, seconds = _log_uniform(rng, slowest, fastest), _log_uniform(rng, 0.1, 1.0)
    voices = np.zeros(length, np.float32)
    for _ in range(1 + rng.poisson(rng.uniform(0.2, 0.7) * length / SAMPLE_RATE / seconds)):
        piece = _piece(rng, draw.mixer.speech, seconds * rng.uniform(0.6, 1.4), speed)
        piece = piece[:: int(rng.choice([-1, 1]))] * _fades(len(piece)) * np.float32(rng.uniform(0.3, 1.0))
        start = int(rng.integers(length))
        voices[start : start + len(piece)] += piece[: length - start]
    _add_noise(draw, _equalised(rng, voices, 8.0), rng.uniform(-10.0, 10.0))


BANDS = 24  # of cross_synthesis, equally wide in mel (O'Shaughnessy, "Speech Communication", 1987)
BAND_BLOCK = 512  # samples of a block there; its shift is half of it


@augmentation(0.2)
def cross_synthesis(draw: Draw, rng: np.random.Generator) -> None:
    """Gives the noise the rise and fall of another one, band by band as in a channel vocoder.

    Each band of 32 ms is brought to the other's level, unless it is 40 dB below the mean: any two noises make another.
    """
    own, other = (_block_spectra(noise) for noise in (draw.noise, draw.mixer.noise.crop(rng, len(draw.noise))))
    own_power, other_power = (np.square(np.abs(spectra)) @ _mel_bands() for spectra in (own, other))  # (T, BANDS)
    gains = np.sqrt(other_power / (own_power + 1e-4 * own_power.mean() + 1e-12))
    draw.noise = _from_block_spectra(own * (gains @ _mel_bands().T), len(draw.noise))


@functools.cache
def _mel_bands() -> np.ndarray:
    """Triangles that add up to one over all bins: float32 (BAND_BLOCK / 2 + 1, BANDS)."""
    mel = 2595 * np.log10(1 + np.fft.rfftfreq(BAND_BLOCK, 1 / SAMPLE_RATE) / 700)  # (F,)
    position = mel / mel[-1] * (BANDS - 1)
    return np.maximum(0.0, 1.0 - np.abs(position[:, None] - np.arange(BANDS))).astype(np.float32)


def _block_spectra(signal: np.ndarray) -> np.ndarray:
    """Spectra (T, BAND_BLOCK / 2 + 1) of blocks that overlap by half, under the sine window."""
    shift = BAND_BLOCK // 2
    padded = np.pad(signal, (shift, shift + -len(signal) % shift))
    blocks = np.lib.stride_tricks.sliding_window_view(padded, BAND_BLOCK)[::shift] * _sine_window()  # (T, N)
    return _spectrum(blocks)


def _from_block_spectra(spectra: np.ndarray, length: int) -> np.ndarray:
    """The signal (length,) of `_block_spectra`, the same where they are unchanged."""
    shift = BAND_BLOCK // 2
    blocks = _from_spectrum(spectra, BAND_BLOCK) * _sine_window()  # (T, N)
    return (blocks[1:, :shift] + blocks[:-1, shift:]).reshape(-1)[:length]


@functools.cache
def _sine_window() -> np.ndarray:
    """Its square adds up to one over blocks that overlap by half: float32 (BAND_BLOCK,)."""
    return np.sin(np.pi * (np.arange(BAND_BLOCK) + 0.5) / BAND_BLOCK).astype(np.float32)


@augmentation(0.3)
def second_noise(draw: Draw, rng: np.random.Generator) -> None:
    """Adds a second noise recording, -10 to 10 dB relative to the first."""
    other = draw.mixer.noise.crop(rng, len(draw.noise))
    gain_db = rng.uniform(-10.0, 10.0)
    draw.noise = draw.noise + _scaled_to(other, mean_power(draw.noise) * 10 ** (gain_db / 10))


@augmentation(0.1)
def babble(draw: Draw, rng: np.random.Generator) -> None:
    """Replaces the noise by 4 to 12 talkers of equal power."""
    talkers = [draw.mixer.speech.crop(rng, len(draw.noise)) for _ in range(int(rng.integers(4, 13)))]
    draw.noise = np.sum([_scaled_to(talker, 1e-3) for talker in talkers], axis=0, dtype=np.float32)


@augmentation(0.1)
def coloured_noise(draw: Draw, rng: np.random.Generator) -> None:
    """Replaces the noise by stationary noise of -9 to 3 dB per octave."""
    draw.noise = _sloping_noise(rng, len(draw.noise), rng.uniform(-9.0, 3.0))


@augmentation(0.1)
def pauses(draw: Draw, rng: np.random.Generator) -> None:
    """Silences the speech from a random point to the end or from the start to it."""
    point = int(rng.integers(1, len(draw.speech)))
    speech = draw.speech.copy()
    speech[point:] *= 0
    draw.speech = speech if rng.random() < 0.5 else draw.speech - speech


@augmentation(0.1)
def noise_pauses(draw: Draw, rng: np.random.Generator) -> None:
    """Silences the noise before or after a random point."""
    point = int(rng.integers(1, len(draw.noise)))
    first = np.arange(len(draw.noise)) < point
    draw.noise = draw.noise * (first if rng.random() < 0.5 else ~first)


@augmentation(0.05)
def muting(draw: Draw, rng: np.random.Generator) -> None:
    """Silences speech and noise up to a random point, as a muted microphone does."""
    heard = np.arange(len(draw.speech)) >= int(rng.integers(1, len(draw.speech)))
    draw.speech, draw.noise = draw.speech * heard, draw.noise * heard


@augmentation(1.0)
def level_changes(draw: Draw, rng: np.random.Generator) -> None:
    """Lets the levels of speech and noise wander by -8 to 8 dB between five points, each in three of ten segments."""
    for part in ("speech", "noise"):
        if rng.random() < 0.3:
            signal = getattr(draw, part)
            points = np.linspace(0, len(signal), 5)
            gain_db = np.interp(np.arange(len(signal)), points, rng.uniform(-8.0, 8.0, 5))
            setattr(draw, part, (signal * 10 ** (gain_db / 20)).astype(np.float32))


@augmentation(0.2)
def band_limits(draw: Draw, rng: np.random.Generator) -> None:
    """Cuts speech and noise below 20 to 300 Hz and above 3.4 to 8 kHz, as microphones and lines do."""
    low, high = _log_uniform(rng, [20.0, 3400.0], [300.0, 8000.0])

    def gain(frequencies: np.ndarray) -> np.ndarray:  # Butterworth magnitudes: order 2 below, order 8 above
        ratio_low, ratio_high = low / np.maximum(frequencies, 1e-3), frequencies / high
        return 1.0 / np.sqrt((1.0 + ratio_low**4) * (1.0 + ratio_high**16))

    draw.speech, draw.noise = _shape_spectrum(draw.speech, gain), _shape_spectrum(draw.noise, gain)


@augmentation(1 / 3)
def proximity(draw: Draw, rng: np.random.Generator) -> None:
    """Boosts the speech below 80 to 300 Hz by 3 to 20 dB, as a directional microphone close to the mouth does.

    Deep voices, and rumble that was recorded with a voice, are then no sign of noise. The gain in dB falls as that of a
    first-order low-pass: by half at the corner frequency.
    """
    boost_db, corner = rng.uniform(3.0, 20.0), _log_uniform(rng, 80.0, 300.0)
    draw.speech = _shape_spectrum(draw.speech, lambda f: 10 ** (boost_db / (1.0 + (f / corner) ** 2) / 20))


@augmentation(0.05)
def hum(draw: Draw, rng: np.random.Generator) -> None:
    """Adds mains hum of 50 or 60 Hz with up to 20 harmonics, -15 to 5 dB relative to the noise."""
    tones = _tones(rng, len(draw.noise), rng.choice([50.0, 60.0]) * rng.uniform(0.995, 1.005), 20)
    _add_noise(draw, tones, rng.uniform(-15.0, 5.0))


@augmentation(0.05)
def fan(draw: Draw, rng: np.random.Generator) -> None:
    """Replaces the noise by a fan's, broadband noise that swells with the blades and their tone."""
    length, blades = len(draw.noise), rng.uniform(60.0, 300.0)  # Hz
    slope, depth = rng.uniform(-9.0, -3.0), rng.uniform(0.0, 0.5)
    turns = np.sin(2 * np.pi * blades / rng.integers(3, 9) * np.arange(length) / SAMPLE_RATE)
    rush = _sloping_noise(rng, length, slope) * (1.0 + depth * turns)
    tone = _tones(rng, length, blades, 8)
    draw.noise = (_scaled_to(rush, 1e-3) + _scaled_to(tone, 10 ** rng.uniform(-6.0, -3.5))).astype(np.float32)


@augmentation(0.05)
def clicks(draw: Draw, rng: np.random.Generator) -> None:
    """Adds 1 to 15 clicks a second, bursts of 1 to 10 ms, -10 to 10 dB relative to the noise."""
    length = len(draw.noise)
    bursts = np.zeros(length, np.float32)
    for _ in range(1 + rng.poisson(rng.uniform(1.0, 15.0) * length / SAMPLE_RATE)):
        decay = rng.uniform(1e-3, 1e-2) * SAMPLE_RATE / 3  # samples
        burst = rng.standard_normal(int(6 * decay) + 1) * np.exp(-np.arange(int(6 * decay) + 1) / decay)
        start = int(rng.integers(length))
        bursts[start : start + len(burst)] += burst[: length - start] * rng.uniform(0.3, 1.0)
    _add_noise(draw, bursts, rng.uniform(-10.0, 10.0))


@augmentation(1 / 12)
def impacts(draw: Draw, rng: np.random.Generator) -> None:
    """Adds 1 to 8 blows a second on a thing that rings (dishes, keys, tools), -10 to 10 dB.

    The thing has 3 to 20 damped modes of 150 Hz to 7 kHz that die away by 60 dB in 10 to 600 ms, and a dull thud.
    """
    length = len(draw.noise)
    time = np.arange(min(length, round(0.6 * SAMPLE_RATE))) / SAMPLE_RATE
    ringing = rng.standard_normal(len(time)) * np.exp(-time / rng.uniform(1e-3, 5e-3)) * rng.uniform(0.0, 3.0)
    longest = _log_uniform(rng, 0.01, 0.6)  # s
    for frequency in _log_uniform(rng, 150.0, 7000.0, int(rng.integers(3, 21))):
        decay = np.exp(-6.9 * time / (longest * rng.uniform(0.2, 1.0)))
        ringing += rng.standard_normal() * decay * np.sin(2 * np.pi * (frequency * time + rng.random()))
    blows = np.zeros(length)
    for _ in range(1 + rng.poisson(rng.uniform(1.0, 8.0) * length / SAMPLE_RATE)):
        blows[int(rng.integers(length))] += 10 ** rng.uniform(-1.0, 0.0)
    (struck,) = _convolved(blows, [ringing], 0)
    _add_noise(draw, struck, rng.uniform(-10.0, 10.0))


@augmentation(1 / 12)
def calls(draw: Draw, rng: np.random.Generator) -> None:
    """Adds an animal's or a thing's calls, one voice of 60 Hz to 3 kHz with harmonics, -10 to 10 dB.

    A call lasts 50 ms to 1 s; its pitch bends by up to an octave, trembles and may be rough; two resonances colour it.
    """
    length, pitch = len(draw.noise), _log_uniform(rng, 60.0, 3000.0)
    tilt, resonances = rng.uniform(-12.0, -3.0), rng.uniform(300.0, 5000.0, 2)
    bend, tremble, roughness = rng.uniform(-1.0, 1.0), rng.uniform(0.0, 0.05), rng.uniform(0.0, 1.0)
    duration = _log_uniform(rng, 0.05, 1.0)  # s
    called = np.zeros(length, np.float32)
    for _ in range(1 + rng.poisson(rng.uniform(0.2, 0.7) * length / SAMPLE_RATE / duration)):
        time = np.arange(max(2, min(length, round(duration * rng.uniform(0.6, 1.4) * SAMPLE_RATE)))) / SAMPLE_RATE
        share = time / time[-1]
        octaves = bend * share * rng.uniform(0.5, 1.0) + tremble * np.sin(2 * np.pi * rng.uniform(4.0, 12.0) * time)
        frequency = pitch * rng.uniform(0.9, 1.1) * 2**octaves  # Hz
        turns = np.cumsum(frequency) / SAMPLE_RATE
        phase = (2 * np.pi * (turns % 1)).astype(np.float32)  # below 2 pi float32 is enough, and ten times as fast
        call = np.zeros(len(time), np.float32)
        for k in range(1, min(30, int(SAMPLE_RATE / 2 / frequency.max())) + 1):
            own = k * frequency.mean()
            colour = 1.0 + 4.0 * np.exp(-(((own - resonances) / (0.15 * resonances)) ** 2)).sum()
            call += np.float32(colour * 10 ** (tilt * np.log2(k) / 20)) * np.sin(k * phase)
        call *= 1.0 - roughness * (0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(20.0, 90.0) * time))
        call *= np.sin(np.pi * share ** rng.uniform(0.4, 1.6)) ** 2 * rng.uniform(0.3, 1.0)
        start = int(rng.integers(length))
        called[start : start + len(call)] += call[: length - start]
    _add_noise(draw, called, rng.uniform(-10.0, 10.0))


@augmentation(1 / 12)
def bursts(draw: Draw, rng: np.random.Generator) -> None:
    """Keeps of the noise only sudden bursts, as of dishes, keys, barks, doors, at full level or up to 20 dB below.

    One comes in three seconds, or up to eight in a second, in a rhythm or at random. They rise within 0.3 to 20 ms and,
    after up to 0.3 s, fade by 8.7 dB in 5 to 200 ms. Between them is silence or the noise at -50 to -20 dB.
    """
    length = len(draw.noise)
    count = 1 + rng.poisson(_log_uniform(rng, 0.3, 8.0) * length / SAMPLE_RATE)
    if rng.random() < 0.5:
        starts = (np.arange(count) + rng.random() + rng.normal(0.0, 0.1, count)) * length / count
    else:
        starts = rng.uniform(0.0, length, count)
    rise, hold, fade = _log_uniform(rng, 0.0003, 0.02), _log_uniform(rng, 0.003, 0.3), _log_uniform(rng, 0.005, 0.2)
    burst_length = min(length, round((rise + hold + 8 * fade) * SAMPLE_RATE))
    time = np.arange(burst_length) / SAMPLE_RATE
    shape = np.minimum(time / rise, 1.0) * np.exp(-np.maximum(time - rise - hold, 0.0) / fade)
    kept = draw.noise * np.float32(10 ** (rng.uniform(-50.0, -20.0) / 20) if rng.random() < 0.5 else 0.0)
    level = mean_power(draw.noise)
    for start in starts.clip(0, length - 1).astype(int):
        sources = rng.integers(length - burst_length + 1, size=4)
        loudest = max((draw.noise[source : source + burst_length] for source in sources), key=mean_power)
        burst = _scaled_to(loudest * shape.astype(np.float32), level)
        kept[start : start + burst_length] += burst[: length - start] * np.float32(10 ** (rng.uniform(-20.0, 0.0) / 20))
    draw.noise = kept


@augmentation(1 / 12)
def gusts(draw: Draw, rng: np.random.Generator) -> None:
    """Replaces the noise by noise that comes and goes by up to 30 dB, as wind, waves, saws do.

    Its spectrum falls by 0 to 12 dB per octave; it swells 0.5 to 10 times a second, in gusts or in regular strokes.
    """
    length, rate = len(draw.noise), _log_uniform(rng, 0.5, 10.0)
    time = np.arange(length) / SAMPLE_RATE
    if rng.random() < 0.5:
        swell = np.sin(2 * np.pi * (rate * time + rng.random()))
    else:
        points = np.arange(0.0, time[-1] + 2 / rate, 1 / rate)
        swell = np.interp(time, points, rng.uniform(-1.0, 1.0, len(points)))
    steady = _sloping_noise(rng, length, rng.uniform(-12.0, 0.0))
    draw.noise = (steady * 10 ** (rng.uniform(3.0, 15.0) * swell / 20)).astype(np.float32)


@augmentation(0.05)
def clipping(draw: Draw, rng: np.random.Generator) -> None:
    """Clips the 0.03 to 3 % loudest samples of the mixture, not of the target."""
    draw.clipped_share = 10 ** rng.uniform(-3.5, -1.5)


def _log_uniform(rng: np.random.Generator, low: ArrayLike, high: ArrayLike, size: int | None = None) -> Any:
    """Draws whose logarithms are uniform between those of `low` and `high`: a float, or an array where one is asked."""
    return np.exp(rng.uniform(np.log(low), np.log(high), size))


def _tones(rng: np.random.Generator, length: int, fundamental: float, harmonics: int) -> np.ndarray:
    """A fundamental in Hz and harmonics of random phase and falling random amplitude: float32 (length,)."""
    phase = (2 * np.pi * (fundamental / SAMPLE_RATE * np.arange(length) % 1)).astype(np.float32)
    total = np.zeros(length, np.float32)
    for k in range(1, int(rng.integers(2, harmonics + 1))):
        amplitude = np.float32(rng.uniform(0.1, 1.0) / k)
        total += amplitude * np.sin(k * phase + np.float32(2 * np.pi * rng.random()))
    return total


def _sloping_noise(rng: np.random.Generator, length: int, slope: float) -> np.ndarray:
    """Gaussian noise of `slope` dB per octave above 40 Hz: float32 (length,)."""
    white = rng.standard_normal(length).astype(np.float32)
    return _shape_spectrum(white, lambda f: 10 ** (slope * np.log2(np.maximum(f, 40.0) / 1000.0) / 20))


def _add_noise(draw: Draw, noise: np.ndarray, relative_db: float) -> None:
    """Adds a noise at a power relative to the one that is there."""
    draw.noise = draw.noise + _scaled_to(noise, mean_power(draw.noise) * 10 ** (relative_db / 10))


# ----------------------------------------------------------------------------------------------------------------------
# Rooms
# ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RoomResponse:
    """The impulse response from one place in a room to one microphone, at 16 kHz, scaled to a direct sound of 1.

    samples: float32 (K,); direct: index of the direct sound in them; room: responses of one room carry the same name;
    name: the file, or where it was simulated; rt60: reverberation time in s, as `reverberation_time` finds it.
    """

    samples: np.ndarray
    direct: int
    room: str
    name: str
    rt60: float

    @property
    def early(self) -> np.ndarray:
        """The samples up to 50 ms after the direct sound."""
        return self.samples[: self.direct + EARLY_LENGTH]


def prepare_response(samples: np.ndarray, room: str, name: str, direct: int | None = None) -> RoomResponse:
    """Cuts a response (K,) at 16 kHz to RESPONSE_LEAD before the direct sound and RESPONSE_LENGTH from it on.

    direct: index of the direct sound; None looks for it: the peak within 1 ms of the first sample that reaches half of
    the largest magnitude (a reflection, or two at once, may be louder than the direct sound, but seldom twice as loud).
    Raises AudioFileError for a response that is silent.
    """
    magnitude = np.abs(samples)
    if not magnitude.any():
        raise AudioFileError(f"{name}: is silent. Expected a room impulse response; remove the file.")
    if direct is None:
        onset = int(np.argmax(magnitude >= magnitude.max() / 2))
        direct = onset + int(np.argmax(magnitude[onset : onset + SAMPLE_RATE // 1000]))
    rt60 = reverberation_time(samples[direct:])
    start = max(0, direct - RESPONSE_LEAD)
    kept = samples[start : direct + RESPONSE_LENGTH] / magnitude[direct]
    return RoomResponse(kept.astype(np.float32), direct - start, room, name, rt60)


def reverberation_time(response: np.ndarray) -> float:
    """RT60 in s of a response (K,) at 16 kHz: three times the time its decay takes from -5 to -25 dB (T20, ISO 3382-2).

    The decay is the energy still to come (Schroeder, "New method of measuring reverberation time", JASA 37, 1965).
    """
    remaining = np.cumsum(np.square(response[::-1], dtype=np.float64))[::-1]
    decay_db = 10 * np.log10(np.maximum(remaining / remaining[0], 1e-30))
    start, end = (int(np.count_nonzero(decay_db > limit)) for limit in (-5.0, -25.0))
    return 3 * (end - start) / SAMPLE_RATE


def read_response(path: str | Path, room: str, name: str | None = None) -> RoomResponse:
    """A measured room impulse response of any rate; of several channels the first. Raises AudioFileError."""
    samples, _ = read_audio(path, sample_rate=SAMPLE_RATE)
    if samples.size == 0:
        raise AudioFileError(f"{path}: holds no samples; expected a room impulse response. Remove the file.")
    response = prepare_response(samples[:, 0], room, str(path))
    return replace(response, name=name or str(path))


def room_of(name: str) -> str:
    """The room of a measured response, read from its relative path: its sub-folder, or itself where it is in none."""
    return name.rpartition("/")[0] or name


def simulate_room(rng: np.random.Generator, room: str = "simulated") -> list[RoomResponse]:
    """Two responses of one random room, from two sources to one microphone, by the image-source method.

    The room is a shoebox of 3-10 m x 3-8 m x 2.5-4 m. Its walls absorb what gives an RT60 of 0.15 to 1.0 s by Sabine's
    formula, or the shortest there is where they would have to absorb more than all. The sources are 0.3 to 3 m away
    from the microphone, and all are at least 0.3 m away from the walls. Method: Allen & Berkley, "Image method for
    efficiently simulating small-room acoustics", JASA 65, 1979, as pyroomacoustics has it.
    Raises ModuleNotFoundError with the remedy where pyroomacoustics is not installed.
    """
    pyroomacoustics = require_pyroomacoustics()
    margin = 0.3  # m
    size = rng.uniform([3.0, 3.0, 2.5], [10.0, 8.0, 4.0])
    walls = 2 * (size[0] * size[1] + size[0] * size[2] + size[1] * size[2])  # m^2
    shortest = 24 * np.log(10) / SOUND_SPEED * np.prod(size) / walls  # s, by Sabine, of walls that absorb everything
    rt60 = rng.uniform(max(0.15, 1.01 * shortest), 1.0)
    microphone = rng.uniform(margin, size - margin)
    sources, distances = [], []
    while len(sources) < 2:
        direction = rng.standard_normal(3)
        distance = rng.uniform(0.3, 3.0)
        source = microphone + distance * direction / np.linalg.norm(direction)
        if np.all(source >= margin) and np.all(source <= size - margin):
            sources.append(source)
            distances.append(distance)
    reach = SOUND_SPEED * min(rt60, RESPONSE_LENGTH / SAMPLE_RATE)  # m that sound travels in the part that is kept
    shoebox = pyroomacoustics.ShoeBox(
        size,
        fs=SAMPLE_RATE,
        materials=pyroomacoustics.Material(shortest / rt60),
        max_order=min(HIGHEST_ORDER, int(np.ceil(reach / size.min()))),
    )
    for source in sources:
        shoebox.add_source(source)
    shoebox.add_microphone(microphone)
    shoebox.compute_rir()
    what = f"{room}: {size[0]:.2f} x {size[1]:.2f} x {size[2]:.2f} m, RT60 {rt60:.2f} s by Sabine"
    responses = []
    for samples, distance in zip(shoebox.rir[0], distances, strict=True):
        direct = round(distance / SOUND_SPEED * SAMPLE_RATE) + RESPONSE_LEAD
        responses.append(prepare_response(samples, room, f"{what}, source at {distance:.2f} m", direct))
    return responses


def require_pyroomacoustics() -> ModuleType:
    """The package pyroomacoustics, set to one thread; ModuleNotFoundError with the remedy where it is missing.

    Each of its threads sums a part of the images: with one the sum does not depend on the number of processors.
    """
    try:
        import pyroomacoustics
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "simulating rooms needs the package pyroomacoustics: pip install pyroomacoustics"
        ) from error
    pyroomacoustics.constants.set("num_threads", 1)
    assert pyroomacoustics.constants.get("c") == SOUND_SPEED
    assert pyroomacoustics.constants.get("frac_delay_length") // 2 == RESPONSE_LEAD
    return pyroomacoustics


@dataclass
class RoomResponses:
    """A bank of room responses to draw from."""

    responses: list[RoomResponse]

    def __post_init__(self) -> None:
        if not self.responses:
            raise ValueError("a bank of room responses was given none: expected at least one")

    @cached_property
    def _of_room(self) -> dict[str, list[int]]:
        rooms: dict[str, list[int]] = {}
        for index, response in enumerate(self.responses):
            rooms.setdefault(response.room, []).append(index)
        return rooms

    def draw(self, rng: np.random.Generator) -> tuple[RoomResponse, RoomResponse | None]:
        """A random response for speech, and another one of its room for noise; None where the room has no other."""
        speech = int(rng.integers(len(self.responses)))
        others = [index for index in self._of_room[self.responses[speech].room] if index != speech]
        noise = self.responses[others[int(rng.integers(len(others)))]] if others else None
        return self.responses[speech], noise


def load_rooms(folder: str | Path) -> RoomResponses:
    """The measured responses below a folder; those of one sub-folder count as one room's. Raises AudioFileError."""
    folder = Path(folder)
    files = {file.relative_to(folder).as_posix(): file for file in find_audio_files(folder)}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return RoomResponses(list(pool.map(lambda name: read_response(files[name], room_of(name), name), files)))


def simulate_rooms(count: int, seed: int, cache_dir: str | Path | None = None) -> RoomResponses:
    """A bank of `count` simulated responses, two of each room, the same for the same seed.

    cache_dir: where banks are kept, one npz for each count and seed; None keeps nothing.
    Raises ValueError for a count below 1, ModuleNotFoundError where pyroomacoustics is needed and not installed.
    """
    if count < 1:
        raise ValueError(f"{count} simulated room responses: expected at least one")
    cache = Path(cache_dir) / f"rooms_{count}_{seed}_v{ROOMS_VERSION}.npz" if cache_dir is not None else None
    if cache is not None and cache.exists():
        with np.load(cache) as stored:
            columns = [stored[name].tolist() for name in ("direct", "room", "name", "rt60")]
            signals = np.split(stored["samples"], np.cumsum(stored["lengths"])[:-1])
        return RoomResponses([RoomResponse(*fields) for fields in zip(signals, *columns, strict=True)])
    rooms = [simulate_room(np.random.default_rng([seed, i]), f"room {i}") for i in range((count + 1) // 2)]
    responses = [response for room in rooms for response in room][:count]
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with complete_file(cache) as partial, open(partial, "wb") as stream:
            np.savez(
                stream,
                samples=np.concatenate([r.samples for r in responses]),
                lengths=[len(r.samples) for r in responses],
                **{name: [getattr(r, name) for r in responses] for name in ("direct", "room", "name", "rt60")},
            )
    return RoomResponses(responses)


def place_in_room(
    speech: np.ndarray,
    noise: np.ndarray,
    responses: tuple[RoomResponse, RoomResponse | None],
    target: str = "reverberant",
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Speech and noise as they sound at the microphone, and the target: (speech, noise, target), each float32 (L,).

    responses: of the speech and of the noise; without one the noise stays as it is. target: "reverberant" is the speech
    as it sounds, "early" its direct sound with the reflections of the first 50 ms. The direct sound keeps its time.
    """
    response, noise_response = responses
    wanted = [response.samples] if target == "reverberant" else [response.samples, response.early]
    heard = _convolved(speech, wanted, response.direct)
    if noise_response is not None:
        noise = _convolved(noise, [noise_response.samples], noise_response.direct)[0]
    return heard[0], noise, heard[-1]


def _convolved(signal: np.ndarray, kernels: Sequence[np.ndarray], delay: int) -> list[np.ndarray]:
    """The signal (L,) convolved with each kernel, `delay` samples earlier and cut to (L,), float32."""
    length = _fast_length(len(signal) + max(len(kernel) for kernel in kernels) - 1)
    spectrum = _spectrum(signal, length) * np.float32(math.sqrt(length))  # for the kernel's scale
    results = [_from_spectrum(spectrum * _spectrum(kernel, length), length) for kernel in kernels]
    return [result[delay : delay + len(signal)] for result in results]


@functools.cache
def _fast_length(length: int) -> int:
    """The smallest product of twos, threes and fives that is no smaller than `length`: what FFTs like."""
    bound = 1 << (length - 1).bit_length()
    odd = (3**a * 5**b for a in range(bound.bit_length()) for b in range(bound.bit_length()) if 3**a * 5**b <= bound)
    return min(o << max(0, (-(-length // o) - 1).bit_length()) for o in odd)


def simulated_rooms(draw: Draw, rng: np.random.Generator) -> None:
    """Places speech and noise in a random room of the mixer's bank in its share of segments, noise elsewhere in it."""
    assert draw.mixer.rooms is not None
    if rng.random() < draw.mixer.reverberant_share:
        responses = draw.mixer.rooms.draw(rng)
        draw.speech, draw.noise, draw.target = place_in_room(draw.speech, draw.noise, responses, draw.mixer.room_target)


# ----------------------------------------------------------------------------------------------------------------------
# The mixer
# ----------------------------------------------------------------------------------------------------------------------


@dataclass
class Mixer:
    """Draws (noisy, clean) segments from speech and noise recordings.

    segment_length in samples; snr_db and level_dbfs are ranges of uniform draws, the level being that of the mixture
    (RMS, dB relative to full scale); augmentations as `augmentation_by_name` takes them. rooms: responses for
    `simulated_rooms`, which comes after the augmentations, as sound meets the room last; room_target: "reverberant" or
    "early", what of the speech in a room is the target; reverberant_share: of the segments that are put in a room.
    Raises ValueError for settings that do not fit.
    """

    speech: Recordings
    noise: Recordings
    segment_length: int
    snr_db: tuple[float, float] = (-5.0, 25.0)
    level_dbfs: tuple[float, float] = (-35.0, -15.0)
    augmentations: Sequence[str] = ()
    rooms: RoomResponses | None = None
    room_target: str = "reverberant"
    reverberant_share: float = 0.5
    _changes: list[Change] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name, (low, high) in (("SNR", self.snr_db), ("level", self.level_dbfs)):
            if low > high:
                raise ValueError(f"{name} range {low} to {high} dB is empty: expected the lower end first")
        for kind, recordings in (("speech", self.speech), ("noise", self.noise)):
            if not recordings.signals:
                raise ValueError(f"the mixer was given no {kind} recordings: expected at least one")
        if not 0.0 <= self.reverberant_share <= 1.0:
            raise ValueError(f"reverberant share {self.reverberant_share:g}: expected a share from 0 to 1")
        if self.room_target not in ROOM_TARGETS:
            raise ValueError(f"unknown room target {self.room_target!r}: expected one of {', '.join(ROOM_TARGETS)}")
        self._changes = [augmentation_by_name(name) for name in self.augmentations]
        if self.rooms is not None:
            self._changes.append(simulated_rooms)

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """One segment: (noisy, clean), each float32 (segment_length,), aligned; clean is contained in noisy, unless
        `clipping` clipped that or the target is `early`."""
        draw = self.parts(rng)
        noisy, clean, _ = mix_with_guard(draw.speech, draw.noise, draw.snr_db, draw.level_dbfs, draw.target)
        if draw.clipped_share:
            limit = np.quantile(np.abs(noisy), 1.0 - draw.clipped_share)
            noisy = np.clip(noisy, -limit, limit)
        return noisy, clean

    def parts(self, rng: np.random.Generator) -> Draw:
        """Speech and noise of one segment after all augmentations and its room, before they are added."""
        draw = Draw(
            speech=self.speech.crop(rng, self.segment_length),
            noise=self.noise.crop(rng, self.segment_length),
            snr_db=rng.uniform(*self.snr_db),
            level_dbfs=rng.uniform(*self.level_dbfs),
            mixer=self,
        )
        for augment in self._changes:
            augment(draw, rng)
        return draw


def mix(speech: np.ndarray, noise: np.ndarray, snr_db: float, level_dbfs: float) -> tuple[np.ndarray, np.ndarray]:
    """Adds noise to speech at an SNR and scales both to the mixture's level: (noisy, clean), each float32 (L,).

    SNR and level are of mean powers over the whole segment. Where speech or noise is silent its power cannot set the
    SNR: the other one alone sets the level. A mixture that would exceed PEAK_LIMIT is turned down as a whole.
    """
    noisy, clean, _ = mix_with_guard(speech, noise, snr_db, level_dbfs)
    return noisy, clean


def mix_with_guard(
    speech: np.ndarray, noise: np.ndarray, snr_db: float, level_dbfs: float, target: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, float]:
    """`mix`, which also tells by how many dB (0 or less) the mixture was turned down for PEAK_LIMIT.

    target: float32 (L,), what is returned as clean, scaled as the speech in the mixture is; None means the speech.
    """
    target = speech if target is None else target
    speech_power, noise_power = mean_power(speech), mean_power(noise)
    if speech_power > 0 and noise_power > 0:
        noise = noise * np.float32(np.sqrt(speech_power / noise_power) * 10 ** (-snr_db / 20))
    noisy = speech + noise
    power = mean_power(noisy)
    if power == 0:
        return noisy.astype(np.float32), target.astype(np.float32), 0.0
    wanted = 10 ** (level_dbfs / 20) / np.sqrt(power)
    gain = min(wanted, PEAK_LIMIT / max(np.max(np.abs(noisy)), np.max(np.abs(target))))
    return (noisy * gain).astype(np.float32), (target * gain).astype(np.float32), float(20 * np.log10(gain / wanted))
