"""Collect a folder of noise from Debian packages: the sounds of free games, sound themes and sample collections.

    python research/collect_debian_noise.py --output NOISE/debian 0ad-data megaglest-data supertuxkart-data
    python research/collect_debian_noise.py --output NOISE/debian ./some-game-data_1.0-1_all.deb
    python research/collect_debian_noise.py --output SPEECH/debian --leave-out beep --pause 0.2 PACKAGE  # speech

Packages are files, or names: these are downloaded by `apt-get download` into a temporary folder. Nothing is installed.
The script looks at all audio files in the packages and in zips within them. It keeps a file if the package's
machine-readable copyright file gives it the licence CC0, CC BY, CC BY-SA, public domain, or one such as MIT, BSD or
zlib, and if its path does not look like speech. Each sound is mixed to mono at 16 kHz, freed of silence at its ends and
brought to -28 dBFS RMS.

The sounds of a package are joined into files of at most two minutes: OUTPUT/short/PACKAGE_NN.flac, and OUTPUT/long/ for
sounds of 20 s and more, most of them music, of which at most the first minute is kept. manifest.csv says where each
sound lies, what it was called, and its licence. attribution_PACKAGE.txt is the package's copyright file, which names
the authors. Train on the folder beside other noise: run_training.py --noise NOISE --noise-weights debian/short=2.
"""

from __future__ import annotations

import argparse
import csv
import fnmatch
import hashlib
import importlib.util
import io
import logging
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dtln.errors import install_line

if TYPE_CHECKING:
    import numpy as np
    from debian.copyright import Copyright

AUDIO = (".wav", ".ogg", ".oga", ".opus", ".flac", ".mp3", ".aif", ".aiff", ".g722")
ARCHIVES = (".zip", ".pk3", ".wz")  # zips, all of them
# short names of licences, matched as a whole
LICENCES = r"cc0.*|cc-by(-sa)?(-\d.*)?|public-domain.*|pd|expat|mit.*|zlib.*|isc|bsd.*|apache.*"
# what is found in the paths of speech
SPEECH = r"voice|vocal|speech|song|taunt|singer|narrat|dialog|briefing|/lang|_ack\d|_select\d|/[a-z]{2}/[^/]*$"
LEVEL_DBFS = -28.0  # RMS of a sound
PEAK = 0.99  # a sound that would exceed it at LEVEL_DBFS is turned down
SHORTEST = 0.05  # s: shorter sounds are left out
LONG = 20.0  # s: sounds from here on are kept apart
LONGEST = 60.0  # s: longer sounds are cut
FILE_SECONDS = 120.0
QUIETEST = 1e-4  # sounds with a lower peak are left out
SILENCE_DB = -60.0  # relative to a sound's peak: what is below it at both ends is cut off


@dataclass
class Sound:
    """One audio file of a package: its path there, its licence, its samples, float32 (L,) at 16 kHz."""

    path: str
    licence: str
    samples: np.ndarray


class PackageError(ValueError):
    """A package that cannot be used; the message says why and what to do."""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", nargs="+", metavar="PACKAGE", help="name of a Debian package, or a .deb file")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="new or empty folder to write to")
    parser.add_argument(
        "--licences",
        type=_pattern,
        default=LICENCES,
        metavar="REGEX",
        help="keep sounds whose licence's short name matches this as a whole, in any case (default: %(default)s)",
    )
    parser.add_argument(
        "--leave-out",
        type=_pattern,
        default=SPEECH,
        metavar="REGEX",
        help="leave out sounds in whose paths this is found, in any case (default: %(default)s)",
    )
    parser.add_argument(
        "--pause",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="silence after each sound, to keep sentences apart (default: %(default)s)",
    )
    return parser.parse_args(argv)


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text}: is no regular expression ({error})") from error


def fetch(package: str, folder: Path) -> Path:
    """The .deb file of a package; one that is not a file is downloaded into `folder`. Raises PackageError."""
    if package.endswith(".deb"):
        if not Path(package).is_file():
            raise PackageError(f"{package}: there is no such file. Check the path, or give the name of a package.")
        return Path(package)
    try:
        subprocess.run(["apt-get", "download", package], cwd=folder, capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise PackageError(f"{package}: apt-get was not found. Give .deb files.") from error
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise PackageError(
            f"{package}: apt-get cannot download it ({reason[0]}). Run `apt-get update`, or leave it out."
        ) from error
    return next(folder.glob(f"{package}_*.deb"))


def contents(deb: Path) -> Iterator[tuple[str, bytes]]:
    """The audio files and the copyright file of a package: (path, content). Raises PackageError."""
    command = ["dpkg-deb", "--fsys-tarfile", str(deb)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
                for member in tar:
                    path = member.name.lstrip("./")
                    if not _is_wanted(path) or not (stream := tar.extractfile(member)):
                        continue
                    content = stream.read()
                    if path.lower().endswith(ARCHIVES):
                        yield from _zipped(path, content)
                    else:
                        yield path, content
        except tarfile.TarError as error:
            raise PackageError(f"{deb}: is no readable Debian package ({error}). Download it again.") from error


def _is_wanted(path: str) -> bool:
    return path.lower().endswith((*AUDIO, *ARCHIVES)) or bool(re.fullmatch(r"usr/share/doc/[^/]+/copyright", path))


def _zipped(path: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                if name.lower().endswith(AUDIO):
                    yield f"{path.rpartition('/')[0]}/{name}", archive.read(name)


def licence_of(copyright_file: Copyright) -> Callable[[str], str]:
    """A function that gives the short name of a file's licence for its path in the package, "" if it is not known.

    A copyright file names paths in the source; a package holds the paths where files are installed. So a pattern counts
    if it fits the end of the path. The last paragraph with such a pattern decides, as the format says for patterns that
    fit the whole path. If there is none, the paragraph for all files decides.
    Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
    """
    paragraphs = list(copyright_file.all_files_paragraphs())
    licences: list[Any] = [paragraph.license for paragraph in paragraphs]
    names = [licence.synopsis if licence else "" for licence in licences]
    ends = [_ends(paragraph.files) for paragraph in paragraphs]
    general = [name for name, paragraph in zip(names, paragraphs, strict=True) if "*" in paragraph.files]

    def find(path: str) -> str:
        return ([""] + general[:1] + [name for name, end in zip(names, ends, strict=True) if end.search(path)])[-1]

    return find


def _ends(patterns: Sequence[str]) -> re.Pattern[str]:
    """Finds the end of a path that fits one of the patterns, or a pattern without some of its leading folders."""
    tails = {pattern.split("/", i)[-1] for pattern in patterns for i in range(pattern.count("/") + 1)}
    return re.compile(
        "|".join(f"(?:^|/){fnmatch.translate(tail)}" for tail in sorted(tails) if tail.strip("*?")) or "$^"
    )


def is_allowed(licence: str, allowed: re.Pattern[str]) -> bool:
    """Whether one of the alternatives ("A or B") is allowed as a whole, that is each of its parts ("A and B")."""
    return any(
        all(allowed.fullmatch(part.strip()) for part in re.split(r"\band\b|,", choice))
        for choice in re.split(r"\bor\b", licence)
    )


def prepare(content: bytes, suffix: str) -> np.ndarray | None:
    """The samples (L,) of an audio file, float32, 16 kHz, mono, without silence at the ends; None if nothing is left.

    Raises AudioFileError for a file that cannot be decoded.
    """
    import numpy as np

    from dtln.audio import read_audio
    from dtln.facts import SAMPLE_RATE

    if _is_g722(suffix):
        samples = _decode_g722(content)
    else:
        with tempfile.NamedTemporaryFile(suffix=suffix) as file:
            file.write(content)
            file.flush()
            samples, _ = read_audio(file.name, SAMPLE_RATE, mono=True)
    if not samples.size:
        return None
    sounding = np.flatnonzero(np.abs(samples) > np.abs(samples).max() * 10 ** (SILENCE_DB / 20))
    if not sounding.size or sounding[-1] - sounding[0] < SHORTEST * SAMPLE_RATE:
        return None
    samples = samples[sounding[0] : sounding[-1] + 1][: round(LONGEST * SAMPLE_RATE)]
    samples = samples - samples.mean()
    if np.abs(samples).max() < QUIETEST:
        return None
    gain = min(10 ** (LEVEL_DBFS / 20) / np.sqrt(np.mean(np.square(samples))), PEAK / np.abs(samples).max())
    return (samples * gain).astype(np.float32)


def _is_g722(path: str) -> bool:
    return path.lower().endswith(".g722")


def _decode_g722(content: bytes) -> np.ndarray:
    """The samples (L,), float32, of raw G.722 at 64 kbit/s: by definition 16 kHz mono, without a header.

    libsndfile cannot read it.
    """
    import av
    import numpy as np

    with av.open(io.BytesIO(content), format="g722") as container:
        frames = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]  # int16
    return np.concatenate(frames or [np.zeros(0, np.int16)]).astype(np.float32) / np.float32(32768)


def sounds_of(deb: Path, licences: re.Pattern[str], leave_out: re.Pattern[str]) -> tuple[list[Sound], str, list[str]]:
    """(sounds of a package, sorted by path, without duplicates; its copyright file; messages about undecodable files).

    Raises PackageError for a package without a machine-readable copyright file.
    """
    from debian.copyright import Copyright, Error

    from dtln.errors import AudioFileError

    sounds: list[Sound] = []
    failures: list[str] = []
    seen: set[bytes] = set()
    audio: dict[str, bytes] = {}
    written = ""
    for path, content in contents(deb):
        if path.lower().endswith(AUDIO):
            if not leave_out.search(path) and (digest := hashlib.sha256(content).digest()) not in seen:
                seen.add(digest)
                audio[path] = content
        else:
            written = content.decode("utf-8", "replace")
    logging.getLogger("debian.copyright").setLevel(logging.ERROR)  # no warnings about older names of the format
    try:
        copyright_file = Copyright(io.StringIO(written), strict=False)
    except (Error, ValueError) as error:
        raise PackageError(
            f"{deb.name}: holds no machine-readable copyright file ({error}), so the licences of its sounds are "
            "unknown. Leave it out."
        ) from error
    find_licence = licence_of(copyright_file)
    audio = {path: content for path, content in audio.items() if is_allowed(find_licence(path), licences)}
    if not importlib.util.find_spec("av") and (undecodable := [path for path in audio if _is_g722(path)]):
        failures.append(
            f"{deb.name}: {len(undecodable)} files in G.722 are left out. Decoding them needs PyAV: pip install av"
        )
        audio = {path: content for path, content in audio.items() if not _is_g722(path)}
    for path, content in sorted(audio.items()):
        try:
            samples = prepare(content, Path(path).suffix.lower())
        except AudioFileError as error:
            failures.append(f"{deb.name}: {path}: {str(error).partition(': ')[2]}")  # without the temporary name
            continue
        if samples is not None:
            sounds.append(Sound(path, find_licence(path), samples))
    return sounds, written, failures


def write(sounds: Sequence[Sound], folder: Path, name: str, pause: float = 0.0) -> Iterator[tuple[Sound, Path, float]]:
    """Joins sounds, each with a pause (in s) after it, into files `folder`/NAME_NN.flac.

    Yields (sound, its file, its start there in s).
    """
    import numpy as np

    from dtln.audio import SampleFormat, write_audio
    from dtln.facts import SAMPLE_RATE

    def finish() -> None:
        folder.mkdir(exist_ok=True)
        samples = np.concatenate([part for sound in joined for part in (sound.samples, silence)])
        write_audio(file, samples, SAMPLE_RATE, SampleFormat("FLAC", "PCM_16"))

    silence = np.zeros(round(pause * SAMPLE_RATE), np.float32)
    joined: list[Sound] = []
    length = number = 0
    for sound in sounds:
        if joined and length + len(sound.samples) > FILE_SECONDS * SAMPLE_RATE:
            finish()
            joined, length, number = [], 0, number + 1
        file = folder / f"{name}_{number:02d}.flac"
        yield sound, file, length / SAMPLE_RATE
        joined.append(sound)
        length += len(sound.samples) + len(silence)
    if joined:
        finish()


def collect(args: argparse.Namespace) -> int:
    """Writes the folder; returns the exit status: 1 if a package, or a file in one, could not be used."""
    from dtln.facts import SAMPLE_RATE
    from dtln.files import complete_file

    rows, failures = [], []
    args.output.mkdir(parents=True, exist_ok=True)
    for package in args.packages:
        with tempfile.TemporaryDirectory() as folder:
            try:
                deb = fetch(package, Path(folder))
                sounds, written, undecoded = sounds_of(deb, args.licences, args.leave_out)
            except PackageError as error:
                failures.append(str(error))
                continue
        failures += undecoded
        name, version, *_ = deb.stem.split("_")
        long = [sound for sound in sounds if len(sound.samples) >= LONG * SAMPLE_RATE]
        short = [sound for sound in sounds if len(sound.samples) < LONG * SAMPLE_RATE]
        for part, chosen in (("short", short), ("long", long)):
            for sound, file, start in write(chosen, args.output / part, name, args.pause):
                place = [file.relative_to(args.output).as_posix(), f"{start:.3f}"]
                duration = f"{len(sound.samples) / SAMPLE_RATE:.3f}"
                rows.append([*place, duration, name, version, sound.path, sound.licence])
        if sounds:
            with complete_file(args.output / f"attribution_{name}.txt") as partial:
                partial.write_text(written, encoding="utf-8")
        minutes = [sum(len(sound.samples) for sound in part) / SAMPLE_RATE / 60 for part in (short, long)]
        counts = f"{len(short)} short sounds ({minutes[0]:.1f} min), {len(long)} long ({minutes[1]:.1f} min)"
        print(f"{name} {version}: {counts}", flush=True)
    with complete_file(args.output / "manifest.csv") as partial, open(partial, "w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["file", "start_s", "duration_s", "package", "version", "path", "licence"])
        table.writerows(rows)
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Collects what the arguments name; returns the exit status."""
    args = parse(argv)
    problem = None
    if args.output.exists() and (not args.output.is_dir() or any(args.output.iterdir())):
        problem = f"{args.output}: is no empty folder. Give a new one, or empty it"
    elif not 0.0 <= args.pause <= 10.0:
        problem = f"--pause {args.pause:g}: expected 0 to 10 s"
    elif not shutil.which("dpkg-deb"):
        problem = "dpkg-deb was not found. Run this on Debian, or on a system derived from it"
    elif not importlib.util.find_spec("debian"):
        problem = f"reading licences needs the package python-debian: {install_line('debian')}"
    if problem:
        print(f"collect_debian_noise.py: {problem}.", file=sys.stderr)
        return 2
    return collect(args)


if __name__ == "__main__":
    sys.exit(main())
