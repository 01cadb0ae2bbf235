"""run_evaluation.py: help, options and folders that are refused."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import soundfile
from enhancing import SCRIPT

from dtln.commands import enhance


def test_missing_and_empty_input(folders, evaluate, capsys):
    source, target = folders
    assert evaluate() == 1
    assert f"{source}: holds no audio files. Expected" in capsys.readouterr().err
    source.rmdir()
    assert evaluate() == 1
    assert f"{source}: expected a folder of audio files, found nothing. Check" in capsys.readouterr().err
    assert not target.exists()


def test_missing_package_is_told_in_words(tmp_path, capsys, monkeypatch):
    soundfile.write(tmp_path / "a.wav", [0.0] * 1600, 16000)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    for source in (tmp_path / "a.wav", tmp_path):
        assert enhance.main(["-i", str(source), "-o", str(tmp_path / "out.wav")]) == 1
        line = capsys.readouterr().err.strip()
        assert re.fullmatch(r".*: reading recordings needs the package soundfile: pip install .*\[eval\].*", line)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("in", "is the input folder"),
        ("in/below/it", "lies inside the input folder"),
        ("link", "is the input folder"),
        ("link/below", "lies inside the input folder"),
        ("file", "is a file. Expected a folder to write to"),
        (".", "is one of the recordings to be read"),
    ],
)
def test_refused_output_folders(tmp_path, identity_weights, noise, capsys, output, message):
    (tmp_path / "in" / "in").mkdir(parents=True)
    soundfile.write(tmp_path / "in" / "in" / "a.wav", noise(1000), 16000)
    soundfile.write(tmp_path / "in" / "a.wav", noise(1000), 16000)
    (tmp_path / "link").symlink_to("in")
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    options = ["-i", str(tmp_path / "in"), "-o", str(tmp_path / output), "-m", str(identity_weights), "--overwrite"]
    assert enhance.main(options) == 1
    assert message in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_two_inputs_for_one_output(folders, evaluate, noise, capsys):
    source, target = folders
    soundfile.write(source / "a.wve", noise(800), 8000, format="WVE", subtype="ALAW")
    for name in ("a.wav", "a.wve.wav"):
        soundfile.write(source / name, noise(800), 8000)
    assert evaluate() == 1
    message = r"a.wve and .*a.wve.wav: both would be written to .*out/a.wve.wav, because WVE ALAW cannot be written"
    assert re.search(message, capsys.readouterr().err)
    assert not target.exists()
    assert evaluate("--keep-rate") == 0


def test_wrong_weights(folders, evaluate, noise, tmp_path, capsys):
    source, target = folders
    soundfile.write(source / "a.wav", noise(1000), 16000)
    assert evaluate(weights=tmp_path / "missing.h5") == 1
    assert "missing.h5: no such weights file" in capsys.readouterr().err
    (tmp_path / "text.h5").write_text("not weights")
    assert evaluate(weights=tmp_path / "text.h5") == 1
    assert "text.h5: is not an HDF5 file" in capsys.readouterr().err
    assert not target.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--overwrite", "--skip-existing"], "not allowed with argument"),
        (["--jobs", "0"], "--jobs 0: expected at least one process"),
        (
            ["--csv", "a.csv"],
            "--csv is about scores: say against which recordings with --reference CLEAN, or say --",
        ),
        (["--manifest", "a.csv"], "--manifest is about scores"),
        (["--align", "--dnsmos"], "--align removes delays against clean recordings: say which with --reference"),
        (["--noisy", "a"], "--noisy goes with --score-only: what is denoised here is scored beside its input anyway"),
        (["--keep-high-band"], "--keep-high-band goes with --keep-rate"),
        (["--strength", "1.1"], "--strength: 1.1: expected a number from 0 to 1"),
        (["--strength", "nan"], "--strength: nan: expected a number from 0 to 1"),
        (["--attenuation-limit", "-1"], "--attenuation-limit: -1: expected a number of at least 0"),
        (["--attenuation-limit", "12", "--strength", "0.5"], "not allowed with argument"),
        (["--score-only", "--reference", "a"], "--score-only writes no recordings: leave out -o"),
    ],
)
def test_options_that_contradict(evaluate, capsys, options, message):
    with pytest.raises(SystemExit) as stop:
        evaluate(*options)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], r"the following arguments are required: -o/--output \(or --score-only\)"),
        (["--score-only"], "--score-only: say against which recordings with --reference CLEAN, or say --dnsmos"),
        (["--score-only", "--dnsmos", "--keep-rate"], "--score-only writes no recordings"),
        (["--score-only", "--dnsmos", "--strength", "0.5"], "--score-only writes no recordings"),
    ],
)
def test_options_without_output(capsys, options, message):
    with pytest.raises(SystemExit) as stop:
        enhance.main(["-i", "a", *options])
    assert stop.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def test_default_weights_lie_beside_the_script():
    args = enhance.parse(["-i", "a", "-o", "b"])
    assert args.weights == SCRIPT.parent / "pretrained_model" / "model.h5"


def test_help_is_fast_and_imports_nothing_heavy():
    code = (
        "import sys, run_evaluation\n"
        "try: run_evaluation.main(['--help'])\n"
        "except SystemExit: print('LOADED', {'tensorflow', 'keras', 'numpy', 'soundfile'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=SCRIPT.parent, check=True)
    assert "LOADED set()" in result.stdout
    assert enhance.__doc__.splitlines()[0] in result.stdout
