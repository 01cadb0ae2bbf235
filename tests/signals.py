"""Networks and signals that several test files build alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import DTLN_model as dtln


def random_network(config: dtln.DTLNConfig, seed: int = 0) -> dtln.DTLNNetwork:
    """A network whose masks differ from band to band and whose output is of the size of its input."""
    import keras  # here, so that signals alone need neither Keras nor TensorFlow

    import DTLN_model as dtln

    keras.utils.set_random_seed(seed)
    network = dtln.build_network(config)
    rng = np.random.default_rng(seed)
    parts = network.dtln_layers
    for layer in parts.weighted:
        weights = layer.get_weights()
        if layer in (parts.core_1.dense, parts.core_2.dense):
            weights[1] = rng.normal(0.5, 1.0, weights[1].shape)
        elif isinstance(layer, dtln.InstantLayerNormalization):
            weights = [
                rng.uniform(0.5, 1.5, w.shape) if i == 0 else rng.normal(0, 0.1, w.shape) for i, w in enumerate(weights)
            ]
        layer.set_weights(weights)
    if config.encoder_size == config.block_length // 2 and config.block_length % (2 * config.block_shift) == 0:
        dtln.initialise_mdct(parts)
    return network


def speech_like(length: int, seed: int = 0) -> np.ndarray:
    """Gliding harmonics with pauses, in noise, peak 0.5: float32 (length,)."""
    rng = np.random.default_rng(seed)
    time = np.arange(length) / 16000
    phase = 2 * np.pi * np.cumsum(130 + 40 * np.sin(2 * np.pi * 0.9 * time)) / 16000
    voice = sum(np.cos(k * phase + k) / k for k in range(1, 20)) * (np.sin(2 * np.pi * 1.7 * time) > -0.3)
    signal = voice + 0.3 * rng.standard_normal(length)
    return (0.5 * signal / max(np.max(np.abs(signal), initial=0), 1e-9)).astype(np.float32)


def batch_output(network: dtln.DTLNNetwork, signal: np.ndarray) -> np.ndarray:
    """The aligned output (L,) of the Keras network for a signal (L,), the reference of every parity test."""
    return network.denoise(signal[None])[0]


def snr_db(reference: np.ndarray, estimate: np.ndarray) -> float:
    """SNR in dB of an estimate against a reference, each (L,)."""
    error = np.sum((reference.astype(np.float64) - estimate) ** 2)
    return float(10 * np.log10(np.sum(reference.astype(np.float64) ** 2) / max(error, 1e-30)))


def coloured_noise(length: int, channels: int | None = None, seed: int = 0) -> np.ndarray:
    """Noise without content near the Nyquist frequency, peak about 0.4: (length,) or (length, channels), float32."""
    noise = np.random.default_rng(seed).standard_normal((length + 64, channels or 1))
    smooth = np.stack([np.convolve(column, np.hanning(18), "valid") for column in noise.T], axis=1)
    smooth = (0.1 * smooth / smooth.std()).clip(-0.4, 0.4).astype(np.float32)[:length]  # (length, channels)
    return smooth if channels else smooth[:, 0]
