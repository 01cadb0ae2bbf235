"""DTLN: real-time speech denoising."""

__version__ = "0.2.0"
