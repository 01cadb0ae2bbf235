"""The loss that no level decides: values against NumPy, levels, silence, gradients."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import DTLN_model as dtln
from dtln.training.losses import negative_level_free_snr


def found(loss, target: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    return keras.ops.convert_to_numpy(loss(keras.ops.convert_to_tensor(target), keras.ops.convert_to_tensor(estimate)))


def pair(seed: int = 0, length: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """(target, estimate), each float32 (3, L), the estimates of rising SNR."""
    target, error = np.random.default_rng(seed).standard_normal((2, 3, length))
    return target.astype(np.float32), (0.9 * target + error * [[0.5], [0.1], [0.02]]).astype(np.float32)


def gradient(loss, target: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    """The gradient of the mean loss with respect to the estimate, by the back end that Keras runs on."""
    if keras.backend.backend() == "torch":
        import torch

        estimated = torch.tensor(estimate, requires_grad=True, device="cpu")
        with keras.device("cpu:0"):
            loss(torch.tensor(target), estimated).mean().backward()
        return estimated.grad.numpy()
    import tensorflow

    estimated = tensorflow.constant(estimate)
    with tensorflow.GradientTape() as tape:
        tape.watch(estimated)
        mean = tensorflow.reduce_mean(loss(tensorflow.constant(target), estimated))
    return tape.gradient(mean, estimated).numpy()


def test_level_free_snr_is_the_snr_at_the_usual_level():
    target, estimate = pair()
    gain = 10 ** (-25 / 20) / np.sqrt(np.mean(target**2, axis=-1, keepdims=True))
    error = np.mean((gain * (target - estimate)) ** 2, axis=-1)
    np.testing.assert_allclose(
        found(negative_level_free_snr, target, estimate), -10 * np.log10(10**-2.5 / (error + 1e-7)), rtol=1e-4
    )


def test_the_level_of_both_does_not_count():
    """From -85 to 15 dBFS, where the paper's loss of the quietest is another."""
    target, estimate = pair()
    loss = negative_level_free_snr
    expected = found(loss, target, estimate)
    for level_db in (-85, -60, -25, 15):
        gain = np.float32(10 ** (level_db / 20))
        np.testing.assert_allclose(found(loss, gain * target, gain * estimate), expected, atol=0.01)
    quiet = np.float32(10 ** (-60 / 20))
    assert abs(found(dtln.negative_snr, quiet * target, quiet * estimate)[2] - expected[2]) > 1


def test_the_gain_of_the_estimate_counts():
    target, _ = pair()
    right, low = (found(negative_level_free_snr, target, np.float32(gain) * target) for gain in (1.0, 0.5))
    assert np.all(low > right + 10)


def test_silent_targets_are_finite_and_ask_for_silence():
    """What is left over counts more the louder it is, as a gradient that points to silence says, too."""
    loss, silent = negative_level_free_snr, np.zeros((3, 4000), np.float32)
    _, noise = pair()
    left = noise * np.float32([[0.0], [1e-3], [1e-1]])
    losses = found(loss, silent, left)
    assert np.all(np.isfinite(losses)) and losses[0] == pytest.approx(0, abs=0.1) and np.all(np.diff(losses) > 1)
    slopes = gradient(loss, silent, left)
    assert np.all(np.isfinite(slopes)) and not np.any(slopes[0])
    assert np.all(np.sum(slopes * left, axis=1)[1:] > 0)


def test_gradients_are_finite_and_those_of_differences():
    """For silent estimates of sounding targets, for perfect ones, and for others as finite differences say."""
    loss = negative_level_free_snr
    target, estimate = pair()
    edges = np.stack([0 * target[0], target[1], estimate[2]])
    assert np.all(np.isfinite(gradient(loss, 0.1 * target, 0.1 * edges)))
    direction = np.random.default_rng(1).standard_normal(estimate.shape).astype(np.float32)
    step = np.float32(1e-2)
    up, down = (np.mean(found(loss, target, estimate + sign * step * direction)) for sign in (1, -1))
    along = np.sum(gradient(loss, target, estimate) * direction)
    assert along == pytest.approx((up - down) / (2 * step), rel=0.05)
