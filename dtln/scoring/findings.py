"""What spoils a score: delay, clipping, levels, recordings that do not belong together."""

from __future__ import annotations

import math

import numpy as np

from dtln.facts import SAMPLE_RATE

LONGEST_DELAY = SAMPLE_RATE  # samples: one second
DELAY_BLOCK = 1 << 19  # samples
UNRELATED = 0.1  # normalised correlation; a mixture at -15 dB still has 0.17
FULL_SCALE = 1.0 - 1.5 / 32768  # 16-bit samples of 32767 and beyond
NEAR_SILENCE = -60.0  # dB of full scale: of 16 bits about 5 are left; PESQ falls from about -75 on
LEVEL_DIFFERENCE = 20.0  # dB; a mixture at -15 dB is 15 dB above its speech


def find_delay(clean: np.ndarray, estimate: np.ndarray, longest: int = LONGEST_DELAY) -> tuple[int, float]:
    """How many samples the estimate (L2,) comes after the clean signal (L1,), and their correlation there, -1 to 1.

    It is the cross-correlation of largest magnitude among delays of up to `longest` samples either way; (0, 0.0) where
    a signal is constant.
    """
    centres = [float(np.mean(x, dtype=np.float64)) if len(x) else 0.0 for x in (clean, estimate)]
    energies = [float(np.var(x, dtype=np.float64)) * len(x) if len(x) else 0.0 for x in (clean, estimate)]
    if 0.0 in energies:
        return 0, 0.0
    correlation = np.zeros(2 * longest + 1)
    for start in range(0, len(clean), DELAY_BLOCK):  # their sum is exact; long signals take no memory
        first = max(0, start - longest)
        piece = clean[start : start + DELAY_BLOCK].astype(np.float64) - centres[0]
        around = estimate[first : start + len(piece) + longest].astype(np.float64) - centres[1]
        size = 1 << (len(piece) + 3 * longest).bit_length()  # the circle's ends must not meet
        spectrum = np.fft.rfft(around, size) * np.conj(np.fft.rfft(piece, size))  # (size / 2 + 1,)
        circular = np.fft.irfft(spectrum, size)  # (size,)
        correlation += circular[np.arange(-longest, longest + 1) + start - first]
    correlation /= math.sqrt(energies[0]) * math.sqrt(energies[1])
    peak = int(np.argmax(np.abs(correlation)))
    return peak - longest, float(correlation[peak])


def align(clean: np.ndarray, estimate: np.ndarray, delay: int) -> tuple[np.ndarray, np.ndarray]:
    """The parts (L,) of two signals (L1,), (L2,) that belong together if the estimate comes `delay` samples late."""
    clean, estimate = clean[max(0, -delay) :], estimate[max(0, delay) :]
    length = min(len(clean), len(estimate))
    return clean[:length], estimate[:length]


def findings(estimate: np.ndarray, clean: np.ndarray | None = None) -> dict[str, str]:
    """What spoils the scores of an estimate (L2,), by itself or against a clean signal (L1,): kind -> words.

    Kinds: "delayed", "unrelated", "at another level", "clipped", "nearly silent", "equal to the clean recording".
    """
    found = {}
    level = level_db(estimate)
    full = np.abs(estimate) >= FULL_SCALE
    pairs = full[1:] & full[:-1]  # a single one is the peak of a normalised recording
    clipped = int(np.count_nonzero(np.append(pairs, False) | np.append(False, pairs)))
    if clipped:
        found["clipped"] = f"{clipped} samples at full scale, side by side"
    if level < NEAR_SILENCE:
        found["nearly silent"] = f"{level:.1f} dB of full scale: integer formats leave few steps, and metrics fall"
    if clean is None or not np.any(clean) or not np.any(estimate):
        return found
    if np.array_equal(estimate, clean):
        return found | {"equal to the clean recording": "so SI-SDR and SNR are infinite, and their means too"}
    delay, correlation = find_delay(clean, estimate)
    if abs(correlation) < UNRELATED:
        found["unrelated"] = (
            f"correlation {abs(correlation):.2f} with the clean recording at best: do they belong together?"
        )
    elif delay:
        when = "after" if delay > 0 else "before"
        found["delayed"] = f"comes {abs(delay)} samples {when} the clean recording: STOI, SI-SDR and SNR fall"
    difference = level - level_db(clean)
    if abs(difference) > LEVEL_DIFFERENCE:
        found["at another level"] = f"{difference:+.1f} dB against the clean recording: the SNR measures that"
    return found


def level_db(signal: np.ndarray) -> float:
    """Level of a signal (L,) in dB of full scale (RMS 1); silence is -inf."""
    power = float(np.mean(np.square(signal, dtype=np.float64))) if signal.size else 0.0
    return 10.0 * math.log10(power) if power else -math.inf
