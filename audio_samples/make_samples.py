"""Rebuild the noisy and clean samples of this folder from three Debian packages (sources and licences: README.md).

    apt-get download pocketsphinx-testdata minetest-data openttd-opensfx
    for package in *.deb; do dpkg -x "$package" unpacked; done
    python audio_samples/make_samples.py unpacked

Run it in an environment that this toolkit is installed in. Nothing is random: the same packages give the same samples.
"""

from __future__ import annotations

import argparse
import io
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
SPEECH = "usr/share/pocketsphinx/test/data"
READER = "librivox/sense_and_sensibility_01_austen_64kb-{}.wav"
FIELD = "usr/share/games/minetest/games/minetest_game/mods"
EFFECTS = "usr/share/games/openttd/baseset/opensfx/opensfx.cat"

LEVEL_DBFS = -25.0  # of the mixture
FADE = 0.2  # seconds that two pieces of noise overlap when a noise is shorter than the speech


@dataclass(frozen=True)
class Sample:
    """One pair: where speech and noise come from, their SNR, and the rate it is written at.

    noise: for each channel the recordings that are joined; a file below FIELD, or the number of an effect in EFFECTS.
    faded: seconds left out at either end of each noise recording, where it is faded in and out.
    """

    name: str
    speech: str
    noise: tuple[tuple[str | int, ...], ...]
    snr_db: float
    faded: float = 0.0
    sample_rate: int = 16000


WATER = [f"env_sounds/sounds/env_sounds_water.{number}.ogg" for number in (1, 2, 3, 4)]
SAMPLES = (
    Sample("reader_water_5dB.wav", READER.format("0870"), ((WATER[0], WATER[1]),), 5, faded=0.9),
    Sample("reader_furnace_0dB.wav", READER.format("0890"), (("default/sounds/default_furnace_active.ogg",),), 0),
    Sample("reader_jackhammer_5dB.wav", READER.format("0920"), ((33,),), 5, faded=0.15),
    Sample("numbers_bus_10dB.wav", "numbers.raw", ((25,),), 10, faded=0.3),
    Sample("cards_applause_0dB.wav", "cards/005.wav", ((29,),), 0),
    Sample(
        "any_format/reader_water_10dB.flac",
        READER.format("0930"),
        ((WATER[2],), (WATER[3],)),
        10,
        faded=0.9,
        sample_rate=44100,
    ),
)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("unpacked", type=Path, help="folder that the three packages were unpacked to")
    args = parser.parse_args(argv)
    import numpy as np

    from dtln.audio.headers import SampleFormat
    from dtln.audio.writing import write_audio
    from dtln.mixing.mixer import mix

    for sample in SAMPLES:
        speech = read_speech(args.unpacked, sample)  # (L,)
        channels = [
            joined([read_noise(args.unpacked, source, sample) for source in sources], len(speech), sample)
            for sources in sample.noise
        ]
        noise = np.stack(channels, axis=1)  # (L, channels)
        noisy, clean = mix(np.repeat(speech[:, None], len(channels), axis=1), noise, sample.snr_db, LEVEL_DBFS)
        container = "FLAC" if sample.name.endswith(".flac") else "WAV"
        for folder, signal in (("noisy", noisy), ("clean", clean)):
            path = HERE / folder / sample.name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_audio(path, signal, sample.sample_rate, SampleFormat(container, "PCM_16"))
        print(f"{sample.name}: {len(speech) / sample.sample_rate:.1f} s, {sample.snr_db:g} dB")
    return 0


def read_speech(unpacked: Path, sample: Sample):
    """Clean speech (L,) at the sample's rate, without the offset that some of the recordings have."""
    import numpy as np

    from dtln.audio.reading import read_audio
    from dtln.audio.resampling import resample
    from dtln.facts import SAMPLE_RATE

    path = unpacked / SPEECH / sample.speech
    if path.suffix == ".raw":  # headerless 16-bit samples at 16 kHz
        speech = resample(np.fromfile(path, "<i2") / np.float32(32768), SAMPLE_RATE, sample.sample_rate)
    else:
        speech, _ = read_audio(path, sample.sample_rate, mono=True)
    return speech - speech.mean()


def read_noise(unpacked: Path, source: str | int, sample: Sample):
    """One noise (L,) at the sample's rate, without its faded ends.

    The catalogue of effects starts with a table of (offset, length); at each offset stand the length of a name, the
    name and a wav.
    """
    import numpy as np
    import soundfile

    from dtln.audio.reading import read_audio
    from dtln.audio.resampling import resample

    if isinstance(source, str):
        noise, _ = read_audio(unpacked / FIELD / source, sample.sample_rate, mono=True)
    else:
        catalogue = (unpacked / EFFECTS).read_bytes()
        offset, length = np.frombuffer(catalogue, "<u4", count=2, offset=8 * source).tolist()
        name = offset & 0x7FFFFFFF  # the top bit says that names are stored
        start = name + 1 + catalogue[name]
        effect, rate = soundfile.read(io.BytesIO(catalogue[start : start + length]), dtype="float32")
        noise = resample(effect, rate, sample.sample_rate)
    faded = round(sample.faded * sample.sample_rate)
    return noise[faded : len(noise) - faded]


def joined(pieces: list, length: int, sample: Sample):
    """The pieces one after the other and from the first again, cross-faded at equal power: (length,)."""
    import numpy as np

    fade = round(FADE * sample.sample_rate)
    ramp = np.sin(np.linspace(0, math.pi / 2, fade, dtype=np.float32))
    noise = pieces[0]
    for piece in itertools.islice(itertools.cycle(pieces), 1, None):
        if len(noise) >= length:
            break
        overlap = noise[-fade:] * ramp[::-1] + piece[:fade] * ramp
        noise = np.concatenate([noise[:-fade], overlap, piece[fade:]])
    return noise[:length]


if __name__ == "__main__":
    raise SystemExit(main())
