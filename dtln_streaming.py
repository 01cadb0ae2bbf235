"""Block-by-block DTLN without TensorFlow: one shift of 128 samples in, one shift out.

    samples -> last 512 samples -> rFFT -> model 1 -> mask -> irFFT -> model 2 -> overlap-add -> samples

`StreamingDenoiser` owns the buffers and the LSTM states; a back end runs the two models: a TF-lite pair
(`TFLiteBackend`), an ONNX pair (`ONNXBackend`) or a SavedModel (`SavedModelBackend`, which does need TensorFlow).
Exports of this toolkit and the published ones are taken alike. Each runtime is imported by the back end that uses it.

Block sizes come from the models: the block length from the shapes, the shift from a note in our exports (TF-lite:
tensor name, ONNX: metadata, SavedModel: variable). Files without the note are taken to have four shifts to a block, as
the published ones.
"""

from __future__ import annotations

import argparse
import importlib
import operator
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dtln_audio import SAMPLE_RATE, SHIFT_KEY, AudioFileError

DEFAULT_MODEL_DIR = Path(__file__).resolve().parent / "pretrained_model"
TFLITE_RUNTIMES = {  # name: where its Interpreter is, in the order of preference
    "tflite_runtime": ("tflite_runtime.interpreter", "Interpreter"),
    "ai_edge_litert": ("ai_edge_litert.interpreter", "Interpreter"),
    "tf.lite": ("tensorflow", "lite.Interpreter"),
}
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

LOUDEST_SAMPLE = 1e6  # 120 dB above full scale: beyond it float32 arithmetic inside the network may overflow

States = tuple[Any, ...]


class ModelError(ValueError):
    """An exported model that cannot be used; the message names the file, what was found and what to do."""


class MissingRuntimeError(ImportError):
    """No runtime for a kind of model is installed; the message says what to install."""


class Backend(Protocol):
    """Runs the network on one block. Sizes in samples."""

    block_length: int
    block_shift: int
    runtime: str

    def initial_states(self) -> States:
        """States of a new signal."""

    def run(self, block: np.ndarray, states: States) -> tuple[np.ndarray, States]:
        """(block float32 (N,), states) -> (denoised block float32 (N,), new states).

        The arguments are not changed; the denoised block is a new array, which the caller may change.
        """


# ----------------------------------------------------------------------------------------------------------------------
# Back ends
# ----------------------------------------------------------------------------------------------------------------------


class SplitBackend:
    """A pair of models with external states and the Fourier transforms in numpy around them.

    Each model is a function (signal (1, 1, C), states (1, K, U, 2)) -> (signal, states).
    """

    def __init__(
        self,
        runtime: str,
        models: Sequence[Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]],
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
    """The TF-lite pair, on tflite_runtime, ai_edge_litert or tf.lite, whichever is found first.

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
            [self._function(i, p, s) for i, p, s in zip(interpreters, paths, inputs, strict=True)],
            [signal["shape"] for signal, _ in inputs],
            [states["shape"] for _, states in inputs],
            int(note[1]) if note else None,
            paths,
        )

    @staticmethod
    def _function(interpreter: Any, path: Path, inputs: tuple[dict, dict]) -> Callable:
        signal_in, states_in = (detail["index"] for detail in inputs)
        outputs = _signal_and_states(interpreter.get_output_details(), path)
        signal_out, states_out = (detail["index"] for detail in outputs)

        def run(signal: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            interpreter.set_tensor(signal_in, signal)
            interpreter.set_tensor(states_in, states)
            interpreter.invoke()
            return interpreter.get_tensor(signal_out), interpreter.get_tensor(states_out)

        return run


class TFLiteStreamBackend:
    """One TF-lite graph with the transforms inside, as `DTLN_model.export_tflite_stream` writes it.

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
        self.run(np.zeros(self.block_length, np.float32), self.initial_states())

    def initial_states(self) -> States:
        """Zeros."""
        return (np.zeros(self._states_shape, np.float32),)

    def run(self, block: np.ndarray, states: States) -> tuple[np.ndarray, States]:
        """(block float32 (N,), states) -> (denoised block float32 (N,), new states)."""
        interpreter = self._interpreter
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
                self._function(s, i, _signal_and_states(details(s.get_outputs()), p))
                for s, p, i in zip(sessions, paths, inputs, strict=True)
            ],
            [signal["shape"] for signal, _ in inputs],
            [states["shape"] for _, states in inputs],
            int(notes[0]) if notes[0] else None,
            paths,
        )

    @staticmethod
    def _function(session: Any, inputs: tuple[dict, dict], outputs: tuple[dict, dict]) -> Callable:
        signal_in, states_in = (detail["name"] for detail in inputs)
        names_out = [detail["name"] for detail in outputs]

        def run(signal: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return tuple(session.run(names_out, {signal_in: signal, states_in: states}))

        return run


class ONNXStreamBackend:
    """One ONNX graph with the transforms inside, as `dtln_onnx.export_streaming` writes it, on onnxruntime (CPU).

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
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingRuntimeError("the ONNX models need onnxruntime: pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class of their own
        raise ModelError(f"{path}: cannot be loaded by onnxruntime ({error}). Expected an ONNX model.") from error


class SavedModelBackend:
    """A SavedModel on TensorFlow: ours by its signature with external states, any other by `serving_default`.

    A published SavedModel keeps its states inside and cannot clear them: a new signal loads it again.
    Raises MissingRuntimeError, FileNotFoundError or ModelError.
    """

    runtime = "tensorflow"
    STREAM_SIGNATURE = "stream"

    def __init__(self, folder: str | Path, threads: int = 1) -> None:
        try:
            import tensorflow
        except ImportError as error:
            raise MissingRuntimeError("the SavedModel needs TensorFlow: pip install tensorflow") from error
        self._tensorflow = tensorflow
        try:
            tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
            tensorflow.config.threading.set_inter_op_parallelism_threads(threads)
        except RuntimeError:
            pass  # TensorFlow already runs and keeps its number of threads
        self._folder = Path(folder)
        if not (self._folder / "saved_model.pb").is_file():
            raise FileNotFoundError(f"{folder}: holds no saved_model.pb. Expected the folder of a SavedModel.")
        self._load()
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
        self._used = True

    def _load(self) -> None:
        self._model = self._tensorflow.saved_model.load(str(self._folder))
        self._stream = self._model.signatures.get(self.STREAM_SIGNATURE)
        self._serving = self._model.signatures.get("serving_default")
        if self._serving is None:
            raise ModelError(f"{self._folder}: has no signature serving_default. Expected a DTLN SavedModel.")
        self._used = False

    def initial_states(self) -> States:
        """Zeros where the states are outside; else nothing, and the model starts afresh."""
        if not self._stream and self._used:
            self._load()
        return tuple(self._tensorflow.zeros(shape) for shape in self._states_shapes)

    def run(self, block: np.ndarray, states: States) -> tuple[np.ndarray, States]:
        """(block float32 (N,), states) -> (denoised block float32 (N,), new states)."""
        tensor = self._tensorflow.constant(block[None], self._tensorflow.float32)  # (1, N)
        if self._stream:
            result = self._stream(block=tensor, states_1=states[0], states_2=states[1])
            return result["denoised"].numpy().reshape(-1), (result["states_1"], result["states_2"])
        self._used = True
        (denoised,) = self._serving(tensor).values()
        return denoised.numpy().reshape(-1), ()


def find_tflite_runtime(wanted: str | None = None) -> tuple[str, Any]:
    """(name, Interpreter class) of the first TF-lite runtime that can be imported, or of the wanted one."""
    problems = []
    for name in TFLITE_RUNTIMES if wanted is None else (wanted,):
        module_name, attribute = TFLITE_RUNTIMES[name]
        try:
            return name, operator.attrgetter(attribute)(importlib.import_module(module_name))
        except (ImportError, AttributeError) as error:  # AttributeError: tflite_runtime with numpy 2
            problems.append(f"{name}: {error}")
    raise MissingRuntimeError(
        "no TF-lite runtime is installed: pip install ai-edge-litert (or, up to Python 3.11, "
        f"tflite-runtime with 'numpy<2'). Tried {'; '.join(problems)}"
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
        raise FileNotFoundError(
            f"{path}: no such model file. Check the path, or make it with convert_weights_and_savedmodel.py."
        )
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


def open_backend(kind: str, model_dir: str | Path = DEFAULT_MODEL_DIR, threads: int = 1) -> Backend:
    """Opens one of the kinds of BACKEND_FILES from a folder with the published file names.

    Raises ValueError, FileNotFoundError, ModelError or MissingRuntimeError.
    """
    paths = backend_paths(kind, model_dir)
    classes: dict[str, Callable[..., Backend]] = {
        "tflite": TFLiteBackend,
        "tflite-quant": TFLiteBackend,
        "tflite-stream": TFLiteStreamBackend,
        "tflite-stream-quant": TFLiteStreamBackend,
        "onnx": ONNXBackend,
        "onnx-stream": ONNXStreamBackend,
        "onnx-stream-quant": ONNXStreamBackend,
        "savedmodel": SavedModelBackend,
    }
    return classes[kind](*paths, threads)


# ----------------------------------------------------------------------------------------------------------------------
# Engine
# ----------------------------------------------------------------------------------------------------------------------


class StreamingDenoiser:
    """Denoises a stream of samples; the one owner of buffers and states.

    Two ways to feed it, not to be mixed within one signal:

    * `process_block`: exactly one shift in, one shift out, delayed by `delay` samples (block length - shift), for
      sound cards;
    * `process` and `flush`: any number of samples in, aligned samples out, as many in the end as went in.

    A shift that holds NaN, Inf or samples beyond LOUDEST_SAMPLE is replaced by silence and counted in
    `silenced_blocks`: it never reaches the states.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.block_length, self.block_shift = backend.block_length, backend.block_shift
        self.delay = self.block_length - self.block_shift
        self.reset()

    def reset(self) -> None:
        """Forgets the signal so far."""
        self.silenced_blocks = 0
        self._states = self.backend.initial_states()
        self._input = np.zeros(self.block_length, np.float32)
        self._overlap = np.zeros(self.delay, np.float32)  # what blocks so far add to the coming ones
        self._pending = np.zeros(0, np.float32)  # less than a shift, waiting for more
        self._taken = 0  # samples given to `process`
        self._given = -self.delay  # aligned samples returned; negative while the delay passes

    def process_block(self, samples: np.ndarray) -> np.ndarray:
        """One shift (S,) in, one shift (S,) out, delayed by `delay` samples. The result is the caller's to keep.

        Raises ValueError for another shape.
        """
        shift = self.block_shift
        if samples.shape != (shift,):
            raise ValueError(f"a block of shape {samples.shape} was given: expected one shift, ({shift},)")
        usable = np.abs(samples).max() <= LOUDEST_SAMPLE  # False for NaN
        self.silenced_blocks += not usable
        self._input = np.concatenate((self._input[shift:], samples if usable else np.zeros(shift)), dtype=np.float32)
        denoised, self._states = self.backend.run(self._input, self._states)
        denoised[: self.delay] += self._overlap
        self._overlap = denoised[shift:]
        return denoised[:shift]

    def process(self, samples: np.ndarray) -> np.ndarray:
        """Any number of samples (L,) in; the aligned samples (M,) that are complete by now out, M from 0 on."""
        samples = np.asarray(samples, np.float32)
        if samples.ndim != 1:
            raise ValueError(f"samples of shape {samples.shape} were given: expected one channel, (L,)")
        self._taken += len(samples)
        return self._push(samples)

    def flush(self) -> np.ndarray:
        """The rest of the signal, so that as many samples have come out as went in; then resets."""
        missing = self._taken - max(self._given, 0)
        end = -(-(self._taken + self.delay) // self.block_shift) * self.block_shift
        rest = self._push(np.zeros(end - self._taken, np.float32))[:missing] if missing else np.zeros(0, np.float32)
        self.reset()
        return rest

    def denoise(self, signal: np.ndarray) -> np.ndarray:
        """A whole signal (L,) -> (L,), aligned, as a stream of its own: starts and ends with a reset."""
        self.reset()
        return np.concatenate([self.process(signal), self.flush()])

    def _push(self, samples: np.ndarray) -> np.ndarray:
        shift = self.block_shift
        samples = np.concatenate([self._pending, samples])
        count = len(samples) // shift
        self._pending = samples[count * shift :]
        blocks = [self.process_block(samples[i * shift : (i + 1) * shift]) for i in range(count)]
        drop = min(max(0, -self._given), count * shift)  # what precedes the signal
        self._given += count * shift
        return np.concatenate(blocks)[drop:] if blocks else np.zeros(0, np.float32)


# ----------------------------------------------------------------------------------------------------------------------
# Times
# ----------------------------------------------------------------------------------------------------------------------


class TimedDenoiser(StreamingDenoiser):
    """A StreamingDenoiser that notes in `milliseconds` how long each block took, from samples to samples."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.milliseconds: list[float] = []

    def process_block(self, samples: np.ndarray) -> np.ndarray:
        start = time.perf_counter()
        result = super().process_block(samples)
        self.milliseconds.append((time.perf_counter() - start) * 1e3)
        return result


def time_summary(milliseconds: Sequence[float], block_shift: int) -> dict[str, float]:
    """Mean, percentiles and maximum in ms per block, and `real_time_factor`: time per block over its 8 ms."""
    values = np.asarray(milliseconds)
    if not values.size:
        return {"blocks": 0}
    p50, p95, p99 = np.percentile(values, [50, 95, 99])
    return {
        "blocks": int(values.size),
        "mean": float(values.mean()),
        "p50": float(p50),
        "p95": float(p95),
        "p99": float(p99),
        "max": float(values.max()),
        "real_time_factor": float(values.mean() / (block_shift / SAMPLE_RATE * 1e3)),
    }


def describe_times(summary: dict[str, float]) -> str:
    """One line of `time_summary` for people."""
    if not summary["blocks"]:
        return "no blocks"
    times = ", ".join(f"{name} {summary[name]:.3f}" for name in ("mean", "p50", "p95", "p99", "max"))
    return f"ms per block: {times} ({summary['blocks']} blocks); real-time factor {summary['real_time_factor']:.3f}"


# ----------------------------------------------------------------------------------------------------------------------
# What the three file scripts share
# ----------------------------------------------------------------------------------------------------------------------


def denoise_file_script(kind: str, description: str, argv: Sequence[str] | None = None) -> int:
    """Command line of `real_time_processing*.py`: one recording through the stream of one kind of model."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-i", "--input", type=Path, required=True, metavar="IN", help="noisy recording")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="denoised wav, 16 kHz mono")
    parser.add_argument(
        "-m", "--model-dir", type=Path, default=DEFAULT_MODEL_DIR, metavar="DIR",
        help="folder with the exported model (default: pretrained_model beside the script)",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, default=1, help="threads of the runtime (default: %(default)s)")
    if kind == "tflite":
        parser.add_argument("--quantised", action="store_true", help="the 8-bit model")
    args = parser.parse_args(argv)
    if getattr(args, "quantised", False):
        kind = "tflite-quant"
    kind = fastest_backend(kind, args.model_dir)
    try:
        denoise_file(args.input, args.output, open_backend(kind, args.model_dir, args.threads))
    except (AudioFileError, ModelError, ImportError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


def denoise_file(source: Path, target: Path, backend: Backend) -> None:
    """Denoises a recording block by block into an aligned, equally long 16 kHz mono wav; prints the times."""
    from dtln_audio import SampleFormat, audio_info, read_audio, write_audio

    if target.suffix.lower() != ".wav":
        raise AudioFileError(f"{target}: expected the name of a wav file to write. Let it end in .wav.")
    if target.exists() and target.resolve() == source.resolve():
        raise AudioFileError(f"{target}: is the input itself. Choose another name for the output.")
    if not target.parent.is_dir():
        raise AudioFileError(f"{target}: its folder does not exist. Make it first.")
    signal, _ = read_audio(source, sample_rate=SAMPLE_RATE, mono=True)
    source_rate = audio_info(source).sample_rate
    if source_rate != SAMPLE_RATE:
        print(f"{source}: resampled from {source_rate} Hz to {SAMPLE_RATE} Hz")
    denoiser = TimedDenoiser(backend)
    denoised = denoiser.denoise(signal)
    clipped = write_audio(target, denoised, SAMPLE_RATE, SampleFormat("WAV", "PCM_16"))
    print(f"{target}: {len(denoised)} samples through {backend.runtime}")
    if clipped:
        print(f"{target}: {clipped} samples above full scale were clipped")
    if not len(denoised):
        print(f"{source}: holds no samples; the output is empty")
    print(describe_times(time_summary(denoiser.milliseconds, backend.block_shift)))
