"""Write untrained weights whose encoder and decoder are a basis that fits speech better than the MDCT.

    python research/bases.py --output start.h5
    python run_training.py --run-name mine --init-weights start.h5 ...

The MCLT basis has the cosine and the sine of each low frequency, so that what core 2's mask should be does not hang on
the phase, and coarser filters at high ones. Core 2 gets farther with it in its first hours, by 0.14 to 0.19 dB; after
hundreds of hours there was no difference. See README.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import DTLN_model as dtln
from dtln.errors import SettingsError


def mclt_basis(block_length: int) -> np.ndarray:
    """A basis (N, N // 2) that spends its filters where speech has its power; N is a multiple of 128.

    In the lowest 9/64 of the band (to 2.25 kHz at 16 kHz) it has cosine and sine of each frequency of the MDCT, as the
    MCLT has (Malvar, "A modulated complex lapped transform and its applications to audio processing", ICASSP 1999).
    From there to 7/16 of the band (3.5 kHz) it is the MDCT; above, it is the MDCT of half a block, in the middle of the
    block, of filters twice as wide. The filters come in this order, each cosine before its sine. Not in the paper.
    """
    quarter = block_length // 4
    pairs, top = 9 * block_length // 64, 7 * block_length // 32
    cosines, sines = dtln.mdct_basis(block_length), dtln.mdct_basis(block_length, np.pi / 2)
    short = np.pad(dtln.mdct_basis(block_length // 2), ((quarter, quarter), (0, 0)))  # (N, N // 4)
    paired = np.stack([cosines[:, :pairs], sines[:, :pairs]], axis=-1).reshape(block_length, 2 * pairs)
    return np.concatenate([paired, cosines[:, pairs:top], short[:, top // 2 :]], axis=1)


BASES: dict[str, Callable[[int], np.ndarray]] = {"mdct": dtln.mdct_basis, "mclt": mclt_basis}
INVERSE_RIDGE = 1e-7  # of the mean eigenvalue: so small that the inverse of the MDCT stays exact in float32


def basis_for(config: dtln.DTLNConfig, name: str) -> np.ndarray:
    """The basis (N, E) of BASES for a network. Raises SettingsError where encoder size or shift do not allow it."""
    size, length, shift = config.encoder_size, config.block_length, config.block_shift
    fits = {"mdct": length % (2 * shift) == 0, "mclt": length == 4 * shift and length % 128 == 0}[name]
    if size != length // 2 or not fits:
        needs = {"mdct": "a shift that divides half a block", "mclt": "blocks of four shifts and n times 128 samples"}
        raise SettingsError(
            f"the {name.upper()} basis needs an encoder of half a block and {needs[name]}; found encoder "
            f"{size}, block {length}, shift {shift}. Choose other sizes"
        )
    return BASES[name](length)


def inverse_basis(basis: np.ndarray, block_shift: int) -> np.ndarray:
    """The synthesis (E, N) of a basis (N, E), of least norm: blocks S apart, each times the basis and then times the
    synthesis, give the signal back when they are overlap-added."""
    block_length, size = basis.shape
    copies = block_length // block_shift
    # the coefficients, side by side, of all blocks that hold the S samples in the middle
    blocks = np.zeros((block_length + (copies - 1) * block_shift, copies, size))
    for i in range(copies):
        blocks[i * block_shift : i * block_shift + block_length, i] = basis
    blocks = blocks.reshape(len(blocks), -1)
    wanted = np.zeros((len(blocks), block_shift))
    wanted[(copies - 1) * block_shift :][:block_shift] = np.eye(block_shift)
    gram = blocks @ blocks.T
    gram += INVERSE_RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    parts = (blocks.T @ np.linalg.solve(gram, wanted)).reshape(copies, size, block_shift)
    return np.concatenate(parts[::-1], axis=1)  # in the last block the samples come first


def initialise_basis(dtln_layers: dtln.DTLNLayers, name: str) -> None:
    """Starts encoder and decoder from a basis of BASES, so that the untrained network passes the signal through.

    Both masks start near sigmoid(0) = 0.5, which makes 0.25: the decoder is four times the inverse of the encoder. Not
    in the paper. Raises SettingsError as `basis_for`.
    """
    basis = basis_for(dtln_layers.config, name)
    synthesis = 4.0 * inverse_basis(basis, dtln_layers.config.block_shift)
    dtln_layers.encoder.set_weights([basis[None].astype(np.float32)])  # (1, N, E)
    dtln_layers.decoder.set_weights([synthesis[None].astype(np.float32)])  # (1, E, N)


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the weights; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, metavar="H5", help="weights to write")
    parser.add_argument("--basis", choices=tuple(BASES), default="mclt", help="default: %(default)s")
    parser.add_argument("--norm-stft", action="store_true", help="for the variant that normalises log magnitudes")
    parser.add_argument("--seed", type=int, default=42, help="of all other weights (default: %(default)s)")
    args = parser.parse_args(argv)
    import keras

    keras.utils.set_random_seed(args.seed)
    network = dtln.build_network(dtln.DTLNConfig(norm_stft=args.norm_stft))
    initialise_basis(network.dtln_layers, args.basis)
    network.save_weights(args.output)
    print(f"wrote {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
