"""dtln.live.callback: what the callback plays, counts and reports."""

from __future__ import annotations

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from fake_devices import pass_through

from dtln.commands.live import main
from dtln.live.callback import FLAGS, LiveDenoiser, PassThrough
from dtln.streaming import backends
from dtln.streaming.backends import open_backend
from dtln.streaming.engine import StreamingDenoiser


def call(live: LiveDenoiser, samples: np.ndarray, status: object = None) -> np.ndarray:
    """One callback: samples (L,) in, samples (L,) out."""
    outdata = np.full((len(samples), 1), np.nan, np.float32)
    live(samples[:, None], outdata, len(samples), None, status)
    return outdata[:, 0]


@pytest.mark.parametrize("unusable", [np.nan, np.inf, -np.inf, 1e30])
def test_unusable_block_is_silenced_and_forgotten(unusable):
    signal_ = np.random.default_rng(3).normal(0, 0.1, (30, 128)).astype(np.float32)
    disturbed, silenced = signal_.copy(), signal_.copy()
    disturbed[10, 5], silenced[10] = unusable, 0.0
    live, reference = (LiveDenoiser(open_backend("tflite")) for _ in range(2))
    np.testing.assert_array_equal([call(live, b) for b in disturbed], [call(reference, b) for b in silenced])
    assert "far beyond full scale): 1\n" in live.report()
    assert "far beyond full scale): 0\n" in reference.report()
    assert live.error is None


def test_level_is_followed_where_it_is_asked_for(fake, monkeypatch):
    made, reset = [], StreamingDenoiser.reset
    monkeypatch.setattr(StreamingDenoiser, "reset", lambda self: made.append(self.level) or reset(self))
    for flags in ([], ["--level", "auto"], ["--level", "auto", "--bypass"]):
        assert main([*flags, "--duration", "0.1"]) == 0
    assert made == ["raw", "auto", "raw"]


class Failing(PassThrough):
    """Fails at the ninth block."""

    calls = 0

    def run(self, block, states):
        self.calls += 1
        if self.calls == 9:
            raise RuntimeError("broken on purpose")
        return super().run(block, states)


def test_error_in_the_callback_gives_silence_and_exit_status(fake, monkeypatch, capsys):
    monkeypatch.setattr(backends, "open_backend", lambda *_: Failing(pass_through()))
    assert main([]) == 1
    assert len(fake.outputs) == 20
    assert np.all(np.array(fake.outputs[4:8]) == 0.5)
    assert not np.any(fake.outputs[8:])  # NaN, which they started from, would count
    captured = capsys.readouterr()
    assert "RuntimeError: broken on purpose" in captured.err
    assert captured.out.count("ms per block") == 1

    live = LiveDenoiser(Failing(pass_through()))
    played = [call(live, np.full(100, 0.5, np.float32)) for _ in range(14)]
    assert np.all(played[10] == 0.5) and not np.any(played[11:])  # the ninth block is complete in the twelfth callback


def test_status_flags_are_counted(fake, capsys):
    fake.status.input_overflow = True
    assert main(["--duration", "0.2"]) == 0
    counts = "input overflows: 20, input underflows: 0, output overflows: 0, output underflows: 0"
    assert counts in capsys.readouterr().out


def test_callbacks_before_the_first_input_are_no_underflows():
    live, reference = LiveDenoiser(pass_through()), LiveDenoiser(pass_through())
    block = np.full(300, 0.5, np.float32)
    quiet, underflow = (SimpleNamespace(**dict.fromkeys(FLAGS, False) | {"input_underflow": b}) for b in (False, True))
    for _ in range(3):
        assert not np.any(call(live, np.full(128, 0.7, np.float32), underflow))
    for status in (None, quiet, underflow):
        np.testing.assert_array_equal(call(live, block, status), call(reference, block))
    assert "input underflows: 1," in live.report()
    assert "callbacks before the first input: 3\n" in live.report()


def test_output_does_not_depend_on_the_sizes_of_the_callbacks():
    generator = np.random.default_rng(6)
    signal_ = generator.normal(0, 0.1, 128 * 60).astype(np.float32)
    backend = open_backend("tflite")
    whole = call(LiveDenoiser(backend), signal_)
    ends = np.unique(np.append(generator.integers(0, len(signal_), 50), [1, len(signal_)]))
    live = LiveDenoiser(backend)
    np.testing.assert_array_equal(np.concatenate([call(live, part) for part in np.split(signal_, ends[:-1])]), whole)
    offline = StreamingDenoiser(backend).denoise(signal_)
    np.testing.assert_array_equal(whole[512:], offline[:-512])  # 32 ms, as documented


def test_bypass_is_the_delayed_input():
    live = LiveDenoiser(pass_through())
    signal_ = np.random.default_rng(4).normal(0, 0.1, 1280).astype(np.float32)
    played = call(live, signal_)
    np.testing.assert_array_equal(played[512:], signal_[:-512])
    assert not played[:512].any()


def test_nothing_grows_with_the_length_of_the_stream():
    live, block = LiveDenoiser(pass_through()), np.zeros(128, np.float32)
    tracemalloc.start()
    try:
        for _ in range(200):
            call(live, block)
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(5000):
            call(live, block)
        assert tracemalloc.get_traced_memory()[0] - before < 8 * 5000  # less than one number a block
    finally:
        tracemalloc.stop()
