"""Scores of denoised signals, what spoils them, and their means."""
