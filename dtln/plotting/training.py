"""Training curves of runs, from the logs of both engines."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dtln.errors import SettingsError
from dtln.plotting.figures import as_text, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CUDA_LOG = "training.csv"


@dataclass
class Curves:
    """The losses of a network over a run: unit names what `positions` counts."""

    unit: str  # "epoch" or "hours of mixtures"
    positions: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)  # dB
    val_loss: list[float] = field(default_factory=list)


def read_curves(path: Path) -> dict[str, Curves]:
    """The curves of a run folder or a log, by the names of the networks.

    It reads training_RUN.log, which has one network and one line for each epoch, and training.csv of the engine cuda,
    with a line for each network and check. Raises SettingsError for a folder without logs, and for other files.
    """
    if path.is_dir():
        logs = [*sorted(path.glob("training_*.log")), *([path / CUDA_LOG] if (path / CUDA_LOG).is_file() else [])]
        if not logs:
            raise SettingsError(f"{path}: holds no training_RUN.log and no {CUDA_LOG}. Expected the folder of a run.")
        return {name: curves for log in logs for name, curves in read_curves(log).items()}
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or "it is no text of such a log"
        raise SettingsError(
            f"{path}: cannot be read ({reason}). Expected training_RUN.log or {CUDA_LOG}; check the path."
        ) from error
    found: dict[str, Curves] = {}
    try:
        for row in rows:
            of_epochs = "epoch" in row
            name = path.stem.removeprefix("training_") if of_epochs else row["network"]
            curves = found.setdefault(name, Curves("epoch" if of_epochs else "hours of mixtures"))
            curves.positions.append(float(row["epoch"]) + 1 if of_epochs else float(row["hours"]))
            curves.loss.append(float(row["loss"]))
            curves.val_loss.append(float(row.get("val_loss") or math.nan))
    except (KeyError, TypeError, ValueError) as error:
        raise SettingsError(f"{path}: is no log of a run. Expected training_RUN.log or {CUDA_LOG}.") from error
    if not found:
        raise SettingsError(f"{path}: holds no finished epoch yet. Wait for the first one.")
    return found


def training_figure(runs: Mapping[str, Curves]) -> Figure:
    """Draws the losses of networks, training dashed and validation solid, with a dot at the best validation loss.

    Raises SettingsError where some count epochs and others hours of mixtures, MissingPackageError.
    """
    units = {curves.unit for curves in runs.values()}
    if len(units) > 1:
        raise SettingsError(f"some runs count by {' and others by '.join(sorted(units))}. Draw them apart.")
    figure = new_figure(7, 3.6)
    axis = figure.subplots()
    for index, (name, curves) in enumerate(runs.items()):
        colour = f"C{index % 10}"
        axis.plot(curves.positions, curves.loss, "--", color=colour, lw=1, alpha=0.6)
        known = [place for place, value in enumerate(curves.val_loss) if math.isfinite(value)]
        best = min(known, key=curves.val_loss.__getitem__, default=None)
        label = as_text(name if best is None else f"{name}: {curves.val_loss[best]:.2f} dB")
        axis.plot(curves.positions, curves.val_loss, color=colour, label=label)
        if best is not None:
            axis.plot(curves.positions[best], curves.val_loss[best], "o", color=colour)
    axis.plot([], [], "--", color="gray", lw=1, label="training")
    axis.set(xlabel=units.pop(), ylabel="loss, dB")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    return figure
