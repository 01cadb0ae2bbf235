"""A stand-in for sounddevice, with devices that do as a test wants."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np

from dtln.facts import SAMPLE_RATE
from dtln.live.callback import FLAGS, PassThrough


class FakeSoundDevice:
    """sounddevice with invented devices; its stream feeds 20 times 128 samples from a thread, as PortAudio does."""

    class PortAudioError(Exception):
        pass

    def __init__(self, names: Sequence[str] = ("USB", "USB", "USB headset"), hosts: Sequence[int] = (0, 1, 0)) -> None:
        self.default, self.refused, self.unopenable, self.feeding = 0, False, False, True
        self.active = True
        self.status = SimpleNamespace(**dict.fromkeys(FLAGS, False))
        self.outputs: list[np.ndarray] = []
        self.devices = [
            {"name": name, "index": index, "hostapi": host, "max_input_channels": 1, "max_output_channels": 2}
            for index, (name, host) in enumerate(zip(names, hosts, strict=True))
        ]

    def query_hostapis(self):
        return ({"name": "MME"}, {"name": "WASAPI"})

    def query_devices(self, device=None, kind=None):
        if kind is not None and self.default is None:
            raise self.PortAudioError("Error querying device -1")
        return self.devices if device is None and kind is None else self.devices[device or self.default]

    def check_output_settings(self, **settings):
        assert settings["samplerate"] == SAMPLE_RATE and settings["channels"] == 1

    def check_input_settings(self, **settings):
        self.check_output_settings(**settings)
        if self.refused:
            raise self.PortAudioError("Invalid sample rate [PaErrorCode -9997]")

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
