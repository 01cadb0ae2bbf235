"""The sound of a page: inside it, in a folder beside it, or as links to where the recordings lie."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from dtln.audio.headers import audio_info
from dtln.audio.reading import read_stretch
from dtln.errors import AudioFileError, describe_error, require
from dtln.facts import SAMPLE_RATE
from dtln.reporting.statistics import improvements
from dtln.reporting.table import Table

__all__ = ["Clips", "link_to", "links", "read_clips", "worst_and_best"]

LONGEST_SECONDS = 60  # of a recording that is copied; of a longer one its beginning is
PLAYABLE: dict[str, tuple[str, ...]] = {  # what Chromium, Firefox and Safari play: container: subtypes, () for all
    "FLAC": (),
    "MP3": (),
    "OGG": (),
    "WAV": ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT"),
    "WAVEX": ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT"),
}
PLAYABLE_MEDIA = (".aac", ".m4a", ".mp4", ".webm")  # that soundfile does not read


@dataclass(frozen=True)
class Clips:
    """The recordings of one row, as a page takes them: signal -> {"flac": base64, "seconds": ...} or {"error": ...}."""

    row: int
    signals: Mapping[str, Mapping[str, Any]]
    seconds: float = 0.0  # of audio; the progress counts files


def worst_and_best(table: Table, metric: str, count: int) -> list[int]:
    """The rows with the `count` lowest and the `count` highest improvements of the first system, in ascending order."""
    ranked = improvements(table, table.systems[0], metric)
    order = [int(row) for row in np.argsort(ranked, kind="stable") if np.isfinite(ranked[row])]
    return sorted({*order[:count], *(order[-count:] if count else [])})


def read_clips(paths: Mapping[str, Path | None], row: int) -> Clips:
    """The recordings of a row, as the metrics heard them: mono, 16 kHz, their first 60 s, lossless (FLAC, 16 bit).

    What cannot be read is an error in words, which the page shows.
    """
    clips = {signal: _clip(path) for signal, path in paths.items() if path}
    return Clips(row, clips, sum(clip.get("seconds", 0.0) for clip in clips.values()))


def _clip(path: Path) -> dict[str, Any]:
    soundfile = require("soundfile", "the sound of a report")
    try:
        info = audio_info(path)
        samples = read_stretch(path, 0, LONGEST_SECONDS * SAMPLE_RATE, SAMPLE_RATE)  # (L,)
        memory = io.BytesIO()
        soundfile.write(memory, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    except AudioFileError as error:
        return {"error": str(error).encode("utf-8", "backslashreplace").decode()}
    except Exception as error:  # the other recordings are still to be read
        return {"error": f"{path}: {describe_error(error)}".encode("utf-8", "backslashreplace").decode()}
    seconds = round(info.length / info.sample_rate, 2)
    return {"flac": base64.b64encode(memory.getvalue()).decode("ascii"), "seconds": seconds}


def links(paths: Sequence[Path | None], folder: Path) -> list[str]:
    """What a page in `folder` plays of each recording: see `link_to`; "" where there is none."""
    return [link_to(path, folder) if path else "" for path in paths]


def link_to(path: Path, folder: Path) -> str:
    """The address of a recording, seen from a page in `folder`; after "!" the reason why browsers cannot play it."""
    try:
        if path.suffix.lower() not in PLAYABLE_MEDIA:
            stored = audio_info(path).sample_format
            if stored.container not in PLAYABLE or stored.subtype not in (PLAYABLE[stored.container] or stored.subtype):
                return f"!{stored} does not play in browsers"
        elif not path.is_file():
            return "!the recording is not there"
    except AudioFileError:
        return "!the recording cannot be read" if path.exists() else "!the recording is not there"
    try:
        relative = os.path.relpath(os.path.abspath(path), os.path.abspath(folder))
    except ValueError:  # on another drive of Windows
        return path.absolute().as_uri()
    return quote(os.fsencode(relative.replace(os.sep, "/")))
