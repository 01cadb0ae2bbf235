"""measure_execution_time.py: one row for each export."""

from __future__ import annotations

import json

from dtln.commands import benchmark
from dtln.formats import EXPORT_KINDS


def test_measuring_all_exports(model_dir, tmp_path, capsys):
    target = tmp_path / "times.json"
    arguments = ["--backend", "all", "-m", str(model_dir), "--blocks", "50", "--json", str(target)]
    assert benchmark.main(arguments) == 0
    report = capsys.readouterr().out
    numbers = json.loads(target.read_text())
    assert {result["backend"] for result in numbers["results"]} == set(EXPORT_KINDS)
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
