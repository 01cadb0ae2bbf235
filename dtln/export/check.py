"""The check of an export: opened by the streaming engine and compared with the network."""

from __future__ import annotations

from pathlib import Path

FLOAT_TOLERANCE = 1e-4  # largest difference of samples at a peak level of 0.5
QUANTISED_SNR_DB = 12.0  # of the 8-bit output against the float one; untypical weights come close, typical ones do not


def test_signal(length: int = 32000):
    """Two seconds like voiced speech in noise, peak 0.5: float32 (L,)."""
    import numpy as np

    from dtln.facts import SAMPLE_RATE

    time = np.arange(length) / SAMPLE_RATE
    pitch = 140 + 30 * np.sin(2 * np.pi * 1.3 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    voice = sum(np.cos(k * phase) / k for k in range(1, 25)) * np.maximum(0, np.sin(2 * np.pi * 2.5 * time))
    signal = voice + 0.2 * np.random.default_rng(0).standard_normal(length)
    return (0.5 * signal / np.max(np.abs(signal))).astype(np.float32)


def check(network, kind: str, folder: Path) -> tuple[bool, str]:
    """Runs an export through the streaming engine: (close enough to the Keras network?, what was measured)."""
    import numpy as np

    from dtln.streaming.backends import open_backend
    from dtln.streaming.engine import StreamingDenoiser

    signal = test_signal()
    expected = network.denoise(signal[None])[0]
    found = StreamingDenoiser(open_backend(kind, folder)).denoise(signal)
    error = expected - found
    if kind.endswith("-quant"):
        snr = 10 * np.log10(np.sum(expected**2) / max(np.sum(error**2), 1e-20))
        return bool(snr >= QUANTISED_SNR_DB), f"SNR against float {snr:.1f} dB (at least {QUANTISED_SNR_DB:g} wanted)"
    largest = np.max(np.abs(error))
    return bool(largest <= FLOAT_TOLERANCE), f"largest error {largest:.1e} (at most {FLOAT_TOLERANCE:g} wanted)"
