"""Ctrl+C and SIGTERM: a program ends within a second and says what it has done."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from dtln.files import abandon_files

__all__ = ["Interrupted", "end_now", "ending_at_signals", "held_interrupts", "last_words", "say_last_words"]

GRACE_SECONDS = 0.6  # for the main thread, which may be inside a library that knows of no interrupts

_last_words: list[Callable[[], str]] = []
_held: list[list[int]] = []  # for each block that holds interrupts: those that are due at its end
_ending = threading.Lock()


class Interrupted(KeyboardInterrupt):
    """Ctrl+C or SIGTERM; `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def last_words(words: Callable[[], str]) -> Iterator[None]:
    """What a program says that is stopped within the block; inner blocks win over outer ones."""
    _last_words.append(words)
    try:
        yield
    except KeyboardInterrupt:
        raise  # the words are still to be said
    except BaseException:
        _last_words.remove(words)
        raise
    else:
        _last_words.remove(words)


@contextmanager
def held_interrupts() -> Iterator[None]:
    """Work that Interrupted must not tear: it is raised at the end of the block, or the program ends within a second.

    Blocks do not stand within one another.
    """
    due: list[int] = []
    _held.append(due)
    try:
        yield
    finally:
        _held.pop()
    if due:
        raise Interrupted(due[0])


@contextmanager
def ending_at_signals(prog: str) -> Iterator[None]:
    """Ctrl+C and SIGTERM raise Interrupted in the block and end the program after it, with `end_now`.

    Where the block does not end in time, because a library knows of no interrupts, another thread ends the program.
    Later signals change nothing: wrappers of programs pass on what the terminal has sent already. Signals that the
    caller ignores or handles itself stay as they are. Does nothing outside the main thread.
    """
    usual: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    numbers = [number for number, handler in usual.items() if signal.getsignal(number) is handler]
    if threading.current_thread() is not threading.main_thread() or not numbers:
        yield
        return
    noted: list[int] = []

    def interrupt(number: int, frame: Any) -> None:
        if not noted:
            noted.append(number)
            if not _held:
                raise Interrupted(number)
            _held[-1].append(number)

    ended = threading.Event()
    reader, writer = os.pipe()  # a signal is written to it at once, even where the main thread is inside a library

    def watch() -> None:
        while number := os.read(reader, 1):
            if number[0] in numbers and not ended.wait(GRACE_SECONDS):
                end_now(prog, number[0])
        os.close(reader)

    if hasattr(os, "set_blocking"):
        os.set_blocking(writer, False)
    threading.Thread(target=watch, name="dtln-signals", daemon=True).start()
    previous = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in numbers:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        if noted:  # whatever a library made of Interrupted
            end_now(prog, noted[0])
        ended.set()
        for number in numbers:
            signal.signal(number, usual[number])
        signal.set_wakeup_fd(previous)
        os.close(writer)


def end_now(prog: str, number: int) -> NoReturn:
    """Ends the program, its processes and threads, with nothing half-written left, and says so; the status is 128 + N.

    It does not wait for threads: libraries would crash, or complain, where they are cleared away under them.
    """
    with _ending:
        try:
            if "multiprocessing" in sys.modules:
                import multiprocessing

                for process in (children := multiprocessing.active_children()):
                    process.kill()
                for process in children:
                    process.join(0.1)
            abandon_files()
            say_last_words(prog)
            sys.stdout.flush()
        except Exception:  # a stream that is closed or full
            pass
        os._exit(128 + number)


def say_last_words(prog: str) -> None:
    """Prints that the program was stopped, and what the innermost `last_words` say."""
    words = f": {_last_words[-1]()}" if _last_words else ""
    _last_words.clear()
    print(f"{prog}: stopped{words}", file=sys.stderr, flush=True)
