"""The kinds of exports, and the folder of the included models."""

from __future__ import annotations

from pathlib import Path

SHIFT_KEY = "block_shift"  # where exports note their shift: ONNX metadata, SavedModel attribute, TF-lite tensor name
DEFAULT_MODEL_DIR = Path(__file__).resolve().parents[1] / "pretrained_model"
BACKEND_FILES = {  # published names
    "tflite": ("model_1.tflite", "model_2.tflite"),
    "tflite-quant": ("model_quant_1.tflite", "model_quant_2.tflite"),
    "onnx": ("model_1.onnx", "model_2.onnx"),
    "tflite-stream": ("model_stream.tflite",),  # ours alone, as all with stream: one graph, transforms inside
    "tflite-stream-quant": ("model_stream_quant.tflite",),
    "onnx-stream": ("model_stream.onnx",),
    "onnx-stream-quant": ("model_stream_quant.onnx",),
    "savedmodel": ("dtln_saved_model",),
}


def backend_paths(kind: str, model_dir: str | Path) -> list[Path]:
    """The files of one kind of export in a folder. Raises ValueError for an unknown kind."""
    if kind not in BACKEND_FILES:
        raise ValueError(f"unknown kind of model {kind!r}: expected one of {', '.join(BACKEND_FILES)}")
    return [Path(model_dir) / name for name in BACKEND_FILES[kind]]


def available_backends(model_dir: str | Path) -> list[str]:
    """Kinds of exports that a folder holds, in the order of BACKEND_FILES."""
    return [kind for kind in BACKEND_FILES if all(path.exists() for path in backend_paths(kind, model_dir))]


STREAM_KINDS = {"tflite": "tflite-stream", "tflite-quant": "tflite-stream-quant", "onnx": "onnx-stream"}


def fastest_backend(kind: str, model_dir: str | Path) -> str:
    """The kind that gives the same samples as `kind` in less time, if the folder holds it: one graph for a pair."""
    faster = STREAM_KINDS.get(kind, kind)
    return faster if faster in available_backends(model_dir) else kind


FORMATS = (
    "savedmodel",
    "tflite",
    "tflite-quant",
    "tflite-stream",
    "tflite-stream-quant",
    "onnx",
    "onnx-stream",
    "onnx-stream-quant",
)
