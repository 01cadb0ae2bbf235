"""The ONNX pair, converted by tf2onnx."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtln.export.halves import halves_of
from dtln.files import complete_file
from dtln.formats import SHIFT_KEY

if TYPE_CHECKING:
    from DTLN_model import DTLNNetwork


def export_pair(network: DTLNNetwork, path_1: str | Path, path_2: str | Path) -> tuple[Path, Path]:
    """Writes the ONNX pair with tf2onnx; returns its paths. A metadata entry notes the shift."""
    import onnx
    import tensorflow as tf
    import tf2onnx

    paths = (Path(path_1), Path(path_2))
    for half, path in zip(halves_of(network), paths, strict=True):
        model, _ = tf2onnx.convert.from_function(tf.function(half.step), input_signature=half.specs, opset=17)
        for old, new in zip([value.name for value in model.graph.output], half.names_out, strict=True):
            _rename_onnx_value(model.graph, old, new)
        onnx.helper.set_model_props(model, {SHIFT_KEY: str(network.config.block_shift)})
        onnx.checker.check_model(model)
        with complete_file(path) as partial:
            onnx.save(model, str(partial))
    return paths


def _rename_onnx_value(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for position, name in enumerate(names):
                if name == old:
                    names[position] = new
    for value in graph.output:
        if value.name == old:
            value.name = new
