"""Virtual environments with few packages, for tests of what runs without the rest."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

# what pip prints where it reaches no index; any other failure of pip is a failure of the test
NETWORK_FAILURES = ("NewConnectionError", "ConnectionError", "NameResolutionError", "Max retries", "ConnectTimeout",
                    "name resolution", "Network is unreachable", "ReadTimeoutError", "ProxyError")  # fmt: skip


PACKAGES = {  # of environments that take long to make, by the file whose tests want them, in the order of the files
    "test_distribution.py": ("keras", "jax", "h5py", "soundfile", "wavinfo", "numpy"),
    "test_other_backends.py": (
        *("keras", "torch", "triton", "h5py", "soundfile", "wavinfo", "numpy"),
        *("pytest", "tensorboardX", "tensorboard"),
    ),
    "test_weights.py": ("tensorflow", "tf_keras"),
}


class EnvironmentsAhead:
    """Makes the environments of PACKAGES, one after the other, while tests that need none run: pip waits a lot."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="environments-"))
        self._pool = ThreadPoolExecutor(1)
        self._begun: dict[str, Future[Path]] = {}

    def begin(self, files: Iterable[str]) -> None:
        """Begins with those that tests of these files want."""
        for file in PACKAGES:
            if file in files:
                self.python_for(file, wait=False)

    def python_for(self, file: str, wait: bool = True) -> Path | None:
        """The python of a file's environment, once it is made. Skips and raises as `make_environment`."""
        if file not in self._begun:
            self._begun[file] = self._pool.submit(make_environment, self._folder / Path(file).stem, PACKAGES[file])
        return self._begun[file].result() if wait else None

    def remove(self) -> None:
        """Ends, and deletes what was made."""
        self._pool.shutdown(cancel_futures=True)
        shutil.rmtree(self._folder, ignore_errors=True)


AHEAD = EnvironmentsAhead()


def make_environment(folder: Path, packages: Sequence[str], python: str = sys.executable) -> Path:
    """Creates a virtual environment at `folder` with the packages; returns its python.

    packages: as pip takes them. Skips the test where no package index can be reached; RuntimeError with the output of
    venv or pip where they fail for another reason.
    """
    _run([python, "-m", "venv", str(folder)])
    inside = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    _run([str(inside), "-m", "pip", "install", "--quiet", "--retries", "2", *packages])
    return inside


def _run(command: list[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        output = f"{result.stdout}{result.stderr}"
        if any(words in output for words in NETWORK_FAILURES):
            pytest.skip(f"packages cannot be installed: {output.strip().splitlines()[-1]}")
        raise RuntimeError(f"{' '.join(command)} failed:\n{output}")


def python_with(versions: Sequence[str]) -> str | None:
    """An interpreter of one of the versions ("3.11", ...), the first that is there and runs; None if there is none.

    Each is tried: a pyenv shim stands on the path also for versions that are not active, and Debian's python lacks
    `ensurepip` until python3-venv is installed.
    """
    for version in versions:
        installed = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
        for candidate in (sys.executable, shutil.which(f"python{version}"), f"/usr/bin/python{version}", *installed):
            if candidate and _version_of(str(candidate)) == version:
                return str(candidate)
    return None


def _version_of(python: str) -> str | None:
    code = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"
    try:
        result = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None
