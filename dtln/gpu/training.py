"""The training loop on a CUDA GPU."""

from __future__ import annotations

import argparse
import importlib.util
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from dtln.commands.train import mixed_sources, write_config

if TYPE_CHECKING:
    import numpy as np
    import torch

    from dtln.gpu.pool import SegmentPool
    from dtln.gpu.steps import Steps, TrainedNetwork
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


def train(args: argparse.Namespace) -> None:
    """Trains as the arguments say. Raises what they do not fit."""
    if importlib.util.find_spec("torch") is None:
        raise ModuleNotFoundError("training on a GPU needs PyTorch: pip install torch")
    os.environ["KERAS_BACKEND"] = "torch"
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # the processes that mix share the cores; matrices lie on the GPU
    import keras
    import torch

    import DTLN_model as dtln
    from dtln.gpu.network import PLAIN, compiled_parts
    from dtln.gpu.pool import SegmentPool
    from dtln.gpu.steps import Steps, TrainedNetwork

    length = dtln.segment_length(args.segment_seconds)
    training, validation = mixed_sources(args, length)
    print(f"training: {training.summary}\nvalidation: {validation.summary}", flush=True)
    dtype = torch.bfloat16 if args.mixed_precision else torch.float32
    # the processes are forked before the GPU is touched
    with SegmentPool(training.mixer, args.pool_segments, args.mixing_processes, args.seed) as pool:
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
                TrainedNetwork(settings.name, config, weights, settings.rate, args.adam_share, args.clip_norm)
            )
        args.run_dir.mkdir(parents=True, exist_ok=True)
        write_config(args.run_dir, args)
        pool.open(device, first=max(args.batch_size, args.pool_segments // 4))
        torch.manual_seed(args.seed)
        fast = device.type == "cuda" and not args.no_graph
        parts = compiled_parts() if args.compile else PLAIN
        steps = Steps(networks, pool, args.batch_size, dtype, fast, parts)
        loop(args, networks, sources, pool, steps, held, dtype)


def loop(
    args: argparse.Namespace,
    networks: Sequence[TrainedNetwork],
    sources: Sequence[DTLNNetwork],
    pool: SegmentPool,
    steps: Steps,
    held: tuple[np.ndarray, np.ndarray],
    dtype: torch.dtype,
) -> None:
    """Takes the steps; validates, logs and writes weights every --check-every of them."""
    import torch

    from dtln.facts import SAMPLE_RATE
    from dtln.files import complete_file
    from dtln.gpu.steps import schedule

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
            steps.take(schedule(progress(), taken, args.warmup_steps))
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
