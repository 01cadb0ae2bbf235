"""Recordings: finds, reads, resamples and writes them. soundfile and soxr are imported where they are used."""

from dtln.audio.folders import audio_extensions, find_audio_files, find_recordings, of_shard, pair_files
from dtln.audio.headers import AudioInfo, SampleFormat, audio_info
from dtln.audio.reading import audio_blocks, read_audio, read_stretch
from dtln.audio.resampling import Resampler, resample, resampled_length
from dtln.audio.writing import audio_writer, can_write, format_for_name, writable_format, write_audio

__all__ = [
    "AudioInfo",
    "Resampler",
    "SampleFormat",
    "audio_blocks",
    "audio_extensions",
    "audio_info",
    "audio_writer",
    "can_write",
    "find_audio_files",
    "find_recordings",
    "format_for_name",
    "of_shard",
    "pair_files",
    "read_audio",
    "read_stretch",
    "resample",
    "resampled_length",
    "writable_format",
    "write_audio",
]
