"""Turns of tests/turns.py: who wants to be alone waits for the others, and those that come later for him."""

from __future__ import annotations

import contextlib
import threading

from turns import Turns


def test_turns(tmp_path):
    order: list[str] = []
    ended = {name: threading.Event() for name in ("first", "alone", "later")}
    begun = {name: threading.Event() for name in ended}

    def worker(name: str) -> None:
        with Turns(tmp_path).take(alone=name == "alone"):
            order.append(name)
            begun[name].set()
            ended[name].wait(20)
            order.append(f"end of {name}")

    threads = {name: threading.Thread(target=worker, args=(name,)) for name in ended}
    with Turns(tmp_path).take(alone=False):  # beside the first
        threads["first"].start()
        assert begun["first"].wait(20)
    for name in ("alone", "later"):
        threads[name].start()
        assert not begun[name].wait(0.3)
    for name in ("first", "alone", "later"):
        assert begun[name].wait(20)
        ended[name].set()
        threads[name].join(20)
    assert order == [part for name in ended for part in (name, f"end of {name}")]


def test_a_turn_that_is_kept(tmp_path):
    first, second = Turns(tmp_path), Turns(tmp_path)
    begun = threading.Event()

    def other() -> None:
        with second.take(alone=False):
            begun.set()

    with first.take(alone=True, keep=True):
        thread = threading.Thread(target=other)
        thread.start()
    with first.take(alone=True):
        assert not begun.wait(0.3)
    thread.join(20)
    assert begun.is_set()


def test_an_error_ends_the_turn(tmp_path):
    with contextlib.suppress(ZeroDivisionError), Turns(tmp_path).take(alone=True):
        raise ZeroDivisionError
    with Turns(tmp_path).take(alone=True):
        pass
