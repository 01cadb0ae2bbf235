"""Training data on disk: noisy and clean wavs from folders of speech and noise."""
