"""Curves, scores, sound and spectrograms for TensorBoard."""

from __future__ import annotations

import contextlib
from pathlib import Path

import keras
import numpy as np

from dtln.errors import require
from dtln.facts import BLOCK_LENGTH, BLOCK_SHIFT, SAMPLE_RATE
from dtln.scoring import metrics
from dtln.scoring.metrics import si_sdr

__all__ = ["TensorBoardLog", "mean_scores", "spectrogram_image"]


class TensorBoardLog(keras.callbacks.Callback):
    """Writes the figures of every epoch and, every `every` epochs, scores, sound and spectrograms of examples.

    examples: (noisy, clean) segments, each (B, L), always the same, or None for figures alone. Scores are means over
    them, with PESQ and STOI if their packages are installed. Raises MissingPackageError if tensorboardX is not.
    """

    def __init__(self, folder: Path, examples: tuple[np.ndarray, np.ndarray] | None, every: int = 5) -> None:
        super().__init__()
        self.writer = require("tensorboardX", "writing for TensorBoard").SummaryWriter(str(folder))
        self.examples, self.every, self.epoch, self.input_written = examples, every, 0, False

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.epoch = epoch

    def on_test_end(self, logs: dict[str, float] | None = None) -> None:
        if self.examples is None or (self.epoch + 1) % self.every:
            return
        noisy, clean = self.examples
        self._write("denoised", self.model.predict_on_batch(noisy), clean)
        if not self.input_written:
            self._write("noisy", noisy, clean)
            self._write("clean", clean, None)
            self.input_written = True

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        for name, value in (logs or {}).items():
            self.writer.add_scalar(name, value, epoch)
        self.writer.flush()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        self.writer.close()

    def _write(self, kind: str, signals: np.ndarray, clean: np.ndarray | None) -> None:
        for index, signal in enumerate(signals):
            self.writer.add_audio(f"{kind}/{index}", np.clip(signal, -1.0, 1.0), self.epoch, SAMPLE_RATE)
            self.writer.add_image(f"{kind}/{index}", spectrogram_image(signal), self.epoch, dataformats="HW")
        if clean is not None:
            for name, value in mean_scores(clean, signals).items():
                self.writer.add_scalar(f"{name}/{kind}", value, self.epoch)


def spectrogram_image(signal: np.ndarray) -> np.ndarray:
    """Spectrogram of a signal (L,) as a picture, uint8 (F, T): low frequencies below, black at -90 dBFS, white at 0."""
    padded = np.pad(signal, (0, max(0, BLOCK_LENGTH - len(signal))))
    window = np.hanning(BLOCK_LENGTH)
    blocks = np.lib.stride_tricks.sliding_window_view(padded, BLOCK_LENGTH)[::BLOCK_SHIFT] * window  # (T, N)
    level_db = 20.0 * np.log10(np.abs(np.fft.rfft(blocks)) / (np.sum(window) / 2) + 1e-9)  # (T, F)
    return np.clip((level_db / 90.0 + 1.0) * 255.0, 0, 255).astype(np.uint8).T[::-1]


def mean_scores(clean: np.ndarray, estimates: np.ndarray) -> dict[str, float]:
    """The mean of each metric of `dtln.scoring` over the pairs (B, L) for which it is defined.

    SI-SDR needs a target that is not silent, the others a longer one, and the packages pesq and pystoi.
    """

    found: dict[str, list[float]] = {}
    for pair in zip(clean, estimates, strict=True):
        scores: dict[str, float] = {}
        with contextlib.suppress(ValueError, ModuleNotFoundError):
            scores["si_sdr_db"] = si_sdr(*pair)
            scores |= metrics.score(*pair)
        for name, value in scores.items():
            found.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) for name, values in found.items()}
