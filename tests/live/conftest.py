"""Fixtures of the live tests."""

from __future__ import annotations

import sys

import pytest
from fake_devices import FakeSoundDevice, pass_through

from dtln.streaming import backends


@pytest.fixture
def fake(monkeypatch) -> FakeSoundDevice:
    """Takes the place of sounddevice; the model is a PassThrough."""
    fake = FakeSoundDevice()
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    monkeypatch.setattr(backends, "open_backend", lambda *_: pass_through())
    return fake
