"""run_training_cuda.py: what it needs."""

from __future__ import annotations

import sys

from dtln.commands import train_cuda


def test_training_on_a_gpu_says_that_it_needs_pytorch(tmp_path, capsys, monkeypatch):

    monkeypatch.setitem(sys.modules, "torch", None)
    folders = ["--speech", str(tmp_path), "--noise", str(tmp_path), "--run-dir", str(tmp_path / "run")]
    assert train_cuda.main([*folders, "--network", "a"]) == 1
    assert "training on a GPU needs PyTorch: pip install torch" in capsys.readouterr().err
