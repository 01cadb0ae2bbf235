"""The ONNX pair, converted by tf2onnx."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtln.export.halves import halves_of
from dtln.export.onnx_graph import OPSET
from dtln.files import complete_file
from dtln.formats import SHIFT_KEY

if TYPE_CHECKING:
    from DTLN_model import DTLNNetwork

__all__ = ["NAMES", "export_pair"]

# (signal, states) in, (signal, states) out: the names of the published pair, which ports in many languages spell out
NAMES = (
    (("input_2", "input_3"), ("activation_2", "tf_op_layer_stack_2")),
    (("input_4", "input_5"), ("conv1d_3", "tf_op_layer_stack_5")),
)


def export_pair(network: DTLNNetwork, path_1: str | Path, path_2: str | Path) -> tuple[Path, Path]:
    """Writes the ONNX pair with tf2onnx; returns its paths. A metadata entry notes the shift."""
    import onnx
    import tensorflow as tf
    import tf2onnx

    paths = (Path(path_1), Path(path_2))
    for half, path, names in zip(halves_of(network), paths, NAMES, strict=True):
        model, _ = tf2onnx.convert.from_function(tf.function(half.step), input_signature=half.specs, opset=OPSET)
        for values, new_names in zip((model.graph.input, model.graph.output), names, strict=True):
            for value, new in zip(values, new_names, strict=True):
                _rename_onnx_value(model.graph, value, new)
        model.ir_version = onnx.helper.find_min_ir_version_for(model.opset_import)
        onnx.helper.set_model_props(model, {SHIFT_KEY: str(network.config.block_shift)})
        onnx.checker.check_model(model)
        with complete_file(path) as partial:
            onnx.save(model, str(partial))
    return paths


def _rename_onnx_value(graph: Any, value: Any, new: str) -> None:
    """Renames an input or output of a graph, there and in all nodes."""
    for node in graph.node:
        for names in (node.input, node.output):
            for position, name in enumerate(names):
                if name == value.name:
                    names[position] = new
    value.name = new
