"""dtln.live.session: signals."""

from __future__ import annotations

import signal

import pytest

from dtln.live.session import noted_signals


def test_signal_is_noted_once_and_the_second_is_hard():
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits SIG_IGN
    try:
        with noted_signals() as noted:
            signal.raise_signal(signal.SIGINT)
            assert noted == [signal.SIGINT]
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, inherited)
