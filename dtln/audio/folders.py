"""Folders of recordings, and pairs of noisy and clean ones."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from pathlib import Path, PurePath

from dtln.errors import AudioFileError, require
from dtln.shards import Shard

CONTAINERS = {  # extension: libsndfile's name of the container, where that is not the extension itself
    ".8svx": "SVX",
    ".aif": "AIFF",
    ".aifc": "AIFF",
    ".bw64": "RF64",
    ".bwf": "WAV",
    ".iff": "SVX",
    ".mat": "MAT5",
    ".mp1": "MP3",
    ".mp2": "MP3",
    ".oga": "OGG",
    ".opus": "OGG",
    ".sf": "IRCAM",
    ".snd": "AU",
    ".sph": "NIST",
    ".wave": "WAV",
}
FILE_COST = 32000  # bytes, 1 s at 16 kHz and 16 bits: what a file adds to a shard beside its size
# fmt: off
MEDIA_EXTENSIONS = {  # of sound and videos that soundfile does not read
    ".3g2", ".3gp", ".aac", ".ac3", ".amr", ".ape", ".asf", ".avi", ".awb", ".dsf", ".eac3", ".f4v", ".flv", ".m2ts",
    ".m4a", ".m4b", ".m4v", ".mka", ".mkv", ".mov", ".mp4", ".mpc", ".mpeg", ".mpg", ".mts", ".ogm", ".ogv", ".qt",
    ".ra", ".rm", ".spx", ".tta", ".vob", ".webm", ".wma", ".wmv", ".wv",
}
# fmt: on
AMBIGUOUS_EXTENSIONS = {  # that other files than recordings have more often
    *(".8svx", ".avr", ".htk", ".iff", ".mat", ".mat4", ".mat5", ".mpc2k", ".nist", ".paf", ".pvf"),
    *(".sd2", ".sds", ".sf", ".snd", ".svx", ".voc", ".wve", ".xi"),
}


def audio_extensions() -> dict[str, str]:
    """File name extensions that soundfile reads, in lower case and with their dot, and the container of each."""
    soundfile = require("soundfile", "reading recordings")
    found = {f".{name.lower()}": name for name in soundfile.available_formats()} | CONTAINERS
    del found[".raw"]  # raw samples say neither rate nor format
    return found


def find_recordings(path: str | Path, unlisted: Callable[[Path, str], object] | None = None) -> tuple[Path, list[Path]]:
    """The recordings that a path stands for: (folder below which they lie, files), for one recording or a folder.

    unlisted: as in `find_audio_files`. Raises as it does; whether a single file is a recording is found out where it
    is read.
    """
    path = Path(path)
    return (path.parent, [path]) if path.is_file() else (path, find_audio_files(path, unlisted))


def find_audio_files(folder: str | Path, unlisted: Callable[[Path, str], object] | None = None) -> list[Path]:
    """All audio files below a folder, sorted by path, but for hidden ones and those in hidden folders.

    Each folder is listed once, by its own path if it has one below `folder`, else by that of a link to it; a link to a
    folder that holds the one it lies in adds nothing. Links to files are listed, those that lead nowhere, too.
    unlisted: takes each sub-folder that cannot be listed, and the reason in words with its path. Raises AudioFileError
    if the folder is missing, if it holds no audio files, or, without `unlisted`, if a folder in it cannot be listed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise AudioFileError(f"{folder}: expected a folder of audio files, found {found}. Check the path.")
    extensions = audio_extensions().keys() | MEDIA_EXTENSIONS
    files: list[Path] = []
    visited: set[str] = set()
    failed = False
    waiting = deque([(folder, [os.path.realpath(folder)])])  # folders, and what the links on the way led to
    while waiting:
        path, origins = waiting.popleft()
        links = []
        for root, folders, names in _walk(path, visited):
            if isinstance(names, OSError):
                reason = f"{root}: cannot be listed ({names.strerror}). Check its permissions."
                if unlisted is None or root == folder:
                    raise AudioFileError(reason) from names
                unlisted(root, reason)
                failed = True
                continue
            files += [root / name for name in names if Path(name).suffix.lower() in extensions]
            links += [root / name for name in folders]
        for link in links:
            real = os.path.realpath(link)
            if not any(Path(origin).is_relative_to(real) for origin in origins):
                waiting.append((link, [*origins, real]))
    if not files and not failed:
        raise AudioFileError(
            f"{folder}: holds no audio files. Expected files ending in .wav, .flac, .ogg or another extension of "
            "sound or videos, in it or in its sub-folders."
        )
    return sorted(files)


def of_shard(shard: Shard | None, folder: Path, paths: Iterable[Path]) -> list[Path]:
    """Those of the paths below a folder that belong to a shard, in their order; None: all of them.

    It depends on names and sizes alone. Sizes stand for durations: to read a header takes 30 times as long as to ask
    for a size, and every shard would read the headers of all. Recordings whose outputs may want the same name, a.m4a,
    a.webm and a.m4a.wav, are in one shard. What is not there has no size, and belongs to one shard as well.
    """
    paths = list(paths)
    if shard is None:
        return paths
    extensions = audio_extensions().keys() | MEDIA_EXTENSIONS
    names = [_without_extensions(path.relative_to(folder).as_posix(), extensions) for path in paths]
    sizes: dict[str, float] = {}
    for path, name in zip(paths, names, strict=True):
        try:
            size = os.stat(path).st_size
        except OSError:
            size = 0
        sizes[name] = sizes.get(name, 0.0) + size + FILE_COST
    mine = shard.of(sizes)
    return [path for path, name in zip(paths, names, strict=True) if name in mine]


def _without_extensions(name: str, extensions: Set[str]) -> str:
    """A name without all the extensions of recordings at its end."""
    while True:
        stem, _, extension = name.rpartition(".")
        if not stem or f".{extension.lower()}" not in extensions:
            return name
        name = stem


def _walk(top: Path, visited: set[str]) -> Iterator[tuple[Path, list[str], list[str] | OSError]]:
    """(folder, its links to folders, its other files) of a folder and of all below it but hidden ones, without links.

    Instead of files there is the error where a folder cannot be listed. visited: real paths of folders to leave out;
    takes those that come.
    """
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        real = os.path.realpath(folder)
        if real in visited:
            continue
        visited.add(real)
        links, files = [], []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if not _is_folder(entry):
                        files.append(entry.name)
                    elif entry.is_symlink():
                        links.append(entry.name)
                    else:
                        waiting.append(folder / entry.name)
        except OSError as error:
            yield folder, [], error
            continue
        yield folder, sorted(links), files


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or leads to one; links that lead in a circle do not."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def pair_files(
    noisy_names: Sequence[str],
    clean_names: Sequence[str],
    noisy_dir: str | Path = "",
    clean_dir: str | Path = "",
    all_clean: bool = False,
) -> list[tuple[str, str]]:
    """The clean partner of each noisy file, in the order of the noisy names: [(noisy name, clean name), ...].

    Names are paths below the two folders, which only the messages need. Partners are files of the same name, whatever
    the extension; among the others, files with the same `fileid_N`, because the DNS-Challenge set names its pairs
    `..._snr5_tl-25_fileid_12.wav` and `clean_fileid_12.wav` (https://github.com/microsoft/DNS-Challenge).
    all_clean: a clean file without a noisy one is an error, too. Raises AudioFileError, with the file's name, where a
    file has no partner or several, or where an id occurs twice on one side.
    """
    clean_by_stem: dict[str, list[str]] = {}
    for name in clean_names:
        clean_by_stem.setdefault(stem_of(name), []).append(name)
    partners: dict[str, str] = {}
    for name in noisy_names:
        equal = clean_by_stem.get(stem_of(name), [])
        if len(equal) > 1:
            raise AudioFileError(
                f"{Path(noisy_dir, name)}: has {len(equal)} partners, {Path(clean_dir, equal[0])} and "
                f"{Path(clean_dir, equal[1])} among them. Expected one; remove the others."
            )
        if equal:
            partners[name] = equal[0]
    taken = set(partners.values())
    noisy_by_id = _names_by_fileid((n for n in noisy_names if n not in partners), Path(noisy_dir))
    clean_by_id = _names_by_fileid((n for n in clean_names if n not in taken), Path(clean_dir), set(noisy_by_id))
    partners |= {noisy: clean_by_id[fileid] for fileid, noisy in noisy_by_id.items() if fileid in clean_by_id}
    alone = [(n, noisy_dir, clean_dir) for n in noisy_names if n not in partners]
    if all_clean and not alone:
        taken = set(partners.values())
        alone = [(n, clean_dir, noisy_dir) for n in clean_names if n not in taken]
    if alone:
        name, here, there = min(alone)
        raise AudioFileError(
            f"{Path(here, name)}: has no partner in {there or 'the other folder'} ({len(alone)} such files). Expected "
            "equally named noisy and clean files, or one noisy and one clean file for each fileid_N; add the partner "
            "or remove the file."
        )
    return [(name, partners[name]) for name in noisy_names]


def stem_of(name: str) -> str:
    """A name but for its extension, and for how letters with marks are put together: a Mac may take them apart."""
    return unicodedata.normalize("NFC", PurePath(name).with_suffix("").as_posix())


def fileid_of(name: str) -> int | None:
    """The N of `fileid_N` in the name of a file, as the DNS-Challenge set has it, or None; of several the last one."""
    ids = re.findall(r"fileid_(\d+)", PurePath(name).stem)
    return int(ids[-1]) if ids else None


def _names_by_fileid(names: Iterable[str], folder: Path, wanted: set[int] | None = None) -> dict[int, str]:
    """The name that carries each `fileid_N`.

    wanted: only these ids. Raises AudioFileError for an id that occurs twice.
    """
    found: dict[int, str] = {}
    for name in names:
        fileid = fileid_of(name)
        if fileid is None or (wanted is not None and fileid not in wanted):
            continue
        other = found.setdefault(fileid, name)
        if other != name:
            raise AudioFileError(
                f"{folder / name}: has the same fileid as {folder / other}. Expected fileid_{fileid} once in the "
                "folder; remove or rename one, or give the sub-folders one by one."
            )
    return found
