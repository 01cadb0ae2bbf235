"""Denoise a stream between two programs: raw samples on stdin, denoised ones on stdout.

    ffmpeg -i in.mp4 -f s16le -ac 1 -ar 48000 - | %(prog)s --rate 48000 | ffmpeg -f s16le -ar 48000 -ac 1 -i - out.wav
    arecord -t raw -f S16_LE -r 16000 -c 1 | %(prog)s | aplay -t raw -f S16_LE -r 16000 -c 1

The output is aligned with the input and equally long: what the delay holds back follows at the end of the input. What
there is to read is denoised and written at once, so a live stream is late by the network's delay alone. Nothing but
samples comes on stdout. Ctrl+C and SIGTERM end the stream as the end of the input does.
"""

from __future__ import annotations

import argparse
import os
import select
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dtln.commands.flags import (
    add_exports_arguments,
    add_kind_argument,
    add_level_argument,
    add_strength_arguments,
    positive,
)
from dtln.commands.run import failed
from dtln.errors import MissingPackageError, SettingsError
from dtln.facts import SAMPLE_RATE
from dtln.interrupts import held_interrupts, last_words

if TYPE_CHECKING:
    import numpy as np

    from dtln.streaming.engine import StreamingDenoiser

FORMATS = {"s16le": "<i2", "f32le": "<f4"}  # as ffmpeg calls them: as numpy does
HEADERS = {  # the first bytes of files, which no stream of samples begins with
    b"RIFF": "wav", b"RF64": "wav", b"FORM": "AIFF", b"fLaC": "FLAC", b"OggS": "Ogg"
}  # fmt: skip
MOST_BYTES = 1 << 16  # read at once: what a pipe of Linux holds


def parse(argv: Sequence[str] | None, prog: str = "dtln stream") -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rate", type=positive(int), default=SAMPLE_RATE, metavar="HZ", help="sampling rate (default: %(default)s)"
    )
    parser.add_argument("--output-rate", type=positive(int), metavar="HZ", help="of the output (default: --rate)")
    parser.add_argument(
        "--channels", type=positive(int), default=1, metavar="N",
        help="channels, whose samples alternate; each is denoised by itself (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--format", choices=FORMATS, default="s16le",
        help="s16le: 16-bit integers (default); f32le: 32-bit floats with full scale 1; both little-endian",
    )  # fmt: skip
    add_strength_arguments(parser)
    add_level_argument(parser)
    add_exports_arguments(parser)
    add_kind_argument(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None, prog: str = "dtln stream") -> int:
    args = parse(argv, prog)
    from dtln.streaming.backends import open_backend
    from dtln.streaming.engine import StreamingDenoiser

    try:
        require_pipes()
        denoiser = StreamingDenoiser(
            open_backend(args.backend, args.model_dir, args.threads),
            args.level,
            sample_rate=args.rate,
            output_rate=args.output_rate,
            channels=args.channels,
            strength=args.strength,
            attenuation_limit_db=args.attenuation_limit,
        )
    except (ValueError, FileNotFoundError, MissingPackageError) as error:
        return failed(prog, error)
    stream = RawStream(denoiser, args.format, args.channels)
    try:
        with last_words(lambda: f"{stream.frames / args.rate:.1f} s were denoised"):
            stream.run()
    except (SettingsError, OSError) as error:
        return failed(prog, error)
    for finding in stream.findings():
        print(f"{prog}: {finding}", file=sys.stderr)
    return 1 if stream.rest else 0


def require_pipes() -> None:
    """Raises SettingsError where stdin or stdout is closed or a terminal."""
    for stream, name, remedy in (
        (sys.stdin, "stdin", "send it samples: `ffmpeg -i in.mp4 -f s16le -ac 1 -ar 16000 - | dtln stream`"),
        (sys.stdout, "stdout", "send it on to a program or file: `dtln stream > denoised.raw`"),
    ):
        if stream is None or os.isatty(stream.fileno()):
            found = "closed" if stream is None else "a terminal"
            raise SettingsError(f"{name} is {found}. Expected a pipe or file; {remedy}.")


class RawStream:
    """Samples from stdin through a denoiser to stdout.

    frames: how many were read, of one sample for each channel. rest: bytes that were read and make no whole frame yet.
    """

    def __init__(self, denoiser: StreamingDenoiser, sample_format: str, channels: int) -> None:
        import numpy as np

        self.denoiser, self.format, self.channels = denoiser, sample_format, channels
        self.frames, self.rest = 0, b""
        self._type = np.dtype(FORMATS[sample_format])
        self._frame_bytes = channels * self._type.itemsize

    def run(self) -> None:
        """Denoises until the input ends or an interrupt comes, then writes what the denoiser holds back.

        Raises SettingsError for a file with a header, OSError for an input or output that fails.
        """
        try:
            while self._pass_on():
                pass
        except KeyboardInterrupt:
            self._end()
            raise
        self._end()

    def findings(self) -> Iterator[str]:
        """What is to be told of a stream that has ended."""
        if self.rest:
            yield (
                f"the input ended within a frame of {self._frame_bytes} bytes: its last {len(self.rest)} were left "
                f"out. Check --format {self.format} and --channels {self.channels}."
            )
        elif not self.frames:
            yield "the input was empty"
        if count := self.denoiser.silenced_blocks:
            yield f"{count} blocks held NaN, Inf or samples far beyond full scale: they became silence"

    def _pass_on(self) -> bool:
        """Waits for input, denoises and writes what there is of it; False at its end.

        Interrupts come while it waits, or after it has written: no sample is lost.
        """
        source = sys.stdin.fileno()
        if os.name == "posix":  # Windows waits in os.read
            select.select([source], [], [])
        with held_interrupts():
            with naming("stdin"):
                read = os.read(source, MOST_BYTES)
            if read:
                self._write(self.denoiser.process(self._samples(read)))
            return bool(read)

    def _end(self) -> None:
        with held_interrupts():
            self._write(self.denoiser.flush())

    def _samples(self, read: bytes) -> np.ndarray:
        """The whole frames of the rest and of what was read, (L,) or (L, channels)."""
        import numpy as np

        if not self.frames and read[:4] in HEADERS:
            raise SettingsError(
                f"the input begins as a {HEADERS[read[:4]]} file does. Expected samples without a header: make them "
                f"with `ffmpeg -i FILE -f {self.format} -ac {self.channels} -ar HZ -`, or denoise the file with "
                "`dtln enhance`."
            )
        data = self.rest + read
        whole = len(data) - len(data) % self._frame_bytes
        self.rest = data[whole:]
        samples = np.frombuffer(data[:whole], self._type)
        samples = samples.astype(self._type.newbyteorder("="), copy=False)  # that of this machine
        self.frames += whole // self._frame_bytes
        return samples if self.channels == 1 else samples.reshape(-1, self.channels)

    def _write(self, samples: np.ndarray) -> None:
        """Writes samples at once: nothing stays in a buffer of Python's, which an interrupt could leave there."""
        target = sys.stdout.fileno()
        data = memoryview(samples.astype(self._type, copy=False).tobytes())
        with naming("stdout"):
            while data:
                if os.name == "posix":  # the program that made a pipe may have made it one that does not wait
                    select.select([], [target], [])
                data = data[os.write(target, data) :]


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Gives the system's errors in the block a name, so that their messages have one."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, name) from error
