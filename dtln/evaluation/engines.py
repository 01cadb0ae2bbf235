"""What runs the network on recordings: the whole weights at once, Keras, or an export block by block."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from dtln.audio.signal_path import Stream
from dtln.errors import require
from dtln.formats import EXPORT_KINDS

__all__ = ["TENSORFLOW_ENGINES", "WholeSignals", "load_engine", "open_export"]

TENSORFLOW_ENGINES = ("keras", "savedmodel")  # processes, because their threads wait for each other


class WholeSignals:
    """A stream that keeps what comes until all is there, for an engine that takes whole signals (C, L)."""

    def __init__(self, denoise: Callable[[np.ndarray], np.ndarray]) -> None:
        self.denoise = denoise
        self.pieces: list[np.ndarray] = []

    def process(self, samples: np.ndarray) -> np.ndarray:
        self.pieces.append(samples)
        return samples[:, :0]

    def flush(self) -> np.ndarray:
        return self.denoise(np.concatenate(self.pieces, axis=1))


def open_export(kind: str, model_dir: Path, signals: int) -> Stream:
    """A stream through exported models. Each signal has runtimes of its own, because threads must not share them."""
    from dtln.streaming.backends import open_backend
    from dtln.streaming.engine import ChannelDenoiser

    return ChannelDenoiser([open_backend(kind, model_dir) for _ in range(signals)])


@lru_cache(maxsize=1)
def load_engine(engine: str, weights: Path) -> Callable[[int], Stream]:
    """A function that makes a stream of so many signals. Each process loads the network once.

    engine: "fast", "keras" or a kind of export. weights: an `.h5` file, or for an export its folder. Raises
    FileNotFoundError, WeightsFileError or ModelError for what cannot be loaded, and MissingPackageError.
    """
    if engine in EXPORT_KINDS:
        open_export(engine, weights, 1)  # finds out here what cannot be opened
        return partial(open_export, engine, weights)
    if engine == "keras":
        for package in ("tensorflow", "keras"):
            require(package, "the engine keras")
        import DTLN_model

        denoise = DTLN_model.load_network(weights).denoise
        return lambda signals: WholeSignals(denoise)
    from dtln.evaluation.sequences import SequenceDenoiser, SequenceNetwork

    return partial(SequenceDenoiser, SequenceNetwork(weights))
