"""The training loop on a CUDA GPU."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dtln.choices import STARTS, resolve
from dtln.errors import SettingsError, require
from dtln.gpu.settings import GPUSettings, NetworkSettings

if TYPE_CHECKING:
    import numpy as np
    import torch

    from dtln.gpu.pool import SegmentPool
    from dtln.gpu.steps import Steps, TrainedNetwork
    from dtln.mixing.mixer import Mixer
    from DTLN_model import DTLNNetwork


def train_networks(
    networks: Sequence[NetworkSettings],
    training: Mixer,
    validation: Mixer,
    validation_segments: int,
    settings: GPUSettings,
    run_dir: Path,
    begin: Callable[[], None] = lambda: None,
) -> None:
    """Trains networks side by side on the segments of a mixer; on a CPU, for tests, as well.

    In `run_dir` appear the best weights NAME.h5 and the last ones NAME_last.h5 of each network, and training.csv.
    validation, validation_segments: what the networks are validated on. begin: is called when all settings have proved
    to fit, before the first step. Raises SettingsError, WeightsFileError, MissingPackageError, and what ends the
    drawing of segments.
    """
    prepare()
    if settings.compiled:
        require("triton", "compiling kernels")
    import torch

    import DTLN_model as dtln
    from dtln.gpu.network import PLAIN, compiled_operations
    from dtln.gpu.pool import SegmentPool
    from dtln.gpu.steps import Steps

    if len({network.name for network in networks}) < len(networks):
        raise SettingsError("two networks have the same name")
    segments = dtln.MixedSegments(validation, validation_segments)
    print(f"training: {training.summary}\nvalidation: {segments.summary}", flush=True)
    # the processes are forked before the GPU is touched
    with SegmentPool(training, settings.pool_segments, settings.mixing_processes, settings.seed) as pool:
        held = dtln.batch_of(segments, range(len(segments)), [dtln.VALIDATION_SEED])
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.backends.cuda.matmul.allow_tf32 = True
        sources, trained = built(networks, settings, device)
        run_dir.mkdir(parents=True, exist_ok=True)
        begin()
        pool.open(device, first=max(settings.batch_size, settings.pool_segments // 4))
        torch.manual_seed(settings.seed)
        steps = Steps(
            trained,
            pool,
            settings.batch_size,
            torch.bfloat16 if settings.mixed_precision else torch.float32,
            graph=settings.graph and device.type == "cuda",
            operations=compiled_operations() if settings.compiled else PLAIN,
        )
        _loop(settings, run_dir, sources, trained, pool, steps, held)


def prepare() -> None:
    """Loads PyTorch and chooses it for Keras. Call it before anything else loads one of them.

    Raises MissingPackageError.
    """
    os.environ["KERAS_BACKEND"] = "torch"
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # the processes that mix share the cores; matrices lie on the GPU
    for package in ("torch", "keras", "h5py"):
        require(package, "training on a GPU")


def built(
    networks: Sequence[NetworkSettings], settings: GPUSettings, device: torch.device
) -> tuple[list[DTLNNetwork], list[TrainedNetwork]]:
    """The networks in Keras, which write the weights, and the same in PyTorch, which are trained."""
    import keras
    import torch

    import DTLN_model as dtln
    from dtln.gpu.steps import TrainedNetwork

    keras.utils.set_random_seed(settings.seed)
    sources, trained = [], []
    for network in networks:
        config = dtln.DTLNConfig(norm_stft=network.norm, dropout=network.dropout)
        source = dtln.build_network(config)
        resolve(STARTS, network.init)(source.dtln_layers)
        if network.weights:
            print(f"{network.name} starts from {network.weights}: {dtln.warm_start(source, network.weights)}")
        weights = [
            torch.tensor(keras.ops.convert_to_numpy(variable), device=device)
            for layer in dtln.weighted_layers(source)
            for variable in layer.weights
        ]
        sources.append(source)
        trained.append(
            TrainedNetwork(network.name, config, weights, network.rate, settings.adam_share, settings.clip_norm)
        )
    return sources, trained


def _loop(
    settings: GPUSettings,
    run_dir: Path,
    sources: Sequence[DTLNNetwork],
    networks: Sequence[TrainedNetwork],
    pool: SegmentPool,
    steps: Steps,
    held: tuple[np.ndarray, np.ndarray],
) -> None:
    """Takes the steps. After every `check_every` of them it validates, logs and writes weights."""
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
        spent = (time.monotonic() - start) / (60 * settings.minutes) if settings.minutes else 0.0
        return max(taken / settings.steps, spent)

    while progress() < 1.0:
        before = taken
        while progress() < 1.0 and taken < before + settings.check_every:
            steps.take(schedule(progress(), taken, settings.warmup_steps))
            taken += 1
            if pool.device.type == "cuda" and taken % 20 == 0:
                torch.cuda.synchronize()  # the clock must not run ahead of the GPU
        seconds = time.monotonic() - start
        hours = taken * settings.batch_size * pool.mixer.segment_length / SAMPLE_RATE / 3600
        drawn = pool.uploaded * pool.mixer.segment_length / SAMPLE_RATE / 3600
        for network, source in zip(networks, sources, strict=True):
            loss = float(network.loss) / (taken - before)
            network.loss.zero_()
            reached = network.validate(noisy, clean, settings.batch_size, steps.dtype)
            lines.append(f"{taken},{hours:.2f},{drawn:.2f},{seconds:.0f},{network.name},{loss:.4f},{reached:.4f}")
            print(
                f"{seconds:.0f} s, step {taken}, {hours:.1f} h of {drawn:.1f} h drawn: {network.name} "
                f"loss {loss:.3f} val_loss {reached:.3f}",
                flush=True,
            )
            values = iter(network.weights)
            for layer in source.dtln_layers.weighted:
                layer.set_weights([next(values).detach().cpu().numpy() for _ in layer.weights])
            source.save_weights(run_dir / f"{network.name}_last.h5")
            if reached < best[network.name]:
                best[network.name] = reached
                source.save_weights(run_dir / f"{network.name}.h5")
        with complete_file(run_dir / "training.csv") as partial:
            partial.write_text("\n".join(lines) + "\n")
