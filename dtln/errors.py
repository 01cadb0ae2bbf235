"""What goes wrong because of what a user gave, or because a package is missing.

Every message names the file, what was found, what was expected and what to do.
"""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = [
    "EXTRAS",
    "KNOWN_PACKAGES",
    "AudioDeviceError",
    "AudioFileError",
    "MissingPackageError",
    "MissingRuntimeError",
    "ModelError",
    "NotAudioError",
    "NotScorable",
    "SettingsError",
    "WeightsFileError",
    "describe_error",
    "install_line",
    "require",
]


class AudioFileError(ValueError):
    """A recording that cannot be used."""


class NotAudioError(AudioFileError):
    """A file that holds no sound, under an extension that other files have as well: a matrix named .mat, say."""


class WeightsFileError(ValueError):
    """A weights file that does not hold this network; the message says what it holds and what was expected."""


class ModelError(ValueError):
    """An exported model that cannot be used."""


class SettingsError(ValueError):
    """Settings that do not fit; the message names them."""


class NotScorable(ValueError):
    """A signal for which a metric is not defined: silent, or too short."""


class AudioDeviceError(RuntimeError):
    """A sound device that cannot be used; the message says which, why and what to do."""


class MissingPackageError(ModuleNotFoundError):
    """A package that is not installed; the message gives the pip line that installs it."""


class MissingRuntimeError(MissingPackageError):
    """No runtime for a kind of model is installed; the message says what to install."""


EXTRAS: dict[str, tuple[str, ...]] = {  # package as it is imported: the extras that bring it, the usual one first
    "ai_edge_litert": ("live", "tflite"),
    "av": ("media", "collect"),
    "debian": ("collect",),
    "h5py": ("eval", "train", "convert"),
    "keras": ("train", "convert"),
    "librosa": ("dnsmos",),
    "matplotlib": ("bench",),
    "onnx": ("eval", "convert"),
    "onnxruntime": ("eval", "onnx", "convert", "dnsmos"),
    "pesq": ("score", "dnsmos"),
    "pyroomacoustics": ("synthesis",),
    "pystoi": ("score", "dnsmos"),
    "requests": ("dnsmos",),
    "scipy": ("score", "dnsmos"),
    "sounddevice": ("live", "tflite"),
    "soundfile": ("eval", "score", "dnsmos", "tflite", "onnx", "train", "synthesis", "collect"),
    "soxr": ("eval", "score", "dnsmos", "tflite", "onnx", "train", "synthesis", "collect"),
    "speechmos": ("dnsmos",),
    "tensorboard": ("tensorboard",),
    "tensorboardX": ("tensorboard",),
    "tensorflow": ("train", "convert"),
    "tf2onnx": ("convert",),
    "wavinfo": ("train",),
}
KNOWN_PACKAGES = {*EXTRAS, "jax", "numpy", "tf_keras", "torch", "triton"}  # the last ones are installed by themselves


def install_line(package: str, extra: str | None = None) -> str:
    """The pip command that installs a package: `pip install "dtln[eval]"`, or the package alone if no extra brings it.

    extra: the one to name if it brings the package; None names the usual one. A clone that is not installed is named by
    its path, because package indices do not know it.
    """
    from importlib import metadata  # slow to import, and seldom needed
    from pathlib import Path

    extras = EXTRAS.get(package, ())
    clone = Path(__file__).resolve().parents[1]
    try:
        toolkit = metadata.metadata("dtln")["Name"]
    except metadata.PackageNotFoundError:
        toolkit = str(clone) if (clone / "pyproject.toml").is_file() else ""
    if not extras or not toolkit:
        return f"pip install {package}"
    return f'pip install "{toolkit}[{extra if extra in extras else extras[0]}]"'


def require(package: str, purpose: str, error_class: type[MissingPackageError] = MissingPackageError) -> ModuleType:
    """Imports a package. Raises MissingPackageError where it is not installed: PURPOSE needs the package X: pip ..."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        top = package.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != top:
            raise  # the package is there; what it imports itself is missing
        raise error_class(f"{purpose} needs the package {top}: {install_line(top)}", name=top) from error


def describe_error(error: Exception) -> str:
    """An unforeseen error in a line: its type, its message, and where it was raised."""
    import traceback  # slow to import, and seldom needed
    from pathlib import Path

    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(where.filename).name}, line {where.lineno})"
