"""Matrices in 8 bits, and the transforms around them."""

from __future__ import annotations

import numpy as np
import pytest
from signals import snr_db, speech_like

from dtln.export import tflite
from dtln.export.eight_bits import rounded, rounded_decoder, rounded_encoder, rounded_with_gains


def matrix(rows: int, columns: int) -> np.ndarray:
    """Columns of very different sizes."""
    rng = np.random.default_rng(0)
    return (rng.standard_normal((rows, columns)) * 10.0 ** rng.uniform(-3, 1, columns)).astype(np.float32)


def assert_whole(whole: np.ndarray) -> None:
    np.testing.assert_array_equal(whole, np.rint(whole))
    assert 64 < np.abs(whole).max() <= 127


def test_each_column_has_its_own_scale():
    given = matrix(300, 40)
    given[:, 7] = 0.0
    whole, scales = rounded(given)
    assert_whole(whole)
    used = np.arange(40) != 7
    for column in np.flatnonzero(used):
        assert snr_db(given[:, column], whole[:, column] * scales[column]) > 40
    np.testing.assert_array_equal(whole[:, 7] * scales[7], 0.0)


def test_a_few_large_weights_may_be_clipped():
    given = matrix(50000, 1)
    given[0] = 1.2 * np.abs(given).max()
    whole, scales = rounded(given)
    unclipped = np.rint(given / (np.abs(given).max() / 127)) * (np.abs(given).max() / 127)
    assert snr_db(given, whole * scales) > snr_db(given, unclipped)


def test_errors_of_the_encoder_lie_where_speech_is_weak():
    """Less of them than with plain rounding where the input is speech."""
    given = matrix(512, 64) / 10
    blocks = np.lib.stride_tricks.sliding_window_view(speech_like(16000), 512)[::64]
    lowpass = np.cumsum(np.random.default_rng(1).standard_normal((200, 512)), axis=1)
    for signals in (blocks * np.hanning(512), lowpass):
        found = []
        for whole, scales in (rounded_encoder(given), rounded(given)):
            assert_whole(whole)
            found.append(snr_db(signals @ given, signals @ (whole * scales)))
        assert found[0] > found[1]


def test_large_features_do_not_coarsen_the_others():
    given = matrix(64, 512)
    given *= 10.0 ** np.random.default_rng(1).uniform(-1.5, 0, (64, 1)).astype(np.float32)
    gains, whole, scales = rounded_with_gains(given)
    assert_whole(whole)
    features = np.random.default_rng(2).standard_normal((100, 64)) / np.abs(given).max(axis=1)  # all heard alike
    plain, plain_scales = rounded(given)
    expected = features @ given
    with_gains = snr_db(expected, features @ (gains[:, None] * whole * scales))
    assert with_gains > snr_db(expected, features @ (plain * plain_scales)) + 3


def test_errors_of_the_decoder_lie_where_features_are_weak():
    """Less than with gains alone where an encoder made the features from speech; masks change them here as well."""
    rng = np.random.default_rng(1)
    decoder, encoder = matrix(64, 512), (matrix(64, 512) / 10).T
    blocks = np.lib.stride_tricks.sliding_window_view(speech_like(16000), 512)[::64]
    features = (blocks @ encoder) * rng.uniform(0.5, 1.0, (len(blocks), 64))
    found = []
    for gains, whole, scales in (rounded_decoder(decoder, encoder), rounded_with_gains(decoder)):
        assert_whole(whole)
        found.append(snr_db(features @ decoder, features @ (gains[:, None] * whole * scales)))
    assert found[0] > found[1] + 1


def test_features_that_are_always_zero_do_no_harm():
    decoder, encoder = matrix(64, 512), np.zeros((512, 64), np.float32)
    decoder[3] = 0.0
    gains, whole, scales = rounded_decoder(decoder, encoder)
    assert_whole(whole)
    assert snr_db(decoder, gains[:, None] * whole * scales) > 30
    whole, scales = rounded_encoder(encoder)
    np.testing.assert_array_equal(whole * scales, 0.0)


@pytest.mark.parametrize("length", [512, 320, 400, 2, 36])
def test_transforms_of_the_tflite_graph(length):
    """There, and back with a mask."""
    rng = np.random.default_rng(0)
    block = rng.normal(0, 0.1, (1, length)).astype(np.float32)
    real, imag = tflite._transform(block)
    expected = np.fft.rfft(block.astype(np.float64))
    np.testing.assert_allclose(real.numpy() + 1j * imag.numpy(), expected, atol=3e-6)
    mask = rng.uniform(0, 1, (1, length // 2 + 1)).astype(np.float32)
    back = tflite._inverse(real, imag, mask, length)
    np.testing.assert_allclose(back, np.fft.irfft(expected * mask, length), atol=1e-6)


def test_fine_products_keep_16_bits_of_the_features(tmp_path):
    """What the runtime rounds away in the first row comes back in the second: 40 dB more than from 8 bits."""
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    rng = np.random.default_rng(0)
    whole = np.rint(rng.uniform(-127, 127, (200, 30))).astype(np.float32)
    products = tflite._Products(quantise=True)
    specs = [tf.TensorSpec((1, 200), tf.float32)]
    path = tflite._write(lambda features: products._fine(features, whole), specs, tmp_path / "fine.tflite", products)
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    (given,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    tried = [rng.standard_normal((1, 200)) * level for level in (1e-4, 1.0, 1e3)]
    for features in [*tried, np.abs(tried[1]), -np.abs(tried[1]), np.zeros((1, 200))]:
        interpreter.set_tensor(given["index"], features.astype(np.float32))
        interpreter.invoke()
        found, expected = interpreter.get_tensor(result["index"])[0], (features @ whole)[0]
        if np.any(features):
            assert snr_db(expected, found) > 80
        else:
            np.testing.assert_array_equal(found, expected)
