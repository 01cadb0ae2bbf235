"""Decoded recordings, random crops of them, and their division into training and validation."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from dtln.audio.folders import find_audio_files
from dtln.audio.reading import read_audio
from dtln.errors import AudioFileError, SettingsError
from dtln.facts import SAMPLE_RATE
from dtln.files import complete_file
from dtln.mixing.groups import speaker_of, validation_groups
from dtln.mixing.spectra import mean_power

SILENCE_POWER = 1e-8  # mean square (-80 dBFS) under which a crop counts as a pause
CROP_ATTEMPTS = 10  # crops drawn before a pause is accepted
INT16_SCALE = 32768.0
NAMES_SHOWN = 5  # groups named in a line about a split
CACHE_VERSION = 2  # 1 averaged channels that cancel each other, and dead ones


@dataclass
class Recordings:
    """Decoded mono recordings at 16 kHz, kept as int16.

    names: path of each recording relative to its folder. signals: one int16 array (L,) each. weights: how much more
    often each is drawn than its duration says; None for all alike.
    """

    names: list[str]
    signals: list[np.ndarray]
    weights: list[float] | None = None

    @property
    def hours(self) -> float:
        """Duration of all recordings together, in hours."""
        return sum(len(signal) for signal in self.signals) / SAMPLE_RATE / 3600

    def select(self, names: set[str]) -> Recordings:
        """The recordings whose names are in `names`, in this order."""
        chosen = [index for index, name in enumerate(self.names) if name in names]
        return Recordings(
            [self.names[i] for i in chosen],
            [self.signals[i] for i in chosen],
            None if self.weights is None else [self.weights[i] for i in chosen],
        )

    def by_folder(self) -> dict[str, Recordings]:
        """These recordings by the first folder of their names, "" for those in none, in alphabetical order."""
        folders: dict[str, set[str]] = {}
        for name in self.names:
            folders.setdefault(name.partition("/")[0] if "/" in name else "", set()).add(name)
        return {folder: self.select(folders[folder]) for folder in sorted(folders)}

    def reweighted(self, folders: Mapping[str, float]) -> Recordings:
        """These recordings, each with the weight of its folder; 1 for those in no folder that is named.

        folders: weights of at least 0 by folder, as the names of the recordings begin; the longest that fits counts.
        Raises SettingsError for a folder without recordings, for a negative or infinite weight, and where nothing is
        left to draw.
        """
        weights = [1.0] * len(self.names)
        for folder in sorted(folders, key=len):
            if not 0 <= folders[folder] < math.inf:
                raise SettingsError(f"{folder}={folders[folder]:g}: expected a weight of at least 0")
            members = [i for i, name in enumerate(self.names) if name.startswith(f"{folder.strip('/')}/")]
            if not members:
                known = ", ".join(filter(None, self.by_folder()))
                raise SettingsError(
                    f"{folder}: no recording to weight lies in a folder of this name. There are: {known}"
                )
            for i in members:
                weights[i] = folders[folder]
        if not any(weights):
            raise SettingsError("every recording has the weight 0: expected at least one to draw")
        return Recordings(self.names, self.signals, weights)

    @cached_property
    def _ends(self) -> np.ndarray:
        lengths = np.array([len(signal) for signal in self.signals])
        return np.cumsum(lengths if self.weights is None else np.rint(lengths * self.weights).astype(np.int64))

    def crop(self, rng: np.random.Generator, length: int) -> np.ndarray:
        """A random stretch of one random recording, float32 (length,); a short recording is repeated.

        Recordings are drawn in proportion to their duration times their weight. Pauses are drawn again, up to
        CROP_ATTEMPTS times.
        """
        durations = self._ends
        crop = np.zeros(length, np.float32)
        for _ in range(CROP_ATTEMPTS):
            signal = self.signals[int(np.searchsorted(durations, rng.integers(durations[-1]), side="right"))]
            start = int(rng.integers(max(1, len(signal) - length + 1)))
            stretch = signal[start : start + length]
            if len(stretch) < length:
                stretch = np.tile(stretch, -(-length // len(stretch)))[:length]
            crop = stretch.astype(np.float32) / np.float32(INT16_SCALE)
            if mean_power(crop) > SILENCE_POWER:
                break
        return crop


def load_recordings(folder: str | Path, cache_dir: str | Path | None = None) -> Recordings:
    """Decodes every audio file below `folder` (any format of soundfile, any rate, channels averaged).

    cache_dir: where the decoded int16 samples are kept; they are used again while names, sizes and modification times
    of the files stay the same. None keeps nothing.
    Raises AudioFileError for a missing or empty folder and for a file that cannot be read.
    """
    folder = Path(folder)
    files = find_audio_files(folder)
    names = [file.relative_to(folder).as_posix() for file in files]
    stamps = [(name, file.stat().st_size, file.stat().st_mtime_ns) for name, file in zip(names, files, strict=True)]
    key = hashlib.sha256(repr((CACHE_VERSION, SAMPLE_RATE, stamps)).encode()).hexdigest()[:16]
    cache = Path(cache_dir) / f"{folder.resolve().name}_{key}.npz" if cache_dir is not None else None
    if cache is not None and cache.exists():
        with np.load(cache) as stored:
            ends = np.cumsum(stored["lengths"])
            return Recordings(names, np.split(stored["samples"], ends[:-1]))

    def decode(file: Path) -> np.ndarray:
        signal, _ = read_audio(file, sample_rate=SAMPLE_RATE, mono=True)
        if signal.size == 0:
            raise AudioFileError(f"{file}: holds no samples; expected a recording. Remove the file.")
        return np.clip(np.round(signal * INT16_SCALE), -INT16_SCALE, INT16_SCALE - 1).astype(np.int16)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoders run outside the interpreter lock
        signals = list(pool.map(decode, files))
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with complete_file(cache) as partial, open(partial, "wb") as stream:
            np.savez(stream, samples=np.concatenate(signals), lengths=[len(signal) for signal in signals])
    return Recordings(names, signals)


def split_by_group(
    recordings: Recordings,
    validation_share: float,
    group_of: Callable[[str], str] = speaker_of,
    tell: Callable[[str], None] = lambda words: None,
) -> tuple[Recordings, Recordings]:
    """Splits recordings into (training, validation) so that no speaker or kind of noise is in both.

    group_of: finds the speaker or kind in a name. The split stays the same when recordings are added, if there are
    enough groups for it; of a few, about the share is chosen; a single one is split in time. `tell` is given words
    about the last two cases. See `validation_groups`. Raises SettingsError for a share that leaves one part empty.
    """
    if not 0 < validation_share < 1:
        raise SettingsError(f"a share of {validation_share:g} leaves one part empty: expected one between 0 and 1")
    groups = [group_of(name) for name in recordings.names]
    durations: dict[str, int] = {}
    for group, signal in zip(groups, recordings.signals, strict=True):
        durations[group] = durations.get(group, 0) + len(signal)
    if len(durations) == 1:
        tell(f"the last {validation_share:.0%} of {next(iter(durations))} are kept for validation: there is no other")
        return split_in_time(recordings, validation_share)
    chosen = validation_groups(durations, validation_share, stable=True)
    if not 0 < len(chosen) < len(durations):
        chosen = validation_groups(durations, validation_share, stable=False)
        kept = sum(durations[group] for group in chosen) / sum(durations.values())
        tell(
            f"{len(chosen)} of {len(durations)} are kept for validation, {kept:.0%} of the duration: "
            f"{', '.join(sorted(chosen)[:NAMES_SHOWN])}{', ...' if len(chosen) > NAMES_SHOWN else ''}"
        )
    names = {name for name, group in zip(recordings.names, groups, strict=True) if group in chosen}
    return recordings.select(set(recordings.names) - names), recordings.select(names)


def split_in_time(recordings: Recordings, validation_share: float) -> tuple[Recordings, Recordings]:
    """(what comes first, the last share of the whole duration), in the order of the recordings; one may be cut."""
    total = sum(len(signal) for signal in recordings.signals)
    end = min(max(1, round(total * (1 - validation_share))), total - 1)
    parts = Recordings([], []), Recordings([], [])
    begin = 0
    for name, signal in zip(recordings.names, recordings.signals, strict=True):
        for part, samples in zip(parts, np.split(signal, [min(max(0, end - begin), len(signal))]), strict=True):
            if len(samples):
                part.names.append(name)
                part.signals.append(samples)
        begin += len(signal)
    return parts
