"""Mixing of speech and noise into (noisy, clean) training segments.

One mixer serves the data generator (on the fly, `run_training.py --speech --noise`) and everything that writes mixtures
to disk. A segment is made in four steps, each drawn from the random generator that the caller passes in, so that the
same generator state gives the same segment:

    random crop of speech -> random crop of noise -> augmentations, by name, in the order given
    -> noise scaled to a random SNR, mixture scaled to a random level, peak kept below full scale

Recordings are decoded once and kept as int16 (115 MB an hour); a cache file holds them between runs.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from dtln_audio import SAMPLE_RATE, AudioFileError, complete_file, find_audio_files, read_audio

PEAK_LIMIT = 0.99  # of full scale; a louder mixture is turned down as a whole, its SNR kept
SILENCE_POWER = 1e-8  # mean square (-80 dBFS) under which a crop counts as a pause
CROP_ATTEMPTS = 10  # crops drawn before a pause is accepted
INT16_SCALE = 32768.0
CACHE_VERSION = 1


def mean_power(signal: np.ndarray) -> float:
    """Mean square of a signal (L,), full scale 1; 0.0 for an empty one."""
    return float(np.mean(np.square(signal, dtype=np.float64))) if signal.size else 0.0


@dataclass
class Recordings:
    """Decoded mono recordings at 16 kHz, kept as int16.

    names: path of each recording relative to its folder; signals: one int16 array (L,) each.
    """

    names: list[str]
    signals: list[np.ndarray]

    @property
    def hours(self) -> float:
        """Duration of all recordings together, in hours."""
        return sum(len(signal) for signal in self.signals) / SAMPLE_RATE / 3600

    def select(self, names: set[str]) -> Recordings:
        """The recordings whose names are in `names`, in this order."""
        pairs = [(n, s) for n, s in zip(self.names, self.signals, strict=True) if n in names]
        return Recordings([n for n, _ in pairs], [s for _, s in pairs])

    @cached_property
    def _ends(self) -> np.ndarray:
        return np.cumsum([len(signal) for signal in self.signals])

    def crop(self, rng: np.random.Generator, length: int) -> np.ndarray:
        """A random stretch of one random recording, float32 (length,); a short recording is repeated.

        Recordings are drawn in proportion to their duration. Pauses are drawn again, up to CROP_ATTEMPTS times.
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

    speech, noise: float32 (L,); the target is `speech` as it stands after all augmentations.
    snr_db, level_dbfs: what the mixture will be scaled to. mixer: for further crops.
    """

    speech: np.ndarray
    noise: np.ndarray
    snr_db: float
    level_dbfs: float
    mixer: Mixer


Augmentation = Callable[[Draw, np.random.Generator], None]


def _shape_spectrum(signal: np.ndarray, gain: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Filters a signal (L,) with a real, zero-phase gain given as a function of the frequencies in Hz."""
    spectrum = np.fft.rfft(signal)
    frequencies = np.fft.rfftfreq(len(signal), 1 / SAMPLE_RATE)
    return np.fft.irfft(spectrum * gain(frequencies), len(signal)).astype(np.float32)


def _scaled_to(signal: np.ndarray, power: float) -> np.ndarray:
    """The signal scaled to a mean square; silence stays silence."""
    own = mean_power(signal)
    return signal * np.float32(np.sqrt(power / own)) if own > 0 else signal


def spectral_tilt(draw: Draw, rng: np.random.Generator) -> None:
    """Tilts the spectra of speech and noise, each by -3 to 3 dB per octave around 1 kHz, powers kept."""
    for part in ("speech", "noise"):
        slope = rng.uniform(-3.0, 3.0)
        signal = getattr(draw, part)
        tilted = _shape_spectrum(signal, lambda f, s=slope: 10 ** (s * np.log2(np.maximum(f, 50.0) / 1000.0) / 20))
        setattr(draw, part, _scaled_to(tilted, mean_power(signal)))


def equalisation(draw: Draw, rng: np.random.Generator) -> None:
    """Equalises speech and noise, each with gains of -8 to 8 dB at six frequencies from 60 Hz to 8 kHz, powers kept.

    Between the frequencies, which are equally spaced on a logarithmic scale, the gain in dB is interpolated linearly.
    """
    for part in ("speech", "noise"):
        gains_db = rng.uniform(-8.0, 8.0, 6)
        signal = getattr(draw, part)
        points = np.linspace(np.log(60.0), np.log(SAMPLE_RATE / 2), 6)
        equalised = _shape_spectrum(
            signal, lambda f, g=gains_db, p=points: 10 ** (np.interp(np.log(np.maximum(f, 1.0)), p, g) / 20)
        )
        setattr(draw, part, _scaled_to(equalised, mean_power(signal)))


SPEED_STEP = 1 / 40  # speeds are multiples of it: lengths before and after then share large factors, as FFTs like


def speed_perturbation(draw: Draw, rng: np.random.Generator) -> None:
    """Plays speech at 0.9 to 1.1 and noise at 0.7 to 1.4 times its speed, each in half of the segments.

    Tempo and pitch change together, as in Ko et al., "Audio augmentation for speech recognition", Interspeech 2015.
    """
    length = len(draw.speech)
    for part, slowest, fastest in (("speech", 36, 44), ("noise", 28, 56)):
        speed = int(rng.integers(slowest, fastest + 1)) * SPEED_STEP
        if rng.random() < 0.5:
            crop = getattr(draw.mixer, part).crop(rng, round(length * speed))
            setattr(draw, part, _resampled(crop, length))


def _resampled(signal: np.ndarray, length: int) -> np.ndarray:
    """The signal (L,) band-limited and resampled to (length,) by cutting or padding its spectrum."""
    return (np.fft.irfft(np.fft.rfft(signal), length) * (length / len(signal))).astype(np.float32)


def second_noise(draw: Draw, rng: np.random.Generator) -> None:
    """Adds a second noise recording, -10 to 10 dB relative to the first, in three of ten segments."""
    if rng.random() < 0.3:
        other = draw.mixer.noise.crop(rng, len(draw.noise))
        gain_db = rng.uniform(-10.0, 10.0)
        draw.noise = draw.noise + _scaled_to(other, mean_power(draw.noise) * 10 ** (gain_db / 10))


def babble(draw: Draw, rng: np.random.Generator) -> None:
    """Replaces the noise by 4 to 12 talkers of equal power in one of ten segments."""
    if rng.random() < 0.1:
        talkers = [draw.mixer.speech.crop(rng, len(draw.noise)) for _ in range(int(rng.integers(4, 13)))]
        draw.noise = np.sum([_scaled_to(talker, 1e-3) for talker in talkers], axis=0, dtype=np.float32)


def coloured_noise(draw: Draw, rng: np.random.Generator) -> None:
    """Replaces the noise by stationary noise of -9 to 3 dB per octave in one of ten segments."""
    if rng.random() < 0.1:
        slope = rng.uniform(-9.0, 3.0)
        white = rng.standard_normal(len(draw.noise)).astype(np.float32)
        draw.noise = _shape_spectrum(white, lambda f: 10 ** (slope * np.log2(np.maximum(f, 40.0) / 1000.0) / 20))


def pauses(draw: Draw, rng: np.random.Generator) -> None:
    """Silences the speech from a random point to the end or from the start to it, in one of ten segments."""
    if rng.random() < 0.1:
        point = int(rng.integers(1, len(draw.speech)))
        speech = draw.speech.copy()
        speech[point:] *= 0
        draw.speech = speech if rng.random() < 0.5 else draw.speech - speech


AUGMENTATIONS: dict[str, Augmentation] = {
    function.__name__: function
    for function in (speed_perturbation, equalisation, spectral_tilt, second_noise, babble, coloured_noise, pauses)
}


def augmentation_by_name(name: str) -> Augmentation:
    """The augmentation registered under `name`; ValueError lists the known names for any other."""
    if name not in AUGMENTATIONS:
        raise ValueError(f"unknown augmentation {name!r}: expected one of {', '.join(sorted(AUGMENTATIONS))}")
    return AUGMENTATIONS[name]


@dataclass
class Mixer:
    """Draws (noisy, clean) segments from speech and noise recordings.

    segment_length in samples; snr_db and level_dbfs are ranges of uniform draws, the level being that of the mixture
    (RMS, dB relative to full scale); augmentations are names from AUGMENTATIONS.
    """

    speech: Recordings
    noise: Recordings
    segment_length: int
    snr_db: tuple[float, float] = (-5.0, 25.0)
    level_dbfs: tuple[float, float] = (-35.0, -15.0)
    augmentations: Sequence[str] = ()
    _functions: list[Augmentation] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name, (low, high) in (("SNR", self.snr_db), ("level", self.level_dbfs)):
            if low > high:
                raise ValueError(f"{name} range {low} to {high} dB is empty: expected the lower end first")
        for kind, recordings in (("speech", self.speech), ("noise", self.noise)):
            if not recordings.signals:
                raise ValueError(f"the mixer was given no {kind} recordings: expected at least one")
        self._functions = [augmentation_by_name(name) for name in self.augmentations]

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """One segment: (noisy, clean), each float32 (segment_length,), clean aligned with and contained in noisy."""
        draw = Draw(
            speech=self.speech.crop(rng, self.segment_length),
            noise=self.noise.crop(rng, self.segment_length),
            snr_db=rng.uniform(*self.snr_db),
            level_dbfs=rng.uniform(*self.level_dbfs),
            mixer=self,
        )
        for augment in self._functions:
            augment(draw, rng)
        return mix(draw.speech, draw.noise, draw.snr_db, draw.level_dbfs)


def mix(speech: np.ndarray, noise: np.ndarray, snr_db: float, level_dbfs: float) -> tuple[np.ndarray, np.ndarray]:
    """Adds noise to speech at an SNR and scales both to the mixture's level: (noisy, clean), each float32 (L,).

    SNR and level are of mean powers over the whole segment. Where speech or noise is silent its power cannot set the
    SNR: the other one alone sets the level. A mixture that would exceed PEAK_LIMIT is turned down as a whole.
    """
    speech_power, noise_power = mean_power(speech), mean_power(noise)
    if speech_power > 0 and noise_power > 0:
        noise = noise * np.float32(np.sqrt(speech_power / noise_power) * 10 ** (-snr_db / 20))
    noisy = speech + noise
    power = mean_power(noisy)
    if power == 0:
        return noisy.astype(np.float32), speech.astype(np.float32)
    gain = 10 ** (level_dbfs / 20) / np.sqrt(power)
    gain = min(gain, PEAK_LIMIT / max(np.max(np.abs(noisy)), np.max(np.abs(speech))))
    return (noisy * gain).astype(np.float32), (speech * gain).astype(np.float32)
