"""What this machine is and what is installed on it: for reports of speed and of bugs."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

__all__ = ["installed_versions", "processor_name", "usable_cores"]


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


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """The versions of those packages that are installed: {distribution: version}.

    packages: names of distributions, or names by which they are imported.
    """
    distributions = metadata.packages_distributions()
    names = {name: None for package in packages for name in distributions.get(package, [package])}
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
