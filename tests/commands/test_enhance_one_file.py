"""dtln enhance: one recording instead of a folder."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from enhancing import require_aligned

from dtln.audio.reading import read_audio
from dtln.commands import enhance
from dtln.scoring.metrics import METRICS, score


@pytest.fixture
def noisy(tmp_path, noise) -> Path:
    """A recording of half a second, 24 bits, 16 kHz."""
    soundfile.write(tmp_path / "noisy.wav", noise(8000), 16000, subtype="PCM_24")
    return tmp_path / "noisy.wav"


@pytest.fixture
def denoise(identity_weights):
    """Runs the command with the network that passes signals through; returns the exit status."""

    def run(*arguments: object) -> int:
        return enhance.main([*map(str, arguments), "-m", str(identity_weights)], prog="dtln enhance")

    return run


@pytest.mark.parametrize("flag", [[], ["-i"]], ids=["argument", "flag"])
@pytest.mark.parametrize("name", ["out.wav", "deep/down/out.flac", "out.ogg"])
def test_named_output(tmp_path, noisy, denoise, noise, flag, name):
    assert denoise(*flag, noisy, "-o", tmp_path / name) == 0
    info = soundfile.info(tmp_path / name)
    expected = {".wav": ("WAV", "PCM_24"), ".flac": ("FLAC", "PCM_24"), ".ogg": ("OGG", "VORBIS")}
    assert (info.format, info.subtype) == expected[info.name[info.name.rindex(".") :]]
    require_aligned(read_audio(tmp_path / name, mono=True)[0], noise(8000), 15 if name.endswith("ogg") else 40)


def test_published_flags(tmp_path, noisy, identity_weights, capsys):
    """The published script takes folders under these names; --help shows ours alone."""
    folder = tmp_path / "in"
    folder.mkdir()
    os.link(noisy, folder / "a.wav")
    flags = ["--in_folder", folder, "--out_folder", tmp_path / "out", "--model", identity_weights]
    assert enhance.main(list(map(str, flags))) == 0
    assert (tmp_path / "out" / "a.wav").is_file()
    with pytest.raises(SystemExit):
        enhance.main(["--help"])
    assert "_folder" not in capsys.readouterr().out


def test_output_without_a_name_is_said(tmp_path, noisy, denoise, capsys):
    assert denoise(noisy) == 0
    assert f"written to {tmp_path / 'noisy_denoised.wav'}\n" in capsys.readouterr().out
    assert soundfile.info(tmp_path / "noisy_denoised.wav").subtype == "PCM_24"
    assert denoise(noisy) == 1
    assert "noisy_denoised.wav: exists already (1 of 1 outputs do)" in capsys.readouterr().err
    before = (tmp_path / "noisy_denoised.wav").stat()
    assert denoise(noisy, "--skip-existing") == 0
    out = capsys.readouterr().out
    assert "1 file skipped, because the output exists" in out and "written to" not in out
    assert (tmp_path / "noisy_denoised.wav").stat().st_mtime_ns == before.st_mtime_ns
    assert denoise(noisy, "--overwrite") == 0
    assert (tmp_path / "noisy_denoised.wav").stat().st_ino != before.st_ino


def test_output_into_a_folder_that_exists(tmp_path, noisy, denoise):
    (tmp_path / "out").mkdir()
    assert denoise(noisy, "-o", tmp_path / "out") == 0
    assert os.listdir(tmp_path / "out") == ["noisy.wav"]


def test_flags_of_rate_and_channels(tmp_path, noise, denoise):
    soundfile.write(tmp_path / "stereo.wav", noise(8820, 2), 44100, subtype="FLOAT")
    assert denoise(tmp_path / "stereo.wav", "-o", tmp_path / "out.wav", "--keep-rate", "--keep-channels") == 0
    info = soundfile.info(tmp_path / "out.wav")
    assert (info.samplerate, info.channels, info.frames, info.subtype) == (44100, 2, 8820, "FLOAT")


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("noisy.wav", "noisy.wav: is one of the recordings to be read. Choose another output."),
        ("link.wav", "link.wav: is one of the recordings to be read"),
        (".", "noisy.wav: is one of the recordings to be read"),
        ("clean.wav", "clean.wav: is one of the recordings to be read"),
        ("out", "out: its name tells no format. Expected a name that ends in .wav, .flac, .ogg"),
        ("out.txt", "out.txt: its name tells no format"),
    ],
)
def test_refused_outputs(tmp_path, noisy, noise, denoise, capsys, output, message):
    (tmp_path / "link.wav").symlink_to("noisy.wav")
    soundfile.write(tmp_path / "clean.wav", noise(8000), 16000)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert denoise(noisy, "-o", tmp_path / output, "--overwrite", "--reference", tmp_path / "clean.wav") == 1
    assert f"dtln enhance: {tmp_path}" in (err := capsys.readouterr().err) and message in err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_input_that_is_no_recording(tmp_path, denoise, capsys):
    (tmp_path / "text.wav").write_text("these are words, not samples")
    assert denoise(tmp_path / "text.wav") == 1
    assert "text.wav: cannot be read as audio" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        denoise(tmp_path / "missing.wav")
    assert "-o/--output (or --score-only); " in (err := capsys.readouterr().err) and "missing.wav does not exist" in err


@pytest.mark.parametrize("arguments", [[], ["a.wav", "-i", "b.wav"]])
def test_no_input_or_two(denoise, capsys, arguments):
    with pytest.raises(SystemExit):
        denoise(*arguments)
    assert "expected one recording or folder, as an argument or after -i" in capsys.readouterr().err


def test_scores_of_one_recording(tmp_path, noise, denoise, capsys):
    speech = noise(32000) * np.sin(2 * np.pi * 2 * np.arange(32000) / 16000) ** 2
    (tmp_path / "all").mkdir()
    for clean in (tmp_path / "clean.wav", tmp_path / "all" / "noisy.flac"):
        soundfile.write(clean, speech, 16000)
    soundfile.write(tmp_path / "noisy.wav", speech + 0.2 * noise(32000, seed=1), 16000, subtype="FLOAT")
    flags = ["-o", tmp_path / "out.wav", "--overwrite", "--csv", tmp_path / "scores.csv"]
    for reference in ("clean.wav", "all"):
        assert denoise(tmp_path / "noisy.wav", *flags, "--reference", tmp_path / reference) == 0
        (row,) = csv.DictReader((tmp_path / "scores.csv").read_text(encoding="utf-8").splitlines())
        assert row["file"] == "noisy.wav" and "means over 1 file:" in capsys.readouterr().out
        clean = read_audio(tmp_path / "clean.wav", mono=True)[0]
        for signal, name in (("noisy", "noisy.wav"), ("enhanced", "out.wav")):
            expected = score(clean, read_audio(tmp_path / name, mono=True)[0])
            found = {key: float(row[f"{signal}_{key}"]) for key in METRICS}
            assert found == pytest.approx(expected, rel=1e-3)  # ESTOI draws random numbers
