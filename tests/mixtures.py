"""Recordings and mixers for tests of mixing."""

from __future__ import annotations

import numpy as np
from training_pairs import speech_like

from dtln.mixing.mixer import Mixer
from dtln.mixing.recordings import Recordings


def level_db(signal: np.ndarray) -> float:
    return 10 * np.log10(np.mean(np.square(signal, dtype=np.float64)))


def recordings(names: list[str], length: int = 20000, voice: bool = True, seed: int = 0) -> Recordings:
    rng = np.random.default_rng(seed)
    signals = [speech_like(length, seed + i) if voice else 0.1 * rng.standard_normal(length) for i in range(len(names))]
    return Recordings(names, [np.round(s * 32767).astype(np.int16) for s in signals])


def mixer(**settings: object) -> Mixer:
    speech, noise = recordings(["s/a_0.wav", "s/b_0.wav"]), recordings(["n/hum.wav"], voice=False, seed=9)
    return Mixer(**{"speech": speech, "noise": noise, "segment_length": 8000, **settings})
