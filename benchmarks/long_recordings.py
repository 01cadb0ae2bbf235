"""What the end of a long recording loses to states that were carried through it.

    python benchmarks/long_recordings.py -m pretrained_model/model.h5 --speech SPEECH --noise NOISE
    python benchmarks/long_recordings.py -m a.h5 b.h5 --speech SPEECH --noise NOISE --minutes 1.1 --mixtures 30

Networks trained on short segments may lose decibels once their states have run for minutes. Mixtures of constant SNR
are made of the speakers and noises that run_training.py keeps for validation by default; the SI-SDR of the end of each,
denoised with the states of all that went before, stands beside that of the same stretch denoised from zero states and
with the states that digital silence, a muted microphone's, leaves behind. Differences have half the width of their 95 %
interval over mixtures.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dtln.evaluation.sequences import CHUNK_BLOCKS, SequenceNetwork
from dtln.facts import SAMPLE_RATE
from dtln.mixing.mixer import mix
from dtln.mixing.recordings import load_recordings, split_by_group
from dtln.scoring.means import mean_with_interval
from dtln.scoring.metrics import si_sdr

SNRS_DB = (0.0, 5.0, 10.0, 15.0, 20.0)
LEVEL_DBFS = -25.0
THREADS = os.cpu_count() or 1


class AfterSilence(SequenceNetwork):
    """A network that has heard digital silence before each signal.

    seconds: of the silence. weights, threads: as `SequenceNetwork` takes them.
    """

    def __init__(self, weights: Path, seconds: float, threads: int = 1) -> None:
        super().__init__(weights, threads)
        self._left_behind = super().initial_states(1)
        blocks = round(seconds * SAMPLE_RATE) // self.config.block_shift
        for start in range(0, blocks, CHUNK_BLOCKS):
            silence = np.zeros((min(CHUNK_BLOCKS, blocks - start), 1, self.config.block_length), np.float32)
            _, self._left_behind = self.run(silence, self._left_behind)

    def initial_states(self, signals: int) -> list[np.ndarray]:
        """Those that silence leaves behind, (1, B, U) each."""
        return [np.repeat(state, signals, axis=1) for state in self._left_behind]


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


def difference(scores: np.ndarray, reference: np.ndarray) -> str:
    """The mean difference of the same mixtures' scores with its interval; of those that both have, the others nan."""
    differences = scores - reference
    there = differences[~np.isnan(differences)]
    if not len(there):
        return "-"
    mean = mean_with_interval(there)
    return f"{mean.mean:+.2f} +-{mean.half_width:.2f}"


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

    from dtln.commands.train_flags import VALIDATION_NOISE_SHARE, VALIDATION_SPEECH_SHARE

    speech = load_recordings(args.speech, args.cache_dir)
    noise = load_recordings(args.noise, args.cache_dir)
    _, speech = split_by_group(speech, VALIDATION_SPEECH_SHARE)
    _, noise = split_by_group(noise, VALIDATION_NOISE_SHARE)
    length, end = round(args.minutes * 60 * SAMPLE_RATE), round(args.end_seconds * SAMPLE_RATE)
    networks = [SequenceNetwork(path, THREADS) for path in args.weights]
    silent = [AfterSilence(path, args.silence_seconds, THREADS) for path in args.weights]
    scores = np.zeros((len(networks), args.mixtures, 3))
    columns = f"{'carried':>8} {'zero':>8} {'silence':>8}"
    print(f"{'mixture':>7} {'SNR dB':>7} {columns}  SI-SDR in dB of the last {args.end_seconds:g} s")
    for index in range(args.mixtures):
        rng = np.random.default_rng(index)
        snr_db = SNRS_DB[index % len(SNRS_DB)]
        noisy, clean = mix(concatenated(speech, rng, length), concatenated(noise, rng, length), snr_db, LEVEL_DBFS)
        for which, network in enumerate(networks):
            heard = ((network, noisy), (network, noisy[-end:]), (silent[which], noisy[-end:]))
            ends = [denoiser.denoise(signal[None])[0, -end:] for denoiser, signal in heard]
            scores[which, index] = [si_sdr(clean[-end:], estimate) for estimate in ends]
            row = " ".join(f"{score:8.2f}" for score in scores[which, index])
            print(f"{index:7d} {snr_db:7.0f} {row}", flush=True)
    for path, of_network in zip(args.weights, scores, strict=True):
        carried, from_zero, after_silence = of_network.T  # (mixtures,) each
        print(
            f"{path.name}: carried {carried.mean():.2f} dB, from zero {from_zero.mean():.2f} dB, difference "
            f"{difference(carried, from_zero)} dB; after {args.silence_seconds:g} s of silence "
            f"{after_silence.mean():.2f} dB, difference {difference(after_silence, from_zero)} dB"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
