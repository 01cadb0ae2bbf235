"""Where the samples of a file lie where libsndfile would not find them all, and a view of just these bytes."""

from __future__ import annotations

import bisect
import io
import itertools
import re
from dataclasses import dataclass
from typing import BinaryIO

__all__ = ["Extent", "Part", "Spliced", "after_id3", "is_end_matter", "read_at"]

Part = tuple["bytes | tuple[int, int]", ...]  # new bytes, and (start, end) of bytes of the file, in their order

LONGEST_PADDING = 1 << 16  # zeros behind the samples that count as padding: more of them are digital silence
FARTHEST = 1 << 43  # bytes: file systems refuse to go further


@dataclass(frozen=True)
class Extent:
    """What the header announces against what lies there.

    fault: what is wrong with the file, as the end of a sentence about it; None for a complete one.
    parts: the files to read, one after the other, to have all samples; None: the file as it is.
    announced: samples per channel that the header announces, where they are known without decoding; share: what it
    announces divided by what is there, where that is known instead.
    there: samples per channel that are there at least.
    raw: of which order of bytes the parts are samples without a header; None: they have one.
    """

    fault: str | None = None
    parts: tuple[Part, ...] | None = None
    announced: int | None = None
    share: float | None = None
    there: int = 0
    raw: str | None = None


class Spliced(io.RawIOBase):
    """A file that is read as if it consisted of the pieces of a part."""

    def __init__(self, file: BinaryIO, part: Part) -> None:
        self._file = file
        self._pieces = [piece for piece in part if not isinstance(piece, tuple) or piece[1] > piece[0]]
        lengths = [piece[1] - piece[0] if isinstance(piece, tuple) else len(piece) for piece in self._pieces]
        self._starts = [0, *itertools.accumulate(lengths)]
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._starts[-1]}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer) -> int:
        view, done = memoryview(buffer).cast("B"), 0
        while done < len(view) and self._position < self._starts[-1]:
            index = bisect.bisect_right(self._starts, self._position) - 1
            piece, inside = self._pieces[index], self._position - self._starts[index]
            wanted = min(len(view) - done, self._starts[index + 1] - self._position)
            if isinstance(piece, tuple):
                self._file.seek(piece[0] + inside)
                found = self._file.read(wanted)
            else:
                found = piece[inside : inside + wanted]
            if not found:  # the file has become shorter
                break
            view[done : done + len(found)] = found
            done += len(found)
            self._position += len(found)
        return done


def read_at(file: BinaryIO, position: int, count: int) -> bytes:
    """Bytes from a position on; fewer at the end, none where a damaged header leads beyond it."""
    if position >= FARTHEST:
        return b""
    file.seek(position)
    return file.read(count)


def after_id3(file: BinaryIO, position: int) -> int:
    """Where the file goes on behind the ID3v2 tag at a position, if one is there."""
    tag = read_at(file, position, 10)
    if not tag.startswith(b"ID3") or len(tag) < 10:
        return position
    footer = 10 if tag[5] & 0x10 else 0
    return position + 10 + sum(byte << 7 * (3 - i) for i, byte in enumerate(tag[6:])) + footer


def is_end_matter(file: BinaryIO, position: int, end: int) -> bool:
    """Whether the bytes from a position to the end are tags of music players, or a short padding with zeros."""
    while position < end:
        start = read_at(file, position, LONGEST_PADDING + 1)[: end - position]
        zeros = len(start) - len(start.lstrip(b"\0"))
        if start.startswith(b"TAG"):
            position += 227 if start.startswith(b"TAG+") else 128
        elif start.startswith(b"ID3") and len(start) > 10:
            position = after_id3(file, position)
        elif start.startswith(b"APETAGEX") and len(start) >= 32:
            is_header = start[23] & 0x20
            position += 32 + (int.from_bytes(start[12:16], "little") if is_header else 0)
        elif start.startswith(b"LYRICSBEGIN"):
            found = re.search(rb"LYRICSEND|LYRICS200", start)
            position = position + found.end() if found else end
        elif 0 < zeros <= LONGEST_PADDING:
            position += zeros
        else:
            return False
    return True
