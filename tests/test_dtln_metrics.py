"""dtln_metrics: against closed forms, and against the packages themselves."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest

import dtln_metrics
from dtln_audio import read_audio


def test_si_sdr_of_known_mixture():
    time = np.arange(16000) / 16000
    clean, other = np.sin(2 * np.pi * 400 * time), np.sin(2 * np.pi * 900 * time)  # orthogonal
    assert dtln_metrics.si_sdr(clean, 0.3 * clean + 0.03 * other) == pytest.approx(20.0, abs=1e-6)


def test_si_sdr_ignores_gain_and_means(noise):
    clean, estimate = noise(16000), noise(16000) + 0.3 * noise(16000, seed=1)
    shifted = dtln_metrics.si_sdr(clean + 0.2, -3.0 * estimate + 0.5)
    assert shifted == pytest.approx(dtln_metrics.si_sdr(clean, estimate), abs=1e-3)


def test_si_sdr_at_its_ends(noise):
    clean = np.round(noise(1000) * 256) / 256
    assert dtln_metrics.si_sdr(clean, 2 * clean) > 200
    assert dtln_metrics.si_sdr(clean, np.zeros(1000)) == -math.inf
    with pytest.raises(ValueError, match="SI-SDR of a silent clean signal is not defined"):
        dtln_metrics.si_sdr(np.ones(1000), clean)


@pytest.mark.parametrize("raw", [-0.5, 1.0, 2.481, 4.5])
def test_raw_pesq_inverts_p862_1(raw):
    lqo = 0.999 + (4.999 - 0.999) / (1 + math.exp(-1.4945 * raw + 4.6607))
    assert dtln_metrics.raw_pesq(lqo) == pytest.approx(raw, abs=1e-9)


@pytest.mark.parametrize("function", [dtln_metrics.si_sdr, dtln_metrics.stoi_percent, dtln_metrics.score])
def test_signals_that_do_not_fit(noise, function):
    with pytest.raises(ValueError, match=r"clean \(9000,\) and estimate \(9001,\) cannot be compared"):
        function(noise(9000), noise(9001))
    with pytest.raises(ValueError, match="signals without samples cannot be scored"):
        function(noise(0), noise(0))


def test_pesq_without_speech(noise):
    with pytest.raises(ValueError, match="silent clean signal"):
        dtln_metrics.pesq_lqo(np.zeros(16000, np.float32), noise(16000), "wb")
    with pytest.raises(ValueError, match="PESQ cannot be computed .*1/4 of a second"):
        dtln_metrics.pesq_lqo(noise(1000), noise(1000), "nb")


def test_missing_packages(monkeypatch, noise):
    for name in ("pesq", "pystoi"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(dtln_metrics.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="scoring needs pesq and pystoi: pip install pesq pystoi"):
        dtln_metrics.stoi_percent(noise(1000), noise(1000))


def test_score_of_shared_files_is_what_the_packages_say(shared):
    pesq, pystoi = pytest.importorskip("pesq"), pytest.importorskip("pystoi")
    for name in ("mix_fileid_0.flac", "mix_fileid_1.flac", "mix_fileid_2.flac"):
        clean, _ = read_audio(shared / "eval" / "clean" / name, mono=True)
        noisy, _ = read_audio(shared / "eval" / "noisy" / name, mono=True)
        narrow = pesq.pesq(16000, clean, noisy, "nb")
        centred, estimate = clean - clean.mean(), noisy - noisy.mean()
        target = (estimate @ centred) / (centred @ centred) * centred
        expected = {
            "pesq_raw_nb": (4.6607 - math.log((4.999 - narrow) / (narrow - 0.999))) / 1.4945,
            "pesq_lqo_nb": narrow,
            "pesq_wb": pesq.pesq(16000, clean, noisy, "wb"),
            "stoi_percent": 100 * pystoi.stoi(clean, noisy, 16000),
            "si_sdr_db": 10 * np.log10(np.sum(target**2) / np.sum((estimate - target) ** 2)),
        }
        scores = dtln_metrics.score(clean, noisy)
        assert list(scores) == list(dtln_metrics.METRICS)
        assert scores == pytest.approx(expected, abs=1e-3)
