"""Denoise the microphone in real time and play the result: microphone -> DTLN -> loudspeaker, until Ctrl+C.

    %(prog)s --list-devices
    %(prog)s -i "USB" -o 5 --latency 0.1
    %(prog)s --backend onnx -m my_export --duration 60

Wear headphones: a loudspeaker near the microphone feeds back. The network adds 32 ms, the devices add their --latency.
The report at the end counts overflows and underflows and gives the time per block. This needs numpy, sounddevice and
the runtime of the chosen model, nothing else.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence

from dtln.commands.flags import add_exports_arguments, add_kind_argument, add_level_argument, positive
from dtln.commands.run import failed
from dtln.errors import AudioDeviceError, MissingPackageError, ModelError
from dtln.formats import default_kind

ENDS_ITSELF = True  # with a report


def parse(argv: Sequence[str] | None, prog: str = "real_time_dtln_audio.py") -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-l", "--list-devices", action="store_true", help="show the sound devices and exit")
    parser.add_argument("-i", "--input-device", metavar="DEVICE", help="microphone: index or part of its name")
    parser.add_argument("-o", "--output-device", metavar="DEVICE", help="loudspeaker: index or part of its name")
    parser.add_argument(
        "--latency", type=positive(float), default=0.2, metavar="SECONDS",
        help="buffer of each device; raise it if the report counts underflows (default: %(default)s)",
    )  # fmt: skip
    add_exports_arguments(parser)
    add_level_argument(parser)
    add_kind_argument(parser)
    parser.add_argument(
        "--duration", type=positive(float), metavar="SECONDS", help="end after this time (default: at Ctrl+C)"
    )
    parser.add_argument(
        "--bypass", action="store_true", help="play the microphone itself with the model's delay, for comparison"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None, prog: str = "real_time_dtln_audio.py") -> int:
    args = parse(argv, prog)
    from dtln.live.callback import LiveDenoiser, PassThrough
    from dtln.live.devices import import_sounddevice, open_devices
    from dtln.live.session import noted_signals, play
    from dtln.streaming.backends import open_backend

    try:
        sounddevice = import_sounddevice()
        if args.list_devices:
            print(sounddevice.query_devices() or "no sound devices were found")
            return 0
        with noted_signals() as noted:
            devices = open_devices(sounddevice, args.input_device, args.output_device)
            kind = args.backend or default_kind(args.model_dir)
            backend = open_backend(kind, args.model_dir, args.threads)
            live = LiveDenoiser(PassThrough(backend)) if args.bypass else LiveDenoiser(backend, args.level)
            print(f"{backend.runtime}, {kind}{', bypassed' if args.bypass else ''}")
            try:
                play(sounddevice, devices, live, args.latency, args.duration, noted)
            finally:
                print(live.report(), flush=True)
    except (AudioDeviceError, MissingPackageError, ModelError, OSError) as error:
        return failed(prog, error)
    if live.error is not None:
        traceback.print_exception(live.error)
        print(f"{prog}: a block could not be denoised, see above", file=sys.stderr)
        return 1
    return 0
