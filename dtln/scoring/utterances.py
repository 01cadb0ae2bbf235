"""Whether the package pesq has room for a signal: its C code writes beyond its arrays where it has not.

It has room for 50 utterances and for 1000 intervals of bad frames (MAXNUTTERANCES and MAX_NUMBER_OF_BAD_INTERVALS of
the ITU's P.862 software). With 52 utterances its scores are wrong, with 60 it crashes; with too many intervals it
hangs. So the signal is measured before the call.
"""

from __future__ import annotations

import numpy as np

from dtln.errors import NotScorable

WINDOW = 0.004  # seconds, of which speech activity is decided
JOINED = 50  # windows: shorter pauses do not part utterances
SHORTEST = 50  # windows of an utterance
SURELY_FEW = 49 * (SHORTEST + JOINED - 4) * WINDOW  # seconds, in which no 50 utterances fit: 4 windows are smeared
MOST_UTTERANCES = 44  # by our count; it was off by up to 6 of pesq's own, where that is about 50
# seconds: an interval has at least 5 bad frames, 3 good ones part it from the next, and frames come every 16 ms
LONGEST = 1000 * (5 + 3) * 0.016
# Gain in dB over frequency in Hz of pesq's filters together, before it looks for speech: measured, to about 1 dB.
GAINS = {
    "nb": ((0, -100), (100, -62), (200, -13), (250, -1), (300, 8), (400, 18), (500, 21), (700, 23), (1000, 22),
           (1500, 19), (2000, 13), (2500, 8), (3250, 8), (3500, -3), (3600, -100), (8000, -100)),
    "wb": ((0, -100), (100, -36), (150, -17), (200, -5), (250, 4), (300, 10), (400, 17), (500, 19), (700, 20),
           (1000, 19), (1500, 16), (2000, 10), (2500, 5), (3250, 5), (3700, -2), (4000, -9), (5000, -21), (8000, -35)),
}  # fmt: skip


def require_room(clean: np.ndarray, band: str, sample_rate: int) -> None:
    """Raises NotScorable where pesq may not have room for a clean signal (L,); band "nb" or "wb"."""
    seconds = len(clean) / sample_rate
    remedy = "Split both recordings at the same pauses, or leave PESQ out (--no-pesq)"
    if seconds > LONGEST:
        raise NotScorable(
            f"PESQ of {seconds:.0f} s cannot be computed: the package pesq may hang beyond {LONGEST:.0f} s. {remedy}"
        )
    if seconds > SURELY_FEW and (utterances := count_utterances(clean, band, sample_rate)) > MOST_UTTERANCES:
        raise NotScorable(
            f"PESQ of about {utterances} utterances cannot be computed: the package pesq has room for 50, and gives "
            f"wrong scores or crashes beyond. {remedy}"
        )


def count_utterances(clean: np.ndarray, band: str, sample_rate: int) -> int:
    """About how many utterances pesq will find in a clean signal (L,): stretches of speech between pauses of 0.2 s.

    As ITU-T P.862 has it, a window of 4 ms is speech if it is two standard deviations above the mean power of noise,
    which is what is no speech; single ones and faint ones do not count.
    """
    signal = clean.astype(np.float64) - np.mean(clean, dtype=np.float64)
    size = 1 << (len(signal) - 1).bit_length()
    gains = np.interp(np.fft.rfftfreq(size, 1 / sample_rate), *np.transpose(GAINS[band]))  # (size / 2 + 1,)
    signal = np.fft.irfft(np.fft.rfft(signal, size) * 10 ** (gains / 20), size)[: len(signal)]
    window = round(WINDOW * sample_rate)
    power = np.mean(np.square(np.pad(signal, (0, -len(signal) % window)).reshape(-1, window)), axis=1)  # (N,)
    power = np.pad(power, 75)  # pesq pads, too, which lowers the noise
    power = np.maximum(power, 1e-4 * np.max(power))
    threshold = float(np.mean(power))
    for _ in range(12):
        noise = power[power <= threshold]
        threshold = 1.001 * float(np.mean(noise) + 2 * np.std(noise)) if len(noise) else 0.0
    speech = power > threshold
    speech[[0, -1]] = False
    edges = np.flatnonzero(np.diff(speech.astype(np.int8))) + 1
    starts, ends = edges[::2], edges[1::2]
    kept = ends - starts > 4
    if len(edges) and np.mean(power[speech]) >= 1000 * np.mean(power[~speech]):
        total = np.concatenate([[0.0], np.cumsum(power)])
        kept &= total[ends] - total[starts] >= 3 * threshold * (ends - starts)
    if not np.any(kept):
        return 1  # pesq takes all for speech then
    starts, ends = starts[kept], ends[kept]
    apart = starts[1:] - ends[:-1] > JOINED
    starts, ends = starts[np.append(True, apart)], ends[np.append(apart, True)]
    return int(np.count_nonzero(ends - starts + 4 >= SHORTEST))
