"""The SavedModel: writing it, and reading the weights of one of ours."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtln.errors import WeightsFileError
from dtln.formats import SHIFT_KEY
from dtln.weights import DTLNConfig, StoredLayer, config_of

if TYPE_CHECKING:
    from DTLN_model import DTLNNetwork

__all__ = ["export_saved_model", "read_saved_model"]


def export_saved_model(network: DTLNNetwork, folder: str | Path) -> Path:
    """Writes a SavedModel; returns its folder. An older one of that name is replaced at the end, when ours is complete.

    `serving_default` takes one block (1, N) as `input_1`, returns `conv1d_1` (1, 1, N) and keeps the states inside, as
    published; the loaded model can also be called, as published: `tf.saved_model.load(folder)(block)`. `stream` takes
    (block (1, N), states_1, states_2) and returns (denoised, states_1, states_2), the states of each core being
    (1, K, U, 2). `weights` lists the variables in file order, `block_shift` notes the shift.
    """
    import tensorflow as tf

    config, split = network.config, network.split()
    block_spec = tf.TensorSpec((1, config.block_length), tf.float32, name="block")
    states_specs = [tf.TensorSpec(config.states_shape, tf.float32, name=f"states_{i}") for i in (1, 2)]
    module = tf.Module()
    module.block_shift = tf.Variable(config.block_shift, trainable=False)
    module.states = [tf.Variable(tf.zeros(config.states_shape), trainable=False) for _ in (1, 2)]
    # the network itself stays outside: a checkpoint that also followed it would hold every weight twice
    module.weights = [variable.value for layer in split.dtln_layers.weighted for variable in layer.weights]

    @tf.function(input_signature=[block_spec, *states_specs])
    def stream(block: Any, states_1: Any, states_2: Any) -> dict[str, Any]:
        denoised, states_1, states_2 = split([block[:, None], states_1, states_2])
        return {"denoised": denoised, "states_1": states_1, "states_2": states_2}

    @tf.function(input_signature=[tf.TensorSpec((1, config.block_length), tf.float32, name="input_1")])
    def serve(input_1: Any) -> dict[str, Any]:
        result = stream(input_1, *module.states)
        for index in (1, 2):
            module.states[index - 1].assign(result[f"states_{index}"])
        return {"conv1d_1": result["denoised"]}

    @tf.function
    def call(inputs: Any, training: bool = False, mask: None = None) -> Any:  # Keras's arguments, as published
        return serve(inputs)["conv1d_1"]

    for training in (False, True):
        call.get_concrete_function(tf.TensorSpec((1, config.block_length), tf.float32), training=training)
    module.stream, module.serve, module.__call__ = stream, serve, call
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as partial:
        complete = Path(partial) / "complete"
        tf.saved_model.save(module, str(complete), signatures={"serving_default": serve, "stream": stream})
        if folder.exists():
            os.replace(folder, Path(partial) / "old")
        os.replace(complete, folder)
    return folder


def read_saved_model(folder: str | Path) -> tuple[DTLNConfig, list[StoredLayer]]:
    """Configuration and layers of the network in a SavedModel that `export_saved_model` wrote.

    Raises FileNotFoundError, or WeightsFileError (a published SavedModel lists no weights: convert its `.h5` instead).
    """
    import tensorflow as tf

    folder = Path(folder)
    if not (folder / "saved_model.pb").is_file():
        raise FileNotFoundError(f"{folder}: holds no saved_model.pb. Expected the folder of a SavedModel.")
    loaded = tf.saved_model.load(str(folder))
    if not hasattr(loaded, "weights") or not hasattr(loaded, SHIFT_KEY):
        raise WeightsFileError(
            f"{folder}: does not list its weights. Expected a SavedModel of ours; of another convert the `.h5`."
        )
    arrays = [variable.numpy() for variable in loaded.weights]
    stored: list[StoredLayer] = []
    while arrays:  # a layer ends where its kind is complete: LSTMs with three weights, dense and norm two, conv one
        count = 1 if arrays[0].ndim == 3 else 3 if len(arrays) > 2 and arrays[1].ndim == 2 == arrays[0].ndim else 2
        stored.append((f"layer_{len(stored)}", arrays[:count]))
        arrays = arrays[count:]
    return config_of(stored, int(loaded.block_shift.numpy()), folder), stored
