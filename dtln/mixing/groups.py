"""Groups of recordings (speakers, kinds of noise, rooms), and which of them are kept for validation."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

LARGEST_SHARE = 0.1  # of all samples; a speaker who fills a whole set stays in training


def speaker_of(name: str) -> str:
    """The speaker of a recording, read from its relative path: everything before the last underscore.

    `speechocean762/spk0001_00.opus` -> `speechocean762/spk0001`. A name without underscore is a speaker of its own.
    """
    stem = name.rsplit(".", 1)[0]
    folder, _, base = stem.rpartition("/")
    return f"{folder}/{base.rpartition('_')[0] or base}".lstrip("/")


def validation_groups(durations: Mapping[str, float], share: float, *, stable: bool) -> set[str]:
    """The groups to keep for validation: about a share of the duration, chosen by hashes of the groups' names.

    Groups are taken in the order of their hashes, until the share is reached.

    stable: the hash itself, as a number from 0 to 1, says how far along a group is, and one that holds over
    LARGEST_SHARE of everything is left out. So a group stays on its side when others are added, but of a handful of
    groups none may be chosen.
    not stable: the duration taken so far says it, and a group that would exceed the share by half is left out. So the
    share is met closely, also with a handful of groups; if all are too long, the shortest one is chosen.
    """
    total, wanted = sum(durations.values()), share * sum(durations.values())
    chosen: set[str] = set()
    taken = 0.0
    for group in sorted(durations, key=_hash):
        if stable:
            chooses = _place(group) < share and durations[group] <= LARGEST_SHARE * total
        else:
            chooses = taken < wanted and taken + durations[group] <= 1.5 * wanted
        if chooses:
            chosen.add(group)
            taken += durations[group]
    if stable or chosen:
        return chosen
    return {min(durations, key=lambda name: (durations[name], name))}


def _hash(group: str) -> str:
    return hashlib.sha256(group.encode()).hexdigest()


def _place(group: str) -> float:
    """The hash of a name as a number from 0 to below 1."""
    return int(_hash(group)[:8], 16) / 16**8
