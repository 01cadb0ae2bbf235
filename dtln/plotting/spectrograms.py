"""Spectrograms of recordings, one above the other, with one scale of colours in dB."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from dtln.errors import SettingsError, require
from dtln.plotting.figures import as_text, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WINDOW_SECONDS = 0.032  # the network's block
COLUMN_SECONDS = 0.004
MOST_COLUMNS = 750  # about the pixels of a picture; blocks of longer recordings share columns
RANGE_DB = 70.0  # of the colours, below the loudest bin of all recordings
COLOURS = 48  # 1.5 dB each; more would make files larger, not clearer
NOTHING = "0.85"  # grey where a recording has ended, or has no such frequencies: silence is black
FAINTEST = 1e-12  # power; keeps the logarithm finite


def spectrogram_db(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """Levels of samples (L,), (bins, columns), in dB: a sine of full scale has 0 dB.

    Hann windows of 32 ms each 4 ms; of more than 750 columns several share one, which is their mean power. A bin is
    31.25 Hz wide. A recording shorter than a window is filled with zeros.
    """
    window = round(WINDOW_SECONDS * sample_rate)
    shift = max(1, round(COLUMN_SECONDS * sample_rate))
    samples = np.pad(samples, (0, max(0, window - len(samples))))
    blocks = np.lib.stride_tricks.sliding_window_view(samples, window)[::shift]  # (blocks, window), a view
    weights = np.hanning(window)
    weights /= weights.sum() / 2
    columns = [
        np.mean(np.abs(np.fft.rfft(some * weights)) ** 2, axis=0)  # (bins,)
        for some in np.array_split(blocks, min(len(blocks), MOST_COLUMNS))
    ]
    return 10 * np.log10(np.array(columns).T + FAINTEST)


def spectrogram_figure(recordings: Mapping[str, tuple[np.ndarray, int]], highest_hz: float | None = None) -> Figure:
    """Draws recordings, title -> (samples (L,), sample rate in Hz), one above the other.

    Colours, seconds and frequencies are the same in all, so that what is missing or added is seen. highest_hz: where
    the frequencies end; else at half the highest rate. Raises SettingsError for a recording without samples,
    MissingPackageError.
    """
    for title, (samples, _) in recordings.items():
        if not len(samples):
            raise SettingsError(f"{title}: holds no samples in this stretch. Expected some.")
    pictures = {title: spectrogram_db(*recording) for title, recording in recordings.items()}
    loudest = max(10 * np.log10(FAINTEST) + RANGE_DB, *(float(picture.max()) for picture in pictures.values()))
    longest = max(len(samples) / rate for samples, rate in recordings.values())
    highest = (highest_hz or max(rate for _, rate in recordings.values()) / 2) / 1000
    magma = require("matplotlib", "drawing").colormaps["magma"].resampled(COLOURS)
    figure = new_figure(8.2, 0.6 + 1.5 * len(pictures))
    axes = figure.subplots(len(pictures), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axis, (title, picture) in zip(axes, pictures.items(), strict=True):
        samples, rate = recordings[title]
        extent = (0, len(samples) / rate, 0, rate / 2000)
        image = axis.imshow(
            picture, origin="lower", aspect="auto", extent=extent, vmin=loudest - RANGE_DB, vmax=loudest, cmap=magma
        )
        axis.set(title=as_text(title), ylabel="kHz", xlim=(0, longest), ylim=(0, highest), facecolor=NOTHING)
    axes[-1].set_xlabel("seconds")
    figure.colorbar(image, ax=list(axes), label="dB of full scale", aspect=12 * len(pictures), pad=0.01)
    return figure
