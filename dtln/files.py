"""Files that are written complete or not at all, and folders that come with the toolkit."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["complete_file", "included_folder"]


def included_folder(name: str) -> Path:
    """A folder that comes with the toolkit: inside the installed package, or beside it in a clone."""
    package = Path(__file__).resolve().parent
    installed = package / name
    return installed if installed.is_dir() else package.parent / name


@contextmanager
def complete_file(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, with the same suffix, for the block to write to.

    When the block ends without an error, the file takes its final name; after an error it is deleted.
    Raises OSError where the folder cannot be written to.
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem[:80]}.partial.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        umask = os.umask(0)
        os.umask(umask)
        partial.chmod(0o666 & ~umask)  # mkstemp makes files private
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
