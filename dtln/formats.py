"""The kinds of exports: THE table that converter, engines, scripts, tests and benchmarks take theirs from.

A new kind is one entry here, its exporter in `dtln/export/` and, if no class there reads it yet, a back end in
`dtln/streaming/backends.py`.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dtln.files import included_folder

__all__ = [
    "DEFAULT_WEIGHTS",
    "EXPORT_KINDS",
    "ExportKind",
    "MODEL_DIR",
    "SHIFT_KEY",
    "available_kinds",
    "default_kind",
    "export_kind",
    "fastest_kind",
    "kind_paths",
]

SHIFT_KEY = "block_shift"  # where exports note their shift: ONNX metadata, SavedModel attribute, TF-lite tensor name


MODEL_DIR = included_folder("pretrained_model")
DEFAULT_WEIGHTS = MODEL_DIR / "model.h5"


@dataclass(frozen=True)
class ExportKind:
    """One kind of export.

    title: for people.
    files: their names in a folder of exports, as published where the kind is published.
    inside: a file by which to know a file of this kind that is itself a folder.
    backend: "module:class" that runs them, called with their paths and the number of threads.
    exporter: "module:function" that writes them, called with the network, their paths and, for 8 bits, quantise=True.
    runtimes: packages, each of which runs them.
    quantised: all weights are in 8 bits, so the output is close to that of the float kinds, not equal to it.
    faster: the kind that gives the same samples in less time, where there is one.
    """

    name: str
    title: str
    files: tuple[str, ...]
    backend: str
    exporter: str
    runtimes: tuple[str, ...]
    quantised: bool = False
    faster: str | None = None
    inside: str | None = None

    def open(self, model: str | Path, threads: int = 1) -> Any:
        """The back end on the files that `found` finds. Raises FileNotFoundError, ModelError or MissingRuntimeError."""
        return _attribute(self.backend)(*self.found(model), threads=threads)

    def export(self, network: Any, folder: str | Path) -> None:
        """Writes the files of a network (`DTLN_model.DTLNNetwork`) into a folder."""
        options = {"quantise": True} if self.quantised else {}
        _attribute(self.exporter)(network, *self.paths(folder), **options)

    def paths(self, folder: str | Path) -> list[Path]:
        """The files in a folder, whether they are there or not."""
        return [Path(folder) / name for name in self.files]

    def found(self, model: str | Path) -> list[Path]:
        """The files that a path stands for, whether they are there or not.

        model: a folder of exports, or one of its files; either of a pair stands for both. A SavedModel, which is itself
        a folder, may have any name.
        """
        model = Path(model)
        if self.inside and (model / self.inside).is_file():
            return [model]
        return self.paths(model.parent if model.name in self.files and model.is_file() else model)

    def installed_runtime(self) -> str | None:
        """The first of the runtimes that is installed, found without importing it; None if none is."""
        return next((package for package in self.runtimes if importlib.util.find_spec(package)), None)


def _attribute(reference: str) -> Any:
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


_BACKENDS, _EXPORT = "dtln.streaming.backends", "dtln.export"
_TFLITE = ("tflite_runtime", "ai_edge_litert", "tensorflow")
_ONNX = ("onnxruntime",)
EXPORT_KINDS: dict[str, ExportKind] = {  # in the order in which `default_kind` tries them
    kind.name: kind
    for kind in (
        ExportKind(
            "tflite-stream",
            "TF-lite graph",
            ("model_stream.tflite",),
            f"{_BACKENDS}:TFLiteStreamBackend",
            f"{_EXPORT}.tflite:export_graph",
            _TFLITE,
        ),
        ExportKind(
            "onnx-stream",
            "ONNX graph",
            ("model_stream.onnx",),
            f"{_BACKENDS}:ONNXStreamBackend",
            f"{_EXPORT}.onnx_graph:export_graph",
            _ONNX,
        ),
        ExportKind(
            "tflite",
            "TF-lite pair",
            ("model_1.tflite", "model_2.tflite"),
            f"{_BACKENDS}:TFLiteBackend",
            f"{_EXPORT}.tflite:export_pair",
            _TFLITE,
            faster="tflite-stream",
        ),
        ExportKind(
            "onnx",
            "ONNX pair",
            ("model_1.onnx", "model_2.onnx"),
            f"{_BACKENDS}:ONNXBackend",
            f"{_EXPORT}.onnx_pair:export_pair",
            _ONNX,
            faster="onnx-stream",
        ),
        ExportKind(
            "savedmodel",
            "SavedModel",
            ("dtln_saved_model",),
            f"{_BACKENDS}:SavedModelBackend",
            f"{_EXPORT}.saved_model:export_saved_model",
            ("tensorflow",),
            inside="saved_model.pb",
        ),
        ExportKind(
            "tflite-stream-quant",
            "TF-lite graph, 8 bit",
            ("model_stream_quant.tflite",),
            f"{_BACKENDS}:TFLiteStreamBackend",
            f"{_EXPORT}.tflite:export_graph",
            _TFLITE,
            quantised=True,
        ),
        ExportKind(
            "onnx-stream-quant",
            "ONNX graph, 8 bit",
            ("model_stream_quant.onnx",),
            f"{_BACKENDS}:ONNXStreamBackend",
            f"{_EXPORT}.onnx_graph:export_graph",
            _ONNX,
            quantised=True,
        ),
        ExportKind(
            "tflite-quant",
            "TF-lite pair, 8 bit",
            ("model_quant_1.tflite", "model_quant_2.tflite"),
            f"{_BACKENDS}:TFLiteBackend",
            f"{_EXPORT}.tflite:export_pair",
            _TFLITE,
            quantised=True,
            faster="tflite-stream-quant",
        ),
    )
}


def export_kind(name: str) -> ExportKind:
    """The kind of export called `name`. Raises ValueError, naming the kinds, for an unknown name."""
    if name not in EXPORT_KINDS:
        raise ValueError(f"unknown kind of model {name!r}: expected one of {', '.join(EXPORT_KINDS)}")
    return EXPORT_KINDS[name]


def kind_paths(name: str, folder: str | Path) -> list[Path]:
    """The files of one kind of export in a folder. Raises ValueError for an unknown kind."""
    return export_kind(name).paths(folder)


def available_kinds(model: str | Path) -> list[str]:
    """The kinds of exports that are there whole, in the order of the table. model: as `ExportKind.found` takes it."""
    return [name for name, kind in EXPORT_KINDS.items() if all(path.exists() for path in kind.found(model))]


def default_kind(model: str | Path) -> str:
    """The first kind of the table that is there and that a package can run here; else the first that is there.

    Raises FileNotFoundError where there is none.
    """
    kinds = available_kinds(model)
    if not kinds:
        raise FileNotFoundError(
            f"{model}: holds no model files such as model_1.tflite. Check the path, or make them with `dtln convert`."
        )
    return next((name for name in kinds if EXPORT_KINDS[name].installed_runtime()), kinds[0])


def fastest_kind(name: str, model: str | Path) -> str:
    """The kind that gives the same samples as `name` in less time if it is there, else `name`."""
    faster = export_kind(name).faster
    return faster if faster in available_kinds(model) else name
