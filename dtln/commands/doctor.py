"""Print what a bug report needs: versions, models, sound devices, and what the headers of given recordings say.

    %(prog)s
    %(prog)s noisy.wav

Paste the output into an issue. It holds no recordings; your home folder is written as ~.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from dtln.errors import KNOWN_PACKAGES, AudioDeviceError, AudioFileError, MissingPackageError
from dtln.formats import MODEL_DIR


def parse(argv: Sequence[str] | None, prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="recordings to look at")
    return parser.parse_args(argv)


def system_lines() -> Iterator[str]:
    """This toolkit, Python, system and processor."""
    from dtln import __version__
    from dtln.machine import processor_name, usable_cores

    yield f"dtln {__version__} in {Path(__file__).resolve().parents[1]}"
    yield f"Python {platform.python_version()} ({platform.python_implementation()}) in {sys.prefix}"
    yield f"{platform.platform()}, {platform.machine()}"
    yield f"{processor_name()}, {usable_cores()} cores"


def package_lines() -> Iterator[str]:
    """The packages that this toolkit uses: installed ones with their versions, then those that are missing."""
    from dtln.machine import installed_versions

    packages = sorted({*KNOWN_PACKAGES, "tflite_runtime"})
    yield from (f"{name} {version}" for name, version in installed_versions(packages).items())
    yield f"not installed: {', '.join(name for name in packages if not importlib.util.find_spec(name)) or 'none'}"


def model_lines() -> Iterator[str]:
    """The included models, and whether the default one runs."""
    from dtln.commands.models import describe, lines

    yield from lines(describe(MODEL_DIR))
    try:
        import numpy as np

        from dtln.streaming.engine import StreamingDenoiser

        denoiser = StreamingDenoiser()
        denoiser.process_block(np.zeros(denoiser.block_shift, np.float32))
        yield f"the default runs on {denoiser.backend.runtime}"
    except Exception as error:  # whatever it is, it belongs into the report
        yield f"the default does not run: {type(error).__name__}: {error}"


def device_lines() -> Iterator[str]:
    """PortAudio and its devices."""
    from dtln.live.devices import import_sounddevice

    try:
        sounddevice = import_sounddevice()
    except (MissingPackageError, AudioDeviceError) as error:
        yield str(error)
        return
    yield sounddevice.get_portaudio_version()[1]
    yield from str(sounddevice.query_devices() or "no sound devices were found").splitlines()


def file_lines(path: Path) -> Iterator[str]:
    """What the header of a recording says. Raises AudioFileError or MissingPackageError."""
    from dtln.audio.headers import audio_info

    info = audio_info(path)
    seconds = info.length / info.sample_rate
    yield f"{path.name}: {info.sample_format}, {info.sample_rate} Hz, channels: {info.channels}"
    yield f"{info.length} samples per channel, {seconds:.3f} s, {path.stat().st_size} bytes"


def show(title: str, lines: Iterator[str]) -> None:
    """Prints lines below a title, as they come."""
    print(title)
    for line in lines:
        print(f"  {line.replace(str(Path.home()), '~')}", flush=True)


def main(argv: Sequence[str] | None = None, prog: str = "dtln doctor") -> int:
    args = parse(argv, prog)
    show("system", system_lines())
    show("packages", package_lines())
    show("models", model_lines())
    show("sound devices", device_lines())
    status = 0
    for path in args.files:
        try:
            show("recording", file_lines(path))
        except (AudioFileError, MissingPackageError) as error:
            print(f"  {error}".replace(str(Path.home()), "~"))
            status = 1
    return status
