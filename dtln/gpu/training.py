"""The training loop on a CUDA GPU."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtln.choices import STARTS, resolve
from dtln.errors import SettingsError, require
from dtln.gpu.settings import BLOCK_SEGMENTS, GPUSettings, NetworkSettings, blocks_kept

if TYPE_CHECKING:
    import numpy as np
    import torch

    from dtln.gpu.state import Progress, StoredState
    from dtln.gpu.steps import Steps, TrainedNetwork
    from dtln.mixing.mixer import Mixer
    from DTLN_model import DTLNNetwork

BREAKDOWN_DB = 3.0  # rise of the validation loss above the lowest one, far more than it varies
COLUMNS = (
    "step", "hours", "drawn_hours", "seconds", "network", "loss", "val_loss", "rate", "longest_gradient", "left_out",
)  # fmt: skip


def train_networks(
    networks: Sequence[NetworkSettings],
    training: Mixer,
    validation: Mixer,
    validation_segments: int,
    settings: GPUSettings,
    run_dir: Path,
    state_path: Path,
    resume: bool = False,
    begin: Callable[[], None] = lambda: None,
) -> None:
    """Trains networks side by side on the segments of a mixer; on a CPU, for tests, as well.

    In `run_dir` appear the best weights NAME.h5 and the last ones NAME_last.h5 of each network, and training.csv.
    validation, validation_segments: what the networks are validated on. state_path: the file from which the run goes on
    with `resume`. begin: is called when all settings have proved to fit, before the first step. Raises SettingsError,
    WeightsFileError, MissingPackageError, OSError, and what ends the drawing of segments.
    """
    prepare(settings.deterministic)
    if settings.compiled:
        require("triton", "compiling kernels")
    import torch

    import DTLN_model as dtln
    from dtln.gpu.losses import LOSSES
    from dtln.gpu.network import PLAIN, compiled, compiled_operations
    from dtln.gpu.pool import SegmentPool
    from dtln.gpu.state import read_state, restore
    from dtln.gpu.steps import Steps

    if len({network.name for network in networks}) < len(networks):
        raise SettingsError("two networks have the same name")
    stored = read_state(state_path, _described(networks)) if resume else None
    if stored and _ended(stored.progress, settings):
        print(f"the run has already ended after {stored.progress.step} steps", flush=True)
        return
    segments = dtln.MixedSegments(validation, validation_segments)
    print(f"training: {training.summary}\nvalidation: {segments.summary}", flush=True)
    step = stored.progress.step if stored else 0
    first_block, until = _blocks_at_start(settings, step, stored.progress.next_block if stored else 0)
    kept = (settings.pool_segments, settings.mixing_processes, settings.seed)
    # the processes are forked before the GPU is touched
    with SegmentPool(training, *kept, first_block) as pool, _determinism(settings.deterministic):
        held = dtln.batch_of(segments, range(len(segments)), [dtln.VALIDATION_SEED])
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.backends.cuda.matmul.allow_tf32 = True
        sources, trained = built(networks, settings, device, warm=not resume)
        if stored:
            restore(stored, trained, device, state_path)
        run_dir.mkdir(parents=True, exist_ok=True)
        begin()
        pool.open(device, until)
        torch.manual_seed(settings.seed)
        steps = Steps(
            trained,
            pool,
            settings.batch_size,
            torch.bfloat16 if settings.mixed_precision else torch.float32,
            graph=settings.graph and device.type == "cuda",
            operations=compiled_operations() if settings.compiled else PLAIN,
            loss=compiled(LOSSES[settings.loss]) if settings.compiled else LOSSES[settings.loss],
        )
        if stored:
            restore(stored, trained, device, state_path)  # recording a graph has moved the generator
        _Run(settings, run_dir, state_path, sources, trained, steps, held, stored).train()


def _ended(progress: Progress, settings: GPUSettings) -> bool:
    """Whether nothing is left to do."""
    late = 0 < 60 * settings.minutes <= progress.seconds
    return progress.checked == progress.step and (progress.step >= settings.steps or late)


def _described(networks: Sequence[NetworkSettings]) -> list[str]:
    from dtln.gpu.state import described

    return [described(network.name, network.norm) for network in networks]


def _blocks_at_start(settings: GPUSettings, step: int, next_block: int) -> tuple[int, int]:
    """(first, end): the numbers of the blocks that the pool opens with when the training goes on at a step.

    next_block: the first one that was never drawn. A deterministic run draws again all that lay in the pool; another
    one begins with new ones, at the pool's start.
    """
    kept = blocks_kept(settings.pool_segments)
    if settings.deterministic:
        end = settings.blocks_due(step)
        return max(0, end - kept), end
    first = -(-next_block // kept) * kept
    return first, first + settings.blocks_due(0)


@contextlib.contextmanager
def _determinism(wanted: bool) -> Iterator[None]:
    """In the block PyTorch takes no algorithm that may give other bits the next time."""
    import torch

    memory: Any = torch.utils.deterministic
    before, fill = torch.are_deterministic_algorithms_enabled(), memory.fill_uninitialized_memory
    if wanted:
        torch.use_deterministic_algorithms(True)
        memory.fill_uninitialized_memory = False  # nothing is read before it is written
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        memory.fill_uninitialized_memory = fill


def prepare(deterministic: bool = False) -> None:
    """Chooses PyTorch for Keras. Call it before anything else loads one of them.

    Raises MissingPackageError.
    """
    os.environ["KERAS_BACKEND"] = "torch"
    if deterministic:  # read when CUDA and the compiler are first used
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # otherwise streams at once may change cuBLAS's sums
        os.environ["TORCHINDUCTOR_DETERMINISTIC"] = "1"  # otherwise it times variants of a kernel and takes one
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # the processes that mix share the cores; matrices lie on the GPU
    for package in ("torch", "keras", "h5py"):
        require(package, "training on a GPU")


def built(
    networks: Sequence[NetworkSettings], settings: GPUSettings, device: torch.device, warm: bool = True
) -> tuple[list[DTLNNetwork], list[TrainedNetwork]]:
    """The networks in Keras, which write the weights, and the same in PyTorch, which are trained.

    warm: whether they start from the weights that their settings name.
    """
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
        if network.weights and warm:
            print(f"{network.name} starts from {network.weights}: {dtln.warm_start(source, network.weights)}")
        weights = [
            torch.tensor(keras.ops.convert_to_numpy(variable), device=device)
            for layer in dtln.weighted_layers(source)
            for variable in layer.weights
        ]
        sources.append(source)
        trained.append(
            TrainedNetwork(
                network.name, config, weights, network.rate, settings.adam_share, settings.clip_norm, settings.ema
            )
        )
    return sources, trained


class _Run:
    """The loop of a run: steps, validations, log, weights and state."""

    def __init__(
        self,
        settings: GPUSettings,
        run_dir: Path,
        state_path: Path,
        sources: Sequence[DTLNNetwork],
        networks: Sequence[TrainedNetwork],
        steps: Steps,
        held: tuple[np.ndarray, np.ndarray],
        stored: StoredState | None,
    ) -> None:
        import torch

        from dtln.gpu.losses import LOSSES
        from dtln.gpu.state import Progress, StateFile, described

        self.settings, self.run_dir = settings, run_dir
        self.sources, self.networks, self.steps, self.pool = sources, networks, steps, steps.pool
        self.noisy, self.clean = (torch.tensor(signals, device=self.pool.device) for signals in held)
        self.validation_loss = LOSSES[settings.loss]
        self.progress = stored.progress if stored else Progress(lines=[",".join(COLUMNS)])
        self.file = StateFile(state_path, [described(n.name, n.config.norm_stft) for n in networks])
        self.seconds_before = self.progress.seconds
        self.drawn_before = self.progress.drawn
        if settings.deterministic:  # what it draws again does not count twice
            self.drawn_before = self.pool.first_block * BLOCK_SEGMENTS
        self.start, self.torn = time.monotonic(), False

    def seconds(self) -> float:
        """Seconds of training, those before it went on included."""
        return self.seconds_before + time.monotonic() - self.start

    def share(self) -> float:
        """Which share of the training is done."""
        spent = self.seconds() / (60 * self.settings.minutes) if self.settings.minutes else 0.0
        return max(self.progress.step / self.settings.steps, spent)

    def train(self) -> None:
        """Takes the steps. After every `check_every` of them, and after the last one, it validates and logs."""
        self.pool.start()
        try:
            while True:
                ended = self.share() >= 1.0
                taken = self.progress.step - self.progress.checked
                if taken and (ended or taken >= self.settings.check_every):
                    self.check(taken)
                if ended:
                    break
                self.step()
                if self.file.due():
                    self.write_state()
        finally:  # also at an interrupt
            if not self.torn:
                self.write_state()
            self.file.finish()

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """A change of the state that an interrupt must not tear; after an error in it no state is written."""
        from dtln.interrupts import held_interrupts

        with held_interrupts():
            self.torn = True
            yield
            self.torn = False

    def step(self) -> None:
        """One step of every network."""
        from dtln.gpu.steps import schedule

        step = self.progress.step
        self.pool.advance(self.settings.blocks_due(step) if self.settings.deterministic else None)
        with self.whole():
            self.steps.take(schedule(self.share(), step, self.settings.warmup_steps))
            self.progress.step += 1

    def write_state(self) -> None:
        """Begins to write the state of the run."""
        self.progress.seconds, self.progress.drawn = self.seconds(), self.drawn()
        self.progress.next_block = self.pool.next_block
        self.file.write(self.progress, self.networks, self.pool.device)

    def drawn(self) -> int:
        """Segments that have come into the pool, those before it went on included."""
        return self.drawn_before + self.pool.uploaded

    def check(self, taken: int) -> None:
        """Validates after so many steps, writes weights and log, and sets back networks that have broken down.

        What is interrupted before its end is done again when the run goes on.
        """
        from dtln.facts import SAMPLE_RATE
        from dtln.files import complete_file

        step, seconds, best = self.progress.step, self.seconds(), dict(self.progress.best)
        segment_hours = self.pool.mixer.segment_length / SAMPLE_RATE / 3600
        hours, drawn = step * self.settings.batch_size * segment_hours, self.drawn() * segment_hours
        lines, changes = list(self.progress.lines), []
        for network, source in zip(self.networks, self.sources, strict=True):
            loss, rate = float(network.loss) / taken, network.learning_rate * float(network.rate_share)
            largest, left_out = float(network.optimizer.largest), int(network.optimizer.left_out)
            reached = network.validate(
                self.noisy, self.clean, self.settings.batch_size, self.steps.dtype, self.validation_loss
            )
            lines.append(
                f"{step},{hours:.2f},{drawn:.2f},{seconds:.0f},{network.name},{loss:.4f},{reached:.4f},"
                f"{rate:.3g},{largest:.4g},{left_out}"
            )
            print(
                f"{seconds:.0f} s, step {step}, {hours:.1f} h of {drawn:.1f} h drawn: {network.name} "
                f"loss {loss:.3f} val_loss {reached:.3f}",
                flush=True,
            )
            lowest = best.get(network.name, math.inf)
            if not math.isfinite(reached) or reached > lowest + BREAKDOWN_DB:
                print(
                    f"{network.name} has broken down: val_loss {reached:.3f}, before {lowest:.3f}; longest gradient "
                    f"{largest:.3g}, {left_out} of {taken} steps with one that is not finite. It goes on from its best "
                    f"weights at half the rate, {rate / 2:.3g}",
                    flush=True,
                )
                changes.append(network.set_back)
                continue
            values = iter(network.validated)
            for layer in source.dtln_layers.weighted:
                layer.set_weights([next(values).detach().cpu().numpy() for _ in layer.weights])
            source.save_weights(self.run_dir / f"{network.name}_last.h5")
            if reached < lowest:
                best[network.name] = reached
                source.save_weights(self.run_dir / f"{network.name}.h5")
                changes.append(network.keep)
        with complete_file(self.run_dir / "training.csv") as partial:
            partial.write_text("\n".join(lines) + "\n")
        with self.whole():
            for change in (*changes, *(network.begin_sums for network in self.networks)):
                change()
            self.progress.lines, self.progress.best, self.progress.checked = lines, best, step
