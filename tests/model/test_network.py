"""The network itself: published numbers, loss, normalisation, start, sizes, causality."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from signals import batch_output, random_network, snr_db, speech_like

import DTLN_model as dtln
from dtln.blocks import pad_for_overlap, whole_blocks
from dtln.choices import STARTS, resolve
from dtln.errors import SettingsError
from dtln.facts import BLOCK_SHIFT, OVERLAP_DELAY
from dtln.scoring.metrics import si_sdr

SIZES = [(512, 128), (320, 160), (160, 80), (400, 160)]


@pytest.mark.parametrize(
    ("weights", "golden"), [("model.h5", "batch_model"), ("DTLN_norm_500h.h5", "batch_DTLN_norm_500h")]
)
def test_batch_output_equals_the_published_code(shared, weights, golden):
    network = dtln.load_network(shared / "reference" / weights)
    with np.load(shared / "reference" / "golden.npz") as reference:
        np.testing.assert_allclose(batch_output(network, reference["input"]), reference[golden], atol=1e-5)


def test_network_has_under_one_million_parameters_and_both_variants_differ_by_one_normalisation():
    plain, normalising = (dtln.build_network(dtln.DTLNConfig(norm_stft=norm)) for norm in (False, True))
    assert plain.count_params() == 986_753
    assert normalising.count_params() - plain.count_params() == 2 * 257


@pytest.mark.parametrize("length", [0, 1, 127, 511, 512, 513, 640, 5000])
def test_output_has_the_length_of_the_input(length):
    network = random_network(dtln.DTLNConfig(units=8))
    assert np.asarray(network(np.zeros((2, length), np.float32))).shape == (2, length)


def test_zeros_are_added_at_the_end_only():
    network = random_network(dtln.DTLNConfig(units=8))
    signal = speech_like(1100)
    padded = np.pad(signal, (0, whole_blocks(1100) - 1100))
    assert whole_blocks(1100) == 1152
    np.testing.assert_array_equal(network(signal[None]), np.asarray(network(padded[None]))[:, :1100])


def test_negative_snr_is_the_published_formula_and_finite_for_silence():
    rng = np.random.default_rng(0)
    target, estimate = rng.standard_normal((2, 4, 1000)).astype(np.float32)
    target *= np.array([[1.0], [1e-2], [1e-5], [0.0]], np.float32)
    estimate *= 0.1
    found = keras.ops.convert_to_numpy(dtln.negative_snr(target, estimate))
    error = np.mean((target - estimate) ** 2, axis=-1) + 1e-7
    np.testing.assert_allclose(found[:3], -10 * np.log10(np.mean(target**2, axis=-1)[:3] / error[:3]), rtol=1e-4)
    np.testing.assert_allclose(found[3], 10 * np.log10(error[3] / 1e-7), rtol=1e-4)
    np.testing.assert_allclose(dtln.negative_snr(target[3:], target[3:]), [0.0], atol=1e-4)


def test_negative_si_sdr_is_that_of_the_metric_and_finite_for_silence():
    rng = np.random.default_rng(0)
    target = rng.standard_normal((3, 4000)).astype(np.float32) * np.array([[0.1], [0.3], [0.0]], np.float32)
    estimate = (2 * target + 0.05 * rng.standard_normal((3, 4000)) + 0.01).astype(np.float32)
    found = keras.ops.convert_to_numpy(dtln.negative_si_sdr(target, estimate))
    for index in range(2):
        assert found[index] == pytest.approx(-si_sdr(target[index], estimate[index]), abs=0.01)
    assert np.isfinite(found[2])


def test_instant_layer_normalisation_looks_at_one_block_only():
    layer = dtln.InstantLayerNormalization()
    values = np.random.default_rng(0).normal(3, 2, (2, 5, 16)).astype(np.float32)
    layer.build(values.shape)
    gain, bias = np.linspace(0.5, 2, 16), np.linspace(-1, 1, 16)
    layer.set_weights([gain, bias])
    expected = (values - values.mean(-1, keepdims=True)) / np.sqrt(values.var(-1, keepdims=True) + 1e-7) * gain + bias
    np.testing.assert_allclose(layer(values), expected, atol=1e-5)
    np.testing.assert_allclose(layer(values[:, 2:3]), np.asarray(layer(values))[:, 2:3], atol=1e-6)


def test_start_from_the_mdct_is_the_identity():
    network = dtln.build_network(dtln.DTLNConfig())
    signal = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    assert snr_db(signal, batch_output(network, signal)) < 3
    resolve(STARTS, "mdct")(network.dtln_layers)
    output = batch_output(network, signal)
    assert abs(np.dot(signal, output) / np.dot(signal, signal) - 1) < 0.02
    assert snr_db(signal, output) > 20


def test_mdct_basis_reconstructs_perfectly():
    basis = dtln.mdct_basis(64)
    signal = np.random.default_rng(0).standard_normal(32 * 20)
    rebuilt = np.zeros_like(signal)
    for start in range(0, len(signal) - 63, 32):
        rebuilt[start : start + 64] += basis @ (basis.T @ signal[start : start + 64])
    np.testing.assert_allclose(rebuilt[32:-32], signal[32:-32], atol=1e-12)


def test_random_start_changes_nothing():
    network = dtln.build_network(dtln.DTLNConfig(units=8))
    before = network.get_weights()
    resolve(STARTS, "random")(network.dtln_layers)
    assert all(np.array_equal(a, b) for a, b in zip(network.get_weights(), before, strict=True))


def test_start_from_the_mdct_says_which_sizes_it_needs():
    network = dtln.build_network(dtln.DTLNConfig(block_length=400, block_shift=160, units=8))
    message = "needs an encoder of half a block.*divides half a block; found encoder 256, block 400, shift 160"
    with pytest.raises(SettingsError, match=message):
        dtln.initialise_mdct(network.dtln_layers)


@pytest.mark.parametrize(("length", "shift"), [(512, 0), (128, 256), (401, 160)])
def test_sizes_that_do_not_fit_are_refused(length, shift):
    with pytest.raises(ValueError, match=f"block length {length} and block shift {shift} do not fit"):
        dtln.DTLNConfig(block_length=length, block_shift=shift)


@pytest.mark.parametrize(("length", "shift"), SIZES)
def test_overlap_add_of_untouched_blocks_counts_the_overlaps(length, shift):
    signal = speech_like(4000)[None]
    blocks = dtln.Framing(length, shift)(signal)
    added = keras.ops.convert_to_numpy(dtln.overlap_add(blocks, shift))[:, :4000]
    count = keras.ops.convert_to_numpy(dtln.overlap_add(keras.ops.ones_like(blocks), shift))[:, :4000]
    np.testing.assert_allclose(added, signal * count, atol=1e-6)
    inner = count[0, length : 4000 - length]
    assert set(inner) == {float(length // shift), float(-(-length // shift))}


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("norm_stft", [False, True])
@pytest.mark.parametrize(("length", "shift"), SIZES)
def test_training_steps_stay_finite(length, shift, norm_stft):
    sizes = {"block_length": length, "block_shift": shift, "units": 16, "lstm_layers": 1, "encoder_size": 32}
    config = dtln.DTLNConfig(**sizes, norm_stft=norm_stft)
    network = random_network(config)
    dtln.compile_network(network, dtln.TrainingSettings(), 10)
    noisy = np.stack([speech_like(2400, seed) for seed in range(3)])
    noisy[2] = 0  # silence has a magnitude of zero, where the gradient of a root has a pole
    for _ in range(3):
        assert np.isfinite(network.train_on_batch(noisy, 0.5 * noisy))
    assert all(np.all(np.isfinite(w)) for w in network.get_weights())


@pytest.mark.parametrize("norm_stft", [False, True])
def test_network_is_causal_up_to_the_overlap(norm_stft):
    network = random_network(dtln.DTLNConfig(norm_stft=norm_stft))
    signal = speech_like(128 * 60)
    changed = signal.copy()
    change = 128 * 40
    changed[change:] = np.random.default_rng(1).uniform(-0.5, 0.5, len(signal) - change)
    before, after = batch_output(network, signal), batch_output(network, changed)
    np.testing.assert_array_equal(before[: change - OVERLAP_DELAY], after[: change - OVERLAP_DELAY])
    assert np.max(np.abs(before - after)[change - OVERLAP_DELAY : change - OVERLAP_DELAY + BLOCK_SHIFT]) > 1e-4


def test_stateful_network_gives_the_blocks_of_the_batch_network():
    network = random_network(dtln.DTLNConfig(norm_stft=True))
    stateful = dtln.build_stateful_network(network.config)
    stateful.set_weights(network.get_weights())
    padded = pad_for_overlap(speech_like(128 * 20))
    for _ in range(2):  # the second time after a reset
        output = np.zeros(len(padded))
        for start in range(0, len(padded) - 511, 128):
            block = stateful.predict_on_batch(padded[None, start : start + 512])
            assert block.shape == (1, 1, 512)
            output[start : start + 512] += block[0, 0]
        np.testing.assert_allclose(output, np.asarray(network(padded[None]))[0], atol=1e-5)
        for layer in stateful.layers:
            if isinstance(layer, keras.layers.LSTM):
                layer.reset_state()
