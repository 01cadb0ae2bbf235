"""Pictures of recordings, training runs and block times, as PNG or SVG."""

from dtln.plotting.figures import PICTURE_SUFFIXES, save
from dtln.plotting.latency import latency_figure, read_times
from dtln.plotting.spectrograms import spectrogram_db, spectrogram_figure
from dtln.plotting.training import read_curves, training_figure

__all__ = [
    "PICTURE_SUFFIXES",
    "latency_figure",
    "read_curves",
    "read_times",
    "save",
    "spectrogram_db",
    "spectrogram_figure",
    "training_figure",
]
