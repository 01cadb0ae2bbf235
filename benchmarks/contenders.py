"""What is timed: each contender is a process of its own, started by turns.py, and this is what it does.

It answers on stdout, a line of JSON for each turn, and waits on stdin for the next one.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtln.facts import BLOCK_LENGTH, BLOCK_SHIFT, SAMPLE_RATE
from dtln.formats import kind_paths

if TYPE_CHECKING:
    import numpy as np

SHIFT_MS = 1e3 * BLOCK_SHIFT / SAMPLE_RATE  # between two blocks: 8
CHUNKS, CHUNK_BLOCKS = 4, 5  # chunks of 10 ms that are timed together, because they hold a whole number of blocks
PRODUCT_BLOCKS = 512  # multiplied at once where the limit of a folder is measured
SETTLE_BLOCKS = 20  # at the start of each turn, not counted: the caches still hold another contender's weights

Turn = Callable[[int], "list[float]"]  # a number of blocks or steps -> the seconds of each
Start = Callable[[argparse.Namespace, str], "tuple[Turn, dict[str, object]]"]  # (arguments, name) -> (turn, details)


class NotHere(Exception):
    """A contender that cannot run on this machine, and why."""


def contend(args: argparse.Namespace) -> int:
    """Answers every number on stdin with a line of JSON: the seconds of so many blocks, and the memory afterwards."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # keeps what libraries print out of the answers

    def answer(**values: object) -> None:
        print(json.dumps(values), file=answers, flush=True)

    kind, _, name = args.contender.partition(":")
    try:
        turn, details = CONTENDERS[kind](args, name)
    except (NotHere, ImportError, OSError) as error:
        answer(missing=str(error))
        return 0
    answer(**details)
    for line in sys.stdin:
        answer(seconds=turn(int(line)), memory=resident_bytes())
    return 0


def resident_bytes() -> int | None:
    """Memory that this process holds; None where the system does not tell, as outside Linux."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


def timed(work: Callable[[Any], object], inputs: Sequence[Any] | np.ndarray) -> Turn:
    """Turns of `work` on the inputs, in their order, again and again."""
    position = 0

    def turn(count: int) -> list[float]:
        nonlocal position
        seconds = [0.0] * count
        for index in range(-SETTLE_BLOCKS, count):
            value = inputs[position % len(inputs)]
            position += 1
            start = time.perf_counter()
            work(value)
            end = time.perf_counter()
            if index >= 0:
                seconds[index] = end - start
        return seconds

    return turn


def block_signal() -> np.ndarray:
    """32 s of synthetic signal in shifts: float32 (T, 128)."""
    import numpy as np

    return synthetic(32 * SAMPLE_RATE, np.random.default_rng(0)).reshape(-1, BLOCK_SHIFT)


def our_engine(args: argparse.Namespace, kind: str) -> tuple[Turn, dict[str, object]]:
    """One kind of export through this toolkit's streaming engine."""
    from dtln.errors import ModelError
    from dtln.streaming.backends import open_backend
    from dtln.streaming.engine import StreamingDenoiser

    try:
        denoiser = StreamingDenoiser(open_backend(kind, args.model_dir, threads=1))
    except ModelError as error:
        raise NotHere(str(error)) from error
    return timed(denoiser.process_block, block_signal()), {"runtime": denoiser.backend.runtime}


def our_chunks(args: argparse.Namespace, rate_and_channels: str) -> tuple[Turn, dict[str, object]]:
    """CHUNKS chunks of 10 ms through a stream of the default export; its rate and channels: "48000,1", for one."""
    import numpy as np

    from dtln.streaming.backends import open_backend
    from dtln.streaming.engine import StreamingDenoiser

    rate, channels = map(int, rate_and_channels.split(","))
    denoiser = StreamingDenoiser(open_backend(model_dir=args.model_dir), sample_rate=rate, channels=channels)
    size = rate // 100
    groups = synthetic(size * CHUNKS * 800 * channels, np.random.default_rng(0)).reshape(-1, CHUNKS, size, channels)
    if channels == 1:
        groups = groups[..., 0]

    def process(chunks: np.ndarray) -> None:
        for chunk in chunks:
            denoiser.process(chunk)

    return timed(process, groups), {"runtime": denoiser.backend.runtime, "latency_ms": 1e3 * denoiser.latency.seconds}


def bare_blocks(args: argparse.Namespace, channels: str) -> tuple[Turn, dict[str, object]]:
    """What is in CHUNKS chunks of 10 ms, and nothing around it: CHUNK_BLOCKS runs of the default back end a channel."""
    from dtln.streaming.backends import open_backend

    backend = open_backend(model_dir=args.model_dir)
    states = [backend.initial_states() for _ in range(int(channels))]
    blocks = block_signal().reshape(-1, BLOCK_LENGTH)

    def run(position: int) -> None:
        for index in range(CHUNK_BLOCKS):
            for channel in range(len(states)):
                _, states[channel] = backend.run(blocks[(position + index) % len(blocks)], states[channel])

    return timed(run, range(0, len(blocks), CHUNK_BLOCKS)), {"runtime": backend.runtime}


def published_loop(args: argparse.Namespace, kind: str) -> tuple[Turn, dict[str, object]]:
    """One kind of published export through the published loop."""
    from benchmarks import published
    from dtln.streaming.backends import find_tflite_runtime

    if args.published is None:
        raise NotHere("--published DIR was not given")
    paths = kind_paths(kind, args.published)
    if missing := [path for path in paths if not path.exists()]:
        raise NotHere(f"{missing[0]} does not exist")
    if kind == "tflite":
        runtime, interpreter_class = find_tflite_runtime()
        loop: published.Loop = published.TFLiteLoop(paths, interpreter_class)
    elif kind == "onnx":
        runtime, loop = "onnxruntime", published.ONNXLoop(paths)
    else:
        runtime, loop = "tensorflow", published.SavedModelLoop(paths[0])
    return timed(loop.process_block, block_signal()), {"runtime": runtime}


def physical_limit(args: argparse.Namespace, what: str) -> tuple[Turn, dict[str, object]]:
    """What every engine has to do at least, in numpy.

    what: "weights", each float weight once times a value; "products", the same for PRODUCT_BLOCKS blocks at once, which
    whole recordings allow; "transforms", the two Fourier transforms.
    """
    import numpy as np

    rng = np.random.default_rng(0)
    if what == "transforms":

        def transforms(block: np.ndarray) -> object:
            return np.fft.irfft(np.fft.rfft(block), BLOCK_LENGTH)

        return timed(transforms, rng.standard_normal((64, BLOCK_LENGTH)).astype(np.float32)), {"runtime": "numpy"}
    products = []
    for shape, _ in weight_tensors(kind_paths("tflite", args.model_dir)):
        rows = shape[0]
        matrix = rng.standard_normal((rows, int(np.prod(shape)) // rows)).astype(np.float32)
        products.append(
            (matrix, rng.standard_normal((matrix.shape[1],)).astype(np.float32), np.zeros(rows, np.float32))
        )

    def multiply(_: object) -> None:
        for matrix, vector, result in products:
            np.dot(matrix, vector, out=result)

    weights = sum(matrix.nbytes for matrix, _, _ in products)
    if what == "products":  # as if no block waited for the one before
        products = [
            (matrix, np.tile(vector, (PRODUCT_BLOCKS, 1)).T, np.zeros((len(matrix), PRODUCT_BLOCKS), np.float32))
            for matrix, vector, _ in products
        ]
    return timed(multiply, [None]), {"runtime": "numpy", "weight_bytes": weights}


def weight_tensors(paths: Sequence[Path]) -> list[tuple[tuple[int, ...], int]]:
    """(shape, bytes of an element) of the weight matrices in TF-lite models.

    They are what dense layers and convolutions multiply with.
    """
    import numpy as np

    from dtln.streaming.backends import find_tflite_runtime

    _, interpreter_class = find_tflite_runtime()
    found = []
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist")
        interpreter = interpreter_class(model_path=str(path))
        details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
        for operator in interpreter._get_ops_details():  # before any delegate hides them; there is no public way
            if operator["op_name"] in ("FULLY_CONNECTED", "CONV_2D"):
                detail = details[operator["inputs"][1]]
                found.append((tuple(int(size) for size in detail["shape"]), np.dtype(detail["dtype"]).itemsize))
    return found


def empty_loop(args: argparse.Namespace, milliseconds: str) -> tuple[Turn, dict[str, object]]:
    """A loop over nothing that takes about as long as a block: its jitter is the machine's."""
    count, duration = 1000, 0.0
    while duration < 0.02:  # s, long enough for the clock
        count *= 2
        start = time.perf_counter()
        for _ in range(count):
            pass
        duration = time.perf_counter() - start
    rounds = max(1, round(count * float(milliseconds) * 1e-3 / duration))

    def nothing(_: object) -> None:
        for _ in range(rounds):
            pass

    return timed(nothing, [None]), {"runtime": "python"}


def training_step(args: argparse.Namespace, name: str) -> tuple[Turn, dict[str, object]]:
    """Steps of `fit`. name: "published", or back end and precision of our network, such as "torch,mixed"."""
    import numpy as np

    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    length = int(SAMPLE_RATE * args.segment_seconds / BLOCK_SHIFT) * BLOCK_SHIFT
    backend, _, precision = name.partition(",")
    if backend == "published":
        from benchmarks import published

        keras: Any = published.keras_module(args.keras2)
        model = published.build_graph(keras)
        published.compile_graph(keras, model)
        versions = {"keras": keras.__version__, "tensorflow": sys.modules["tensorflow"].__version__}
    else:
        os.environ["KERAS_BACKEND"] = backend
        keras = importlib.import_module("keras")
        import DTLN_model

        if precision == "mixed":
            keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
        model = DTLN_model.build_network(DTLN_model.DTLNConfig(), seed=0)
        DTLN_model.compile_network(model, DTLN_model.TrainingSettings(batch_size=args.batch_size), steps=1)
        versions = {"keras": keras.__version__, backend: sys.modules[backend].__version__}
        if backend == "torch":
            sys.modules["torch"].set_num_threads(args.training_threads)
    rng = np.random.default_rng(0)
    ends: list[float] = []
    note_end = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter()))

    def turn(count: int) -> list[float]:
        clean = np.stack([synthetic(length, rng) for _ in range((count + 1) * args.batch_size)])  # (B, L)
        noisy = (clean + 0.03 * rng.standard_normal(clean.shape)).astype(np.float32)
        ends.clear()
        model.fit(noisy, clean, batch_size=args.batch_size, shuffle=False, verbose=0, callbacks=[note_end])
        return np.diff(ends).tolist()  # the first step settles

    return turn, {"runtime": backend, "versions": versions}


CONTENDERS: dict[str, Start] = {  # the part before the colon of a contender's name
    "ours": our_engine,
    "chunks": our_chunks,
    "bare": bare_blocks,
    "published": published_loop,
    "limit": physical_limit,
    "empty": empty_loop,
    "train": training_step,
}


def synthetic(length: int, rng: np.random.Generator) -> np.ndarray:
    """White noise that swells and falls like syllables, over a noise floor: float32 (length,)."""
    import numpy as np

    swell = np.maximum(0, np.sin(2 * np.pi * 3 * np.arange(length) / SAMPLE_RATE))  # 3 syllables a second
    return ((0.01 + 0.1 * swell) * rng.standard_normal((length,))).astype(np.float32)
