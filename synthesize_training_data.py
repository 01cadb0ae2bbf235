"""Make noisy and clean wav pairs to train on from folders of clean speech and of noise, as the DNS-Challenge does.

    synthesize_training_data.py --speech DIR --noise DIR --output DIR --hours 100 --jobs 4
    synthesize_training_data.py --speech DIR --noise DIR --output DIR --count 2000 --simulated-rooms --seconds 15
    synthesize_training_data.py --output DIR --resume

A pair is made of utterances of one speaker, joined with short pauses, and of clips of random noise recordings, joined
with cross-fades; in a share of the pairs both sound in a room. Noise is scaled to a random SNR, the mixture to a random
level. Pairs lie in OUTPUT/training/{noisy,clean} and OUTPUT/validation/{noisy,clean}, which have no speaker and no
noise recording in common, as wavs of 16 kHz, mono, 16 bits. A noisy file is called SPEAKER_snr5_tl-25_fileid_12.wav
(without speech: nospeech_tl-25_fileid_12.wav) and its partner clean_fileid_12.wav, as in the DNS-Challenge set; tl is
the level in dBFS. manifest.csv tells what each pair was made of, settings.json takes --settings to make it again.
The same recordings, settings and seed give the same files, whatever the number of jobs. Recordings that turn out to be
damaged or silent are replaced by others and listed at the end; the exit status is then 1.
"""

from __future__ import annotations

import argparse
import bisect
import csv
import functools
import hashlib
import itertools
import json
import math
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

    import numpy as np

    from dtln_mixing import RoomResponse

SETTINGS_NAME, MANIFEST_NAME, JOURNAL_NAME = "settings.json", "manifest.csv", "unfinished.jsonl"
SHORTEST_RECORDING = 1600  # samples (0.1 s); twice the cross-fade, so that a clip fades in before it fades out
NOISE_FADE = 800  # samples (50 ms) in which one noise clip passes into the next
SPEECH_FADE = 80  # samples (5 ms) against clicks where an utterance begins or ends
SHORTEST_PIECE = 8000  # samples (0.5 s) that a further utterance has to have left
PAUSE = (3200, 12800)  # samples (0.2 to 0.8 s) between two utterances
ATTEMPTS = 10  # draws of speech and noise before silence where there should be sound is an error
# What the generator of random numbers is seeded with behind (seed, index); 0 would add nothing to a seed sequence.
SCALARS, ROOM, CLIPS = 1, 2, 3


@dataclass(frozen=True)
class Settings:
    """All that decides what is written; every field is a flag of the same name. Folders are absolute paths."""

    speech: str | None = None
    noise: str | None = None
    rir: str | None = None
    simulated_rooms: bool = False
    hours: float | None = None
    count: int | None = None
    seconds: float = 30.0
    snr_db: tuple[int, int] = (-5, 25)
    level_dbfs: tuple[int, int] = (-35, -15)
    reverberant_share: float | None = None  # None: half where there are rooms, else none
    target: str = "reverberant"
    silence_share: float = 0.0
    validation_share: float = 0.2
    speaker_pattern: str | None = None
    seed: int = 42

    @property
    def length(self) -> int:
        """Samples of one file."""
        from dtln_audio import SAMPLE_RATE

        return round(self.seconds * SAMPLE_RATE)

    @property
    def total(self) -> int:
        """Pairs in training and validation together."""
        if self.count is not None:
            return self.count
        assert self.hours is not None
        return math.ceil(round(self.hours * 3600 / self.seconds, 6))

    @property
    def training_count(self) -> int:
        """Pairs in training; those from this index on are for validation."""
        if self.validation_share == 0:
            return self.total
        return min(max(1, self.total - round(self.validation_share * self.total)), self.total - 1)


ALTERNATIVES = (("hours", "count"), ("rir", "simulated_rooms"))  # a flag for one puts the other out of force


class SettingsError(ValueError):
    """Settings that do not fit; the message names them."""


# ----------------------------------------------------------------------------------------------------------------------
# Arguments and settings
# ----------------------------------------------------------------------------------------------------------------------


def parse(argv: Sequence[str] | None) -> tuple[argparse.Namespace, dict[str, Any]]:
    """(how to run, the settings given as flags)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="new or empty folder to write to")
    parser.add_argument("--settings", type=Path, metavar="FILE", help="take settings from this JSON; flags win over it")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="worker processes (default: %(default)s)")
    parser.add_argument("--resume", action="store_true", help="go on in OUTPUT, with the settings it was begun with")

    names = {field.name for field in fields(Settings)}
    group = parser.add_argument_group("settings (kept in settings.json)", argument_default=argparse.SUPPRESS)
    group.add_argument("--speech", metavar="DIR", help="clean speech, any audio format, sub-folders included")
    group.add_argument("--noise", metavar="DIR", help="noise recordings")
    rooms = group.add_mutually_exclusive_group()
    rooms.add_argument("--rir", metavar="DIR", help="room impulse responses; a sub-folder holds those of one room")
    rooms.add_argument(
        "--simulated-rooms",
        action=argparse.BooleanOptionalAction,
        help="simulate a room for each pair (needs the package pyroomacoustics)",
    )
    size = group.add_mutually_exclusive_group()
    size.add_argument("--hours", type=float, metavar="H", help="hours of pairs, validation included")
    size.add_argument("--count", type=int, metavar="N", help="number of pairs, validation included")
    group.add_argument("--seconds", type=float, help=f"length of a file (default: {Settings.seconds:g})")
    group.add_argument(
        "--snr-db", type=int, nargs=2, metavar=("MIN", "MAX"), help="whole dB (default: {} {})".format(*Settings.snr_db)
    )
    group.add_argument(
        "--level-dbfs",
        type=int,
        nargs=2,
        metavar=("MIN", "MAX"),
        help="level of the mixture, whole dB (default: {} {})".format(*Settings.level_dbfs),
    )
    group.add_argument(
        "--reverberant-share", type=float, metavar="X", help="share of pairs in a room (default: 0.5 if there are any)"
    )
    group.add_argument(
        "--target",
        choices=("reverberant", "early"),
        help="clean file in rooms: speech as it sounds there, or its direct sound with the first 50 ms of reflections "
        f"(default: {Settings.target})",
    )
    group.add_argument(
        "--silence-share", type=float, metavar="X", help=f"share without speech (default: {Settings.silence_share:g})"
    )
    group.add_argument(
        "--validation-share", type=float, metavar="X", help=f"default: {Settings.validation_share:g}; 0 makes none"
    )
    group.add_argument(
        "--speaker-pattern",
        metavar="REGEX",
        help="finds the speaker in the path of a speech file below DIR, such as 'reader_(\\d+)'; default: all of the "
        "path before its last underscore",
    )
    group.add_argument("--seed", type=int, help=f"default: {Settings.seed}")
    args = parser.parse_args(argv)
    if args.jobs < 1:
        parser.error(f"--jobs {args.jobs}: expected at least one process")
    return args, {name: value for name, value in vars(args).items() if name in names}


def effective_settings(given: dict[str, Any], file: Path | None) -> Settings:
    """The settings given as flags, then those of the file, then the defaults. Raises SettingsError."""
    merged = read_settings(file) if file else {}
    for one, other in (*ALTERNATIVES, *(pair[::-1] for pair in ALTERNATIVES)):
        if given.get(one) and other not in given:
            merged.pop(other, None)
    merged |= given
    for name in ("speech", "noise", "rir"):
        if merged.get(name) is not None:
            merged[name] = str(Path(merged[name]).resolve())
    for name in ("snr_db", "level_dbfs"):
        if name in merged:
            merged[name] = tuple(merged[name])
    settings = Settings(**merged)
    if settings.reverberant_share is None:
        settings = Settings(**merged | {"reverberant_share": 0.5 if settings.rir or settings.simulated_rooms else 0.0})
    check_settings(settings)
    return settings


def read_settings(file: Path) -> dict[str, Any]:
    """The settings in a JSON file, without those that are null; SettingsError where it is none of ours."""
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read ({error.strerror}). Check the path.") from error
    except ValueError as error:
        raise SettingsError(f"{file}: is no JSON ({error}). Expected settings as in {SETTINGS_NAME}.") from error
    if not isinstance(stored, dict):
        raise SettingsError(f"{file}: holds no JSON object. Expected settings as in {SETTINGS_NAME}.")
    stored.pop("recordings", None)  # what settings.json notes about the folders that were read
    kinds = {
        "str | None": (lambda v: isinstance(v, str), "a text"),
        "str": (lambda v: isinstance(v, str), "a text"),
        "bool": (lambda v: isinstance(v, bool), "true or false"),
        "int": (_is_int, "a whole number"),
        "int | None": (_is_int, "a whole number"),
        "float": (lambda v: _is_int(v) or isinstance(v, float), "a number"),
        "float | None": (lambda v: _is_int(v) or isinstance(v, float), "a number"),
        "tuple[int, int]": (
            lambda v: isinstance(v, list) and len(v) == 2 and all(map(_is_int, v)),
            "a list of two whole numbers",
        ),
    }
    types = {field.name: str(field.type) for field in fields(Settings)}
    for name, value in stored.items():
        if name not in types:
            raise SettingsError(f"{file}: unknown setting {name!r}. Expected some of {', '.join(types)}.")
        fits, expected = kinds[types[name]]
        if value is not None and not fits(value):
            raise SettingsError(f"{file}: {name} is {json.dumps(value)}. Expected {expected}.")
    return {name: value for name, value in stored.items() if value is not None}


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def check_settings(settings: Settings) -> None:
    """Raises SettingsError for what cannot be done, whether it came from a flag or from a file."""

    def require(fits: bool, message: str) -> None:
        if not fits:
            raise SettingsError(message)

    require(settings.speech is not None, "--speech is missing: expected a folder of clean speech")
    require(settings.noise is not None, "--noise is missing: expected a folder of noise recordings")
    require(settings.hours is not None or settings.count is not None, "give --hours or --count: how much to make")
    require(settings.hours is None or settings.count is None, "hours and count are both set: expected one of them")
    require(1 <= settings.seconds <= 3600, f"--seconds {settings.seconds:g}: expected 1 to 3600")
    amount = settings.hours if settings.count is None else settings.count
    require(0 < amount < float("inf"), f"--hours or --count {amount:g}: expected more than none")
    for flag, (low, high) in (("--snr-db", settings.snr_db), ("--level-dbfs", settings.level_dbfs)):
        require(low <= high, f"{flag} {low} {high} is an empty range: give the lower end first")
    for flag, share in (
        ("--reverberant-share", settings.reverberant_share),
        ("--silence-share", settings.silence_share),
    ):
        require(0 <= share <= 1, f"{flag} {share:g}: expected a share from 0 to 1")
    require(
        0 <= settings.validation_share < 1,
        f"--validation-share {settings.validation_share:g}: expected a share from 0 to below 1",
    )
    require(
        settings.validation_share == 0 or settings.total > 1,
        "one pair cannot be divided into training and validation: raise --count, or give --validation-share 0",
    )
    require(
        not (settings.rir and settings.simulated_rooms), "rir and simulated_rooms are both set: expected one of them"
    )
    rooms = bool(settings.rir or settings.simulated_rooms)
    require(
        rooms or settings.reverberant_share == 0, "--reverberant-share needs rooms: give --rir or --simulated-rooms"
    )
    require(rooms or settings.target == "reverberant", "--target early needs rooms: give --rir or --simulated-rooms")
    require(settings.target in ("reverberant", "early"), f"target {settings.target!r}: expected reverberant or early")
    require(settings.seed >= 0, f"--seed {settings.seed}: expected 0 or more")
    if settings.speaker_pattern is not None:
        try:
            groups = re.compile(settings.speaker_pattern).groups
        except re.error as error:
            raise SettingsError(f"--speaker-pattern {settings.speaker_pattern!r}: is no pattern ({error})") from error
        require(groups == 1, f"--speaker-pattern {settings.speaker_pattern!r}: expected one group, found {groups}")


# ----------------------------------------------------------------------------------------------------------------------
# Recordings: their headers, and who is in which part
# ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recording:
    """A file below the speech or noise folder: its relative path, its length in samples at 16 kHz."""

    name: str
    length: int


@dataclass(frozen=True)
class Part:
    """What one part (training or validation) is made from.

    speakers: the utterances of each; noise: recordings; responses: names of measured room responses by room.
    """

    speakers: Mapping[str, Sequence[Recording]]
    noise: Sequence[Recording]
    responses: Mapping[str, Sequence[str]]

    @functools.cached_property
    def speaker_ends(self) -> list[int]:
        """Samples of all speakers up to and with each one."""
        return list(itertools.accumulate(sum(r.length for r in members) for members in self.speakers.values()))

    @functools.cached_property
    def noise_ends(self) -> list[int]:
        """Samples of all noise recordings up to and with each one."""
        return list(itertools.accumulate(recording.length for recording in self.noise))


def scan(folder: str) -> list[Recording]:
    """All recordings below a folder, from their headers. Raises AudioFileError for one that cannot be used."""
    from dtln_audio import SAMPLE_RATE, AudioFileError, audio_info, find_audio_files, resampled_length

    found = []
    for file in find_audio_files(folder):
        info = audio_info(file)
        length = resampled_length(info.length, info.sample_rate, SAMPLE_RATE)
        if length < SHORTEST_RECORDING:
            raise AudioFileError(
                f"{file}: holds {length / SAMPLE_RATE:.3f} s. Expected at least {SHORTEST_RECORDING / SAMPLE_RATE:g} "
                "s; remove the file."
            )
        found.append(Recording(file.relative_to(folder).as_posix(), length))
    return found


def by_group(recordings: Iterable[Recording], group_of: Callable[[str], str]) -> dict[str, list[Recording]]:
    """Recordings by the group their name belongs to, in the order of the recordings."""
    groups: dict[str, list[Recording]] = {}
    for recording in recordings:
        groups.setdefault(group_of(recording.name), []).append(recording)
    return groups


def speaker_finder(settings: Settings) -> Callable[[str], str]:
    """The function that reads the speaker from a relative path; what it returns raises SettingsError."""
    from dtln_mixing import speaker_of

    if settings.speaker_pattern is None:
        return speaker_of
    pattern = re.compile(settings.speaker_pattern)

    def find(name: str) -> str:
        found = pattern.search(name)
        if not found or not found[1]:
            raise SettingsError(
                f"{Path(settings.speech, name)}: --speaker-pattern {settings.speaker_pattern!r} finds no speaker in "
                "its path. Mend the pattern or remove the file."
            )
        return found[1]

    return find


def validation_groups(durations: Mapping[str, float], share: float) -> set[str]:
    """Groups (speakers, noise recordings, rooms) for validation: about a share of the duration, by hashes of names.

    Unlike `dtln_mixing.split_by_group` this divides also a handful of groups: it takes them in the order of their
    hashes, leaves out what would exceed the share by half, and takes the shortest one if none is left.
    """
    wanted = share * sum(durations.values())
    chosen, taken = set(), 0.0
    for group in sorted(durations, key=lambda name: hashlib.sha256(name.encode()).hexdigest()):
        if taken < wanted and taken + durations[group] <= 1.5 * wanted:
            chosen.add(group)
            taken += durations[group]
    return chosen or {min(durations, key=lambda name: (durations[name], name))}


def divide(settings: Settings) -> tuple[dict[str, Part], str]:
    """The parts and a fingerprint of the recordings they are made from. Raises AudioFileError and SettingsError."""
    from dtln_mixing import room_of, speaker_of

    speech, noise = scan(settings.speech), scan(settings.noise)
    responses = scan_responses(settings.rir) if settings.rir else []
    listing = [[[r.name, r.length] for r in recordings] for recordings in (speech, noise, responses)]
    fingerprint = hashlib.sha256(json.dumps(listing).encode()).hexdigest()
    speakers = by_group(speech, speaker_finder(settings))
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
    sides: list[list[dict[str, list[Recording]]]] = [[], []]
    for groups in (speakers, kinds, rooms):
        durations = {name: sum(r.length for r in members) for name, members in groups.items()}
        chosen = validation_groups(durations, settings.validation_share) if len(groups) > 1 else set(groups)
        sides[0].append({n: members for n, members in groups.items() if n not in chosen or len(groups) == 1})
        sides[1].append({n: members for n, members in groups.items() if n in chosen})  # a single room serves both
    return {"training": part_of(*sides[0]), "validation": part_of(*sides[1])}, fingerprint


def scan_responses(folder: str) -> list[Recording]:
    """The room responses below a folder; their lengths do not matter. Raises AudioFileError."""
    from dtln_audio import audio_info, find_audio_files

    return [
        Recording(file.relative_to(folder).as_posix(), audio_info(file).length) for file in find_audio_files(folder)
    ]


def part_of(
    speakers: Mapping[str, Sequence[Recording]],
    kinds: Mapping[str, Sequence[Recording]],
    rooms: Mapping[str, Sequence[Recording]],
) -> Part:
    """A part of these speakers, kinds of noise and rooms."""
    noise = [recording for kind in kinds.values() for recording in kind]
    return Part(speakers, noise, {room: [r.name for r in members] for room, members in rooms.items()})


# ----------------------------------------------------------------------------------------------------------------------
# Drawing a pair: from headers alone, a function of (seed, index, attempt)
# ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Piece:
    """`length` samples from `offset` of a recording on, which begin at sample `start` of the pair."""

    name: str
    offset: int
    start: int
    length: int


@dataclass(frozen=True)
class Draw:
    """A pair before any sample is read. responses: names of measured ones, of the speech and, if any, of the noise."""

    index: int
    attempt: int
    part: str
    speaker: str
    speech: tuple[Piece, ...]  # none: a pair without speech
    noise: tuple[Piece, ...]
    snr_db: int
    level_dbfs: int
    in_room: bool
    responses: tuple[str, ...]


def draw_pair(settings: Settings, parts: Mapping[str, Part], index: int, attempt: int = 0) -> Draw:
    """What pair `index` is made of. A further attempt draws other clips; SNR, level and kind of the pair stay."""
    import numpy as np

    name = "training" if index < settings.training_count else "validation"
    part = parts[name]
    rng = np.random.default_rng([settings.seed, index, SCALARS])
    silent, in_room = rng.random() < settings.silence_share, rng.random() < settings.reverberant_share
    snr_db = int(rng.integers(settings.snr_db[0], settings.snr_db[1] + 1))
    level_dbfs = int(rng.integers(settings.level_dbfs[0], settings.level_dbfs[1] + 1))
    rng = np.random.default_rng([settings.seed, index, CLIPS + attempt])
    speaker = list(part.speakers)[weighted(rng, part.speaker_ends)]
    speech = draw_speech(rng, part.speakers[speaker], settings.length)
    noise = draw_noise(rng, part, settings.length)
    responses: tuple[str, ...] = ()
    if in_room and part.responses:
        room = list(part.responses.values())[int(rng.integers(len(part.responses)))]
        responses = tuple(room[i] for i in rng.permutation(len(room))[:2])
    if silent:
        speaker, speech = "", ()
    return Draw(index, attempt, name, speaker, speech, noise, snr_db, level_dbfs, in_room, responses)


def weighted(rng: np.random.Generator, ends: Sequence[int]) -> int:
    """A random index, in proportion to the weights whose running sums are `ends`."""
    return bisect.bisect_right(ends, int(rng.integers(ends[-1])))


def draw_speech(rng: np.random.Generator, utterances: Sequence[Recording], length: int) -> tuple[Piece, ...]:
    """Utterances in random order with pauses between them, each once before any comes again."""
    pieces: list[Piece] = []
    order: list[int] = []
    start = 0
    while not pieces or length - start >= SHORTEST_PIECE:
        order = order or rng.permutation(len(utterances)).tolist()
        utterance = utterances[order.pop()]
        taken = min(utterance.length, length - start)
        pieces.append(Piece(utterance.name, int(rng.integers(utterance.length - taken + 1)), start, taken))
        start += taken + int(rng.integers(*PAUSE))
    return tuple(pieces)


def draw_noise(rng: np.random.Generator, part: Part, length: int) -> tuple[Piece, ...]:
    """Clips of random recordings, in proportion to their lengths, each passing into the next."""
    pieces: list[Piece] = []
    end = 0
    while end < length:
        recording = part.noise[weighted(rng, part.noise_ends)]
        start = max(0, end - NOISE_FADE)
        taken = min(recording.length, length - start)
        pieces.append(Piece(recording.name, int(rng.integers(recording.length - taken + 1)), start, taken))
        end = start + taken
    return tuple(pieces)


# ----------------------------------------------------------------------------------------------------------------------
# Making a pair: this runs in worker processes
# ----------------------------------------------------------------------------------------------------------------------

Row = dict[str, str]  # of the manifest
COLUMNS = (
    "fileid",
    "subset",
    "noisy",
    "clean",
    "speaker",
    "speech",  # JSON: [[file, first sample of it, first sample in the pair, samples], ...], at 16 kHz
    "noise",
    "snr_db",  # of the speech as it sounds in the room; empty without speech
    "level_dbfs",  # of the noisy file
    "guard_db",  # by how much the mixture was turned down for its peak
    "target",
    "speech_response",
    "noise_response",
    "rt60",  # s, of the speech response
    "seed",
)


def make_pair(settings: Settings, output: Path, draw: Draw) -> Row | str:
    """Writes a pair; its row of the manifest, or in words why its recordings cannot be used: unreadable, or silent.

    Raises AudioFileError or OSError for a file that cannot be written.
    """
    from dtln_audio import SAMPLE_RATE, AudioFileError, SampleFormat, write_audio
    from dtln_mixing import SILENCE_POWER, mean_power, mix_with_guard, place_in_room

    try:
        speech = joined(settings.speech, draw.speech, settings.length, SPEECH_FADE)
        noise = joined(settings.noise, draw.noise, settings.length, NOISE_FADE)
        responses = responses_of(settings, draw) if draw.in_room else None
    except AudioFileError as error:
        return str(error)
    for signal, pieces, folder in ((speech, draw.speech, settings.speech), (noise, draw.noise, settings.noise)):
        if pieces and mean_power(signal) <= SILENCE_POWER:
            names = ", ".join(sorted({piece.name for piece in pieces}))
            return f"{folder}: silence was drawn from {names}. Expected sound; remove silent recordings."
    target = speech
    if responses:
        speech, noise, target = place_in_room(speech, noise, responses, settings.target)
    noisy, clean, guard_db = mix_with_guard(speech, noise, draw.snr_db, draw.level_dbfs, target)

    level = draw.level_dbfs + guard_db
    who = re.sub(r"[^\w-]+", "-", draw.speaker.rpartition("/")[2])[:60]
    what = f"{who}_snr{draw.snr_db}" if draw.speech else "nospeech"
    noisy_name = f"{draw.part}/noisy/{what}_tl{round(level)}_fileid_{draw.index}.wav"
    clean_name = f"{draw.part}/clean/clean_fileid_{draw.index}.wav"
    for name, samples in ((clean_name, clean), (noisy_name, noisy)):
        write_audio(output / name, samples, SAMPLE_RATE, SampleFormat("WAV", "PCM_16"))
    speech_response, noise_response = responses or (None, None)
    values = (
        draw.index,
        draw.part,
        noisy_name,
        clean_name,
        draw.speaker,
        listed(draw.speech),
        listed(draw.noise),
        draw.snr_db if draw.speech else "",
        f"{level:.2f}",
        f"{guard_db:.2f}" if guard_db < 0 else "0.00",
        settings.target if responses else "dry",
        speech_response.name if speech_response else "",
        noise_response.name if noise_response else "",
        f"{speech_response.rt60:.3f}" if speech_response else "",
        settings.seed,
    )
    return dict(zip(COLUMNS, map(str, values), strict=True))


def listed(pieces: Iterable[Piece]) -> str:
    """Pieces as the manifest has them."""
    return json.dumps([[piece.name, piece.offset, piece.start, piece.length] for piece in pieces], ensure_ascii=False)


def responses_of(settings: Settings, draw: Draw) -> tuple[RoomResponse, RoomResponse | None]:
    """The room responses of speech and noise: measured ones, or of a room simulated for this pair alone."""
    import numpy as np

    from dtln_mixing import read_response, room_of, simulate_room

    if settings.simulated_rooms:
        first, second = simulate_room(np.random.default_rng([settings.seed, draw.index, ROOM]))
        return first, second
    found = [read_response(Path(settings.rir, name), room_of(name), name) for name in draw.responses]
    return found[0], found[1] if len(found) > 1 else None


def joined(folder: str, pieces: Sequence[Piece], length: int, fade: int) -> np.ndarray:
    """The pieces at their places in a signal (length,), float32; each fades in and out, but at the signal's ends.

    Sine and cosine keep the power where two pieces that have nothing in common pass into each other.
    """
    import numpy as np

    from dtln_audio import SAMPLE_RATE, AudioFileError, read_stretch

    signal = np.zeros(length, np.float32)
    ramp = np.sin(np.pi / 2 * (np.arange(fade) + 0.5) / fade).astype(np.float32)
    for piece in pieces:
        path = Path(folder, piece.name)
        stretch = read_stretch(path, piece.offset, piece.length, SAMPLE_RATE)  # (piece.length,)
        if len(stretch) < piece.length:
            raise AudioFileError(
                f"{path}: is shorter than its header announces, or has changed. Expected "
                f"{piece.offset + piece.length} samples at 16 kHz; copy or convert it again from its source."
            )
        if piece.start > 0:
            stretch[:fade] *= ramp
        if piece.start + piece.length < length:
            stretch[-fade:] *= ramp[::-1]
        signal[piece.start : piece.start + piece.length] += stretch
    return signal


# ----------------------------------------------------------------------------------------------------------------------
# The output folder: settings, journal and manifest
# ----------------------------------------------------------------------------------------------------------------------


def open_output(output: Path, settings: Settings, fingerprint: str, resume: bool) -> dict[int, Row]:
    """Makes the folder with its settings, or checks that it was begun with the same; the pairs it holds already.

    Raises SettingsError, naming what differs.
    """
    from dtln_audio import complete_file

    stored_settings = output / SETTINGS_NAME
    current = {**asdict(settings), "recordings": fingerprint}
    if not resume or not (output.exists() and any(output.iterdir())):
        for part in ("training", "validation") if settings.validation_share else ("training",):
            for kind in ("noisy", "clean"):
                (output / part / kind).mkdir(parents=True, exist_ok=True)
        with complete_file(stored_settings) as partial:
            partial.write_text(json.dumps(current, indent=2) + "\n", encoding="utf-8")
        return {}
    begun = {**asdict(Settings()), **read_settings(stored_settings)}
    differing = [name for name, value in asdict(settings).items() if _plain(begun[name]) != _plain(value)]
    if differing:
        changes = ", ".join(f"{n} {json.dumps(begun[n])} (now {json.dumps(_plain(current[n]))})" for n in differing)
        raise SettingsError(
            f"{output}: was begun with other settings: {changes}. Leave these flags out to go on, or choose another "
            "folder."
        )
    if json.loads(stored_settings.read_text(encoding="utf-8")).get("recordings") != fingerprint:
        raise SettingsError(
            f"{output}: the recordings in {settings.speech}, {settings.noise} or --rir are not those it was begun "
            "with. Expected the same names and lengths; restore them, or choose another folder."
        )
    for leftover in output.glob("*/*/.*.partial.*"):  # of a run that was killed
        leftover.unlink()
    return finished_rows(output)


def _plain(value: object) -> object:
    """A setting as JSON has it."""
    return list(value) if isinstance(value, tuple) else value


def check_output(output: Path, settings: Settings, resume: bool) -> None:
    """Raises SettingsError if the folder cannot be written to or would mix with what is read or was there before."""
    if output.exists() and not output.is_dir():
        raise SettingsError(f"{output}: is a file. Expected a folder to write to; choose another name.")
    for flag in ("speech", "noise", "rir"):
        folder = getattr(settings, flag)
        if folder and (Path(folder) == output.resolve() or Path(folder) in output.resolve().parents):
            raise SettingsError(f"{output}: is the --{flag} folder or lies inside it. Expected a folder apart from it.")
    if not output.exists() or not any(output.iterdir()):
        return
    if not resume:
        raise SettingsError(
            f"{output}: is not empty. Expected a new or empty folder; choose another one, or say --resume to go on "
            "where an earlier run stopped."
        )
    if not (output / SETTINGS_NAME).is_file():
        raise SettingsError(f"{output}: holds no {SETTINGS_NAME}. Expected a folder that this script began.")


def finished_rows(output: Path) -> dict[int, Row]:
    """The rows of the pairs that are there, by index: from the manifest, or from the journal of a stopped run."""
    rows: list[Row] = []
    if (output / MANIFEST_NAME).exists():
        with open(output / MANIFEST_NAME, newline="", encoding="utf-8") as stream:
            rows += csv.DictReader(stream)
    if (output / JOURNAL_NAME).exists():
        for line in (output / JOURNAL_NAME).read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:  # the line at which the run was stopped
                continue
    present = [row for row in rows if all((output / row[kind]).is_file() for kind in ("noisy", "clean"))]
    return {int(row["fileid"]): row for row in present}


def write_manifest(output: Path, rows: Mapping[int, Row]) -> None:
    """Writes all rows in the order of their ids and removes the journal."""
    from dtln_audio import complete_file

    with (
        complete_file(output / MANIFEST_NAME) as partial,
        open(partial, "w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(rows[index] for index in sorted(rows))
    (output / JOURNAL_NAME).unlink(missing_ok=True)


# ----------------------------------------------------------------------------------------------------------------------
# The work on all pairs
# ----------------------------------------------------------------------------------------------------------------------


def make_pairs(
    settings: Settings, parts: Mapping[str, Part], output: Path, indices: Sequence[int], jobs: int
) -> Iterator[Row | str]:
    """Makes the pairs and gives the row of each as soon as it is there, in any order.

    Where recordings cannot be used it gives the reason in words and draws others for the pair. Raises SettingsError
    where no attempt succeeds, and what `make_pair` raises.
    """
    from concurrent.futures import FIRST_COMPLETED, wait

    waiting = [(index, 0) for index in reversed(indices)]
    running: dict[Future, Draw] = {}
    ahead = 2 * jobs if jobs > 1 else 1  # so that no process waits for its next pair
    with executor(jobs) as pool:
        try:
            while waiting or running:
                while waiting and len(running) < ahead:
                    draw = draw_pair(settings, parts, *waiting.pop())
                    running[pool.submit(make_pair, settings, output, draw)] = draw
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    draw, result = running.pop(future), future.result()
                    if isinstance(result, str) and draw.attempt + 1 == ATTEMPTS:
                        raise SettingsError(
                            f"pair {draw.index}: {ATTEMPTS} draws gave nothing to use; the last: {result}"
                        )
                    if isinstance(result, str):
                        waiting.append((draw.index, draw.attempt + 1))
                    yield result
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def executor(jobs: int) -> Executor:
    """Worker processes, started afresh; for one job the calls are made here."""
    import multiprocessing
    import signal
    from concurrent.futures import Executor, Future, ProcessPoolExecutor

    class Here(Executor):
        def submit(self, function: Callable, /, *args: object, **kwargs: object) -> Future:
            future: Future = Future()
            future.set_result(function(*args, **kwargs))
            return future

    context = multiprocessing.get_context("spawn")
    ignore = (signal.SIGINT, signal.SIG_IGN)  # of an interrupt only this process makes an end
    return Here() if jobs == 1 else ProcessPoolExecutor(jobs, context, signal.signal, ignore)


class Progress:
    """Says on a stream how far the work is: on a terminal in one line, elsewhere a line for every tenth."""

    def __init__(self, total: int, done: int, seconds: float, stream: TextIO) -> None:
        self.total, self.done, self.seconds, self.stream = total, done, seconds, stream
        self.first, self.started, self.shown = done, time.monotonic(), -1.0
        self.terminal = stream.isatty()

    def step(self) -> None:
        """One pair more."""
        self.done += 1
        elapsed = time.monotonic() - self.started
        speed = (self.done - self.first) / max(elapsed, 1e-9)  # pairs a second
        text = (
            f"{self.done} of {self.total} pairs, {self.done * self.seconds / 3600:.2f} h, "
            f"{speed * self.seconds:.0f} times real time, {(self.total - self.done) / speed / 60:.1f} min left"
        )
        if self.terminal and (elapsed - self.shown > 0.2 or self.done == self.total):
            self.shown = elapsed
            print(f"\r{text:<78}", end="\n" if self.done == self.total else "", file=self.stream, flush=True)
        elif not self.terminal and self.done * 10 // self.total > (self.done - 1) * 10 // self.total:
            print(text, file=self.stream, flush=True)


def synthesize(settings: Settings, output: Path, jobs: int, resume: bool) -> tuple[int, list[str]]:
    """Makes what `settings` ask for; (how many pairs were made now, why which recordings could not be used).

    Raises SettingsError, AudioFileError, OSError, or ModuleNotFoundError where a package is missing.
    """
    check_output(output, settings, resume)
    if settings.simulated_rooms:
        from dtln_mixing import require_pyroomacoustics

        require_pyroomacoustics()
    parts, fingerprint = divide(settings)
    rows = open_output(output, settings, fingerprint, resume)
    missing = [index for index in range(settings.total) if index not in rows]
    progress = Progress(settings.total, len(rows), settings.seconds, sys.stderr)
    unusable: set[str] = set()
    with open(output / JOURNAL_NAME, "a", encoding="utf-8") as journal:
        journal.write("\n")  # ends a line at which an earlier run was stopped
        for row in make_pairs(settings, parts, output, missing, jobs):
            if isinstance(row, str):
                unusable.add(row)
                continue
            rows[int(row["fileid"])] = row
            journal.write(json.dumps(row) + "\n")
            journal.flush()
            progress.step()
    write_manifest(output, rows)
    return len(missing), sorted(unusable)


def main(argv: Sequence[str] | None = None) -> int:
    args, given = parse(argv)
    from concurrent.futures.process import BrokenProcessPool

    file = args.settings
    if file is None and args.resume and (args.output / SETTINGS_NAME).is_file():
        file = args.output / SETTINGS_NAME
    try:
        settings = effective_settings(given, file)
        made, unusable = synthesize(settings, args.output, args.jobs, args.resume)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        print(f"synthesize_training_data.py: {error}", file=sys.stderr)
        return 1
    except BrokenProcessPool:
        print(
            "synthesize_training_data.py: a worker process was killed, perhaps for want of memory. What was written is "
            "complete; go on with --resume and fewer --jobs.",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("\nsynthesize_training_data.py: stopped; what was written is complete, --resume goes on", file=sys.stderr)
        return 130
    hours = settings.total * settings.seconds / 3600
    print(f"{args.output}: {settings.total} pairs, {hours:.2f} h; {made} made now, {settings.total - made} were there")
    for reason in unusable:
        print(f"LEFT OUT {reason}", file=sys.stderr)
    return 1 if unusable else 0


if __name__ == "__main__":
    sys.exit(main())
