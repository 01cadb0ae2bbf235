"""Files that appear under their name only when they are complete."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def complete_file(path: str | Path) -> Iterator[Path]:
    """Gives a temporary path beside `path`, with the same suffix; the file written there takes the final name when the
    block ends without an error, and is removed otherwise: a partial file never appears under its final name."""
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
