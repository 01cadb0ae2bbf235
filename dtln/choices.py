"""What flags choose by name, and where each choice is implemented.

A table maps a name to "module:attribute", so that command lines list the names without importing what they stand for.
A new loss, start or optimiser is one entry here and its function.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

__all__ = ["LEVELS", "LOSSES", "OPTIMIZERS", "ROOM_TARGETS", "SCHEDULES", "SNR_OVER", "STARTS", "resolve"]

LOSSES = {  # (target (B, L), estimate (B, L)) -> (B,)
    "snr": "dtln.training.losses:negative_snr",
    "si_sdr": "dtln.training.losses:negative_si_sdr",
    "level_free_snr": "dtln.training.losses:negative_level_free_snr",
}
STARTS = {  # of encoder and decoder: DTLNLayers -> None
    "random": "DTLN_model:keep_random_start",
    "mdct": "DTLN_model:initialise_mdct",
}
OPTIMIZERS = {  # (learning rate, **options) -> optimiser
    "adam": "keras.optimizers:Adam",
    "muon": "keras.optimizers:Muon",
}
LEVELS = ("auto", "raw")  # of recordings before the network: brought into the range that it knows, or as they are
SCHEDULES = ("plateau", "cosine")
SNR_OVER = ("all", "active")  # frames of a segment whose powers make its SNR: all, or those in which speech is heard
ROOM_TARGETS = ("reverberant", "early")  # the speech as it sounds in the room, or with its first 50 ms there


def resolve(table: Mapping[str, str], name: str) -> Any:
    """The object that a name of a table stands for. Raises ValueError, naming the choices, for an unknown name."""
    if name not in table:
        raise ValueError(f"unknown choice {name!r}: expected one of {', '.join(table)}")
    module, _, attribute = table[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
