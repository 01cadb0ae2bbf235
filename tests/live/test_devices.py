"""dtln.live.devices: choosing devices and their settings, and devices that refuse, hang or fall silent."""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from cards import NO_SERVER, sound_card
from fake_devices import FakeSoundDevice
from live_audio import ROOT, audio_server

from dtln.commands.live import main
from dtln.errors import AudioDeviceError
from dtln.live import devices
from dtln.live.devices import (
    Device,
    choose_device,
    find_device,
    import_sounddevice,
    latency_of,
    list_devices,
    parse_latency,
    rescan,
)


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


def test_usb_card_of_the_readme():
    """A card that plays in stereo at 48 kHz and hears mono at 44.1 and 48 kHz, beside one without a microphone."""
    fake = FakeSoundDevice(("HDMI: 0 (hw:0,3)", "USB Audio: - (hw:1,0)"), (0, 0))
    fake.devices[0]["max_input_channels"] = 0
    accepted = {("output", 48000, 2), ("input", 44100, 1), ("input", 48000, 1)}
    fake.takes = lambda index, kind, rate, channels: index == 1 and (kind, rate, channels) in accepted
    microphone, loudspeaker = (find_device(fake, "USB", kind) for kind in ("input", "output"))
    assert microphone == Device(1, "USB Audio: - (hw:1,0)", "MME", "input", 44100, 1, 0.01, 0.1)
    assert (loudspeaker.rate, loudspeaker.channels, loudspeaker.latency_low) == (48000, 2, 0.02)
    assert str(microphone) == "1 USB Audio: - (hw:1,0), MME"
    assert find_device(fake, "USB", "input", rate=48000).rate == 48000
    fake.devices[1]["name"] = "USB Audio: - (hw:2,0)"  # unplugged, and in again
    assert find_device(fake, microphone.lasting_name, "input").index == 1
    with pytest.raises(
        AudioDeviceError,
        match=r"^output device 0 \(HDMI: 0 \(hw:0,3\), MME\) takes none of 16000, 44100, 48000, .* Hz with 1 or 2 "
        r"channels: Invalid sample rate \[PaErrorCode -9997\]\. Choose a device that resamples.*--list-devices",
    ):
        find_device(fake, "HDMI", "output")
    with pytest.raises(AudioDeviceError, match=r"takes none of 16000 Hz with 1 channel: .*Leave out --rate, or choose"):
        find_device(fake, "USB", "input", rate=16000)


BARE_CARD = """
import time
from pathlib import Path
import numpy as np
from dtln.live import devices

microphone, loudspeaker = Path("microphone"), Path("loudspeaker")
sounddevice = devices.import_sounddevice()
print(devices.list_devices(sounddevice))
found = [devices.find_device(sounddevice, "usb", kind) for kind in ("input", "output")]
print(*((device.name, device.rate, device.channels) for device in found))
frames = [0, 0]

def hear(samples, count, time, status):
    frames[0] += count

def play(samples, count, time, status):
    frames[1] += count
    samples[:] = 0.25

streams = [
    stream(
        device=device.index, samplerate=device.rate, channels=device.channels, dtype="float32", latency=0.05,
        callback=callback,
    )
    for stream, device, callback in zip(
        (sounddevice.InputStream, sounddevice.OutputStream), found, (hear, play), strict=True
    )
]
for stream in streams:
    stream.start()
while min(frames) < 4800:
    time.sleep(0.01)

def refusal():
    try:
        devices.find_device(sounddevice, "usb", "input")
    except devices.AudioDeviceError as error:
        print(error)

refusal()
print(devices.list_devices(sounddevice))
for folder in (microphone, loudspeaker):
    (folder / "unplugged").touch()
while any(stream.active for stream in streams):
    time.sleep(0.01)
for stream in streams:
    stream.abort()
    stream.close()
refusal()
devices.rescan(sounddevice)
print(len(sounddevice.query_devices()))
for folder in (microphone, loudspeaker):
    (folder / "unplugged").unlink()
devices.rescan(sounddevice)
found = devices.find_device(sounddevice, "usb", "input")
stream = sounddevice.InputStream(device=found.index, samplerate=found.rate, channels=1, callback=hear)
(microphone / "unplugged").touch()
try:
    devices.answered(stream.start, 0.5)  # PortAudio waits without end, and aborts if it is ended all the same
except devices.AudioDeviceError as error:
    print(error)
print(found)
"""


def test_bare_card(tmp_path):
    """A card without a server: other rates, one program at a time, and gone when it is pulled out."""
    cards = [
        sound_card(tmp_path / "microphone", "microphone", (44100, 48000), 1),
        sound_card(tmp_path / "loudspeaker", "loudspeaker", (48000,), 2),
    ]
    usb = 'pcm.USB { type asym capture.pcm "microphone" playback.pcm "loudspeaker" }\n'
    (tmp_path / "asound.conf").write_text("".join([NO_SERVER, usb, *(card.configuration for card in cards)]))
    done = subprocess.run(
        [sys.executable, "-c", BARE_CARD], cwd=tmp_path, capture_output=True, text=True, timeout=60,
        env=os.environ | {"ALSA_CONFIG_PATH": str(tmp_path / "asound.conf"), "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    number = lines[-1].split()[0]
    assert lines[-1] == f"{number} USB, ALSA"
    assert f"{number} input USB, ALSA 1 48000 44.1 48 works" in lines
    assert f"{number} output USB, ALSA 2 48000 48 works" in lines
    assert "('USB', 48000, 1) ('USB', 48000, 1)" in lines
    assert f"{number} input USB, ALSA 1 48000 busy, another program holds it" in lines
    assert re.search(r"input device \d+ \(USB, ALSA\) is busy: Device unavailable .*End the program", done.stdout)
    assert re.search(r"input device \d+ \(USB, ALSA\) cannot be opened: .* Check that it is connected", done.stdout)
    assert lines[-2].startswith("the sound system has not answered")
    assert lines[-3] == "1"  # the default one alone is left
    played = np.fromfile(cards[1].played, np.int16).reshape(-1, 2)  # (L, 2)
    assert len(played) >= 4800 and np.abs(played[-4800:] - 0.25 * 2**15).max() < 4  # mono, on both; dithered


def test_order_of_settings():
    fake = FakeSoundDevice(("array",), (0,))
    fake.devices[0]["max_input_channels"] = 6
    fake.takes = lambda *_: False
    with pytest.raises(AudioDeviceError):
        find_device(fake, None, "input")
    tried = [settings[2:] for settings in fake.tried]
    assert tried[:7] == [(16000, 1), (16000, 2), (16000, 6), (44100, 1), (44100, 2), (44100, 6), (48000, 1)]
    assert len(tried) == len(set(tried)) == 3 * 11
    fake.takes = lambda *_: True
    for channel, opened in ((None, 1), (1, 1), (2, 2), (3, 3), (6, 6), ("mix", 2)):
        assert find_device(fake, None, "input", channel=channel).channels == opened
    fake.takes = lambda index, kind, rate, channels: channels == 6
    assert find_device(fake, None, "input", channel=3).channels == 6
    with pytest.raises(AudioDeviceError, match="input device 0 .array, MME. has 6 channels, not 7"):
        find_device(fake, None, "input", channel=7)


def test_several_devices_that_match():
    fake = FakeSoundDevice(
        ("USB mic", "USB mic", "USB cam", "Monitor of USB", "alsa (hw:2,0)", "alsa (hw:2,1)"), [0] * 6
    )
    with pytest.raises(
        AudioDeviceError, match="3 input devices match 'usb': 0 .USB mic, MME.; 1 .*; 2 .USB cam, MME. *"
    ):
        find_device(fake, "usb", "input")
    assert find_device(fake, "monitor of", "input").index == 3
    assert find_device(fake, "alsa", "input").index == 4  # one card
    fake.takes = lambda index, kind, rate, channels: index in (2, 5)
    assert find_device(fake, "usb", "input").index == 2  # the only one that works
    assert find_device(fake, "alsa", "input").index == 5
    fake.takes = lambda *_: False
    with pytest.raises(
        AudioDeviceError, match=r"(?s)device 0 .*takes none.*device 1 .*takes none.*device 2 .*takes none"
    ):
        find_device(fake, "usb", "input")
    through_both = FakeSoundDevice(("USB mic", "USB mic (2nd)"), (0, 1))
    assert find_device(through_both, "usb", "input").index == 0
    through_both.default = 1  # the system prefers the other host API
    assert find_device(through_both, "usb", "input").index == 1


def test_busy_device_is_named_and_not_tried_on():
    fake = FakeSoundDevice()
    fake.busy = {0}
    with pytest.raises(AudioDeviceError, match=r"device 0 \(USB, MME\) is busy: Device unavailable .*-9985.*'pulse'"):
        find_device(fake, "0", "input")
    assert len(fake.tried) == 1


def test_list_of_devices():
    fake = FakeSoundDevice(("USB: - (hw:1,0)", "held", "odd", "dead"), (0, 1, 0, 0))
    fake.busy = {1}
    rates = {0: (44100, 48000), 2: (32000,), 3: ()}
    fake.takes = lambda index, kind, rate, channels: rate in rates[index] and (kind == "input" or channels == 2)
    fake.devices[2]["max_output_channels"] = 0
    rows = [" ".join(row.split()) for row in list_devices(fake).splitlines()]
    assert rows == [
        "index kind name, host API channels rate takes (kHz) dtln live",
        "* 0 input USB: - (hw:1,0), MME 1 44100 44.1 48 works",
        "* 0 output USB: - (hw:1,0), MME 2 44100 44.1 48 works",
        "1 input held, WASAPI 1 44100 busy, another program holds it",
        "1 output held, WASAPI 2 44100 busy, another program holds it",
        "2 input odd, MME 1 44100 32 works",
        "3 input dead, MME 1 44100 no: Invalid sample rate [PaErrorCode -9997]",
        "3 output dead, MME 2 44100 no: Invalid sample rate [PaErrorCode -9997]",
        "* the default. A card that another program holds for itself may be missing.",
    ]
    fake.default = None
    assert "*" not in list_devices(fake).rsplit("\n", 1)[0]
    assert "no sound devices were found" in list_devices(FakeSoundDevice((), ()))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere a device that hangs is waited for")
def test_device_that_hangs(monkeypatch):
    fake, ended = FakeSoundDevice(), threading.Event()
    fake.takes = lambda index, kind, rate, channels: index != 1 or ended.wait(60)
    monkeypatch.setattr(devices, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(devices, "ANSWER_SECONDS", 0.05)
    try:
        rows = list_devices(fake).splitlines()
        assert [row.split()[-1] for row in rows[1:-1]] == ["works", "works", "answer", "answer", "works", "works"]
        with pytest.raises(AudioDeviceError, match="the sound system has not answered"):
            find_device(fake, "1", "input")
        monkeypatch.setattr(devices, "LISTING_SECONDS", 0.04)
        assert "not tried, the others took too long" in list_devices(fake)
    finally:
        ended.set()


SERVER_THAT_FAILS = """
import os, signal, sys, time
from dtln.live import devices

def fail(number):
    os.kill(int(sys.argv[1]), number)
    time.sleep(0.2)

devices.ANSWER_SECONDS = devices.LISTING_SECONDS = 1
if sys.argv[2] == "stopped at the start":
    fail(signal.SIGSTOP)
begun = time.monotonic()
try:
    sounddevice = devices.import_sounddevice()
    fail(signal.SIGSTOP if sys.argv[2] == "stopped" else signal.SIGKILL)
    begun = time.monotonic()
    print(devices.list_devices(sounddevice))
    try:
        devices.find_device(sounddevice, "pulse", "input")
    finally:
        devices.rescan(sounddevice)
        print("after a rescan:", *(device["name"] for device in sounddevice.query_devices()))
finally:
    print(f"{time.monotonic() - begun:.1f} s")
"""


@pytest.mark.alone
@pytest.mark.parametrize(
    ("failure", "listed", "message"),
    [
        ("stopped at the start", "", "the sound system has not answered for 1 s. Restart the sound server"),
        ("stopped", "does not answer", "the sound system has not answered for 1 s. Restart the sound server"),
        ("killed", "Connection refused)", r"pulse, ALSA\) cannot be opened: .*Connection refused\). Check that it is"),
    ],
)
def test_sound_server_that_fails(tmp_path, failure, listed, message):
    with audio_server(tmp_path) as server:
        try:
            done = subprocess.run(
                [sys.executable, "-c", SERVER_THAT_FAILS, str(server.process.pid), failure],
                env=server.environment, capture_output=True, text=True, timeout=60,
            )  # fmt: skip
        finally:
            server.process.send_signal(signal.SIGCONT)  # else it does not end
    assert re.search(rf"AudioDeviceError: .*{message}", done.stderr), done.stderr
    assert "ALSA lib" not in done.stderr and "Expression" not in done.stderr
    assert listed in done.stdout
    if failure == "killed":
        assert "pulse" not in re.search("after a rescan:(.*)", done.stdout)[1]
    assert float(done.stdout.split()[-2]) < 10


def test_rescan():
    fake = FakeSoundDevice()
    rescan(fake)
    assert fake._initialized == 1
    fake.unopenable = True
    for _ in range(2):
        with pytest.raises(AudioDeviceError, match="PortAudio does not start: Error initializing PortAudio: no memory"):
            rescan(fake)
    fake.unopenable = False
    rescan(fake)
    assert fake._initialized == 1


def test_latency():
    device = Device(0, "", "", "input", 48000, 1, 0.01, 3.0)
    assert [latency_of(device, parse_latency(text)) for text in ("0.1", "2", "low", "high")] == [0.1, 2, 0.01, 2]
    for text in ("0", "-1", "2.1", "9999", "nan", "inf", "fast", ""):
        with pytest.raises(argparse.ArgumentTypeError, match=f"above 0 and up to 2, low or high, found '{text}'"):
            parse_latency(text)


def test_portaudio_that_does_not_start(monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    (tmp_path / "sounddevice.py").write_text("class PortAudioError(Exception): pass\nraise PortAudioError('no memory')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(AudioDeviceError, match="PortAudio does not start: no memory"):
        import_sounddevice()


def test_missing_sounddevice_and_portaudio(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert main(["--list-devices"]) == 1
    assert 'needs the package sounddevice: pip install "' in capsys.readouterr().err
    monkeypatch.delitem(sys.modules, "sounddevice")
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["--list-devices"]) == 1
    assert "apt install libportaudio2" in capsys.readouterr().err
