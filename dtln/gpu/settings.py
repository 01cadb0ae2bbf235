"""Settings of training on a GPU. Needs no PyTorch, so that a command line can check them before work begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dtln.choices import LOSSES, STARTS
from dtln.errors import SettingsError

COMPILED_SIGNALS = 16  # of one program of a compiled LSTM, the least that tensor cores multiply; batches are multiples

BLOCK_SEGMENTS = 64  # segments that come into the pool together
SERVINGS = 4  # batches that each segment of a deterministic run serves, on average


def blocks_kept(pool_segments: int) -> int:
    """Blocks of a pool of so many segments: at least one, otherwise rounded down."""
    return max(1, pool_segments // BLOCK_SEGMENTS)


@dataclass(frozen=True)
class NetworkSettings:
    """One of the networks that are trained side by side.

    norm: log magnitude and instant layer normalisation before core 1. weights: start from these. init: start of encoder
    and decoder, a name of STARTS. rate: the highest learning rate. Raises SettingsError.
    """

    name: str
    norm: bool = False
    weights: Path | None = None
    init: str = "random"
    rate: float = 3e-3
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.init not in STARTS:
            raise SettingsError(f"init={self.init}: expected {' or '.join(STARTS)}")
        if self.rate <= 0 or not 0 <= self.dropout < 1:
            raise SettingsError(
                f"rate={self.rate:g} dropout={self.dropout:g}: expected a rate above 0, a share below 1"
            )

    @classmethod
    def of(cls, words: Sequence[str]) -> NetworkSettings:
        """`["a", "norm", "rate=0.002"]` -> its settings. Raises SettingsError."""
        readers = {"weights": Path, "init": str, "rate": float, "dropout": float}
        name, *settings = words
        found: dict[str, object] = {}
        for word in settings:
            key, given, value = word.partition("=")
            if word == "norm":
                found["norm"] = True
            elif given and key in readers:
                try:
                    found[key] = readers[key](value)
                except ValueError as error:
                    raise SettingsError(f"{word}: {error}") from error
            else:
                raise SettingsError(f"{word}: expected norm, weights=H5, init=NAME, rate=X or dropout=X")
        return cls(name, **found)  # type: ignore[arg-type]

    def words(self) -> list[str]:
        """The words that `of` makes these settings from; the path of the weights is absolute."""
        words = [self.name, *(["norm"] if self.norm else [])]
        if self.weights is not None:
            words.append(f"weights={self.weights.resolve()}")
        return [*words, f"init={self.init}", f"rate={self.rate!r}", f"dropout={self.dropout!r}"]


@dataclass(frozen=True)
class GPUSettings:
    """Settings of the loop, for all networks.

    steps: at most. minutes: if above 0, training and its schedule end by then. check_every: steps between validations.
    pool_segments: how many lie on the GPU. mixing_processes: of the host. adam_share: Adam's learning rate over Muon's.
    clip_norm: of the gradient of each weight. loss: a name of LOSSES. ema: above 0, the share of a moving average of
    the weights that each step keeps; the average is what is validated and written. compiled: Triton makes the kernels.
    graph: on CUDA, a step is recorded once and replayed. deterministic: the same settings give the same weights, bit by
    bit, on the same machine. Raises SettingsError.
    """

    batch_size: int = 256
    steps: int = 20000
    minutes: float = 0.0
    warmup_steps: int = 300
    check_every: int = 500
    pool_segments: int = 16384
    mixing_processes: int = 1
    adam_share: float = 0.2
    clip_norm: float = 3.0
    loss: str = "snr"
    ema: float = 0.0
    mixed_precision: bool = False
    compiled: bool = False
    graph: bool = True
    deterministic: bool = False
    seed: int = 42

    def __post_init__(self) -> None:
        counts = ("batch_size", "steps", "check_every", "pool_segments", "mixing_processes")
        if min(getattr(self, name) for name in counts) < 1:
            raise SettingsError(f"{', '.join(name.replace('_', ' ') for name in counts)}: expected at least 1")
        if self.warmup_steps < 0 or self.minutes < 0 or not 0 < self.adam_share <= 1 or self.clip_norm <= 0:
            raise SettingsError(
                f"{self.warmup_steps} warm-up steps, {self.minutes:g} minutes, Adam's share {self.adam_share:g}, "
                f"clipping norm {self.clip_norm:g}: expected steps and minutes of at least 0, a share above 0 and at "
                "most 1, and a norm above 0"
            )
        if self.loss not in LOSSES:
            raise SettingsError(f"loss {self.loss}: expected {' or '.join(LOSSES)}")
        if not 0 <= self.ema < 1:
            raise SettingsError(f"moving average {self.ema:g}: expected a share from 0 to below 1")
        if self.deterministic and self.minutes > 0:
            raise SettingsError(
                f"{self.minutes:g} minutes: a run that ends by the clock cannot be repeated bit by bit. Give --steps "
                "instead of --minutes, or leave out --deterministic"
            )
        if self.compiled and not self.mixed_precision:
            raise SettingsError(
                "compiled kernels need mixed precision (--compile --mixed-precision): recurrent weights in float32 do "
                "not fit on the chip"
            )
        if self.compiled and self.batch_size % COMPILED_SIGNALS:
            raise SettingsError(
                f"a batch of {self.batch_size} segments: compiled kernels need a multiple of {COMPILED_SIGNALS}"
            )

    def blocks_due(self, step: int) -> int:
        """Blocks of segments that have come into the pool before a step: all of a deterministic run, at step 0 of any.

        The first step finds a quarter of the pool full, and at least a batch if the pool holds one.
        """
        first = min(blocks_kept(max(self.batch_size, self.pool_segments // 4)), blocks_kept(self.pool_segments))
        return first + step * self.batch_size // (SERVINGS * BLOCK_SEGMENTS)
