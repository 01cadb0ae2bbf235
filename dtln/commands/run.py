"""How scripts and `dtln` start a command: in one place, so that a missing package is always told in the same way."""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import ModuleType
from typing import Any

from dtln.errors import KNOWN_PACKAGES, MissingPackageError, in_words, install_line, one_line
from dtln.interrupts import ending_at_signals, say_last_words

__all__ = ["failed", "run"]


def run(module: str, argv: Sequence[str] | None, prog: str, **options: Any) -> int:
    """Calls `main(argv, prog=prog, **options)` of a command's module; returns the exit status.

    A package of ours that is not installed, wherever it is imported, becomes one line with the pip command that
    installs it, and exit status 1. A module that is not known keeps its traceback, because that is a bug. EXTRA of the
    module names the extra that brings all that the command needs. Ctrl+C and SIGTERM end the program within a second,
    with a line and status 130 or 143; a module with ENDS_ITSELF sees to that on its own.
    """
    if sys.stderr is None:  # it is closed: messages would come among the output, or into the file that is opened next
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that a terminal or pipe cannot show must not end the work
            stream.reconfigure(errors="backslashreplace")
    given = list(sys.argv[1:] if argv is None else argv)
    for before, argument in zip(["", *given], given, strict=False):
        flag, equals, value = argument.partition("=") if argument.startswith("--") else (before, "=", argument)
        if equals and not value:  # as a path it would be the folder that one is in
            place = f"argument {flag}" if flag.startswith("-") else "an argument"
            print(f"{prog}: error: {place}: is empty. Is a variable of the shell not set?", file=sys.stderr)
            return 2
    try:
        with ending_at_signals(prog):
            command = importlib.import_module(module)
            if not getattr(command, "ENDS_ITSELF", False):
                return _run(command, argv, prog, options)
        return _run(command, argv, prog, options)
    except KeyboardInterrupt:
        say_last_words(prog)
        return 130
    finally:
        _give_up_full_stdout()


def failed(prog: str, error: Exception) -> int:
    """Prints an error that the user can mend as one line; returns the exit status."""
    if isinstance(error, BrokenPipeError):
        raise error  # nobody reads on; see `_run`
    print(f"{prog}: {one_line(in_words(error))}", file=sys.stderr)
    return 1


def _flush_stdout() -> None:
    if sys.stdout is not None:  # it is where stdout is closed
        sys.stdout.flush()


def _give_up_full_stdout() -> None:
    """Leaves nothing in the buffer of stdout that Python could not write at its end, which would say so at length."""
    try:
        _flush_stdout()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):  # a stdout that is no file
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(command: ModuleType, argv: Sequence[str] | None, prog: str, options: dict[str, Any]) -> int:
    extra = getattr(command, "EXTRA", None)
    try:
        status = command.main(argv, prog=prog, **options)
        _flush_stdout()  # here, where it can be told that this fails
        return status
    except MissingPackageError as error:
        package = error.name or ""
        message = str(error).replace(install_line(package), install_line(package, extra))
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in KNOWN_PACKAGES:
            raise
        message = f"needs the package {package}, which is not installed: {install_line(package, extra)}"
    except BrokenPipeError:  # the reader of our output, `head` perhaps, has seen enough
        return 1
    except OSError as error:
        if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EIO):
            raise
        message = f"the output could not be written: {in_words(error)}"
    print(f"{prog}: {message}", file=sys.stderr)
    return 1
