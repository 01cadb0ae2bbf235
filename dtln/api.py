"""What `import dtln` offers: a recording denoised in one call, and back ends for streams."""

from __future__ import annotations

import math
from numbers import Real
from pathlib import Path

import numpy as np

from dtln.audio.levels import Correction, corrections
from dtln.audio.measuring import measure
from dtln.audio.signal_path import SignalPath, chosen_strength
from dtln.choices import LEVELS
from dtln.facts import SAMPLE_RATE
from dtln.formats import MODEL_DIR
from dtln.streaming.backends import Backend, open_backend
from dtln.streaming.engine import MOST_CHANNELS, ChannelDenoiser

__all__ = ["denoise", "load"]

PIECE = 1 << 18  # samples denoised at once
LOUDEST_PEAK = 100.0  # 40 dB above full scale; integers taken as floats are far beyond it


def load(kind: str | None = None, model_dir: str | Path | None = None, threads: int = 1) -> Backend:
    """A back end for `StreamingDenoiser` and `denoise`.

    kind: a kind of export that `dtln models` lists, such as "tflite-stream" or "onnx-stream"; None takes the first one
    that is there and whose runtime is installed. model_dir: the folder of the exports, or one of them,
    such as the folder of a SavedModel; None takes the included ones. threads: of the runtime. Streams may
    share a back end, in several threads as well.
    Raises ValueError for an unknown kind, FileNotFoundError, dtln.errors.ModelError for files that hold no such model,
    dtln.errors.MissingRuntimeError with the pip command for the runtime.
    """
    return open_backend(kind, MODEL_DIR if model_dir is None else model_dir, threads)


def denoise(
    samples: np.ndarray,
    sample_rate: int = SAMPLE_RATE,
    *,
    backend: Backend | None = None,
    threads: int = 1,
    level: str = "auto",
    strength: float = 1.0,
    attenuation_limit_db: float | None = None,
    keep_high_band: bool = False,
) -> np.ndarray:
    """Denoises a recording: samples (L,) or (L, channels) in, as many out, aligned, of the same type.

    samples: float32 or float64 with full scale 1, or int16 or int32 over their whole range. Each channel is denoised by
    itself. sample_rate: in Hz; other rates than 16000 are resampled, there and back (this needs the package soxr), so
    that nothing above 8 kHz comes out of the network. backend: from `load`; None opens the default one with `threads`.
    level: "auto" lets the network hear channels that are too quiet or too loud for it at a level that it knows, gives
    them back at their own, and removes a DC offset; "raw" lets it hear them as they are.
    strength: from 0 to 1, the share of the denoised samples in the result; the rest are the samples as they were.
    attenuation_limit_db: by how much noise goes down at most, instead of a strength. keep_high_band: adds what the
    samples have above 8 kHz, turned down by as much as the network turned down 4 to 8 kHz.
    Raises ValueError for samples of another type or shape, or with NaN, Inf or peaks far above full scale, and for
    settings that there are not; else what `load` raises, and dtln.errors.MissingPackageError without soxr.
    """
    samples = np.asarray(samples)
    _check(samples, sample_rate)
    strength = chosen_strength(strength, attenuation_limit_db)
    if level not in LEVELS:
        raise ValueError(f"the level {level!r} was given. Expected one of {', '.join(map(repr, LEVELS))}.")
    scale = 1.0 if samples.dtype.kind == "f" else float(np.iinfo(samples.dtype).max) + 1.0
    signal = (samples / scale).astype(np.float32)
    if signal.size:
        peak = np.abs(signal).max()
        if not peak <= LOUDEST_PEAK:
            found = f"a peak of {peak:g}" if np.isfinite(peak) else "NaN or Inf"
            raise ValueError(
                f"samples with {found} were given. Expected finite samples with full scale 1; divide 16-bit samples "
                "by 32768, or give them as int16."
            )
    if strength == 0:
        return samples.copy()  # float32, in which the network computes, does not hold all types
    columns = signal.reshape(len(signal), -1 if signal.size else int(np.prod(signal.shape[1:])))  # (L, channels)
    backend = load(threads=threads) if backend is None else backend
    changes = [Correction()] * columns.shape[1]
    if level == "auto":
        changes = corrections(measure([columns], sample_rate, columns.shape[1]))
    stream = ChannelDenoiser([backend] * columns.shape[1])
    path = SignalPath(stream, sample_rate, sample_rate, changes, strength, keep_high_band)
    pieces = [path.process(columns[start : start + PIECE]) for start in range(0, len(columns), PIECE)]
    denoised = np.concatenate([*pieces, path.process(columns[:0], last=True)]).reshape(signal.shape)
    if samples.dtype.kind == "f":
        return denoised.astype(samples.dtype)
    steps = np.round(denoised.astype(np.float64) * scale)  # float32 does not hold the largest int32
    return np.clip(steps, -scale, scale - 1).astype(samples.dtype)


def _check(samples: np.ndarray, sample_rate: int) -> None:
    """Raises ValueError for a type, shape or rate that is not taken."""
    if samples.dtype not in (np.float32, np.float64, np.int16, np.int32):
        raise ValueError(
            f"samples of type {samples.dtype} were given. Expected float32 or float64 with full scale 1, or int16 or "
            "int32."
        )
    if samples.ndim not in (1, 2):
        raise ValueError(f"samples of shape {samples.shape} were given. Expected (L,) or (L, channels).")
    if samples.ndim == 2 and not 0 < samples.shape[1] <= MOST_CHANNELS:
        raise ValueError(
            f"samples of shape {samples.shape} were given. Expected (L, channels) with 1 to {MOST_CHANNELS} channels; "
            "transpose what has the channels first."
        )
    if not isinstance(sample_rate, Real) or not (1 <= sample_rate < math.inf and sample_rate == int(sample_rate)):
        raise ValueError(f"a sample rate of {sample_rate!r} was given. Expected a whole number of Hz above 0.")
