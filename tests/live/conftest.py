"""Fixtures of the live tests."""

from __future__ import annotations

import sys

import pytest
from fake_devices import FakeSoundDevice
from simulated_devices import PassingNetwork

from dtln.live import devices
from dtln.streaming import backends


@pytest.fixture
def fake(monkeypatch) -> FakeSoundDevice:
    """Takes the place of sounddevice; the model passes signals through."""
    fake = FakeSoundDevice()
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    monkeypatch.setattr(devices, "_hanging", {})
    monkeypatch.setattr(backends, "open_backend", lambda *_: PassingNetwork())
    return fake
