"""Fixtures of the live tests."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from fake_devices import FakeSoundDevice, pass_through

from dtln.formats import EXPORT_KINDS, MODEL_DIR, available_kinds
from dtln.streaming import backends


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a TF-lite pair that changes signals audibly: the trained one, else one with random masks."""
    if "tflite" in available_kinds(MODEL_DIR):
        return MODEL_DIR
    import DTLN_model

    network = DTLN_model.build_network(DTLN_model.DTLNConfig(), seed=1)
    DTLN_model.initialise_mdct(network.dtln_layers)
    generator = np.random.default_rng(1)
    for core in (network.dtln_layers.core_1, network.dtln_layers.core_2):
        kernel, bias = core.dense.get_weights()
        core.dense.set_weights([kernel, generator.normal(0.0, 3.0, bias.shape)])
    folder = tmp_path_factory.mktemp("model")
    EXPORT_KINDS["tflite"].export(network, folder)
    return folder


@pytest.fixture
def fake(monkeypatch) -> FakeSoundDevice:
    """Takes the place of sounddevice; the model is a PassThrough."""
    fake = FakeSoundDevice()
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    monkeypatch.setattr(backends, "open_backend", lambda *_: pass_through())
    return fake
