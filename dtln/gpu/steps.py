"""Training steps of several networks side by side, recorded as a CUDA graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dtln.gpu.network import PLAIN, Operations, denoise, negative_snr
from dtln.gpu.optimizer import Muon
from dtln.gpu.pool import SegmentPool
from dtln.weights import DTLNConfig


@dataclass
class TrainedNetwork:
    """One of the networks that train side by side.

    weights: float32, in the order of `.h5` files. learning_rate: the highest of the schedule.
    """

    name: str
    config: DTLNConfig
    weights: list[Tensor]
    learning_rate: float
    adam_share: float = 1.0
    clip_norm: float = 3.0

    def __post_init__(self) -> None:
        self.weights = [weight.detach().clone().requires_grad_() for weight in self.weights]
        self.optimizer = Muon(self.weights, self.adam_share, self.clip_norm)
        self.loss = torch.zeros((), device=self.weights[0].device)  # sum over the steps since it was last read

    def step(
        self, noisy: Tensor, clean: Tensor, shape: Tensor, dtype: torch.dtype, operations: Operations = PLAIN
    ) -> None:
        """One step on a batch, at `shape` () times the highest rate."""
        estimate = denoise(self.weights, self.config, noisy, self.config.dropout, dtype, operations)
        loss = operations.negative_snr(clean, estimate).mean()
        self.optimizer.step(torch.autograd.grad(loss, self.weights), shape * self.learning_rate)
        self.loss += loss.detach()

    @torch.no_grad()
    def validate(self, noisy: Tensor, clean: Tensor, batch_size: int, dtype: torch.dtype) -> float:
        """The mean loss in dB over signals (B, L), without dropout."""
        losses = [
            negative_snr(target, denoise(self.weights, self.config, signal, dtype=dtype))
            for signal, target in zip(noisy.split(batch_size), clean.split(batch_size), strict=True)
        ]
        return float(torch.cat(losses).mean())


class Steps:
    """Steps of networks on the batches of a pool. graph: on CUDA, record a step with all networks and replay it."""

    def __init__(
        self,
        networks: Sequence[TrainedNetwork],
        pool: SegmentPool,
        batch_size: int,
        dtype: torch.dtype,
        graph: bool = False,
        operations: Operations = PLAIN,
    ) -> None:
        self.networks, self.pool, self.batch_size = networks, pool, batch_size
        self.dtype, self.operations = dtype, operations
        self.shape = torch.zeros((), device=pool.device)
        self._noisy, self._clean = (
            torch.zeros((batch_size, pool.mixer.segment_length), device=pool.device) for _ in range(2)
        )
        self._replay: Callable[[], None] = self._eager
        if graph:
            self._streams = [torch.cuda.Stream() for _ in networks]
            self._record()

    def _mix(self) -> None:
        for kept, new in zip((self._noisy, self._clean), self.pool.batch(self.batch_size), strict=True):
            kept.copy_(new)

    def _eager(self) -> None:
        self._mix()
        for network in self.networks:
            network.step(self._noisy, self._clean, self.shape, self.dtype, self.operations)

    def _side_by_side(self) -> None:
        self._mix()
        main = torch.cuda.current_stream()
        for network, stream in zip(self.networks, self._streams, strict=True):
            stream.wait_stream(main)
            with torch.cuda.stream(stream):
                network.step(self._noisy, self._clean, self.shape, self.dtype, self.operations)
        for stream in self._streams:
            main.wait_stream(stream)

    def _record(self) -> None:
        before = [tensor.detach().clone() for network in self.networks for tensor in network.optimizer.state]
        warm_up = torch.cuda.Stream()
        warm_up.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(warm_up):
            for _ in range(3):  # plans, handles and workspaces are made here
                self._side_by_side()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._side_by_side()
        self._replay = graph.replay
        after = [tensor for network in self.networks for tensor in network.optimizer.state]
        with torch.no_grad():
            for tensor, value in zip(after, before, strict=True):
                tensor.copy_(value)
        for network in self.networks:
            network.loss.zero_()

    def take(self, shape: float) -> None:
        """One step of every network, at `shape` times its highest rate. Does not wait for the GPU.

        Raises what ended the replacing of segments, if anything did: the pool would go stale.
        """
        self.pool.check()
        self.shape.fill_(shape)
        self._replay()


def schedule(progress: float, step: int, warmup_steps: int) -> float:
    """The learning rate as a share of the highest: a linear warm-up, times half a cosine over the whole training.

    progress: from 0 to 1.
    """
    return min(1.0, (step + 1) / max(1, warmup_steps)) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
