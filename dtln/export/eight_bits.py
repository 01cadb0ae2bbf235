"""Matrices in 8 bits: what the TF-lite and the ONNX exports share. numpy alone.

A matrix (C, D) becomes whole numbers from -127 to 127 and one scale for each of its D columns, the outputs of a layer:
matrix = whole * scales. Where single inputs weigh much more than others, they get gains as well:
matrix = gains[:, None] * whole * scales.

Encoder and decoder are rounded with noise shaping: what rounding one weight changes in the outputs, the weights after
it take back as far as they can, if the inputs are as alike as those that speech gives. That is Frantar et al., "GPTQ:
Accurate Post-Training Quantization", ICLR 2023, equation 2, with a covariance from the spectrum of speech instead of
recordings.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

__all__ = ["rounded", "rounded_decoder", "rounded_encoder", "rounded_with_gains"]

LIMIT = 127  # the largest whole number
SPEECH_CORNER_HZ = 500.0  # the long-term spectrum of speech is flat up to here and falls by 6 dB an octave above
FLOOR = 1e-4  # of the power at high frequencies, against the power below the corner
CLIPPING = np.linspace(0.5, 1.0, 11)  # scales that are tried, as shares of the one that clips nothing
ROOM = (1.0, 1.1, 1.25)  # the same with noise shaping, whose corrections make weights larger
LEAST_GAIN = 1e-4  # smaller weights are as good as zero
UNLIKE = 0.3  # more power of each encoded feature, not shared with others: masks make them less alike


def rounded(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(whole (C, D), scales (D,)) with the least square error in each column, even if it clips a few weights."""
    matrix = np.asarray(matrix, np.float64)
    largest = _largest(matrix, axis=0) / LIMIT  # (D,)
    candidates = [(_whole(matrix, largest * share), largest * share) for share in CLIPPING]
    return _best(candidates, [np.square(whole * scales - matrix).sum(axis=0) for whole, scales in candidates])


def rounded_with_gains(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(gains (C,), whole (C, D), scales (D,)).

    Inputs whose weights are large would make the steps of all others coarse. With the gains, all are equally large.
    """
    gains = _gains(matrix)
    return gains, *rounded(matrix / gains[:, None])


def rounded_encoder(encoder: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(whole (N, E), scales (E,)) of the encoder, with noise shaping for samples that have the spectrum of speech."""
    return _shaped(encoder, _covariance(len(encoder)))


def rounded_decoder(decoder: np.ndarray, encoder: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(gains (E,), whole (E, N), scales (N,)) of the decoder, with noise shaping for what this encoder (N, E) makes."""
    gains = _gains(decoder)
    encoder = np.asarray(encoder, np.float64)
    features = encoder.T @ _covariance(len(encoder)) @ encoder  # (E, E)
    powers = np.diag(features)
    floor = FLOOR * powers.mean() or 1.0  # an encoder of zeros makes no features
    features = features + np.diag(UNLIKE * powers + floor)
    return gains, *_shaped(decoder / gains[:, None], features * np.outer(gains, gains))


def _shaped(matrix: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(whole (C, D), scales (D,)) with little error in the outputs for inputs with this covariance (C, C).

    Each column has the scale that does best, or plain rounding where that does.
    """
    matrix = np.asarray(matrix, np.float64)
    factor = np.linalg.cholesky(np.linalg.inv(covariance)).T  # U (C, C), upper triangle: U' U is the inverse
    largest = _largest(matrix, axis=0) / LIMIT  # (D,)
    candidates = [(_whole(matrix, largest), largest)]
    for room in ROOM:
        scales, left, whole = largest * room, matrix.copy(), np.zeros_like(matrix)  # left: not rounded yet
        for row in range(len(left)):
            whole[row] = _whole(left[row], scales)
            error = (left[row] - whole[row] * scales) / factor[row, row]
            left[row + 1 :] -= np.outer(factor[row, row + 1 :], error)
        candidates.append((whole, scales))
    errors = [whole * scales - matrix for whole, scales in candidates]  # (C, D) each
    return _best(candidates, [(error * (covariance @ error)).sum(axis=0) for error in errors])


def _best(
    candidates: Sequence[tuple[np.ndarray, np.ndarray]], errors: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Of several (whole (C, D), scales (D,)), those with the least error (D,) in each column."""
    best, columns = np.argmin(errors, axis=0), np.arange(len(errors[0]))  # (D,)
    whole = np.stack([whole for whole, _ in candidates])[best, :, columns].T  # (C, D)
    scales = np.stack([scales for _, scales in candidates])[best, columns]  # (D,)
    return whole.astype(np.float32), scales.astype(np.float32)


def _gains(matrix: np.ndarray) -> np.ndarray:
    """The size (C,) of each row, up to 1, of rows that hold next to nothing as well."""
    largest = _largest(matrix, axis=1)
    return np.maximum(largest / largest.max(), LEAST_GAIN).astype(np.float32)


def _largest(matrix: np.ndarray, axis: int) -> np.ndarray:
    """The largest absolute value along an axis, never zero."""
    return np.maximum(np.abs(np.asarray(matrix, np.float64)).max(axis=axis), LIMIT * np.finfo(np.float32).tiny)


def _whole(matrix: np.ndarray, scales: np.ndarray) -> np.ndarray:
    return np.rint(matrix / scales).clip(-LIMIT, LIMIT)


@functools.cache
def _covariance(length: int) -> np.ndarray:
    """(N, N) of N samples that have the spectrum of speech."""
    from dtln.facts import SAMPLE_RATE

    frequencies = np.fft.rfftfreq(2 * length, 1 / SAMPLE_RATE)  # (N + 1,) Hz
    power = np.square(1 / (1 + frequencies / SPEECH_CORNER_HZ)) + FLOOR
    correlation = np.fft.irfft(power)[:length]  # (N,): of samples 0, 1, ... apart
    return correlation[np.abs(np.subtract.outer(np.arange(length), np.arange(length)))]
