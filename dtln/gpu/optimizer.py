"""The optimizers Muon and Adam of Keras, in plain PyTorch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5
UPDATE_RMS = 0.2
ADAM_BETAS = (0.9, 0.999)
ADAM_EPSILON = 1e-7


class Muon:
    """`keras.optimizers.Muon` as run_training.py sets it up: Muon for matrices, Adam for all other weights.

    weights are changed in place. adam_share: Adam's learning rate over Muon's. clip_norm: of the gradient of each
    weight. ema: the share of a moving average of the weights, `averages`, that each step keeps; 0 for none. All that a
    step depends on lies in tensors, so that it can be recorded in a CUDA graph. largest, left_out: the longest gradient
    of a weight before clipping, and the steps in which one was not finite, since they were last set to 0.
    """

    def __init__(
        self, weights: Sequence[Tensor], adam_share: float = 1.0, clip_norm: float = 3.0, ema: float = 0.0
    ) -> None:
        self.weights, self.adam_share, self.clip_norm, self.ema = list(weights), adam_share, clip_norm, ema
        self.momenta = [torch.zeros_like(w) for w in self.weights]
        self.velocities = [torch.zeros_like(w) for w in self.weights if w.ndim != 2]
        self.averages = [w.detach().clone() for w in self.weights] if ema else []
        self.steps, self.largest, self.left_out = (torch.zeros((), device=self.weights[0].device) for _ in range(3))

    @property
    def state(self) -> list[Tensor]:
        """All that the next step depends on, the weights first."""
        return [*self.weights, *self.momenta, *self.velocities, *self.averages, self.steps]

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], rate: Tensor) -> None:
        """One step with a learning rate ()."""
        self.steps += 1
        beta_1, beta_2 = ADAM_BETAS
        adam_rate = rate * self.adam_share * torch.sqrt(1 - beta_2**self.steps) / (1 - beta_1**self.steps)
        velocities = iter(self.velocities)
        norms = [gradient.norm() for gradient in gradients]
        finite = torch.isfinite(torch.stack(norms))
        self.left_out += 1 - finite.all().float()
        self.largest.copy_(torch.maximum(self.largest, torch.where(finite, torch.stack(norms), 0.0).max()))
        for weight, gradient, norm, momentum in zip(self.weights, gradients, norms, self.momenta, strict=True):
            scale = torch.where(torch.isfinite(norm), self.clip_norm / norm.clamp(min=self.clip_norm), 0.0)
            # gradients that are not finite move no weight, instead of all
            gradient = torch.nan_to_num(gradient) * scale
            if weight.ndim == 2:
                momentum.mul_(MOMENTUM).add_(gradient)
                update = _orthogonalised(gradient + MOMENTUM * momentum)
                weight.sub_(rate * (UPDATE_RMS * math.sqrt(max(weight.shape))) * update)
            else:
                velocity = next(velocities)
                momentum.lerp_(gradient, 1 - beta_1)
                velocity.lerp_(gradient.square(), 1 - beta_2)
                weight.sub_(adam_rate * momentum / (velocity.sqrt() + ADAM_EPSILON))
        kept = self.ema * (self.steps > 1)  # the average begins with the weights after the first step
        for average, weight in zip(self.averages, self.weights, strict=False):
            average.lerp_(weight, 1 - kept)


def _orthogonalised(matrix: Tensor) -> Tensor:
    """The nearest orthogonal matrix, roughly, by Newton-Schulz steps: Jordan et al., "Muon", 2024."""
    a, b, c = NEWTON_SCHULZ
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x
