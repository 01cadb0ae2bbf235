"""Augmentations of segments, by name: each changes a segment in place."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dtln.facts import SAMPLE_RATE
from dtln.mixing.recordings import Recordings
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

    from dtln.mixing.mixer import Mixer


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


@augmentation(1.0)
def spectral_tilt(draw: Draw, rng: np.random.Generator) -> None:
    """Tilts the spectra of speech and noise, each by -3 to 3 dB per octave around 1 kHz, powers kept."""
    for part in ("speech", "noise"):
        slope = rng.uniform(-3.0, 3.0)
        signal = getattr(draw, part)
        tilted = shape_spectrum(signal, lambda f, s=slope: 10 ** (s * np.log2(np.maximum(f, 50.0) / 1000.0) / 20))
        setattr(draw, part, scaled_to(tilted, mean_power(signal)))


@augmentation(1.0)
def equalisation(draw: Draw, rng: np.random.Generator) -> None:
    """Equalises speech and noise, each with gains of -8 to 8 dB at six frequencies from 60 Hz to 8 kHz, powers kept.

    Between the frequencies, which are equally spaced on a logarithmic scale, the gain in dB is interpolated linearly.
    """
    draw.speech, draw.noise = _equalised(rng, draw.speech, 8.0), _equalised(rng, draw.noise, 8.0)


def _equalised(rng: np.random.Generator, signal: np.ndarray, limit_db: float) -> np.ndarray:
    """The signal (L,) with six random gains of up to `limit_db` in either direction, see `equalisation`."""
    return scaled_to(shape_spectrum(signal, _equaliser(rng, limit_db)), mean_power(signal))


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
    spectra = block_spectra(draw.speech)  # (T, F)
    cepstra = np.log(np.abs(spectra) + np.float32(1e-6)) @ _cepstral_analysis()  # (T, FORMANT_COEFFICIENTS)
    stretched = _cepstral_synthesis(_log_uniform(rng, 0.85, 1 / 0.85)) - _cepstral_synthesis(1.0)
    gains = np.exp(np.clip(cepstra @ stretched, -FORMANT_LIMIT, FORMANT_LIMIT))  # (T, F)
    draw.speech = scaled_to(from_block_spectra(spectra * gains, len(draw.speech)), mean_power(draw.speech))


@functools.cache
def _cepstral_analysis() -> np.ndarray:
    """Takes log magnitudes (T, F) of `block_spectra` to cepstra: float32 (F, FORMANT_COEFFICIENTS)."""
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
    spectrum = spectrum_of(draw.noise)
    shift = round(rng.uniform(-300.0, 600.0) * length / SAMPLE_RATE)  # in bins; what leaves the band is gone
    moved = np.zeros_like(spectrum)
    moved[max(shift, 0) : len(moved) + min(shift, 0)] = spectrum[max(-shift, 0) : len(moved) - max(shift, 0)]
    draw.noise = from_spectrum(moved, length)


@augmentation(0.3)
def time_reversal(draw: Draw, rng: np.random.Generator) -> None:
    """Plays the noise backwards."""
    draw.noise = draw.noise[::-1].copy()


def _crop_at_speed(rng: np.random.Generator, recordings: Recordings, length: int, speed: float) -> np.ndarray:
    """A random crop that comes out as (length,) when played at about that speed, the nearest multiple of SPEED_STEP."""
    speed = SPEED_STEP * round(speed / SPEED_STEP)
    return resampled(recordings.crop(rng, round(length * speed)), length)


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
    return scaled_to(resampled(crop, samples, gain), 1e-3)


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


@augmentation(0.2)
def cross_synthesis(draw: Draw, rng: np.random.Generator) -> None:
    """Gives the noise the rise and fall of another one, band by band as in a channel vocoder.

    Each band of 32 ms is brought to the other's level, unless it is 40 dB below the mean: any two noises make another.
    """
    own, other = (block_spectra(noise) for noise in (draw.noise, draw.mixer.noise.crop(rng, len(draw.noise))))
    own_power, other_power = (np.square(np.abs(spectra)) @ _mel_bands() for spectra in (own, other))  # (T, BANDS)
    gains = np.sqrt(other_power / (own_power + 1e-4 * own_power.mean() + 1e-12))
    draw.noise = from_block_spectra(own * (gains @ _mel_bands().T), len(draw.noise))


@functools.cache
def _mel_bands() -> np.ndarray:
    """Triangles that add up to one over all bins: float32 (BAND_BLOCK / 2 + 1, BANDS)."""
    mel = 2595 * np.log10(1 + np.fft.rfftfreq(BAND_BLOCK, 1 / SAMPLE_RATE) / 700)  # (F,)
    position = mel / mel[-1] * (BANDS - 1)
    return np.maximum(0.0, 1.0 - np.abs(position[:, None] - np.arange(BANDS))).astype(np.float32)


@augmentation(0.3)
def second_noise(draw: Draw, rng: np.random.Generator) -> None:
    """Adds a second noise recording, -10 to 10 dB relative to the first."""
    other = draw.mixer.noise.crop(rng, len(draw.noise))
    gain_db = rng.uniform(-10.0, 10.0)
    draw.noise = draw.noise + scaled_to(other, mean_power(draw.noise) * 10 ** (gain_db / 10))


@augmentation(0.1)
def babble(draw: Draw, rng: np.random.Generator) -> None:
    """Replaces the noise by 4 to 12 talkers of equal power."""
    talkers = [draw.mixer.speech.crop(rng, len(draw.noise)) for _ in range(int(rng.integers(4, 13)))]
    draw.noise = np.sum([scaled_to(talker, 1e-3) for talker in talkers], axis=0, dtype=np.float32)


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

    draw.speech, draw.noise = shape_spectrum(draw.speech, gain), shape_spectrum(draw.noise, gain)


@augmentation(1 / 3)
def proximity(draw: Draw, rng: np.random.Generator) -> None:
    """Boosts the speech below 80 to 300 Hz by 3 to 20 dB, as a directional microphone close to the mouth does.

    Deep voices, and rumble that was recorded with a voice, are then no sign of noise. The gain in dB falls as that of a
    first-order low-pass: by half at the corner frequency.
    """
    boost_db, corner = rng.uniform(3.0, 20.0), _log_uniform(rng, 80.0, 300.0)
    draw.speech = shape_spectrum(draw.speech, lambda f: 10 ** (boost_db / (1.0 + (f / corner) ** 2) / 20))


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
    draw.noise = (scaled_to(rush, 1e-3) + scaled_to(tone, 10 ** rng.uniform(-6.0, -3.5))).astype(np.float32)


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
    (struck,) = convolved(blows, [ringing], 0)
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
        burst = scaled_to(loudest * shape.astype(np.float32), level)
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
    return shape_spectrum(white, lambda f: 10 ** (slope * np.log2(np.maximum(f, 40.0) / 1000.0) / 20))


def _add_noise(draw: Draw, noise: np.ndarray, relative_db: float) -> None:
    """Adds a noise at a power relative to the one that is there."""
    draw.noise = draw.noise + scaled_to(noise, mean_power(draw.noise) * 10 ** (relative_db / 10))
