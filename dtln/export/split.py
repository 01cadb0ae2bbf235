"""The network as two models with external states, as exports want it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from DTLN_model import DTLNLayers, DTLNNetwork, build_split_networks


def split_networks_of(network: DTLNNetwork) -> tuple[keras.Model, keras.Model, DTLNLayers]:
    """The split models and their layers (see `build_split_networks`) with the weights of a network."""
    model_1, model_2, parts = build_split_networks(network.config)
    for target, source in zip(parts.weighted, network.dtln_layers.weighted, strict=True):
        target.set_weights(source.get_weights())
    return model_1, model_2, parts


@dataclass(frozen=True, eq=False)  # eq=False: tf.function hashes what its functions are bound to
class _SplitExport:
    """A split model with the TensorSpecs of its inputs and the names of its outputs, signal before states."""

    model: keras.Model
    specs: list[Any]
    names_out: tuple[str, str]

    def step(self, signal: Any, states: Any) -> tuple[Any, Any]:
        return self.model([signal, states])


def _split_exports(network: DTLNNetwork, states_name: str = "states") -> list[_SplitExport]:
    import tensorflow as tf

    config = network.config
    sides = ((config.bins, "magnitude", "mask"), (config.block_length, "block", "denoised"))
    return [
        _SplitExport(
            model,
            [
                tf.TensorSpec((1, 1, size), tf.float32, name=name_in),
                tf.TensorSpec(config.states_shape, tf.float32, name=states_name),
            ],
            (name_out, "states_out"),
        )
        for model, (size, name_in, name_out) in zip(split_networks_of(network)[:2], sides, strict=True)
    ]
