"""PyTorch's LSTM operator, with the weights of a Keras LSTM: cuDNN on a GPU, oneDNN on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["torch_lstm"]


def torch_lstm(
    sequences: Tensor, hidden: Tensor, cell: Tensor, kernel: Tensor, recurrent: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(outputs (B, T, U), h and c after them (B, U)) of sequences (B, T, C) from the states h and c (B, U).

    kernel (C, 4 U), recurrent (U, 4 U), bias (4 U,): as Keras keeps them, with the gates in the order i, f, c, o.
    """
    # PyTorch has the same order, but its matrices are transposed and its bias comes in two
    weights = [kernel.T.contiguous(), recurrent.T.contiguous(), bias, torch.zeros_like(bias)]
    outputs, hidden, cell = torch.lstm(
        sequences, (hidden[None], cell[None]), weights, True, 1, 0.0, torch.is_grad_enabled(), False, True
    )  # (B, T, U), (1, B, U), (1, B, U)
    return outputs, hidden[0], cell[0]
