"""How much sound lies in files made of chunks (wav, RF64, Wave64, AIFF, IFF, CAF) and in AU files.

libsndfile silently shortens most truncated files, and believes most headers that announce too little.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO, Literal

from dtln.audio.extent import Extent, Part, is_end_matter, read_at

__all__ = ["au_extent", "chunk_extent"]

MOST_CHUNKS = 10000  # that are looked at: more are no chunks
UNKNOWN = -1  # the size of samples that were written into a pipe
W64_GUID = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # the end of the identity of each chunk
KNOWN_CHUNKS = frozenset(  # behind the samples, where one may be cut off although these are whole
    b"LIST,id3 ,ID3 ,bext,iXML,cue ,smpl,inst,plst,fact,PEAK,JUNK,FLLR,PAD ,_PMX,XMP ,axml,chna,cart,aXML,DISP,acid,"
    b"afsp,levl,minf,elm1,regn,umid,strc,NAME,AUTH,ANNO,(c) ,MARK,COMT,INST,MIDI,AESD,APPL,CHAN,uuid,info,strg,pakt,"
    b"kuki,free,mark".split(b",")
)
MPEG_TAGS = (0x50, 0x55)  # of `fmt `: MPEG layers I and II, layer III


@dataclass(frozen=True)
class Layout:
    """How a container writes its chunks.

    order: of bytes. first: offset of the first chunk. identity, size: bytes of these two fields. align: chunks begin at
    multiples of it. data: the chunk of the samples. lead: bytes in it before them. inclusive: sizes count the header.
    """

    order: Literal["little", "big"] = "little"
    first: int = 12
    identity: int = 4
    size: int = 4
    align: int = 2
    data: bytes = b"data"
    lead: int = 0
    inclusive: bool = False

    @property
    def header(self) -> int:
        return self.identity + self.size


W64 = Layout(first=40, identity=16, size=8, align=8, data=b"data" + W64_GUID, inclusive=True)
LAYOUTS = {  # by the first bytes and those from 8 to 12
    b"RIFFWAVE": Layout(),
    b"RIFXWAVE": Layout("big"),
    b"RF64WAVE": Layout(),
    b"BW64WAVE": Layout(),
    b"FORMAIFF": Layout("big", data=b"SSND", lead=8),
    b"FORMAIFC": Layout("big", data=b"SSND", lead=8),
    b"FORM8SVX": Layout("big", data=b"BODY"),
    b"FORM16SV": Layout("big", data=b"BODY"),
    b"riff\xa5\xd6\x28\xdb": W64,
    b"caffdesc": Layout("big", first=8, size=8, align=1, data=b"data", lead=4),
}
MAGICS = {magic[:4] for magic in LAYOUTS}


@dataclass(frozen=True)
class Samples:
    """The chunk of the samples: where its size stands, where the samples begin, how many bytes it announces.

    announced: UNKNOWN for a stream. tag: the codec of a wav.
    """

    field: slice
    start: int
    announced: int
    tag: int


def chunk_extent(file: BinaryIO, begin: int, end: int) -> Extent | tuple[int, int] | None:
    """The extent of the file that lies from `begin` to `end`; None for other containers.

    (start, end) of the samples where a wav holds an MPEG stream, whose extent is to be asked for.
    """
    magic = read_at(file, begin, 12)
    layout = LAYOUTS.get(magic[:4] + magic[8:])
    if layout is None:
        return None
    samples = _samples(file, layout, begin, end)
    if samples is None:
        return Extent("is truncated: the header breaks off before the samples begin")
    present, announced = end - samples.start, samples.announced
    whole, raw = _resized(magic[:4], layout, samples, begin, end)
    if announced > present:
        words = f"is truncated: the header announces {announced} bytes of samples, {max(0, present)} are there"
        return Extent(words, (whole,), share=announced / present, raw=raw) if present > 0 else Extent(words)
    if samples.tag in MPEG_TAGS:
        return samples.start, end if announced == UNKNOWN else samples.start + announced
    if announced == UNKNOWN:
        return Extent(parts=(whole,), raw=raw)
    behind = _behind(file, layout, begin, samples.start + announced, end)
    if behind is None:
        return Extent(parts=((b"RF64", (begin + 4, end)),)) if magic[:4] == b"BW64" else None
    if announced == 0:
        words = f"was never closed: its header announces no samples, {present} bytes of them follow"
        return Extent(words, (whole,), announced=0, raw=raw)
    if read_at(file, behind, 4) in MAGICS:
        following = chunk_extent(file, behind, end)
        parts: tuple[Part, ...] = following.parts if isinstance(following, Extent) and following.parts else ()
        parts = (((begin, behind),), *(parts or (((behind, end),),)))
        words = f"holds {len(parts)} recordings joined end to end: {end - behind} bytes follow the first"
        return Extent(words, parts)
    words = f"goes on behind its announced end: the header announces {announced} bytes of samples, {present} are there"
    return Extent(words, (whole,), share=announced / present, raw=raw)


def au_extent(file: BinaryIO, end: int) -> Extent | None:
    """The extent of a file of Sun or NeXT, whose samples go on to its end; None for other containers."""
    header = read_at(file, 0, 24)
    order: Literal["little", "big"] | None = {b".snd": "big", b"dns.": "little"}.get(header[:4])  # type: ignore[assignment]
    if order is None or len(header) < 24:
        return None
    start, announced = int.from_bytes(header[4:8], order), int.from_bytes(header[8:12], order)
    present = end - start
    if announced >= 0x7FFFF000 or not 24 <= start <= end:
        return None
    if announced > present:
        words = f"is truncated: the header announces {announced} bytes of samples, {present} are there"
        return Extent(words, share=announced / present if present else None)
    if end - start - announced < 4 or is_end_matter(file, start + announced, end):
        return None
    whole = ((0, 8), b"\xff" * 4, (12, end))
    if announced == 0:
        words = f"was never closed: its header announces no samples, {present} bytes of them follow"
        return Extent(words, (whole,), announced=0)
    words = f"goes on behind its announced end: the header announces {announced} bytes of samples, {present} are there"
    return Extent(words, (whole,), share=announced / present)


def _chunk(file: BinaryIO, layout: Layout, position: int, end: int) -> tuple[bytes, int, int] | None:
    """(identity, offset of the contents, their size) of the chunk at a position; None where no header fits."""
    header = read_at(file, position, min(layout.header, max(0, end - position)))
    if len(header) < layout.header:
        return None
    size = int.from_bytes(header[layout.identity :], layout.order)
    return header[: layout.identity], position + layout.header, size - layout.inclusive * layout.header


def _samples(file: BinaryIO, layout: Layout, begin: int, end: int) -> Samples | None:
    """The first chunk of samples; None where there is none.

    A program that writes into a pipe cannot go back to the header. As the size of the samples of a wav, ffmpeg leaves
    0xFFFFFFFF there, sox 0x7FFFF000, arecord 0x80000000; of an AIFF, ffmpeg leaves 0; of a Wave64, 2 ** 63 - 1.
    """
    position, tag, long = begin + layout.first, 0, None
    for _ in range(MOST_CHUNKS):
        found = _chunk(file, layout, position, end)
        if found is None or found[2] < 0:
            return None
        identity, body, size = found
        if identity == b"ds64":
            long = slice(body + 8, body + 16)
        elif identity[:4] == b"fmt ":
            tag = int.from_bytes(read_at(file, body, 2), layout.order)
        elif identity == layout.data:
            field, start, announced = slice(body - layout.size, body), body + layout.lead, size - layout.lead
            if long and size == 0xFFFFFFFF:
                field, announced = long, int.from_bytes(read_at(file, long.start, 8), layout.order)
            elif layout.size == 8:
                announced = UNKNOWN if announced >= 1 << 62 else announced
            elif announced >= 0xFFFFF000 or 0x7FFFF000 <= announced <= 0x80000000:
                closed = announced < end - start and _behind(file, layout, begin, start + announced, end) is None
                announced = announced if closed else UNKNOWN
            return Samples(field, start, announced if announced >= 0 else UNKNOWN, tag)
        position = _aligned(layout, begin, body + size)
    return None


def _aligned(layout: Layout, begin: int, position: int) -> int:
    return position + -(position - begin) % layout.align


def _behind(file: BinaryIO, layout: Layout, begin: int, position: int, end: int) -> int | None:
    """Where something begins behind the samples that is neither a chunk nor a tag nor padding; None where all is."""
    first = position
    for _ in range(MOST_CHUNKS):
        candidates = dict.fromkeys((_aligned(layout, begin, position), position))  # some programs do not pad
        for candidate in candidates:
            found = _chunk(file, layout, candidate, end)
            if found is None or is_end_matter(file, candidate, end):
                return None
            identity, body, size = found
            if identity == layout.data or identity[:4] in MAGICS:
                return candidate if identity != layout.data else first
            if identity in KNOWN_CHUNKS or (_is_identity(identity) and 0 <= size <= end - body):
                position = body + size
                break
        else:
            return first
    return first


def _is_identity(identity: bytes) -> bool:
    """Whether a chunk could be named so."""
    if len(identity) == 16:
        return identity[4:] == W64_GUID
    return identity.isascii() and identity.decode("ascii").isprintable()


def _resized(magic: bytes, layout: Layout, samples: Samples, begin: int, end: int) -> tuple[Part, str | None]:
    """The file with a header that announces all bytes from its samples on; the order of bytes where it has none."""
    present, field = end - samples.start, samples.field
    width = field.stop - field.start
    size = present + layout.lead + layout.inclusive * layout.header
    if magic == b"RIFF" and size >= 0x7FFFF000:
        sizes = struct.pack("<4sIQQQI", b"ds64", 28, end - begin + 28, present, 0, 0)
        head = b"RF64\xff\xff\xff\xffWAVE" + sizes
        return (head, (begin + 12, field.start), b"\xff" * 4, (samples.start, end)), None
    if width == 4 and size >= 0x7FFFF000:
        return ((samples.start, end),), layout.order
    name = b"RF64" if magic == b"BW64" else magic
    return (name, (begin + 4, field.start), size.to_bytes(width, layout.order), (field.stop, end)), None
