"""Check that a Raspberry Pi gets everything for live denoising from pip without a compiler.

    python benchmarks/aarch64_wheels.py [--json FILE]

For the two releases of Raspberry Pi OS, pip resolves the extra `live` of pyproject.toml against the package index that
it is set to, as it would on a Pi with the 64-bit system. Each package and each one that it pulls in must have a wheel
for this Python, made for no newer glibc than the release has. The wheels are downloaded to tell their sizes. The last
lines say what the 32-bit system lacks. The exit status is 1 if something for the 64-bit systems is missing.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # `python benchmarks/aarch64_wheels.py` looks only in benchmarks/

from benchmarks.report import write_json  # noqa: E402

NAMED_GLIBC = {"manylinux1": 5, "manylinux2010": 12, "manylinux2014": 17}  # the 2.x that older tags stand for


class NoWheel(Exception):
    """What pip said of a package that it found no wheel of."""


@dataclass(frozen=True)
class System:
    """A system that wheels are for. glibc: the x of its glibc 2.x."""

    name: str
    python: str
    glibc: int
    machine: str = "aarch64"

    def pip_options(self) -> list[str]:
        """What makes pip choose as this system would. pip takes tags word by word, so all that fit are named."""
        tags = [*(name for name, glibc in NAMED_GLIBC.items() if glibc <= self.glibc)]
        tags += [f"manylinux_2_{glibc}" for glibc in range(5, self.glibc + 1)]
        platforms = [f"--platform={tag}_{self.machine}" for tag in [*tags, "linux"]]
        return [f"--python-version={self.python}", "--only-binary=:all:", *platforms]

    def environment(self) -> dict[str, str]:
        """The same for the conditions in requirements."""
        return {
            "implementation_name": "cpython", "implementation_version": f"{self.python}.0", "os_name": "posix",
            "platform_machine": self.machine, "platform_python_implementation": "CPython", "platform_system": "Linux",
            "python_full_version": f"{self.python}.0", "python_version": self.python, "sys_platform": "linux",
            "platform_release": "", "platform_version": "", "extra": "",
        }  # fmt: skip


PI_SYSTEMS = (System("bookworm", "3.11", 36), System("trixie", "3.13", 41))
PI_32_BIT = System("bookworm, 32 bit", "3.11", 36, "armv7l")


@dataclass(frozen=True)
class Wheel:
    """A wheel that pip chose. glibc: the x of the oldest glibc 2.x that it runs on, None where it has no machine code.

    megabytes: of the file, installed_megabytes: of what is in it.
    """

    package: str
    version: str
    file: str
    glibc: int | None
    megabytes: float
    installed_megabytes: float

    def line(self) -> str:
        """The line for people."""
        needs = "any machine" if self.glibc is None else f"glibc 2.{self.glibc}"
        return (
            f"  {self.package:<20} {self.version:<12} {needs:<12} {self.megabytes:6.1f} MB, installed "
            f"{self.installed_megabytes:6.1f} MB"
        )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers into this file, too")
    args = parser.parse_args(argv)
    wanted = live_requirements()
    print(f"the live path needs {', '.join(wanted)}")
    found: dict[str, list[Wheel]] = {}
    for system in PI_SYSTEMS:
        print(f"{system.name}: 64 bit, Python {system.python}, glibc 2.{system.glibc}", flush=True)
        try:
            wheels = found[system.name] = wheels_for(wanted, system)
        except NoWheel as error:
            print(f"  MISSING: {error}")
            continue
        for wheel in wheels:
            print(wheel.line())
        sizes = [sum(getattr(wheel, name) for wheel in wheels) for name in ("megabytes", "installed_megabytes")]
        print(f"  {len(wheels)} packages, {sizes[0]:.0f} MB to download, {sizes[1]:.0f} MB installed")
    absent = [requirement for requirement in wanted if not has_wheel(requirement, PI_32_BIT)]
    print(f"{PI_32_BIT.name} (armv7l): the package index has no wheels of {', '.join(absent) or 'nothing'}")
    if args.json:
        rows = {name: [asdict(wheel) for wheel in wheels] for name, wheels in found.items()}
        write_json(args.json, {"requirements": wanted, "wheels": rows, "missing_on_32_bit": absent})
    return int(len(found) < len(PI_SYSTEMS))


def live_requirements() -> list[str]:
    """What `pip install ".[live]"` asks for, as pyproject.toml says it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["live"]]


def wheels_for(requirements: Sequence[str], system: System) -> list[Wheel]:
    """The wheels of the requirements and of all that they need, in pip's order. Raises NoWheel.

    pip reads conditions such as `platform_machine == "aarch64"` for the machine that it runs on, so they are read again
    here: what it left out is asked for as well, and what is not needed is dropped.
    """
    asked = list(requirements)
    while True:
        chosen = resolve(asked, system)
        needed = needed_packages(requirements, chosen, system)
        if absent := [name for name in needed if name not in chosen]:
            asked += absent
            continue
        return download({name: package for name, package in chosen.items() if name in needed}, system)


def resolve(requirements: Sequence[str], system: System) -> dict[str, dict[str, Any]]:
    """What pip would install: normalised name -> the package's metadata. Raises NoWheel."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        pip("install", "--dry-run", "--ignore-installed", f"--target={folder}", f"--report={report}",
            *system.pip_options(), *requirements)  # fmt: skip
        packages = [package["metadata"] for package in json.loads(report.read_text(encoding="utf-8"))["install"]]
    return {normalised(package["name"]): package for package in packages}


def needed_packages(requirements: Iterable[str], chosen: dict[str, dict[str, Any]], system: System) -> list[str]:
    """The normalised names of all packages that the requirements need on a system, as far as `chosen` knows."""
    from packaging.requirements import Requirement

    needed: list[str] = []
    waiting = [(Requirement(text), "") for text in requirements]
    while waiting:
        requirement, extra = waiting.pop(0)
        if requirement.marker and not requirement.marker.evaluate(system.environment() | {"extra": extra}):
            continue
        name = normalised(requirement.name)
        if name not in needed:
            needed.append(name)
            for text in chosen.get(name, {}).get("requires_dist", []):
                waiting += [(Requirement(text), extra) for extra in ["", *requirement.extras]]
    return needed


def download(packages: dict[str, dict[str, Any]], system: System) -> list[Wheel]:
    """The wheels of packages in just these versions, with their sizes. Raises NoWheel."""
    wheels = []
    with tempfile.TemporaryDirectory() as folder:
        pins = [f"{package['name']}=={package['version']}" for package in packages.values()]
        pip("download", "--no-deps", f"--dest={folder}", *system.pip_options(), *pins)
        files = {normalised(path.name.split("-")[0]): path for path in Path(folder).glob("*.whl")}
        for name, package in packages.items():
            path = files[name]
            with zipfile.ZipFile(path) as content:
                installed = sum(file.file_size for file in content.infolist())
            size, glibc = path.stat().st_size, oldest_glibc(path.name)
            wheels.append(Wheel(package["name"], package["version"], path.name, glibc, size / 1e6, installed / 1e6))
    return wheels


def has_wheel(requirement: str, system: System) -> bool:
    """Whether the index has a wheel of a package itself, whatever it needs, for a system."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            pip("install", "--dry-run", "--no-deps", "--ignore-installed", f"--target={folder}",
                *system.pip_options(), requirement)  # fmt: skip
        except NoWheel:
            return False
    return True


def oldest_glibc(file: str) -> int | None:
    """The x of the oldest glibc 2.x that a wheel runs on, by the tags in its name; None for one without machine code.

    Raises ValueError for tags that say nothing about it.
    """
    tags = file.removesuffix(".whl").rsplit("-", 1)[1].split(".")
    if tags == ["any"]:
        return None
    versions = []
    for tag in tags:
        if match := re.match(r"manylinux_2_(\d+)_", tag):
            versions.append(int(match[1]))
        elif (name := tag.split("_", 1)[0]) in NAMED_GLIBC:
            versions.append(NAMED_GLIBC[name])
    if not versions:
        raise ValueError(f"{file}: its tags name no glibc")
    return min(versions)


def normalised(name: str) -> str:
    """A package's name as package indices compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pip(*arguments: str) -> None:
    """Runs pip. Raises NoWheel where it finds none of a package; RuntimeError with what it says where it fails else."""
    command = [sys.executable, "-m", "pip", *arguments[:1], "--quiet", "--retries=2", *arguments[1:]]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if not line.startswith("WARNING: Location")]
        missing = re.search(r"No matching distribution found for (.*)|ResolutionImpossible", done.stderr)
        unreachable = re.search(r"Connection|Max retries|Timeout|ProxyError|Network is unreachable", done.stderr)
        if missing and not unreachable:
            raise NoWheel(f"no wheel of {missing[1]}" if missing[1] else "; ".join(said))
        raise RuntimeError(f"{' '.join(command)} failed:\n" + "\n".join(said))


if __name__ == "__main__":
    sys.exit(main())
