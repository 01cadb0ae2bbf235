"""The work on all pairs of a synthesis."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dtln.errors import SettingsError
from dtln.synthesis.drawing import draw_pair
from dtln.synthesis.output import JOURNAL_NAME, check_output, open_output, write_manifest
from dtln.synthesis.pairs import Row, make_pair
from dtln.synthesis.recordings import Part, divide
from dtln.synthesis.settings import Settings

if TYPE_CHECKING:
    from concurrent.futures import Future

ATTEMPTS = 10  # plans of one pair; if none gives sound, that is an error


def make_pairs(
    settings: Settings, parts: Mapping[str, Part], output: Path, indices: Sequence[int], jobs: int
) -> Iterator[Row | str]:
    """Makes the pairs and yields the row of each as soon as it is there, in any order.

    Where recordings cannot be used it yields the reason in words, and plans the pair anew. Raises SettingsError where
    no attempt succeeds, and what `make_pair` raises.
    """
    from collections import deque

    from dtln.pool import as_finished, open_pool

    waiting = deque((index, 0) for index in indices)
    with open_pool(jobs, processes=True) as pool:

        def start(job: tuple[int, int]) -> Future[Row | str]:
            return pool.submit(make_pair, settings, output, draw_pair(settings, parts, *job))

        ahead = 2 * jobs if jobs > 1 else 1  # so that no process waits for its next pair
        for (index, attempt), future in as_finished(start, waiting, ahead):
            result = future.result()
            if isinstance(result, str):
                if attempt + 1 == ATTEMPTS:
                    raise SettingsError(f"pair {index}: {ATTEMPTS} draws gave nothing to use; the last: {result}")
                waiting.appendleft((index, attempt + 1))
            yield result


def synthesize(settings: Settings, output: Path, jobs: int, resume: bool) -> tuple[int, list[str]]:
    """Writes the pairs that `settings` ask for, in `jobs` processes.

    Returns how many were made now, and a line for each recording that could not be used. resume: goes on in a folder
    that was begun before. Raises SettingsError, AudioFileError, OSError or MissingPackageError.
    """
    from dtln.pool import Progress

    check_output(output, settings, resume)
    if settings.simulated_rooms:
        from dtln.mixing.rooms import require_pyroomacoustics

        require_pyroomacoustics()
    parts, fingerprint = divide(settings)
    rows = open_output(output, settings, fingerprint, resume)
    missing = [index for index in range(settings.total) if index not in rows]
    unusable: set[str] = set()
    with (
        open(output / JOURNAL_NAME, "a", encoding="utf-8") as journal,
        Progress("synthesizing", settings.total, "pair", done=len(rows)) as progress,
    ):
        journal.write("\n")  # ends a line at which an earlier run was stopped
        for row in make_pairs(settings, parts, output, missing, jobs):
            if isinstance(row, str):
                unusable.add(row)
                continue
            rows[int(row["fileid"])] = row
            journal.write(json.dumps(row) + "\n")
            journal.flush()
            progress.step(settings.seconds)
    write_manifest(output, rows)
    return len(missing), sorted(unusable)
