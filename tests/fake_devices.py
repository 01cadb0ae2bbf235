"""A stand-in for sounddevice, with devices that do as a test wants."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np

from dtln.live.callback import FLAGS, PassThrough


class FakeSoundDevice:
    """sounddevice with invented devices; its stream feeds 20 times 128 samples from a thread, as PortAudio does."""

    class PortAudioError(Exception):
        """With the text and, where one matters, the number of PortAudio's error."""

        def __str__(self) -> str:
            return f"{self.args[0]} [PaErrorCode {self.args[1]}]" if len(self.args) > 1 else self.args[0]

    def __init__(self, names: Sequence[str] = ("USB", "USB", "USB headset"), hosts: Sequence[int] = (0, 1, 0)) -> None:
        self.default, self.refused, self.unopenable, self.feeding = 0, False, False, True
        self.active = True
        self._initialized = 1  # as sounddevice counts the starts of PortAudio
        self.takes = lambda index, kind, rate, channels: True
        self.busy: set[int] = set()
        self.tried: list[tuple[int, str, int, int]] = []  # index, kind, rate, channels of each check
        self.status = SimpleNamespace(**dict.fromkeys(FLAGS, False))
        self.outputs: list[np.ndarray] = []
        self.devices = [
            {
                "name": name,
                "index": index,
                "hostapi": host,
                "max_input_channels": 1,
                "max_output_channels": 2,
                "default_samplerate": 44100.0,
                "default_low_input_latency": 0.01,
                "default_high_input_latency": 0.1,
                "default_low_output_latency": 0.02,
                "default_high_output_latency": 0.2,
            }  # fmt: skip
            for index, (name, host) in enumerate(zip(names, hosts, strict=True))
        ]

    def query_hostapis(self):
        return ({"name": "MME"}, {"name": "WASAPI"})

    def query_devices(self, device=None, kind=None):
        if kind is not None and (self.default is None or not self.devices):
            raise self.PortAudioError("Error querying device -1")
        if device is None and kind is None:
            return self.devices
        return self.devices[self.default if device is None else device]

    def check_output_settings(self, **settings):
        self._check("output", **settings)

    def check_input_settings(self, **settings):
        self._check("input", **settings)

    def _check(self, kind, device, channels, dtype, samplerate):
        assert dtype == "float32"
        self.tried.append((device, kind, samplerate, channels))
        if device in self.busy:
            raise self.PortAudioError("Device unavailable", -9985)
        if (self.refused and kind == "input") or not self.takes(device, kind, samplerate, channels):
            raise self.PortAudioError("Invalid sample rate", -9997)

    def _terminate(self):
        self._initialized -= 1

    def _initialize(self):
        if self.unopenable:
            raise self.PortAudioError("Error initializing PortAudio: no memory", -9992)
        self._initialized += 1

    def Stream(self, **settings):  # noqa: N802
        if self.unopenable:
            raise self.PortAudioError("Illegal combination of I/O devices [PaErrorCode -9993]")
        assert settings["blocksize"] == 0  # PortAudio's adaption to a wanted size fails now and then
        return FakeStream(self, settings["callback"])


class FakeStream:
    latency = (0.1, 0.1)

    def __init__(self, fake: FakeSoundDevice, callback) -> None:
        self._fake, self._callback, self.active = fake, callback, fake.active
        self._thread = threading.Thread(target=self._feed)

    def _feed(self) -> None:
        for _ in range(20 if self._fake.feeding else 0):
            outdata = np.full((128, 1), np.nan, np.float32)
            self._callback(np.full_like(outdata, 0.5), outdata, 128, None, self._fake.status)
            self._fake.outputs.append(outdata)

    def abort(self) -> None:
        pass

    def __enter__(self) -> FakeStream:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._thread.join()


def pass_through() -> PassThrough:
    return PassThrough(SimpleNamespace(block_length=512, block_shift=128))
