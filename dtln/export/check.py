"""The check of an export: the streaming engine opens it, and its output is compared with the network's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from DTLN_model import DTLNNetwork

__all__ = ["FLOAT_TOLERANCE", "QUANTISED_SNR_DB", "check", "test_signal"]

FLOAT_TOLERANCE = 1e-4  # largest difference of samples at a peak level of 0.5
QUANTISED_SNR_DB = 12.0  # 8 bits against float: trained weights are far above it, unusual ones come close


def test_signal(length: int = 32000) -> np.ndarray:
    """Two seconds like voiced speech in noise, peak 0.5: float32 (L,)."""
    import numpy as np

    from dtln.facts import SAMPLE_RATE

    time = np.arange(length) / SAMPLE_RATE
    pitch = 140 + 30 * np.sin(2 * np.pi * 1.3 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    voice = sum(np.cos(k * phase) / k for k in range(1, 25)) * np.maximum(0, np.sin(2 * np.pi * 2.5 * time))
    signal = voice + 0.2 * np.random.default_rng(0).standard_normal(length)
    return (0.5 * signal / np.max(np.abs(signal))).astype(np.float32)


def check(network: DTLNNetwork, kind: str, folder: Path) -> tuple[bool, str]:
    """(whether the export of this kind in a folder is close enough to the network, what was measured)."""
    import numpy as np

    from dtln.formats import export_kind
    from dtln.streaming.backends import open_backend
    from dtln.streaming.engine import StreamingDenoiser

    signal = test_signal()
    expected = network.denoise(signal[None])[0]
    found = StreamingDenoiser(open_backend(kind, folder)).denoise(signal)
    error = expected - found
    if export_kind(kind).quantised:
        snr = 10 * np.log10(np.sum(expected**2) / max(np.sum(error**2), 1e-20))
        return bool(snr >= QUANTISED_SNR_DB), f"SNR against float {snr:.1f} dB (at least {QUANTISED_SNR_DB:g} wanted)"
    largest = np.max(np.abs(error))
    return bool(largest <= FLOAT_TOLERANCE), f"largest error {largest:.1e} (at most {FLOAT_TOLERANCE:g} wanted)"
