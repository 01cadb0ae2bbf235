"""What goes wrong because of what a user gave, or because a package is missing.

Every message names the file, what was found, what was expected and what to do.
"""

from __future__ import annotations

import errno
import importlib
import os
import re
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

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
    "count",
    "describe_error",
    "in_words",
    "install_line",
    "one_line",
    "require",
    "require_place",
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
    "matplotlib": ("plot",),
    "onnx": ("eval", "convert"),
    "onnxruntime": ("eval", "onnx", "convert", "dnsmos"),
    "pesq": ("score", "dnsmos"),
    "pyroomacoustics": ("synthesis",),
    "pystoi": ("score", "dnsmos"),
    "ray": ("ray",),
    "requests": ("dnsmos",),
    "scipy": ("score", "dnsmos"),
    "sounddevice": ("live", "tflite"),
    "soundfile": ("eval", "score", "dnsmos", "plot", "tflite", "onnx", "train", "synthesis", "collect"),
    "soxr": ("eval", "score", "dnsmos", "plot", "live", "tflite", "onnx", "train", "synthesis", "collect"),
    "speechmos": ("dnsmos",),
    "tensorboard": ("tensorboard",),
    "tensorboardX": ("tensorboard",),
    "tensorflow": ("train", "convert"),
    "tf2onnx": ("convert",),
    "wavinfo": ("train",),
    "yaml": ("eval",),
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


def require_place(path: Path) -> None:
    """Raises SettingsError where no file can get this name, so that the work whose result it takes does not begin."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise SettingsError(f"{path}: its folder does not exist. Make it first.")
    if path.is_dir():
        raise SettingsError(f"{path}: is a folder. Expected the name of a file; choose another one.")
    if not os.access(folder, os.W_OK):
        raise SettingsError(f"{path}: its folder cannot be written to. Choose another one, or change its permissions.")


REMEDIES = {  # what the system says: what that means for a file, and what to do
    errno.EACCES: "permission is denied. Check the permissions of it and of the folders above it.",
    errno.EEXIST: "exists already. Choose another name, or remove it.",
    errno.EFBIG: "is too large for the file system. Choose a folder on another one.",
    errno.EIO: "the disk reports an error. Check it and its connection, and try again.",
    errno.EISDIR: "is a folder. Expected a file.",
    errno.ELOOP: "leads through a circle of links. Mend them.",
    errno.EMFILE: "too many files are open. Take fewer --jobs, or raise the limit (`ulimit -n`).",
    errno.ENAMETOOLONG: "its name is too long for the file system. Shorten it.",
    errno.ENFILE: "too many files are open on this machine. Close other programs.",
    errno.ENOENT: "does not exist. Check the path.",
    errno.ENOMEM: "memory ran out. Take fewer --jobs.",
    errno.ENOSPC: "no space is left on the disk. Free some, or choose another folder.",
    errno.ENOTDIR: "a part of the path is no folder. Check the path.",
    errno.ENOTEMPTY: "is a folder that is not empty. Choose another name, or empty it.",
    errno.EPERM: "the system does not permit it. Check the owner, permissions and attributes of the file.",
    errno.EROFS: "lies on a file system that cannot be written to. Choose another folder.",
}
if hasattr(errno, "EDQUOT"):  # not on Windows
    REMEDIES[errno.EDQUOT] = "your quota of the disk is used up. Delete something, or choose another folder."
    REMEDIES[errno.ESTALE] = "the network drive has lost it. Connect the drive again."


def in_words(error: BaseException) -> str:
    """The message of an error; of the system's errors with files: the file, what is wrong with it, and what to do."""
    if not isinstance(error, OSError) or error.errno is None:
        return str(error)
    reason = REMEDIES.get(error.errno, f"{error.strerror} (error {error.errno} of the system).")
    name = error.filename2 or error.filename
    return (
        f"{os.fsdecode(name)}: {reason}"
        if isinstance(name, (str, bytes, os.PathLike))
        else reason[0].upper() + reason[1:]
    )


def count(number: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def one_line(text: str) -> str:
    """A text that holds names of files, with what breaks or turns lines and other control characters as escapes."""
    controls = r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
    return re.sub(controls, lambda match: repr(match[0])[1:-1], text)


def describe_error(error: Exception) -> str:
    """An unforeseen error in a line: its type, its message, and where it was raised; foreseen ones in words."""
    if isinstance(error, (OSError, MissingPackageError)):
        return in_words(error)
    import traceback  # slow to import, and seldom needed
    from pathlib import Path

    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(where.filename).name}, line {where.lineno})"
