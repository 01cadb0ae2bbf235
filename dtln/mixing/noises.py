"""Noises that are made on the spot, instead of the recorded noise or on top of it."""

from __future__ import annotations

import numpy as np

from dtln.facts import SAMPLE_RATE
from dtln.mixing.registry import augmentation
from dtln.mixing.segment import Segment
from dtln.mixing.spectra import (
    convolved,
    from_spectrum,
    log_uniform,
    scaled_to,
    shape_spectrum,
    sloping_noise,
    spectrum_of,
    tilt,
)


@augmentation(0.1)
def coloured_noise(segment: Segment, rng: np.random.Generator) -> None:
    """Replaces the noise by stationary noise of -9 to 3 dB per octave."""
    segment.noise = sloping_noise(rng, len(segment.noise), rng.uniform(-9.0, 3.0))


@augmentation(0.05)
def hum(segment: Segment, rng: np.random.Generator) -> None:
    """Adds mains hum of 50 or 60 Hz with up to 20 harmonics, -15 to 5 dB relative to the noise."""
    tones = _tones(rng, len(segment.noise), rng.choice([50.0, 60.0]) * rng.uniform(0.995, 1.005), 20)
    segment.add_noise(tones, rng.uniform(-15.0, 5.0))


@augmentation(0.05)
def fan(segment: Segment, rng: np.random.Generator) -> None:
    """Replaces the noise by that of a fan: broadband noise that swells with the blades, and the tone of the blades."""
    length, blades = len(segment.noise), rng.uniform(60.0, 300.0)  # Hz
    slope, depth = rng.uniform(-9.0, -3.0), rng.uniform(0.0, 0.5)
    turns = np.sin(2 * np.pi * blades / rng.integers(3, 9) * np.arange(length) / SAMPLE_RATE)
    rush = sloping_noise(rng, length, slope) * (1.0 + depth * turns)
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
    segment.add_noise(bursts, rng.uniform(-10.0, 10.0))


@augmentation(1 / 12)
def impacts(segment: Segment, rng: np.random.Generator) -> None:
    """Adds 1 to 8 blows a second on a thing that rings (dishes, keys, tools), -10 to 10 dB relative to the noise.

    The thing has 3 to 20 damped modes of 150 Hz to 7 kHz, which fall by 60 dB in 10 to 600 ms, and a dull thud.
    """
    length = len(segment.noise)
    time = np.arange(min(length, round(0.6 * SAMPLE_RATE))) / SAMPLE_RATE
    ringing = rng.standard_normal(len(time)) * np.exp(-time / rng.uniform(1e-3, 5e-3)) * rng.uniform(0.0, 3.0)
    longest = log_uniform(rng, 0.01, 0.6)  # s
    for frequency in log_uniform(rng, 150.0, 7000.0, int(rng.integers(3, 21))):
        decay = np.exp(-6.9 * time / (longest * rng.uniform(0.2, 1.0)))
        ringing += rng.standard_normal() * decay * np.sin(2 * np.pi * (frequency * time + rng.random()))
    blows = np.zeros(length)
    for _ in range(1 + rng.poisson(rng.uniform(1.0, 8.0) * length / SAMPLE_RATE)):
        blows[int(rng.integers(length))] += 10 ** rng.uniform(-1.0, 0.0)
    (struck,) = convolved(blows, [ringing], 0)
    segment.add_noise(struck, rng.uniform(-10.0, 10.0))


@augmentation(1 / 12)
def calls(segment: Segment, rng: np.random.Generator) -> None:
    """Adds the calls of an animal or a thing, 60 Hz to 3 kHz with harmonics, -10 to 10 dB relative to the noise.

    A call lasts 50 ms to 1 s. Its pitch bends by up to an octave and trembles, it may be rough, and two resonances
    colour it.
    """
    length, pitch = len(segment.noise), log_uniform(rng, 60.0, 3000.0)
    tilt, resonances = rng.uniform(-12.0, -3.0), rng.uniform(300.0, 5000.0, 2)
    bend, tremble, roughness = rng.uniform(-1.0, 1.0), rng.uniform(0.0, 0.05), rng.uniform(0.0, 1.0)
    duration = log_uniform(rng, 0.05, 1.0)  # s
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
    segment.add_noise(called, rng.uniform(-10.0, 10.0))


@augmentation(1 / 12)
def gusts(segment: Segment, rng: np.random.Generator) -> None:
    """Replaces the noise by noise that comes and goes by up to 30 dB, as wind, waves and saws do.

    Its spectrum falls by 0 to 12 dB per octave. It swells 0.5 to 10 times a second, in gusts or in regular strokes.
    """
    length, rate = len(segment.noise), log_uniform(rng, 0.5, 10.0)
    time = np.arange(length) / SAMPLE_RATE
    if rng.random() < 0.5:
        swell = np.sin(2 * np.pi * (rate * time + rng.random()))
    else:
        points = np.arange(0.0, time[-1] + 2 / rate, 1 / rate)
        swell = np.interp(time, points, rng.uniform(-1.0, 1.0, len(points)))
    steady = sloping_noise(rng, length, rng.uniform(-12.0, 0.0))
    segment.noise = (steady * 10 ** (rng.uniform(3.0, 15.0) * swell / 20)).astype(np.float32)


@augmentation(1 / 8)
def rumble(segment: Segment, rng: np.random.Generator) -> None:
    """Adds rumble of 4 to 90 Hz, as of vehicles, ventilation, handling and steps, -15 to 30 dB relative to the noise.

    It is a mixture of noise in a band of half an octave to three octaves, of tones that drift with up to five
    harmonics, and of blows that ring for 30 to 300 ms. It swells by up to 20 dB. Above 90 Hz it falls by 24 dB per
    octave. What the segment had of noise keeps its SNR, so that speech is heard with rumble alone, too.
    """
    length = len(segment.noise)
    centre, width = log_uniform(rng, 6.0, 70.0), rng.uniform(0.25, 1.5)  # Hz; octaves, standard deviation

    def band(f: np.ndarray) -> np.ndarray:
        return np.exp(-0.5 * (np.log2(np.maximum(f, 0.5) / centre) / width) ** 2)

    parts = [
        shape_spectrum(rng.standard_normal(length).astype(np.float32), band),
        _drifting_tones(rng, length, log_uniform(rng, 8.0, 60.0), int(rng.integers(1, 6)), rng.uniform(0.0, 0.05)),
        _blows(rng, length),
    ]
    shares = rng.uniform(0.0, 1.0, 3) * (rng.random(3) < (0.8, 0.4, 0.3))
    shares[0] += 1e-3  # there is always some
    mixed = sum(np.float32(share) * scaled_to(part, 1.0) for share, part in zip(shares, parts, strict=True))
    swell = np.exp(np.log(10.0) / 20 * rng.uniform(0.0, 10.0) * _wandering(rng, length, log_uniform(rng, 0.1, 3.0)))
    rumbling = shape_spectrum(mixed * swell.astype(np.float32), lambda f: (f >= 4.0) / np.sqrt(1.0 + (f / 90.0) ** 8))
    relative_db = rng.uniform(-15.0, 30.0)
    segment.add_noise(rumbling, relative_db)
    segment.snr_db -= 10 * np.log10(1.0 + 10 ** (relative_db / 10))


@augmentation(1 / 12)
def wind(segment: Segment, rng: np.random.Generator) -> None:
    """Replaces the noise by that of wind in a microphone, which comes in gusts.

    Turbulence falls by 5 dB per octave (Kolmogorov) above 8 Hz, where microphones begin to hear, and by 17 to 29 dB per
    octave above a frequency of 10 to 300 Hz. The higher a frequency, the more its level swings with the gusts.
    """
    length = len(segment.noise)
    gusts = _wandering(rng, length, log_uniform(rng, 0.2, 4.0))  # (L,)
    corner, steep = log_uniform(rng, 10.0, 300.0), rng.uniform(2.0, 4.0)
    blown = np.zeros(length, np.float32)
    for share, strength_db in ((1.0, 4.0), (3.0, 8.0), (9.0, 14.0)):  # each layer reaches higher and swings wider

        def turbulence(f: np.ndarray, edge: float = corner * share) -> np.ndarray:
            return f / (64.0 + f**2) ** (11 / 12) / (1.0 + (f / edge) ** 2) ** (steep / 2)

        layer = shape_spectrum(rng.standard_normal(length).astype(np.float32), turbulence)
        blown += layer * (10 ** (strength_db * rng.uniform(0.3, 1.0) * gusts / 20)).astype(np.float32)
    segment.noise = blown


@augmentation(1 / 12)
def machine(segment: Segment, rng: np.random.Generator) -> None:
    """Replaces the noise by that of a machine that runs: vacuum cleaner, air conditioning, compressor, engine, drill.

    The rush of -9 to 1 dB per octave has one to five broad resonances of up to 18 dB. Harmonics of 12 to 700 Hz drift
    by up to 8 %, with strengths drawn anew for each machine. In half of the machines both beat with every turn.
    """
    length = len(segment.noise)
    resonances = [
        (log_uniform(rng, 80.0, 7000.0), rng.uniform(0.08, 0.6), rng.uniform(3.0, 18.0))
        for _ in range(int(rng.integers(1, 6)))
    ]
    slope = tilt(rng.uniform(-9.0, 1.0), 40.0)

    def body(f: np.ndarray) -> np.ndarray:
        octaves = [np.log2(np.maximum(f, 20.0) / centre) / width for centre, width, _ in resonances]
        peaks_db = sum(
            peak * np.exp(-0.5 * distance**2) for (*_, peak), distance in zip(resonances, octaves, strict=True)
        )
        return slope(f) * 10 ** (peaks_db / 20)

    shaft = log_uniform(rng, 12.0, 700.0)  # Hz
    drift = rng.uniform(0.0, 0.08) if rng.random() < 0.5 else 0.003
    phase = _drifting_phase(rng, length, shaft, drift)
    rush = shape_spectrum(rng.standard_normal(length).astype(np.float32), body)
    harmonics = _harmonics(rng, phase, max(1, min(60, int(7500.0 / shaft))), rng.uniform(0.3, 1.5))
    harmonics = shape_spectrum(harmonics, lambda f: 10 ** (np.clip(20 * np.log10(body(f) / slope(f)), 0, 12) / 20))
    share = rng.uniform(-25.0, 10.0)  # dB, of the harmonics
    running = scaled_to(rush, 1e-3) + scaled_to(harmonics, 10 ** (share / 10 - 3))
    if rng.random() < 0.5:
        beat = np.sin(2 * np.pi * phase / int(rng.choice([1, 2, 3, 4, 6])))
        running *= (1.0 + rng.uniform(0.0, 0.8) * beat).astype(np.float32)
    segment.noise = running.astype(np.float32)


def _blows(rng: np.random.Generator, length: int) -> np.ndarray:
    """Dull blows, 0.3 to 6 a second, that ring at 10 to 80 Hz: float32 (length,)."""
    time = np.arange(min(length, SAMPLE_RATE)) / SAMPLE_RATE
    decay, frequency = log_uniform(rng, 0.03, 0.3), log_uniform(rng, 10.0, 80.0)
    ringing = np.exp(-time / decay) * np.sin(2 * np.pi * frequency * time)
    struck = np.zeros(length)
    for _ in range(1 + rng.poisson(log_uniform(rng, 0.3, 6.0) * length / SAMPLE_RATE)):
        struck[int(rng.integers(length))] += 10 ** rng.uniform(-1.0, 0.0)
    return convolved(struck, [ringing], 0)[0]


def _wandering(rng: np.random.Generator, length: int, rate: float) -> np.ndarray:
    """Values about 0, of standard deviation 1 and `rate` turns a second, without corners: float64 (length,)."""
    points = max(4, round(rate * length / SAMPLE_RATE * 2) + 4)
    spectrum = spectrum_of(rng.standard_normal(points).astype(np.float32))
    smooth = from_spectrum(np.pad(spectrum, (0, length // 2 + 1 - len(spectrum))), length)[:length]
    return smooth / max(float(smooth.std()), 1e-9)


def _drifting_phase(rng: np.random.Generator, length: int, frequency: float, drift: float) -> np.ndarray:
    """Turns since the start, float64 (length,), at a frequency in Hz that wanders by a share of `drift`."""
    wander = np.clip(_wandering(rng, length, log_uniform(rng, 0.1, 2.0)), -2.0, 2.0)
    return np.cumsum(frequency * (1.0 + drift / 2 * wander)) / SAMPLE_RATE + rng.random()


WAVEFORM = 4096  # samples of one turn of `_harmonics`


def _harmonics(rng: np.random.Generator, phase: np.ndarray, count: int, fall: float) -> np.ndarray:
    """Harmonics 1 to `count` of a phase in turns (L,), random and falling with their number to `fall`: float32 (L,)."""
    strengths = rng.rayleigh(1.0, count) * np.arange(1, count + 1) ** -fall
    spectrum = np.zeros(WAVEFORM // 2 + 1, np.complex64)
    spectrum[1 : count + 1] = strengths * np.exp(2j * np.pi * rng.random(count))
    turn = from_spectrum(spectrum, WAVEFORM)
    return np.interp(phase % 1.0 * WAVEFORM, np.arange(WAVEFORM + 1), np.append(turn, turn[0])).astype(np.float32)


def _drifting_tones(
    rng: np.random.Generator, length: int, fundamental: float, harmonics: int, drift: float
) -> np.ndarray:
    """A tone of a fundamental in Hz that drifts, with harmonics: float32 (length,)."""
    return _harmonics(rng, _drifting_phase(rng, length, fundamental, drift), harmonics, rng.uniform(0.0, 1.5))


def _tones(rng: np.random.Generator, length: int, fundamental: float, harmonics: int) -> np.ndarray:
    """A tone of a fundamental in Hz, with harmonics of random phases and falling amplitudes: float32 (length,)."""
    phase = (2 * np.pi * (fundamental / SAMPLE_RATE * np.arange(length) % 1)).astype(np.float32)
    total = np.zeros(length, np.float32)
    for k in range(1, int(rng.integers(2, harmonics + 1))):
        amplitude = np.float32(rng.uniform(0.1, 1.0) / k)
        total += amplitude * np.sin(k * phase + np.float32(2 * np.pi * rng.random()))
    return total
