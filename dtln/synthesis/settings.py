"""Settings of a synthesis, from flags and files, and their checks."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dtln.choices import ROOM_TARGETS
from dtln.errors import SettingsError

SETTINGS_NAME = "settings.json"


@dataclass(frozen=True)
class Settings:
    """Everything that decides what is written. Each field is a flag of the same name; folders are absolute paths."""

    speech: str = ""
    noise: str = ""
    rir: str | None = None
    simulated_rooms: bool = False
    hours: float | None = None
    count: int | None = None
    seconds: float = 30.0
    snr_db: tuple[int, int] = (-5, 25)
    level_dbfs: tuple[int, int] = (-35, -15)
    reverberant_share: float = 0.0  # `effective_settings` makes it 0.5 where there are rooms
    target: str = "reverberant"
    silence_share: float = 0.0
    validation_share: float = 0.2
    speaker_pattern: str | None = None
    seed: int = 42

    @property
    def length(self) -> int:
        """Samples of one file."""
        from dtln.facts import SAMPLE_RATE

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


ALTERNATIVES = (("hours", "count"), ("rir", "simulated_rooms"))  # a flag for one sets the other aside


def effective_settings(given: dict[str, Any], file: Path | None) -> Settings:
    """The settings: flags win over the file, and the file over the defaults. Raises SettingsError."""
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
    if merged.get("rir") or merged.get("simulated_rooms"):
        merged.setdefault("reverberant_share", 0.5)
    settings = Settings(**merged)
    check_settings(settings)
    return settings


def read_settings(file: Path) -> dict[str, Any]:
    """The settings in a JSON file, without those that are null. Raises SettingsError for any other file."""
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
    """Raises SettingsError for settings that cannot be met, from flags or from a file."""

    def check(fits: bool, message: str) -> None:
        if not fits:
            raise SettingsError(message)

    check(bool(settings.speech), "--speech is missing: expected a folder of clean speech")
    check(bool(settings.noise), "--noise is missing: expected a folder of noise recordings")
    check(settings.hours is not None or settings.count is not None, "give --hours or --count: how much to make")
    check(settings.hours is None or settings.count is None, "hours and count are both set: expected one of them")
    check(1 <= settings.seconds <= 3600, f"--seconds {settings.seconds:g}: expected 1 to 3600")
    amount = settings.hours if settings.count is None else settings.count
    assert amount is not None
    check(0 < amount < float("inf"), f"--hours or --count {amount:g}: expected more than none")
    for flag, (low, high) in (("--snr-db", settings.snr_db), ("--level-dbfs", settings.level_dbfs)):
        check(low <= high, f"{flag} {low} {high} is an empty range: give the lower end first")
    for flag, share in (
        ("--reverberant-share", settings.reverberant_share),
        ("--silence-share", settings.silence_share),
    ):
        check(0 <= share <= 1, f"{flag} {share:g}: expected a share from 0 to 1")
    check(
        0 <= settings.validation_share < 1,
        f"--validation-share {settings.validation_share:g}: expected a share from 0 to below 1",
    )
    check(
        settings.validation_share == 0 or settings.total > 1,
        "one pair cannot be divided into training and validation: raise --count, or give --validation-share 0",
    )
    check(not (settings.rir and settings.simulated_rooms), "rir and simulated_rooms are both set: expected one of them")
    rooms = bool(settings.rir or settings.simulated_rooms)
    check(rooms or settings.reverberant_share == 0, "--reverberant-share needs rooms: give --rir or --simulated-rooms")
    check(rooms or settings.target == "reverberant", "--target early needs rooms: give --rir or --simulated-rooms")
    check(settings.target in ROOM_TARGETS, f"target {settings.target!r}: expected {' or '.join(ROOM_TARGETS)}")
    check(settings.seed >= 0, f"--seed {settings.seed}: expected 0 or more")
    if settings.speaker_pattern is not None:
        from dtln.mixing.groups import speaker_expression

        speaker_expression(settings.speaker_pattern)
