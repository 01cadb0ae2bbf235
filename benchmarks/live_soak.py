"""Leave the live script running on sound servers of its own, in peace and in trouble, and print what became of it.

    python benchmarks/live_soak.py [--minutes 10] [--only NAME ...] [--json FILE]

Each experiment starts a PulseAudio or PipeWire with two virtual devices at 48 kHz and real_time_dtln_audio.py between
them, in real time. Every quarter of a minute it compares both devices, which gives the true delay from microphone to
loudspeaker. A row is right if the delay stays or comes back within bounds, the memory does not grow, sound was there
again after each trouble, and the session ended in the usual way. The exit status is 1 otherwise. Needs what the tests
of sound need.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import math
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from live_audio import Live, Server, audio_server, drifting_microphone, wait_for  # noqa: E402

AUDIBLE_DB = -50.0  # the microphone is given noise far above
BACK_SECONDS = 30.0  # within which there has to be sound again
LONGEST_DELAY = 0.7  # s
MOST_GROWTH = 15.0  # MB, of which 10 are the course for --json
PAUSE_SECONDS = 15.0
COLUMNS = (
    "session", "minutes", "true delay, median and most", "drift in ppm, as told", "xruns", "late blocks", "dropouts",
    "reconnections", "troubles, longest silence after", "memory", "load",
)  # fmt: skip


@dataclass
class Row:
    """What became of a session. delays: s, measured. back: s from the end of each trouble to sound."""

    what: str
    minutes: float = 0.0
    delays: list[float] = field(default_factory=list)
    back: list[float] = field(default_factory=list)
    report: dict = field(default_factory=dict)
    growth_mb: float = math.nan
    faults: list[str] = field(default_factory=list)


def restart(server: Server) -> None:
    """The server dies, and another takes its place."""
    server.kill()
    time.sleep(1)
    server.start()
    server.play_noise()


def stall(server: Server) -> None:
    """The server does nothing for two seconds."""
    server.send(signal.SIGSTOP)
    time.sleep(2)
    server.send(signal.SIGCONT)


def suspend(server: Server) -> None:
    """Each device sleeps for two seconds; on PipeWire the loudspeaker.

    Once the microphone of PipeWire 0.3 was suspended, all that listened to it hear silence.
    """
    for sink in ("speaker", "mic") if server.kind == "pulseaudio" else ("speaker",):
        server.pactl("suspend-sink", sink, "1")
        time.sleep(2)
        server.pactl("suspend-sink", sink, "0")


def hog(server: Server) -> None:
    """Twelve programs compute for ten seconds."""
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(12)]
    time.sleep(10)
    for process in hogs:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Experiment:
    """kind: of the server. ppm: by which the microphone's clock is fast; None for the same clock. arguments: flags."""

    kind: str
    ppm: float | None = None
    troubles: tuple[Callable[[Server], None], ...] = ()
    arguments: tuple[str, ...] = ()


EXPERIMENTS = {
    "PulseAudio": Experiment("pulseaudio"),
    "PipeWire": Experiment("pipewire"),
    "microphone 200 ppm fast": Experiment("pulseaudio", 200, arguments=("--rate", "48000")),
    "microphone 200 ppm slow": Experiment("pulseaudio", -200, arguments=("--rate", "48000")),
    "trouble on PulseAudio": Experiment("pulseaudio", None, (restart, stall, suspend, hog)),
    "trouble on PipeWire": Experiment("pipewire", None, (restart, stall, suspend, hog)),
}


def run(name: str, experiment: Experiment, minutes: float) -> Row:
    """One experiment."""
    row = Row(name)
    with contextlib.ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        server = opened.enter_context(audio_server(folder, experiment.kind, 48000, 2))
        source = "mic.monitor"
        if experiment.ppm is not None:
            opened.enter_context(drifting_microphone(server, experiment.ppm))
            source = server.environment["PULSE_SOURCE"] = "drifting"
        else:
            server.play_noise()
        report = folder / "report.json"
        live = opened.enter_context(
            Live(server, "--bypass", "--reconnect", *experiment.arguments, "--json", str(report))
        )
        _follow(row, server, live, source, experiment.troubles, 60 * minutes)
        try:
            status = live.end()
            if status:
                row.faults.append(f"ended with status {status}: {live.stderr[-300:]}")
            row.minutes = (time.monotonic() - live.started) / 60
            row.report = json.loads(report.read_text())
        except (AssertionError, OSError) as error:
            row.faults.append(f"no usual end: {error}")
    judge(row, experiment)
    return row


def _follow(
    row: Row, server: Server, live: Live, source: str, troubles: Sequence[Callable[[Server], None]], seconds: float
) -> None:
    """Makes trouble, and measures the delay between."""
    turn = 0
    while live.process.poll() is None and time.monotonic() - live.started < seconds:
        time.sleep(PAUSE_SECONDS)
        delay = server.delay(source=source)
        if math.isfinite(delay):
            row.delays.append(delay)
        else:
            row.faults.append(f"after {time.monotonic() - live.started:.0f} s another sound is played than is heard")
        if troubles:
            trouble = troubles[turn % len(troubles)]
            turn += 1
            trouble(server)
            begun = time.monotonic()
            try:
                wait_for(lambda: server.level_db() > AUDIBLE_DB, BACK_SECONDS)
            except AssertionError:
                row.faults.append(f"no sound {BACK_SECONDS:.0f} s after {trouble.__name__}")
            row.back.append(time.monotonic() - begun)


def judge(row: Row, experiment: Experiment) -> None:
    """Adds to the faults of a row what is out of bounds."""
    lasting = max(map(min, itertools.pairwise(row.delays)), default=0.0)  # a busy machine may stand still for a moment
    if lasting > LONGEST_DELAY:
        row.faults.append(f"a delay of {lasting:.2f} s that stayed")
    memory = [size for size in row.report.get("series", {}).get("memory_mb", []) if size]
    if len(memory) > 10:
        row.growth_mb = memory[-1] - memory[len(memory) // 10]
        if row.growth_mb > MOST_GROWTH:
            row.faults.append(f"{row.growth_mb:.1f} MB more memory than after a tenth of the time")
    if not experiment.troubles and row.report.get("dropouts"):
        row.faults.append(f"{row.report['dropouts']} dropouts in peace")


def line(row: Row) -> str:
    """A row of the table."""
    told = row.report

    def number(name: str, layout: str) -> str:
        return "-" if told.get(name) is None else format(told[name], layout)

    delays = "-"
    if row.delays:
        delays = f"{statistics.median(row.delays) * 1e3:.0f}, {max(row.delays) * 1e3:.0f} ms"
    cells = [
        row.what,
        f"{row.minutes:.0f}",
        delays,
        number("drift_ppm", "+.0f"),
        *(number(name, "d") for name in ("xruns", "late_blocks", "dropouts", "reconnections")),
        f"{len(row.back)}, {max(row.back):.1f} s" if row.back else "none",
        f"{row.growth_mb:+.1f} MB",
        number("load", ".1%"),
    ]
    return f"| {' | '.join(cells)} |"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the experiments; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="of each experiment (default: %(default)s)")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=EXPERIMENTS, help=f"of {', '.join(EXPERIMENTS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows")
    args = parser.parse_args(argv)
    print(f"| {' | '.join(COLUMNS)} |\n|{len(COLUMNS) * '---|'}")
    rows = []
    for name in args.only or EXPERIMENTS:
        rows.append(run(name, EXPERIMENTS[name], args.minutes))
        print(line(rows[-1]), flush=True)
        for fault in rows[-1].faults:
            print(f"    FAULT: {fault}", file=sys.stderr)
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return int(any(row.faults for row in rows))


if __name__ == "__main__":
    sys.exit(main())
