"""Denoise the microphone in real time and play the result: microphone -> DTLN -> loudspeaker, until Ctrl+C.

    %(prog)s --list-devices
    %(prog)s -i "USB" -o 5 --latency 0.1
    %(prog)s --virtual-microphone
    %(prog)s --measure 60 --json live.json

Wear headphones: a loudspeaker near the microphone feeds back. The network adds 32 ms, resampling 28 ms for devices that
do not take 16 kHz, and the devices their buffers. Keys while it runs: b bypass, + and - strength, m mute, q quit. The
report at the end counts what was lost and gives the time per block. This needs numpy, sounddevice, soxr and the runtime
of the chosen model, nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal

from dtln.commands.flags import (
    add_exports_arguments,
    add_kind_argument,
    add_level_argument,
    add_strength_arguments,
    positive,
)
from dtln.commands.run import failed
from dtln.errors import AudioDeviceError, MissingPackageError, ModelError, SettingsError, require_place
from dtln.formats import default_kind

if TYPE_CHECKING:
    from dtln.live.counters import Snapshot

ENDS_ITSELF = True  # with a report
SWITCH_SECONDS = 0.001  # after which a thread of ours makes way for one of sound


def parse(argv: Sequence[str] | None, prog: str = "real_time_dtln_audio.py") -> argparse.Namespace:
    from dtln.live.devices import parse_latency

    parser = argparse.ArgumentParser(prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    devices = parser.add_argument_group("devices")
    devices.add_argument("-l", "--list-devices", action="store_true", help="show the sound devices and exit")
    devices.add_argument("-i", "--input-device", metavar="DEVICE", help="microphone: index or part of its name")
    devices.add_argument("-o", "--output-device", metavar="DEVICE", help="loudspeaker: index or part of its name")
    devices.add_argument(
        "--input-channel", type=_channel, metavar="N",
        help="channel of the microphone to denoise, from 1, or 'mix', the mean of all (default: mono, which on a bare "
        "stereo card is channel 1; the mean where a device has no mono)",
    )  # fmt: skip
    devices.add_argument(
        "--rate", type=positive(int), metavar="HZ",
        help="rate of both devices (default: 16000 where the device takes it, else its own)",
    )  # fmt: skip
    devices.add_argument(
        "--latency", type=parse_latency, default=0.2, metavar="SECONDS",
        help="buffer of each device, or 'low' or 'high' for what the device suggests; raise it if xruns are counted "
        "(default: %(default)s)",
    )  # fmt: skip
    devices.add_argument(
        "--reconnect", action=argparse.BooleanOptionalAction, default=False,
        help="wait for devices that are not there or get lost, and go on with them (default: end; in a service: wait)",
    )  # fmt: skip
    devices.add_argument(
        "--virtual-microphone", action="store_true",
        help="play into a microphone that other programs can choose, on PulseAudio and PipeWire; removed at the end",
    )  # fmt: skip
    sound = parser.add_argument_group("sound")
    add_exports_arguments(sound)
    add_kind_argument(sound)
    add_level_argument(sound)
    add_strength_arguments(sound)
    sound.add_argument(
        "--bypass",
        action="store_true",
        help="begin with the microphone itself, as late as it will be; key b changes it",
    )
    session = parser.add_argument_group("session")
    session.add_argument(
        "--duration", type=positive(float), metavar="SECONDS", help="end after this time (default: at Ctrl+C)"
    )
    session.add_argument(
        "--measure", type=positive(float), metavar="SECONDS",
        help="like --duration, and first look for a way from the output back into the input, a cable say, to measure "
        "the true delay",
    )  # fmt: skip
    session.add_argument("--json", type=Path, metavar="FILE", help="write the report, second by second, as JSON")
    session.add_argument(
        "--record", metavar="PREFIX", help="write PREFIX_input.wav and PREFIX_output.wav, mono, 16 bit"
    )
    session.add_argument("--quiet", action="store_true", help="print only what goes wrong, and no report")
    session.add_argument(
        "--install-service", action="store_true",
        help="write a systemd user service that runs this command with the other flags given, say how to start it, "
        "and exit",
    )  # fmt: skip
    return parser.parse_args(argv)


def _channel(text: str) -> int | Literal["mix"]:
    if text == "mix":
        return "mix"
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a channel from 1, or mix")
    return number


_channel.__name__ = "channel"


def main(argv: Sequence[str] | None = None, prog: str = "real_time_dtln_audio.py") -> int:
    args = parse(argv, prog)
    try:
        if args.json:
            require_place(args.json)
        if args.install_service:
            if args.record:
                raise SettingsError(
                    "--record never overwrites a file, so a service that has it could start only once. Leave it out."
                )
            from dtln.live.service import install_service

            print("\n".join(install_service(sys.argv[1:] if argv is None else argv)))
            return 0
        from dtln.live.devices import hanging_seconds, import_sounddevice, list_devices
        from dtln.live.native import quiet_native_lines

        with quiet_native_lines() as native:
            try:
                sounddevice = import_sounddevice()
                if args.list_devices:
                    print(list_devices(sounddevice))
                    return 0
                _run(sounddevice, args)
            finally:
                native.stays = hanging_seconds() > 0  # it may write as long as the program lives
    except (AudioDeviceError, MissingPackageError, ModelError, SettingsError, OSError) as error:
        return failed(prog, error)
    except RuntimeError as error:  # BrokenBlock, which is heavy to import here
        if error.__cause__ is None:
            raise
        traceback.print_exception(error.__cause__)
        print(f"{prog}: a block could not be denoised, see above", file=sys.stderr)
        return 1
    return 0


def _run(sounddevice: ModuleType, args: argparse.Namespace) -> None:
    """Runs a session, and reports."""
    from dtln.audio.signal_path import chosen_strength
    from dtln.live.controls import Controls
    from dtln.live.counters import Counters
    from dtln.live.keys import Keys, apply_key
    from dtln.live.pipeline import Pipeline
    from dtln.live.recorder import Recorder
    from dtln.live.report import Series, report_json, report_text, write_report
    from dtln.live.session import Session, Wishes, noted_signals
    from dtln.live.status import StatusDisplay
    from dtln.streaming.backends import Backend, open_backend
    from dtln.streaming.engine import StreamingDenoiser

    controls = Controls(bypass=args.bypass, strength=chosen_strength(args.strength, args.attenuation_limit))
    counters = Counters()
    recorder: Recorder | None = None
    first = counters.snapshot()
    series = Series(first)
    sys.setswitchinterval(SWITCH_SECONDS)

    with contextlib.ExitStack() as opened:
        stream = sys.stdout or opened.enter_context(open(os.devnull, "w"))  # none where it is closed
        display = StatusDisplay(stream, controls, args.quiet, service="JOURNAL_STREAM" in os.environ)
        keys = opened.enter_context(Keys())
        noted = opened.enter_context(noted_signals())
        kind = args.backend or default_kind(args.model_dir)
        backend = open_backend(kind, args.model_dir, args.threads)
        microphone = None
        if args.virtual_microphone:
            from dtln.live.virtual_microphone import virtual_microphone

            microphone = opened.enter_context(virtual_microphone())
            microphone.check_device(sounddevice)
            args.output_device = microphone.device
            if not args.quiet:
                display.event(microphone.describe())

        def make_pipeline(input_rate: int, output_rate: int, latency: float, loop_delay: float | None) -> Pipeline:
            nonlocal recorder
            if args.record and recorder is None:
                recorder = opened.enter_context(Recorder(args.record, input_rate, 1, output_rate, 1))
            elif recorder is not None:
                recorder.change(input_rate, 1, output_rate, 1)

            def make(backend: Backend) -> StreamingDenoiser:
                return StreamingDenoiser(backend, args.level, sample_rate=input_rate, output_rate=output_rate)

            channel = None if args.input_channel in (None, "mix") else args.input_channel - 1
            return Pipeline(
                backend, make, input_rate, output_rate, controls, counters,
                channel=channel, recording=recorder, loop_delay=loop_delay, latency=latency,
            )  # fmt: skip

        def poll() -> None:
            while key := keys.read():
                if told := apply_key(key, controls):
                    display.event(told)
            while recorder is not None and (event := recorder.pop_event()):
                display.event(event)

        def tick(snapshot: Snapshot) -> None:
            if args.json:
                series.add(snapshot)
            display.tick(snapshot)

        wishes = Wishes(
            input_device=args.input_device,
            output_device=args.output_device,
            channel=args.input_channel,
            rate=args.rate,
            latency=args.latency,
            duration=args.measure or args.duration,
            reconnect=args.reconnect,
            measure_loop=args.measure is not None,
        )
        session = Session(
            sounddevice, wishes, make_pipeline, controls, counters,
            started=display.started, tick=tick, event=display.event, poll=poll,
            before_opening=microphone.restore if microphone is not None else lambda: None,
        )  # fmt: skip
        try:
            session.run(noted)
        finally:
            last = counters.snapshot()
            display.ended(last)
            if recorder is not None:
                recorder.close()
                poll()
            if last.input_rate:  # else no devices were ever open
                display.report(report_text(first, last, session.loop_delay))
                if recorder is not None:
                    display.report(recorder.describe())
            if args.json:
                input_device, output_device = map(str, session.devices or ("none", "none"))
                settings = {
                    "model": kind, "runtime": backend.runtime, "latency": args.latency, "level": args.level,
                    "strength": controls.strength, "input_device": input_device, "output_device": output_device,
                }  # fmt: skip
                write_report(args.json, report_json(first, last, series, session.loop_delay, **settings))
