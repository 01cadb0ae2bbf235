"""Several processes of one training on this host."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence

__all__ = ["run_processes"]


def run_processes(command: Sequence[str], count: int, prog: str) -> int:
    """Runs a training command in `count` processes, which divide the cores among them; returns the exit status.

    Each is given --coordinator HOST:PORT and its own --process. The output of the first one is shown; that of another
    one only if it fails and the first one does not.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    environment = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count))} | os.environ
    command = [*command, "--coordinator", coordinator, "--process"]
    with contextlib.ExitStack() as stack:
        errors = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(1, count)]
        others = [
            subprocess.Popen([*command, str(i)], env=environment, stdout=subprocess.DEVNULL, stderr=written)
            for i, written in enumerate(errors, 1)
        ]
        first = subprocess.Popen([*command, "0"], env=environment)
        status = 1
        try:
            status = first.wait()
        except KeyboardInterrupt:  # the first process says what is kept
            for process in (first, *others):
                process.send_signal(signal.SIGINT)
            raise
        finally:
            for other, written in zip(others, errors, strict=True):
                if status:
                    other.terminate()
                if other.wait() and not status:
                    written.seek(0)
                    print(f"{prog}: a process beside the first failed:\n{written.read()}", file=sys.stderr)
    return status or int(any(other.returncode for other in others))
