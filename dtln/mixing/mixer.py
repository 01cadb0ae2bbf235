"""Mixing of speech and noise into (noisy, clean) training segments.

One mixer serves the data generator (`run_training.py --speech --noise`) and the pool of segments on a GPU; what writes
mixtures to disk uses its functions. All random numbers come from the generator that the caller passes in, so that the
same state of the generator gives the same segment. The steps are:

    random crop of speech -> random crop of noise -> augmentations, by name, in the order given -> a room, if there are
    any -> noise scaled to a random SNR, mixture scaled to a random level, peak kept below full scale

Recordings are decoded once and kept as int16 (115 MB an hour); a cache file holds them between runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from dtln.choices import ROOM_TARGETS, SNR_OVER
from dtln.errors import SettingsError
from dtln.mixing.augmentations import Change, augmentation_by_name
from dtln.mixing.recordings import Recordings
from dtln.mixing.rooms import PlacedInRooms, RoomResponses
from dtln.mixing.segment import Segment
from dtln.mixing.spectra import mean_power

ACTIVE_FRAME = 512  # samples: 32 ms
ACTIVE_RATIO = 1e-4  # 40 dB below its loudest frame, speech counts as a pause
PEAK_LIMIT = 0.99  # of full scale; a louder mixture is turned down as a whole, its SNR kept


@dataclass
class Mixer:
    """Draws (noisy, clean) segments from recordings of speech and noise.

    segment_length: in samples. snr_db, level_dbfs: ranges of uniform draws; the level is that of the mixture (RMS, dB
    relative to full scale). augmentations: as `augmentation_by_name` takes them. rooms: responses to place segments
    with, after the augmentations, because sound meets the room last. room_target: a name of ROOM_TARGETS.
    reverberant_share: the share of the segments that is placed in a room. snr_over: a name of SNR_OVER, as
    `mix_with_guard` takes it. Raises SettingsError.
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
    snr_over: str = "all"
    _changes: list[Change] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name, (low, high) in (("SNR", self.snr_db), ("level", self.level_dbfs)):
            if low > high:
                raise SettingsError(f"{name} range {low} to {high} dB is empty: expected the lower end first")
        for kind, recordings in (("speech", self.speech), ("noise", self.noise)):
            if not recordings.signals:
                raise SettingsError(f"the mixer was given no {kind} recordings: expected at least one")
        if not 0.0 <= self.reverberant_share <= 1.0:
            raise SettingsError(f"reverberant share {self.reverberant_share:g}: expected a share from 0 to 1")
        if self.room_target not in ROOM_TARGETS:
            raise SettingsError(f"unknown room target {self.room_target!r}: expected one of {', '.join(ROOM_TARGETS)}")
        if self.snr_over not in SNR_OVER:
            raise SettingsError(f"unknown frames {self.snr_over!r} for the SNR: expected one of {', '.join(SNR_OVER)}")
        self._changes = [augmentation_by_name(name) for name in self.augmentations]
        if self.rooms is not None:
            self._changes.append(PlacedInRooms(self.rooms, self.room_target, self.reverberant_share))

    @property
    def summary(self) -> str:
        """What the segments are mixed from, in words."""
        return (
            f"mixed from {len(self.speech.names)} speech files ({self.speech.hours:.2f} h) and "
            f"{len(self.noise.names)} noise files ({self.noise.hours:.2f} h)"
        )

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """One segment: (noisy, clean), each float32 (segment_length,), aligned.

        noisy is clean plus noise, unless `clipping` clipped it, `offset` moved it or the room target is "early".
        """
        made = self.segment(rng)
        limit = math.inf if made.over_full_scale else PEAK_LIMIT
        noisy, clean, _ = mix_with_guard(
            made.speech, made.noise, made.snr_db, made.level_dbfs, made.target, limit, self.snr_over
        )
        if made.clipped_share:
            limit = np.quantile(np.abs(noisy), 1.0 - made.clipped_share)
            noisy = np.clip(noisy, -limit, limit)
        return noisy + np.float32(made.offset), clean

    def segment(self, rng: np.random.Generator) -> Segment:
        """Speech and noise of one segment after all augmentations and its room, before they are added."""
        made = Segment(
            speech=self.speech.crop(rng, self.segment_length),
            noise=self.noise.crop(rng, self.segment_length),
            snr_db=rng.uniform(*self.snr_db),
            level_dbfs=rng.uniform(*self.level_dbfs),
            all_speech=self.speech,
            all_noise=self.noise,
        )
        for change in self._changes:
            change(made, rng)
        return made


def mix(speech: np.ndarray, noise: np.ndarray, snr_db: float, level_dbfs: float) -> tuple[np.ndarray, np.ndarray]:
    """Adds noise to speech at an SNR and scales both to the mixture's level: (noisy, clean), each float32 (L,).

    SNR and level are those of mean powers over the whole segment. Where speech or noise is silent there is no SNR to
    set; the other one alone sets the level. A mixture that would exceed PEAK_LIMIT is turned down as a whole.
    """
    noisy, clean, _ = mix_with_guard(speech, noise, snr_db, level_dbfs)
    return noisy, clean


def mix_with_guard(
    speech: np.ndarray,
    noise: np.ndarray,
    snr_db: float,
    level_dbfs: float,
    target: np.ndarray | None = None,
    peak_limit: float = PEAK_LIMIT,
    snr_over: str = "all",
) -> tuple[np.ndarray, np.ndarray, float]:
    """As `mix`; the third result says by how many dB (0 or less) the mixture was turned down for `peak_limit`.

    target: float32 (L,), returned as clean, with the gain of the speech in the mixture; None takes the speech.
    snr_over: "all" takes the SNR of mean powers over the whole segment, "active" over the frames of 32 ms in which
    speech is at most 40 dB below its loudest frame, so that its pauses do not make the noise weaker. Where noise is
    silent in these, the whole counts.
    """
    target = speech if target is None else target
    speech_power, noise_power = mean_power(speech), mean_power(noise)
    if snr_over == "active" and speech_power > 0:
        active = active_samples(speech)
        if mean_power(noise[active]) > 0:
            speech_power, noise_power = mean_power(speech[active]), mean_power(noise[active])
    if speech_power > 0 and noise_power > 0:
        noise = noise * np.float32(np.sqrt(speech_power / noise_power) * 10 ** (-snr_db / 20))
    noisy = speech + noise
    power = mean_power(noisy)
    if power == 0:
        return noisy.astype(np.float32), target.astype(np.float32), 0.0
    wanted = 10 ** (level_dbfs / 20) / np.sqrt(power)
    gain = min(wanted, peak_limit / max(np.max(np.abs(noisy)), np.max(np.abs(target))))
    return (noisy * gain).astype(np.float32), (target * gain).astype(np.float32), float(20 * np.log10(gain / wanted))


def active_samples(speech: np.ndarray) -> np.ndarray:
    """Where speech (L,) is heard, by frames of 32 ms, the last one perhaps shorter: bool (L,)."""
    starts = np.arange(0, len(speech), ACTIVE_FRAME)
    lengths = np.diff(np.append(starts, len(speech)))
    powers = np.add.reduceat(np.square(speech, dtype=np.float64), starts) / lengths  # (T,)
    return np.repeat(powers >= ACTIVE_RATIO * powers.max(), lengths)
