"""The network in plain PyTorch, for training on one CUDA GPU.

`denoise` is that of `DTLN_model.py`; tests/gpu/cuda_training.py compares the two.

Shapes in comments: B signals, L samples, T blocks, N block length, S block shift, F = N // 2 + 1 frequency bins,
E encoder size, U LSTM units, P segments in the pool.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dtln.errors import require
from dtln.facts import EPSILON
from dtln.training.torch_lstm import torch_lstm
from dtln.weights import DTLNConfig


@dataclass(frozen=True)
class Operations:
    """What a GPU spends its time on: PLAIN in PyTorch, or faster as `compiled_operations`."""

    lstm: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    magnitudes: Callable[[Tensor], Tensor]
    normalised: Callable[[Tensor, Tensor, Tensor], Tensor]
    masked: Callable[[Tensor, Tensor], Tensor]
    overlap_add: Callable[[Tensor, int], Tensor]


def denoise(
    weights: Sequence[Tensor],
    config: DTLNConfig,
    noisy: Tensor,
    dropout: float = 0.0,
    dtype: torch.dtype = torch.float32,
    operations: Operations | None = None,
) -> Tensor:
    """The batch graph of `DTLN_model.build_network`: signals of whole shifts (B, L) -> (B, L).

    weights: in the order of `.h5` files. dropout: of the outputs of every LSTM of a core but the last. dtype: that of
    the cores; the signal stays float32. operations: PLAIN unless given.
    """
    operations, rest = operations or PLAIN, iter(weights)
    blocks = noisy.unfold(1, config.block_length, config.block_shift)  # (B, T, N)
    spectrum = torch.view_as_real(torch.fft.rfft(blocks))  # (B, T, F, 2)
    features = operations.magnitudes(spectrum)  # (B, T, F)
    if config.norm_stft:
        features = operations.normalised(torch.log(features + EPSILON), next(rest), next(rest))
    logits = _logits(features.to(dtype), rest, config, dropout, operations)  # (B, T, F)
    spectrum = torch.view_as_complex(operations.masked(spectrum, logits[..., None]))
    blocks = torch.fft.irfft(spectrum, n=config.block_length)  # (B, T, N)
    encoded = blocks @ next(rest)[0]  # (B, T, E)
    features = operations.normalised(encoded, next(rest), next(rest)).to(dtype)
    logits = _logits(features, rest, config, dropout, operations)  # (B, T, E)
    return operations.overlap_add(operations.masked(encoded, logits) @ next(rest)[0], config.block_shift)  # (B, L)


def _logits(
    features: Tensor, weights: Iterator[Tensor], config: DTLNConfig, dropout: float, operations: Operations
) -> Tensor:
    """`DTLN_model.SeparationCore` without its activation: (B, T, C) -> (B, T, mask size)."""
    for layer in range(config.lstm_layers):
        kernel, recurrent, bias = (next(weights).to(features.dtype) for _ in range(3))
        excess = -features.shape[-1] % 8  # 257 features in half precision go slowly, 264 do not
        if excess:
            features, kernel = functional.pad(features, (0, excess)), functional.pad(kernel, (0, 0, 0, excess))
        features = operations.lstm(features, kernel, recurrent, bias)  # (B, T, U)
        if layer < config.lstm_layers - 1:
            features = functional.dropout(features, dropout, training=dropout > 0)
    return features @ next(weights).to(features.dtype) + next(weights).to(features.dtype)


def _magnitudes(spectrum: Tensor) -> Tensor:
    """(B, T, F, 2) -> (B, T, F)."""
    return torch.sqrt(spectrum.square().sum(dim=-1))


def _normalised(features: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    """`DTLN_model.InstantLayerNormalization`: (B, T, C) -> (B, T, C)."""
    centred = features - features.mean(dim=-1, keepdim=True)
    variance = centred.square().mean(dim=-1, keepdim=True)  # (B, T, 1)
    return centred * torch.rsqrt(variance + EPSILON) * gain + bias


def _masked(signal: Tensor, logits: Tensor) -> Tensor:
    """The signal, float32, times the sigmoid of the logits."""
    return signal * torch.sigmoid(logits.float())


def _lstm(features: Tensor, kernel: Tensor, recurrent: Tensor, bias: Tensor) -> Tensor:
    """A Keras LSTM from zero states: (B, T, C) -> (B, T, U) through PyTorch's operator (on CUDA cuDNN's)."""
    zeros = features.new_zeros(features.shape[0], recurrent.shape[0])  # (B, U)
    return torch_lstm(features, zeros, zeros, kernel, recurrent, bias)[0]


def _overlap_add(blocks: Tensor, block_shift: int) -> Tensor:
    """`DTLN_model.overlap_add` for blocks of whole shifts: (B, T, N) -> (B, (T - 1) * S + N)."""
    batch, count, block_length = blocks.shape
    pieces = block_length // block_shift
    blocks = blocks.reshape(batch, count, pieces, block_shift)
    shifted = [functional.pad(blocks[:, :, i], (0, 0, i, pieces - 1 - i)) for i in range(pieces)]
    return sum(shifted[1:], shifted[0]).reshape(batch, -1)


PLAIN = Operations(_lstm, _magnitudes, _normalised, _masked, _overlap_add)


def compiled_operations() -> Operations:
    """The operations as Triton compiles them for CUDA: one kernel for a whole LSTM, one or two for each other one.

    Raises MissingPackageError where Triton is not installed.
    """
    require("triton", "compiling kernels")
    from dtln.gpu import kernels

    others = (_magnitudes, _normalised, _masked, _overlap_add)
    return Operations(kernels.lstm, *(compiled(operation) for operation in others))


def compiled(operation: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """An operation as Triton compiles it."""
    return torch.compile(operation, dynamic=False)
