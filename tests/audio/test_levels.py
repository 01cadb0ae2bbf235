"""dtln.audio.measuring and levels: what counts as the level of a recording, and what is done about it."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from signals import speech_like

from dtln.audio.channels import MonoMix
from dtln.audio.levels import Correction, corrections
from dtln.audio.measuring import active_power, measure
from dtln.audio.reading import read_audio
from dtln.formats import DEFAULT_WEIGHTS

SPEECH = speech_like(32000)


def level_of(signal: np.ndarray) -> float:
    """dBFS."""
    return 10 * np.log10(active_power(measure([signal[:, None]], 16000, 1).average_powers))


def at_level(level_dbfs: float, signal: np.ndarray = SPEECH) -> np.ndarray:
    return (signal * 10 ** ((level_dbfs - level_of(signal)) / 20)).astype(np.float32)


def correction_of(signal: np.ndarray) -> Correction:
    (found,) = corrections(measure([signal[:, None]], 16000, 1))
    return found


# --- the measurement --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [8000, 44100])
def test_blocks_of_any_length_measure_the_same(noise, rate):
    signal = noise(3 * rate + 99, 3) + np.array([0.0, 0.2, -0.1], np.float32)
    whole = measure([signal], rate, 3)
    pieces = measure(np.split(signal, [1, 7, 5000, 5001, 70000]), rate, 3)
    assert whole.powers.shape == (30, 3)
    for name in ("means", "powers", "average_powers", "covariance"):
        np.testing.assert_allclose(getattr(pieces, name), getattr(whole, name), rtol=1e-4, atol=1e-7)
    samples = signal[: 3 * rate]
    np.testing.assert_allclose(whole.means.mean(axis=0), samples.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(whole.covariance, np.cov(samples.T), rtol=0.05, atol=2e-4)
    np.testing.assert_allclose(whole.average_powers.mean(), samples.mean(axis=1).var(), rtol=0.05)


def test_what_is_shorter_than_a_frame_is_measured_too(noise):
    for length in (0, 1, 100):
        found = measure([noise(length, 2)], 16000, 2)
        assert found.powers.shape == (min(length, 1), 2) and np.all(np.isfinite(found.covariance))


def test_pauses_clicks_and_rare_laughter_do_not_count():
    level = level_of(SPEECH)
    long = np.tile(SPEECH, 10)
    assert level_of(np.concatenate([long, 1e-3 * long, 0 * long])) == pytest.approx(level, abs=1)
    clicks = at_level(-60, long)
    clicks[::40000] = 1.0
    assert level_of(clicks) == pytest.approx(-60, abs=0.5)
    laughter = at_level(-60, np.concatenate([long, 0.1 * long]))
    laughter[9000:16000] *= 30
    assert level_of(laughter) == pytest.approx(-60, abs=2)


def test_rare_speech_counts(noise):
    """Two seconds of speech in three minutes of the noise of a quiet room."""
    room = np.tile(1e-3 * noise(32000), 90)
    room[900000:932000] += SPEECH
    assert level_of(room) == pytest.approx(level_of(SPEECH), abs=3)


# --- what follows from it ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level_dbfs", "gain_db"), [(-60, 30), (-38, 8), (-36, 0), (-25, 0), (-14, 0), (-12, -18), (0, -30), (-85, 40)]
)
def test_gain_brings_into_the_range(level_dbfs, gain_db):
    found = correction_of(at_level(level_dbfs))
    assert 20 * np.log10(found.gain) == pytest.approx(gain_db, abs=0.01)
    assert found.level == pytest.approx(level_dbfs, abs=0.01) and found.offset == 0


def test_silence_and_rounding_noise_are_left_alone():
    rounding = np.random.default_rng(0).integers(-1, 1, 32000, endpoint=True) / 32768 / 2
    for signal in (np.zeros(32000), rounding, np.zeros(0), np.zeros(1), np.full(1, 0.1)):
        assert correction_of(signal.astype(np.float32)).gain == 1
        assert correction_of(signal.astype(np.float32)).offset == 0


@pytest.mark.parametrize("offset", [0.3, -0.3, 0.01])
def test_offset_is_found(offset):
    assert correction_of(at_level(-25) + np.float32(offset)).offset == pytest.approx(offset, rel=0.1)


def test_an_offset_that_does_not_matter_stays(noise):
    assert correction_of(at_level(-25) + np.float32(1e-3)).offset == 0
    for seed in range(50):  # low sounds have a mean by chance
        for length in (1, 400, 3000, 8000, 20000):
            assert correction_of(noise(length, seed=seed)).offset == 0


def test_each_channel_and_each_mix_has_its_own_correction():
    quiet, loud, dead = at_level(-60), at_level(-20, speech_like(32000, 1)), np.zeros_like(SPEECH)
    found = measure([np.stack([quiet, loud + 0.3, dead], axis=1)], 16000, 3)
    one, two, three = corrections(found)
    assert (one.level, two.level) == pytest.approx((-60, -20), abs=0.01)
    assert one.gain > 1 == two.gain == three.gain and one.offset == three.offset == 0 and two.offset > 0.29
    (mixed,) = corrections(found, MonoMix((0, 1), 3))
    assert mixed.level == pytest.approx(-26, abs=0.2) and mixed.offset == pytest.approx(0.15, abs=0.01)
    (single,) = corrections(found, MonoMix((0,), 3))
    assert single == one


# --- through the network ----------------------------------------------------------------------------------------------


@pytest.fixture
def enhance(folders, evaluate):
    """Function: samples (L,) or (L, C), flags -> what `dtln enhance` makes of them with the included weights."""
    source, target = folders

    def run(samples: np.ndarray, *flags: str) -> np.ndarray:
        soundfile.write(source / "a.wav", samples, 16000, subtype="FLOAT")
        assert evaluate("--overwrite", *flags, weights=DEFAULT_WEIGHTS) == 0
        return read_audio(target / "a.wav")[0]

    return run


def test_every_level_gives_what_the_best_level_gives(enhance, capsys):
    expected = enhance(at_level(-30))
    assert np.std(expected) > 1e-3
    capsys.readouterr()
    for level in (-65, -45, -5):
        denoised = enhance(at_level(level))
        np.testing.assert_allclose(denoised * 10 ** ((-30 - level) / 20), expected, rtol=0, atol=1e-5)
        louder = f"{abs(-30 - level)}.0 dB {'louder' if level < -30 else 'softer'}"
        assert f"a.wav: {level}.0 dBFS, heard {louder}" in capsys.readouterr().out
    assert np.abs(enhance(at_level(-65), "--level", "raw") * 10 ** (35 / 20) - expected).max() > 0.01
    assert "range" not in capsys.readouterr().out


@pytest.mark.parametrize("level", [-35, -25, -15])
def test_inside_the_range_nothing_changes(enhance, capsys, level):
    signal = at_level(level)
    np.testing.assert_array_equal(enhance(signal), enhance(signal, "--level", "raw"))
    assert "range" not in capsys.readouterr().out


def test_offset_is_heard_by_nobody(enhance, capsys):
    expected = enhance(at_level(-25))
    capsys.readouterr()
    denoised = enhance(at_level(-25) + np.float32(0.3))
    np.testing.assert_allclose(denoised, expected, rtol=0, atol=2e-3)
    assert abs(denoised.mean()) < 1e-3
    assert "1 file freed of a DC offset:" in capsys.readouterr().out


def test_silence_stays_silence(enhance):
    assert np.abs(enhance(np.zeros(8000, np.float32))).max() < 1e-4


def test_kept_channels_are_brought_to_the_level_one_by_one(enhance, capsys):
    both = enhance(np.stack([at_level(-60), at_level(-25)], axis=1), "--keep-channels")
    assert "a.wav: channel 1: -60.0 dBFS, heard 30.0 dB louder\n" in capsys.readouterr().out
    np.testing.assert_allclose(both[:, 0], enhance(at_level(-60))[:, 0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(both[:, 1], enhance(at_level(-25))[:, 0], rtol=0, atol=1e-6)
