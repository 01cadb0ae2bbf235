"""Small noisy and clean recordings for tests of data and training."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

SAMPLE_RATE = 16000


def speech_like(length: int, seed: int = 0) -> np.ndarray:
    """A gliding voice of ten harmonics, switched on and off like syllables: float32 (length,), peak about 0.3."""
    rng = np.random.default_rng(seed)
    time = np.arange(length) / SAMPLE_RATE
    pitch = rng.uniform(100, 220) * (1 + 0.1 * np.sin(2 * np.pi * rng.uniform(1, 3) * time))
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    voice = sum(np.sin(k * phase + rng.uniform(0, 6)) / k for k in range(1, 11))
    syllables = np.clip(2 * np.sin(2 * np.pi * rng.uniform(3, 5) * time + rng.uniform(0, 6)) + 0.5, 0, 1)
    return (0.15 * voice * syllables).astype(np.float32)


def noisy_pair(length: int, seed: int = 0, noise_level: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """(noisy, clean), each float32 (length,): a voice with and without white noise of the given RMS."""
    clean = speech_like(length, seed)
    noise = np.random.default_rng(seed + 1000).standard_normal(length)
    return (clean + noise_level * noise).astype(np.float32), clean


def write_pairs(folder: Path, lengths: Sequence[int], seed: int = 0, noise_level: float = 0.05) -> tuple[Path, Path]:
    """Writes pairs `pair_0.wav`, ... of the given lengths in samples; returns (noisy folder, clean folder)."""
    folders = folder / "noisy", folder / "clean"
    for part in folders:
        part.mkdir(parents=True)
    for index, length in enumerate(lengths):
        for part, signal in zip(folders, noisy_pair(length, seed + index, noise_level), strict=True):
            soundfile.write(part / f"pair_{index}.wav", signal, SAMPLE_RATE)
    return folders


@contextlib.contextmanager
def small_networks() -> Iterator[None]:
    """Gives each core of networks whose sizes nobody names one LSTM of 16 units: half the time to make a graph."""
    import DTLN_model

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DTLN_model, "DTLNConfig", functools.partial(DTLN_model.DTLNConfig, units=16, lstm_layers=1))
        yield


@contextlib.contextmanager
def eager_tensorflow() -> Iterator[None]:
    """Where TensorFlow is the back end, runs its functions without making graphs, which takes longer than few steps."""
    import keras

    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow

    tensorflow.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tensorflow.config.run_functions_eagerly(False)


def write_unmixed(folder: Path) -> list[str]:
    """Writes speech and noise of enough speakers and kinds to split; returns the arguments that name the folders."""
    for kind, count in (("speech", 40), ("noise", 30)):
        (folder / kind).mkdir()
        for index in range(count):
            signal = noisy_pair(2048, index)[kind == "speech"]
            soundfile.write(folder / kind / f"{kind}{index:02d}_0.wav", signal, SAMPLE_RATE)
    return ["--speech", str(folder / "speech"), "--noise", str(folder / "noise")]
