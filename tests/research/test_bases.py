"""Bases for encoder and decoder, and trained weights that change to one."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from signals import batch_output, random_network, snr_db, speech_like
from training_pairs import write_pairs

import DTLN_model as dtln
from research import bases, change_basis


@pytest.mark.parametrize("name", ["mdct", "mclt"])
def test_start_from_a_basis_is_the_identity(name: str) -> None:
    network = dtln.build_network(dtln.DTLNConfig())
    signal = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    bases.initialise_basis(network.dtln_layers, name)
    output = batch_output(network, signal)
    assert abs(np.dot(signal, output) / np.dot(signal, signal) - 1) < 0.02
    assert snr_db(signal, output) > 20


@pytest.mark.parametrize(("name", "length", "shift"), [("mclt", 128, 32), ("mclt", 512, 128), ("mdct", 64, 8)])
def test_inverse_of_a_basis_gives_the_signal_back(name: str, length: int, shift: int) -> None:
    basis = bases.BASES[name](length)
    assert basis.shape == (length, length // 2)
    np.testing.assert_allclose(np.linalg.norm(basis, axis=0), 1.0, rtol=1e-9)
    synthesis = bases.inverse_basis(basis, shift)
    signal = np.random.default_rng(0).standard_normal(10 * length)
    rebuilt = np.zeros_like(signal)
    for start in range(0, len(signal) - length + 1, shift):
        rebuilt[start : start + length] += synthesis.T @ (basis.T @ signal[start : start + length])
    assert snr_db(signal[length:-length], rebuilt[length:-length]) > 55


def test_low_filters_of_the_mclt_basis_come_in_two_phases() -> None:
    """The power of a pair stays as a tone goes on; that of the MDCT's coefficient comes and goes."""
    blocks = np.stack([np.cos(2 * np.pi * 1015 / 16000 * (np.arange(512) + 128 * i)) for i in range(40)])
    paired = np.square(blocks @ bases.mclt_basis(512)[:, 64:66]).sum(axis=1)
    single = np.square(blocks @ dtln.mdct_basis(512)[:, 32])
    assert paired.min() > 0.9 * paired.max()
    assert single.min() < 0.1 * single.max()


@pytest.mark.parametrize(
    ("name", "length", "shift", "message"),
    [
        ("mdct", 400, 160, "needs an encoder of half a block.*divides half a block; found encoder 256, block 400"),
        ("mclt", 512, 256, "needs .*blocks of four shifts and n times 128 samples; found encoder 256"),
    ],
)
def test_a_basis_says_which_sizes_it_needs(name: str, length: int, shift: int, message: str) -> None:
    network = dtln.build_network(dtln.DTLNConfig(block_length=length, block_shift=shift, units=8))
    with pytest.raises(ValueError, match=message):
        bases.initialise_basis(network.dtln_layers, name)


def test_weights_to_start_from_are_written(tmp_path: Path) -> None:
    path = tmp_path / "start.h5"
    assert bases.main(["--output", str(path), "--norm-stft"]) == 0
    network = dtln.load_network(path)
    assert network.config == dtln.DTLNConfig(norm_stft=True)
    np.testing.assert_allclose(network.dtln_layers.encoder.get_weights()[0][0], bases.mclt_basis(512), atol=1e-6)


def test_a_changed_basis_keeps_what_the_lstms_have_learned() -> None:
    """They say on other signals what they said, and the mask, fitted on what they say, brings the output nearer."""
    network = random_network(dtln.DTLNConfig(units=32))
    core_1 = network.dtln_layers.core_1.dense
    core_1.set_weights([0 * core_1.get_weights()[0], 0 * core_1.get_weights()[1] + 3.0])  # lets nearly all through
    clean = np.stack([speech_like(16000, seed) for seed in range(8)])
    noisy = clean + np.random.default_rng(0).normal(0, 0.05, clean.shape).astype(np.float32)
    said = keras.Model(network.input, network.dtln_layers.core_2.dense.input)
    before = keras.ops.convert_to_numpy(said(noisy[6:]))
    change_basis.change_basis(network, "mclt", noisy[:6], clean[:6])
    after = keras.ops.convert_to_numpy(said(noisy[6:]))

    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.8
    for signal, target in zip(noisy[6:], clean[6:], strict=True):
        assert snr_db(target, batch_output(network, signal)) > snr_db(target, signal) + 1
    filters = network.dtln_layers.encoder.get_weights()[0][0]
    directions = filters / np.linalg.norm(filters, axis=0)
    np.testing.assert_allclose(directions, bases.mclt_basis(512), atol=1e-6)


def test_a_basis_is_changed_of_sigmoid_masks_only() -> None:
    network = random_network(dtln.DTLNConfig(units=8, activation="tanh"))
    with pytest.raises(ValueError, match="masks of this network are made by 'tanh': only a sigmoid can be fitted"):
        change_basis.change_basis(network, "mclt", *np.zeros((2, 1, 2000), np.float32))


def test_weights_with_another_basis_are_written(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noisy, clean = write_pairs(tmp_path, [4096] * 2)
    command = ["-m", str(weights), "--output", str(tmp_path / "new.h5"), "--segment-seconds", "0.256"]
    pairs = ["--train-noisy", str(noisy), "--train-clean", str(clean)]
    assert change_basis.main([*command, *pairs]) == 0
    filters = dtln.load_network(tmp_path / "new.h5").dtln_layers.encoder.get_weights()[0][0]
    np.testing.assert_allclose(filters / np.linalg.norm(filters, axis=0), bases.mclt_basis(512), atol=1e-5)

    assert change_basis.main([*command, "--train-noisy", str(noisy), "--train-clean", str(tmp_path / "none")]) == 1
    assert "change_basis.py: " in capsys.readouterr().err
    with pytest.raises(SystemExit):
        change_basis.main([*command, "--train-noisy", str(noisy)])
    assert "give either --train-noisy and --train-clean, or --speech and --noise" in capsys.readouterr().err
