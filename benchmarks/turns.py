"""Turns: contenders run one after the other, in another order each round, so that disturbances hit all of them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.report import Report

SCRIPT = Path(__file__).with_name("speed.py")  # with --contender NAME it is a contender
ONE_THREAD = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS",
)  # fmt: skip


@dataclass
class Times:
    """What a contender took: seconds of each block, turn by turn, and its memory after each turn."""

    runtime: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    turns: list[list[float]] = field(default_factory=list)
    memory: list[int | None] = field(default_factory=list)

    @property
    def all(self) -> list[float]:
        """Seconds of every block."""
        return [seconds for turn in self.turns for seconds in turn]

    def medians(self) -> list[float]:
        """The median of each turn in seconds."""
        import numpy as np

        return [float(np.median(turn)) for turn in self.turns]

    def median_ms(self) -> float:
        """The median over all blocks in milliseconds."""
        import numpy as np

        return 1e3 * float(np.median(self.all))

    def summary(self) -> dict[str, Any]:
        """Milliseconds: percentiles over all blocks, and the median of each turn."""
        import numpy as np

        values = np.array(self.all) * 1e3
        names = {"median": 50, "p5": 5, "p95": 95, "p99": 99, "p99_9": 99.9}
        return {
            **self.details,
            "count": len(values),
            "mean_ms": float(values.mean()),
            **{f"{name}_ms": float(np.percentile(values, share)) for name, share in names.items()},
            "max_ms": float(values.max()),
            "turn_medians_ms": [1e3 * median for median in self.medians()],
        }


class Contender:
    """A process that waits for its turns."""

    def __init__(self, name: str, argv: Sequence[str], python: str, threads: int) -> None:
        self.name, self.times = name, Times()
        environment = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
        environment |= dict.fromkeys(ONE_THREAD, str(threads)) | {"TF_CPP_MIN_LOG_LEVEL": "2"}
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  (`close` closes it)
        self._process = subprocess.Popen(
            [python, str(SCRIPT), *argv, "--contender", name], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
        )  # fmt: skip
        assert self._process.stdin and self._process.stdout
        self._questions, self._answers = self._process.stdin, self._process.stdout

    def open(self) -> str | None:
        """Waits until it is ready. Returns the reason where it cannot run here."""
        self.times.details = self._read()
        self.times.runtime = self.times.details.get("runtime", "")
        return self.times.details.get("missing")

    def turn(self, count: int, counted: bool = True) -> None:
        """Lets it process so many blocks."""
        print(count, file=self._questions, flush=True)
        answer = self._read()
        if counted:
            self.times.turns.append(answer["seconds"])
            self.times.memory.append(answer["memory"])

    def _read(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            raise RuntimeError(f"{self.name} failed:\n{self._errors.read()[-2000:]}")
        return json.loads(line)

    def close(self) -> None:
        """Ends the process."""
        with contextlib.suppress(BrokenPipeError):
            self._questions.close()
        self._process.wait()
        self._answers.close()
        self._errors.close()


def take_turns(
    names: Sequence[str],
    argv: Sequence[str],
    counts: Sequence[int],
    report: Report,
    pythons: dict[str, str] | None = None,
    threads: int = 1,
    warm_up: int = 200,
    label: str = "",
) -> dict[str, Times]:
    """The times of the contenders that can run here, in turns of `counts` blocks after `warm_up` uncounted ones.

    The report takes their summaries, under `label` + name, and the reasons why others cannot run. pythons: interpreters
    of those that need another one than this. Raises RuntimeError with what a contender wrote before it failed.
    """
    ready: list[Contender] = []
    with contextlib.ExitStack() as stack:
        for name in names:
            contender = Contender(name, argv, (pythons or {}).get(name, sys.executable), threads)
            stack.callback(contender.close)
            reason = contender.open()
            if reason:
                report.missing[name] = reason
            else:
                ready.append(contender)
        for contender in ready:
            contender.turn(warm_up, counted=False)
        for index, count in enumerate(counts):
            first = index % max(1, len(ready))
            for contender in ready[first:] + ready[:first]:
                contender.turn(count)
    times = {contender.name: contender.times for contender in ready}
    for name, value in times.items():
        report.contenders[label + name] = value.summary()
    return times
