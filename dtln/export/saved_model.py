"""The SavedModel: writing it, and reading weights from one of ours."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from keras import ops

from dtln.errors import WeightsFileError
from dtln.export.split import split_networks_of
from dtln.formats import SHIFT_KEY
from dtln.weights import StoredLayer, config_of
from DTLN_model import DTLNNetwork, _set_stored_layers, build_network, magnitude


def export_saved_model(network: DTLNNetwork, folder: str | Path) -> Path:
    """Writes a SavedModel; returns its folder. An older one of that name is replaced at the end, when ours is complete.

    `serving_default` takes one block (1, N) as `input_1`, returns `conv1d_1` (1, 1, N) and keeps the states inside, as
    published; `stream` takes (block (1, N), states_1, states_2) and returns (denoised, states_1, states_2), the states
    of each core being (1, K, U, 2). `weights` lists the variables in file order, `block_shift` notes the shift.
    """
    import tensorflow as tf

    config = network.config
    model_1, model_2, _ = split_networks_of(network)
    block_spec = tf.TensorSpec((1, config.block_length), tf.float32, name="block")
    states_specs = [tf.TensorSpec(config.states_shape, tf.float32, name=f"states_{i}") for i in (1, 2)]
    module = tf.Module()
    module.block_shift = tf.Variable(config.block_shift, trainable=False)
    module.states = [tf.Variable(tf.zeros(config.states_shape), trainable=False) for _ in (1, 2)]
    # the models themselves stay outside: a checkpoint that also followed them would hold every weight twice
    module.weights = [v.value for v in [*model_1.trainable_variables, *model_2.trainable_variables]]

    @tf.function(input_signature=[block_spec, *states_specs])
    def stream(block: Any, states_1: Any, states_2: Any) -> dict[str, Any]:
        real, imag = ops.rfft(block[:, None], fft_length=config.block_length)  # (1, 1, F)
        mask, states_1 = model_1([magnitude(real, imag), states_1])  # (1, 1, F)
        masked = ops.irfft((real * mask, imag * mask), fft_length=config.block_length)  # (1, 1, N)
        denoised, states_2 = model_2([masked, states_2])  # (1, 1, N)
        return {"denoised": denoised, "states_1": states_1, "states_2": states_2}

    @tf.function(input_signature=[tf.TensorSpec((1, config.block_length), tf.float32, name="input_1")])
    def serve(input_1: Any) -> dict[str, Any]:
        result = stream(input_1, *module.states)
        for index in (1, 2):
            module.states[index - 1].assign(result[f"states_{index}"])
        return {"conv1d_1": result["denoised"]}

    module.stream, module.serve = stream, serve
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as partial:
        complete = Path(partial) / "complete"
        tf.saved_model.save(module, str(complete), signatures={"serving_default": serve, "stream": stream})
        if folder.exists():
            os.replace(folder, Path(partial) / "old")
        os.replace(complete, folder)
    return folder


def load_network_from_saved_model(folder: str | Path) -> DTLNNetwork:
    """The batch network with the weights of a SavedModel that `export_saved_model` wrote.

    Raises FileNotFoundError or WeightsFileError (a published SavedModel lists no weights: convert its `.h5` instead).
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
    network = build_network(config_of(stored, int(loaded.block_shift.numpy()), folder))
    _set_stored_layers(network.dtln_layers.weighted, stored, folder)
    return network
