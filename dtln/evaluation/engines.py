"""What runs the network on recordings: the whole weights at once, Keras, or an export block by block."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Protocol

import numpy as np

from dtln.errors import require
from dtln.formats import EXPORT_KINDS

__all__ = ["TENSORFLOW_ENGINES", "BlockByBlock", "Stream", "WholeSignals", "load_engine"]

TENSORFLOW_ENGINES = ("keras", "savedmodel")  # processes, because their threads wait for each other


class Stream(Protocol):
    """C signals at 16 kHz in pieces: float32 (C, M) in, aligned ones out; in the end as many came out as went in."""

    def process(self, samples: np.ndarray) -> np.ndarray: ...

    def flush(self) -> np.ndarray: ...


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


class BlockByBlock:
    """A stream through exported models. Each signal has runtimes of its own, because threads must not share them."""

    def __init__(self, kind: str, model_dir: Path, signals: int) -> None:
        from dtln.streaming.backends import open_backend
        from dtln.streaming.engine import StreamingDenoiser

        self.denoisers = [StreamingDenoiser(open_backend(kind, model_dir)) for _ in range(signals)]

    def process(self, samples: np.ndarray) -> np.ndarray:
        return np.stack([denoiser.process(signal) for denoiser, signal in zip(self.denoisers, samples, strict=True)])

    def flush(self) -> np.ndarray:
        return np.stack([denoiser.flush() for denoiser in self.denoisers])


@lru_cache(maxsize=1)
def load_engine(engine: str, weights: Path) -> Callable[[int], Stream]:
    """A function that makes a stream of so many signals. Each process loads the network once.

    engine: "fast", "keras" or a kind of export. weights: an `.h5` file, or for an export its folder. Raises
    FileNotFoundError, WeightsFileError or ModelError for what cannot be loaded, and MissingPackageError.
    """
    if engine in EXPORT_KINDS:
        BlockByBlock(engine, weights, 1)  # finds out here what cannot be opened
        return partial(BlockByBlock, engine, weights)
    if engine == "keras":
        for package in ("tensorflow", "keras"):
            require(package, "the engine keras")
        import DTLN_model

        denoise = DTLN_model.load_network(weights).denoise
        return lambda signals: WholeSignals(denoise)
    from dtln.evaluation.sequences import SequenceDenoiser, SequenceNetwork

    return partial(SequenceDenoiser, SequenceNetwork(weights))
