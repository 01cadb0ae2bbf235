"""DTLN: real-time speech denoising.

    import dtln
    clean = dtln.denoise(samples, sample_rate)         # a recording

    denoiser = dtln.StreamingDenoiser(dtln.load())     # a stream
    clean = denoiser.process(samples)                  # aligned samples, as many in the end as went in
    rest = denoiser.flush()

Names are imported when they are first used: `import dtln` itself loads nothing, not even numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dtln.api import denoise, load
    from dtln.streaming.engine import StreamingDenoiser

__version__ = "0.2.0"
__all__ = ["StreamingDenoiser", "__version__", "denoise", "load"]

_MODULES = {"StreamingDenoiser": "dtln.streaming.engine", "denoise": "dtln.api", "load": "dtln.api"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value  # so that this function is called once for each name
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
