"""The recordings of a synthesis, listed from their headers, and their division into training and validation."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from dtln.errors import SettingsError
from dtln.synthesis.settings import Settings

SHORTEST_RECORDING = 1600  # samples (0.1 s); twice the cross-fade, so that a clip fades in before it fades out


@dataclass(frozen=True)
class ListedRecording:
    """A file below the speech or noise folder: its relative path, and its length in samples at 16 kHz."""

    name: str
    length: int


@dataclass(frozen=True)
class Part:
    """The recordings of one part, training or validation.

    speakers: the utterances of each. responses: names of measured room responses, by room.
    """

    speakers: Mapping[str, Sequence[ListedRecording]]
    noise: Sequence[ListedRecording]
    responses: Mapping[str, Sequence[str]]

    @functools.cached_property
    def speaker_ends(self) -> list[int]:
        """Running sums of the speakers' samples."""
        return list(itertools.accumulate(sum(r.length for r in members) for members in self.speakers.values()))

    @functools.cached_property
    def noise_ends(self) -> list[int]:
        """Running sums of the noise recordings' samples."""
        return list(itertools.accumulate(recording.length for recording in self.noise))


def scan(folder: str) -> list[ListedRecording]:
    """All recordings below a folder, from their headers. Raises AudioFileError for one that cannot be used."""
    from dtln.audio.folders import find_audio_files
    from dtln.audio.headers import audio_info
    from dtln.audio.resampling import resampled_length
    from dtln.errors import AudioFileError
    from dtln.facts import SAMPLE_RATE

    found = []
    for file in find_audio_files(folder):
        info = audio_info(file, counted=True)
        length = resampled_length(info.length, info.sample_rate, SAMPLE_RATE)
        if length < SHORTEST_RECORDING:
            raise AudioFileError(
                f"{file}: holds {length / SAMPLE_RATE:.3f} s. Expected at least {SHORTEST_RECORDING / SAMPLE_RATE:g} "
                "s; remove the file."
            )
        found.append(ListedRecording(file.relative_to(folder).as_posix(), length))
    return found


def by_group(recordings: Iterable[ListedRecording], group_of: Callable[[str], str]) -> dict[str, list[ListedRecording]]:
    """Recordings by the group their name belongs to, in the order of the recordings."""
    groups: dict[str, list[ListedRecording]] = {}
    for recording in recordings:
        groups.setdefault(group_of(recording.name), []).append(recording)
    return groups


def divide(settings: Settings) -> tuple[dict[str, Part], str]:
    """The parts, and a fingerprint of all recordings. Raises AudioFileError and SettingsError."""
    from dtln.mixing.groups import speaker_of, speaker_rule, validation_groups
    from dtln.mixing.rooms import room_of

    speech, noise = scan(settings.speech), scan(settings.noise)
    responses = scan_responses(settings.rir) if settings.rir else []
    listing = [[[r.name, r.length] for r in recordings] for recordings in (speech, noise, responses)]
    fingerprint = hashlib.sha256(json.dumps(listing).encode()).hexdigest()
    speakers = by_group(speech, speaker_rule(settings.speaker_pattern))
    kinds = by_group(noise, speaker_of)
    if len(kinds) == 1:  # names that end in a number: each is a kind of its own
        kinds = by_group(noise, str)
    rooms = by_group(responses, room_of)
    if settings.validation_share == 0:
        return {"training": part_of(speakers, kinds, rooms)}, fingerprint
    for groups, what in ((speakers, f"{settings.speech}: holds one speaker"), (kinds, f"{settings.noise}: holds one")):
        if len(groups) == 1:
            raise SettingsError(
                f"{what} ({next(iter(groups))}). Expected two at least, one for training and one for validation: add "
                "recordings, say with --speaker-pattern how speakers are named, or give --validation-share 0."
            )
    sides: list[list[dict[str, list[ListedRecording]]]] = [[], []]
    for groups in (speakers, kinds, rooms):
        durations = {name: sum(r.length for r in members) for name, members in groups.items()}
        chosen = set(groups)  # a single room serves both parts
        if len(groups) > 1:
            chosen = validation_groups(durations, settings.validation_share, stable=False)
        sides[0].append({n: members for n, members in groups.items() if n not in chosen or len(groups) == 1})
        sides[1].append({n: members for n, members in groups.items() if n in chosen})
    return {"training": part_of(*sides[0]), "validation": part_of(*sides[1])}, fingerprint


def scan_responses(folder: str) -> list[ListedRecording]:
    """The room responses below a folder, of any length. Raises AudioFileError."""
    from dtln.audio.folders import find_audio_files
    from dtln.audio.headers import audio_info

    return [
        ListedRecording(file.relative_to(folder).as_posix(), audio_info(file, counted=True).length)
        for file in find_audio_files(folder)
    ]


def part_of(
    speakers: Mapping[str, Sequence[ListedRecording]],
    kinds: Mapping[str, Sequence[ListedRecording]],
    rooms: Mapping[str, Sequence[ListedRecording]],
) -> Part:
    """A part of these speakers, kinds of noise and rooms."""
    noise = [recording for kind in kinds.values() for recording in kind]
    return Part(speakers, noise, {room: [r.name for r in members] for room, members in rooms.items()})
