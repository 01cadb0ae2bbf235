"""The report: a row of the table, all of them, and where they are written and drawn."""

from __future__ import annotations

import argparse
import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.contenders import SHIFT_MS
from dtln.files import complete_file
from dtln.machine import installed_versions, processor_name, usable_cores

if TYPE_CHECKING:
    from benchmarks.turns import Times

TITLE = f"{'':46} {'ours':>10} {'baseline':>10}   {'ratio':<22} {'needed':>7} {'aimed':>6}"


Goal = tuple[float, float | None]  # ratios of our time to the baseline's: needed, aimed at


@dataclass
class Row:
    """One line of the table: `ours` and `baseline` in `unit`, the range of their ratio over turns.

    why: the reason if there is no ratio. needed, aimed: goals for the ratio.
    """

    name: str
    title: str
    ours: float | None
    baseline: float | None
    unit: str
    why: str | None = None
    ratio: float | None = None
    ratio_range: tuple[float, float] | None = None
    needed: float | None = None
    aimed: float | None = None
    verdict: str = ""
    baseline_is_limit: bool = False

    def finish(self, goal: Goal) -> None:
        """Adds the goal, the ratio unless it is there, and what they say together."""
        self.needed, self.aimed = goal
        if self.ratio is None and self.ours is not None and self.baseline:
            self.ratio = self.ours / self.baseline
        if self.ratio is not None:
            reached = "aimed at" if self.aimed and self.ratio <= self.aimed else "reached"
            self.verdict = reached if self.ratio <= self.needed else "NOT REACHED"

    def line(self) -> str:
        """The line for people."""

        def number(value: float | None) -> str:
            digits = {"ms": 3, "s": 2, "MiB": 1}.get(self.unit, 2)
            return "-" if value is None else f"{value:.{digits}f} {self.unit}".strip()

        ratio = "" if self.ratio is None else f"{self.ratio:.3f}"
        if self.ratio_range:
            ratio += f" ({self.ratio_range[0]:.3f}-{self.ratio_range[1]:.3f})"
        goals = [
            f"{goal:.3f}" if goal and goal < 0.1 else f"{goal:g}" if goal else "" for goal in (self.needed, self.aimed)
        ]
        baseline = ("< " if self.baseline_is_limit else "") + number(self.baseline)
        line = f"{self.title:<46} {number(self.ours):>10} {baseline:>10}   {ratio:<22} {goals[0]:>7} {goals[1]:>6}"
        return f"{line}  {self.verdict}".rstrip() + (f"\n    no comparison: {self.why}" if self.why else "")


class Report:
    """What was measured, as it comes in."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.rows: list[Row] = []
        self.contenders: dict[str, dict[str, Any]] = {}
        self.missing: dict[str, str] = {}
        self.limit: dict[str, float] = {}
        self.histogram: dict[str, list[float]] = {}  # seconds
        self.throughput: dict[str, float] = {}  # times real time
        self.machine, self.versions = machine(), versions()

    def compare(
        self,
        name: str,
        title: str,
        times: dict[str, Times],
        ours: str,
        baseline: str,
        goal: Goal,
        unit: str = "ms",
        why: str | None = None,
    ) -> None:
        """Adds the row of two contenders' medians. The range of the ratio is the 5th to 95th percentile over turns."""
        import numpy as np

        scale = 1.0 if unit == "ms" else 1e-3
        mine, other = times.get(ours), times.get(baseline)
        row = Row(
            name,
            title,
            None if mine is None else scale * mine.median_ms(),
            None if other is None else scale * other.median_ms(),
            unit,
            why=why or self.missing.get(ours) or self.missing.get(baseline),
        )
        if mine and other:
            ratios = np.array(mine.medians()) / np.array(other.medians())
            if len(ratios) > 1:
                low, high = np.percentile(ratios, (5, 95))
                row.ratio_range = float(low), float(high)
        row.finish(goal)
        self.rows.append(row)

    def heading(self) -> str:
        """Describes the machine and the versions."""
        m = self.machine
        lines = [
            f"{m['processor']}, {m['cores_usable']} of {m['cores']} cores, {m['system']}, load {m['load']}, "
            f"governor {m['governor']}",
            ", ".join(f"{name} {version}" for name, version in self.versions.items()),
        ]
        if m["load"] and m["load"][0] > 0.3:
            lines.append("Other programs are running: expect longer times and wide ranges.")
        return "\n".join(lines)

    def ending(self) -> str:
        """Says the physical limits, to be read beside the best float engine and the folder."""
        lines = []
        if "weights_ms" in self.limit:
            weights, transforms = self.limit["weights_ms"], self.limit["transforms_ms"]
            megabytes = self.limit["weight_bytes"] / 1e6
            lines.append(
                f"limit of a float block on one thread: {weights + transforms:.3f} ms; {weights:.3f} to read "
                f"{megabytes:.2f} MB of weights once and multiply (numpy), {transforms:.3f} for the two transforms"
            )
        if "folder_start_s" in self.limit:
            lines.append(
                f"limit of the folder: {self.limit['folder_start_s']:.2f} s for a folder with 0.1 s of audio; "
                f"{self.limit['folder_products_s']:.2f} s for the products of all blocks at once, all cores (numpy)"
            )
        lines.append("ratios: medians, in brackets the 5th to 95th percentile over turns")
        return "\n".join(lines)

    def write_json(self, path: Path) -> None:
        """Writes all numbers but the times of single blocks."""
        arguments = {n: str(v) if isinstance(v, Path) else v for n, v in vars(self.args).items() if n != "contender"}
        write_json(
            path,
            {
                "machine": self.machine | {"load_after": load()},
                "versions": self.versions,
                "settings": arguments,
                "rows": [vars(row) for row in self.rows],
                "contenders": self.contenders,
                "missing": self.missing,
                "limit": self.limit,
                "throughput": self.throughput,
            },
        )
        print(f"written to {path}")

    def plot(self, path: Path) -> None:
        """Draws the histogram of latencies and the bars of throughput."""
        import matplotlib

        matplotlib.use("Agg")
        import numpy as np
        from matplotlib import pyplot

        figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 4.5))
        if self.histogram:
            every = np.concatenate([np.array(seconds) for seconds in self.histogram.values()]) * 1e3
            bins = np.geomspace(every.min(), np.percentile(every, 99), 80)  # the slowest would stretch the axis
            for name, seconds in self.histogram.items():
                style = "--" if name.startswith("published") else "-"
                left.hist(
                    np.array(seconds) * 1e3, bins, histtype="step", label=name.replace(":", ", "), linestyle=style
                )
            left.set(xscale="log", xlabel="ms per block", ylabel="blocks", title="Latency of a block, one thread")
            left.legend()
        bars = {name: SHIFT_MS / c["median_ms"] for name, c in self.contenders.items() if name in self.histogram}
        bars |= self.throughput
        if bars:
            names = list(bars)[::-1]
            colours = ["tab:orange" if "published" in name else "tab:blue" for name in names]
            drawn = right.barh([name.replace(":", ", ") for name in names], [bars[n] for n in names], color=colours)
            right.bar_label(drawn, fmt="%.0f", padding=2)
            limits = (1, 2 * max(bars.values()))
            right.set(xscale="log", xlim=limits, xlabel="times real time", title="Throughput")
        figure.suptitle(self.machine["processor"])
        figure.tight_layout()
        figure.savefig(path, dpi=120)
        print(f"drawn in {path}")


def write_json(path: Path, value: object) -> None:
    """Writes it, complete or not at all."""
    with complete_file(path) as partial:
        partial.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def load() -> list[float] | None:
    """Processes that wanted to run in the last 1, 5 and 15 minutes; None where the system does not tell."""
    return [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None


def machine() -> dict[str, Any]:
    """Processor, cores, clock governor, load, system."""
    try:
        governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").read_text().strip()
    except OSError:
        governor = "unknown"
    return {
        "processor": processor_name(), "cores": os.cpu_count(), "cores_usable": usable_cores(), "governor": governor,
        "load": load(), "system": platform.platform(), "architecture": platform.machine(),
    }  # fmt: skip


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter, where they are installed."""
    packages = ("numpy", "ai_edge_litert", "tflite_runtime", "onnxruntime", "tensorflow", "keras", "torch", "tf_keras")
    return {"python": platform.python_version()} | installed_versions(packages)
