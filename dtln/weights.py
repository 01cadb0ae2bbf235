"""The network's configuration and its layers, read from `.h5` weights with h5py alone.

The files have the legacy HDF5 layout of Keras 2 (`layer_names`, and `weight_names` for each layer), which the published
code reads and writes. Reading them takes neither Keras nor TensorFlow. `DTLN_model.py` makes Keras networks from what
is read here, `dtln/export/onnx_graph.py` ONNX graphs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from dtln.errors import SettingsError, WeightsFileError
from dtln.facts import BLOCK_LENGTH, BLOCK_SHIFT

__all__ = [
    "DTLNConfig",
    "StoredLayer",
    "config_of",
    "describe_layers",
    "layer_kind",
    "read_config",
    "read_legacy_weights",
    "read_network",
    "spectral_encoder",
]


@dataclass(frozen=True)
class DTLNConfig:
    """All that determines the network's graph. The defaults are the paper's.

    block_length and block_shift are in samples, encoder_size in learned features, dropout is a share. norm_stft: core 1
    sees the log magnitude after an instant layer normalisation. Raises SettingsError if the sizes do not fit.
    """

    block_length: int = BLOCK_LENGTH
    block_shift: int = BLOCK_SHIFT
    units: int = 128
    lstm_layers: int = 2
    encoder_size: int = 256
    dropout: float = 0.25
    activation: str = "sigmoid"
    norm_stft: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.block_shift <= self.block_length or self.block_length % 2:
            raise SettingsError(
                f"block length {self.block_length} and block shift {self.block_shift} do not fit: expected an even "
                "length and 0 < shift <= length, in samples"
            )
        if min(self.units, self.lstm_layers, self.encoder_size) < 1:
            raise SettingsError(
                f"{self.units} units, {self.lstm_layers} LSTM layers and an encoder of {self.encoder_size} do not make "
                "a network: expected at least 1 of each"
            )

    @property
    def bins(self) -> int:
        """Frequency bins of one block: F = N // 2 + 1."""
        return self.block_length // 2 + 1

    @property
    def states_shape(self) -> tuple[int, int, int, int]:
        """Shape of the external states of one core: (1, K, U, 2), whose last axis is (h, c)."""
        return (1, self.lstm_layers, self.units, 2)


StoredLayer = tuple[str, list[np.ndarray]]  # name, weights in the layer's own order


def read_legacy_weights(path: str | Path) -> list[StoredLayer]:
    """The layers with weights in an `.h5` file, in file order. The file may hold weights alone or a whole model.

    Raises FileNotFoundError, or WeightsFileError for a file that has not the layout of Keras 2.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights file. Check the path.")
    if not h5py.is_hdf5(path):
        raise WeightsFileError(f"{path}: is not an HDF5 file. Expected weights as `.h5`, published or written by us.")
    try:
        with h5py.File(path, "r") as file:
            return _stored_layers(file, path)
    except (OSError, KeyError) as error:
        raise WeightsFileError(
            f"{path}: is a damaged or incomplete HDF5 file ({error}). Copy it again, or take another."
        ) from error


def _stored_layers(file: h5py.File, path: Path) -> list[StoredLayer]:
    root = file.get("model_weights", file)
    if "layer_names" not in root.attrs:
        raise WeightsFileError(
            f"{path}: is HDF5 but not of the Keras 2 layout; at its top it holds {', '.join(root) or 'nothing'}. "
            "Expected weights saved as `.h5` by the published code or by this toolkit (not `.weights.h5`)."
        )
    stored = []
    for name in root.attrs["layer_names"]:
        group = root[name]
        weights = [np.asarray(group[weight]) for weight in group.attrs["weight_names"]]
        if weights:
            stored.append((name.decode() if isinstance(name, bytes) else str(name), weights))
    return stored


def describe_layers(stored: Sequence[StoredLayer]) -> str:
    """One line for messages: `lstm (257, 512) (128, 512) (512,), dense ...`."""
    return ", ".join(f"{name} {' '.join(str(tuple(w.shape)) for w in weights)}" for name, weights in stored)


def read_config(path: str | Path, default_block_shift: int | None = None) -> DTLNConfig:
    """The configuration of the network whose weights an `.h5` file holds, from the shapes of its layers.

    The first layer shows whether the network normalises magnitudes: if so, a gain and a bias of F bins come before the
    first LSTM. The block shift is no weight. Our files note it; for others it is `default_block_shift` or, without
    that, a quarter of a block. Raises FileNotFoundError or WeightsFileError.
    """
    return read_network(path, default_block_shift)[0]


def read_network(path: str | Path, default_block_shift: int | None = None) -> tuple[DTLNConfig, list[StoredLayer]]:
    """The results of `read_config` and `read_legacy_weights`, from one reading. Raises as they do."""
    stored = read_legacy_weights(path)
    with h5py.File(path, "r") as file:
        block_shift = file.attrs.get("dtln_block_shift", default_block_shift)
    return config_of(stored, block_shift, path), stored


def config_of(stored: Sequence[StoredLayer], block_shift: int | None, path: str | Path) -> DTLNConfig:
    """The configuration of the network that the layers of a file belong to; `path` is for messages.

    Raises WeightsFileError if they are not those of a DTLN network.
    """
    kinds = "".join(layer_kind(weights) for _, weights in stored)
    norm_stft = kinds.startswith("n")
    count = (len(kinds) - norm_stft - 5) // 2
    core = "l" * count + "d"
    if count < 1 or kinds != "n" * norm_stft + core + "cn" + core + "c":
        raise WeightsFileError(
            f"{path}: does not hold a DTLN network. Expected [normalisation], LSTMs, dense, convolution, "
            f"normalisation, LSTMs, dense, convolution; found {describe_layers(stored) or 'no weights'}."
        )
    _, block_length, encoder_size = stored[norm_stft + count + 1][1][0].shape
    try:
        return DTLNConfig(
            block_length=block_length,
            block_shift=int(block_shift) if block_shift is not None else block_length // 4,
            units=stored[int(norm_stft)][1][1].shape[0],
            lstm_layers=count,
            encoder_size=encoder_size,
            norm_stft=norm_stft,
        )
    except ValueError as error:
        raise WeightsFileError(f"{path}: {error}. Take another file.") from error


def layer_kind(weights: Sequence[np.ndarray]) -> str:
    """n(ormalisation), l(stm), d(ense), c(onvolution) or ?, by the ranks of a layer's weights."""
    ranks = tuple(weight.ndim for weight in weights)
    return {(1, 1): "n", (2, 2, 1): "l", (2, 1): "d", (3,): "c"}.get(ranks, "?")


def spectral_encoder(encoder: np.ndarray) -> np.ndarray:
    """Inverse Fourier transform and encoder as one matrix: (N, E) -> (2 F, E), float32.

    spectrum @ spectral_encoder(encoder) == irfft(spectrum) @ encoder: both are linear, and nothing is between them. The
    spectrum has the real part, then the imaginary part, of one frequency after the other, as complex numbers lie in
    memory.
    """
    length = len(encoder)
    identity = np.eye(length // 2 + 1)
    inverse = np.stack([np.fft.irfft(identity, length), np.fft.irfft(1j * identity, length)], axis=1)  # (F, 2, N)
    return (inverse.reshape(-1, length) @ encoder.astype(np.float64)).astype(np.float32)  # (2 F, E)
