"""real_time_processing*.py: files in and out, messages."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from signals import batch_output, snr_db, speech_like

import DTLN_model as dtln
from dtln.commands import denoise_file

ROOT = Path(__file__).resolve().parents[2]
STEP = 1 / 32768  # of 16-bit samples


@pytest.mark.parametrize("kind", ["savedmodel", "tflite", "onnx"])
@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (44100, 2)])
def test_file_scripts_write_aligned_wavs_of_equal_length(weights, model_dir, tmp_path, capsys, kind, rate, channels):
    source, target = tmp_path / "noisy.flac", tmp_path / "denoised.wav"
    signal = np.repeat(speech_like(rate)[:, None], channels, axis=1)
    soundfile.write(source, signal, rate)
    arguments = ["-i", str(source), "-o", str(target), "-m", str(model_dir)]
    assert denoise_file.main(arguments, kind=kind) == 0
    report = capsys.readouterr().out
    assert ("resampled from 44100 Hz" in report) == (rate == 44100)
    assert "ms per block: mean" in report and "p99" in report and "real-time factor" in report
    output, output_rate = soundfile.read(target, dtype="float32")
    assert (output_rate, output.shape) == (16000, (16000,))
    if rate == 16000:
        expected = batch_output(dtln.load_network(weights), soundfile.read(source, dtype="float32")[0])
        np.testing.assert_allclose(output, np.clip(expected, -1, 1), atol=STEP + 1e-4)


def test_file_scripts_take_one_model(model_dir, tmp_path):
    """A SavedModel of any name, as the published ones have their own, or a file of the others."""
    soundfile.write(tmp_path / "noisy.wav", speech_like(4000), 16000)
    shutil.copytree(model_dir / "dtln_saved_model", tmp_path / "DTLN_norm_500h_saved_model")
    for kind, model in (
        ("savedmodel", tmp_path / "DTLN_norm_500h_saved_model"),
        ("tflite", model_dir / "model_2.tflite"),
        ("onnx-stream", model_dir / "model_stream.onnx"),
    ):
        arguments = ["-i", str(tmp_path / "noisy.wav"), "-o", str(tmp_path / f"{kind}.wav"), "-m", str(model)]
        assert denoise_file.main(arguments, kind=kind) == 0
    first, *others = (soundfile.read(path)[0] for path in sorted(tmp_path.glob("[!n]*.wav")))
    for other in others:
        np.testing.assert_allclose(other, first, atol=STEP + 1e-4)


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_quantised_flag_takes_the_8_bit_model(model_dir, tmp_path, kind):
    soundfile.write(tmp_path / "noisy.wav", speech_like(16000), 16000)
    for name, flags in (("float.wav", []), ("8bit.wav", ["--quantised"])):
        arguments = ["-i", str(tmp_path / "noisy.wav"), "-o", str(tmp_path / name), "-m", str(model_dir), *flags]
        assert denoise_file.main(arguments, kind=kind) == 0
    outputs = [soundfile.read(tmp_path / name)[0] for name in ("float.wav", "8bit.wav")]
    assert 0 < np.max(np.abs(outputs[0] - outputs[1])) < 0.1


def test_file_scripts_say_which_channel_they_took(tmp_path, capsys):
    signal = speech_like(8000)
    soundfile.write(tmp_path / "cancel.wav", np.stack([signal, -signal], axis=1), 16000)
    soundfile.write(tmp_path / "mono.wav", signal, 16000)
    for name in ("cancel", "mono"):
        arguments = ["-i", str(tmp_path / f"{name}.wav"), "-o", str(tmp_path / f"{name}_out.wav")]
        assert denoise_file.main(arguments, kind="onnx") == 0
        told = "channels 1 and 2 are in opposite phase, so that channel 1" in capsys.readouterr().out
        assert told == (name == "cancel")
    outputs = [soundfile.read(tmp_path / f"{name}_out.wav")[0] for name in ("cancel", "mono")]
    np.testing.assert_array_equal(outputs[0], outputs[1])


def test_file_scripts_follow_the_level_where_they_are_told(tmp_path):
    signal = speech_like(24000)
    soundfile.write(tmp_path / "usual.wav", signal, 16000)
    soundfile.write(tmp_path / "quiet.wav", signal / 256, 16000, subtype="PCM_24")
    outputs = []
    for name, flags in (("usual", []), ("quiet", ["--level", "auto"]), ("quiet", ["--level", "raw"])):
        arguments = ["-i", str(tmp_path / f"{name}.wav"), "-o", str(tmp_path / "out.wav"), *flags]
        assert denoise_file.main(arguments, kind="onnx") == 0
        outputs.append(soundfile.read(tmp_path / "out.wav")[0][9000:] * (256 if flags else 1))
    followed, raw = (snr_db(outputs[0], output) for output in outputs[1:])
    assert followed > 10 and followed > raw + 3, (followed, raw)


def test_file_script_as_a_program_on_an_empty_recording(model_dir, tmp_path):
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16000)
    run = subprocess.run(
        [sys.executable, ROOT / "real_time_processing_tf_lite.py", "-i", "empty.wav", "-o", "out.wav", "-m", model_dir],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0 and "holds no samples" in run.stdout
    assert soundfile.info(tmp_path / "out.wav").frames == 0


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("missing.wav", "out.wav", "missing.wav: expected an audio file, found nothing"),
        ("text.wav", "out.wav", "text.wav: cannot be read as audio"),
        ("noisy.wav", "out.mp3", "out.mp3: expected the name of a wav file"),
        ("noisy.wav", "noisy.wav", "noisy.wav: is the input itself"),
        ("noisy.wav", "nowhere/out.wav", "its folder does not exist"),
    ],
)
def test_file_scripts_name_what_is_wrong(model_dir, tmp_path, capsys, source, target, message):
    soundfile.write(tmp_path / "noisy.wav", speech_like(1000), 16000)
    (tmp_path / "text.wav").write_text("this is no recording, whatever its name says " * 9)
    arguments = ["-i", str(tmp_path / source), "-o", str(tmp_path / target), "-m", str(model_dir)]
    assert denoise_file.main(arguments, kind="onnx") == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.wav").exists()


def test_file_scripts_name_a_missing_model(tmp_path, capsys):
    soundfile.write(tmp_path / "noisy.wav", speech_like(1000), 16000)
    arguments = ["-i", str(tmp_path / "noisy.wav"), "-o", str(tmp_path / "out.wav"), "-m", str(tmp_path)]
    assert denoise_file.main(arguments, kind="tflite") == 1
    assert "model_1.tflite: no such model file" in capsys.readouterr().err
