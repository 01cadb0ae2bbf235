"""convert_weights_and_savedmodel.py: names, checks, means, and weights that are refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import DTLN_model as dtln
from dtln.commands import convert, convert_published
from dtln.export import check
from dtln.formats import EXPORT_KINDS


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
        EXPORT_KINDS[kind].export(network, tmp_path)
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
    assert convert.main([*arguments, "--mean", str(tmp_path / "no" / "mean.h5")]) == 1
    report = capsys.readouterr()
    assert "mean.h5: its folder does not exist" in report.err and not report.out
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


def test_converter_refuses_weights_that_are_not_finite(weights, tmp_path, capsys):
    network = dtln.load_network(weights)
    values = network.get_weights()
    values[0].flat[0], values[1].flat[0] = np.nan, np.inf
    network.set_weights(values)
    network.save_weights(tmp_path / "broken.h5")
    arguments = ["-m", str(tmp_path / "broken.h5"), "-t", str(tmp_path / "out"), "--formats", "onnx"]
    assert convert.main(arguments) == 1
    report = capsys.readouterr()
    assert "broken.h5: 2 of the weights are NaN or Inf. Expected those of a training" in report.err and not report.out
    assert not (tmp_path / "out").exists()


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


@pytest.mark.parametrize(
    ("kind", "flags", "names"),
    [
        ("savedmodel", [], ["new"]),
        ("tflite", ["-q", "False"], ["new_1.tflite", "new_2.tflite"]),
        ("tflite", ["--quantization", "True"], ["new_1.tflite", "new_2.tflite"]),
        ("onnx", [], ["new_1.onnx", "new_2.onnx"]),
    ],
)
def test_published_converters(kind, flags, names, weights, model_dir, tmp_path, capsys):
    """They write under the names that the published ones give, what our converter writes; older files are replaced."""
    target = tmp_path / "deeper"
    target.mkdir()
    (target / names[0]).write_text("older")
    arguments = ["--weights_file", str(weights), "--target_folder", str(target / "new"), *flags]
    assert convert_published.main(arguments, kind=kind) == 0
    assert sorted(path.name for path in target.iterdir()) == names
    assert f"wrote {target / names[0]}" in capsys.readouterr().out
    same = EXPORT_KINDS["tflite-quant" if "True" in flags else kind].paths(model_dir)
    if kind == "savedmodel":
        assert (target / "new" / "saved_model.pb").is_file()
    else:
        sizes = [path.stat().st_size for path in same]
        assert [(target / name).stat().st_size for name in names] == pytest.approx(sizes, rel=0.02)


def test_published_converters_leave_older_files_alone(weights, tmp_path, capsys, monkeypatch):
    (tmp_path / "new_1.onnx").write_text("older")
    with pytest.raises(SystemExit):
        convert_published.main(["-m", "a.h5", "-t", "b", "-q", "maybe"])
    assert "maybe: expected True or False" in capsys.readouterr().err
    assert convert_published.main(["-m", str(tmp_path / "no.h5"), "-t", str(tmp_path / "new")], kind="onnx") == 1
    monkeypatch.setattr(check, "FLOAT_TOLERANCE", 1e-12)
    assert convert_published.main(["-m", str(weights), "-t", str(tmp_path / "new")], kind="onnx") == 1
    assert [path.read_text() for path in tmp_path.iterdir()] == ["older"]
