"""Draw the pictures of docs/live.md from a session of `dtln live` on a PulseAudio of its own, without a sound card.

    python docs/make_live_pictures.py [-o docs/images]

The session hears the samples of audio_samples/noisy, each followed by its noise alone; somebody presses b twice.
live_status.gif shows the terminal meanwhile, live_session.png the session's course as --json gives it. Run it in an
environment with `pip install ".[bench]"` and the Debian packages that CONTRIBUTING.md names.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import numpy as np
from live_audio import RAW, Server, audio_server, favour
from terminals import Terminal, screen

from dtln.facts import BLOCK_SHIFT, SAMPLE_RATE
from dtln.plotting import save

ROOT = Path(__file__).resolve().parents[1]
LIVE = "import sys; from dtln.commands.live import main; sys.exit(main(sys.argv[1:], 'dtln live'))"
SECONDS = 75  # of the session
NOISE_SECONDS = 3.0  # after each sample
BYPASS_SECONDS = (52.0, 58.0)  # after the session's start, when b is pressed
FILM_SECONDS = (44.0, 64.0)  # of the session: what the GIF shows
COLUMNS = 132
FONT_SIZE = 12
BACKGROUND, TEXT = (24, 26, 31), (214, 218, 224)


def noisy_samples() -> np.ndarray:
    """Float32 (L,): the samples, each followed by its noise alone, as long as the session."""
    import soundfile

    parts = []
    for path in sorted((ROOT / "audio_samples" / "noisy").glob("*.wav")):
        noisy, clean = (
            soundfile.read(path.parents[1] / kind / path.name, dtype="float32")[0] for kind in ("noisy", "clean")
        )
        parts += [noisy, (noisy - clean)[-round(NOISE_SECONDS * SAMPLE_RATE) :]]
    return np.resize(np.concatenate(parts), SECONDS * SAMPLE_RATE)


def run_session(server: Server, report: Path) -> list[tuple[float, str]]:
    """Runs `dtln live`, which writes its report; returns what it had written by when (s after its start)."""
    noisy_samples().tofile(server.folder / "noisy.raw")
    arguments = ("--duration", str(SECONDS), "--latency", "0.1", "--json", str(report))
    course: list[tuple[float, str]] = []
    with contextlib.ExitStack() as opened:
        terminal = opened.enter_context(Terminal(LIVE, *arguments, columns=COLUMNS, environment=server.environment))
        favour(terminal)
        terminal.wait_for("running: ", 120)
        command = ["paplay", "-d", "mic", *RAW, str(server.folder / "noisy.raw")]
        player = opened.enter_context(subprocess.Popen(command, env=server.environment))
        start, presses = time.monotonic(), [*BYPASS_SECONDS]

        def watch() -> bool:
            elapsed = time.monotonic() - start
            course.append((elapsed, terminal.output))
            if presses and elapsed > presses[0]:
                presses.pop(0)
                terminal.type("b")
            return elapsed > SECONDS - 2

        terminal.wait_for(watch, 2 * SECONDS)
        status = terminal.end(60)
        player.terminate()
    if status:
        raise RuntimeError(f"dtln live ended with {status}: {terminal.output}")
    print("\n".join(terminal.screen()))
    return course


def film(course: Sequence[tuple[float, str]], path: Path) -> None:
    """Draws the terminal, second by second, as a GIF."""
    from matplotlib.font_manager import findfont
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.truetype(findfont("DejaVu Sans Mono"), FONT_SIZE)
    begin, end = FILM_SECONDS
    moments = np.arange(begin, end)
    texts = [[output for elapsed, output in course if elapsed <= moment][-1] for moment in moments]
    screens = [["$ dtln live --latency 0.1", *screen(text)] for text in texts]
    rows, height = max(map(len, screens)), FONT_SIZE + 5
    size = (round(COLUMNS * font.getlength(" ")) + 20, rows * height + 16)
    frames = []
    for lines in screens:
        frame = Image.new("RGB", size, BACKGROUND)
        draw = ImageDraw.Draw(frame)
        for row, line in enumerate(lines):
            draw.text((10, 8 + row * height), line, TEXT, font)
        frames.append(frame.quantize(6))
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=1000, loop=0, optimize=True)


def plot(report: Path, path: Path) -> None:
    """Draws levels, reduction and times per block over the session."""
    from matplotlib.figure import Figure

    course = {name: np.array(values, float) for name, values in json.loads(report.read_text())["series"].items()}
    figure = Figure(figsize=(9, 5.2), dpi=100, layout="constrained")
    levels, reduction, times = figure.subplots(3, 1, sharex=True)
    seconds = course["seconds"]
    levels.plot(seconds, course["input_db"], label="input", color="tab:gray")
    levels.plot(seconds, course["output_db"], label="output", color="tab:blue")
    levels.set(ylabel="level, dBFS", ylim=(-85, 0))
    reduction.plot(seconds, course["reduction_db"], color="tab:green")
    reduction.set(ylabel="reduction, dB")
    for axis in (levels, reduction):
        axis.axvspan(*(seconds[0] + moment for moment in BYPASS_SECONDS), color="tab:orange", alpha=0.2, lw=0)
    reduction.text(seconds[0] + BYPASS_SECONDS[0] + 0.3, reduction.get_ylim()[1] * 0.8, "bypass", fontsize=9)
    for name, colour in (("p50", "tab:blue"), ("p99", "tab:orange"), ("max", "tab:red")):
        times.semilogy(seconds, course[f"{name}_ms"], label=name, color=colour)
    times.axhline(1e3 * BLOCK_SHIFT / SAMPLE_RATE, color="black", lw=1, ls="--", label="8 ms of sound")
    times.set(ylabel="ms per block", xlabel="seconds", xlim=(seconds[0], seconds[-1]))
    for axis in (levels, times):
        axis.legend(loc="upper right", ncols=4, fontsize=8)
    for axis in (levels, reduction, times):
        axis.grid(alpha=0.3)
    save(figure, path)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "docs" / "images", help="folder of the pictures")
    args = parser.parse_args(argv)
    args.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="dtln-") as name:
        report = Path(name) / "live.json"
        with audio_server(Path(name)) as server:
            course = run_session(server, report)
        film(course, args.output / "live_status.gif")
        plot(report, args.output / "live_session.png")
    for picture in ("live_status.gif", "live_session.png"):
        print(f"wrote {args.output / picture}: {(args.output / picture).stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
