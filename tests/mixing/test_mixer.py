"""dtln.mixing.mixer: SNR, level and peak of mixtures, and how often they are augmented."""

from __future__ import annotations

import numpy as np
import pytest
from mixtures import level_db, mixer
from training_pairs import speech_like

from dtln.errors import SettingsError
from dtln.mixing.augmentations import augmentation_by_name
from dtln.mixing.mixer import PEAK_LIMIT, mix, mix_with_guard
from dtln.mixing.recordings import Recordings


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 12.5, 25.0])
@pytest.mark.parametrize("level_dbfs", [-35.0, -20.0])
def test_mixture_has_the_snr_and_level_asked_for(snr_db: float, level_dbfs: float) -> None:
    speech, noise = speech_like(16000), np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    noisy, clean = mix(speech, noise, snr_db, level_dbfs)
    assert noisy.dtype == clean.dtype == np.float32
    assert level_db(clean) - level_db(noisy - clean) == pytest.approx(snr_db, abs=0.01)
    assert level_db(noisy) == pytest.approx(level_dbfs, abs=0.01)
    assert np.corrcoef(clean, speech)[0, 1] == pytest.approx(1.0, abs=1e-6)  # aligned, only scaled


def test_snr_of_active_frames_leaves_pauses_out() -> None:
    """Frames of 32 ms that are 39 dB below the loudest count, those 41 dB below do not, nor does the noise in them."""
    rng = np.random.default_rng(0)
    gains = np.repeat(10 ** (np.array([0, -39, -41, -200]) / 20), 512)
    speech = np.append(np.sign(rng.standard_normal(2048)) * gains, np.zeros(100)).astype(np.float32)
    noise = (rng.standard_normal(2148) * np.append(np.repeat([1, 2, 30, 50], 512), np.ones(100))).astype(np.float32)
    noisy, clean, _ = mix_with_guard(speech, noise, 5.0, -25.0, snr_over="active")
    assert level_db(clean[:1024]) - level_db((noisy - clean)[:1024]) == pytest.approx(5.0, abs=0.01)
    whole, clean, _ = mix_with_guard(speech, noise, 5.0, -25.0)
    assert level_db(clean) - level_db(whole - clean) == pytest.approx(5.0, abs=0.01)
    only_in_pauses = np.where(np.arange(2148) < 1024, np.float32(0), noise)
    noisy, clean, _ = mix_with_guard(speech, only_in_pauses, 5.0, -25.0, snr_over="active")
    assert level_db(clean) - level_db(noisy - clean) == pytest.approx(5.0, abs=0.01)
    silent, _, _ = mix_with_guard(0 * speech, noise, 5.0, -25.0, snr_over="active")
    assert level_db(silent) == pytest.approx(-25.0, abs=0.01)


def test_mixer_takes_the_snr_over_active_frames() -> None:
    """Speech that pauses half the time has 3 dB less by the mean of all; the draws are the same."""
    paused = np.where(np.arange(8192) < 4096, 8000, 0) * np.sign(np.random.default_rng(0).standard_normal(8192))
    settings = {"speech": Recordings(["s/a_0.wav"], [paused.astype(np.int16)]), "segment_length": 8192}
    settings |= {"snr_db": (6.0, 6.0), "level_dbfs": (-25.0, -25.0)}
    for snr_over, expected in (("all", 6.0), ("active", 3.0)):
        noisy, clean = mixer(**settings, snr_over=snr_over).draw(np.random.default_rng(1))
        assert level_db(clean) - level_db(noisy - clean) == pytest.approx(expected, abs=0.2)
    with pytest.raises(SettingsError, match="unknown frames 'speech' for the SNR: expected one of all, active"):
        mixer(snr_over="speech")


def test_peak_is_limited_and_the_snr_kept() -> None:
    noise = np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    noisy, clean = mix(speech_like(16000), noise, 5.0, 0.0)
    assert max(np.max(np.abs(noisy)), np.max(np.abs(clean))) == pytest.approx(PEAK_LIMIT, abs=1e-4)
    assert level_db(clean) - level_db(noisy - clean) == pytest.approx(5.0, abs=0.01)


def test_silent_parts_are_mixed_without_nan() -> None:
    speech, noise, silence = speech_like(8000), speech_like(8000, seed=3), np.zeros(8000, np.float32)
    noisy, clean = mix(speech, silence, 5.0, -25.0)
    np.testing.assert_array_equal(noisy, clean)
    assert level_db(noisy) == pytest.approx(-25.0, abs=0.01)
    noisy, clean = mix(silence, noise, 5.0, -25.0)
    assert not clean.any()
    assert level_db(noisy) == pytest.approx(-25.0, abs=0.01)
    noisy, clean = mix(silence, silence, 5.0, -25.0)
    assert not noisy.any() and not clean.any()


def test_draws_lie_in_the_ranges_and_repeat_for_a_seed() -> None:
    source = mixer(snr_db=(-5.0, 25.0), level_dbfs=(-35.0, -15.0))
    snrs, levels = [], []
    for seed in range(60):
        noisy, clean = source.draw(np.random.default_rng(seed))
        assert noisy.shape == clean.shape == (8000,)
        again = source.draw(np.random.default_rng(seed))
        np.testing.assert_array_equal(noisy, again[0])
        np.testing.assert_array_equal(clean, again[1])
        snrs.append(level_db(clean) - level_db(noisy - clean))
        levels.append(level_db(noisy))
    assert min(snrs) >= -5.01 and max(snrs) <= 25.01 and np.ptp(snrs) > 20
    assert min(levels) >= -35.01 and max(levels) <= -14.99 and np.ptp(levels) > 12


@pytest.mark.parametrize(("share", "fewest", "most"), [("0", 0, 0), ("0.3", 15, 45), ("1", 100, 100)])
def test_share_of_segments_is_set_by_name(share: str, fewest: int, most: int) -> None:
    plain, reversed_noise = mixer(), mixer(augmentations=[f"time_reversal={share}"])
    draws = [[source.draw(np.random.default_rng(seed))[0] for source in (plain, reversed_noise)] for seed in range(100)]
    assert fewest <= sum(not np.array_equal(*pair) for pair in draws) <= most


@pytest.mark.parametrize("share", ["1.5", "-0.1", "often", "", "nan"])
def test_shares_that_are_none(share: str) -> None:
    with pytest.raises(ValueError, match=f"augmentation calls={share}: expected a share of segments from 0 to 1"):
        augmentation_by_name(f"calls={share}")


def test_bad_mixer_settings() -> None:
    with pytest.raises(
        ValueError, match="unknown augmentation 'reverb': expected one of altered_voices, babble, band_limits"
    ):
        mixer(augmentations=["reverb"])
    with pytest.raises(ValueError, match="SNR range 10.0 to 5.0 dB is empty"):
        mixer(snr_db=(10.0, 5.0))
    with pytest.raises(ValueError, match="level range -10.0 to -20.0 dB is empty"):
        mixer(level_dbfs=(-10.0, -20.0))
    with pytest.raises(ValueError, match="the mixer was given no noise recordings"):
        mixer(noise=Recordings([], []))
