"""Whether a file holds all that its header announces: libsndfile silently shortens most truncated files."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

from dtln.errors import AudioFileError


def require_complete(path: Path, container: str, log: str) -> None:
    """Raises AudioFileError where a file has fewer bytes than it announces.

    container: by libsndfile's name. log: what libsndfile noted while it read the header.
    """
    if container in ("WAV", "WAVEX"):
        shortage = _riff_shortage(path)
    elif container == "OGG":
        shortage = _ogg_shortage(path)
    else:
        shortage = _logged_shortage(log)
    if shortage:
        raise AudioFileError(f"{path}: is truncated: {shortage}. Copy or convert it again from its source.")


def mp3_length(path: Path) -> int | None:
    """Samples per channel of an MP3 that does not tell them, for which libsndfile only estimates them from its size.

    None for an MP3 that does tell them, in a header of LAME (Xing, Info) or Fraunhofer (VBRI) within its first frame.
    Counts the frames (ISO 11172-3, 2.4.2.3, and ISO 13818-3) up to the first bytes that are no frame.
    """
    with open(path, "rb") as file:
        tag = file.read(10)
        position = sum(byte << 7 * (3 - i) for i, byte in enumerate(tag[6:])) + 10 if tag.startswith(b"ID3") else 0
        file.seek(position)
        if re.search(b"Xing|Info|VBRI", file.read(256)):
            return None
        length = 0
        while True:
            file.seek(position)
            header = int.from_bytes(file.read(4), "big")
            version, layer, padding = header >> 19 & 3, header >> 17 & 3, header >> 9 & 1
            bit_rate, rate = header >> 12 & 15, header >> 10 & 3
            if header >> 21 != 0x7FF or layer != 1 or version == 1 or bit_rate in (0, 15) or rate == 3:
                return length
            samples, kilobits = (1152, MPEG_1_KILOBITS) if version == 3 else (576, MPEG_2_KILOBITS)
            sample_rate = MPEG_RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]
            position += samples // 8 * 1000 * kilobits[bit_rate - 1] // sample_rate + padding
            length += samples


# The header of a frame holds an index into one of these. MPEG 2 halves the rates, MPEG 2.5 quarters them.
MPEG_1_KILOBITS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
MPEG_2_KILOBITS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
MPEG_RATES = (44100, 48000, 32000)  # Hz


def _riff_shortage(path: Path) -> str | None:
    """What a RIFF wav lacks, in words; None if it is complete, or a stream of unknown length.

    A program that writes into a pipe cannot go back to the header. As the size of the samples ffmpeg leaves 0xFFFFFFFF
    there, sox 0x7FFFF000, arecord 0x80000000.
    """
    size_of_file = os.path.getsize(path)
    with open(path, "rb") as file:
        orders: dict[bytes, Literal["little", "big"]] = {b"RIFF": "little", b"RIFX": "big"}
        order = orders.get(file.read(4))
        if order is None:
            return None
        file.seek(12)
        while len(header := file.read(8)) == 8:
            size = int.from_bytes(header[4:], order)
            if header[:4] != b"data":
                file.seek(size + size % 2, os.SEEK_CUR)
                continue
            present = size_of_file - file.tell()
            if size == 0 and present:
                following = file.read(8)
                fits = len(following) == 8 and int.from_bytes(following[4:], order) <= present - 8
                if not (fits and following[:4].isascii() and following[:4].decode("ascii").isprintable()):
                    return f"the file was never closed: its header announces no samples, {present} bytes of them follow"
            streamed = size >= 0xFFFFF000 or 0x7FFFF000 <= size <= 0x80000000
            if size > present and not streamed:
                return f"the header announces {size} bytes of samples, {present} are there"
            return None
        return "the header breaks off before the samples begin"


def _ogg_shortage(path: Path) -> str | None:
    """What an Ogg file lacks, in words: its last page must not reach beyond its end (RFC 3533, section 6)."""
    longest_page = 27 + 255 + 255 * 255  # bytes: header, segment table, segments
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - longest_page))
        tail = file.read()
    page = tail[tail.rfind(b"OggS") :]
    size = 27 + page[26] + sum(page[27 : 27 + page[26]]) if len(page) > 26 else 27
    if len(page) < size or len(page) < 27 + page[26]:
        return f"its last page announces {size} bytes, {len(page)} are there"
    return None


def _logged_shortage(log: str) -> str | None:
    """What a file lacks, in words, by libsndfile's log of its header."""
    for line in log.splitlines():
        sizes = re.search(r": (\d+) \(should be (\d+)\)", line)
        if sizes and int(sizes[2]) < int(sizes[1]) < 0x7FFFF000:  # from there on: a stream of unknown length
            return f"the header announces {sizes[1]} bytes, {sizes[2]} are there"
        frames = re.search(r"frame count (\d+) does not match value from 'ds64' chunk of (\d+)", line)
        if frames and int(frames[1]) < int(frames[2]):
            return f"the header announces {frames[2]} samples per channel, {frames[1]} are there"
    return None
