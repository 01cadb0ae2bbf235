"""The multi-resolution STFT loss, and training with it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from signals import speech_like
from training_pairs import write_pairs

import DTLN_model as dtln
from dtln.choices import LOSSES
from research import stft_loss


def test_it_sees_magnitudes_alone_and_grows_with_their_distance() -> None:
    target = speech_like(16000)[None]
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((1, 16000)).astype(np.float32) * np.std(target)
    distance = stft_loss.multi_resolution_stft_loss
    losses = [float(distance(target, target + g * noise)[0]) for g in (0.0, 0.03, 0.1, 0.3, 1.0)]
    assert losses[0] < 1e-3 and all(a < b for a, b in zip(losses, losses[1:], strict=False))
    assert float(distance(target, -target)[0]) < 1e-3  # the phase does not count
    louder = distance(10 * target, 10 * (target + 0.3 * noise))
    assert float(louder[0]) == pytest.approx(losses[3], rel=1e-3)  # nor the level
    silent = np.zeros((1, 16000), np.float32)
    assert float(distance(silent, noise)[0]) == 0  # or one such segment outweighs all others
    total = float(stft_loss.negative_snr_and_stft(target, target + 0.3 * noise)[0])
    snr = float(dtln.negative_snr(target, target + 0.3 * noise)[0])
    assert total == pytest.approx(snr + 5.0 * losses[3], rel=1e-4)


def test_it_is_the_published_formula() -> None:
    """One resolution at a time, restated with SciPy, for a signal of RMS 1 that is well above the floor."""
    from scipy.signal import stft

    rng = np.random.default_rng(1)
    target, estimate = rng.standard_normal((2, 8000)).astype(np.float32)
    target /= np.sqrt(np.mean(target**2))
    expected = 0.0
    for length, shift in stft_loss.STFT_RESOLUTIONS:
        wanted, found = (
            np.abs(stft(x, window="hann", nperseg=length, noverlap=length - shift, boundary=None, padded=False)[2])
            for x in (target, estimate)
        )
        expected += np.linalg.norm(wanted - found) / np.linalg.norm(wanted)
        expected += np.mean(np.abs(np.log(wanted) - np.log(found)))
    found = float(stft_loss.multi_resolution_stft_loss(target[None], estimate[None])[0])
    assert found == pytest.approx(expected / 3, rel=1e-3)


@pytest.mark.usefixtures("small_networks", "eagerly")
def test_a_run_is_trained_and_validated_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LOSSES, "snr_stft", "")  # set by the script, and taken out again after this test
    train, validation = write_pairs(tmp_path / "train", [4096] * 2), write_pairs(tmp_path / "validation", [4096] * 2)
    flags = ("--train-noisy", "--train-clean", "--val-noisy", "--val-clean")
    data = [text for pair in zip(flags, map(str, (*train, *validation)), strict=True) for text in pair]
    loop = ["--segment-seconds", "0.256", "--batch-size", "2", "--max-epochs", "1"]
    assert stft_loss.main([*data, *loop, "--run-name", "run", "--run-dir", str(tmp_path / "run")]) == 0
    with open(tmp_path / "run" / "training_run.log", newline="") as stream:
        (row,) = csv.DictReader(stream)
    network = dtln.load_network(tmp_path / "run" / "run_last.h5")
    network.compile(loss=stft_loss.negative_snr_and_stft)
    loss = network.evaluate(dtln.ValidationBatches(dtln.PairedFolders(*validation, 4096), 2), verbose=0)
    assert loss == pytest.approx(float(row["val_loss"]), abs=1e-4)
