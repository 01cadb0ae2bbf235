"""What the end of a long recording loses to states that were carried through it.

    python benchmarks/long_recordings.py -m pretrained_model/model.h5 --speech SPEECH --noise NOISE

Networks trained on short segments may lose decibels once their states have run for minutes. Mixtures of constant SNR
are made of the speakers and noises that run_training.py keeps for validation by default; the SI-SDR of the end of each,
denoised with the states of all that went before, stands beside that of the same stretch denoised from zero states.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from dtln_audio import SAMPLE_RATE
from dtln_metrics import si_sdr

SNRS_DB = (0.0, 5.0, 10.0, 15.0, 20.0)
LEVEL_DBFS = -25.0


def concatenated(recordings, rng: np.random.Generator, length: int) -> np.ndarray:
    """All recordings in a random order, again and again: float32 (length,)."""
    pieces, total = [], 0
    while total < length:
        for index in rng.permutation(len(recordings.signals)):
            pieces.append(recordings.signals[index].astype(np.float32) / 32768)
            total += len(pieces[-1])
    return np.concatenate(pieces)[:length]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--weights", type=Path, required=True, nargs="+", metavar="H5")
    parser.add_argument("--speech", type=Path, required=True, metavar="DIR", help="the folder given to run_training.py")
    parser.add_argument("--noise", type=Path, required=True, metavar="DIR", help="likewise")
    parser.add_argument("--cache-dir", type=Path, metavar="DIR", help="likewise")
    parser.add_argument("--mixtures", type=int, default=10, help="default: %(default)s")
    parser.add_argument("--minutes", type=float, default=10.0, help="of each mixture (default: %(default)s)")
    parser.add_argument("--end-seconds", type=float, default=60.0, help="that are scored (default: %(default)s)")
    args = parser.parse_args(argv)
    if args.mixtures < 1 or not 0 < args.end_seconds < 60 * args.minutes:
        parser.error("expected at least one mixture, and an end that is shorter than it")

    import dtln_mixing as mixing
    import DTLN_model as dtln
    from run_training import VALIDATION_NOISE_SHARE, VALIDATION_SPEECH_SHARE

    speech = mixing.load_recordings(args.speech, args.cache_dir)
    noise = mixing.load_recordings(args.noise, args.cache_dir)
    _, speech = mixing.split_by_group(speech, VALIDATION_SPEECH_SHARE)
    _, noise = mixing.split_by_group(noise, VALIDATION_NOISE_SHARE)
    length, end = round(args.minutes * 60 * SAMPLE_RATE), round(args.end_seconds * SAMPLE_RATE)
    networks = [dtln.load_network(path) for path in args.weights]
    scores = np.zeros((len(networks), args.mixtures, 2))
    print(f"{'mixture':>7} {'SNR dB':>7} {'carried':>8} {'zero':>8}  SI-SDR in dB of the last {args.end_seconds:g} s")
    for index in range(args.mixtures):
        rng = np.random.default_rng(index)
        snr_db = SNRS_DB[index % len(SNRS_DB)]
        noisy, clean = mixing.mix(
            concatenated(speech, rng, length), concatenated(noise, rng, length), snr_db, LEVEL_DBFS
        )
        for which, network in enumerate(networks):
            carried = network.denoise(noisy[None])[0, -end:]
            from_zero = network.denoise(noisy[None, -end:])[0]
            scores[which, index] = si_sdr(clean[-end:], carried), si_sdr(clean[-end:], from_zero)
            print(f"{index:7d} {snr_db:7.0f} {scores[which, index, 0]:8.2f} {scores[which, index, 1]:8.2f}", flush=True)
    for path, (carried, from_zero) in zip(args.weights, scores.mean(axis=1), strict=True):
        difference = carried - from_zero
        print(f"{path.name}: carried {carried:.2f} dB, from zero {from_zero:.2f} dB, difference {difference:+.2f} dB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
