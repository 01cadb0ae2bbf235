"""Training data on disk: noisy and clean wavs, made from folders of speech and noise."""

from dtln.synthesis.run import synthesize
from dtln.synthesis.settings import Settings, effective_settings

__all__ = ["Settings", "effective_settings", "synthesize"]
