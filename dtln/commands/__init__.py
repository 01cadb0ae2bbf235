"""The command lines, one module each: `main(argv=None, prog=...)` returns the exit status."""

from __future__ import annotations

__all__ = ["COMMANDS"]

COMMANDS = {  # name: (module, what it does)
    "enhance": ("dtln.commands.enhance", "denoise recordings or folders of them, and score the result"),
    "live": ("dtln.commands.live", "denoise the microphone in real time"),
    "stream": ("dtln.commands.stream", "denoise raw samples from stdin to stdout, between two programs"),
    "score": ("dtln.commands.score", "score recordings that were denoised already"),
    "compare": ("dtln.commands.compare", "compare denoisers by their scores, with intervals and verdicts"),
    "report": ("dtln.commands.report", "make a page of scores: tables, charts, players, a blind test"),
    "train": ("dtln.commands.train", "train the network"),
    "synthesize": ("dtln.commands.synthesize", "make noisy and clean wavs to train on"),
    "convert": ("dtln.commands.convert", "convert weights to SavedModel, TF-lite and ONNX"),
    "benchmark": ("dtln.commands.benchmark", "measure the time of one block"),
    "plot": ("dtln.commands.plot", "draw spectrograms, training curves and histograms of block times"),
    "models": ("dtln.commands.models", "list the installed models"),
    "doctor": ("dtln.commands.doctor", "print versions, runtimes and devices, for bug reports"),
}
