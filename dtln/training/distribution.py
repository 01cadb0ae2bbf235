"""Training on several devices and in several processes."""

from __future__ import annotations

import atexit
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from dtln.errors import SettingsError

if TYPE_CHECKING:
    from DTLN_model import SegmentSource, TrainingSettings

__all__ = ["SharedSteps", "check_shares", "distribute"]


def distribute(coordinator: str | None = None, process: int = 0, processes: int = 1) -> None:
    """Spreads every batch from now on over all devices of this host, and of `processes` processes.

    JAX: through `keras.distribution.DataParallel`, with one process for each host, which uses all its devices. PyTorch,
    which `keras.distribution` does not serve: through `torch.distributed`, with one process for each device or group of
    CPU cores (see `SharedSteps`). coordinator: host:port of the first process. Call it before anything else touches the
    devices. Raises SettingsError on TensorFlow, and on PyTorch for a single process.
    """
    backend = keras.backend.backend()
    if backend == "torch" and processes > 1:
        import torch.distributed

        torch.distributed.init_process_group(
            init_method=f"tcp://{coordinator}", rank=process, world_size=processes
        )  # gloo between CPUs, NCCL between GPUs
        # gloo's threads must end before the interpreter does, or the process sometimes aborts (PyTorch issue 190489)
        atexit.register(torch.distributed.destroy_process_group)
        if torch.cuda.is_available():
            torch.cuda.set_device(process % torch.cuda.device_count())
    elif backend == "torch":
        raise SettingsError(
            "on PyTorch a process trains on one device: start one for each with --processes N, or set KERAS_BACKEND=jax"
        )
    elif backend == "jax":
        if processes > 1:
            keras.distribution.initialize(coordinator, num_processes=processes, process_id=process)
        keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    else:
        raise SettingsError(f"several devices need JAX or PyTorch; this is {backend}. Set KERAS_BACKEND=jax or torch")


def check_shares(settings: TrainingSettings, validation: SegmentSource) -> None:
    """Raises SettingsError if the batches cannot be shared equally among all devices of all processes."""
    distribution = keras.distribution.distribution()
    devices = settings.processes if distribution is None else int(np.prod(distribution.device_mesh.shape))
    for count, name in (
        (settings.batch_size, "the batch size"),
        (len(validation), "the number of validation segments"),
    ):
        if count % devices:
            raise SettingsError(
                f"{name}, {count}, cannot be shared among {devices} devices. Choose a multiple of {devices}"
            )


class SharedSteps(keras.callbacks.Callback):
    """Makes several PyTorch processes take every step together, each on its share of the batch.

    It averages their gradients before the step, and their losses before the callbacks after this one see them. So all
    have the same weights and rate, and end together. They start equal, from one seed or state; only dropout differs.
    """

    SEEDS_APART = 1_000_003  # more than the number of steps: Keras counts up from the seed

    def __init__(self, process: int, processes: int) -> None:
        super().__init__()
        self.process, self.processes = process, processes
        self.parameters: list[Any] = []
        self.hooks: list[Any] = []
        self.ready = 0

    def _average(self, tensor: Any) -> None:
        import torch.distributed

        torch.distributed.all_reduce(tensor)
        tensor /= self.processes

    def _gradient_ready(self, _: Any) -> None:
        """Averages all gradients in one message, when the last of them is there: several would wait for each other."""
        import torch

        self.ready = (self.ready + 1) % len(self.parameters)
        if self.ready == 0:
            gradients = [parameter.grad for parameter in self.parameters]
            together = torch.cat([gradient.reshape(-1) for gradient in gradients])
            self._average(together)
            for gradient, average in zip(gradients, together.split([g.numel() for g in gradients]), strict=True):
                gradient.copy_(average.view(gradient.shape))

    def _average_logs(self, logs: dict[str, float] | None) -> None:
        import torch

        assert logs is not None
        values = torch.tensor(list(logs.values()), dtype=torch.float64)
        self._average(values)
        logs.update(zip(logs, values.tolist(), strict=True))

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self.hooks:
            return
        self.parameters = [variable.value for variable in self.model.trainable_variables]
        self.hooks = [p.register_post_accumulate_grad_hook(self._gradient_ready) for p in self.parameters]
        # the first epoch begins after a state has been restored, which is that of the first process
        for variable in self.model.non_trainable_variables:
            if variable.path.endswith("seed_generator_state"):
                variable.assign(variable + ops.array([self.process * self.SEEDS_APART, 0], variable.dtype))

    def on_test_end(self, logs: dict[str, float] | None = None) -> None:
        self._average_logs(logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._average_logs(logs)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        for hook in self.hooks:
            hook.remove()
