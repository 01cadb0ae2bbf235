"""A stand-in for sounddevice, with devices that do as a test wants."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np

from dtln.live.counters import FLAGS


class FakeSoundDevice:
    """sounddevice with invented devices; its streams feed and drain from threads, as PortAudio does."""

    class PortAudioError(Exception):
        """With the text and, where one matters, the number of PortAudio's error."""

        def __str__(self) -> str:
            return f"{self.args[0]} [PaErrorCode {self.args[1]}]" if len(self.args) > 1 else self.args[0]

    def __init__(self, names: Sequence[str] = ("USB", "USB", "USB headset"), hosts: Sequence[int] = (0, 1, 0)) -> None:
        self.default, self.refused, self.unopenable, self.feeding = 0, False, False, True
        self.active, self.pace = True, 1.0  # how fast the output runs
        self._initialized = 1  # as sounddevice counts the starts of PortAudio
        self.takes = lambda index, kind, rate, channels: True
        self.busy: set[int] = set()
        self.tried: list[tuple[int, str, int, int]] = []  # index, kind, rate, channels of each check
        self.status = SimpleNamespace(**dict.fromkeys(FLAGS, False))
        self.outputs: list[np.ndarray] = []
        self.opened: list[tuple[str, int, int, int]] = []  # kind, index, rate, channels
        self.restarts = 0
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
        self.restarts += 1
        self._initialized -= 1

    def _initialize(self):
        if self.unopenable:
            raise self.PortAudioError("Error initializing PortAudio: no memory", -9992)
        self._initialized += 1

    def InputStream(self, **settings):  # noqa: N802
        return FakeStream(self, "input", **settings)

    def OutputStream(self, **settings):  # noqa: N802
        return FakeStream(self, "output", **settings)


class FakeStream:
    """Calls its callback each 10 ms: with samples of 0.5, or for samples, which it keeps in `outputs`."""

    latency = 0.1

    def __init__(
        self, fake: FakeSoundDevice, kind: str, callback, channels, samplerate, blocksize, device, **_
    ) -> None:
        assert blocksize == 0  # PortAudio's adaption to a wanted size fails now and then
        if fake.unopenable:
            raise fake.PortAudioError("Device unavailable [PaErrorCode -9985]")
        self._fake, self._kind, self._callback = fake, kind, callback
        self._shape = (round(samplerate / 100), channels)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._feed, daemon=True)
        fake.opened.append((kind, device, samplerate, channels))

    @property
    def active(self) -> bool:
        return self._fake.active and not self._ended.is_set()

    def _feed(self) -> None:
        due = time.monotonic()
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            due += 0.01 / (self._fake.pace if self._kind == "output" else 1.0)
            if self._fake.feeding and self._fake.active:
                data = np.full(self._shape, 0.5 if self._kind == "input" else np.nan, np.float32)
                self._callback(data, len(data), None, self._fake.status)
                if self._kind == "output":
                    self._fake.outputs.append(data)

    def start(self) -> None:
        self._thread.start()

    def abort(self) -> None:
        self._ended.set()

    def close(self) -> None:
        self._ended.set()
        if self._thread.ident:
            self._thread.join()
