"""dtln.live.devices: choosing devices, and devices that refuse or fall silent."""

from __future__ import annotations

import sys

import pytest
from fake_devices import FakeSoundDevice

from dtln.commands.live import main
from dtln.errors import AudioDeviceError
from dtln.live import session
from dtln.live.devices import choose_device


def test_choosing_a_device():
    fake = FakeSoundDevice()
    assert choose_device(fake, None, "input") == 0
    assert choose_device(fake, "1", "output") == 1
    assert choose_device(fake, "HEAD", "input") == 2
    assert choose_device(fake, "usb, wasapi", "input") == 1
    with pytest.raises(
        AudioDeviceError, match=r"2 input devices match 'usb': 0 \(USB, MME\); 1 \(USB, WASAPI\)\. Give"
    ):
        choose_device(fake, "usb", "input")  # the whole name of two goes before a part of the third
    fake.default = None
    with pytest.raises(AudioDeviceError, match=r"no default output device. Choose one with --output-device: 0 \(USB"):
        choose_device(fake, None, "output")
    with pytest.raises(AudioDeviceError, match="there is no input device"):
        choose_device(FakeSoundDevice((), ()), None, "input")


def test_microphone_that_refuses_16_khz(fake, capsys):
    fake.refused = True
    assert main([]) == 1
    assert "input device 0 (USB) refuses 16000 Hz mono: Invalid sample rate" in capsys.readouterr().err


def test_devices_that_do_not_go_together(fake, capsys):
    fake.unopenable = True
    assert main([]) == 1
    assert "cannot be used together: Illegal combination" in capsys.readouterr().err


@pytest.mark.parametrize("active", [True, False])
def test_devices_that_fall_silent(fake, monkeypatch, capsys, active):
    fake.feeding, fake.active = False, active
    monkeypatch.setattr(session, "STALL_SECONDS", 0.1 if active else 1000)
    assert main(["--latency", "0.01"]) == 1
    captured = capsys.readouterr()
    assert "stopped delivering sound" in captured.err
    assert "no blocks" in captured.out


def test_missing_sounddevice_and_portaudio(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert main(["--list-devices"]) == 1
    assert 'needs the package sounddevice: pip install "' in capsys.readouterr().err
    monkeypatch.delitem(sys.modules, "sounddevice")
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["--list-devices"]) == 1
    assert "apt install libportaudio2" in capsys.readouterr().err
