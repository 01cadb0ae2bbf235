"""Which channels of a recording its mono mix averages: not those that are dead, and none that cancel each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dtln.audio.measuring import Measurement
from dtln.errors import AudioFileError

__all__ = ["MonoMix", "chosen_channel", "mono_mix"]

DEAD_RATIO = 1e-4  # 40 dB below the loudest channel: a microphone that was not plugged in
CANCEL_RATIO = 0.7  # of the power that an average of unrelated channels has; below it they cancel each other
MOST_NAMED = 8  # channels that a sentence lists


@dataclass(frozen=True)
class MonoMix:
    """The channels, counted from 0, whose average is the mono mix; why it is not the plain average, in words."""

    channels: tuple[int, ...]
    of: int  # channels of the recording
    finding: tuple[str, str] | None = None  # (kind, words)

    def average(self, samples: np.ndarray) -> np.ndarray:
        """Samples (M, C) as one channel (M, 1)."""
        chosen = samples if len(self.channels) == self.of else samples[:, self.channels]
        return chosen.mean(axis=1, keepdims=True)


def mono_mix(measurement: Measurement) -> MonoMix:
    """The mix of a recording: the plain average, unless a channel is dead or the channels cancel each other."""
    powers = np.diag(measurement.covariance)  # (C,)
    count = len(powers)
    live = np.flatnonzero(powers > DEAD_RATIO * powers.max(initial=0.0))
    if not len(live):  # silence
        return MonoMix(tuple(range(count)), count)
    loudest = int(np.argmax(powers))
    mixed = measurement.covariance[np.ix_(live, live)].sum()  # times the square of their number
    if mixed < CANCEL_RATIO * powers[live].sum():
        words = f"channels {_listed(live)} are in opposite phase, so that channel {loudest + 1}, the loudest, was taken"
        return MonoMix((loudest,), count, ("whose channels cancel each other", words))
    if len(live) == count:
        return MonoMix(tuple(range(count)), count)
    kept = f"channel {live[0] + 1} was" if len(live) == 1 else f"channels {_listed(live)} were"
    words = f"{kept} taken of {count}, because the others lie 40 dB or more below"
    return MonoMix(tuple(live.tolist()), count, ("with channels that are dead", words))


def chosen_channel(path: str | Path, channel: int, channels: int) -> MonoMix:
    """The mix that is one channel, counted from 1. Raises AudioFileError where the recording has fewer."""
    if channel > channels:
        raise AudioFileError(
            f"{path}: has {channels} channel{'s' * (channels > 1)}. Expected at least {channel}, because channel "
            f"{channel} was asked for; choose another one."
        )
    return MonoMix((channel - 1,), channels)


def _listed(channels: np.ndarray) -> str:
    """Channels counted from 1: `1, 2 and 3`; of many only the first."""
    names = [str(channel + 1) for channel in channels]
    if len(names) > MOST_NAMED:
        return f"{', '.join(names[:MOST_NAMED])}, ..."
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
