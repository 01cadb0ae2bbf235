"""How much sound lies in streams (FLAC, Ogg, MPEG audio), whose headers may announce less, more or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from dtln.audio.extent import Extent, Part, after_id3, is_end_matter, read_at

__all__ = ["flac_extent", "mpeg_extent", "ogg_extent"]

SEARCH_BLOCK = 1 << 20  # bytes


# ----------------------------------------------------------------------------------------------------------------------
# FLAC (RFC 9639)
# ----------------------------------------------------------------------------------------------------------------------

FLAC_START = b"fLaC\0\0\0\x22"  # the marker and the header of STREAMINFO
FLAC_INFO_END = 42  # bytes, where STREAMINFO ends
LONGEST_FLAC_FRAME = 1 << 17  # bytes, where STREAMINFO does not say it
LONGEST_TAG = 1 << 12  # behind the last frame
FLAC_BLOCKS = {1: 192, **{i: 576 << i - 2 for i in range(2, 6)}, **{i: 256 << i - 8 for i in range(8, 16)}}


def flac_extent(file: BinaryIO, end: int) -> Extent | None:
    """The extent of a FLAC file; None where there is nothing to say, and for other containers.

    STREAMINFO may leave the number of samples open; the header of each frame says where it lies, and the two check sums
    tell frames from other bytes.
    """
    begin = after_id3(file, 0)
    if read_at(file, begin, len(FLAC_START)) != FLAC_START or end < begin + FLAC_INFO_END:
        return None
    others = _occurrences(file, FLAC_START, begin + len(FLAC_START), end)
    starts = [begin, *(start for start in others if start + FLAC_INFO_END <= end)]
    if len(starts) > 1:
        parts = tuple(_flac_part(file, *bounds)[0] for bounds in zip(starts, [*starts[1:], end], strict=True))
        words = f"holds {len(parts)} streams joined end to end: {end - starts[1]} bytes follow the first"
        return Extent(words, parts)
    part, announced, there, complete = _flac_part(file, begin, end)
    if not announced:
        fault = None if complete else "is truncated: its header leaves the length open, and its last frame is not whole"
        return Extent(fault, (part,))
    if not complete or there == announced:  # decoding tells where it breaks
        return None
    if there < announced:
        words = f"is truncated: the header announces {announced} samples per channel, {there} are there"
        return Extent(words, (part,), announced=announced)
    words = f"goes on behind its announced end: the header announces {announced} samples per channel, {there} are there"
    return Extent(words, (part,), announced=announced)


def _flac_part(file: BinaryIO, begin: int, end: int) -> tuple[Part, int, int, bool]:
    """A stream with a header that announces all its samples; how many it announces; what `_flac_samples` says."""
    info = read_at(file, begin + 8, 34)
    announced = int.from_bytes(info[13:18], "big") & (1 << 36) - 1
    there, complete = _flac_samples(file, info, begin, end)
    length = (info[13] & 0xF0) << 32 | (there if complete or not announced else announced)
    return ((begin, begin + 21), length.to_bytes(5, "big"), (begin + 26, end)), announced, there, complete


def _flac_samples(file: BinaryIO, info: bytes, begin: int, end: int) -> tuple[int, bool]:
    """Where the last frame of a stream ends, in samples, and True; where it begins, and False, if it is not whole."""
    longest = int.from_bytes(info[7:10], "big") or LONGEST_FLAC_FRAME
    start = max(begin, end - longest - LONGEST_TAG)
    tail = read_at(file, start, end - start)
    tails = [tail, tail.rstrip(b"\0"), tail[:-128] if tail[-128:].startswith(b"TAG") else tail]
    if (tag := tail.rfind(b"APETAGEX")) >= 0:
        tails.append(tail[:tag])
    began = 0
    for content in dict.fromkeys(tails):
        position = len(content)
        while (position := content.rfind(b"\xff", 0, position)) >= max(0, len(content) - longest):
            header = _flac_header(content[position : position + 16], info)
            if header and _crc(content[position:], 0x8005, 16) == 0:
                return sum(header), True
            if header:
                began = max(began, header[0])
    return began, False


def _flac_header(header: bytes, info: bytes) -> tuple[int, int] | None:
    """(first sample, samples) of the frame that begins with these bytes; None where none does."""
    if len(header) < 6 or header[1] & 0xFC != 0xF8 or header[1] & 2 or header[3] & 1:
        return None
    count = 8 - (header[4] ^ 0xFF).bit_length()  # leading ones: the bytes of a number that is coded as in UTF-8
    count = max(1, count)
    number = header[4] & (0x7F >> (count if count > 1 else 0))
    for byte in header[5 : 4 + count]:
        number = number << 6 | byte & 0x3F
    position, code = 4 + count, header[2] >> 4
    extra = {6: 1, 7: 2}.get(code, 0)
    block = int.from_bytes(header[position : position + extra], "big") + 1 if extra else FLAC_BLOCKS.get(code, 0)
    position += extra + {12: 1, 13: 2, 14: 2}.get(header[2] & 15, 0)
    if not block or position >= len(header) or _crc(header[: position + 1], 0x07, 8):
        return None
    return (number if header[1] & 1 else number * int.from_bytes(info[:2], "big")), block


def _crc(content: bytes, polynomial: int, width: int) -> int:
    """The check sum of bytes, 0 where it stands behind them."""
    table = CRC_TABLES[polynomial]
    remainder, mask = 0, (1 << width) - 1
    for byte in content:
        remainder = (remainder << 8 & mask) ^ table[remainder >> width - 8 ^ byte]
    return remainder


def _crc_table(polynomial: int, width: int) -> list[int]:
    table = []
    for byte in range(256):
        remainder = byte << width - 8
        for _ in range(8):
            remainder = remainder << 1 ^ (polynomial | 1 << width if remainder >> width - 1 else 0)
        table.append(remainder)
    return table


CRC_TABLES = {0x07: _crc_table(0x07, 8), 0x8005: _crc_table(0x8005, 16)}


def _occurrences(file: BinaryIO, wanted: bytes, position: int, end: int) -> Iterator[int]:
    """Where these bytes stand in a file, from a position on."""
    while position < end:
        block = read_at(file, position, SEARCH_BLOCK + len(wanted) - 1)
        found = block.find(wanted)
        while 0 <= found < SEARCH_BLOCK:
            yield position + found
            found = block.find(wanted, found + 1)
        position += SEARCH_BLOCK


# ----------------------------------------------------------------------------------------------------------------------
# Ogg (RFC 3533)
# ----------------------------------------------------------------------------------------------------------------------


def ogg_extent(file: BinaryIO, end: int) -> Extent | None:
    """The extent of an Ogg file, by a walk over its pages; None for a sound one, and for other containers."""
    position, links, heads = 0, [0], True
    numbers: dict[bytes, int] = {}
    if read_at(file, 0, 4) != b"OggS":
        return None
    while position < end:
        page = read_at(file, position, 27 + 255)
        if page[:4] != b"OggS" or len(page) < 27:
            if is_end_matter(file, position, end):
                break
            if page[:4] != b"OggS"[: len(page)]:
                return Extent(f"is damaged: no page begins at byte {position}, where one was expected")
        size = 27 + page[26] + sum(page[27 : 27 + page[26]]) if len(page) > 26 else 27
        if position + size > end or len(page) < min(27 + 255, 27 + page[26]):
            return Extent(f"is truncated: its last page announces {size} bytes, {end - position} are there")
        serial, number, first = page[14:18], int.from_bytes(page[18:22], "little"), bool(page[5] & 2)
        if first and not heads:  # further recordings begin
            links.append(position)
            numbers.clear()
        elif not first and number > numbers.get(serial, number) + 1:
            lost = number - numbers[serial] - 1
            return Extent(f"is damaged: {lost} page{'s' * (lost > 1)} before byte {position} are missing")
        heads, numbers[serial] = first, number
        position += size
    if len(links) == 1:
        return None
    parts: tuple[Part, ...] = tuple((bounds,) for bounds in zip(links, [*links[1:], end], strict=True))
    words = f"holds {len(parts)} recordings joined end to end: {end - links[1]} bytes follow the first"
    return Extent(words, parts)


# ----------------------------------------------------------------------------------------------------------------------
# MPEG audio (ISO 11172-3, 2.4.2.3, and ISO 13818-3)
# ----------------------------------------------------------------------------------------------------------------------

FEW_FRAMES = 3  # by so many, other bytes are taken for frames by chance
MPEG_DECODER_DELAY = 529  # samples, of layer III
MPEG_RATES = (44100, 48000, 32000)  # Hz; MPEG 2 halves them, MPEG 2.5 quarters them
# Kilobits by (MPEG 1, layer); the header of a frame holds an index into one of these.
LOW_KILOBITS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
MPEG_KILOBITS = {
    (True, 1): tuple(range(32, 449, 32)),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): LOW_KILOBITS,
    (False, 3): LOW_KILOBITS,
}


@dataclass(frozen=True)
class MpegFrame:
    """What the header of a frame says: bytes of the frame, samples per channel, offset of an Xing header in it."""

    size: int
    samples: int
    side: int
    layer: int
    rate: int


def mpeg_extent(file: BinaryIO, begin: int, end: int) -> Extent | None:
    """The extent of an MPEG stream between two offsets; None where there is nothing to say, and for other containers.

    libsndfile takes the length from the header of LAME (Xing, Info) in the first frame. Where none is, or one of
    Fraunhofer (VBRI), it estimates it from the size of the file; with a header that counts the frames it reads all.
    """
    start = after_id3(file, begin)
    frame = _mpeg_frame(read_at(file, start, 4))
    if frame is None:
        return None
    told, size, by_lame = _told(read_at(file, start, frame.size), frame)
    if by_lame and size and (start + size >= end or is_end_matter(file, start + size, end)):
        return None
    part, found, others = _mpeg_frames(file, start, end, frame)
    if others > FEW_FRAMES:
        words = f"holds {others} frames of another rate or layer than its first, and {found} like it"
        return Extent(words, (part,))
    if frame.layer != 3:
        return Extent(there=found * frame.samples)
    if told and not by_lame and found < told:
        words = f"is truncated: the header announces {told} frames, {found} are there"
        return Extent(words, (part,), share=told / found if found else None)
    if told is None or found <= told + 1:
        return Extent(parts=(part,)) if found and not by_lame else None
    words = f"goes on behind its announced end: the header announces {told} frames, {found} are there"
    return Extent(words, (part,), share=told / found)


def _told(head: bytes, frame: MpegFrame) -> tuple[int | None, int, bool]:
    """How many frames and bytes a first frame says to follow, and whether it is one of LAME.

    None and 0 where it does not say it.
    """
    lame, fraunhofer = head[frame.side : frame.side + 16], head[36:54]
    if lame[:4] in (b"Xing", b"Info") and len(lame) == 16:
        numbers = [int.from_bytes(lame[i : i + 4], "big") for i in (8, 12)]
        flags = lame[7]
        frames = numbers.pop(0) if flags & 1 else None
        return frames, numbers[0] if flags & 2 else 0, True
    if fraunhofer[:4] == b"VBRI" and len(fraunhofer) == 18:
        return int.from_bytes(fraunhofer[14:], "big"), int.from_bytes(fraunhofer[10:14], "big"), False
    return None, 0, False


def _mpeg_frame(header: bytes) -> MpegFrame | None:
    """What these four bytes say; None where they head no frame."""
    bits = int.from_bytes(header, "big")
    version, layer, bit_rate, rate = bits >> 19 & 3, 4 - (bits >> 17 & 3), bits >> 12 & 15, bits >> 10 & 3
    if len(header) < 4 or bits >> 21 != 0x7FF or layer == 4 or version == 1 or bit_rate in (0, 15) or rate == 3:
        return None
    first = version == 3
    sample_rate = MPEG_RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]
    samples = {1: 384, 2: 1152, 3: 1152 if first else 576}[layer]
    slot = 4 if layer == 1 else 1
    size = samples // 8 * 1000 * MPEG_KILOBITS[first, layer][bit_rate - 1] // sample_rate // slot * slot
    mono = bits >> 6 & 3 == 3
    side = 4 + ((17 if mono else 32) if first else (9 if mono else 17))
    return MpegFrame(size + (bits >> 9 & 1) * slot, samples, side, layer, sample_rate)


def _mpeg_frames(file: BinaryIO, position: int, end: int, like: MpegFrame) -> tuple[Part, int, int]:
    """All frames between two offsets behind a header that counts them, how many they are, and how many unlike them.

    Headers of LAME and Fraunhofer do not count, nor does what lies between frames.
    """
    ranges: list[tuple[int, int]] = []
    count = others = 0
    first = read_at(file, position, 4)
    while position < end:
        head = read_at(file, position, 64)
        frame = _mpeg_frame(head[:4])
        if head.startswith(b"ID3"):
            position = after_id3(file, position)
        elif frame is None or position + frame.size > end:
            position = _next_mpeg_frame(file, position + 1, end)
        elif (frame.rate, frame.layer) != (like.rate, like.layer):
            others += 1
            position += frame.size
        else:
            if _told(head, frame) == (None, 0, False):
                count += 1
                if ranges and ranges[-1][1] == position:
                    ranges[-1] = (ranges[-1][0], position + frame.size)
                else:
                    ranges.append((position, position + frame.size))
            position += frame.size
    return (_counting_frames(first, count), *ranges), count, others


def _next_mpeg_frame(file: BinaryIO, position: int, end: int) -> int:
    """Where the next two frames in a row begin, at a position or behind it; the end where none do."""
    while position < end:
        block = read_at(file, position, SEARCH_BLOCK)
        found = block.find(b"\xff")
        while found >= 0:
            frame = _mpeg_frame(block[found : found + 4])
            if frame:
                following = _mpeg_frame(read_at(file, position + found + frame.size, 4))
                if following and (following.rate, following.layer) == (frame.rate, frame.layer):
                    return position + found
            found = block.find(b"\xff", found + 1)
        position += max(1, len(block) - 3)
    return end


def _counting_frames(header: bytes, frames: int) -> bytes:
    """Two frames like one with this header: the first says how many frames follow, the second holds silence.

    Behind a header of LAME, decoders leave out what encoder and decoder delay: just the silence here.
    """
    loud = bytes([header[0], header[1] | 1, header[2] & 0x0D | 0x90, header[3]])  # no check sum, room enough
    frame = _mpeg_frame(loud)
    assert frame
    counted = b"Info" + (1).to_bytes(4, "big") + (frames + 1).to_bytes(4, "big")
    delay = max(0, frame.samples - MPEG_DECODER_DELAY) << 12  # layer I has shorter frames
    content = loud + bytes(frame.side - 4) + counted + b"LAME3.100" + bytes(12) + delay.to_bytes(3, "big")
    return content + bytes(frame.size - len(content)) + loud + bytes(frame.size - 4)
