"""The losses beside the paper's: values against NumPy, levels, silence, gradients."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import DTLN_model as dtln
from dtln.choices import LOSSES, resolve
from dtln.training.losses import negative_level_free_snr, negative_spectral_snr

ADDED = ("level_free_snr", "spectral_snr")


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


def test_spectral_snr_adds_the_distance_of_compressed_spectra():
    """Restated with complex numbers: |S|^0.3 and |S|^0.3 exp(i phase), Hann windows of 512 samples every 256."""
    target, estimate = pair()
    estimate = (target + (estimate - target) * np.exp(-np.arange(4000) / 300)).astype(np.float32)  # the place counts
    gain = 10 ** (-25 / 20) / np.sqrt(np.mean(target**2, axis=-1, keepdims=True))

    def compressed(signal: np.ndarray) -> np.ndarray:
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512)
        blocks = np.lib.stride_tricks.sliding_window_view(signal.astype(np.float64), 512, axis=1)[:, ::256]
        spectra = np.fft.rfft(blocks * window)
        return np.abs(spectra) ** 0.3 * np.exp(1j * np.angle(spectra))  # (B, T, F)

    wanted, own = compressed(gain * target), compressed(gain * estimate)
    magnitudes, spectra = (np.abs(wanted) - np.abs(own)) ** 2, np.abs(wanted - own) ** 2
    distance = np.mean(magnitudes + spectra, axis=(1, 2)) / 2
    added = found(negative_spectral_snr, target, estimate) - found(negative_level_free_snr, target, estimate)
    assert distance.max() > 1e-3
    np.testing.assert_allclose(added, 6 * distance, rtol=2e-2, atol=1e-5)  # it has 1e-7 inside the power


@pytest.mark.parametrize("name", ADDED)
def test_the_level_of_both_does_not_count(name):
    """From -85 to 15 dBFS, where the paper's loss of the quietest is another."""
    target, estimate = pair()
    loss = resolve(LOSSES, name)
    expected = found(loss, target, estimate)
    for level_db in (-85, -60, -25, 15):
        gain = np.float32(10 ** (level_db / 20))
        np.testing.assert_allclose(found(loss, gain * target, gain * estimate), expected, atol=0.01)
    quiet = np.float32(10 ** (-60 / 20))
    assert abs(found(dtln.negative_snr, quiet * target, quiet * estimate)[2] - expected[2]) > 1


@pytest.mark.parametrize("name", ADDED)
def test_the_gain_of_the_estimate_counts(name):
    target, _ = pair()
    right, low = (found(resolve(LOSSES, name), target, np.float32(gain) * target) for gain in (1.0, 0.5))
    assert np.all(low > right + 10)


@pytest.mark.parametrize("name", ADDED)
def test_silent_targets_are_finite_and_ask_for_silence(name):
    """What is left over counts more the louder it is, as a gradient that points to silence says, too."""
    loss, silent = resolve(LOSSES, name), np.zeros((3, 4000), np.float32)
    _, noise = pair()
    left = noise * np.float32([[0.0], [1e-3], [1e-1]])
    losses = found(loss, silent, left)
    assert np.all(np.isfinite(losses)) and losses[0] == pytest.approx(0, abs=0.1) and np.all(np.diff(losses) > 1)
    slopes = gradient(loss, silent, left)
    assert np.all(np.isfinite(slopes)) and not np.any(slopes[0])
    assert np.all(np.sum(slopes * left, axis=1)[1:] > 0)


@pytest.mark.parametrize("name", ADDED)
def test_gradients_are_finite_and_those_of_differences(name):
    """For silent estimates of sounding targets, for perfect ones, and for others as finite differences say."""
    loss = resolve(LOSSES, name)
    target, estimate = pair()
    edges = np.stack([0 * target[0], target[1], estimate[2]])
    assert np.all(np.isfinite(gradient(loss, 0.1 * target, 0.1 * edges)))
    direction = np.random.default_rng(1).standard_normal(estimate.shape).astype(np.float32)
    step = np.float32(1e-2)
    up, down = (np.mean(found(loss, target, estimate + sign * step * direction)) for sign in (1, -1))
    along = np.sum(gradient(loss, target, estimate) * direction)
    assert along == pytest.approx((up - down) / (2 * step), rel=0.05)
