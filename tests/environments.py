"""Environments with few packages for tests of what runs without the rest: virtual ones, of npm, or under an emulator.

Each is made once in a test run, by the first worker that comes to it. A thread makes them ahead, while other tests
run: pip waits a lot.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import pytest

# what pip, npm and apt print where they reach no index; any other failure of theirs is a failure of the test
NETWORK_FAILURES = ("NewConnectionError", "ConnectionError", "NameResolutionError", "Max retries", "ConnectTimeout",
                    "name resolution", "Network is unreachable", "ReadTimeoutError", "ProxyError",
                    "ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT",
                    "Temporary failure resolving", "Could not resolve", "Could not connect")  # fmt: skip

ROOT = Path(__file__).resolve().parents[1]
OLDEST_ONNXRUNTIME = {  # of each Python; 1.6.0 is the first that knows opset 13
    "3.8": "1.6.0", "3.9": "1.7.0", "3.10": "1.12.0", "3.11": "1.15.0", "3.12": "1.17.0", "3.13": "1.20.0",
}  # fmt: skip
LIVE = ("numpy", "sounddevice", "soxr", "ai-edge-litert")  # what the live path needs
PACKAGES = {  # of each environment, in the order in which they are made
    "torch": (
        *("keras", "torch", "triton", "h5py", "soundfile", "wavinfo", "numpy"),
        *("pytest", "tensorboardX", "tensorboard"),
    ),
    "jax": ("keras", "jax", "h5py", "soundfile", "wavinfo", "numpy"),
    "ai_edge_litert": (),  # those of tflite_env.yml
    "tflite_runtime": ("numpy<2", "tflite-runtime"),  # and the rest of tflite_env.yml
    "ray": (
        *("ray[client]", "soundfile", "soxr", "h5py", "onnx", "onnxruntime", "numpy"),
        *("pystoi", "scipy"),
    ),
    "openvino": ("openvino", "numpy"),
    "node": ("onnxruntime-web", "@litertjs/core"),  # by npm
    "tract": ("tract", "numpy"),
    "web": (),  # those of web/package-lock.json, by npm
    "aarch64_3.11": (*LIVE, "onnxruntime"),
    "aarch64_3.13": (*LIVE, "onnxruntime"),
    "onnxruntime_oldest": (
        "numpy<2",
        *(f"onnxruntime=={oldest}; python_version=='{python}'" for python, oldest in OLDEST_ONNXRUNTIME.items()),
    ),
}
VERSIONS = {  # of Python, for packages that have no wheels for later ones
    "tflite_runtime": ("3.11", "3.10"),
    "onnxruntime_oldest": tuple(OLDEST_ONNXRUNTIME),
}


@dataclass(frozen=True)
class Computer:
    """An aarch64 computer for the emulator.

    release: of Debian, whose packages it has. python: the version in that release. cpu: the processor, as qemu names
    it. part, features: the same in `/proc/cpuinfo`. XNNPACK crashes where it finds none that it knows, and chooses its
    kernels by them.
    """

    release: str
    python: str
    cpu: str
    part: str
    features: str


COMPUTERS = {
    "aarch64_3.11": Computer("bookworm", "3.11", "cortex-a72", "0xd08", "fp asimd evtstrm crc32 cpuid"),  # Pi 4
    "aarch64_3.13": Computer(  # Pi 5
        *("trixie", "3.13", "cortex-a76", "0xd0b"),
        "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
    ),
}


class Environments:
    """The environments of PACKAGES in a folder that all workers of a test run share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make_ahead(self, names: Iterable[str]) -> None:
        """Begins to make them, in a thread that ends with the process."""
        wanted = [name for name in PACKAGES if name in set(names)]
        Thread(target=lambda: [self._make(name) for name in wanted], daemon=True).start()

    def path(self, name: str) -> str:
        """The python of an environment, once it is made, or the folder with its `node_modules`, or that of `build_web`.

        Skips and raises as `make_environment`; skips as well where no Python of its VERSIONS, node or npm is found.
        """
        self._make(name)
        while not (result := self.folder / f"{name}.json").exists():  # another thread or worker makes it
            time.sleep(0.2)
        made = json.loads(result.read_text())
        if made["skipped"]:
            pytest.skip(made["skipped"])
        if made["failed"]:
            raise RuntimeError(made["failed"])
        return made["path"]

    def _make(self, name: str) -> None:
        """Makes it, unless somebody has begun to; NAME.json then says how it went."""
        made = {"path": "", "skipped": "", "failed": ""}
        try:
            (self.folder / name).mkdir()
        except FileExistsError:
            return
        try:
            made["path"] = str(self._install(name))
        except pytest.skip.Exception as skipped:
            made["skipped"] = str(skipped)
        except Exception as error:
            made["failed"] = f"{type(error).__name__}: {error}"
        partial = self.folder / f"{name}.partial"
        partial.write_text(json.dumps(made))
        partial.rename(self.folder / f"{name}.json")

    def _install(self, name: str) -> Path:
        if name == "node":
            return install_with_npm(self.folder / name, packages_of(name))
        if name == "web":
            return build_web(self.folder / name)
        if name in COMPUTERS:
            return make_emulated(self.folder / name, packages_of(name), COMPUTERS[name])
        python = python_with(VERSIONS[name]) if name in VERSIONS else sys.executable
        if python is None:
            pytest.skip(f"{name} has no wheel for this Python, and none of {', '.join(VERSIONS[name])} was found")
        return make_environment(self.folder / name, packages_of(name), python)


def packages_of(name: str) -> list[str]:
    """What an environment of PACKAGES holds, as pip takes it."""
    packages = list(PACKAGES[name])
    if name in ("ai_edge_litert", "tflite_runtime"):
        import yaml

        dependencies = yaml.safe_load((ROOT / "tflite_env.yml").read_text())["dependencies"]
        (wanted,) = (entry["pip"] for entry in dependencies if isinstance(entry, dict))
        replaced = ("numpy", "ai-edge-litert") if name == "tflite_runtime" else ()
        packages += [package for package in wanted if not package.startswith(replaced)]
    return packages


def make_environment(folder: Path, packages: Sequence[str], python: str = sys.executable) -> Path:
    """Creates a virtual environment at `folder` with the packages; returns its python.

    packages: as pip takes them. Skips the test where no package index can be reached; RuntimeError with the output of
    venv or pip where they fail for another reason.
    """
    _run([python, "-m", "venv", str(folder)])
    inside = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    _run([str(inside), "-m", "pip", "install", "--quiet", "--no-compile", "--retries", "2", *packages])
    return inside


NPM_OPTIONS = ("--no-audit", "--no-fund", "--ignore-scripts")


def install_with_npm(folder: Path, packages: Sequence[str]) -> Path:
    """Installs packages for node into a folder; returns it. Skips and raises as `make_environment`."""
    need_npm()
    _run(["npm", "install", *NPM_OPTIONS, *packages], cwd=folder)
    return folder


def need_npm() -> None:
    """Skips the test where node or npm is not installed."""
    for program in ("node", "npm"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")


def build_web(folder: Path) -> Path:
    """Installs and builds a copy of `web`, with the demo, in a folder; returns it. It is laid out like the repository.

    Skips and raises as `make_environment`.
    """
    need_npm()
    built = shutil.ignore_patterns("node_modules", "dist", "build")
    shutil.copytree(ROOT / "web", folder / "web", ignore=built)
    shutil.copytree(ROOT / "docs" / "demo", folder / "docs" / "demo", ignore=built)
    shutil.copy(ROOT / "LICENSE", folder)
    for name in ("pretrained_model", "audio_samples"):
        (folder / name).symlink_to(ROOT / name, target_is_directory=True)
    _run(["npm", "ci", *NPM_OPTIONS], cwd=folder / "web")
    _run(["npm", "run", "build"], cwd=folder / "web")
    return folder


def make_emulated(folder: Path, packages: Sequence[str], computer: Computer) -> Path:
    """Makes an aarch64 Python with the packages at `folder`; returns a script that runs it under qemu, like a python.

    Python and PortAudio are Debian's, unpacked beside the system and not installed; the packages are wheels for
    aarch64. The emulator takes a path of the system from `folder`/root where it is there. Skips and raises as
    `make_environment`; skips as well without qemu or apt.
    """
    emulator = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if not emulator:
        pytest.skip("qemu-user-static is not installed")
    root, site, python = folder / "root", folder / "site", folder / "python"
    for package in download_arm64(folder / "apt", computer.release, [f"python{computer.python}", "libportaudio2"]):
        _run(["dpkg-deb", "-x", str(package), str(root)])
    for name in ("bin", "lib", "sbin"):  # links that the newer release makes when it is installed
        if not (root / name).exists():
            (root / name).symlink_to(f"usr/{name}")
    cores = [
        f"processor : {core}\nBogoMIPS : 108.00\nFeatures : {computer.features}\nCPU implementer : 0x41\n"
        f"CPU architecture: 8\nCPU variant : 0x0\nCPU part : {computer.part}\nCPU revision : 3\n"
        for core in range(4)
    ]
    (root / "proc").mkdir()
    (root / "proc" / "cpuinfo").write_text("\n".join(cores))
    platforms = [f"--platform=manylinux_2_{version}_aarch64" for version in range(17, 29)]
    _run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--retries", "2", "--only-binary=:all:"]
        + [f"--target={site}", f"--python-version={computer.python}", *platforms, *packages]
    )
    python.write_text(
        f'#!/bin/sh\nPYTHONPATH="{site}:$PYTHONPATH" PYTHONDONTWRITEBYTECODE=1 '
        f'exec {emulator} -cpu {computer.cpu} -L "{root}" "{root}/usr/bin/python{computer.python}" "$@"\n'
    )
    python.chmod(0o755)
    return python


def download_arm64(folder: Path, release: str, names: Sequence[str]) -> list[Path]:
    """Debian's packages for arm64 and all that they depend on, downloaded by an apt whose files are all at `folder`.

    Needs no root rights, and the system's own apt does not see it. Skips where that knows no Debian archive.
    """
    targets = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian"]
    found = subprocess.run(targets, capture_output=True, text=True).stdout.split() if shutil.which("apt-get") else []
    if not found:
        pytest.skip("apt names no archive of Debian; `apt-get update` may be missing")
    (folder / "lists" / "partial").mkdir(parents=True)
    (folder / "cache" / "archives" / "partial").mkdir(parents=True)
    (folder / "status").touch()  # nothing is installed, so that every dependency is downloaded
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (folder / "sources.list").write_text(f"deb [signed-by={keyring}] {found[0]} {release} main\n")
    options = {
        "APT::Architecture": "arm64", "APT::Architectures": "arm64", "APT::Sandbox::User": "root",
        "APT::Update::Error-Mode": "any", "Acquire::Languages": "none", "Acquire::Retries": "2",
        "Dir::State": folder, "Dir::State::Lists": folder / "lists", "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache", "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
    }  # fmt: skip
    apt = ["apt-get", "-q", "-y", *(f"-o{name}={value}" for name, value in options.items())]
    _run([*apt, "update"])
    _run([*apt, "install", "--download-only", "--no-install-recommends", *names])
    return sorted((folder / "cache" / "archives").glob("*.deb"))


def _run(command: list[str], cwd: Path | None = None) -> None:
    result = subprocess.run(command, capture_output=True, text=True, cwd=cwd)
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
