"""One training segment while it is being made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dtln.mixing.recordings import Recordings
from dtln.mixing.spectra import mean_power, scaled_to


@dataclass
class Segment:
    """Speech and noise of one segment, which augmentations and rooms change in place.

    speech, noise: float32 (L,). The target is `speech` as it stands at the end, unless `target` is set. snr_db and
    level_dbfs: what the mixture is scaled to afterwards. clipped_share: the share of the mixture's samples, the loudest
    ones, that is clipped. offset: a constant that is added to the mixture, full scale 1. over_full_scale: whether the
    mixture may exceed full scale where its level asks for it. all_speech, all_noise: the recordings that augmentations
    take further crops from.
    """

    speech: np.ndarray
    noise: np.ndarray
    snr_db: float
    level_dbfs: float
    all_speech: Recordings
    all_noise: Recordings
    target: np.ndarray | None = None
    clipped_share: float = 0.0
    offset: float = 0.0
    over_full_scale: bool = False

    def add_noise(self, noise: np.ndarray, relative_db: float) -> None:
        """Adds a noise (L,) to the noise, `relative_db` louder than it."""
        self.noise = self.noise + scaled_to(noise, mean_power(self.noise) * 10 ** (relative_db / 10))
