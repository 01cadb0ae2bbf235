"""dtln.live.pipeline: what is played, when, and what is counted, on devices in simulated time."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from simulated_devices import Devices, PassingNetwork, flags

from dtln.live.controls import Controls
from dtln.live.counters import Counters
from dtln.live.pipeline import Pipeline
from dtln.streaming.backends import open_backend
from dtln.streaming.engine import StreamingDenoiser


def tone(moments: np.ndarray) -> np.ndarray:
    """A sine of 440 Hz that swells, full scale 0.4, whose samples differ by 0.07 at 16 kHz at most."""
    return 0.4 * np.sin(2 * np.pi * 440 * moments) * (0.6 + 0.4 * np.sin(2 * np.pi * 0.7 * moments))


STEP = 0.4 * 2 * np.pi * 440 / 16000  # the largest of the tone


def delays(devices: Devices) -> float:
    """By how many s the last sample that was played is behind the input."""
    pipeline = devices.pipeline
    return (pipeline.progress[0] - pipeline._timeline.place(pipeline._playout._position)) / devices.rates[0]


def test_denoises_as_the_offline_engine_does_32_ms_and_the_callbacks_later():
    generator = np.random.default_rng(3)
    signal = generator.normal(0, 0.1, 16000 * 6).astype(np.float32)
    backend = open_backend("tflite")
    devices = Devices(lambda moments: signal[np.rint(moments * 16000).astype(int)], backend=backend)
    played = devices.run(5)
    offline = StreamingDenoiser(backend).denoise(signal)
    lag = next(lag for lag in range(len(played)) if np.array_equal(played[lag + 20000 :][:100], offline[20000:20100]))
    # while nothing is known of the delay, there is silence
    np.testing.assert_array_equal(played[lag + 8000 :], offline[8000 : len(played) - lag])
    assert lag == 512 + 160 + 64 - 160  # the network, a callback, the margin; a callback ends when its sound is played
    assert devices.counters.late_blocks == devices.counters.skips == devices.counters.dropouts == 0
    assert devices.counters.blocks == pytest.approx(5 * 125, abs=3)


@pytest.mark.parametrize("sizes", [(128, 128), (77, 512), (800, 256)])
@pytest.mark.parametrize("jitter", [0.0, 0.01])
def test_callbacks_of_any_size_and_jitter_are_played_without_gaps(sizes, jitter):
    devices = Devices(tone, sizes=sizes, jitter=jitter)
    played = devices.run(30)
    counters = devices.counters
    assert counters.late_blocks <= 3 and counters.dropouts == 0  # until it has learnt of the rarest jitter
    assert np.abs(np.diff(played)).max() < 1.5 * STEP
    assert 0.39 < np.abs(played[16000:]).max() < 0.7  # steps are spread over a few ms
    assert delays(devices) < 0.032 + 0.004 + 2 * max(sizes) / 16000 + 2 * jitter + 0.01
    assert jitter or counters.drift_ppm == pytest.approx(0, abs=1)


@pytest.mark.parametrize("ppm", [200, -200])
@pytest.mark.parametrize("jitter", [0.005])
def test_clocks_that_differ_are_told_and_cost_neither_delay_nor_sound(ppm, jitter):
    heard: list[np.ndarray] = []
    made: list[np.ndarray] = []
    recording = SimpleNamespace(put_input=heard.append, put_output=made.append)
    devices = Devices(tone, sizes=(512, 480), ppm=ppm, jitter=jitter, recording=recording)
    devices.run(60)
    before, late = devices.pipeline._playout._usual, devices.counters.late_blocks
    played = devices.run(200)
    counters = devices.counters
    assert counters.drift_ppm == pytest.approx(ppm, abs=5)
    assert devices.pipeline._drift.correction * 1e6 == pytest.approx(ppm, abs=60)
    assert counters.late_blocks == late <= 5 and counters.dropouts == 0
    assert np.abs(np.diff(played)).max() < 1.5 * STEP
    assert abs(devices.pipeline._playout._usual - before) < 0.01  # 140 s of 200 ppm would be 28 ms
    recorded = np.concatenate(made)
    np.testing.assert_allclose(recorded, np.concatenate(heard)[: len(recorded)], atol=1e-5)  # the recording is aligned


def test_without_the_stage_the_delay_would_grow(monkeypatch):
    monkeypatch.setattr("dtln.live.clock.DriftControl.update", lambda *_: None)
    devices = Devices(tone, ppm=-200)
    devices.run(60)
    before = delays(devices)
    devices.run(180)
    assert delays(devices) - before > 0.02


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("device", ["input", "output"])
def test_a_device_that_stands_still_comes_back_with_the_old_delay(device, lost):
    devices = Devices(tone, held=((device, 20.0, 25.0),), lost=lost)
    devices.run(19)
    before = delays(devices)
    devices.run(40)
    assert delays(devices) == pytest.approx(before, abs=0.02)
    late, dropouts = devices.counters.late_blocks, devices.counters.dropouts
    assert dropouts == (1 if device == "input" else dropouts)
    played = devices.run(60)
    assert (devices.counters.late_blocks, devices.counters.dropouts) == (late, dropouts)
    assert np.abs(np.diff(played)).max() < 2 * STEP


def test_a_delay_that_a_busy_start_made_too_long_is_shortened_and_the_skip_is_counted():
    devices = Devices(lambda moments: moments / 100, held=(("input", 0.1, 0.4),))
    devices.run(1.5)
    before = delays(devices)
    played = devices.run(20)
    assert before - delays(devices) == pytest.approx(0.3, abs=0.02)
    assert (devices.counters.skips, devices.counters.late_blocks, devices.counters.dropouts) == (1, 0, 0)
    assert played[-1] - played[16000] == pytest.approx((len(played) / 16000 - 1 + 0.3) / 100, rel=0.01)  # left out


class Slow(PassingNetwork):
    """Makes noise of the signal, so that it can be told from the input; takes time when it is told to."""

    def run(self, block, states):
        return -block / np.float32(4), states


def test_blocks_that_come_late_are_the_input_in_their_place_and_are_counted(monkeypatch):
    monkeypatch.setattr("dtln.live.playout.OVERLOAD", 0.0)  # the worker is busy, but not in simulated time
    devices = Devices(tone, backend=Slow())
    devices.cost = lambda time: 0.5 if 10 <= time < 10.01 else 0.0  # the worker stands still for half a second
    played = devices.run(20)
    lag = 512 + 160 + 64 - 160
    heard = tone(np.arange(len(played)) / 16000)
    for begin, sign in ((9.0, -1), (10.1, 1), (10.4, 1), (12.0, -1)):
        here = round(begin * 16000)
        expected = sign * heard[here - lag :][:800]
        np.testing.assert_allclose(played[here:][:800], expected, atol=1e-4)
    assert devices.counters.late_blocks == pytest.approx(0.5 / 0.008, abs=8)
    assert devices.counters.dropouts == 0


def test_a_network_that_is_too_slow_is_passed_by_and_the_delay_stays():
    devices = Devices(tone, backend=Slow())
    devices.run(5)
    before = delays(devices)
    devices.cost = lambda time: 0.035
    devices.run(30)
    assert devices.counters.late_blocks > 200
    assert devices.counters.dropouts == 0
    devices.cost = lambda time: 0.0
    devices.run(40)
    assert delays(devices) < before + 0.2


def test_what_a_person_changes_is_heard():
    devices = Devices(tone, backend=Slow())
    lag = 512 + 160 + 64 - 160
    heard = tone(np.arange(20 * 16000) / 16000)

    def after(until: float) -> np.ndarray:
        played = devices.run(until)
        reference = heard[len(played) - 1600 - lag : len(played) - lag]
        return float(played[-1600:] @ reference / (reference @ reference))

    assert after(3) == pytest.approx(-1, abs=1e-3)
    devices.controls.bypass = True
    assert after(6) == pytest.approx(1, abs=1e-3)
    devices.controls.bypass, devices.controls.strength = False, 0.25
    assert after(9) == pytest.approx(0.5, abs=1e-3)
    devices.controls.muted = True
    assert not np.any(devices.run(12)[-1600:])
    assert np.abs(np.diff(devices.run(12))).max() < 2 * STEP


def test_bypass_is_the_input_to_the_bit():
    generator = np.random.default_rng(3)
    signal = generator.normal(0, 0.1, 16000 * 4).astype(np.float32)
    devices = Devices(
        lambda moments: signal[np.rint(moments * 16000).astype(int)], backend=open_backend("tflite"),
    )  # fmt: skip
    devices.controls.bypass = True
    played = devices.run(3)
    lag = 512 + 160 + 64 - 160
    np.testing.assert_array_equal(played[16000:], signal[16000 - lag : len(played) - lag])


def test_a_channel_or_the_mean_of_all():
    indata = np.stack([np.full(128, value, np.float32) for value in (0.1, 0.5, 0.0)], axis=1)
    for channel, expected in ((None, 0.2), (1, 0.5)):
        pipeline = Pipeline(
            PassingNetwork(), StreamingDenoiser, 16000, 16000, Controls(), Counters(), channel=channel, now=lambda: 0.0
        )
        pipeline.input_callback(indata, 128, None, None)
        np.testing.assert_allclose(pipeline._heard.read(0, 128), expected, rtol=1e-6)


def test_flags_count_from_the_first_sound_on_and_underflows_before_it_are_passed_over():
    devices = Devices(tone)
    out = np.zeros((160, 2), np.float32)
    for _ in range(300):  # as PulseAudio does at some starts
        devices.pipeline.output_callback(out, 160, None, flags(output_underflow=True))
    devices.run(3)
    assert devices.counters.flags == dict.fromkeys(devices.counters.flags, 0)
    assert delays(devices) < 0.06
    devices.pipeline.output_callback(out, 160, None, flags(output_underflow=True, input_overflow=True))
    assert devices.counters.flags["output_underflow"] == devices.counters.flags["input_overflow"] == 1
    assert devices.counters.snapshot().xruns == 2


def test_nan_in_the_input_is_counted_and_never_played():
    def sound(moments):
        samples = tone(moments)
        samples[(moments > 2) & (moments < 2.001)] = np.nan
        samples[(moments > 5) & (moments < 5.001)] = 1e30
        return samples

    devices = Devices(sound, backend=open_backend("tflite"))
    devices.cost = lambda time: 0.4 if 4.9 <= time < 4.91 else 0.0  # once while the input is played as it is
    played = devices.run(10)
    assert np.abs(played).max() < 1
    assert 2 <= devices.counters.silenced_blocks <= 4
    assert np.isfinite(devices.counters.input_energy)


def test_an_error_of_the_network_gives_silence_and_is_kept():
    class Failing(PassingNetwork):
        fails = False

        def run(self, block, states):
            if self.fails:
                raise RuntimeError("broken on purpose")
            return super().run(block, states)

    backend = Failing()
    counters = Counters()
    pipeline = Pipeline(backend, StreamingDenoiser, 16000, 16000, Controls(), counters)
    pipeline.start()
    backend.fails = True
    out = np.ones((160, 1), np.float32)
    for _ in range(4):
        pipeline.input_callback(np.full((160, 1), 0.1, np.float32), 160, None, None)
    pipeline._thread.join(5)
    pipeline.output_callback(out, 160, None, None)
    assert "on purpose" in str(pipeline.error) and not out.any()
    pipeline.stop()


def test_delay_is_told_with_the_buffers_of_the_devices():
    devices = Devices(tone, latency=0.05)
    times = type("Times", (), {"currentTime": 10.0, "inputBufferAdcTime": 9.95, "outputBufferDacTime": 10.1})

    original = devices.pipeline.input_callback, devices.pipeline.output_callback
    devices.pipeline.input_callback = lambda data, frames, _, status: original[0](data, frames, times, status)
    devices.pipeline.output_callback = lambda data, frames, _, status: original[1](data, frames, times, status)
    devices.run(5)
    # 40 ms before the callback, since its sound is 10 ms long; 100 ms after; between them what the tone needs
    lag = (512 + 160 + 200) / 16000
    assert devices.counters.delay == pytest.approx(0.04 + 0.1 + lag, abs=0.011)
