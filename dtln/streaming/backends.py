"""Back ends: each runs one kind of export on one block, with one runtime and without TensorFlow where it can.

    samples -> last 512 samples -> rFFT -> model 1 -> mask -> irFFT -> model 2 -> overlap-add -> samples

`dtln.streaming.engine` owns buffers and LSTM states; a back end does what stands between the last 512 samples and the
overlap-add. It runs a TF-lite or ONNX pair, one graph that holds the transforms as well, or a SavedModel, which does
need TensorFlow. Exports of this toolkit and the published ones are taken alike.

Block sizes come from the models: the block length from the shapes, the shift from a note in our exports (TF-lite:
tensor name, ONNX: metadata, SavedModel: variable). In files without the note a block has four shifts, as in the
published ones.
"""

from __future__ import annotations

import importlib
import operator
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dtln.errors import MissingRuntimeError, ModelError, install_line, require
from dtln.formats import MODEL_DIR, SHIFT_KEY, default_kind, export_kind

__all__ = [
    "Backend",
    "ONNXBackend",
    "ONNXStreamBackend",
    "SavedModelBackend",
    "SplitBackend",
    "States",
    "TFLITE_RUNTIMES",
    "TFLiteBackend",
    "TFLiteStreamBackend",
    "find_tflite_runtime",
    "open_backend",
]

TFLITE_RUNTIMES = {  # name: where its Interpreter is, in the order of preference
    "tflite_runtime": ("tflite_runtime.interpreter", "Interpreter"),
    "ai_edge_litert": ("ai_edge_litert.interpreter", "Interpreter"),
    "tf.lite": ("tensorflow", "lite.Interpreter"),
}
States = tuple[Any, ...]
Model = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]  # (signal, states) -> (signal, states)


class Backend(Protocol):
    """Runs the network on one block. Several threads may call it: each stream has its own states.

    block_length, block_shift: in samples. runtime: its name, for people.
    """

    block_length: int
    block_shift: int
    runtime: str

    def initial_states(self) -> States:
        """States of a new signal."""

    def run(self, block: np.ndarray, states: States) -> tuple[np.ndarray, States]:
        """(block float32 (N,), states) -> (denoised block float32 (N,), new states).

        The arguments are not changed; the denoised block is a new array, which the caller may change.
        """


class SplitBackend:
    """A pair of models with external states and the Fourier transforms in numpy around them.

    Each model is a function (signal (1, 1, C), states (1, K, U, 2)) -> (signal, states).
    """

    def __init__(
        self,
        runtime: str,
        models: Sequence[Model],
        signal_shapes: Sequence[Sequence[int]],
        states_shapes: Sequence[Sequence[int]],
        block_shift: int | None,
        names: Sequence[Path],
    ) -> None:
        self.runtime = runtime
        self.block_length = int(signal_shapes[1][-1])
        self.block_shift = _block_shift(block_shift, self.block_length, names[0])
        if int(signal_shapes[0][-1]) != self.block_length // 2 + 1:
            raise ModelError(
                f"{names[0]}: takes {signal_shapes[0][-1]} frequency bins, but {names[1]} takes blocks of "
                f"{self.block_length} samples. Expected {self.block_length // 2 + 1} bins: two files of one export."
            )
        self._model_1, self._model_2 = models
        self._states_shapes = [tuple(int(size) for size in shape) for shape in states_shapes]
        self.run(np.zeros(self.block_length, np.float32), self.initial_states())  # the first call allocates

    def initial_states(self) -> States:
        """Zeros for both models."""
        return tuple(np.zeros(shape, np.float32) for shape in self._states_shapes)

    def run(self, block: np.ndarray, states: States) -> tuple[np.ndarray, States]:
        """(block float32 (N,), states) -> (denoised block float32 (N,), new states)."""
        spectrum = np.fft.rfft(block)  # (F,)
        magnitude = np.abs(spectrum).astype(np.float32)
        mask, states_1 = self._model_1(magnitude[None, None], states[0])  # (1, 1, F)
        masked = np.fft.irfft(spectrum * mask[0, 0], self.block_length).astype(np.float32)  # (N,)
        denoised, states_2 = self._model_2(masked[None, None], states[1])  # (1, 1, N)
        return denoised[0, 0], (states_1, states_2)


class TFLiteBackend(SplitBackend):
    """The TF-lite pair, on the first TF-lite runtime that is found.

    Raises MissingRuntimeError, FileNotFoundError or ModelError.
    """

    def __init__(self, model_1: str | Path, model_2: str | Path, threads: int = 1, runtime: str | None = None) -> None:
        paths = [_existing(model_1), _existing(model_2)]
        (name, first), (_, second) = (_tflite_interpreter(path, threads, runtime) for path in paths)
        interpreters = [first, second]
        inputs = [_signal_and_states(i.get_input_details(), p) for i, p in zip(interpreters, paths, strict=True)]
        note = re.search(rf"{SHIFT_KEY}_(\d+)", inputs[0][1]["name"])
        super().__init__(
            name,
            [self._model(i, p, s) for i, p, s in zip(interpreters, paths, inputs, strict=True)],
            [signal["shape"] for signal, _ in inputs],
            [states["shape"] for _, states in inputs],
            int(note[1]) if note else None,
            paths,
        )

    @staticmethod
    def _model(interpreter: Any, path: Path, inputs: tuple[dict, dict]) -> Model:
        signal_in, states_in = (detail["index"] for detail in inputs)
        outputs = _signal_and_states(interpreter.get_output_details(), path)
        signal_out, states_out = (detail["index"] for detail in outputs)
        lock = threading.Lock()  # an interpreter has one set of tensors

        def run(signal: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            with lock:
                interpreter.set_tensor(signal_in, signal)
                interpreter.set_tensor(states_in, states)
                interpreter.invoke()
                return interpreter.get_tensor(signal_out), interpreter.get_tensor(states_out)

        return run


class TFLiteStreamBackend:
    """One TF-lite graph with the transforms inside, as `dtln.export.tflite` writes it.

    Raises MissingRuntimeError, FileNotFoundError or ModelError.
    """

    def __init__(self, path: str | Path, threads: int = 1, runtime: str | None = None) -> None:
        path = _existing(path)
        self.runtime, self._interpreter = _tflite_interpreter(path, threads, runtime)
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        shapes = [tuple(int(size) for size in detail["shape"]) for detail in inputs]
        if len(inputs) != 2 or len(outputs) != 2 or len(shapes[0]) != 3 or len(shapes[1]) != 3 or shapes[1][0] % 4:
            raise ModelError(
                f"{path}: takes tensors of shapes {', '.join(map(str, shapes))}. Expected a block (1, 1, N) and states "
                "(4 K, 1, U): a streaming model of this toolkit."
            )
        self._in, self._out = ([detail["index"] for detail in details] for details in (inputs, outputs))
        self.block_length, self._states_shape = shapes[0][-1], shapes[1]
        note = re.search(rf"{SHIFT_KEY}_(\d+)", inputs[1]["name"])
        self.block_shift = _block_shift(int(note[1]) if note else None, self.block_length, path)
        self._lock = threading.Lock()  # an interpreter has one set of tensors
        self.run(np.zeros(self.block_length, np.float32), self.initial_states())

    def initial_states(self) -> States:
        """Zeros."""
        return (np.zeros(self._states_shape, np.float32),)

    def run(self, block: np.ndarray, states: States) -> tuple[np.ndarray, States]:
        """(block float32 (N,), states) -> (denoised block float32 (N,), new states)."""
        interpreter = self._interpreter
        with self._lock:
            interpreter.set_tensor(self._in[0], block[None, None])
            interpreter.set_tensor(self._in[1], states[0])
            interpreter.invoke()
            return interpreter.get_tensor(self._out[0])[0, 0], (interpreter.get_tensor(self._out[1]),)


class ONNXBackend(SplitBackend):
    """The ONNX pair on onnxruntime (CPU). Raises MissingRuntimeError, FileNotFoundError or ModelError."""

    def __init__(self, model_1: str | Path, model_2: str | Path, threads: int = 1) -> None:
        paths = [_existing(model_1), _existing(model_2)]
        sessions = [_onnx_session(path, threads) for path in paths]

        def details(values: Sequence[Any]) -> list[dict]:
            return [{"name": value.name, "shape": value.shape} for value in values]

        inputs = [_signal_and_states(details(s.get_inputs()), p) for s, p in zip(sessions, paths, strict=True)]
        notes = [s.get_modelmeta().custom_metadata_map.get(SHIFT_KEY) for s in sessions]
        super().__init__(
            "onnxruntime",
            [
                self._model(s, i, _signal_and_states(details(s.get_outputs()), p))
                for s, p, i in zip(sessions, paths, inputs, strict=True)
            ],
            [signal["shape"] for signal, _ in inputs],
            [states["shape"] for _, states in inputs],
            int(notes[0]) if notes[0] else None,
            paths,
        )

    @staticmethod
    def _model(session: Any, inputs: tuple[dict, dict], outputs: tuple[dict, dict]) -> Model:
        signal_in, states_in = (detail["name"] for detail in inputs)
        names_out = [detail["name"] for detail in outputs]

        def run(signal: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            signal, states = session.run(names_out, {signal_in: signal, states_in: states})
            return signal, states

        return run


class ONNXStreamBackend:
    """One ONNX graph with the transforms inside, as `dtln.export.onnx_graph` writes it, on onnxruntime (CPU).

    Raises MissingRuntimeError, FileNotFoundError or ModelError.
    """

    runtime = "onnxruntime"

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        path = _existing(path)
        self._session = _onnx_session(path, threads)
        shapes = {value.name: value.shape for value in self._session.get_inputs()}
        if set(shapes) != {"block", "states"}:
            raise ModelError(
                f"{path}: takes {', '.join(shapes)}. Expected block and states: a streaming model of this toolkit."
            )
        self.block_length = int(shapes["block"][-1])
        note = self._session.get_modelmeta().custom_metadata_map.get(SHIFT_KEY)
        self.block_shift = _block_shift(int(note) if note else None, self.block_length, path)
        self._states_shape = shapes["states"]
        self.run(np.zeros(self.block_length, np.float32), self.initial_states())

    def initial_states(self) -> States:
        """Zeros."""
        return (np.zeros(self._states_shape, np.float32),)

    def run(self, block: np.ndarray, states: States) -> tuple[np.ndarray, States]:
        """(block float32 (N,), states) -> (denoised block float32 (N,), new states)."""
        denoised, new = self._session.run(("denoised", "states_out"), {"block": block[None, None], "states": states[0]})
        return denoised[0, 0], (new,)


def _onnx_session(path: Path, threads: int) -> Any:
    onnxruntime: Any = require("onnxruntime", "an ONNX model", MissingRuntimeError)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class of their own
        raise ModelError(f"{path}: cannot be loaded by onnxruntime ({error}). Expected an ONNX model.") from error


class SavedModelBackend:
    """A SavedModel on TensorFlow: ours by its signature that takes and gives states, others by `serving_default`.

    The published SavedModel keeps its states in variables. They are exchanged when the block of another signal comes,
    so that signals may take turns. The states of such a signal change in place: each can go on, but not go back.
    Raises MissingRuntimeError, FileNotFoundError or ModelError.
    """

    runtime = "tensorflow"
    STREAM_SIGNATURE = "stream"

    def __init__(self, folder: str | Path, threads: int = 1) -> None:
        tensorflow: Any = require("tensorflow", "a SavedModel", MissingRuntimeError)
        self._tensorflow = tensorflow
        try:
            tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
            tensorflow.config.threading.set_inter_op_parallelism_threads(threads)
        except RuntimeError:
            pass  # TensorFlow already runs and keeps its number of threads
        self._folder = Path(folder)
        if not (self._folder / "saved_model.pb").is_file():
            raise FileNotFoundError(f"{folder}: holds no saved_model.pb. Expected the folder of a SavedModel.")
        self._model = tensorflow.saved_model.load(str(self._folder))
        self._stream = self._model.signatures.get(self.STREAM_SIGNATURE)
        self._serving = self._model.signatures.get("serving_default")
        if self._serving is None:
            raise ModelError(f"{self._folder}: has no signature serving_default. Expected a DTLN SavedModel.")
        self._first_values = [] if self._stream else [variable.numpy() for variable in self._serving.variables]
        self._inside: list[Any] = []  # the signal whose states are in the variables
        self._lock = threading.Lock()  # for them
        signature = self._stream or self._serving
        specs = signature.structured_input_signature[1]
        shapes = {name: tuple(spec.shape) for name, spec in specs.items()}
        blocks = [shape[-1] for shape in shapes.values() if len(shape) == 2]
        if len(blocks) != 1:
            raise ModelError(f"{folder}: takes {shapes}. Expected one block (1, N), as the published SavedModel.")
        self.block_length = int(blocks[0])
        note = getattr(self._model, SHIFT_KEY, None)
        self.block_shift = _block_shift(None if note is None else int(note.numpy()), self.block_length, self._folder)
        self._states_shapes = [shapes[name] for name in ("states_1", "states_2")] if self._stream else []
        self.run(np.zeros(self.block_length, np.float32), self.initial_states())

    def initial_states(self) -> States:
        """Zeros for our models. For a published one a list, which holds the variables while others use them."""
        if not self._stream:
            return ([*self._first_values],)
        return tuple(self._tensorflow.zeros(shape) for shape in self._states_shapes)

    def run(self, block: np.ndarray, states: States) -> tuple[np.ndarray, States]:
        """(block float32 (N,), states) -> (denoised block float32 (N,), new states)."""
        tensor = self._tensorflow.constant(block[None], self._tensorflow.float32)  # (1, N)
        if self._stream:
            result = self._stream(block=tensor, states_1=states[0], states_2=states[1])
            return result["denoised"].numpy().reshape(-1), (result["states_1"], result["states_2"])
        with self._lock:
            if self._inside is not states[0]:
                self._inside[:] = [variable.numpy() for variable in self._serving.variables]
                for variable, value in zip(self._serving.variables, states[0], strict=True):
                    variable.assign(value)
                self._inside = states[0]
            (denoised,) = self._serving(tensor).values()
            return denoised.numpy().reshape(-1), states


def find_tflite_runtime(wanted: str | None = None) -> tuple[str, Any]:
    """(name, Interpreter class) of the first TF-lite runtime that can be imported, or of the wanted one.

    Raises MissingRuntimeError, which says why each could not be imported.
    """
    problems = []
    for name in TFLITE_RUNTIMES if wanted is None else (wanted,):
        module_name, attribute = TFLITE_RUNTIMES[name]
        try:
            return name, operator.attrgetter(attribute)(importlib.import_module(module_name))
        except (ImportError, AttributeError) as error:  # AttributeError: tflite_runtime with numpy 2
            problems.append(f"{name}: {error}")
    raise MissingRuntimeError(
        f"no TF-lite runtime is installed: {install_line('ai_edge_litert')} (or, up to Python 3.11, tflite-runtime "
        f"with 'numpy<2'). Tried {'; '.join(problems)}"
    )


def _tflite_interpreter(path: Path, threads: int, runtime: str | None) -> tuple[str, Any]:
    """(name of the runtime, interpreter with its tensors allocated)."""
    name, interpreter_class = find_tflite_runtime(runtime)
    try:
        interpreter = interpreter_class(model_path=str(path), num_threads=threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"{path}: cannot be loaded by {name} ({error}). Expected a TF-lite model.") from error
    return name, interpreter


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such model file. Check the path, or make it with `dtln convert`.")
    return path


def _signal_and_states(details: Sequence[dict], path: Path) -> tuple[dict, dict]:
    """The tensor of rank 3 and the one of rank 4 among a model's inputs or outputs, in whatever order they come."""
    by_rank = {len(detail["shape"]): detail for detail in details}
    if len(details) != 2 or set(by_rank) != {3, 4}:
        shapes = ", ".join(str(tuple(detail["shape"])) for detail in details)
        raise ModelError(
            f"{path}: has tensors of shapes {shapes}. Expected a signal (1, 1, C) and states (1, K, U, 2): half of a "
            "DTLN pair."
        )
    return by_rank[3], by_rank[4]


def _block_shift(noted: int | None, block_length: int, path: Path) -> int:
    block_shift = noted if noted is not None else block_length // 4
    if not 0 < block_shift <= block_length:
        raise ModelError(f"{path}: notes a block shift of {block_shift}. Expected 1 to {block_length} samples.")
    return block_shift


def open_backend(kind: str | None = None, model_dir: str | Path = MODEL_DIR, threads: int = 1) -> Backend:
    """The back end of one kind of EXPORT_KINDS; without a kind, of the `default_kind`.

    model_dir: the folder of the exports, or what else `ExportKind.found` takes. Raises ValueError for an
    unknown kind, FileNotFoundError, ModelError or MissingRuntimeError.
    """
    return export_kind(kind or default_kind(model_dir)).open(model_dir, threads)
