"""Figures and the files that they are written to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dtln.errors import SettingsError, one_line, require, require_place
from dtln.files import complete_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURE_SUFFIXES = (".png", ".svg")
LONGEST_TITLE = 66  # characters that stand above a picture of spectrograms
COLOURS = 128  # of a PNG's palette: a third of the bytes of full colour


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches. Raises MissingPackageError where matplotlib is not installed."""
    require("matplotlib", "drawing")
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=100, layout="constrained")


def as_text(title: str, longest: int = LONGEST_TITLE) -> str:
    """A title for matplotlib, which takes $ for mathematics, hides what begins with _ and refuses what is no text.

    Line breaks and control characters become escapes. Of titles above `longest` characters the
    beginning and the end are kept.
    """
    shown = one_line(title.encode("utf-8", "backslashreplace").decode())
    if len(shown) > longest:
        shown = f"{shown[: longest // 2]} \u2026 {shown[-longest // 2 :]}"
    shown = shown.replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def require_picture_path(path: Path) -> None:
    """Raises SettingsError for a picture that is neither PNG nor SVG, and as `require_place`."""
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        raise SettingsError(f"{path}: pictures are {' or '.join(PICTURE_SUFFIXES)}. Choose a name that ends so.")
    require_place(path)


def save(figure: Figure, path: Path) -> None:
    """Writes a figure, a PNG with a palette or an SVG, the same bytes each time. Raises SettingsError and OSError."""
    require_picture_path(path)
    if path.suffix.lower() == ".svg":
        import matplotlib

        with complete_file(path) as part, matplotlib.rc_context({"svg.hashsalt": "dtln"}):
            figure.savefig(part, format="svg", metadata={"Date": None})
        return
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image  # matplotlib brings it

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.array(canvas.buffer_rgba())[..., :3]  # (height, width, RGB)
    with complete_file(path) as part:
        # Median cut, the usual method, gives rare colours no place: the loudest end of a scale would turn grey.
        picture = Image.fromarray(pixels).quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE)
        picture.save(part, format="PNG", optimize=True)
