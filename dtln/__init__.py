"""DTLN: real-time speech denoising."""
