"""What this machine is and what is installed on it: for reports of speed and of bugs."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable
from pathlib import Path

__all__ = ["installed_versions", "memory_use", "processor_name", "usable_cores"]


def processor_name() -> str:
    """The processor's name as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    for key in ("model name", "Model", "Hardware"):  # the latter two on Arm boards
        for line in lines:
            if line.partition(":")[0].strip() == key:
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_use() -> tuple[int | None, int | None]:
    """Bytes of memory that this process holds, now and at most so far; None for what the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:  # no Linux
        return None, _peak_memory()
    sizes = {line.partition(":")[0]: line.split()[1] for line in lines if line.startswith(("VmRSS:", "VmHWM:"))}  # KiB
    return int(sizes["VmRSS"]) * 1024, int(sizes["VmHWM"]) * 1024


def _peak_memory() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """The versions of those packages that are installed: {distribution: version}.

    packages: names of distributions, or names by which they are imported.
    """
    from importlib import metadata  # slow to import

    distributions = metadata.packages_distributions()
    names = {name: None for package in packages for name in distributions.get(package, [package])}
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
