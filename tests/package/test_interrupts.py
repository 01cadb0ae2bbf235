"""dtln.interrupts: Ctrl+C and SIGTERM end programs at once, with one true line and nothing half-written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BEGIN = """
import os, sys, time
from pathlib import Path
from dtln.commands.run import run
from dtln.files import complete_file
from dtln.interrupts import last_words
from dtln.pool import advance, run_all

FOLDER = Path(sys.argv[1])

class Done:
    seconds = 1.0

def work(job):
    with complete_file(FOLDER / f"{job}.txt") as partial:
        partial.write_text("text")
        if job >= 2:
            (FOLDER / "ready").touch()
            time.sleep(60)  # as a library that hears nothing
    return Done()

"""
END = """
if __name__ == "__main__":
    sys.modules["command"] = sys.modules["__main__"]
    sys.exit(run("command", [], "prog"))
"""
COMMANDS = {  # name: (main of a command, what it says)
    "threads": (
        "def main(argv, prog):\n"
        "    with last_words(lambda: f'{len(list(FOLDER.glob(\"*.txt\")))} files written'):\n"
        "        run_all(work, range(5), 2, 'working', None)\n",
        "prog: stopped: 2 files written",
    ),
    "processes": (
        "def main(argv, prog):\n    run_all(work, range(5), 2, 'working', None, processes=True)\n",
        "prog: stopped",
    ),
    "swallowed": (
        "def main(argv, prog):\n"
        "    (FOLDER / 'ready').touch()\n"
        "    while True:\n"
        "        try: time.sleep(60)\n"
        "        except KeyboardInterrupt: pass\n",
        "prog: stopped",
    ),
    "changed": (
        "def main(argv, prog):\n"
        "    (FOLDER / 'ready').touch()\n"
        "    try: time.sleep(60)\n"
        "    except KeyboardInterrupt: raise SystemError('error return without exception set')\n",
        "prog: stopped",
    ),
    "held": (
        "def main(argv, prog):\n"
        "    from dtln.interrupts import held_interrupts\n"
        "    (FOLDER / 'ready').touch()\n"
        "    with last_words((words := []).pop), held_interrupts():\n"
        "        time.sleep(0.4)\n"
        "        words.append('whole')\n",
        "prog: stopped: whole",
    ),
    "held too long": (
        "def main(argv, prog):\n"
        "    from dtln.interrupts import held_interrupts\n"
        "    (FOLDER / 'ready').touch()\n"
        "    with held_interrupts():\n"
        "        time.sleep(60)\n",
        "prog: stopped",
    ),
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", COMMANDS)
def test_program_ends_at_once(tmp_path, name, number):
    main, said = COMMANDS[name]
    (tmp_path / "program.py").write_text(BEGIN + main + END)
    folder = tmp_path / "out"
    folder.mkdir()
    program = subprocess.Popen(
        [sys.executable, tmp_path / "program.py", folder], env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not (folder / "ready").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    started = time.monotonic()
    for _ in range(2):  # wrappers pass on what the terminal has sent already
        os.killpg(program.pid, number)
    output, _ = program.communicate(timeout=30)
    assert time.monotonic() - started < 10  # 1 s where nothing else runs, 60 s if it waited
    assert program.returncode == 128 + number
    assert [line for line in output.splitlines() if not line.startswith("working: ")] == [said]
    assert name == "processes" or not list(folder.glob(".*"))


def test_only_the_innermost_words_are_said(capsys):
    from dtln.interrupts import last_words, say_last_words

    with pytest.raises(KeyboardInterrupt), last_words("outer".format), last_words("inner".format):
        with last_words("over".format):
            pass
        raise KeyboardInterrupt
    say_last_words("prog")
    say_last_words("prog")
    assert capsys.readouterr().err == "prog: stopped: inner\nprog: stopped\n"
