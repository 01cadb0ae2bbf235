"""dtln.audio.signal_path: pieces and rates, with a stream that gives everything back late."""

from __future__ import annotations

import numpy as np
import pytest

from dtln.audio.levels import Correction
from dtln.audio.signal_path import SignalPath


class Late:
    """A network that changes nothing, and gives samples once 1000 more have come."""

    def __init__(self, channels: int, factor: float = 1.0) -> None:
        self.held, self.factor = np.zeros((channels, 0), np.float32), np.float32(factor)

    def process(self, samples: np.ndarray) -> np.ndarray:
        self.held = np.concatenate([self.held, samples * self.factor], axis=1)
        ready = max(0, self.held.shape[1] - 1000)
        given, self.held = self.held[:, :ready], self.held[:, ready:]
        return given

    def flush(self) -> np.ndarray:
        return self.held


RATES = [(16000, 16000), (8000, 8000), (48000, 48000), (44100, 16000), (11025, 11025)]
CORRECTIONS = [Correction(0.1, 4.0), Correction()]


@pytest.mark.parametrize(("rate", "output_rate"), RATES)
@pytest.mark.parametrize("length", [0, 1, 999, 30001])
def test_pieces_give_what_the_whole_gives(noise, rate, output_rate, length):
    signal = noise(length, 2)
    whole = SignalPath(Late(2), rate, output_rate, CORRECTIONS).process(signal, last=True)
    assert whole.shape == (-(-length * output_rate // rate), 2)
    path = SignalPath(Late(2), rate, output_rate, CORRECTIONS)
    pieces = [path.process(piece) for piece in np.split(signal, [0, 1, 130, 20000])]
    pieces.append(path.process(signal[:0], last=True))
    np.testing.assert_allclose(np.concatenate(pieces), whole, rtol=0, atol=1e-6)
    if rate == output_rate == 16000:
        np.testing.assert_allclose(whole, signal - [0.1, 0], rtol=0, atol=1e-6)
