"""Denoising of one recording block by block, from a file into a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dtln.audio.headers import SampleFormat, audio_info
from dtln.audio.reading import mono_mix_of, read_audio
from dtln.audio.writing import write_audio
from dtln.errors import AudioFileError
from dtln.facts import SAMPLE_RATE
from dtln.streaming.backends import Backend
from dtln.streaming.engine import TimedDenoiser
from dtln.streaming.times import TimeSummary, time_summary

__all__ = ["DenoisedRecording", "denoise_recording"]


@dataclass(frozen=True)
class DenoisedRecording:
    """What was done: samples written, how many of them were clipped, the rate of the source (Hz), the times.

    findings: what is to be told about the recording, in words.
    """

    samples: int
    clipped: int
    source_rate: int
    times: TimeSummary
    findings: tuple[str, ...] = ()


def denoise_recording(source: Path, target: Path, backend: Backend, level: str = "raw") -> DenoisedRecording:
    """Writes the denoised `source`, aligned and equally long, as a wav of 16 kHz, mono, 16 bits.

    level: as in `StreamingDenoiser`.

    Raises AudioFileError for a source that cannot be read and a target that cannot or must not be written.
    """
    if target.suffix.lower() != ".wav":
        raise AudioFileError(f"{target}: expected the name of a wav file to write. Let it end in .wav.")
    if target.exists() and target.resolve() == source.resolve():
        raise AudioFileError(f"{target}: is the input itself. Choose another name for the output.")
    if not target.parent.is_dir():
        raise AudioFileError(f"{target}: its folder does not exist. Make it first.")
    signal, _ = read_audio(source, sample_rate=SAMPLE_RATE, mono=True)
    denoiser = TimedDenoiser(backend, level)
    denoised = denoiser.denoise(signal)
    clipped = write_audio(target, denoised, SAMPLE_RATE, SampleFormat("WAV", "PCM_16"))
    times = time_summary(denoiser.milliseconds, backend.block_shift)
    mix = mono_mix_of(source)
    findings = (mix.finding[1],) if mix.finding else ()
    return DenoisedRecording(len(denoised), clipped, audio_info(source).sample_rate, times, findings)
