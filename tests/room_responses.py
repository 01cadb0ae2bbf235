"""Room impulse responses for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile


def echo(delay: int, *reflections: tuple[int, float], gain: float = 0.5) -> np.ndarray:
    """A response (12000,): direct sound after `delay` samples, reflections (samples after it, gain relative to it)."""
    response = np.zeros(12000)
    response[delay] = gain
    for later, relative in reflections:
        response[delay + later] = gain * relative
    return response


def response_folder(folder: Path) -> Path:
    """Responses of two rooms: one has two of them, the other, of two channels, stands alone."""
    (folder / "hall").mkdir(parents=True)
    soundfile.write(folder / "hall" / "a.wav", echo(300, (400, 0.5), (2000, 0.4)), 16000)
    soundfile.write(folder / "hall" / "b.wav", echo(100, (500, -0.5), (1500, 0.3)), 16000)
    soundfile.write(folder / "box.flac", np.stack([echo(0, (160, 0.3)), echo(7, (999, 0.9))], axis=1), 16000)
    return folder


def delayed(samples: np.ndarray, delay: int) -> np.ndarray:
    return np.concatenate([np.zeros(delay, samples.dtype), samples[: len(samples) - delay]])
