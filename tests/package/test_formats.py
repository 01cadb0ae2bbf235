"""dtln.formats: which files a path stands for, and which kinds are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from dtln.formats import EXPORT_KINDS, available_kinds, default_kind, fastest_kind


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file of every name in the table, and a published SavedModel under a name of its own."""
    for kind in EXPORT_KINDS.values():
        for path in kind.paths(tmp_path):
            path.mkdir() if kind.inside else path.touch()
    for name in ("dtln_saved_model", "DTLN_norm_500h_saved_model"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "saved_model.pb").touch()
    return tmp_path


def test_a_folder_holds_all_kinds(folder):
    assert available_kinds(folder) == list(EXPORT_KINDS)
    for kind in EXPORT_KINDS.values():
        assert kind.found(folder) == kind.paths(folder) == [folder / name for name in kind.files]


@pytest.mark.parametrize("name", ["dtln_saved_model", "DTLN_norm_500h_saved_model"])
def test_a_saved_model_stands_for_itself(folder, name, monkeypatch):
    assert available_kinds(folder / name) == ["savedmodel"] == [default_kind(folder / name)]
    assert EXPORT_KINDS["savedmodel"].found(folder / name) == [folder / name]
    monkeypatch.chdir(folder / name)
    assert EXPORT_KINDS["savedmodel"].found(Path()) == [Path()]
    assert EXPORT_KINDS["savedmodel"].paths(folder / name) == [
        folder / name / "dtln_saved_model"
    ]  # where one is written


@pytest.mark.parametrize(("name", "kind"), [(file, kind.name) for kind in EXPORT_KINDS.values() for file in kind.files])
def test_a_file_stands_for_its_kind_alone(folder, name, kind):
    assert available_kinds(folder / name) == [kind]
    assert EXPORT_KINDS[kind].found(folder / name) == [folder / file for file in EXPORT_KINDS[kind].files]
    assert fastest_kind(kind, folder / name) == kind


def test_what_is_missing_is_named_where_it_was_expected(folder):
    assert available_kinds(folder / "none") == available_kinds(folder / "none.onnx") == []
    assert EXPORT_KINDS["onnx"].found(folder / "none") == EXPORT_KINDS["onnx"].paths(folder / "none")
    (folder / "model_2.onnx").unlink()
    assert "onnx" not in available_kinds(folder / "model_1.onnx")
    with pytest.raises(FileNotFoundError, match="none: holds no model files"):
        default_kind(folder / "none")
