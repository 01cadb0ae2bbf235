"""dtln models and dtln doctor: what is there, and what is missing."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dtln.commands import doctor, models
from dtln.formats import EXPORT_KINDS, MODEL_DIR, ExportKind


def test_models_lists_the_included_ones(capsys):
    assert models.main([]) == 0
    text = capsys.readouterr().out
    assert text.startswith(str(MODEL_DIR)) and "model.h5" in text
    assert models.main(["--json"]) == 0
    found = json.loads(capsys.readouterr().out)[0]
    assert [export["kind"] for export in found["exports"]] == list(EXPORT_KINDS)
    assert found["default"] == "tflite-stream"
    for export in found["exports"]:
        assert f"  {export['kind']} " in text and 1e6 < export["bytes"] < 5e6
        assert export["runtime"] in EXPORT_KINDS[export["kind"]].runtimes
    weights = {file["file"]: file["bytes"] for file in found["weights"]}
    assert weights["model.h5"] == (MODEL_DIR / "model.h5").stat().st_size


def test_models_says_what_a_runtime_would_bring(monkeypatch, capsys):
    monkeypatch.setattr(ExportKind, "installed_runtime", lambda self: None)
    assert models.main([]) == 0
    text = capsys.readouterr().out
    for extra in ("live", "eval", "train"):
        assert f'[{extra}]"' in text
    assert text.count("cannot run here: pip install") >= len(EXPORT_KINDS)


def test_models_of_published_saved_models(tmp_path, capsys):
    """One beside the others under a name of its own, and one given by itself; `dtln_saved_model` is not told twice."""
    for name in ("dtln_saved_model", "DTLN_norm_500h_saved_model"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").write_bytes(bytes(10))
    for folder, expected in (
        (tmp_path, [(tmp_path, "dtln_saved_model"), (tmp_path / "DTLN_norm_500h_saved_model",) * 2]),
        (tmp_path / "dtln_saved_model", [(tmp_path / "dtln_saved_model",) * 2]),
    ):
        assert models.main(["-m", str(folder), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert [m["folder"] for m in found] == [str(folder) for folder, _ in expected]
        for model, (_, name) in zip(found, expected, strict=True):
            (export,) = model["exports"]
            assert export["kind"] == "savedmodel" and export["bytes"] == 10 and export["files"] == [Path(name).name]


def write_weights_with_card(folder: Path, card: str) -> list[str]:
    """The arguments of `dtln models` for a new folder with two weights files and a card beside them."""
    folder.mkdir()
    for name in ("a.h5", "b.h5"):
        (folder / name).write_bytes(bytes(1000))
    (folder / "README.md").write_text(card, encoding="utf-8")
    return ["-m", str(folder)]


def test_models_reads_the_included_cards(capsys):
    pytest.importorskip("yaml")
    assert models.main(["--json"]) == 0
    plain, norm = json.loads(capsys.readouterr().out)
    for folder in (plain, norm):
        assert folder["card"]["license"] == ["mit"] and "en" in folder["card"]["language"]
        assert folder["card"]["hours_of_mixtures"] > 5000
        pairs, rooms = folder["card"]["scores"]
        assert "rooms" in rooms["dataset"] and 10 < pairs["metrics"]["SI-SDR dB"] < 20
    cards = {weights["file"]: weights["card"] for weights in plain["weights"]}
    assert cards.pop("model.h5") == "README.md"
    assert cards == {f"{Path(norm['folder']).name}.h5": f"{Path(norm['folder']).name}/README.md"}
    assert models.main([]) == 0
    text = capsys.readouterr().out
    assert f"trained on {plain['card']['hours_of_mixtures']} hours" in text and "licence: mit; languages: en, " in text


def test_models_reads_cards_beside_weights_of_ones_own(tmp_path, capsys):
    pytest.importorskip("yaml")
    card = (
        "\ufeff---\nlicense: cc0-1.0\nlanguage: no\nmodel-index:\n- results:\n  - dataset: {name: mine}\n"
        "    metrics: [{type: stoi, value: 91.5}, {type: opinion, value: good}]\n---\n# Mine\n"
    )
    arguments = write_weights_with_card(tmp_path / "mine", card)
    (tmp_path / "mine" / "b").mkdir()
    (tmp_path / "mine" / "b" / "README.md").write_text("---\nlicense: mit\n---\n")
    assert models.main(arguments) == 0
    text = capsys.readouterr().out
    assert "  licence: cc0-1.0; languages: no\n  mine: stoi 91.5, opinion good\n" in text
    assert "card: README.md\n" in text and "card: b/README.md\n" in text


@pytest.mark.parametrize("card", ["# Notes\n", "", "---\nnever closed\n"])
def test_models_takes_other_texts_for_no_cards(card, tmp_path, capsys):
    assert models.main(write_weights_with_card(tmp_path / "mine", card)) == 0
    assert "card" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "said", ["", "text", "- list", "license: [", "model-index: 3", "model-index: [{results: [{dataset: {}}]}]"]
)
def test_models_says_what_is_wrong_with_a_card(said, tmp_path, capsys):
    pytest.importorskip("yaml")
    assert models.main(write_weights_with_card(tmp_path / "mine", f"---\n{said}\n---\n")) == 0
    text = capsys.readouterr().out
    assert "README.md was not read: expected the metadata of a Hugging Face model card" in text
    assert len(text.splitlines()) == 4


def test_models_without_a_yaml_reader_says_less(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert models.main([]) == 0
    text = capsys.readouterr().out
    assert "README.md was not read: reading it needs the package yaml: pip install" in text and '[eval]"' in text
    assert "model.h5" in text and "hours" not in text


def test_models_of_an_empty_folder(tmp_path, capsys):
    assert models.main(["-m", str(tmp_path)]) == 1
    assert "holds neither weights nor exports" in capsys.readouterr().out


def test_doctor_prints_what_a_bug_report_needs(tmp_path, capsys):
    soundfile.write(tmp_path / "stereo.flac", np.zeros((4410, 2)), 44100, subtype="PCM_24")
    assert doctor.main([str(tmp_path / "stereo.flac")]) == 0
    report = capsys.readouterr().out
    for line in ("system\n", "packages\n", f"numpy {np.__version__}\n", "not installed: ", "models\n", "tflite-stream"):
        assert line in report
    assert "the default runs on ai_edge_litert" in report and "sound devices\n" in report
    assert "stereo.flac: FLAC PCM_24, 44100 Hz, channels: 2" in report
    assert "4410 samples per channel, 0.100 s" in report


def test_doctor_goes_on_where_something_fails(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    (tmp_path / "text.wav").write_text("this is no recording, whatever its name says " * 9)
    monkeypatch.setattr("dtln.streaming.engine.open_backend", lambda: 1 / 0)
    assert doctor.main([str(tmp_path / "text.wav"), str(tmp_path / "missing.wav")]) == 1
    report = capsys.readouterr().out
    assert "the default does not run: ZeroDivisionError" in report
    assert "~/text.wav: cannot be read as audio" in report and "~/missing.wav: expected an audio file" in report
    assert str(tmp_path) not in report
