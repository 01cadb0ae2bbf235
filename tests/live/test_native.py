"""dtln.live.native: what C libraries write does not reach the terminal, and what Python writes does."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading

import pytest
from live_audio import ROOT

from dtln.live.native import LINES_KEPT, quiet_native_lines

ALSA = "ALSA lib pulse.c:242:(pulse_connect) PulseAudio: Unable to connect: Connection refused\n"
PORTAUDIO = "Expression 'ret' failed in 'src/hostapi/alsa/pa_linux_alsa.c', line: 1736\n"

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the libraries of Windows are silent")


def run(code: str, *options: str, **settings) -> subprocess.CompletedProcess:
    """Runs Python code, before which `quiet_native_lines` and `native`, a writer past Python, are defined."""
    before = (
        "import os, sys, threading\nfrom dtln.live.native import quiet_native_lines\n"
        "native = lambda text: os.write(2, text.encode())\n"
    )
    return subprocess.run(
        [sys.executable, *options, "-c", before + code],
        cwd=ROOT, capture_output=True, text=True, timeout=60, **settings,
    )  # fmt: skip


def test_python_goes_on_writing():
    done = run(
        "native('before\\n')\n"
        "with quiet_native_lines() as lines:\n"
        f"    native({ALSA + PORTAUDIO!r})\n"
        "    print('Python ä', file=sys.stderr)\n"
        "    thread = threading.Thread(target=lambda: 1 / 0)\n"
        "    thread.start()\n"
        "    thread.join()\n"
        "    native('the rest')\n"
        "    print(lines.lines(), lines.most_telling(), sep='\\n')\n"
        "native('after\\n')\n"
        "print('Python again', file=sys.stderr)\n"
        "assert sys.stderr is sys.__stderr__ and threading.active_count() == 1\n",
        "-X", "utf8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("before\nPython ä\nException in thread")
    assert "ZeroDivisionError" in done.stderr and done.stderr.endswith("after\nPython again\n")
    assert "ALSA" not in done.stderr and "Expression" not in done.stderr and "the rest" not in done.stderr
    lines, telling = done.stdout.splitlines()
    assert lines == repr([ALSA.strip(), PORTAUDIO.strip(), "the rest"])
    assert telling == "PulseAudio: Unable to connect: Connection refused"


@pytest.mark.parametrize("options", [("-X", "faulthandler"), ()])
def test_exceptions_and_crashes_are_shown(options):
    crash = "__import__('ctypes').string_at(0)" if options else "1 / 0"
    done = run(f"with quiet_native_lines():\n    native('hidden')\n    {crash}\n", *options)
    assert done.returncode == (-11 if options else 1)
    assert ("Segmentation fault" if options else "ZeroDivisionError") in done.stderr
    assert "hidden" not in done.stderr


def test_library_that_goes_on_writing_is_kept_quiet_to_the_end():
    done = run(
        "with quiet_native_lines() as lines:\n    lines.stays = True\n"
        "print('Python', file=sys.stderr)\nnative('hidden')\n1 / 0\n"
    )  # fmt: skip
    assert done.stderr.startswith("Python\nTraceback") and "ZeroDivisionError" in done.stderr
    assert "hidden" not in done.stderr


def test_closed_descriptor_is_no_error():
    done = run("os.close(2)\nwith quiet_native_lines() as lines:\n    print('works', lines.lines())\n")
    assert done.stdout == "works []\n"


def test_lines_of_a_library_that_floods_are_bounded_and_do_not_wait(capfd):
    stderr = sys.stderr
    with quiet_native_lines() as native:
        assert sys.stderr is stderr  # captured, not descriptor 2
        flood = threading.Thread(target=lambda: [_write(f"line {i}\n") for i in range(20000)])
        with native._lock:  # nobody reads
            flood.start()
            flood.join(30)
            assert not flood.is_alive()
        assert 0 < len(native.lines()) <= LINES_KEPT + 1
        for _ in range(20):
            _write("x" * 100000)
        assert max(map(len, native.lines())) < 200000
        with quiet_native_lines() as inner:
            _write("\ninner\n")
            assert inner.lines() == ["inner"]
        _write("\nCannot connect to server socket err = No such file or directory\njack server is not running\n")
        assert native.most_telling() == "jack server is not running"
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def _write(text: str) -> None:
    with contextlib.suppress(BlockingIOError):  # a C library loses the line
        os.write(2, text.encode())
