"""The numbers of the DTLN signal path, each with its unit; their relations are checked here.

Source: Westhausen & Meyer, "Dual-Signal Transformation LSTM Network for Real-Time Noise Suppression", Interspeech 2020.
"""

from __future__ import annotations

__all__ = ["BLOCK_LENGTH", "BLOCK_SHIFT", "EPSILON", "OVERLAP_DELAY", "SAMPLE_RATE"]

SAMPLE_RATE = 16000  # Hz, the only rate the published network knows
BLOCK_LENGTH = 512  # samples the network looks at at once: 32 ms
BLOCK_SHIFT = 128  # samples between two blocks: 8 ms
OVERLAP_DELAY = BLOCK_LENGTH - BLOCK_SHIFT  # 384 samples that later blocks still add to: 24 ms
EPSILON = 1e-7  # inside logarithms, roots and quotients, as in the published code

assert BLOCK_LENGTH % BLOCK_SHIFT == 0
assert BLOCK_SHIFT * 1000 == 8 * SAMPLE_RATE
