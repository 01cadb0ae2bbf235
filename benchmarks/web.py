"""Time the package for browsers in headless Chromium beside the engine in Python, both in the same run, in turns.

    python benchmarks/web.py [--turns 20] [--blocks 200] [--json FILE]

Builds `web` in a temporary folder and opens a page of a server of its own. The page times blocks of the float and of
the 8-bit graph on onnxruntime-web, with one thread, and 40 ms at 48 kHz through the whole stream. Between two turns of
it the server times the same in Python on ONNX Runtime, while the page waits. Medians are over all calls. The exit
status is 1 where a block takes longer than it lasts. Needs node, npm and Chromium.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from environments import build_web  # noqa: E402

from dtln.formats import EXPORT_KINDS  # noqa: E402
from dtln.streaming import StreamingDenoiser, open_backend  # noqa: E402

KINDS = ("onnx-stream", "onnx-stream-quant")
RATE, CHUNK_BLOCKS = 48000, 5
SETTLE = 20  # calls of a turn that are not counted
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
TITLE = f"{'row':<28}{'browser, ms':>12}{'Python, ms':>12}{'ratio':>8}{'of real time':>14}"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=20, help="of each contender (default: %(default)s)")
    parser.add_argument("--blocks", type=int, default=200, help="of a turn (default: %(default)s)")
    parser.add_argument("--settle", type=int, default=10, help="turns before the first, not counted: browsers compile "
                        "better what runs often (default: %(default)s)")  # fmt: skip
    parser.add_argument("--built", type=Path, metavar="DIR", help="a copy of the repository with web/ built in it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all times there")
    args = parser.parse_args(argv)
    if min(args.turns, args.blocks) < 1 or args.settle < 0:
        parser.error("expected at least one turn and one block")
    return args


def python_turns(blocks: int) -> Callable[[], dict[str, list[float]]]:
    """Function: runs a turn of each kind of export, and of the whole stream -> ms of each call, by contender."""
    noise = (0.1 * np.random.default_rng(0).standard_normal(1920)).astype(np.float32)
    works: dict[str, tuple[int, Callable[[], object]]] = {}
    for kind in KINDS:
        backend, block = open_backend(kind), noise[:512]
        states = [backend.initial_states()]

        def run(backend=backend, block=block, states=states) -> None:
            states[0] = backend.run(block, states[0])[1]

        works[f"python {kind}"] = blocks, run
    stream = StreamingDenoiser(open_backend(KINDS[0]), sample_rate=RATE)
    works["python 48 kHz"] = -(-blocks // CHUNK_BLOCKS), lambda: stream.process(noise)

    def turn() -> dict[str, list[float]]:
        times: dict[str, list[float]] = {}
        for name, (count, work) in works.items():
            times[name] = []
            for call in range(-SETTLE, count):
                begun = time.perf_counter()
                work()
                if call >= 0:
                    times[name].append((time.perf_counter() - begun) * 1e3)
        return times

    return turn


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, and Python's turn under the name `turn`."""

    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".js": "text/javascript"}
    turn: Callable[[], dict[str, list[float]]]

    def do_GET(self) -> None:
        if not self.path.endswith("/turn"):
            return super().do_GET()
        answer = json.dumps(self.turn()).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")  # both: clocks that tell 5 us apart
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *args: object) -> None:
        pass


def measure(built: Path, browser: str, args: argparse.Namespace, folder: Path) -> dict[str, list[float]]:
    """ms of every call, by contender. folder: an empty one, from which pages are served."""
    names = [EXPORT_KINDS[kind].files[0] for kind in KINDS]
    for name in names:
        shutil.copy(ROOT / "pretrained_model" / name, folder)
    shutil.copy(built / "web" / "dist" / "ort-wasm-simd-threaded.wasm", folder)
    command = [built / "web" / "node_modules" / ".bin" / "esbuild", ROOT / "benchmarks" / "web.mjs", "--bundle"]
    command += ["--format=esm", "--log-level=error", "--alias:dtln-web=./dist/index.js", "--external:module"]
    subprocess.run([*map(str, command), f"--outfile={folder / 'web.js'}"], cwd=built / "web", check=True)
    page = '<!doctype html><link rel="icon" href="data:,"><script type="module" src="web.js"></script>'
    (folder / "index.html").write_text(page)
    handler = type("TurnHandler", (Handler,), {"turn": staticmethod(python_turns(args.blocks))})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        options = {"browser": browser, "build": "./", "models": names, "turns": args.turns}
        options |= {"blocks": args.blocks, "settle": args.settle}
        driver = ["node", ROOT / "tests" / "web" / "browser.mjs", "page", address, folder, json.dumps(options)]
        run = subprocess.run([str(word) for word in driver], cwd=built / "web", capture_output=True, text=True)
        server.shutdown()
    said: dict[str, Any] = json.loads(run.stdout) if run.returncode == 0 else {"error": run.stderr}
    if "error" in said or said["faults"]:
        raise RuntimeError(said.get("error") or said["faults"])
    return {name: times for name, times in said.items() if name not in ("requests", "faults")}


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print(f"web.py: no browser found. Install one of {', '.join(BROWSERS)}.", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        built = args.built or build_web(Path(folder) / "built")
        pages = Path(folder) / "pages"
        pages.mkdir()
        times = measure(built.absolute(), browser, args, pages)
    rows = [(f"block, {kind}", EXPORT_KINDS[kind].files[0], f"python {kind}", 8.0) for kind in KINDS]
    rows.append(("40 ms at 48 kHz", "48 kHz", "python 48 kHz", 40.0))
    print(TITLE)
    slow = False
    for title, ours, python, lasts in rows:
        mine, other = float(np.median(times[ours])), float(np.median(times[python]))
        slow |= mine > lasts
        print(f"{title:<28}{mine:>12.3f}{other:>12.3f}{mine / other:>8.2f}{mine / lasts:>14.3f}")
    print(f"start of the runtime with the first model: {times['start'][0]:.0f} ms")
    if args.json:
        args.json.write_text(json.dumps(times))
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
