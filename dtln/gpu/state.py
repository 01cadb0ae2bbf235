"""The file from which a training on a GPU goes on: all that its next step depends on, but for the segments."""

from __future__ import annotations

import json
import threading
import time
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dtln.errors import SettingsError
from dtln.files import complete_file

if TYPE_CHECKING:
    import torch

    from dtln.gpu.steps import TrainedNetwork

STATE_SECONDS = 45.0  # from one state to the next; with the writing, less than a minute of a run that is killed is lost


@dataclass
class Progress:
    """How far a run is.

    step: steps taken. checked: the step of the last validation. seconds: that it has trained. drawn: segments that have
    come into the pool. next_block: the number of the first block of segments that has not. best: the lowest validation
    loss of each network. lines: of the log.
    """

    step: int = 0
    checked: int = 0
    seconds: float = 0.0
    drawn: int = 0
    next_block: int = 0
    best: dict[str, float] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)


@dataclass
class StoredState:
    """What a state file held: `networks` has the arrays of each, `generator` the state of PyTorch's on the device."""

    progress: Progress
    networks: list[list[np.ndarray]]
    generator: np.ndarray


def described(name: str, norm: bool) -> str:
    """A network in words, as far as it must not change when a run goes on."""
    return f"{name} norm" if norm else name


def read_state(path: Path, networks: Sequence[str]) -> StoredState:
    """The state in a file. networks: those of this run, `described`.

    Raises SettingsError for a file that is no state of this engine, or that of other networks.
    """
    try:
        with np.load(path) as stored:
            about = json.loads(str(stored["about"]))
            found, progress = about["networks"], Progress(**about["progress"])
            counts = about["arrays"]
            arrays = [[stored[f"{i}_{j}"] for j in range(count)] for i, count in enumerate(counts)]
            generator = stored["generator"]
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise SettingsError(
            f"{path}: no state to go on from ({error}). Expected one that --engine cuda has written. Begin again with "
            "--overwrite, from the weights that are there if you like: --network NAME weights=NAME_last.h5"
        ) from error
    if list(found) != list(networks):
        raise SettingsError(
            f"{path}: holds the networks {', '.join(found)}, this run has {', '.join(networks)}. Resume with the "
            "settings the run was started with"
        )
    return StoredState(progress, arrays, generator)


class StateFile:
    """Writes the state of a run: copies it at once, and lets a thread write the file, complete or not at all."""

    def __init__(self, path: Path, networks: Sequence[str]) -> None:
        self.path, self.names = path, list(networks)
        self._written = time.monotonic()
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def due(self) -> bool:
        """Whether STATE_SECONDS have passed since the last state was taken."""
        return time.monotonic() - self._written >= STATE_SECONDS

    def write(self, progress: Progress, networks: Sequence[TrainedNetwork], device: torch.device) -> None:
        """Takes the state and begins to write it. Raises what ended the writing of the one before, OSError for one."""
        self.finish()
        self._written = time.monotonic()
        arrays = [[tensor.detach().cpu().numpy().copy() for tensor in network.state] for network in networks]
        about = {
            "networks": self.names,
            "progress": asdict(progress),
            "arrays": [len(tensors) for tensors in arrays],
        }
        named: dict[str, Any] = {f"{i}_{j}": a for i, tensors in enumerate(arrays) for j, a in enumerate(tensors)}
        named |= {"about": json.dumps(about), "generator": generator_state(device).numpy()}
        self._thread = threading.Thread(target=self._save, args=(named,))
        self._thread.start()

    def _save(self, named: dict[str, Any]) -> None:
        try:
            with complete_file(self.path) as partial, open(partial, "wb") as stream:
                np.savez(stream, **named)
        except BaseException as error:  # `finish` raises it in the other thread
            self._failure = error

    def finish(self) -> None:
        """Waits until the file is written. Raises what ended the writing."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure


def restore(stored: StoredState, networks: Sequence[TrainedNetwork], device: torch.device, path: Path) -> None:
    """Puts the stored state into networks and generator. Raises SettingsError where it does not fit, naming the file.

    In graphs that have been recorded it counts from the next replay on.
    """
    import torch

    for network, arrays in zip(networks, stored.networks, strict=True):
        if [tuple(tensor.shape) for tensor in network.state] != [array.shape for array in arrays]:
            raise SettingsError(
                f"{path}: holds {len(arrays)} tensors of {network.name} that do not fit the {len(network.state)} of "
                "this run. Resume with the settings the run was started with, --ema for one"
            )
    with torch.no_grad():
        for network, arrays in zip(networks, stored.networks, strict=True):
            for tensor, array in zip(network.state, arrays, strict=True):
                tensor.copy_(torch.from_numpy(array))
    state = torch.from_numpy(stored.generator)
    try:
        if device.type == "cuda":
            torch.cuda.set_rng_state(state, device)
        else:
            torch.set_rng_state(state)
    except RuntimeError as error:
        raise SettingsError(
            f"{path}: was written on another kind of device, whose random numbers this one does not draw ({error}). "
            "Resume where the run was started"
        ) from error


def generator_state(device: torch.device) -> torch.Tensor:
    """The state of PyTorch's generator on a device, uint8."""
    import torch

    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()
