"""Files that are written complete or not at all, and folders that come with the toolkit."""

from __future__ import annotations

import os
import re
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where a file that is open cannot be deleted anyway
    fcntl = None  # type: ignore[assignment]

__all__ = ["abandon_files", "complete_file", "included_folder", "marked_folder", "sweep_partials"]

PARTIAL_NAME = re.compile(r"\..*\.partial\.[a-z0-9_]{8}(\.[^.]*)?", re.DOTALL)
STEM_BYTES, SUFFIX_BYTES = 80, 80  # of a partial's name, which may have 255 as the final one

_begun: set[Path] = set()  # the partials of this process
_swept: set[Path] = set()
_changing_names = threading.Lock()


def included_folder(name: str) -> Path:
    """A folder that comes with the toolkit: inside the installed package, or beside it in a clone."""
    package = Path(__file__).resolve().parent
    installed = package / name
    return installed if installed.is_dir() else package.parent / name


@contextmanager
def complete_file(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, with the same suffix, for the block to write to.

    When the block ends without an error, the file takes its final name; after an error it is deleted. What a program
    that was killed left in the folder is deleted, too. Raises OSError where the folder cannot be written to.
    """
    path = Path(path)
    if path.parent not in _swept:
        sweep_partials(path.parent)
    partial, lock = _new_partial(path)
    try:
        yield partial
        umask = os.umask(0)
        os.umask(umask)
        with _changing_names:
            partial.chmod(0o666 & ~umask)  # mkstemp makes files private
            os.replace(partial, path)
            _begun.discard(partial)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not partial.exists():
            raise OSError(f"{path}: was deleted while it was written, or its folder was. Try again.") from error
        if error.filename == str(partial):  # the name that the user knows
            error.filename = str(path)
        raise
    finally:
        _begun.discard(partial)
        partial.unlink(missing_ok=True)
        if lock is not None:
            os.close(lock)


@contextmanager
def marked_folder(folder: Path) -> Iterator[Path]:
    """Yields an empty hidden file in a folder, by which other machines tell that they see the same one.

    It is deleted when the block ends, or as a partial. Raises OSError where the folder cannot be written to.
    """
    mark, lock = _new_partial(folder / "mark")
    try:
        yield mark
    finally:
        _begun.discard(mark)
        mark.unlink(missing_ok=True)
        if lock is not None:
            os.close(lock)


def _new_partial(path: Path) -> tuple[Path, int | None]:
    """An empty partial for a file, and the descriptor that holds its lock; None where files cannot be locked."""

    def cut(text: str, most: int) -> str:
        return os.fsencode(text)[:most].decode("utf-8", "ignore")  # a name that every library can open

    while True:
        with _changing_names:
            start, suffix = f".{cut(path.stem, STEM_BYTES)}.partial.", cut(path.suffix, SUFFIX_BYTES)
            try:
                handle, name = tempfile.mkstemp(suffix, start, path.parent)
            except OSError as error:
                error.filename = str(path.parent)
                raise
            _begun.add(partial := Path(name))
        if fcntl is None:
            os.close(handle)
            return partial, None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another program is just deleting it
            pass
        except OSError:  # a file system without locks, where nobody can sweep either
            return partial, handle
        if _is_at(handle, partial):
            return partial, handle
        _begun.discard(partial)
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    """Whether a path leads to the open file."""
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    except FileNotFoundError:
        return False


def sweep_partials(folder: Path) -> None:
    """Deletes the partials in a folder that nobody writes any more, because their program was killed."""
    _swept.add(folder)
    with suppress(OSError):  # a folder that does not exist yet, or cannot be listed
        for name in os.listdir(folder):
            if PARTIAL_NAME.fullmatch(name):
                with suppress(OSError):
                    _sweep(folder / name)


def _sweep(partial: Path) -> None:
    """Deletes a partial unless somebody holds its lock. Raises OSError where it cannot be opened, locked or deleted."""
    if not stat.S_ISREG(os.lstat(partial).st_mode):
        return
    if fcntl is None:
        partial.unlink()
        return
    handle = os.open(partial, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(handle, partial):
            partial.unlink()
    finally:
        os.close(handle)


def abandon_files() -> None:
    """Deletes the partials of this process, and lets no thread give one its name any more: the program ends now."""
    _changing_names.acquire(timeout=0.2)  # for good
    for partial in tuple(_begun):
        with suppress(OSError):
            partial.unlink(missing_ok=True)
