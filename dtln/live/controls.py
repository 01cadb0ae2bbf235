"""What a person changes while a live session runs."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Controls"]


@dataclass
class Controls:
    """The main thread sets these, the worker reads them before each piece of sound.

    bypass: plays the input as it is, as late as the denoised one. strength: as in StreamingDenoiser, from 0 to 1.
    muted: plays silence. quit: ends the session.
    """

    bypass: bool = False
    strength: float = 1.0
    muted: bool = False
    quit: bool = False
