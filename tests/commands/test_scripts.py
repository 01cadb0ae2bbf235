"""The scripts as a user runs them: help, files in and out, messages."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from signals import batch_output, random_network, speech_like

import DTLN_model as dtln
from dtln.commands import benchmark, convert, train_cuda
from dtln.commands.denoise_file import denoise_file_script
from dtln.export import check
from dtln.formats import FORMATS

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(path.name for path in ROOT.glob("*.py") if "__main__" in path.read_text())
STEP = 1 / 32768  # of 16-bit samples


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "plain_name.h5"
    random_network(dtln.DTLNConfig(norm_stft=True)).save_weights(path)
    return path


@pytest.fixture(scope="module")
def model_dir(weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    assert convert.main(["-m", str(weights), "-t", str(folder)]) == 0
    return folder


def test_all_scripts_are_there():
    assert set(SCRIPTS) >= {
        "run_training.py", "run_evaluation.py", "measure_execution_time.py", "real_time_processing.py",
        "real_time_processing_tf_lite.py", "real_time_processing_onnx.py", "real_time_dtln_audio.py",
        "convert_weights_and_savedmodel.py",
    }  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_is_the_docstring(script):
    run = subprocess.run([sys.executable, script, "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    docstring = importlib.import_module(script[:-3]).__doc__
    assert docstring.splitlines()[0] in run.stdout and "usage:" in run.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_loads_no_framework(script):
    code = (
        f"import sys, runpy; sys.argv = ['{script}', '--help']\n"
        f"try: runpy.run_path('{script}', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "heavy = {'tensorflow', 'keras', 'soundfile', 'onnxruntime', 'h5py'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)


# --- real_time_processing*.py -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["savedmodel", "tflite", "onnx"])
@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (44100, 2)])
def test_file_scripts_write_aligned_wavs_of_equal_length(weights, model_dir, tmp_path, capsys, kind, rate, channels):
    source, target = tmp_path / "noisy.flac", tmp_path / "denoised.wav"
    signal = np.repeat(speech_like(rate)[:, None], channels, axis=1)
    soundfile.write(source, signal, rate)
    arguments = ["-i", str(source), "-o", str(target), "-m", str(model_dir)]
    assert denoise_file_script(kind, "", arguments) == 0
    report = capsys.readouterr().out
    assert ("resampled from 44100 Hz" in report) == (rate == 44100)
    assert "ms per block: mean" in report and "p99" in report and "real-time factor" in report
    output, output_rate = soundfile.read(target, dtype="float32")
    assert (output_rate, output.shape) == (16000, (16000,))
    if rate == 16000:
        expected = batch_output(dtln.load_network(weights), soundfile.read(source, dtype="float32")[0])
        np.testing.assert_allclose(output, np.clip(expected, -1, 1), atol=STEP + 1e-4)


def test_quantised_flag_takes_the_other_pair(model_dir, tmp_path):
    soundfile.write(tmp_path / "noisy.wav", speech_like(16000), 16000)
    for name, flags in (("float.wav", []), ("8bit.wav", ["--quantised"])):
        arguments = ["-i", str(tmp_path / "noisy.wav"), "-o", str(tmp_path / name), "-m", str(model_dir), *flags]
        assert denoise_file_script("tflite", "", arguments) == 0
    outputs = [soundfile.read(tmp_path / name)[0] for name in ("float.wav", "8bit.wav")]
    assert 0 < np.max(np.abs(outputs[0] - outputs[1])) < 0.1


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
    assert denoise_file_script("onnx", "", arguments) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.wav").exists()


def test_file_scripts_name_a_missing_model(tmp_path, capsys):
    soundfile.write(tmp_path / "noisy.wav", speech_like(1000), 16000)
    arguments = ["-i", str(tmp_path / "noisy.wav"), "-o", str(tmp_path / "out.wav"), "-m", str(tmp_path)]
    assert denoise_file_script("tflite", "", arguments) == 1
    assert "model_1.tflite: no such model file" in capsys.readouterr().err


# --- convert_weights_and_savedmodel.py --------------------------------------------------------------------------------


def test_converter_writes_the_published_names(model_dir):
    assert sorted(path.name for path in model_dir.iterdir()) == [
        "dtln_saved_model", "model_1.onnx", "model_1.tflite", "model_2.onnx", "model_2.tflite",
        "model_quant_1.tflite", "model_quant_2.tflite", "model_stream.onnx", "model_stream.tflite",
        "model_stream_quant.onnx", "model_stream_quant.tflite",
    ]  # fmt: skip


def test_converter_takes_a_saved_model_and_a_subset(model_dir, tmp_path, capsys):
    arguments = ["-m", str(model_dir / "dtln_saved_model"), "-t", str(tmp_path / "new"), "--formats", "onnx"]
    assert convert.main(arguments) == 0
    assert "onnx: ok, largest error" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["model_1.onnx", "model_2.onnx"]


def test_converter_leaves_older_files_alone_when_the_check_fails(weights, tmp_path, capsys, monkeypatch):
    (tmp_path / "model_1.onnx").write_text("older")
    monkeypatch.setattr(check, "FLOAT_TOLERANCE", 1e-12)
    assert convert.main(["-m", str(weights), "-t", str(tmp_path), "--formats", "onnx"]) == 1
    report = capsys.readouterr()
    assert "onnx: FAILED, largest error" in report.out and "left as it was" in report.err
    assert [path.name for path in tmp_path.iterdir()] == ["model_1.onnx"]
    assert (tmp_path / "model_1.onnx").read_text() == "older"


def test_converter_check_sees_a_wrong_export(weights, tmp_path):
    network = dtln.load_network(weights)
    for kind in ("onnx", "tflite-quant"):
        check.export(network, kind, tmp_path)
        assert check.check(network, kind, tmp_path)[0]
    network.dtln_layers.decoder.set_weights([0.5 * w for w in network.dtln_layers.decoder.get_weights()])
    for kind in ("onnx", "tflite-quant"):
        assert not check.check(network, kind, tmp_path)[0]


def test_converter_replaces_older_exports(weights, model_dir, tmp_path):
    (tmp_path / "dtln_saved_model").mkdir()
    (tmp_path / "dtln_saved_model" / "older").write_text("older")
    assert convert.main(["-m", str(weights), "-t", str(tmp_path), "--formats", "savedmodel"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["dtln_saved_model"]
    assert not (tmp_path / "dtln_saved_model" / "older").exists()


def test_converter_converts_the_mean_of_several_weights(weights, tmp_path, capsys):
    network = dtln.load_network(weights)
    first = [weight.copy() for weight in network.get_weights()]
    network.set_weights([3.0 * weight for weight in first])
    network.save_weights(tmp_path / "b.h5")
    arguments = ["-m", str(weights), str(tmp_path / "b.h5"), "-t", str(tmp_path / "out"), "--formats", "onnx"]
    assert convert.main([*arguments, "--mean", str(tmp_path / "mean.h5")]) == 0
    assert f"wrote {tmp_path / 'mean.h5'}" in capsys.readouterr().out
    mean = dtln.load_network(tmp_path / "mean.h5")
    for found, weight in zip(mean.get_weights(), first, strict=True):
        np.testing.assert_allclose(found, 2.0 * weight, rtol=1e-6)
    assert check.check(mean, "onnx", tmp_path / "out")[0]


def test_converter_says_which_weights_have_no_mean(weights, tmp_path, capsys):
    other = replace(dtln.read_config(weights), norm_stft=not dtln.read_config(weights).norm_stft)
    dtln.build_network(other).save_weights(tmp_path / "other.h5")
    (tmp_path / "folder").mkdir()
    target = ["-t", str(tmp_path / "out"), "--mean", str(tmp_path / "mean.h5")]
    for name, message in (("other.h5", "Only weights of one variant and size have a mean"), ("folder", "folder")):
        assert convert.main(["-m", str(weights), str(tmp_path / name), *target]) == 1
        error = capsys.readouterr().err
        assert f"{tmp_path / name}: " in error and message in error
        assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "other.h5"]
    for arguments in (["-m", str(weights), *target], ["-m", str(weights), str(weights), *target[:2]]):
        with pytest.raises(SystemExit) as stopped:
            convert.main(arguments)
        assert stopped.value.code == 2
        assert "several files after -m need --mean" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["missing.h5", "text.h5", "folder"])
def test_converter_names_a_file_that_holds_no_network(tmp_path, capsys, name):
    (tmp_path / "text.h5").write_text("no weights")
    (tmp_path / "folder").mkdir()
    assert convert.main(["-m", str(tmp_path / name), "-t", str(tmp_path / "out")]) == 1
    assert name in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_converter_refuses_a_saved_model_without_weights(shared, tmp_path, capsys):
    published = shared / "reference" / "dtln_saved_model"
    assert convert.main(["-m", str(published), "-t", str(tmp_path / "out")]) == 1
    assert "does not list its weights" in capsys.readouterr().err


# --- measure_execution_time.py ----------------------------------------------------------------------------------------


def test_measuring_all_exports(model_dir, tmp_path, capsys):
    target = tmp_path / "times.json"
    arguments = ["--backend", "all", "-m", str(model_dir), "--blocks", "50", "--json", str(target)]
    assert benchmark.main(arguments) == 0
    report = capsys.readouterr().out
    numbers = json.loads(target.read_text())
    assert {result["backend"] for result in numbers["results"]} == set(FORMATS)
    for result in numbers["results"]:
        assert result["blocks"] == 50 and result["threads"] == 1 and result["shift_ms"] == 8.0
        assert 0 < result["p50"] <= result["p95"] <= result["p99"] <= result["max"]
        assert result["real_time"] == (result["p99"] < 8.0)
    assert numbers["processor"] in report and "of the 8 ms shift" in report


def test_measuring_names_what_is_wrong(tmp_path, capsys):
    assert benchmark.main(["--backend", "all", "-m", str(tmp_path)]) == 1
    assert "holds no exports" in capsys.readouterr().err
    assert benchmark.main(["--backend", "torch", "-m", str(tmp_path)]) == 2
    assert "unknown backend 'torch': expected all or one of tflite" in capsys.readouterr().err
    assert benchmark.main(["-m", str(tmp_path)]) == 1
    assert "holds no saved_model.pb" in capsys.readouterr().err


def test_training_on_a_gpu_says_that_it_needs_pytorch(tmp_path, capsys, monkeypatch):

    monkeypatch.setitem(sys.modules, "torch", None)
    folders = ["--speech", str(tmp_path), "--noise", str(tmp_path), "--run-dir", str(tmp_path / "run")]
    assert train_cuda.main([*folders, "--network", "a"]) == 1
    assert "training on a GPU needs PyTorch: pip install torch" in capsys.readouterr().err
