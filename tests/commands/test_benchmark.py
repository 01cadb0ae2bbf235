"""measure_execution_time.py: one row for each export."""

from __future__ import annotations

import json
import sys

import measure_execution_time
from dtln.commands import benchmark
from dtln.formats import EXPORT_KINDS


def test_measuring_all_exports(model_dir, tmp_path, capsys):
    target = tmp_path / "times.json"
    arguments = ["--backend", "all", "-m", str(model_dir), "--blocks", "50", "--json", str(target)]
    assert benchmark.main(arguments) == 0
    report = capsys.readouterr().out
    numbers = json.loads(target.read_text())
    assert [result["backend"] for result in numbers["results"]][0] == "savedmodel"  # or TensorFlow's threads stay
    assert {result["backend"] for result in numbers["results"]} == set(EXPORT_KINDS)
    for result in numbers["results"]:
        assert result["blocks"] == 50 and result["threads"] == 1 and result["shift_ms"] == 8.0
        assert 0 < result["p50"] <= result["p95"] <= result["p99"] <= result["max"]
        assert result["real_time"] == (result["p99"] < 8.0)
        assert sum(result["histogram"]["blocks"]) == 50
    assert numbers["processor"] in report and "of the 8 ms shift" in report


def test_dtln_benchmark_leaves_out_what_cannot_run(model_dir, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert benchmark.main(["-m", str(model_dir), "--blocks", "5"], prog="dtln benchmark") == 0
    report = capsys.readouterr()
    assert "onnx: not measured, an ONNX model needs the package onnxruntime" in report.err
    assert "tflite (ai_edge_litert)" in report.out and "savedmodel: not measured" in report.err
    assert measure_execution_time.main(["-m", str(model_dir), "--blocks", "5"]) == 1
    assert "savedmodel: not measured, a SavedModel needs the package tensorflow" in capsys.readouterr().err


def test_measuring_names_what_is_wrong(tmp_path, capsys):
    assert benchmark.main(["--backend", "all", "-m", str(tmp_path)]) == 1
    assert "holds no exports" in capsys.readouterr().err
    assert benchmark.main(["--backend", "torch", "-m", str(tmp_path)]) == 2
    assert "unknown backend 'torch': expected all or one of tflite" in capsys.readouterr().err
    assert benchmark.main(["--backend", "tflite", "--json", str(tmp_path / "no" / "times.json")]) == 1
    report = capsys.readouterr()
    assert "times.json: its folder does not exist. Make it first" in report.err and not report.out
    assert measure_execution_time.main(["-m", str(tmp_path)]) == 1
    assert "holds no saved_model.pb" in capsys.readouterr().err
