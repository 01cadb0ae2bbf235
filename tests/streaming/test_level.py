"""StreamingDenoiser(level="auto"): what the network hears, and that nothing but the noise differs in what comes out."""

from __future__ import annotations

import numpy as np
import pytest
from signals import snr_db, speech_like

import dtln
from dtln.streaming.engine import StreamingDenoiser, TimedDenoiser
from dtln.streaming.level import LevelTracker


class Ear:
    """A back end that changes nothing, scaled for the overlap-add, and notes the powers of the blocks that it hears."""

    block_length, block_shift, runtime = 512, 128, "ear"

    def __init__(self) -> None:
        self.powers: list[float] = []

    def initial_states(self) -> tuple:
        return ()

    def run(self, block: np.ndarray, states: tuple) -> tuple[np.ndarray, tuple]:
        self.powers.append(float(np.mean(block.astype(np.float64) ** 2)))
        return block / np.float32(4), states

    def levels(self) -> np.ndarray:
        """dBFS."""
        return 10 * np.log10(np.maximum(self.powers, 1e-20))


@pytest.fixture(scope="module")
def backend():
    return dtln.load("onnx-stream")


SPEECH = speech_like(32000)  # -19 dBFS


def test_stream_inside_the_range_is_as_raw_to_the_bit(backend):
    raw, automatic = (StreamingDenoiser(backend, level).denoise(SPEECH) for level in ("raw", "auto"))
    np.testing.assert_array_equal(raw, automatic)
    np.testing.assert_array_equal(raw, StreamingDenoiser(backend).denoise(SPEECH))


@pytest.mark.parametrize(("gain", "offset"), [(1e-2, 0.0), (3e-3, 0.0), (1.0, 0.3), (1e-2, -0.01)])
def test_level_and_offset_of_a_stream_make_little_difference(backend, gain, offset):
    stream = gain * SPEECH + np.float32(offset)
    known = slice(10000, None)
    expected = StreamingDenoiser(backend).denoise(SPEECH)[known]
    automatic = StreamingDenoiser(backend, "auto").denoise(stream)[known] / gain
    raw = StreamingDenoiser(backend).denoise(stream)[known] / gain
    assert snr_db(expected, automatic) > max(12, snr_db(expected, raw) + 1)


def test_gains_change_what_is_heard_but_not_what_comes_out():
    ear, loudness = Ear(), np.repeat([1.0, 0.02, 0.3, 0.0, 10.0, 1.0], 320000).astype(np.float32)
    stream = np.tile(SPEECH, 60) * loudness
    stream[330000] = 0.5  # a click
    denoiser = StreamingDenoiser(ear, "auto")
    out = denoiser.denoise(stream)
    np.testing.assert_allclose(out, stream, rtol=1e-5, atol=1e-7)
    heard = ear.levels()[: len(stream) // 128].reshape(6, -1)
    for part in (0, 1, 2, 4, 5):  # the last second of twenty, in which the level falls by up to 40 dB
        assert -45 < np.median(heard[part][-125:]) < -10, part


def test_a_quiet_stream_is_soon_heard_and_keeps_its_gain_in_pauses_and_clicks():
    ear = Ear()
    stream = 3e-3 * SPEECH
    stream[20000:28000] *= 0.01
    stream[16000:16010] = 1.0
    StreamingDenoiser(ear, "auto").denoise(stream)
    levels = ear.levels()
    assert levels[:60].max() < -60 and np.median(levels[70:100]) > -45
    assert np.median(levels[130:150]) > -45  # after the click, which alone is 40 dB louder
    assert levels[170:215].max() < -60  # half a second is not turned up


def test_a_pause_inside_the_range_changes_nothing():
    tracker = LevelTracker(128)
    blocks = np.concatenate([SPEECH, *[1e-3 * SPEECH] * 2, SPEECH]).reshape(-1, 128)
    assert {tracker.follow(block) for block in blocks} == {(0.0, 1.0)}


def test_gain_moves_slowly():
    """The network takes speech for noise when it suddenly hears it 20 dB softer."""
    tracker = LevelTracker(128)
    speech = SPEECH.reshape(-1, 128)
    gains = [tracker.follow(block)[1] for block in np.concatenate([1e-3 * speech, *[0.1 * speech] * 5, 8 * speech])]
    steps = np.abs(np.diff(20 * np.log10(gains)))
    assert np.count_nonzero(steps > 1) == 1  # the first gain, which follows on no other
    assert np.sort(steps)[-2] < 0.03  # dB a block: 3 dB/s
    assert 20 * np.log10(gains[249]) > 20 > 15 > 20 * np.log10(gains[-300])


def test_offset_does_not_come_back():
    out = StreamingDenoiser(Ear(), "auto").denoise(SPEECH + np.float32(0.3))
    assert np.abs(out[6000:-600] - SPEECH[6000:-600]).max() < 0.02
    assert np.abs(StreamingDenoiser(Ear()).denoise(SPEECH + np.float32(0.3)) - SPEECH).max() > 0.29


def test_silence_and_unusable_blocks_leave_the_level_alone():
    tracker, quiet = LevelTracker(128), 3e-3 * SPEECH.reshape(-1, 128)
    before = [tracker.follow(block) for block in quiet][-1]
    assert before[1] > 10
    assert [tracker.follow(np.zeros(128, np.float32)) for _ in range(2000)][-1] == before
    denoiser = StreamingDenoiser(Ear(), "auto")
    for block in (np.full(128, np.nan, np.float32), *quiet):
        assert np.all(np.isfinite(denoiser.process_block(block)))


def test_pieces_of_any_size_and_a_second_stream_give_the_same(backend):
    quiet = 3e-3 * SPEECH[:12000]
    denoiser = TimedDenoiser(backend, "auto")
    whole = denoiser.denoise(quiet)
    pieces = [denoiser.process(piece) for piece in np.split(quiet, [1, 500, 7777])]
    np.testing.assert_array_equal(np.concatenate([*pieces, denoiser.flush()]), whole)
    blocks = [denoiser.process_block(block) for block in quiet[: 93 * 128].reshape(-1, 128)]
    np.testing.assert_array_equal(np.concatenate(blocks)[384:], whole[: 93 * 128 - 384])  # no more delay than raw


def test_levels_that_there_are_not_are_refused():
    with pytest.raises(ValueError, match="level 'loud' was given. Expected one of 'auto', 'raw'"):
        StreamingDenoiser(Ear(), "loud")
