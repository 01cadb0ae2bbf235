"""Runs under the emulator, without the packages that tests use: prints a line of JSON for each thing it did.

    emulated.py imports
    emulated.py denoise EXPORTS NOISY TARGET
    emulated.py stream NOISY TARGET RATE OUTPUT_RATE CHANNELS TYPE
    emulated.py live NOISY TARGET

`imports` loads what the live path loads. `denoise` runs every kind of export that has a runtime here on the float32
samples in NOISY, given in odd pieces, and writes TARGET/KIND.f32. `stream` runs the default one on samples of a TYPE of
numpy at other rates, and writes the file TARGET. `live` plays them to a live session on simulated devices.
"""

import json
import platform
import sys
import time
from pathlib import Path

CUTS = (1, 2, 100, 229, 357, 358, 1000, 4444, 10000)  # no multiples of a shift


def imports():
    start = time.monotonic()
    import soxr

    import dtln.commands.live  # noqa: F401
    from dtln.live.devices import import_sounddevice
    from dtln.streaming import StreamingDenoiser, open_backend

    sounddevice = import_sounddevice()
    seconds = time.monotonic() - start
    StreamingDenoiser(open_backend("tflite-stream"))
    (peak,) = (line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    yield {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "portaudio": sounddevice.get_portaudio_version()[1],
        "devices": len(sounddevice.query_devices()),
        "resampled": len(soxr.resample([0.0] * 480, 48000, 16000)),
        "import_s": round(seconds, 2),
        "peak_mib": int(peak) // 1024,
        "packages": sorted({name.split(".")[0] for name in sys.modules}),
    }


def denoise(exports, noisy, target):
    import numpy as np

    from dtln.formats import EXPORT_KINDS
    from dtln.streaming import StreamingDenoiser, open_backend

    samples = np.fromfile(noisy, np.float32)
    for name in [kind.name for kind in EXPORT_KINDS.values() if kind.installed_runtime()]:
        if any(not path.exists() for path in EXPORT_KINDS[name].paths(exports)):
            continue
        denoiser = StreamingDenoiser(open_backend(name, exports))
        start = time.monotonic()
        pieces = [denoiser.process(piece) for piece in np.split(samples, CUTS)]
        silenced = denoiser.silenced_blocks
        np.concatenate([*pieces, denoiser.flush()]).tofile(Path(target) / f"{name}.f32")
        ms = 1e3 * (time.monotonic() - start) / (len(samples) / denoiser.block_shift)
        yield {"kind": name, "runtime": denoiser.backend.runtime, "ms_per_block": round(ms, 1), "silenced": silenced}


def stream(noisy, target, rate, output_rate, channels, dtype):
    import numpy as np

    from dtln.streaming import StreamingDenoiser

    samples = np.fromfile(noisy, dtype).reshape(-1, int(channels))
    with StreamingDenoiser(sample_rate=int(rate), output_rate=int(output_rate), channels=int(channels)) as denoiser:
        pieces = [denoiser.process(piece) for piece in np.split(samples, CUTS)]
        np.concatenate([*pieces, denoiser.flush()]).tofile(target)
        yield {"silenced": denoiser.silenced_blocks, "latency_s": denoiser.latency.seconds}


def live(noisy, target):
    import numpy as np

    np.save(target, live_session(np.fromfile(noisy, np.float32)))
    yield {}


def live_session(samples):
    """What is played in 1.5 s by a live session whose microphone hears the samples, (L,)."""
    import numpy as np
    from simulated_devices import Devices

    from dtln.streaming import StreamingDenoiser, open_backend

    devices = Devices(
        lambda moments: samples[np.rint(16000 * moments).astype(int) % len(samples)],
        rates=(48000, 44100), ppm=200, backend=open_backend("tflite-stream"),
        make=lambda backend: StreamingDenoiser(backend, sample_rate=48000, output_rate=44100),
    )  # fmt: skip
    return devices.run(1.5)


if __name__ == "__main__":
    task, *arguments = sys.argv[1:]
    for found in {"imports": imports, "denoise": denoise, "stream": stream, "live": live}[task](*arguments):
        print(json.dumps(found), flush=True)
