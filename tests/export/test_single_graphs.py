"""The ONNX engine for whole signals gives what the Keras network gives, and needs neither Keras nor TensorFlow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from signals import batch_output, random_network, snr_db, speech_like

import DTLN_model as dtln
from dtln.errors import ModelError
from dtln.evaluation import sequences
from dtln.evaluation.sequences import SequenceDenoiser, SequenceNetwork
from dtln.export import onnx_graph, tflite
from dtln.formats import EXPORT_KINDS
from dtln.streaming.backends import TFLiteStreamBackend, open_backend
from dtln.streaming.engine import StreamingDenoiser

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = {
    "paper": dtln.DTLNConfig(),
    "normalising": dtln.DTLNConfig(norm_stft=True),
    "one layer": dtln.DTLNConfig(units=16, lstm_layers=1),
    "three layers": dtln.DTLNConfig(units=8, lstm_layers=3, encoder_size=40, norm_stft=True),
    "half overlap": dtln.DTLNConfig(block_length=320, block_shift=160, units=8),
    "odd overlap": dtln.DTLNConfig(block_length=400, block_shift=160, units=8),
}


@pytest.fixture(scope="module", params=CONFIGS)
def engines(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dtln.DTLNNetwork, SequenceNetwork]:
    """A Keras network with random weights, and the engine that read them from its file."""
    network = random_network(CONFIGS[request.param])
    path = tmp_path_factory.mktemp("weights") / "random.h5"
    network.save_weights(path)
    return network, SequenceNetwork(path)


@pytest.mark.parametrize("length", [0, 1, 127, 384, 512, 5000])
def test_equals_the_keras_network(engines: tuple, length: int) -> None:
    """To 1e-5 of full scale, for a batch of different signals."""
    network, engine = engines
    signals = np.stack([speech_like(5000, seed)[:length] for seed in range(3)])
    found = engine.denoise(signals)
    assert found.shape == (3, length) and found.dtype == np.float32
    if length:
        expected = network.denoise(signals)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert length < 500 or np.max(np.abs(expected)) > 1e-2


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("piece", [1, 100, 1777, 5000])
def test_pieces_do_not_show(engines: tuple, chunk: int, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither those in which the signals come nor those in which they are denoised."""
    _, engine = engines
    signals = np.stack([speech_like(5000, seed) for seed in range(2)])[:, : 5000 if piece > 1 else 700]
    expected = engine.denoise(signals)
    monkeypatch.setattr(sequences, "CHUNK_BLOCKS", chunk)
    stream = SequenceDenoiser(engine, 2)
    for _ in range(2):  # the second time after the reset of the first flush
        pieces = [stream.process(signals[:, i : i + piece]) for i in range(0, signals.shape[1], piece)]
        assert chunk > 2 or sum(p.shape[1] for p in pieces) > 0
        found = np.concatenate([*pieces, stream.flush()], axis=1)
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_streaming_graph_equals_the_keras_network(engines: tuple, tmp_path: Path) -> None:
    """One graph, block by block, to 1e-5."""
    network, _ = engines
    onnx_graph.export_graph(network, tmp_path / "model_stream.onnx")
    backend = open_backend("onnx-stream", tmp_path)
    assert (backend.block_length, backend.block_shift) == (network.config.block_length, network.config.block_shift)
    signal = speech_like(5000)
    found = StreamingDenoiser(backend).denoise(signal)
    np.testing.assert_allclose(found, batch_output(network, signal), atol=1e-5)


def test_streaming_tflite_graph_equals_the_keras_network(engines: tuple, tmp_path: Path) -> None:
    """The same for the TF-lite graph, on both of its runtimes here."""
    network, _ = engines
    path = tflite.export_graph(network, tmp_path / "model_stream.tflite")
    signal = speech_like(5000)
    for runtime in ("ai_edge_litert", "tf.lite"):
        backend = TFLiteStreamBackend(path, runtime=runtime)
        sizes = (backend.block_length, backend.block_shift)
        assert sizes == (network.config.block_length, network.config.block_shift)
        found = StreamingDenoiser(backend).denoise(signal)
        np.testing.assert_allclose(found, batch_output(network, signal), atol=3e-5)


WEIGHTS = ("model.h5", "DTLN_norm_7246h.h5", "reference/model.h5", "reference/DTLN_norm_500h.h5")
LARGEST_BYTES = {"tflite-stream-quant": 1.12e6, "onnx-stream-quant": 1.22e6, "tflite-quant": 1.06e6}
# Level of the signal, whose peak is 0.5 at 0 dB: least SNR against float. Measured: 37.8 to 41.7 dB loud. Quiet, the
# weights differ: 18.5 to 40.8 dB. The lowest is the published DTLN_norm_500h.h5 in ONNX, and it comes from the LSTMs:
# with these alone in 8 bits it is 18.4 dB.
LEVELS_DB = {0: 36.0, -30: 17.0}


@pytest.fixture(scope="module", params=WEIGHTS)
def in_8_bits(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple:
    """(network with included or published weights, folder with its exports in 8 bits)."""
    folder = request.getfixturevalue("shared") if "/" in request.param else ROOT / "pretrained_model"
    network, target = dtln.load_network(folder / request.param), tmp_path_factory.mktemp("exports")
    for kind in LARGEST_BYTES:
        EXPORT_KINDS[kind].export(network, target)
    return network, target


@pytest.mark.parametrize("kind", LARGEST_BYTES)
def test_exports_in_8_bits(in_8_bits: tuple, kind: str) -> None:
    """Every trained network keeps its output, loud and quiet, in a quarter of the bytes."""
    network, folder = in_8_bits
    assert sum(path.stat().st_size for path in EXPORT_KINDS[kind].paths(folder)) < LARGEST_BYTES[kind]
    backend = open_backend(kind, folder)
    for level_db, least_db in LEVELS_DB.items():
        signal = speech_like(32000) * np.float32(10 ** (level_db / 20))
        found = StreamingDenoiser(backend).denoise(signal)
        assert least_db < snr_db(batch_output(network, signal), found) < 60, level_db


class _LSTMsAlone(tflite._Products):
    """What earlier versions stored in 8 bits."""

    def lstm(self, *args: Any) -> tuple[Any, Any]:
        self.quantise = True
        try:
            return super().lstm(*args)
        finally:
            self.quantise = False


def test_files_with_the_lstms_alone_in_8_bits_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = dtln.load_network(ROOT / "pretrained_model" / "model.h5")
    monkeypatch.setattr(tflite, "_Products", _LSTMsAlone)
    for kind in ("tflite-quant", "tflite-stream-quant"):
        paths = EXPORT_KINDS[kind].paths(tmp_path)
        (tflite.export_pair if len(paths) == 2 else tflite.export_graph)(network, *paths)
        assert 1.9e6 < sum(path.stat().st_size for path in paths) < 2.1e6
        signal = speech_like(16000)
        found = StreamingDenoiser(open_backend(kind, tmp_path)).denoise(signal)
        assert 36 < snr_db(batch_output(network, signal), found) < 60


def test_streaming_backend_refuses_other_graphs(tmp_path: Path) -> None:
    (tmp_path / "model_stream.onnx").write_bytes((ROOT / "pretrained_model" / "model_1.onnx").read_bytes())
    with pytest.raises(ModelError, match="model_stream.onnx: takes .* Expected block and states"):
        open_backend("onnx-stream", tmp_path)
    (tmp_path / "model_stream.tflite").write_bytes((ROOT / "pretrained_model" / "model_1.tflite").read_bytes())
    with pytest.raises(ModelError, match="model_stream.tflite: takes tensors of shapes .* Expected a b"):
        open_backend("tflite-stream", tmp_path)
    (tmp_path / "model_stream.onnx").write_text("text")
    with pytest.raises(ModelError, match="cannot be loaded by onnxruntime"):
        open_backend("onnx-stream", tmp_path)


def test_samples_of_another_shape_say_so(engines: tuple) -> None:
    with pytest.raises(ValueError, match=r"samples of shape \(3, 10\) were given: expected \(2, L\)"):
        SequenceDenoiser(engines[1], 2).process(np.zeros((3, 10), np.float32))


def test_published_weights_give_the_published_output(shared: Path) -> None:
    for name, golden in (("model.h5", "batch_model"), ("DTLN_norm_500h.h5", "batch_DTLN_norm_500h")):
        engine = SequenceNetwork(shared / "reference" / name)
        with np.load(shared / "reference" / "golden.npz") as reference:
            signal, expected = reference["input"], reference[golden]
        np.testing.assert_allclose(engine.denoise(signal[None])[0], expected, atol=1e-5)


def test_engine_needs_neither_keras_nor_tensorflow() -> None:
    code = (
        "import sys, numpy, dtln.evaluation.sequences\n"
        "engine = dtln.evaluation.sequences.SequenceNetwork('pretrained_model/model.h5')\n"
        "engine.denoise(numpy.zeros((1, 1000), 'float32'))\n"
        "print([name for name in ('tensorflow', 'keras', 'torch', 'jax', 'scipy') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.strip() == "[]", run.stdout + run.stderr


def test_bad_weights_say_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none.h5: no such weights file"):
        SequenceNetwork(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("text")
    with pytest.raises(ValueError, match=r"text\.h5: is not an HDF5 file"):
        SequenceNetwork(tmp_path / "text.h5")
