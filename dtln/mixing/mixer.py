"""Mixing of speech and noise into (noisy, clean) training segments.

One mixer serves the data generator (on the fly, `run_training.py --speech --noise`) and everything that writes mixtures
to disk. A segment is made in four steps, each drawn from the random generator that the caller passes in, so that the
same generator state gives the same segment:

    random crop of speech -> random crop of noise -> augmentations, by name, in the order given -> a room, if there are
    any -> noise scaled to a random SNR, mixture scaled to a random level, peak kept below full scale

Recordings are decoded once and kept as int16 (115 MB an hour); a cache file holds them between runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from dtln.mixing.augmentations import Change, Draw, augmentation_by_name
from dtln.mixing.recordings import Recordings
from dtln.mixing.rooms import ROOM_TARGETS, RoomResponses, simulated_rooms
from dtln.mixing.spectra import mean_power

PEAK_LIMIT = 0.99  # of full scale; a louder mixture is turned down as a whole, its SNR kept


@dataclass
class Mixer:
    """Draws (noisy, clean) segments from speech and noise recordings.

    segment_length in samples; snr_db and level_dbfs are ranges of uniform draws, the level being that of the mixture
    (RMS, dB relative to full scale); augmentations as `augmentation_by_name` takes them. rooms: responses for
    `simulated_rooms`, which comes after the augmentations, as sound meets the room last; room_target: "reverberant" or
    "early", what of the speech in a room is the target; reverberant_share: of the segments that are put in a room.
    Raises ValueError for settings that do not fit.
    """

    speech: Recordings
    noise: Recordings
    segment_length: int
    snr_db: tuple[float, float] = (-5.0, 25.0)
    level_dbfs: tuple[float, float] = (-35.0, -15.0)
    augmentations: Sequence[str] = ()
    rooms: RoomResponses | None = None
    room_target: str = "reverberant"
    reverberant_share: float = 0.5
    _changes: list[Change] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name, (low, high) in (("SNR", self.snr_db), ("level", self.level_dbfs)):
            if low > high:
                raise ValueError(f"{name} range {low} to {high} dB is empty: expected the lower end first")
        for kind, recordings in (("speech", self.speech), ("noise", self.noise)):
            if not recordings.signals:
                raise ValueError(f"the mixer was given no {kind} recordings: expected at least one")
        if not 0.0 <= self.reverberant_share <= 1.0:
            raise ValueError(f"reverberant share {self.reverberant_share:g}: expected a share from 0 to 1")
        if self.room_target not in ROOM_TARGETS:
            raise ValueError(f"unknown room target {self.room_target!r}: expected one of {', '.join(ROOM_TARGETS)}")
        self._changes = [augmentation_by_name(name) for name in self.augmentations]
        if self.rooms is not None:
            self._changes.append(simulated_rooms)

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """One segment: (noisy, clean), each float32 (segment_length,), aligned; clean is contained in noisy, unless
        `clipping` clipped that or the target is `early`."""
        draw = self.parts(rng)
        noisy, clean, _ = mix_with_guard(draw.speech, draw.noise, draw.snr_db, draw.level_dbfs, draw.target)
        if draw.clipped_share:
            limit = np.quantile(np.abs(noisy), 1.0 - draw.clipped_share)
            noisy = np.clip(noisy, -limit, limit)
        return noisy, clean

    def parts(self, rng: np.random.Generator) -> Draw:
        """Speech and noise of one segment after all augmentations and its room, before they are added."""
        draw = Draw(
            speech=self.speech.crop(rng, self.segment_length),
            noise=self.noise.crop(rng, self.segment_length),
            snr_db=rng.uniform(*self.snr_db),
            level_dbfs=rng.uniform(*self.level_dbfs),
            mixer=self,
        )
        for augment in self._changes:
            augment(draw, rng)
        return draw


def mix(speech: np.ndarray, noise: np.ndarray, snr_db: float, level_dbfs: float) -> tuple[np.ndarray, np.ndarray]:
    """Adds noise to speech at an SNR and scales both to the mixture's level: (noisy, clean), each float32 (L,).

    SNR and level are of mean powers over the whole segment. Where speech or noise is silent its power cannot set the
    SNR: the other one alone sets the level. A mixture that would exceed PEAK_LIMIT is turned down as a whole.
    """
    noisy, clean, _ = mix_with_guard(speech, noise, snr_db, level_dbfs)
    return noisy, clean


def mix_with_guard(
    speech: np.ndarray, noise: np.ndarray, snr_db: float, level_dbfs: float, target: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, float]:
    """`mix`, which also tells by how many dB (0 or less) the mixture was turned down for PEAK_LIMIT.

    target: float32 (L,), what is returned as clean, scaled as the speech in the mixture is; None means the speech.
    """
    target = speech if target is None else target
    speech_power, noise_power = mean_power(speech), mean_power(noise)
    if speech_power > 0 and noise_power > 0:
        noise = noise * np.float32(np.sqrt(speech_power / noise_power) * 10 ** (-snr_db / 20))
    noisy = speech + noise
    power = mean_power(noisy)
    if power == 0:
        return noisy.astype(np.float32), target.astype(np.float32), 0.0
    wanted = 10 ** (level_dbfs / 20) / np.sqrt(power)
    gain = min(wanted, PEAK_LIMIT / max(np.max(np.abs(noisy)), np.max(np.abs(target))))
    return (noisy * gain).astype(np.float32), (target * gain).astype(np.float32), float(20 * np.log10(gain / wanted))
