"""Let the encoder of trained weights take over what is constant in the mask of core 1, and write the new weights.

    python research/open_core_1_mask.py -m old.h5 --output new.h5 --speech SPEECH --noise NOISE
    python research/core_1.py --init-weights new.h5 --alone --run-name core_1 --speech SPEECH --noise NOISE

Trained from constant masks (`run_training.py --init mdct`), core 1 comes to equalise: its mask stays far below one even
in speech, lowest where speech is strongest, and the signal reaches core 2 whitened. A sigmoid has little slope there:
nothing to hold on to where speech should pass as it is. Opened, the mask can be trained to denoise, as a rule by
`core_1.py --alone` first. See README.md for what it gave.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import DTLN_model as dtln
from dtln.errors import SettingsError
from research.segments import change_weights, shown_batch

CEILING_QUANTILE = 0.95  # of core 1's mask in a bin, over many blocks: what lets speech through
SMOOTHING = 17  # bins or filters over which their ceilings or powers are averaged, geometrically


def moving_average(values: np.ndarray) -> np.ndarray:
    """Values (n,) averaged over SMOOTHING neighbours, the ends repeated."""
    padded = np.pad(values, SMOOTHING // 2, mode="edge")
    return np.convolve(padded, np.full(SMOOTHING, 1.0 / SMOOTHING), mode="valid")


def open_core_1_mask(network: dtln.DTLNNetwork, noisy: np.ndarray) -> np.ndarray:
    """Changes the weights of a network; returns the ceilings of the mask that the encoder took over, float64 (F,).

    The ceiling c of the mask in each bin is found on signals `noisy` (B, L). The encoder E becomes C E, where C
    multiplies the bins of a block by c; the mask m becomes m / c where it is c / 2, with the same slope. Above, the
    sigmoid bends it; training core 1 alone gives back what that loses.
    Raises SettingsError for another activation than a sigmoid.
    """
    parts, config = network.dtln_layers, network.config
    if config.activation != "sigmoid":
        raise SettingsError(
            f"the masks of this network are made by {config.activation!r}: only a sigmoid can be opened"
        )
    core_1 = keras.Model(network.input, parts.core_1.activation.output)
    masks = core_1.predict(noisy, verbose=0).astype(np.float64)  # (B, T, F)
    highest = np.log(np.quantile(masks, CEILING_QUANTILE, axis=(0, 1)))  # (F,)
    ceilings = np.exp(moving_average(highest))  # (F,)

    response = np.fft.irfft(ceilings, config.block_length)  # (N,), even, so that C is symmetric
    filtering = np.stack([np.roll(response, shift) for shift in range(config.block_length)])  # (N, N)
    (encoder,) = parts.encoder.get_weights()  # (1, N, E)
    parts.encoder.set_weights([(filtering @ encoder[0].astype(np.float64))[None].astype(np.float32)])
    half = ceilings / 2
    slope, logit = 2.0 * (1.0 - half), np.log(half / (1.0 - half))
    kernel, bias = parts.core_1.dense.get_weights()
    parts.core_1.dense.set_weights([(kernel * slope).astype(np.float32), (slope * (bias - logit)).astype(np.float32)])
    return ceilings


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the opened weights; returns the exit status."""
    parser = argparse.ArgumentParser(
        "open_core_1_mask.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def change(network: dtln.DTLNNetwork, args: argparse.Namespace) -> str:
        ceilings = open_core_1_mask(network, shown_batch(args)[0])
        return f": the mask reached {ceilings.min():.2f} to {ceilings.max():.2f}, and reaches 1 now"

    return change_weights(parser, argv, change)


if __name__ == "__main__":
    sys.exit(main())
