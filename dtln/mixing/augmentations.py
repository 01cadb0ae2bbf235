"""Augmentations of recordings, voices and levels. Noises that are made on the spot are in `noises.py`.

Each augmentation changes a segment in place; importing this module fills the table with all of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

import dtln.mixing.noises  # noqa: F401, it registers its augmentations
from dtln.facts import SAMPLE_RATE
from dtln.mixing.recordings import Recordings
from dtln.mixing.registry import AUGMENTATIONS, Augmentation, Change, augmentation, augmentation_by_name
from dtln.mixing.segment import Segment
from dtln.mixing.spectra import (
    BAND_BLOCK,
    block_spectra,
    from_block_spectra,
    from_spectrum,
    log_uniform,
    mean_power,
    resampled,
    scaled_to,
    shape_spectrum,
    spectrum_of,
    tilt,
)

__all__ = ["AUGMENTATIONS", "Augmentation", "Change", "augmentation", "augmentation_by_name"]


@augmentation(1.0)
def spectral_tilt(segment: Segment, rng: np.random.Generator) -> None:
    """Tilts the spectra of speech and noise, each by -3 to 3 dB per octave around 1 kHz, and keeps their powers."""
    for part in ("speech", "noise"):
        slope = rng.uniform(-3.0, 3.0)
        signal = getattr(segment, part)
        tilted = shape_spectrum(signal, tilt(slope, 50.0))
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
    segment.speech = _crop_at_speed(rng, segment.all_speech, len(segment.speech), log_uniform(rng, 0.8, 1.25))


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
    stretched = _cepstral_synthesis(log_uniform(rng, 0.85, 1 / 0.85)) - _cepstral_synthesis(1.0)
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
    segment.noise = _crop_at_speed(rng, segment.all_noise, len(segment.noise), log_uniform(rng, 0.5, 2.0))


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
        piece = _piece(rng, segment.all_noise, log_uniform(rng, 0.2, 2.0), log_uniform(rng, 0.5, 2.0), 12.0)
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
    speed, seconds = log_uniform(rng, slowest, fastest), log_uniform(rng, 0.1, 1.0)
    voices = np.zeros(length, np.float32)
    for _ in range(1 + rng.poisson(rng.uniform(0.2, 0.7) * length / SAMPLE_RATE / seconds)):
        piece = _piece(rng, segment.all_speech, seconds * rng.uniform(0.6, 1.4), speed)
        piece = piece[:: int(rng.choice([-1, 1]))] * _fades(len(piece)) * np.float32(rng.uniform(0.3, 1.0))
        start = int(rng.integers(length))
        voices[start : start + len(piece)] += piece[: length - start]
    segment.add_noise(_equalised(rng, voices, 8.0), rng.uniform(-10.0, 10.0))


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
    low, high = log_uniform(rng, [20.0, 3400.0], [300.0, 8000.0])

    def gain(frequencies: np.ndarray) -> np.ndarray:  # Butterworth magnitudes: order 2 below, order 8 above
        ratio_low, ratio_high = low / np.maximum(frequencies, 1e-3), frequencies / high
        return 1.0 / np.sqrt((1.0 + ratio_low**4) * (1.0 + ratio_high**16))

    segment.speech, segment.noise = shape_spectrum(segment.speech, gain), shape_spectrum(segment.noise, gain)


@augmentation(1 / 3)
def proximity(segment: Segment, rng: np.random.Generator) -> None:
    """Boosts the speech below 80 to 300 Hz by 3 to 20 dB, as a directional microphone close to the mouth does.

    The network then cannot take deep voices for noise. The gain in dB falls with the frequency as a first-order
    low-pass does: by half at the corner frequency. Below 60 Hz, where recordings of speech hold rumble, it falls to
    nothing.
    """
    boost_db, corner = rng.uniform(3.0, 20.0), log_uniform(rng, 80.0, 300.0)

    def gain(f: np.ndarray) -> np.ndarray:
        return 10 ** (boost_db / (1.0 + (f / corner) ** 2) / (1.0 + (60.0 / np.maximum(f, 1.0)) ** 6) / 20)

    segment.speech = shape_spectrum(segment.speech, gain)


@augmentation(1 / 12)
def bursts(segment: Segment, rng: np.random.Generator) -> None:
    """Turns the noise into sudden bursts, such as those of dishes, keys, barks and doors.

    There are 0.3 to 8 bursts a second, in a rhythm or at random, at the level of the noise or up to 20 dB below. They
    rise within 0.3 to 20 ms, last up to 0.3 s and then fade by 8.7 dB in every 5 to 200 ms. Between them is silence, or
    the noise at -50 to -20 dB.
    """
    length = len(segment.noise)
    count = 1 + rng.poisson(log_uniform(rng, 0.3, 8.0) * length / SAMPLE_RATE)
    if rng.random() < 0.5:
        starts = (np.arange(count) + rng.random() + rng.normal(0.0, 0.1, count)) * length / count
    else:
        starts = rng.uniform(0.0, length, count)
    rise, hold, fade = log_uniform(rng, 0.0003, 0.02), log_uniform(rng, 0.003, 0.3), log_uniform(rng, 0.005, 0.2)
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


@augmentation(0.1)
def near_clean(segment: Segment, rng: np.random.Generator) -> None:
    """Sets the SNR to 20 to 50 dB, so that clean speech passes as it is."""
    segment.snr_db = rng.uniform(20.0, 50.0)


@augmentation(0.25)
def levels(segment: Segment, rng: np.random.Generator) -> None:
    """Sets the level of the mixture to -60 to 0 dBFS, also where that exceeds full scale."""
    segment.level_dbfs, segment.over_full_scale = rng.uniform(-60.0, 0.0), True


@augmentation(0.05)
def offset(segment: Segment, rng: np.random.Generator) -> None:
    """Adds a constant of 0.001 to 0.4 of full scale to the mixture, not to the target, as cheap sound cards do."""
    segment.offset = log_uniform(rng, 0.001, 0.4) * rng.choice([-1.0, 1.0])


@augmentation(0.05)
def clipping(segment: Segment, rng: np.random.Generator) -> None:
    """Clips the loudest samples of the mixture, 0.03 to 3 % of all; the target stays whole."""
    segment.clipped_share = 10 ** rng.uniform(-3.5, -1.5)
