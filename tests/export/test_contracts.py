"""What programs in other languages take for granted of an export: names, positions, shapes, operators, versions."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from signals import batch_output, random_network, speech_like

import DTLN_model as dtln
from dtln.export import onnx_graph, onnx_pair
from dtln.export.tflite import ASYMMETRIC_VERSION
from dtln.formats import EXPORT_KINDS
from dtln.streaming.backends import open_backend
from dtln.streaming.engine import StreamingDenoiser

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = {  # what ports of the published pair spell out
    "model_1.onnx": [
        ("input_2", (1, 1, 257)), ("input_3", (1, 2, 128, 2)),
        ("activation_2", (1, 1, 257)), ("tf_op_layer_stack_2", (1, 2, 128, 2)),
    ],
    "model_2.onnx": [
        ("input_4", (1, 1, 512)), ("input_5", (1, 2, 128, 2)),
        ("conv1d_3", (1, 1, 512)), ("tf_op_layer_stack_5", (1, 2, 128, 2)),
    ],
}  # fmt: skip


def tensors(path: Path) -> list[tuple[str, tuple[int, ...]]]:
    """(name, shape) of the inputs, then of the outputs. An open batch size counts as 1."""
    graph = onnx.load(path).graph
    return [
        (value.name, tuple(axis.dim_value or 1 for axis in value.type.tensor_type.shape.dim))
        for value in (*graph.input, *graph.output)
    ]


@pytest.mark.parametrize("name", PUBLISHED)
def test_onnx_pair_has_the_published_names_and_positions(model_dir, shared, name):
    assert tensors(model_dir / name) == PUBLISHED[name] == tensors(shared / "reference" / name)


def test_docs_have_the_tensors_of_the_onnx_models(model_dir):
    text = (ROOT / "docs" / "porting.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\|(.*?)\| (?:in|out)put \d \| `(\w+)` \| \((.*?)\) \|", text, re.MULTILINE)
    for name in (*PUBLISHED, "model_stream.onnx", "model_stream_quant.onnx"):
        (first,) = (i for i, (files, _, _) in enumerate(rows) if f"`{name}`" in files)
        shown = [(tensor, tuple(map(int, shape.split(",")))) for _, tensor, shape in rows[first : first + 4]]
        assert shown == tensors(model_dir / name)


def test_onnx_pair_of_another_network_has_the_same_names(tmp_path):
    config = dtln.DTLNConfig(block_length=320, block_shift=160, units=8, lstm_layers=3, norm_stft=True)
    network = random_network(config)
    onnx_pair.export_pair(network, tmp_path / "model_1.onnx", tmp_path / "model_2.onnx")
    for name, expected in PUBLISHED.items():
        found = tensors(tmp_path / name)
        assert [name for name, _ in found] == [name for name, _ in expected]
        assert found[1][1] == found[3][1] == (1, 3, 8, 2)
    found = StreamingDenoiser(open_backend("onnx", tmp_path)).denoise(speech_like(3000))
    np.testing.assert_allclose(found, batch_output(network, speech_like(3000)), atol=1e-5)


@pytest.mark.parametrize("name", ["model_1.onnx", "model_2.onnx", "model_stream.onnx", "model_stream_quant.onnx"])
def test_onnx_models_stay_with_old_and_common_operators(model_dir, name):
    """Opset 13 in a file of its time. DFT and LayerNormalization came later, and few runtimes have DFT."""
    model = onnx.load(model_dir / name)
    assert model.ir_version == 7
    assert {opset.domain: opset.version for opset in model.opset_import}[""] == 13
    assert not {"DFT", "LayerNormalization"} & {node.op_type for node in model.graph.node}
    assert len({node.domain for node in model.graph.node}) == 1 + ("quant" in name)


@pytest.mark.parametrize("length", [512, 320, 400, 2, 31, 36])
def test_transform_of_the_one_graph_is_the_fourier_transform(length):
    graph = onnx_graph.Graph()
    spectrum = graph.transform("block", length)
    graph.node("Identity", spectrum, outputs=["spectrum"])
    model = graph.model({"block": (1, 1, length)}, {"spectrum": (1, 1, length // 2 + 1, 2)})
    block = np.random.default_rng(0).normal(0, 0.1, length).astype(np.float32)
    (found,) = onnxruntime.InferenceSession(model).run(None, {"block": block[None, None]})
    expected = np.fft.rfft(block.astype(np.float64))
    np.testing.assert_allclose(found[0, 0, :, 0] + 1j * found[0, 0, :, 1], expected, atol=2e-6)


@pytest.mark.parametrize(
    "kind", [name for name, kind in EXPORT_KINDS.items() if "quant" in name and "onnx" not in name]
)
def test_8_bit_tflite_asks_for_a_runtime_that_knows_it(model_dir, kind):
    """TensorFlow 2.2 took version 1 of the operator and left out the zero points."""
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    for path in EXPORT_KINDS[kind].paths(model_dir):
        model = flatbuffer_utils.read_model(str(path))
        dense = [c.version for c in model.operatorCodes if c.builtinCode == schema.BuiltinOperator.FULLY_CONNECTED]
        assert dense == [ASYMMETRIC_VERSION]
        notes = {entry.name: bytes(model.buffers[entry.buffer].data) for entry in model.metadata}
        version = notes[b"min_runtime_version"].rstrip(b"\0").decode()
        assert [int(number) for number in version.split(".")] >= [2, 3, 0]
        assert len(notes[b"min_runtime_version"]) == 16


LARGEST_TABLE = 35000  # numbers in what the transforms multiply with; the smallest matrix of weights has 32768


def test_8_bit_exports_hold_every_matrix_of_weights_in_8_bits(model_dir):
    """986 753 parameters: all but biases, gains and normalisation are whole numbers of one byte."""
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    weights = {"tflite-quant": 2 * 128 * 512 * 3 + (257 + 256) * (512 + 128) + 2 * 512 * 256}
    weights |= dict.fromkeys(("tflite-stream-quant", "onnx-stream-quant"), weights["tflite-quant"])
    for kind, expected in weights.items():
        whole, floats = 0, 0
        for path in EXPORT_KINDS[kind].paths(model_dir):
            if path.suffix == ".onnx":
                for tensor in onnx.load(path).graph.initializer:
                    size = int(np.prod(tensor.dims))
                    if tensor.data_type == onnx.TensorProto.INT8:
                        whole += size if size > 5000 else 0  # without zero points
                    elif tensor.data_type == onnx.TensorProto.FLOAT:
                        floats = max(floats, size)
            else:
                model = flatbuffer_utils.read_model(str(path))
                for tensor in model.subgraphs[0].tensors:
                    stored = model.buffers[tensor.buffer].data
                    size = 0 if stored is None else len(stored)
                    if tensor.type == schema.TensorType.INT8:
                        whole += size
                    elif tensor.type == schema.TensorType.FLOAT32:
                        floats = max(floats, size // 4)
        assert whole == expected and floats < LARGEST_TABLE, (kind, whole, floats)


def test_saved_model_can_be_called_as_the_published_one(model_dir):
    import tensorflow as tf

    called, served = (tf.saved_model.load(str(model_dir / "dtln_saved_model")) for _ in range(2))
    blocks = speech_like(5 * 512).reshape(5, 1, 512)
    outputs = [  # each goes on from the states that the one before left inside
        called(blocks[0]),
        called(tf.constant(blocks[1])),
        called(blocks[2], False),
        called(inputs=blocks[3], training=False),
        called(blocks[4], training=True, mask=None),
    ]
    expected = [served.signatures["serving_default"](tf.constant(block))["conv1d_1"].numpy() for block in blocks]
    np.testing.assert_array_equal(outputs, expected)
    assert expected[0].shape == (1, 1, 512) and np.max(np.abs(expected[0])) > 1e-3


@pytest.mark.parametrize("kind", [name for name in EXPORT_KINDS if name != "savedmodel"])
def test_every_kind_of_export_keeps_its_positions(model_dir, kind):
    """Ports of TF-lite and ONNX models bind by position: the signal is first, the states second, in and out."""
    for path in EXPORT_KINDS[kind].paths(model_dir):
        if path.suffix == ".onnx":
            signal_in, states_in, signal_out, states_out = (shape for _, shape in tensors(path))
        else:
            from ai_edge_litert.interpreter import Interpreter

            interpreter = Interpreter(str(path))
            details = [*interpreter.get_input_details(), *interpreter.get_output_details()]
            signal_in, states_in, signal_out, states_out = (tuple(map(int, detail["shape"])) for detail in details)
        assert signal_in == signal_out and states_in == states_out
        assert signal_in in ((1, 1, 257), (1, 1, 512)) and states_in in ((1, 2, 128, 2), (8, 1, 128))
