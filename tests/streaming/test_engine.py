"""dtln.StreamingDenoiser: rates, channels, types, cuts, the dry signal, changes while it runs, and unusable samples."""

from __future__ import annotations

import threading
import tracemalloc

import numpy as np
import pytest
from signals import snr_db, speech_like

import dtln
from dtln.audio.resampling import resample, resampled_length
from dtln.streaming import StreamingDenoiser
from dtln.streaming.backends import open_backend

RATES = [(16000, 16000), (48000, 48000), (44100, 44100), (8000, 8000), (44100, 48000), (48000, 16000), (16000, 44100)]
PAIRS = pytest.mark.parametrize(("rate", "output_rate"), RATES)


@pytest.fixture(scope="module")
def backend():
    return open_backend("tflite")


def signal_at(rate: int, seconds: float = 0.5, channels: int = 1, dtype: type = np.float32) -> np.ndarray:
    """Speech-like below 8 kHz and noise above it: (L,), or (L, channels)."""
    length = round(seconds * rate) + 5
    rng = np.random.default_rng(2)
    columns = [resample(speech_like(20000, seed), 16000, rate)[:length] for seed in range(channels)]
    samples = np.stack(columns, axis=1) + 0.01 * rng.standard_normal((length, channels))
    samples = samples * 32767 if dtype == np.int16 else samples
    return samples.astype(dtype) if channels > 1 else samples[:, 0].astype(dtype)


def in_pieces(denoiser: StreamingDenoiser, samples: np.ndarray, size: int) -> np.ndarray:
    """What comes out for pieces of a size, to the end."""
    pieces = [denoiser.process(samples[start : start + size]) for start in range(0, len(samples), size)]
    return np.concatenate([*pieces, denoiser.flush()])


# --- cuts, rates, channels, types -------------------------------------------------------------------------------------


@PAIRS
@pytest.mark.parametrize(("channels", "dtype"), [(1, np.float32), (2, np.float32), (2, np.int16)])
def test_chunks_of_any_size_give_the_samples_of_one_long_call(backend, rate, output_rate, channels, dtype):
    denoiser = StreamingDenoiser(backend, sample_rate=rate, output_rate=output_rate, channels=channels, strength=0.7)
    samples = signal_at(rate, channels=channels, dtype=dtype)
    whole = denoiser.denoise(samples)
    assert whole.dtype == dtype
    assert whole.shape == (resampled_length(len(samples), rate, output_rate), *samples.shape[1:])
    for size in (rate // 100, rate // 50, 3 * rate // 100, 777):
        np.testing.assert_array_equal(in_pieces(denoiser, samples, size), whole)
    few = samples[: rate // 16]
    np.testing.assert_array_equal(in_pieces(denoiser, few, 1), denoiser.denoise(few))


@pytest.mark.parametrize("level", ["raw", "auto"])
def test_chunks_give_the_same_samples_at_either_level(backend, level):
    denoiser = StreamingDenoiser(backend, level, sample_rate=48000)
    samples = 1e-3 * signal_at(48000, seconds=1.0)
    whole = denoiser.denoise(samples)
    np.testing.assert_array_equal(in_pieces(denoiser, samples, 480), whole)
    other = StreamingDenoiser(backend, "auto" if level == "raw" else "raw", sample_rate=48000).denoise(samples)
    assert not np.array_equal(other, whole)


@PAIRS
def test_output_is_what_dtln_denoise_gives(backend, rate, output_rate):
    """That function resamples with soxr, so this checks filters and alignment as well."""
    samples = signal_at(rate, seconds=0.9)
    found = StreamingDenoiser(backend, sample_rate=rate, output_rate=output_rate).denoise(samples)
    expected = dtln.denoise(samples, rate, backend=backend, level="raw")
    expected = resample(expected, rate, output_rate)
    assert found.shape == expected.shape
    assert snr_db(expected, found) > 35 > snr_db(expected[1:], found[:-1])


def test_each_channel_is_denoised_as_if_alone(backend):
    samples = signal_at(44100, channels=3)
    found = StreamingDenoiser(backend, sample_rate=44100, channels=3).denoise(samples)
    alone = StreamingDenoiser(backend, sample_rate=44100)
    for channel in range(3):
        np.testing.assert_array_equal(found[:, channel], alone.denoise(samples[:, channel]))


def test_int16_is_rounded_and_clipped(backend):
    samples = signal_at(48000, dtype=np.int16)
    denoiser = StreamingDenoiser(backend, sample_rate=48000)
    expected = 32768 * denoiser.denoise(samples / np.float32(32768))
    np.testing.assert_array_equal(denoiser.denoise(samples), np.round(expected))
    loud = StreamingDenoiser(Doubling())
    samples = np.arange(-32768, 32768, 13, dtype=np.int16)
    twice = np.clip(2 * samples.astype(int), -32768, 32767)
    np.testing.assert_array_equal(loud.denoise(samples), twice)
    assert twice.max() == 32767 and twice.min() == -32768


class Doubling:
    """A back end whose overlapping blocks add up to twice the signal."""

    block_length, block_shift, runtime = 512, 128, "none"

    def initial_states(self):
        return ()

    def run(self, block, states):
        return block / 2, states


@pytest.mark.parametrize("shape", [(480,), (480, 1)])
def test_one_channel_keeps_its_form(backend, shape):
    denoiser = StreamingDenoiser(backend)
    samples = np.zeros(shape, np.float32)
    assert denoiser.process(samples).shape == (0, *shape[1:])
    assert denoiser.process(samples).shape == (512, *shape[1:])
    assert denoiser.flush().shape == (448, *shape[1:])


class Failing(Doubling):
    """A back end whose call number `last` fails."""

    last = calls = 0

    def run(self, block, states):
        self.calls += 1
        if self.calls == self.last:
            raise RuntimeError("the runtime failed")
        return super().run(block, states)


@pytest.mark.parametrize("way", ["process", "flush", "process_block"])
@pytest.mark.parametrize("channels", [1, 2])
def test_error_of_the_back_end_ends_the_signal_and_not_the_stream(way, channels):
    """Otherwise the channels, or the denoised and the dry samples, would be beside one another ever after."""
    backend = Failing()
    denoiser = StreamingDenoiser(backend, channels=1 if way == "process_block" else channels, strength=0.5)
    samples = signal_at(16000, channels=denoiser.channels)
    whole = denoiser.denoise(samples)
    if way == "process_block":
        samples = samples[:128]
    elif way == "flush":
        denoiser.process(samples)
    backend.last = backend.calls + channels + (way == "process")  # that of the last channel
    with pytest.raises(RuntimeError, match="the runtime failed"):
        while True:
            denoiser.flush() if way == "flush" else getattr(denoiser, way)(samples)
    if way == "process_block":
        blocks = [denoiser.process_block(signal_at(16000)[start : start + 128]) for start in range(0, 1280, 128)]
        np.testing.assert_array_equal(np.concatenate(blocks)[384:], whole[:896])
    else:
        np.testing.assert_array_equal(in_pieces(denoiser, samples, 700), whole)


@pytest.mark.parametrize("rate", [16000, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_empty_chunks_change_nothing(backend, rate, channels):
    denoiser = StreamingDenoiser(backend, sample_rate=rate, channels=channels)
    samples = signal_at(rate, channels=channels)
    empty = samples[:0]
    assert denoiser.flush().shape == empty.shape == denoiser.denoise(empty).shape
    pieces = [denoiser.process(piece) for piece in (empty, samples[:700], empty, samples[700:], empty)]
    assert pieces[0].shape == pieces[2].shape == pieces[4].shape == empty.shape
    np.testing.assert_array_equal(np.concatenate([*pieces, denoiser.flush()]), denoiser.denoise(samples))


def test_flush_and_reset_begin_a_new_signal(backend):
    denoiser = StreamingDenoiser(backend, "auto", sample_rate=44100, strength=0.5)
    samples = signal_at(44100)
    first = denoiser.denoise(samples)
    assert len(denoiser.flush()) == 0
    denoiser.process(samples[:3000])
    denoiser.reset()
    np.testing.assert_array_equal(in_pieces(denoiser, samples, 441), first)
    np.testing.assert_array_equal(in_pieces(denoiser, samples, 441), first)


@PAIRS
def test_samples_come_no_later_than_the_latency_says(backend, rate, output_rate):
    denoiser = StreamingDenoiser(backend, sample_rate=rate, output_rate=output_rate)
    latency, given, latest = denoiser.latency, 0, 0.0
    for taken in range(1, rate // 8):
        given += len(denoiser.process(np.zeros(1, np.float32)))
        latest = max(latest, (taken + 1) / rate - given / output_rate)  # sample `given` was not there before the next
    assert latest - 1e-9 <= latency.seconds < latest + 1e-3
    assert latency.samples == int(np.ceil(latency.seconds * output_rate - 1e-6))
    assert (rate, output_rate) != (16000, 16000) or (latency.samples, latency.seconds) == (512, 0.032)


def test_block_of_the_sound_card_is_the_delayed_signal(backend):
    denoiser = StreamingDenoiser(backend, strength=0.6)
    samples = speech_like(128 * 30)
    whole = denoiser.denoise(samples)
    blocks = np.concatenate([denoiser.process_block(block) for block in samples.reshape(-1, 128)])
    np.testing.assert_array_equal(blocks[384:], whole[:-384])
    assert not blocks[:384].any() or np.abs(blocks[:384]).max() < 0.2  # what precedes the signal
    denoiser.reset()
    denoiser.bypass = True
    blocks = np.concatenate([denoiser.process_block(block) for block in samples.reshape(-1, 128)])
    np.testing.assert_array_equal(blocks[384:], samples[:-384])
    with pytest.raises(ValueError, match="2 channels from 48000 to 48000 Hz. Expected one channel at 16000 Hz"):
        StreamingDenoiser(backend, sample_rate=48000, channels=2).process_block(samples[:128])


# --- the dry signal, and changes while it runs ------------------------------------------------------------------------


@PAIRS
@pytest.mark.parametrize("dtype", [np.float32, np.int16])
@pytest.mark.parametrize("way", ["strength", "bypass", "limit"])
def test_without_denoising_the_input_comes_back_aligned(backend, rate, output_rate, dtype, way):
    denoiser = StreamingDenoiser(backend, sample_rate=rate, output_rate=output_rate, channels=2)
    setattr(
        denoiser, *{"strength": ("strength", 0), "bypass": ("bypass", True), "limit": ("attenuation_limit_db", 0)}[way]
    )
    samples = signal_at(rate, channels=2, dtype=dtype)
    found = in_pieces(denoiser, samples, 441)
    if rate == output_rate:
        np.testing.assert_array_equal(found, samples)
    else:
        expected = resample(samples.astype(np.float32), rate, output_rate)
        margin = output_rate // 50
        assert snr_db(expected[margin:-margin], found[margin:-margin]) > 20  # the filters end differently below 8 kHz


@pytest.mark.parametrize(("rate", "output_rate"), RATES)
def test_strength_and_limit_mix_the_aligned_input_in(backend, rate, output_rate):
    samples = signal_at(rate)
    rates = {"sample_rate": rate, "output_rate": output_rate}
    wet, dry, mixed, limited = (
        StreamingDenoiser(backend, **rates, **settings).denoise(samples)
        for settings in ({}, {"strength": 0}, {"strength": 0.75}, {"attenuation_limit_db": 12.0412})
    )
    np.testing.assert_allclose(mixed, 0.75 * wet + 0.25 * dry, rtol=0, atol=1e-6)
    np.testing.assert_allclose(limited, mixed, rtol=0, atol=1e-5)


def test_settings_are_read_as_they_were_set(backend):
    denoiser = StreamingDenoiser(backend, attenuation_limit_db=20)
    assert (denoiser.strength, denoiser.attenuation_limit_db) == (pytest.approx(0.9), 20)
    denoiser.strength = 0.3
    assert (denoiser.strength, denoiser.attenuation_limit_db) == (0.3, None)
    denoiser.attenuation_limit_db = None
    assert (denoiser.strength, denoiser.attenuation_limit_db) == (1.0, None)


@pytest.mark.parametrize("rate", [16000, 48000])
@pytest.mark.parametrize("change", [{"bypass": True}, {"strength": 0.0}, {"attenuation_limit_db": 6.0}])
def test_changes_are_ramps_of_10_ms_without_a_click(backend, rate, change):
    """A tone and what the network makes of it differ by a constant here, which would show a step at once."""
    time = np.arange(rate) / rate
    samples = (0.3 * np.sin(2 * np.pi * 200 * time)).astype(np.float32)
    wet = StreamingDenoiser(backend, sample_rate=rate).denoise(samples)
    dry = samples
    denoiser = StreamingDenoiser(backend, sample_rate=rate)
    size = rate // 100
    pieces = []
    for start in range(0, rate, size):
        if start == rate // 2:
            position = sum(map(len, pieces))
            for name, value in change.items():
                setattr(denoiser, name, value)
        pieces.append(denoiser.process(samples[start : start + size]))
    found = np.concatenate([*pieces, denoiser.flush()])
    share = 0.0 if denoiser.bypass else denoiser.strength
    ramp = rate // 100
    gain = np.interp(np.arange(rate), [position - 1, position - 1 + ramp], [1.0, share])
    np.testing.assert_allclose(found, gain * wet + (1 - gain) * dry, rtol=0, atol=1e-6)
    largest = max(np.abs(np.diff(wet)).max(), np.abs(np.diff(dry)).max())
    assert np.abs(np.diff(found)).max() <= largest + np.abs(wet - dry).max() * (1 - share) / ramp + 1e-6
    np.testing.assert_array_equal(found[:position], wet[:position])


def test_ramp_that_is_turned_round_goes_on_where_it_is(backend):
    samples = signal_at(16000, seconds=1.0)
    wet, dry = StreamingDenoiser(backend).denoise(samples), samples
    denoiser = StreamingDenoiser(backend)
    out = [denoiser.process(samples[:8000])]
    denoiser.bypass = True
    out.append(denoiser.process(samples[8000:8128]))  # 128 samples of a ramp of 160
    denoiser.bypass = False
    out.append(denoiser.process(samples[8128:]))
    found = np.concatenate([*out, denoiser.flush()])
    begin = len(out[0])
    gain = np.interp(np.arange(len(samples)), begin - 1 + np.array([0, 128, 288]), [1, 0.2, 1])
    np.testing.assert_allclose(found, gain * wet + (1 - gain) * dry, rtol=0, atol=1e-6)


def test_network_stays_warm_in_bypass(backend):
    samples = signal_at(48000, seconds=1.0)
    expected = StreamingDenoiser(backend, sample_rate=48000).denoise(samples)
    denoiser = StreamingDenoiser(backend, sample_rate=48000)
    denoiser.bypass = True
    first = denoiser.process(samples[:24000])
    denoiser.bypass = False
    rest = np.concatenate([denoiser.process(samples[24000:]), denoiser.flush()])
    np.testing.assert_array_equal(first, samples[: len(first)])
    np.testing.assert_array_equal(rest[480:], expected[len(first) + 480 :])


# --- unusable samples -------------------------------------------------------------------------------------------------


@PAIRS
@pytest.mark.parametrize("bad", [np.nan, np.inf, 3e38], ids=str)
def test_unusable_samples_leave_no_trace(backend, rate, output_rate, bad):
    """The network hears silence for the shift that holds them, and resamplers and the other channel hear nothing."""
    samples = signal_at(rate, channels=2)
    spoilt = samples.copy()
    position = round(0.2 * rate)
    spoilt[position : position + 3, 1] = [bad, -bad, bad]
    denoiser = StreamingDenoiser(backend, sample_rate=rate, output_rate=output_rate, channels=2, strength=0.5)
    clean = denoiser.denoise(samples)
    found = in_pieces(denoiser, spoilt, rate // 100)
    assert denoiser.silenced_blocks == 1
    assert np.all(np.isfinite(found)) and np.abs(found).max() < 2
    np.testing.assert_array_equal(found[:, 0], clean[:, 0])
    before = int(0.15 * output_rate)
    np.testing.assert_array_equal(found[:before, 1], clean[:before, 1])
    assert not np.array_equal(found, clean)
    np.testing.assert_array_equal(in_pieces(denoiser, samples, 1000), clean)
    assert denoiser.silenced_blocks == 1
    denoiser.bypass = True
    found = in_pieces(denoiser, spoilt, 1000)
    assert np.all(np.isfinite(found))
    if rate == output_rate:
        np.testing.assert_array_equal(found, np.where(np.abs(spoilt) <= 1e6, spoilt, 0))


@pytest.mark.parametrize("rate", [16000, 44100])
def test_unusable_samples_are_found_however_they_are_cut(backend, rate):
    samples = signal_at(rate)
    samples[rate // 5 : rate // 5 + 700] = np.nan
    samples[-1] = np.inf
    outputs, counts = [], []
    for size in (len(samples), 441, 77):
        denoiser = StreamingDenoiser(backend, sample_rate=rate)
        outputs.append(in_pieces(denoiser, samples, size))
        counts.append(denoiser.silenced_blocks)
    np.testing.assert_array_equal(outputs[1], outputs[0])
    np.testing.assert_array_equal(outputs[2], outputs[0])
    assert counts[0] == counts[1] == counts[2] > 1


# --- memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [16000, 48000])
@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_arrays_belong_to_the_caller(backend, rate, strength):
    """One buffer for all input, and output that is overwritten, as sound cards have it."""
    samples = signal_at(rate)
    denoiser = StreamingDenoiser(backend, sample_rate=rate, strength=strength)
    expected = denoiser.denoise(samples)
    buffer, pieces = np.empty(100, np.float32), []
    for start in range(0, len(samples) // 100 * 100, 100):
        buffer[:] = samples[start : start + 100]
        given = denoiser.process(buffer)
        pieces.append(given.copy())
        given[:] = np.nan
        buffer[:] = np.nan
    found = np.concatenate(pieces)
    np.testing.assert_array_equal(found, expected[: len(found)])


@pytest.mark.parametrize("rates", [(16000, 16000), (48000, 44100)])
def test_nothing_grows_with_the_length_of_the_stream(rates):
    denoiser = StreamingDenoiser(Doubling(), sample_rate=rates[0], output_rate=rates[1], channels=2)
    chunk = np.zeros((rates[0] // 100, 2), np.float32)
    chunk[5, 1] = np.nan
    tracemalloc.start()
    try:
        for count in (50, 1000):
            for _ in range(count):
                denoiser.process(chunk)
            if count == 50:
                before = tracemalloc.get_traced_memory()[0]
        assert tracemalloc.get_traced_memory()[0] - before < 8 * 1000  # less than one number a chunk
    finally:
        tracemalloc.stop()


# --- several streams --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tflite", "tflite-stream", "onnx-stream", "savedmodel"])
def test_streams_in_threads_share_one_model(kind):
    """Each gives what it gives alone, to the bit."""
    backend = open_backend(kind)
    rates = (16000, 16000, 44100, 48000)
    signals = [signal_at(rate, seconds=0.9) * np.float32(0.2 * (1 + i)) for i, rate in enumerate(rates)]
    expected = [
        StreamingDenoiser(backend, sample_rate=rate).denoise(signal)
        for rate, signal in zip(rates, signals, strict=True)
    ]
    found: list = [None] * 4
    barrier = threading.Barrier(4)

    def work(index: int) -> None:
        denoiser = StreamingDenoiser(backend, sample_rate=rates[index])
        barrier.wait()
        found[index] = in_pieces(denoiser, signals[index], rates[index] // 100)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in range(4):
        np.testing.assert_array_equal(found[index], expected[index])


def test_settings_may_be_changed_from_another_thread(backend):
    samples = signal_at(16000, seconds=1.0)
    wet, dry = StreamingDenoiser(backend).denoise(samples), samples
    denoiser = StreamingDenoiser(backend)
    done = threading.Event()

    def change() -> None:
        index = 0
        while not done.is_set():
            denoiser.strength = index % 5 / 4
            denoiser.bypass = index % 3 == 0
            index += 1

    thread = threading.Thread(target=change)
    thread.start()
    try:
        found = in_pieces(denoiser, samples, 80)
    finally:
        done.set()
        thread.join()
    between = (found - np.minimum(wet, dry) > -1e-6) & (found - np.maximum(wet, dry) < 1e-6)
    assert between.all()
    jump = np.abs(wet - dry).max() / 160 + np.maximum(np.abs(np.diff(wet)), np.abs(np.diff(dry)))
    assert np.all(np.abs(np.diff(found)) <= jump + 1e-6)


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("samples", "channels", "message"),
    [
        (np.zeros(9), 1, r"type float64 were given. Expected float32 .* or int16; give samples.astype\(np.float32\)"),
        (np.zeros(9, np.int32), 1, r"type int32 .*; give \(samples / 2\*\*31\).astype\(np.float32\)\.$"),
        (np.zeros(9, np.uint8), 1, r"type uint8 .* or int16\.$"),  # neither scale nor middle are clear
        (np.zeros(9, ">i2"), 1, r"type >i2 .*; give samples.astype\(np.int16\)\.$"),
        (np.zeros(9, ">f4"), 1, r"type >f4 .*; give samples.astype\(np.float32\)\.$"),
        ([0.0, 0.1], 1, "type float64 were given"),
        (["a"], 1, r"type <U1 .* or int16\.$"),
        (b"\0\0", 1, r"type \|S2 were given"),
        (np.zeros((9, 2), np.float32), 1, r"shape \(9, 2\) were given: expected one channel, \(L,\)"),
        (np.zeros((), np.float32), 1, r"shape \(\) were given"),
        (np.zeros(9, np.float32), 2, r"shape \(9,\) were given: expected \(L, 2\)"),
        (np.zeros((2, 9), np.float32), 2, r"shape \(2, 9\) were given: expected \(L, 2\)"),
        (np.zeros((9, 2, 1), np.float32), 2, r"shape \(9, 2, 1\) were given"),
    ],
)
def test_other_samples_are_refused_and_nothing_is_lost(backend, samples, channels, message):
    denoiser = StreamingDenoiser(backend, channels=channels)
    good = signal_at(16000, channels=channels)
    first = denoiser.process(good[:1000])
    with pytest.raises(ValueError, match=message):
        denoiser.process(samples)
    whole = np.concatenate([first, denoiser.process(good[1000:]), denoiser.flush()])
    np.testing.assert_array_equal(whole, denoiser.denoise(good))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"level": "loud"}, "level 'loud' was given"),
        ({"sample_rate": 0}, "sample rate of 0 was given. Expected a whole number of Hz, 1000 to 768000"),
        ({"sample_rate": 44100.5}, "sample rate of 44100.5"),
        ({"sample_rate": "48000"}, "sample rate of '48000'"),
        ({"output_rate": -1}, "^an output rate of -1"),
        ({"channels": 0}, "number of channels of 0 was given. Expected a whole number of channels, 1 to 64"),
        ({"channels": 65}, "number of channels of 65"),
        ({"channels": True}, "number of channels of True"),
        ({"strength": 1.5}, "strength of 1.5 was given. Expected 0 to 1"),
        ({"strength": 0.5, "attenuation_limit_db": 6}, "Expected one of them"),
        ({"attenuation_limit_db": -1}, "attenuation limit of -1 dB"),
    ],
)
def test_settings_that_there_are_not_are_refused(backend, settings, message):
    with pytest.raises(ValueError, match=message):
        StreamingDenoiser(backend, **settings)


def test_settings_are_checked_when_they_change(backend):
    denoiser = StreamingDenoiser(backend)
    for name, value in (("strength", 2), ("strength", np.nan), ("attenuation_limit_db", -3)):
        with pytest.raises(ValueError, match="was given. Expected"):
            setattr(denoiser, name, value)
    assert denoiser.strength == 1


def test_closed_stream_takes_nothing(backend):
    with StreamingDenoiser(backend) as denoiser:
        denoiser.process(np.zeros(10, np.float32))
    denoiser.close()
    for use in (lambda: denoiser.process(np.zeros(10, np.float32)), denoiser.flush, denoiser.reset):
        with pytest.raises(ValueError, match="stream is closed. Make a new StreamingDenoiser"):
            use()
    assert len(StreamingDenoiser(backend).denoise(np.zeros(10, np.float32))) == 10
