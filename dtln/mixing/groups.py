"""Groups of recordings (speakers, kinds of noise, rooms), and which of them are kept for validation."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping

from dtln.errors import SettingsError

LARGEST_SHARE = 0.1  # of all samples; a speaker who fills a whole set stays in training
MOSTLY_ALONE = 0.8  # groups per recording from which on the names seem not to tell the speakers
SPEAKER_PATTERNS = {  # how known corpora name their files; the group is the speaker
    "librispeech": r"(?:^|/)(\d+)(?:-\d+-\d{4}|_\d+_\d{6}_\d{6})\.\w+$",  # 84-121123-0000.flac; LibriTTS with _
    "timit": r"(?i)(?:^|/)DR[1-8]/([FM]\w{3}\d)/S[AIX]\d+(?:\.\w+)+$",  # DR1/FCJF0/SA1.WAV
    "vctk": r"(?:^|/)([ps]\d+)_\d{3}(?:_mic[12])?\.\w+$",  # p225_001.wav, p225_001_mic1.flac
    "dns-challenge": r"(?:^|[/_])reader_(\d+)_",  # book_00000_chp_0009_reader_06709_0.wav
}


def speaker_of(name: str) -> str:
    """The speaker of a recording, read from its relative path.

    In file names of a corpus of SPEAKER_PATTERNS that corpus says it: `84/121123/84-121123-0000.flac` -> `84/84`, with
    the first folder before it, because another folder may hold another corpus. In others it is everything before the
    last underscore: `speechocean762/spk0001_00.opus` -> `speechocean762/spk0001`. A name without underscore is a
    speaker of its own.
    """
    corpus = corpus_of(name)
    if corpus and (found := re.search(SPEAKER_PATTERNS[corpus], name)):
        top = name.partition("/")[0] if "/" in name else ""
        return f"{top}/{found[1]}".lstrip("/")
    stem = name.rsplit(".", 1)[0]
    folder, _, base = stem.rpartition("/")
    return f"{folder}/{base.rpartition('_')[0] or base}".lstrip("/")


def corpus_of(name: str) -> str | None:
    """The corpus of SPEAKER_PATTERNS that names its files like this one, None if none does."""
    return next((corpus for corpus, pattern in SPEAKER_PATTERNS.items() if re.search(pattern, name)), None)


def speaker_rule(pattern: str | None) -> Callable[[str], str]:
    """A function that finds the speaker in the relative path of a recording: `speaker_of`, or by a pattern.

    pattern: a name of SPEAKER_PATTERNS, or a regular expression whose only group is the speaker; the function then
    raises SettingsError for a path in which it finds none. Raises SettingsError for no such pattern.
    """
    if pattern is None:
        return speaker_of
    expression = speaker_expression(pattern)

    def find(name: str) -> str:
        found = expression.search(name)
        if not found or not found[1]:
            raise SettingsError(
                f"{name}: --speaker-pattern {pattern} finds no speaker in this path. Mend the pattern or remove the "
                "file."
            )
        return found[1]

    return find


def speaker_expression(pattern: str) -> re.Pattern[str]:
    """The regular expression of a --speaker-pattern. Raises SettingsError if it is none, or has not one group."""
    try:
        expression = re.compile(SPEAKER_PATTERNS.get(pattern, pattern))
    except re.error as error:
        raise SettingsError(
            f"--speaker-pattern {pattern!r}: is no regular expression ({error}), and none of the known corpora "
            f"({', '.join(SPEAKER_PATTERNS)}) either"
        ) from error
    if expression.groups != 1:
        raise SettingsError(
            f"--speaker-pattern {pattern!r}: expected one group, found {expression.groups}; it is none of the known "
            f"corpora ({', '.join(SPEAKER_PATTERNS)}) either"
        )
    return expression


def validation_groups(durations: Mapping[str, float], share: float, *, stable: bool) -> set[str]:
    """The groups to keep for validation: about a share of the duration, chosen by hashes of the groups' names.

    Groups are taken in the order of their hashes, until the share is reached.

    stable: the hash itself, as a number from 0 to 1, says how far along a group is, and one that holds over
    LARGEST_SHARE of everything is left out. So a group stays on its side when others are added, but of a handful of
    groups none may be chosen.
    not stable: the duration taken so far says it, and a group that would exceed the share by half is left out. So the
    share is met closely, also with a handful of groups; if all are too long, the shortest one is chosen. Of several
    groups one at least is not chosen.
    """
    total, wanted = sum(durations.values()), share * sum(durations.values())
    chosen: set[str] = set()
    taken = 0.0
    for group in sorted(durations, key=_hash):
        if stable:
            chooses = _place(group) < share and durations[group] <= LARGEST_SHARE * total
        else:
            left = len(durations) - len(chosen)
            chooses = taken < wanted and taken + durations[group] <= 1.5 * wanted and left > 1
        if chooses:
            chosen.add(group)
            taken += durations[group]
    if stable or chosen:
        return chosen
    return {min(durations, key=lambda name: (durations[name], name))}


def _hash(group: str) -> str:
    return hashlib.sha256(group.encode(errors="surrogateescape")).hexdigest()


def _place(group: str) -> float:
    """The hash of a name as a number from 0 to below 1."""
    return int(_hash(group)[:8], 16) / 16**8
