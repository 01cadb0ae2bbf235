"""An LSTM layer for training on CUDA that keeps its states on the chip. Needs Triton, which PyTorch brings for CUDA.

cuDNN starts kernels for every block of a sequence and reads the recurrent weights anew in each; the GPU spends most of
that time waiting. Here one kernel goes through a whole sequence, and each of its programs keeps the recurrent weights
and the states of a few signals on the chip. What does not depend on the block before is left to matrix products over
all blocks at once. `dtln/gpu/network.py` uses the layer in half precision; TRITON_INTERPRET=1 runs it on a CPU.

Shapes in comments: B signals, T blocks, C features, U units; the gates lie in Keras's order i, f, c, o: 4 U.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from dtln.gpu.settings import COMPILED_SIGNALS

ROWS = COMPILED_SIGNALS
WARPS = 8


@triton.jit
def _tanh(x):
    return 2.0 * tl.sigmoid(2.0 * x) - 1.0


@triton.jit
def _forward(projected, recurrent, hidden, cells, gates, T: tl.constexpr, UNITS: tl.constexpr, ROWS: tl.constexpr):
    """projected (B, T, 4 U), recurrent (U, 4 U) -> hidden (B, T, U), cells (B, T, U), gates after activation."""
    rows = (tl.program_id(0) * ROWS + tl.arange(0, ROWS))[:, None] * T
    units = tl.arange(0, UNITS)
    tile = units[:, None] * (4 * UNITS) + units[None, :]
    w_i = tl.load(recurrent + tile)
    w_f = tl.load(recurrent + tile + UNITS)
    w_g = tl.load(recurrent + tile + 2 * UNITS)
    w_o = tl.load(recurrent + tile + 3 * UNITS)
    h = tl.zeros((ROWS, UNITS), dtype=recurrent.dtype.element_ty)
    c = tl.zeros((ROWS, UNITS), dtype=tl.float32)
    gate = rows * (4 * UNITS) + units[None, :]
    next_i = tl.load(projected + gate)
    next_f = tl.load(projected + gate + UNITS)
    next_g = tl.load(projected + gate + 2 * UNITS)
    next_o = tl.load(projected + gate + 3 * UNITS)
    for t in range(T):
        state, gate = (rows + t) * UNITS + units[None, :], (rows + t) * (4 * UNITS) + units[None, :]
        i, f, g, o = next_i.to(tl.float32), next_f.to(tl.float32), next_g.to(tl.float32), next_o.to(tl.float32)
        coming = (rows + tl.minimum(t + 1, T - 1)) * (4 * UNITS) + units[None, :]  # on its way while this block is done
        next_i = tl.load(projected + coming)
        next_f = tl.load(projected + coming + UNITS)
        next_g = tl.load(projected + coming + 2 * UNITS)
        next_o = tl.load(projected + coming + 3 * UNITS)
        i = tl.sigmoid(i + tl.dot(h, w_i))
        f = tl.sigmoid(f + tl.dot(h, w_f))
        g = _tanh(g + tl.dot(h, w_g))
        o = tl.sigmoid(o + tl.dot(h, w_o))
        c = f * c + i * g
        h = (o * _tanh(c)).to(h.dtype)
        tl.store(hidden + state, h)
        tl.store(cells + state, c)
        tl.store(gates + gate, i.to(h.dtype))
        tl.store(gates + gate + UNITS, f.to(h.dtype))
        tl.store(gates + gate + 2 * UNITS, g.to(h.dtype))
        tl.store(gates + gate + 3 * UNITS, o.to(h.dtype))


@triton.jit
def _backward(d_hidden, transposed, cells, gates, d_gates, T: tl.constexpr, UNITS: tl.constexpr, ROWS: tl.constexpr):
    """d_hidden (B, T, U), transposed recurrent weights (4 U, U) -> d_gates (B, T, 4 U), before activation."""
    rows = (tl.program_id(0) * ROWS + tl.arange(0, ROWS))[:, None] * T
    units = tl.arange(0, UNITS)
    tile = units[:, None] * UNITS + units[None, :]
    w_i = tl.load(transposed + tile)
    w_f = tl.load(transposed + tile + UNITS * UNITS)
    w_g = tl.load(transposed + tile + 2 * UNITS * UNITS)
    w_o = tl.load(transposed + tile + 3 * UNITS * UNITS)
    d_h = tl.zeros((ROWS, UNITS), dtype=tl.float32)
    d_c = tl.zeros((ROWS, UNITS), dtype=tl.float32)
    state, gate = (rows + T - 1) * UNITS + units[None, :], (rows + T - 1) * (4 * UNITS) + units[None, :]
    next_i = tl.load(gates + gate)
    next_f = tl.load(gates + gate + UNITS)
    next_g = tl.load(gates + gate + 2 * UNITS)
    next_o = tl.load(gates + gate + 3 * UNITS)
    next_d = tl.load(d_hidden + state)
    before = tl.load(cells + state)
    next_before = tl.load(cells + (rows + tl.maximum(T - 2, 0)) * UNITS + units[None, :])
    for step in range(T):
        t = T - 1 - step
        gate = (rows + t) * (4 * UNITS) + units[None, :]
        i, f, g, o = next_i.to(tl.float32), next_f.to(tl.float32), next_g.to(tl.float32), next_o.to(tl.float32)
        d_h += next_d.to(tl.float32)
        squashed = _tanh(before)
        before = tl.where(t > 0, next_before, 0.0)
        earlier = rows + tl.maximum(t - 1, 0)  # on its way while this block is done
        state, coming = earlier * UNITS + units[None, :], earlier * (4 * UNITS) + units[None, :]
        next_i = tl.load(gates + coming)
        next_f = tl.load(gates + coming + UNITS)
        next_g = tl.load(gates + coming + 2 * UNITS)
        next_o = tl.load(gates + coming + 3 * UNITS)
        next_d = tl.load(d_hidden + state)
        next_before = tl.load(cells + (rows + tl.maximum(t - 2, 0)) * UNITS + units[None, :])
        d_c += d_h * o * (1.0 - squashed * squashed)
        d_o = (d_h * squashed * o * (1.0 - o)).to(w_o.dtype)
        d_i = (d_c * g * i * (1.0 - i)).to(w_o.dtype)
        d_f = (d_c * before * f * (1.0 - f)).to(w_o.dtype)
        d_g = (d_c * i * (1.0 - g * g)).to(w_o.dtype)
        d_c = d_c * f
        tl.store(d_gates + gate, d_i)
        tl.store(d_gates + gate + UNITS, d_f)
        tl.store(d_gates + gate + 2 * UNITS, d_g)
        tl.store(d_gates + gate + 3 * UNITS, d_o)
        d_h = tl.dot(d_i, w_i) + tl.dot(d_f, w_f) + tl.dot(d_g, w_g) + tl.dot(d_o, w_o)


class _LSTM(torch.autograd.Function):
    @staticmethod
    def forward(ctx, features: Tensor, kernel: Tensor, recurrent: Tensor, bias: Tensor) -> Tensor:
        (batch, count, _), units = features.shape, len(recurrent)
        projected = torch.addmm(bias, features.reshape(batch * count, -1), kernel).view(batch, count, -1)
        hidden = features.new_empty(batch, count, units)
        cells = features.new_empty(batch, count, units, dtype=torch.float32)
        gates = torch.empty_like(projected)
        _forward[(batch // ROWS,)](
            projected, recurrent, hidden, cells, gates, T=count, UNITS=units, ROWS=ROWS, num_warps=WARPS
        )
        ctx.save_for_backward(features, kernel, recurrent, hidden, cells, gates)
        return hidden

    @staticmethod
    def backward(ctx, d_hidden: Tensor) -> tuple[Tensor | None, Tensor, Tensor, Tensor]:
        features, kernel, recurrent, hidden, cells, gates = ctx.saved_tensors
        (batch, count, _), units = features.shape, len(recurrent)
        d_gates = torch.empty_like(gates)
        _backward[(batch // ROWS,)](
            d_hidden.contiguous(),
            recurrent.T.contiguous(),
            cells,
            gates,
            d_gates,
            T=count,
            UNITS=units,
            ROWS=ROWS,
            num_warps=WARPS,
        )
        before = torch.nn.functional.pad(hidden[:, :-1], (0, 0, 1, 0)).reshape(batch * count, units)
        flat, seen = d_gates.view(batch * count, -1), features.reshape(batch * count, -1)
        d_features = (flat @ kernel.T).view_as(features) if ctx.needs_input_grad[0] else None
        return d_features, seen.T @ flat, before.T @ flat, flat.sum(dim=0)


def lstm(features: Tensor, kernel: Tensor, recurrent: Tensor, bias: Tensor) -> Tensor:
    """A Keras LSTM from zero states: (B, T, C) -> (B, T, U), all of one type.

    kernel (C, 4 U), recurrent (U, 4 U), bias (4 U,); U is a power of two and at least 16. Raises ValueError for a
    batch that is no multiple of ROWS.
    """
    if features.shape[0] % ROWS:
        raise ValueError(f"a batch of {features.shape[0]} signals: expected a multiple of {ROWS}")
    return _LSTM.apply(features.contiguous(), kernel, recurrent, bias)
