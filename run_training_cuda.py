"""Train DTLN on a CUDA GPU, several networks at once, on speech and noise mixed on the fly: 400 hours in a minute.

run_training_cuda.py --run-dir DIR --speech DIR --noise DIR --steps 20000 --network plain --network norm norm rate=0.003

Each --network NAME is followed by what it differs in: norm (log magnitude and instant layer normalisation before
core 1), weights=H5 (start from these), init=random|mdct|mclt, rate=X (highest learning rate), dropout=X. All see the
same batches; the optimizer is Muon, the loss negative SNR, the schedule warm-up and cosine. In DIR appear the best
weights NAME.h5, the last ones NAME_last.h5, the log training.csv and config.json. Needs PyTorch; without a GPU it runs
step by step. Pairs on disk, other losses, exact resume and several devices: run_training.py.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from run_training import add_mixing_arguments, check_ranges, mixed_sources, write_config

if TYPE_CHECKING:
    import numpy as np
    import torch

    import dtln_cuda
    from DTLN_model import DTLNNetwork


@dataclass(frozen=True)
class NetworkSettings:
    """What one --network says. Raises ValueError for values that do not fit."""

    name: str
    norm: bool = False
    weights: Path | None = None
    init: str = "random"
    rate: float = 3e-3
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.init not in ("random", "mdct", "mclt"):
            raise ValueError(f"init={self.init}: expected random, mdct or mclt")
        if self.rate <= 0 or not 0 <= self.dropout < 1:
            raise ValueError(f"rate={self.rate:g} dropout={self.dropout:g}: expected a rate above 0, a share below 1")

    @classmethod
    def of(cls, words: Sequence[str]) -> NetworkSettings:
        """`["a", "norm", "rate=0.002"]` -> its settings. Raises ValueError."""
        types = {field.name: field.type for field in fields(cls)}
        found: dict[str, object] = {"name": words[0]}
        for word in words[1:]:
            key, given, value = word.partition("=")
            if key == "norm" and not given:
                found["norm"] = True
            elif given and types.get(key) in ("float", "str", "Path | None") and key != "name":
                found[key] = {"float": float, "str": str}.get(str(types[key]), Path)(value)
            else:
                raise ValueError(f"{word}: expected norm, weights=H5, init=NAME, rate=X or dropout=X")
        return cls(**found)  # type: ignore[arg-type]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run-dir", type=Path, required=True, help="folder for weights, log and settings")
    parser.add_argument(
        "--network",
        nargs="+",
        action="append",
        required=True,
        metavar=("NAME", "SETTING"),
        help="a network to train, and what it differs in; may be repeated",
    )
    add_mixing_arguments(parser)
    loop = parser.add_argument_group("loop")
    loop.add_argument("--segment-seconds", type=float, default=4.0, help="default: %(default)s")
    loop.add_argument("--batch-size", type=int, default=256, help="default: %(default)s")
    loop.add_argument("--steps", type=int, default=20000, help="at most (default: %(default)s)")
    loop.add_argument(
        "--minutes", type=float, default=0.0, help="end by then, the schedule too (default: only --steps)"
    )
    loop.add_argument("--warmup-steps", type=int, default=300, help="default: %(default)s")
    loop.add_argument("--check-every", type=int, default=500, help="steps between validations (default: %(default)s)")
    loop.add_argument("--pool-segments", type=int, default=16384, help="kept on the GPU (default: %(default)s)")
    loop.add_argument(
        "--mixing-processes", type=int, default=max(1, (os.cpu_count() or 1) - 1), help="default: all cores but one"
    )
    loop.add_argument("--adam-share", type=float, default=0.2, help="see run_training.py (default: %(default)s)")
    loop.add_argument("--clip-norm", type=float, default=3.0, help="of the gradient (default: %(default)s)")
    loop.add_argument(
        "--mixed-precision", action="store_true", help="cores in bfloat16 (signal and variables stay float32)"
    )
    loop.add_argument("--compile", action="store_true", help="kernels made by Triton: several times faster on CUDA")
    loop.add_argument("--no-graph", action="store_true", help="launch every kernel of a step anew, as on a CPU")
    loop.add_argument("--seed", type=int, default=42, help="of mixtures, dropout and start (default: %(default)s)")
    args = parser.parse_args(argv)
    if not args.speech or not args.noise:
        parser.error("give --speech and --noise")
    check_ranges(parser, args)
    if args.compile and not args.mixed_precision:
        parser.error("--compile: expected --mixed-precision, too; recurrent weights in float32 do not fit on the chip")
    if min(args.batch_size, args.steps, args.check_every, args.pool_segments, args.mixing_processes) < 1:
        parser.error("--batch-size, --steps, --check-every, --pool-segments, --mixing-processes: expected at least 1")
    try:
        names = [NetworkSettings.of(words).name for words in args.network]
    except ValueError as error:
        parser.error(f"--network: {error}")
    if len(set(names)) < len(names):
        parser.error("--network: two networks have the same name")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    try:
        train(args)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        print(f"run_training_cuda.py: {error}", file=sys.stderr)
        return 1
    return 0


def train(args: argparse.Namespace) -> None:
    """Trains as the arguments say. Raises what they do not fit."""
    if importlib.util.find_spec("torch") is None:
        raise ModuleNotFoundError("training on a GPU needs PyTorch: pip install torch")
    os.environ["KERAS_BACKEND"] = "torch"
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # the processes that mix share the cores; matrices lie on the GPU
    import keras
    import torch

    import dtln_cuda
    import dtln_mixing
    import DTLN_model as dtln

    length = dtln.segment_length(args.segment_seconds)
    training, validation = mixed_sources(args, length, dtln, dtln_mixing)
    print(f"training: {training.summary}\nvalidation: {validation.summary}", flush=True)
    dtype = torch.bfloat16 if args.mixed_precision else torch.float32
    # the processes are forked before the GPU is touched
    with dtln_cuda.SegmentPool(training.mixer, args.pool_segments, args.mixing_processes, args.seed) as pool:
        held = dtln.batch_of(validation, range(len(validation)), [dtln.VALIDATION_SEED])
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.backends.cuda.matmul.allow_tf32 = True
        keras.utils.set_random_seed(args.seed)
        sources, networks = [], []
        for settings in map(NetworkSettings.of, args.network):
            config = dtln.DTLNConfig(norm_stft=settings.norm, dropout=settings.dropout)
            source = dtln.build_network(config)
            dtln.INITIALISATIONS[settings.init](source.dtln_layers)
            if settings.weights:
                print(f"{settings.name} starts from {settings.weights}: {dtln.warm_start(source, settings.weights)}")
            weights = [
                torch.tensor(keras.ops.convert_to_numpy(variable), device=device)
                for layer in dtln.weighted_layers(source)
                for variable in layer.weights
            ]
            sources.append(source)
            networks.append(
                dtln_cuda.TrainedNetwork(settings.name, config, weights, settings.rate, args.adam_share, args.clip_norm)
            )
        args.run_dir.mkdir(parents=True, exist_ok=True)
        write_config(args.run_dir, args)
        pool.open(device, first=max(args.batch_size, args.pool_segments // 4))
        torch.manual_seed(args.seed)
        fast = device.type == "cuda" and not args.no_graph
        parts = dtln_cuda.compiled_parts() if args.compile else dtln_cuda.PLAIN
        steps = dtln_cuda.Steps(networks, pool, args.batch_size, dtype, fast, parts)
        loop(args, networks, sources, pool, steps, held, dtype)


def loop(
    args: argparse.Namespace,
    networks: Sequence[dtln_cuda.TrainedNetwork],
    sources: Sequence[DTLNNetwork],
    pool: dtln_cuda.SegmentPool,
    steps: dtln_cuda.Steps,
    held: tuple[np.ndarray, np.ndarray],
    dtype: torch.dtype,
) -> None:
    """Takes the steps; validates, logs and writes weights every --check-every of them."""
    import torch

    import dtln_cuda
    from dtln_audio import SAMPLE_RATE, complete_file

    noisy, clean = (torch.tensor(signals, device=pool.device) for signals in held)
    best = dict.fromkeys((network.name for network in networks), float("inf"))
    lines = ["step,hours,drawn_hours,seconds,network,loss,val_loss"]
    pool.start()
    start, taken = time.monotonic(), 0

    def progress() -> float:
        spent = (time.monotonic() - start) / (60 * args.minutes) if args.minutes else 0.0
        return max(taken / args.steps, spent)

    while progress() < 1.0:
        before = taken
        while progress() < 1.0 and taken < before + args.check_every:
            steps.take(dtln_cuda.schedule(progress(), taken, args.warmup_steps))
            taken += 1
            if pool.device.type == "cuda" and taken % 20 == 0:
                torch.cuda.synchronize()  # no farther ahead of the GPU than the time tells
        seconds = time.monotonic() - start
        hours = taken * args.batch_size * pool.mixer.segment_length / SAMPLE_RATE / 3600
        drawn = pool.uploaded * pool.mixer.segment_length / SAMPLE_RATE / 3600
        for network, source in zip(networks, sources, strict=True):
            loss = float(network.loss) / (taken - before)
            network.loss.zero_()
            reached = network.validate(noisy, clean, args.batch_size, dtype)
            lines.append(f"{taken},{hours:.2f},{drawn:.2f},{seconds:.0f},{network.name},{loss:.4f},{reached:.4f}")
            print(
                f"{seconds:.0f} s, step {taken}, {hours:.1f} h of {drawn:.1f} h drawn: {network.name} "
                f"loss {loss:.3f} val_loss {reached:.3f}",
                flush=True,
            )
            values = iter(network.weights)
            for layer in source.dtln_layers.weighted:
                layer.set_weights([next(values).detach().cpu().numpy() for _ in layer.weights])
            source.save_weights(args.run_dir / f"{network.name}_last.h5")
            if reached < best[network.name]:
                best[network.name] = reached
                source.save_weights(args.run_dir / f"{network.name}.h5")
        with complete_file(args.run_dir / "training.csv") as partial:
            partial.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
