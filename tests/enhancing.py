"""What tests of run_evaluation.py share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dtln.scoring.metrics import si_sdr

SCRIPT = Path(__file__).resolve().parents[1] / "run_evaluation.py"


def require_aligned(result: np.ndarray, signal: np.ndarray, decibels: float = 40) -> None:
    """The cross-correlation of two equally long signals (L,) peaks at lag 0; the SI-SDR is above `decibels`."""
    assert result.shape == signal.shape
    correlation = np.correlate(result, signal[200:-200], "valid")
    assert np.argmax(correlation) == 200
    assert si_sdr(signal, result) > decibels
    assert np.std(result) / np.std(signal) == pytest.approx(1.0, abs=0.03)
