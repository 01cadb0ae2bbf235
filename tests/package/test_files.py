"""dtln.files: a file appears complete or not at all."""

from __future__ import annotations

import os

import numpy as np
import pytest
import soundfile

from dtln.audio.headers import SampleFormat
from dtln.audio.writing import write_audio
from dtln.errors import AudioFileError
from dtln.files import complete_file


def test_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def full(self, data):
        raise soundfile.LibsndfileError(2)

    monkeypatch.setattr(soundfile.SoundFile, "write", full)
    with pytest.raises(AudioFileError, match="a.wav: cannot be written as WAV PCM_16 at 16000 Hz with 1 channels"):
        write_audio(tmp_path / "a.wav", np.zeros(10), 16000, SampleFormat("WAV", "PCM_16"))
    assert os.listdir(tmp_path) == []


def test_complete_file_keeps_the_old_one_on_error(tmp_path):
    path = tmp_path / ("long name " * 20 + ".txt")
    path.write_text("old")
    with pytest.raises(RuntimeError, match="half way"), complete_file(path) as partial:
        partial.write_text("new")
        assert partial.suffix == ".txt" and path.read_text() == "old"
        raise RuntimeError("half way")
    assert path.read_text() == "old" and len(os.listdir(tmp_path)) == 1
    with complete_file(path) as partial:
        partial.write_text("new")
    assert path.read_text() == "new" and len(os.listdir(tmp_path)) == 1
    assert path.stat().st_mode & 0o777 == 0o666 & ~current_umask()


def current_umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
