"""The two models of a pair, which the TF-lite and the ONNX export write.

    model 1: (magnitude (1, 1, F), states (1, K, U, 2)) -> (mask (1, 1, F), states)
    model 2: (block (1, 1, N), states (1, K, U, 2)) -> (denoised (1, 1, N), states)

The transforms between the two, and the states from one block to the next, are left to the caller. N is the block
length, F = N // 2 + 1 the frequency bins, K the LSTM layers of a core, U its LSTM units. The last axis of the states is
(h, c).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from DTLN_model import DTLNNetwork

__all__ = ["Half", "halves_of"]


@dataclass(frozen=True)
class Half:
    """One of the two models.

    step: a function of TensorFlow tensors (signal, states) -> (signal, states). specs: TensorSpecs of its inputs.
    """

    step: Callable[[Any, Any], tuple[Any, Any]]
    specs: list[Any]


def halves_of(network: DTLNNetwork) -> tuple[Half, Half]:
    """Both models of a network, made of Keras layers."""
    import tensorflow as tf

    config, parts = network.config, network.split().dtln_layers

    def specs(size: int, name: str) -> list[Any]:
        return [
            tf.TensorSpec((1, 1, size), tf.float32, name=name),
            tf.TensorSpec(config.states_shape, tf.float32, name="states"),
        ]

    def first(magnitude: Any, states: Any) -> tuple[Any, Any]:
        return parts.first_half(magnitude, partial(parts.core_1.packed_step, states=states))

    def second(block: Any, states: Any) -> tuple[Any, Any]:
        encoded = parts.encoder(block)  # (1, 1, E)
        return parts.second_half(encoded, partial(parts.core_2.packed_step, states=states))

    return (
        Half(first, specs(config.bins, "magnitude")),
        Half(second, specs(config.block_length, "block")),
    )
