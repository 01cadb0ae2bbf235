"""Give core 2 of trained weights another encoder and decoder without making it start anew, and write the new weights.

    python research/change_basis.py -m old.h5 --output new.h5 --speech SPEECH --noise NOISE
    python run_training.py --run-name mine --init-weights new.h5 ...

What the first LSTM of core 2 used to see is, to 93 %, a linear map of what it sees with the new encoder; its kernel
takes that map in, and the mask is fitted anew. Training then goes on. See README.md for what it gave: nothing, in the
end.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import DTLN_model as dtln
from dtln.errors import SettingsError
from dtln.facts import EPSILON
from research.bases import BASES, basis_for, inverse_basis
from research.open_core_1_mask import moving_average
from research.segments import change_weights, shown_batch

HEADROOM = 1.15  # of the decoder over the inverse of the encoder, so that a mask below one passes the signal
WHITENING = 0.35  # power of a filter's mean power by which the filter is turned down
RIDGE = 1e-3  # of the variance of what the first LSTM sees


def change_basis(network: dtln.DTLNNetwork, name: str, noisy: np.ndarray, clean: np.ndarray) -> None:
    """Changes the weights of a network to a basis of `bases.BASES`.

    What the first LSTM of core 2 used to see of signals `noisy` (B, L) is written, by least squares, as a linear map of
    what it sees now, and its kernel takes that map in. The mask is fitted on what the LSTMs then say: it should bring
    the new coefficients of what core 1 leaves over next to those of `clean` (B, L). The error of each pair is counted
    relative to what it was. Filters are turned down where their signal is strong, because normalisation would let them
    drown the others.
    Raises SettingsError for another activation than a sigmoid, and as `basis_for`.
    """
    parts, config = network.dtln_layers, network.config
    if config.activation != "sigmoid":
        raise SettingsError(
            f"the masks of this network are made by {config.activation!r}: only a sigmoid can be fitted"
        )
    basis = basis_for(config, name)
    left = keras.Model(network.input, parts.masked_blocks.output).predict(noisy, verbose=0)  # (B, T, N)
    sounding = (energy := np.square(left).sum(axis=-1).ravel()) > 1e-7 * energy.max()

    def seen() -> np.ndarray:
        """What the first LSTM sees of blocks that are not silent."""
        encoded = ops.convert_to_numpy(parts.norm_encoded(parts.encoder(left)))
        return encoded.reshape(-1, config.encoder_size)[sounding].astype(np.float64)

    before = seen()
    powers = np.square(left @ basis).mean(axis=(0, 1))  # (E,)
    order = np.argsort(np.abs(np.fft.rfft(basis, axis=0)).argmax(axis=0), kind="stable")  # by frequency
    gains = np.empty_like(powers)
    gains[order] = np.exp(-WHITENING * moving_average(np.log(powers / powers.mean())[order]))
    synthesis = inverse_basis(basis, config.block_shift) / gains[:, None]
    basis = basis * gains
    parts.encoder.set_weights([basis[None].astype(np.float32)])
    parts.decoder.set_weights([(HEADROOM * synthesis)[None].astype(np.float32)])
    parts.norm_encoded.set_weights([np.ones(len(gains), np.float32), np.zeros(len(gains), np.float32)])

    now = np.pad(seen(), ((0, 0), (0, 1)), constant_values=1.0)  # (blocks, E + 1)
    gram = now.T @ now + RIDGE * len(now) * np.eye(now.shape[1])
    mapping = np.linalg.solve(gram, now.T @ before)  # (E + 1, E)
    kernel, recurrent, bias = parts.core_2.lstms[0].get_weights()
    parts.core_2.lstms[0].set_weights([mapping[:-1] @ kernel, recurrent, bias + mapping[-1] @ kernel])

    heard = keras.Model(network.input, parts.core_2.dense.input).predict(noisy, verbose=0)  # (B, T, U)
    wanted = ops.convert_to_numpy(dtln.Framing(config.block_length, config.block_shift)(clean)) @ basis  # (B, T, E)
    encoded = left @ basis
    share = np.linalg.norm(synthesis, axis=1)  # of a coefficient's error in the output
    share = share / np.sqrt(np.mean(np.square((encoded - wanted) * share), axis=(1, 2), keepdims=True) + EPSILON)
    parts.core_2.dense.set_weights(_fitted_mask(heard, HEADROOM * encoded * share, wanted * share))


def _fitted_mask(features: np.ndarray, encoded: np.ndarray, wanted: np.ndarray, epochs: int = 15) -> list[np.ndarray]:
    """Kernel and bias of the layer whose mask for `encoded`, from `features`, comes nearest to `wanted` (B, T, E)."""
    order = np.random.default_rng(0).permutation(features.shape[0] * features.shape[1])
    features, encoded, wanted = (part.reshape(-1, part.shape[-1])[order] for part in (features, encoded, wanted))
    inputs = [keras.Input(part.shape[1:], dtype="float32") for part in (features, encoded)]
    dense = layers.Dense(encoded.shape[-1], "sigmoid", kernel_initializer="zeros", dtype="float32")
    fitted = keras.Model(inputs, layers.Multiply(dtype="float32")([dense(inputs[0]), inputs[1]]))
    batch = max(1, min(4096, len(features) // 8))
    rate = keras.optimizers.schedules.CosineDecay(0.05, epochs * -(-len(features) // batch))
    fitted.compile(keras.optimizers.Adam(rate), "mean_squared_error", jit_compile=False)
    fitted.fit([features, encoded], wanted, batch_size=batch, epochs=epochs, shuffle=False, verbose=0)
    return dense.get_weights()


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the changed weights; returns the exit status."""
    parser = argparse.ArgumentParser(
        "change_basis.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--basis", choices=tuple(BASES), default="mclt", help="default: %(default)s")

    def change(network: dtln.DTLNNetwork, args: argparse.Namespace) -> str:
        change_basis(network, args.basis, *shown_batch(args))
        return ""

    return change_weights(parser, argv, change)


if __name__ == "__main__":
    sys.exit(main())
