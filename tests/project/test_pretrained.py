"""The shipped weights and exports: that they belong together, and what they are worth."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
from signals import batch_output, snr_db

import DTLN_model as dtln
from dtln.audio.folders import find_audio_files
from dtln.audio.reading import read_audio
from dtln.commands import enhance
from dtln.evaluation.sequences import SequenceNetwork
from dtln.formats import EXPORT_KINDS, available_kinds
from dtln.scoring.metrics import si_sdr
from dtln.streaming.backends import open_backend
from dtln.streaming.engine import StreamingDenoiser

ROOT = Path(__file__).resolve().parents[2]
PRETRAINED = ROOT / "pretrained_model"
QUANTISED_SNR_DB = 30.0  # of the 8-bit exports against float
SI_SDR_GAINS_DB = {"eval": (7.4, 7.1), "eval_reverb": (5.8, 5.4)}  # means over the pairs: model.h5, normalising


def shipped() -> list[Path]:
    """The weights: model.h5, then those that normalise."""
    return [PRETRAINED / "model.h5", *sorted(PRETRAINED.glob("DTLN_norm_*.h5"))]


def test_both_variants_are_shipped():
    assert [dtln.read_config(weights).norm_stft for weights in shipped()] == [False, True]


def exports_of(weights: Path) -> Path:
    """Those of model.h5 lie beside it, of other weights in a folder of their name."""
    return PRETRAINED if weights.name == "model.h5" else weights.with_suffix("")


def test_exports_are_shipped():
    for weights in shipped():
        assert set(available_kinds(exports_of(weights))) == set(EXPORT_KINDS)


@functools.cache
def noisy_and_denoised(weights: Path) -> tuple[np.ndarray, np.ndarray]:
    """Three seconds of noisy speech and what the Keras network with the weights makes of them, (L,) each."""
    noisy, _ = read_audio(find_audio_files(ROOT / "audio_samples" / "noisy")[0], sample_rate=16000, mono=True)
    noisy = 0.5 * noisy[:48000] / np.max(np.abs(noisy[:48000]))
    return noisy, batch_output(dtln.load_network(weights), noisy)


@pytest.mark.parametrize(
    ("weights", "kind"),
    [(w, kind) for w in shipped() for kind in available_kinds(exports_of(w))],
    ids=lambda value: getattr(value, "name", value),
)
def test_exports_give_the_output_of_the_weights(weights, kind):
    noisy, expected = noisy_and_denoised(weights)
    output = StreamingDenoiser(open_backend(kind, exports_of(weights))).denoise(noisy)
    if kind.endswith("-quant"):
        assert snr_db(expected, output) > QUANTISED_SNR_DB, snr_db(expected, output)
    else:
        np.testing.assert_allclose(output, expected, atol=1e-4)


def test_denoised_samples_are_those_of_the_weights(tmp_path):
    samples = ROOT / "audio_samples"
    assert enhance.main(["-i", str(samples / "noisy"), "-o", str(tmp_path)]) == 0
    files = find_audio_files(samples / "denoised")
    assert len(files) == 6
    for file in files:
        made, given = (read_audio(path)[0] for path in (tmp_path / file.relative_to(samples / "denoised"), file))
        np.testing.assert_allclose(given, made, atol=2e-3, err_msg=f"{file}: make it again, see its README")


@pytest.mark.parametrize(
    ("weights", "pairs", "gain_db"),
    [(w, pairs, g) for pairs, gains in SI_SDR_GAINS_DB.items() for w, g in zip(shipped(), gains, strict=True)],
    ids=lambda value: getattr(value, "name", value),
)
def test_weights_gain_si_sdr_on_unheard_speakers_and_noises(shared, weights, pairs, gain_db):
    network = SequenceNetwork(weights, threads=2)
    gains = []
    for noisy_file in find_audio_files(shared / pairs / "noisy"):
        noisy, clean = (
            read_audio(shared / pairs / side / noisy_file.name, mono=True)[0] for side in ("noisy", "clean")
        )
        gains.append(si_sdr(clean, network.denoise(noisy[None])[0]) - si_sdr(clean, noisy))
    assert np.mean(gains) > gain_db


def test_every_shipped_file_is_described():
    card = (PRETRAINED / "README.md").read_text()
    for weights in shipped():
        assert weights.name in card
    for source in ("speechocean762", "LibriSpeech", "LJ Speech", "Kokoro-82M", "ESC-50", "kitchen20", "moodist"):
        assert source in card
