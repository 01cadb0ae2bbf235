"""The work on all pairs of a synthesis."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dtln.errors import SettingsError, require
from dtln.shards import Shard
from dtln.synthesis.drawing import PairPlan, draw_pair
from dtln.synthesis.output import check_output, journal_of, open_output, write_manifest
from dtln.synthesis.pairs import Row, make_pair
from dtln.synthesis.recordings import Part, divide
from dtln.synthesis.settings import Settings

if TYPE_CHECKING:
    from concurrent.futures import Future

    from dtln.cluster import Cluster

ATTEMPTS = 10  # plans of one pair; if none gives sound, that is an error


def make_pairs(
    settings: Settings,
    parts: Mapping[str, Part],
    output: Path,
    indices: Sequence[int],
    jobs: int | None,
    cluster: Cluster | None = None,
) -> Iterator[Row | str]:
    """Makes the pairs and yields the row of each as soon as it is there, in any order.

    Where recordings cannot be used it yields the reason in words, and plans the pair anew. jobs: as in
    `synthesize`. cluster: does the work instead. Raises SettingsError where no attempt succeeds, and what `make_pair`,
    a pool or a cluster raises.
    """
    waiting = deque((index, 0) for index in indices)
    for (index, attempt), result in _made(settings, parts, output, waiting, jobs, cluster):
        if isinstance(result, str):
            if attempt + 1 == ATTEMPTS:
                raise SettingsError(f"pair {index}: {ATTEMPTS} draws gave nothing to use; the last: {result}")
            waiting.appendleft((index, attempt + 1))
        yield result


def _made(
    settings: Settings,
    parts: Mapping[str, Part],
    output: Path,
    waiting: deque[tuple[int, int]],
    jobs: int | None,
    cluster: Cluster | None,
) -> Iterator[tuple[tuple[int, int], Row | str]]:
    """What `make_pair` makes of each (index, attempt) that is waiting."""
    from dtln.pool import WorkerKilled, as_finished, open_pool

    def plan(entry: tuple[int, int]) -> PairPlan:
        return draw_pair(settings, parts, *entry)

    work = partial(make_pair, settings, output)
    if cluster:
        for entry, result in cluster.as_done(work, waiting, plan, lambda entry: settings.seconds):
            if isinstance(result, WorkerKilled):
                raise result
            yield entry, result
        return
    jobs = jobs or 1
    with open_pool(jobs, processes=True) as pool:

        def start(entry: tuple[int, int]) -> Future[Row | str]:
            return pool.submit(work, plan(entry))

        ahead = 2 * jobs if jobs > 1 else 1  # so that no process waits for its next pair
        for entry, future in as_finished(start, waiting, ahead):
            yield entry, future.result()


def synthesize(
    settings: Settings,
    output: Path,
    jobs: int | None,
    resume: bool,
    shard: Shard | None = None,
    ray: str | None = None,
) -> tuple[int, int, list[str]]:
    """Writes the pairs that `settings` ask for, or a shard of them, in `jobs` processes.

    Returns how many were made now, how many were there, and a line for each recording that could not be used. jobs:
    None is one, or with `ray` one for each core of the cluster. resume: goes on in a folder that was begun before.
    shard: pairs with the numbers of its range, which other shards may write beside it into the same folder; the pairs
    are those of a run without shards. ray: the address of a cluster that does the work, as `dtln.cluster.Cluster` takes
    it. Raises SettingsError, AudioFileError, OSError, MissingPackageError, or WorkerKilled.
    """
    from dtln.pool import Progress

    check_output(output, settings, resume, shard)
    if settings.simulated_rooms:
        from dtln.mixing.rooms import require_pyroomacoustics

        require_pyroomacoustics()
    if ray:
        require("ray", f"--ray {ray}")
    parts, fingerprint = divide(settings)
    wanted = shard.range(settings.total) if shard else range(settings.total)
    with ExitStack() as closing:
        cluster = None
        if ray:  # before anything is written: a folder that is begun wants --resume
            from dtln.cluster import Cluster

            read = [Path(folder) for folder in (settings.speech, settings.noise, settings.rir) if folder]
            cluster = closing.enter_context(Cluster(ray, jobs, read, output))
        rows = open_output(output, settings, fingerprint, resume, shard)
        there = len(rows)
        missing = [index for index in wanted if index not in rows]
        unusable: set[str] = set()
        journal = closing.enter_context(open(journal_of(output, shard), "a", encoding="utf-8"))
        progress = closing.enter_context(Progress("synthesizing", len(wanted), "pair", done=there))
        journal.write("\n")  # ends a line at which an earlier run was stopped
        for row in make_pairs(settings, parts, output, missing, jobs, cluster):
            if isinstance(row, str):
                unusable.add(row)
                continue
            rows[int(row["fileid"])] = row
            journal.write(json.dumps(row) + "\n")
            journal.flush()
            progress.step(settings.seconds)
    write_manifest(output, rows, shard)
    return len(missing), there, sorted(unusable)
