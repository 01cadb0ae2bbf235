"""What the end of a long recording loses to states that were carried through it.

    python benchmarks/long_recordings.py -m pretrained_model/model.h5 --speech SPEECH --noise NOISE

Networks trained on short segments may lose decibels once their states have run for minutes. Mixtures of constant SNR
are made of the speakers and noises that run_training.py keeps for validation by default; the SI-SDR of the end of each,
denoised with the states of all that went before, stands beside that of the same stretch denoised from zero states and
with the states that digital silence, a muted microphone's, leaves behind.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dtln.facts import SAMPLE_RATE
from dtln.mixing.mixer import mix
from dtln.mixing.recordings import load_recordings, split_by_group
from dtln.scoring.metrics import si_sdr

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


def add_weights_and_corpus(parser: argparse.ArgumentParser) -> None:
    """Adds the flags for weights and for the folders that they were trained on."""
    parser.add_argument("-m", "--weights", type=Path, required=True, nargs="+", metavar="H5")
    parser.add_argument("--speech", type=Path, required=True, metavar="DIR", help="the folder given to run_training.py")
    parser.add_argument("--noise", type=Path, required=True, metavar="DIR", help="likewise")
    parser.add_argument("--cache-dir", type=Path, metavar="DIR", help="likewise")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_weights_and_corpus(parser)
    parser.add_argument("--mixtures", type=int, default=10, help="default: %(default)s")
    parser.add_argument("--minutes", type=float, default=10.0, help="of each mixture (default: %(default)s)")
    parser.add_argument("--end-seconds", type=float, default=60.0, help="that are scored (default: %(default)s)")
    parser.add_argument(
        "--silence-seconds", type=float, default=120.0, help="of digital silence (default: %(default)s)"
    )
    args = parser.parse_args(argv)
    if args.mixtures < 1 or not 0 < args.end_seconds < 60 * args.minutes or args.silence_seconds < 0:
        parser.error("expected at least one mixture, an end that is shorter than it and no negative silence")

    import DTLN_model as dtln
    from dtln.commands.train_flags import VALIDATION_NOISE_SHARE, VALIDATION_SPEECH_SHARE

    speech = load_recordings(args.speech, args.cache_dir)
    noise = load_recordings(args.noise, args.cache_dir)
    _, speech = split_by_group(speech, VALIDATION_SPEECH_SHARE)
    _, noise = split_by_group(noise, VALIDATION_NOISE_SHARE)
    length, end = round(args.minutes * 60 * SAMPLE_RATE), round(args.end_seconds * SAMPLE_RATE)
    silence = np.zeros(round(args.silence_seconds * SAMPLE_RATE), np.float32)
    networks = [dtln.load_network(path) for path in args.weights]
    scores = np.zeros((len(networks), args.mixtures, 3))
    columns = f"{'carried':>8} {'zero':>8} {'silence':>8}"
    print(f"{'mixture':>7} {'SNR dB':>7} {columns}  SI-SDR in dB of the last {args.end_seconds:g} s")
    for index in range(args.mixtures):
        rng = np.random.default_rng(index)
        snr_db = SNRS_DB[index % len(SNRS_DB)]
        noisy, clean = mix(concatenated(speech, rng, length), concatenated(noise, rng, length), snr_db, LEVEL_DBFS)
        for which, network in enumerate(networks):
            heard = (noisy, noisy[-end:], np.concatenate([silence, noisy[-end:]]))
            ends = [network.denoise(signal[None])[0, -end:] for signal in heard]
            scores[which, index] = [si_sdr(clean[-end:], estimate) for estimate in ends]
            row = " ".join(f"{score:8.2f}" for score in scores[which, index])
            print(f"{index:7d} {snr_db:7.0f} {row}", flush=True)
    for path, (carried, from_zero, silent) in zip(args.weights, scores.mean(axis=1), strict=True):
        print(
            f"{path.name}: carried {carried:.2f} dB, from zero {from_zero:.2f} dB, difference "
            f"{carried - from_zero:+.2f} dB; after {args.silence_seconds:g} s of silence {silent:.2f} dB, difference "
            f"{silent - from_zero:+.2f} dB"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
