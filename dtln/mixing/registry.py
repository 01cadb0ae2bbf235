"""The table of augmentations, and what looks one up by its name."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from dtln.errors import SettingsError
from dtln.mixing.segment import Segment

Change = Callable[[Segment, np.random.Generator], None]


@dataclass(frozen=True)
class Augmentation:
    """A change to segments, and the share of the segments that it changes."""

    change: Change
    share: float

    def __call__(self, segment: Segment, rng: np.random.Generator) -> None:
        """Changes the segment, or leaves it as it is."""
        if self.share >= 1 or rng.random() < self.share:
            self.change(segment, rng)

    @property
    def description(self) -> str:
        """The first line of the change's docstring."""
        return (self.change.__doc__ or "").splitlines()[0]


AUGMENTATIONS: dict[str, Augmentation] = {}  # by name, each with its default share


def augmentation(share: float) -> Callable[[Change], Change]:
    """Registers a function under its name in AUGMENTATIONS. The function itself still changes every segment."""

    def register(change: Change) -> Change:
        AUGMENTATIONS[change.__name__] = Augmentation(change, share)
        return change

    return register


def augmentation_by_name(name: str) -> Augmentation:
    """The augmentation called `name`; with `name=share`, for that share of the segments. Raises SettingsError."""
    name, given, share = name.partition("=")
    if name not in AUGMENTATIONS:
        raise SettingsError(f"unknown augmentation {name!r}: expected one of {', '.join(sorted(AUGMENTATIONS))}")
    if not given:
        return AUGMENTATIONS[name]
    try:
        value = float(share)
    except ValueError:
        value = math.nan
    if not 0.0 <= value <= 1.0:
        raise SettingsError(f"augmentation {name}={share}: expected a share of segments from 0 to 1, {name}=0.3 say")
    return replace(AUGMENTATIONS[name], share=value)
