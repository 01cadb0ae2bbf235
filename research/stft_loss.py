"""Train with a multi-resolution STFT distance beside the SNR: run_training.py with one more loss.

    python research/stft_loss.py --run-name mine --init-weights start.h5 --speech SPEECH --noise NOISE ...

All flags are those of run_training.py; the loss is `snr_stft`. See README.md for what it gave: PESQ and STOI stayed
where the SNR alone leaves them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras import ops

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dtln.choices import LOSSES
from dtln.commands import train
from dtln.facts import EPSILON
from DTLN_model import negative_snr

STFT_RESOLUTIONS = ((256, 64), (512, 128), (1024, 256))  # window length and shift in samples
STFT_LOSS_WEIGHT = 5.0  # dB: a typical STFT loss of 1 then weighs a third of a typical SNR


def multi_resolution_stft_loss(target: Any, estimate: Any) -> Any:
    """Distance of STFT magnitudes of signals (B, L) at three resolutions, Hann windows: (B,), without unit.

    Spectral convergence plus mean absolute difference of log magnitudes, averaged over the resolutions: Yamamoto, Song
    & Kim, "Parallel WaveGAN", ICASSP 2020, equations 3 to 6. Deviation: both signals are divided by the RMS of the
    target and magnitudes are floored 60 dB below its mean, so that neither the level nor the noise under digital
    silence decides. A target below -70 dBFS has no magnitudes to be far from: 0.
    """
    power = ops.mean(ops.square(target), axis=-1, keepdims=True)  # (B, 1)
    rms = ops.sqrt(power + EPSILON)
    total = 0.0
    for length, shift in STFT_RESOLUTIONS:
        floor = 1e-3 * math.sqrt(3.0 / 8.0 * length)  # of a white signal at RMS 1: sqrt(sum of the squared window)
        wanted, found = (
            ops.sqrt(ops.square(real) + ops.square(imag) + floor**2)
            for real, imag in (ops.stft(x / rms, length, shift, length, center=False) for x in (target, estimate))
        )  # (B, T, F)
        difference = ops.sqrt(ops.sum(ops.square(wanted - found), axis=(1, 2)) + EPSILON)
        convergence = difference / ops.sqrt(ops.sum(ops.square(wanted), axis=(1, 2)))
        total = total + convergence + ops.mean(ops.abs(ops.log(wanted) - ops.log(found)), axis=(1, 2))
    return ops.where(power[:, 0] > EPSILON, total / len(STFT_RESOLUTIONS), 0.0)  # (B,)


def negative_snr_and_stft(target: Any, estimate: Any) -> Any:
    """`negative_snr` plus STFT_LOSS_WEIGHT times `multi_resolution_stft_loss` of signals (B, L): (B,)."""
    return negative_snr(target, estimate) + STFT_LOSS_WEIGHT * multi_resolution_stft_loss(target, estimate)


def main(argv: Sequence[str] | None = None) -> int:
    """Trains; returns the exit status."""
    LOSSES["snr_stft"] = "research.stft_loss:negative_snr_and_stft"
    argv = sys.argv[1:] if argv is None else argv
    return train.main(["--loss", "snr_stft", *argv], prog="stft_loss.py")


if __name__ == "__main__":
    sys.exit(main())
