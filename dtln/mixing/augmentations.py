"""Augmentations by name. Each one changes a segment in place."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dtln.errors import SettingsError
from dtln.facts import SAMPLE_RATE
from dtln.mixing.recordings import Recordings
from dtln.mixing.segment import Segment
from dtln.mixing.spectra import (
    BAND_BLOCK,
    block_spectra,
    convolved,
    from_block_spectra,
    from_spectrum,
    mean_power,
    resampled,
    scaled_to,
    shape_spectrum,
    spectrum_of,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


Change = Callable[[Segment, np.random.Generator], None]


@dataclass(frozen=True)
class Augmentation:
    """A change to segments, and the share of the segments that it changes."""

    change: Change
    share: float

    def __call__(self, segment: Segment, rng: np.random.Generator) -> None:
        """Changes the segment, or leaves it as it is."""
        if self.share >= 1 or rng.random() < self.share:
            self.change(segment, rng)

    @property
    def description(self) -> str:
        """The first line of the change's docstring."""
        return (self.change.__doc__ or "").splitlines()[0]


AUGMENTATIONS: dict[str, Augmentation] = {}  # by name, each with its default share


def augmentation(share: float) -> Callable[[Change], Change]:
    """Registers a function under its name in AUGMENTATIONS. The function itself still changes every segment."""

    def register(change: Change) -> Change:
        AUGMENTATIONS[change.__name__] = Augmentation(change, share)
        return change

    return register


def augmentation_by_name(name: str) -> Augmentation:
    """The augmentation called `name`; with `name=share`, for that share of the segments. Raises SettingsError."""
    name, given, share = name.partition("=")
    if name not in AUGMENTATIONS:
        raise SettingsError(f"unknown augmentation {name!r}: expected one of {', '.join(sorted(AUGMENTATIONS))}")
    if not given:
        return AUGMENTATIONS[name]
    try:
        value = float(share)
    except ValueError:
        value = math.nan
    if not 0.0 <= value <= 1.0:
        raise SettingsError(f"augmentation {name}={share}: expected a share of segments from 0 to 1, {name}=0.3 say")
    return replace(AUGMENTATIONS[name], share=value)


@augmentation(1.0)
def spectral_tilt(segment: Segment, rng: np.random.Generator) -> None:
    """Tilts the spectra of speech and noise, each by -3 to 3 dB per octave around 1 kHz, and keeps their powers."""
    for part in ("speech", "noise"):
        slope = rng.uniform(-3.0, 3.0)
        signal = getattr(segment, part)
        tilted = shape_spectrum(signal, _tilt(slope, 50.0))
        setattr(segment, part, scaled_to(tilted, mean_power(signal)))


@augmentation(1.0)
def equalisation(segment: Segment, rng: np.random.Generator) -> None:
    """Equalises speech and noise, each with gains of -8 to 8 dB at six frequencies from 60 Hz to 8 kHz.

    The frequencies are equally spaced on a logarithmic scale. Between them the gain in dB is interpolated linearly. The
    powers of speech and noise are kept.
    """
    segment.speech, segment.noise = _equalised(rng, segment.speech, 8.0), _equalised(rng, segment.noise, 8.0)


def _equalised(rng: np.random.Generator, signal: np.ndarray, limit_db: float) -> np.ndarray:
    """The signal (L,), equalised with six random gains of -limit_db to limit_db; see `equalisation`."""
    return scaled_to(shape_spectrum(signal, _equaliser(rng, limit_db)), mean_power(signal))


def _equaliser(rng: np.random.Generator, limit_db: float) -> Callable[[np.ndarray], np.ndarray]:
    """The gain of `equalisation` as a function of the frequencies in Hz, with gains of -limit_db to limit_db."""
    gains_db = rng.uniform(-limit_db, limit_db, 6)
    points = np.linspace(np.log(60.0), np.log(SAMPLE_RATE / 2), 6)
    return lambda f: 10 ** (np.interp(np.log(np.maximum(f, 1.0)), points, gains_db) / 20)


SPEED_STEP = 1 / 40  # speeds are multiples of it, so that lengths before and after have large common factors: fast FFTs


@augmentation(1.0)
def speed_perturbation(segment: Segment, rng: np.random.Generator) -> None:
    """Plays speech at 0.9 to 1.1 and noise at 0.7 to 1.4 times its speed, each in half of the segments.

    Tempo and pitch change together, as in Ko et al., "Audio augmentation for speech recognition", Interspeech 2015.
    """
    length = len(segment.speech)
    for part, slowest, fastest in (("speech", 36, 44), ("noise", 28, 56)):
        speed = int(rng.integers(slowest, fastest + 1)) * SPEED_STEP
        if rng.random() < 0.5:
            setattr(segment, part, _crop_at_speed(rng, getattr(segment, f"all_{part}"), length, speed))


@augmentation(0.5)
def speech_speed(segment: Segment, rng: np.random.Generator) -> None:
    """Plays speech at 0.8 to 1.25 times its speed, which makes other voices, slow and hurried ones."""
    segment.speech = _crop_at_speed(rng, segment.all_speech, len(segment.speech), _log_uniform(rng, 0.8, 1.25))


FORMANT_COEFFICIENTS = 24  # of the cepstrum, up to 1.5 ms: they hold formants, but not the pitch of voices below 670 Hz
FORMANT_LIMIT = 2.3  # natural logarithm of the largest gain or loss: 20 dB


@augmentation(0.5)
def vocal_tract_length(segment: Segment, rng: np.random.Generator) -> None:
    """Moves the formants of speech to 0.85 to 1.18 times their frequency and keeps its pitch: more voices.

    Jaitly and Hinton, "Vocal tract length perturbation improves speech recognition", 2013. Deviation: only the envelope
    is moved. Each block of 32 ms has an envelope, its spectrum smoothed by its cepstrum; a filter takes the block from
    this envelope to the stretched one.
    """
    spectra = block_spectra(segment.speech)  # (T, F)
    cepstra = np.log(np.abs(spectra) + np.float32(1e-6)) @ _cepstral_analysis()  # (T, FORMANT_COEFFICIENTS)
    stretched = _cepstral_synthesis(_log_uniform(rng, 0.85, 1 / 0.85)) - _cepstral_synthesis(1.0)
    gains = np.exp(np.clip(cepstra @ stretched, -FORMANT_LIMIT, FORMANT_LIMIT))  # (T, F)
    segment.speech = scaled_to(from_block_spectra(spectra * gains, len(segment.speech)), mean_power(segment.speech))


@functools.cache
def _cepstral_analysis() -> np.ndarray:
    """A matrix, float32 (F, FORMANT_COEFFICIENTS), that makes cepstra of log magnitudes (T, F) of `block_spectra`."""
    bins = BAND_BLOCK // 2
    weights = np.ones(bins + 1)
    weights[[0, -1]] = 0.5
    multiples = np.where(np.arange(FORMANT_COEFFICIENTS), 2.0, 1.0) / bins
    return (weights[:, None] * _cepstral_synthesis(1.0).T * multiples).astype(np.float32)


def _cepstral_synthesis(stretch: float) -> np.ndarray:
    """A matrix, float32 (FORMANT_COEFFICIENTS, F), that makes smooth log magnitudes of cepstra, stretched in frequency.

    Beyond the band the last bin is repeated.
    """
    bins = BAND_BLOCK // 2
    places = np.minimum(np.arange(bins + 1) / stretch, bins)
    return np.cos(np.pi / bins * np.outer(np.arange(FORMANT_COEFFICIENTS), places)).astype(np.float32)


@augmentation(0.5)
def noise_speed(segment: Segment, rng: np.random.Generator) -> None:
    """Plays the noise at half to twice its speed, which makes other engines, crowds and dishes of few recordings."""
    segment.noise = _crop_at_speed(rng, segment.all_noise, len(segment.noise), _log_uniform(rng, 0.5, 2.0))


@augmentation(0.3)
def frequency_shift(segment: Segment, rng: np.random.Generator) -> None:
    """Moves the spectrum of the noise by -300 to 600 Hz: its timbre changes, its rise and fall stay."""
    length = len(segment.noise)
    spectrum = spectrum_of(segment.noise)
    shift = round(rng.uniform(-300.0, 600.0) * length / SAMPLE_RATE)  # in bins; what leaves the band is gone
    moved = np.zeros_like(spectrum)
    moved[max(shift, 0) : len(moved) + min(shift, 0)] = spectrum[max(-shift, 0) : len(moved) - max(shift, 0)]
    segment.noise = from_spectrum(moved, length)


@augmentation(0.3)
def time_reversal(segment: Segment, rng: np.random.Generator) -> None:
    """Plays the noise backwards."""
    segment.noise = segment.noise[::-1].copy()


def _crop_at_speed(rng: np.random.Generator, recordings: Recordings, length: int, speed: float) -> np.ndarray:
    """A random crop, played at the multiple of SPEED_STEP that is nearest to `speed`: float32 (length,)."""
    speed = SPEED_STEP * round(speed / SPEED_STEP)
    return resampled(recordings.crop(rng, round(length * speed)), length)


@augmentation(0.4)
def noise_pieces(segment: Segment, rng: np.random.Generator) -> None:
    """Replaces the noise by pieces of other noises, 0.2 to 2 s long, at half to twice their speed.

    Each piece has its own level, -6 to 6 dB, and its own equaliser, -12 to 12 dB. It fades into the next within 10 ms.
    """
    length = len(segment.noise)
    joined = np.zeros(length, np.float32)
    start = 0
    while start < length:
        piece = _piece(rng, segment.all_noise, _log_uniform(rng, 0.2, 2.0), _log_uniform(rng, 0.5, 2.0), 12.0)
        piece = piece * _fades(len(piece)) * np.float32(10 ** (rng.uniform(-6.0, 6.0) / 20))
        joined[start : start + len(piece)] += piece[: length - start]
        start += len(piece) - PIECE_FADE
    segment.noise = joined


PIECE_STEP = 800  # samples: lengths of pieces are multiples of it, for fast FFTs (see SPEED_STEP)
PIECE_FADE = SAMPLE_RATE // 100  # samples in which a piece appears and vanishes


def _piece(
    rng: np.random.Generator, recordings: Recordings, seconds: float, speed: float, equaliser_db: float | None = None
) -> np.ndarray:
    """A stretch of a random recording at another speed: float32, about `seconds` long, mean square 1e-3.

    equaliser_db: if given, the stretch is equalised with gains of -equaliser_db to equaliser_db; see `equalisation`.
    """
    samples = PIECE_STEP * max(1, round(seconds * SAMPLE_RATE / PIECE_STEP))
    speed = SPEED_STEP * round(speed / SPEED_STEP)
    crop = recordings.crop(rng, round(samples * speed))
    gain = None if equaliser_db is None else _equaliser(rng, equaliser_db)
    return scaled_to(resampled(crop, samples, gain), 1e-3)


@functools.lru_cache(maxsize=64)
def _fades(length: int) -> np.ndarray:
    """Gains (length,) that rise from 0 in the first PIECE_FADE samples and fall to 0 in the last ones."""
    ramp = np.linspace(0.0, 1.0, PIECE_FADE, dtype=np.float32)
    return np.concatenate([ramp, np.ones(length - 2 * PIECE_FADE, np.float32), ramp[::-1]])


@augmentation(1 / 8)
def altered_voices(segment: Segment, rng: np.random.Generator) -> None:
    """Adds bursts of speech that are too slow or too fast for a human voice, -10 to 10 dB relative to the noise.

    They last 60 ms to 1.4 s, at 0.3 to 0.5 or 2 to 3.3 times the speed, and half of them play backwards. They sound
    like animals, toys and squeaking things. All bursts of a segment have one speed.
    """
    length = len(segment.noise)
    slowest, fastest = (0.3, 0.5) if rng.random() < 0.5 else (2.0, 3.3)
    speed, seconds = _log_uniform(rng, slowest, fastest), _log_uniform(rng, 0.1, 1.0)
    voices = np.zeros(length, np.float32)
    for _ in range(1 + rng.poisson(rng.uniform(0.2, 0.7) * length / SAMPLE_RATE / seconds)):
        piece = _piece(rng, segment.all_speech, seconds * rng.uniform(0.6, 1.4), speed)
        piece = piece[:: int(rng.choice([-1, 1]))] * _fades(len(piece)) * np.float32(rng.uniform(0.3, 1.0))
        start = int(rng.integers(length))
        voices[start : start + len(piece)] += piece[: length - start]
    _add_noise(segment, _equalised(rng, voices, 8.0), rng.uniform(-10.0, 10.0))


BANDS = 24  # of cross_synthesis, equally wide in mel (O'Shaughnessy, "Speech Communication", 1987)


@augmentation(0.2)
def cross_synthesis(segment: Segment, rng: np.random.Generator) -> None:
    """Gives the noise the rise and fall of another noise, band by band, as a channel vocoder does.

    In each 32 ms each band is brought to the level that it has in the other noise, unless it is 40 dB below the mean.
    Any two noises make a third one.
    """
    own, other = (block_spectra(noise) for noise in (segment.noise, segment.all_noise.crop(rng, len(segment.noise))))
    own_power, other_power = (np.square(np.abs(spectra)) @ _mel_bands() for spectra in (own, other))  # (T, BANDS)
    gains = np.sqrt(other_power / (own_power + 1e-4 * own_power.mean() + 1e-12))
    segment.noise = from_block_spectra(own * (gains @ _mel_bands().T), len(segment.noise))


@functools.cache
def _mel_bands() -> np.ndarray:
    """Triangular bands, which add up to one in every bin: float32 (BAND_BLOCK / 2 + 1, BANDS)."""
    mel = 2595 * np.log10(1 + np.fft.rfftfreq(BAND_BLOCK, 1 / SAMPLE_RATE) / 700)  # (F,)
    position = mel / mel[-1] * (BANDS - 1)
    return np.maximum(0.0, 1.0 - np.abs(position[:, None] - np.arange(BANDS))).astype(np.float32)


@augmentation(0.3)
def second_noise(segment: Segment, rng: np.random.Generator) -> None:
    """Adds a second noise recording, -10 to 10 dB relative to the first."""
    other = segment.all_noise.crop(rng, len(segment.noise))
    gain_db = rng.uniform(-10.0, 10.0)
    segment.noise = segment.noise + scaled_to(other, mean_power(segment.noise) * 10 ** (gain_db / 10))


@augmentation(0.1)
def babble(segment: Segment, rng: np.random.Generator) -> None:
    """Replaces the noise by 4 to 12 talkers of equal power."""
    talkers = [segment.all_speech.crop(rng, len(segment.noise)) for _ in range(int(rng.integers(4, 13)))]
    segment.noise = np.stack([scaled_to(talker, 1e-3) for talker in talkers]).sum(axis=0, dtype=np.float32)


@augmentation(0.1)
def coloured_noise(segment: Segment, rng: np.random.Generator) -> None:
    """Replaces the noise by stationary noise of -9 to 3 dB per octave."""
    segment.noise = _sloping_noise(rng, len(segment.noise), rng.uniform(-9.0, 3.0))


@augmentation(0.1)
def pauses(segment: Segment, rng: np.random.Generator) -> None:
    """Silences the speech before or after a random point."""
    point = int(rng.integers(1, len(segment.speech)))
    speech = segment.speech.copy()
    speech[point:] *= 0
    segment.speech = speech if rng.random() < 0.5 else segment.speech - speech


@augmentation(0.1)
def noise_pauses(segment: Segment, rng: np.random.Generator) -> None:
    """Silences the noise before or after a random point."""
    point = int(rng.integers(1, len(segment.noise)))
    first = np.arange(len(segment.noise)) < point
    segment.noise = segment.noise * (first if rng.random() < 0.5 else ~first)


@augmentation(0.05)
def muting(segment: Segment, rng: np.random.Generator) -> None:
    """Silences speech and noise up to a random point, as a muted microphone does."""
    heard = np.arange(len(segment.speech)) >= int(rng.integers(1, len(segment.speech)))
    segment.speech, segment.noise = segment.speech * heard, segment.noise * heard


@augmentation(1.0)
def level_changes(segment: Segment, rng: np.random.Generator) -> None:
    """Lets the levels of speech and noise wander between -8 and 8 dB, each in three of ten segments."""
    for part in ("speech", "noise"):
        if rng.random() < 0.3:
            signal = getattr(segment, part)
            points = np.linspace(0, len(signal), 5)
            gain_db = np.interp(np.arange(len(signal)), points, rng.uniform(-8.0, 8.0, 5))
            setattr(segment, part, (signal * 10 ** (gain_db / 20)).astype(np.float32))


@augmentation(0.2)
def band_limits(segment: Segment, rng: np.random.Generator) -> None:
    """Cuts speech and noise below 20 to 300 Hz and above 3.4 to 8 kHz, as microphones and lines do."""
    low, high = _log_uniform(rng, [20.0, 3400.0], [300.0, 8000.0])

    def gain(frequencies: np.ndarray) -> np.ndarray:  # Butterworth magnitudes: order 2 below, order 8 above
        ratio_low, ratio_high = low / np.maximum(frequencies, 1e-3), frequencies / high
        return 1.0 / np.sqrt((1.0 + ratio_low**4) * (1.0 + ratio_high**16))

    segment.speech, segment.noise = shape_spectrum(segment.speech, gain), shape_spectrum(segment.noise, gain)


@augmentation(1 / 3)
def proximity(segment: Segment, rng: np.random.Generator) -> None:
    """Boosts the speech below 80 to 300 Hz by 3 to 20 dB, as a directional microphone close to the mouth does.

    The network then cannot take deep voices, or rumble that was recorded with a voice, for noise. The gain in dB falls
    with the frequency as a first-order low-pass does: by half at the corner frequency.
    """
    boost_db, corner = rng.uniform(3.0, 20.0), _log_uniform(rng, 80.0, 300.0)
    segment.speech = shape_spectrum(segment.speech, lambda f: 10 ** (boost_db / (1.0 + (f / corner) ** 2) / 20))


@augmentation(0.05)
def hum(segment: Segment, rng: np.random.Generator) -> None:
    """Adds mains hum of 50 or 60 Hz with up to 20 harmonics, -15 to 5 dB relative to the noise."""
    tones = _tones(rng, len(segment.noise), rng.choice([50.0, 60.0]) * rng.uniform(0.995, 1.005), 20)
    _add_noise(segment, tones, rng.uniform(-15.0, 5.0))


@augmentation(0.05)
def fan(segment: Segment, rng: np.random.Generator) -> None:
    """Replaces the noise by that of a fan: broadband noise that swells with the blades, and the tone of the blades."""
    length, blades = len(segment.noise), rng.uniform(60.0, 300.0)  # Hz
    slope, depth = rng.uniform(-9.0, -3.0), rng.uniform(0.0, 0.5)
    turns = np.sin(2 * np.pi * blades / rng.integers(3, 9) * np.arange(length) / SAMPLE_RATE)
    rush = _sloping_noise(rng, length, slope) * (1.0 + depth * turns)
    tone = _tones(rng, length, blades, 8)
    segment.noise = (scaled_to(rush, 1e-3) + scaled_to(tone, 10 ** rng.uniform(-6.0, -3.5))).astype(np.float32)


@augmentation(0.05)
def clicks(segment: Segment, rng: np.random.Generator) -> None:
    """Adds 1 to 15 clicks a second, each 1 to 10 ms long, -10 to 10 dB relative to the noise."""
    length = len(segment.noise)
    bursts = np.zeros(length, np.float32)
    for _ in range(1 + rng.poisson(rng.uniform(1.0, 15.0) * length / SAMPLE_RATE)):
        decay = rng.uniform(1e-3, 1e-2) * SAMPLE_RATE / 3  # samples
        burst = rng.standard_normal(int(6 * decay) + 1) * np.exp(-np.arange(int(6 * decay) + 1) / decay)
        start = int(rng.integers(length))
        bursts[start : start + len(burst)] += burst[: length - start] * rng.uniform(0.3, 1.0)
    _add_noise(segment, bursts, rng.uniform(-10.0, 10.0))


@augmentation(1 / 12)
def impacts(segment: Segment, rng: np.random.Generator) -> None:
    """Adds 1 to 8 blows a second on a thing that rings (dishes, keys, tools), -10 to 10 dB relative to the noise.

    The thing has 3 to 20 damped modes of 150 Hz to 7 kHz, which fall by 60 dB in 10 to 600 ms, and a dull thud.
    """
    length = len(segment.noise)
    time = np.arange(min(length, round(0.6 * SAMPLE_RATE))) / SAMPLE_RATE
    ringing = rng.standard_normal(len(time)) * np.exp(-time / rng.uniform(1e-3, 5e-3)) * rng.uniform(0.0, 3.0)
    longest = _log_uniform(rng, 0.01, 0.6)  # s
    for frequency in _log_uniform(rng, 150.0, 7000.0, int(rng.integers(3, 21))):
        decay = np.exp(-6.9 * time / (longest * rng.uniform(0.2, 1.0)))
        ringing += rng.standard_normal() * decay * np.sin(2 * np.pi * (frequency * time + rng.random()))
    blows = np.zeros(length)
    for _ in range(1 + rng.poisson(rng.uniform(1.0, 8.0) * length / SAMPLE_RATE)):
        blows[int(rng.integers(length))] += 10 ** rng.uniform(-1.0, 0.0)
    (struck,) = convolved(blows, [ringing], 0)
    _add_noise(segment, struck, rng.uniform(-10.0, 10.0))


@augmentation(1 / 12)
def calls(segment: Segment, rng: np.random.Generator) -> None:
    """Adds the calls of an animal or a thing, 60 Hz to 3 kHz with harmonics, -10 to 10 dB relative to the noise.

    A call lasts 50 ms to 1 s. Its pitch bends by up to an octave and trembles, it may be rough, and two resonances
    colour it.
    """
    length, pitch = len(segment.noise), _log_uniform(rng, 60.0, 3000.0)
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
    _add_noise(segment, called, rng.uniform(-10.0, 10.0))


@augmentation(1 / 12)
def bursts(segment: Segment, rng: np.random.Generator) -> None:
    """Turns the noise into sudden bursts, such as those of dishes, keys, barks and doors.

    There are 0.3 to 8 bursts a second, in a rhythm or at random, at the level of the noise or up to 20 dB below. They
    rise within 0.3 to 20 ms, last up to 0.3 s and then fade by 8.7 dB in every 5 to 200 ms. Between them is silence, or
    the noise at -50 to -20 dB.
    """
    length = len(segment.noise)
    count = 1 + rng.poisson(_log_uniform(rng, 0.3, 8.0) * length / SAMPLE_RATE)
    if rng.random() < 0.5:
        starts = (np.arange(count) + rng.random() + rng.normal(0.0, 0.1, count)) * length / count
    else:
        starts = rng.uniform(0.0, length, count)
    rise, hold, fade = _log_uniform(rng, 0.0003, 0.02), _log_uniform(rng, 0.003, 0.3), _log_uniform(rng, 0.005, 0.2)
    burst_length = min(length, round((rise + hold + 8 * fade) * SAMPLE_RATE))
    time = np.arange(burst_length) / SAMPLE_RATE
    shape = np.minimum(time / rise, 1.0) * np.exp(-np.maximum(time - rise - hold, 0.0) / fade)
    kept = segment.noise * np.float32(10 ** (rng.uniform(-50.0, -20.0) / 20) if rng.random() < 0.5 else 0.0)
    level = mean_power(segment.noise)
    for start in starts.clip(0, length - 1).astype(int):
        sources = rng.integers(length - burst_length + 1, size=4)
        loudest = max((segment.noise[source : source + burst_length] for source in sources), key=mean_power)
        burst = scaled_to(loudest * shape.astype(np.float32), level)
        kept[start : start + burst_length] += burst[: length - start] * np.float32(10 ** (rng.uniform(-20.0, 0.0) / 20))
    segment.noise = kept


@augmentation(1 / 12)
def gusts(segment: Segment, rng: np.random.Generator) -> None:
    """Replaces the noise by noise that comes and goes by up to 30 dB, as wind, waves and saws do.

    Its spectrum falls by 0 to 12 dB per octave. It swells 0.5 to 10 times a second, in gusts or in regular strokes.
    """
    length, rate = len(segment.noise), _log_uniform(rng, 0.5, 10.0)
    time = np.arange(length) / SAMPLE_RATE
    if rng.random() < 0.5:
        swell = np.sin(2 * np.pi * (rate * time + rng.random()))
    else:
        points = np.arange(0.0, time[-1] + 2 / rate, 1 / rate)
        swell = np.interp(time, points, rng.uniform(-1.0, 1.0, len(points)))
    steady = _sloping_noise(rng, length, rng.uniform(-12.0, 0.0))
    segment.noise = (steady * 10 ** (rng.uniform(3.0, 15.0) * swell / 20)).astype(np.float32)


@augmentation(0.05)
def clipping(segment: Segment, rng: np.random.Generator) -> None:
    """Clips the loudest samples of the mixture, 0.03 to 3 % of all; the target stays whole."""
    segment.clipped_share = 10 ** rng.uniform(-3.5, -1.5)


def _log_uniform(rng: np.random.Generator, low: ArrayLike, high: ArrayLike, size: int | None = None) -> Any:
    """Random numbers whose logarithms are uniform between those of `low` and `high`: a float, or an array of `size`."""
    return np.exp(rng.uniform(np.log(low), np.log(high), size))


def _tones(rng: np.random.Generator, length: int, fundamental: float, harmonics: int) -> np.ndarray:
    """A tone of a fundamental in Hz, with harmonics of random phases and falling amplitudes: float32 (length,)."""
    phase = (2 * np.pi * (fundamental / SAMPLE_RATE * np.arange(length) % 1)).astype(np.float32)
    total = np.zeros(length, np.float32)
    for k in range(1, int(rng.integers(2, harmonics + 1))):
        amplitude = np.float32(rng.uniform(0.1, 1.0) / k)
        total += amplitude * np.sin(k * phase + np.float32(2 * np.pi * rng.random()))
    return total


def _sloping_noise(rng: np.random.Generator, length: int, slope: float) -> np.ndarray:
    """Gaussian noise of `slope` dB per octave above 40 Hz: float32 (length,)."""
    white = rng.standard_normal(length).astype(np.float32)
    return shape_spectrum(white, _tilt(slope, 40.0))


def _tilt(slope: float, lowest: float) -> Callable[[np.ndarray], np.ndarray]:
    """A gain of `slope` dB per octave as a function of the frequencies in Hz: 0 dB at 1 kHz, level below `lowest`."""
    return lambda f: 10 ** (slope * np.log2(np.maximum(f, lowest) / 1000.0) / 20)


def _add_noise(segment: Segment, noise: np.ndarray, relative_db: float) -> None:
    """Adds a noise to the noise of a segment, `relative_db` louder than it."""
    segment.noise = segment.noise + scaled_to(noise, mean_power(segment.noise) * 10 ** (relative_db / 10))
