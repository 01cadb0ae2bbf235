"""The command `dtln` and the scripts: usage, version, what --help loads, and packages that are missing."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import dtln
from dtln.__main__ import main
from dtln.commands import COMMANDS
from dtln.commands.run import run
from dtln.errors import MissingPackageError, install_line, require

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"tensorflow", "keras", "torch", "soundfile", "onnxruntime", "h5py", "numpy"}
SCRIPTS = sorted(path.name for path in ROOT.glob("*.py") if "__main__" in path.read_text())


def test_usage_names_every_command(capsys):
    assert main(["--help"]) == 0
    usage = capsys.readouterr().out
    for name, (module, text) in COMMANDS.items():
        assert f"  {name} " in usage and text in usage
        assert (ROOT / (module.replace(".", "/") + ".py")).is_file()
    assert main([]) == 2


def test_version_and_unknown_commands(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"dtln {dtln.__version__}\n"
    assert main(["denoise"]) == 2
    assert "dtln: unknown command 'denoise': expected one of enhance, live" in capsys.readouterr().err


def test_all_scripts_are_there():
    assert set(SCRIPTS) >= {
        "run_training.py", "run_evaluation.py", "measure_execution_time.py", "real_time_processing.py",
        "real_time_processing_tf_lite.py", "real_time_processing_onnx.py", "real_time_dtln_audio.py",
        "convert_weights_and_savedmodel.py", "synthesize_training_data.py", "convert_weights_to_saved_model.py",
        "convert_weights_to_tf_lite.py", "convert_weights_to_onnx.py",
    }  # fmt: skip


def help_commands() -> list[list[str]]:
    """Command lines that print help, without the interpreter in front."""
    names = [["-m", "dtln", *command] for command in ([], *([name] for name in COMMANDS))]
    return [[*arguments, "--help"] for arguments in [*names, *([script] for script in SCRIPTS)]]


@pytest.mark.parametrize("arguments", help_commands(), ids=" ".join)
def test_help_loads_nothing_heavy(arguments):
    """So it comes at once; `benchmarks/speed.py --only start` says how soon."""
    done = subprocess.run([sys.executable, "-X", "importtime", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "usage: " in done.stdout, done.stderr
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "dtln.commands" in loaded and not loaded & HEAVY


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_is_the_docstring(script, capsys):
    module = importlib.import_module(Path(script).stem)
    with pytest.raises(SystemExit, match="0"):
        module.main(["--help"])
    text = capsys.readouterr().out
    assert module.__doc__.splitlines()[0] in text and f"usage: {script} " in text


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_how_the_command_was_called(name, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])
    assert f"usage: dtln {name} " in capsys.readouterr().out


@pytest.fixture
def failing_command(monkeypatch):
    """Makes a command whose main raises an error; returns its module's name."""

    def make(error: Exception) -> str:
        def main(argv, prog):
            raise error

        module = types.ModuleType("failing_command")
        module.main, module.EXTRA = main, "convert"
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return module.__name__

    return make


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ("keras", r'\[convert\]"'),
        ("wavinfo", r'\[train\]"'),
        ("pesq", r'\[score\]"'),
        ("tensorflow.lite.python", r'\[convert\]"'),
        ("torch", "pip install torch"),
    ],
)
def test_missing_package_is_one_line_with_its_remedy(failing_command, capsys, package, line):
    error = ModuleNotFoundError(f"No module named '{package}'", name=package)
    assert run(failing_command(error), [], "dtln convert") == 1
    written = capsys.readouterr().err
    assert written.startswith(f"dtln convert: needs the package {package.partition('.')[0]}, which is not installed: ")
    assert re.search(line, written) and written.count("\n") == 1


def test_package_that_was_asked_for_is_told_with_the_extra_of_the_command(failing_command, capsys):
    with pytest.raises(MissingPackageError) as raised:
        require("no_such_package", "this")
    assert run(failing_command(raised.value), [], "dtln convert") == 1
    assert (
        capsys.readouterr().err == "dtln convert: this needs the package no_such_package: pip install no_such_package\n"
    )
    error = MissingPackageError(f"this needs the package h5py: {install_line('h5py')}", name="h5py")
    assert run(failing_command(error), [], "dtln convert") == 1
    assert re.search(r'this needs the package h5py: pip install ".*\[convert\]"\n$', capsys.readouterr().err)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (["-i", ""], "argument -i"),
        (["-i", "a", "--output="], "argument --output"),
        ([""], "an argument"),
        (["a", ""], "an argument"),
    ],
)
def test_empty_arguments_are_refused(name, arguments, place, capsys):
    assert main([name, *arguments]) == 2
    assert f"dtln {name}: error: {place}: is empty. Is a variable of the shell not set?" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["dtln.nowhere", "no_such_module", None])
def test_unknown_module_keeps_its_traceback(failing_command, name):
    with pytest.raises(ModuleNotFoundError):
        run(failing_command(ModuleNotFoundError("No module named", name=name)), [], "dtln convert")


def test_reader_that_has_seen_enough_is_no_error():
    command = f"{sys.executable} -m dtln models --json | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[\n" and done.stderr == "" and done.returncode in (0, 1)


@pytest.mark.parametrize("package", ["keras", "h5py"])
def test_converter_names_the_package_that_is_missing_deep_inside(package, tmp_path):
    code = (
        f"import sys; sys.modules['{package}'] = None\n"
        "import convert_weights_and_savedmodel as script\n"
        f"sys.exit(script.main(['-m', 'pretrained_model/model.h5', '-t', {str(tmp_path)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"convert_weights_and_savedmodel.py: needs the package {package}, which is not installed" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_are_thin_and_can_be_imported(script):
    assert len((ROOT / script).read_text().splitlines()) <= 24
    assert callable(importlib.import_module(Path(script).stem).main)


def test_scripts_run_from_any_folder(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "measure_execution_time.py", "--backend", "onnx-stream", "--blocks", "10"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0 and "onnx-stream (onnxruntime): ms per block" in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is full")
@pytest.mark.parametrize("command", [["models", "--json"], ["doctor"], ["enhance", "--help"]])
def test_output_that_cannot_be_written_is_one_line(command):
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "dtln", *command], cwd=ROOT, stdout=full, stderr=-1, text=True)
    said = f"dtln {command[0]}: the output could not be written: No space is left on the disk. Free some, or"
    assert done.stderr == "" if "--help" in command else done.stderr.startswith(said) and done.stderr.count("\n") == 1
    assert done.returncode == (0 if "--help" in command else 1)


def test_closed_output_is_no_error():
    done = subprocess.run(["bash", "-c", f"{sys.executable} -m dtln models >&-"], cwd=ROOT, stderr=-1, text=True)
    assert done.returncode == 0 and done.stderr == ""
