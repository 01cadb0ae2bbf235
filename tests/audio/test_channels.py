"""dtln.audio.channels: what the mono mix of a recording is made of, wherever recordings are read."""

from __future__ import annotations

import os

import numpy as np
import pytest
import soundfile
from enhancing import require_aligned

from dtln.audio.channels import chosen_channel, mono_mix
from dtln.audio.measuring import measure
from dtln.audio.reading import audio_blocks, mono_mix_of, read_audio, read_stretch
from dtln.mixing.recordings import load_recordings

CANCEL = "whose channels cancel each other"
DEAD = "with channels that are dead"


def mix_of(*channels: np.ndarray):
    return mono_mix(measure([np.stack(channels, axis=1)], 16000, len(channels)))


def test_unrelated_alike_and_silent_channels_are_averaged(noise):
    x, other = noise(16000), noise(16000, seed=1)
    for channels in ((x,), (x, x), (x, other), (x, 0.02 * other), (x, 0.3 * x, 0.5 * other), (0 * x, 0 * x)):
        mix = mix_of(*channels)
        assert mix.channels == tuple(range(len(channels))) and mix.finding is None
        samples = np.stack(channels, axis=1)
        np.testing.assert_array_equal(mix.average(samples), samples.mean(axis=1, keepdims=True))


@pytest.mark.parametrize("rate", [8000, 48000])
def test_channels_that_cancel_give_way_to_the_loudest(noise, rate):
    x, other = noise(rate), noise(rate, seed=1)
    for second in (-x, 0.8 * other - 1.1 * x, -0.5 * x):
        mix = mono_mix(measure([np.stack([x, second], axis=1)], rate, 2))
        loudest = int(second.std() > x.std())
        assert mix.channels == (loudest,)
        words = f"channels 1 and 2 are in opposite phase, so that channel {loudest + 1}, the loudest, was taken"
        assert mix.finding == (CANCEL, words)


@pytest.mark.parametrize("dead", [0.0, 0.3, 1e-4], ids=["silence", "offset", "hiss"])
def test_dead_channels_stay_out(noise, dead):
    x, hiss = noise(16000), noise(16000, seed=1)
    rest = np.full_like(x, dead) if dead != 1e-4 else dead * hiss / hiss.std() * x.std()
    mix = mix_of(rest, rest, x, rest)
    assert mix.channels == (2,)
    assert mix.finding == (DEAD, "channel 3 was taken of 4, because the others lie 40 dB or more below")
    assert mix_of(x, rest, x).channels == (0, 2)
    assert mix_of(x, rest, -x).channels == (0,) and mix_of(x, rest, -x).finding[0] == CANCEL


def test_a_channel_that_seldom_speaks_is_not_dead(noise):
    x, seldom = noise(160000), noise(160000, seed=1)
    seldom[3000:] *= 1e-3
    assert mix_of(x, seldom).channels == (0, 1)


@pytest.fixture
def cancelling(tmp_path, noise):
    """A stereo file whose average is silence, and its first channel."""
    x = noise(9000)
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / "a.wav", np.stack([x, -0.9 * x], axis=1), 16000, subtype="FLOAT")
    return tmp_path / "in" / "a.wav", x


def test_all_that_reads_mono_takes_the_same_mix(cancelling):
    path, x = cancelling
    np.testing.assert_array_equal(read_audio(path, mono=True)[0], x)
    np.testing.assert_array_equal(read_stretch(path, 500, 1000, 16000), x[500:1500])
    np.testing.assert_array_equal(
        np.concatenate([*audio_blocks(path, mono=chosen_channel(path, 2, 2))])[:, 0], -0.9 * x
    )
    (signal,) = load_recordings(path.parent).signals
    np.testing.assert_allclose(signal / 32768, x, atol=1 / 65536)


def test_a_file_is_measured_again_when_it_changes(cancelling):
    path, x = cancelling
    assert mono_mix_of(path).channels == (0,)
    soundfile.write(path, np.stack([x, x], axis=1), 16000, subtype="FLOAT")
    os.utime(path, ns=(1, 1))
    assert mono_mix_of(path).channels == (0, 1)


def test_denoised_is_what_is_there_and_the_summary_says_so(folders, evaluate, noise, capsys):
    source, target = folders
    x = noise(8000)
    soundfile.write(source / "cancel.wav", np.stack([x, -x], axis=1), 16000, subtype="FLOAT")
    soundfile.write(source / "dead.wav", np.stack([0 * x, x, 0 * x], axis=1), 16000, subtype="FLOAT")
    assert evaluate() == 0
    for name in ("cancel.wav", "dead.wav"):
        require_aligned(read_audio(target / name, mono=True)[0], x)
    out = capsys.readouterr().out
    assert f"1 file {CANCEL}:\n  {source / 'cancel.wav'}: channels 1 and 2 are in opposite phase" in out
    assert f"1 file {DEAD}:\n  {source / 'dead.wav'}: channel 2 was taken of 3" in out
    assert out.count("--channel N takes another, --keep-channels denoises each") == 2
    assert evaluate("--overwrite", "--keep-channels") == 0
    assert "opposite" not in capsys.readouterr().out


def test_channel_by_hand(folders, evaluate, noise, capsys):
    source, target = folders
    soundfile.write(source / "a.wav", noise(8000, 3), 16000, subtype="FLOAT")
    soundfile.write(source / "mono.wav", noise(8000), 16000, subtype="FLOAT")
    assert evaluate("--channel", "2") == 1
    captured = capsys.readouterr()
    assert "mono.wav: has 1 channel. Expected at least 2, because channel 2 was asked for" in captured.err
    assert "1 file denoised" in captured.out and "cancel" not in captured.out
    require_aligned(read_audio(target / "a.wav", mono=True)[0], noise(8000, 3)[:, 1])
    with pytest.raises(SystemExit):
        evaluate("--channel", "2", "--keep-channels")
    assert "not allowed with argument" in capsys.readouterr().err
