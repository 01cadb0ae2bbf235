"""The block engine against the published outputs and against the Keras network, on every kind of export."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from signals import batch_output, random_network, snr_db, speech_like

import DTLN_model as dtln
from dtln.errors import MissingRuntimeError, ModelError
from dtln.facts import BLOCK_SHIFT, OVERLAP_DELAY
from dtln.formats import EXPORT_KINDS, kind_paths
from dtln.streaming import backends
from dtln.streaming.backends import TFLiteBackend, find_tflite_runtime, open_backend
from dtln.streaming.engine import StreamingDenoiser

ROOT = Path(__file__).resolve().parents[2]
FLOAT_TOLERANCE = 1e-4  # at a peak level of 0.5
QUANTISED_SNR_DB = 30.0  # 8-bit against float, on random weights (measured: 36.6 to 37.0)
# Runtimes round the activations of 8-bit layers in their own ways: measured 34.3 dB against the published output.
PUBLISHED_QUANTISED_SNR_DB = 30.0
LENGTHS = (128 * 40, 128 * 40 + 1, 1, 0)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "norm"])
def exported(request, tmp_path_factory):
    """(network, folder with all its exports)."""
    folder = tmp_path_factory.mktemp("exports")
    network = random_network(dtln.DTLNConfig(norm_stft=request.param))
    for kind in EXPORT_KINDS:
        EXPORT_KINDS[kind].export(network, folder)
    return network, folder


def assert_parity(network: dtln.DTLNNetwork, kind: str, signal: np.ndarray, output: np.ndarray) -> None:
    """The output of a stream equals that of the Keras network, to the tolerance of its kind."""
    expected = batch_output(network, signal)
    assert output.shape == signal.shape
    if kind.endswith("-quant"):
        assert (
            snr_db(expected, output) > QUANTISED_SNR_DB if len(signal) > 1 else np.all(np.abs(output - expected) < 0.1)
        )
    else:
        np.testing.assert_allclose(output, expected, atol=FLOAT_TOLERANCE)


# --- published exports ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def golden(shared):
    with np.load(shared / "reference" / "golden.npz") as stored:
        return dict(stored)


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_published_pairs_give_the_published_stream(shared, golden, kind):
    denoiser = StreamingDenoiser(open_backend(kind, shared / "reference"))
    output = denoiser.denoise(golden["input"])
    published = golden["stream_tflite"]  # delayed, and never flushed
    np.testing.assert_allclose(output[: -2 * OVERLAP_DELAY], published[OVERLAP_DELAY:-OVERLAP_DELAY], atol=1e-4)


@pytest.mark.parametrize("runtime", ["ai_edge_litert", "tf.lite"])
def test_published_quantised_pair_gives_the_published_stream(shared, golden, runtime):
    backend = TFLiteBackend(*kind_paths("tflite-quant", shared / "reference"), runtime=runtime)
    assert backend.runtime == runtime
    output = StreamingDenoiser(backend).denoise(golden["input"])
    snr = snr_db(golden["stream_tflite_quant"][OVERLAP_DELAY:-OVERLAP_DELAY], output[: -2 * OVERLAP_DELAY])
    assert snr > PUBLISHED_QUANTISED_SNR_DB


def test_published_saved_model_starts_each_signal_afresh_and_serves_several(shared, golden):
    denoiser = StreamingDenoiser(open_backend("savedmodel", shared / "reference"))
    signal = golden["input"][:8000]
    first, second = denoiser.denoise(signal), denoiser.denoise(signal)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first[:6000], golden["batch_model"][:6000], atol=1e-4)
    both = np.stack([signal, signal[::-1]], axis=1)  # each channel has states, and they take turns
    denoised = StreamingDenoiser(denoiser.backend, channels=2).denoise(both)
    np.testing.assert_array_equal(denoised[:, 0], first)
    np.testing.assert_array_equal(denoised[:, 1], denoiser.denoise(both[:, 1]))


# --- our exports ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EXPORT_KINDS)
def test_parity_on_every_length_before_and_after_reset(exported, kind):
    network, folder = exported
    denoiser = StreamingDenoiser(open_backend(kind, folder))
    for seed, length in enumerate(LENGTHS):
        signal = speech_like(length, seed)
        output = np.concatenate([denoiser.process(signal), denoiser.flush()])  # flush resets
        assert_parity(network, kind, signal, output)
        denoiser.process(speech_like(777, 9))
        denoiser.reset()
        output = np.concatenate([denoiser.process(signal), denoiser.flush()])
        assert_parity(network, kind, signal, output)


@pytest.mark.parametrize("kind", EXPORT_KINDS)
def test_parity_fails_when_one_weight_is_perturbed(exported, kind):
    network, folder = exported
    signal = speech_like(LENGTHS[0])
    output = StreamingDenoiser(open_backend(kind, folder)).denoise(signal)
    assert_parity(network, kind, signal, output)
    encoder = network.dtln_layers.encoder
    (kernel,) = encoder.get_weights()
    changed = kernel.copy()
    changed[0, 256, 100] += 20.0 if kind.endswith("-quant") else 0.1  # 8 bits lose more than a small change makes
    try:
        encoder.set_weights([changed])
        with pytest.raises(AssertionError):
            assert_parity(network, kind, signal, output)
    finally:
        encoder.set_weights([kernel])


@pytest.mark.parametrize("kind", EXPORT_KINDS)
def test_stream_is_causal_up_to_the_overlap(exported, kind):
    _, folder = exported
    denoiser = StreamingDenoiser(open_backend(kind, folder))
    signal, change = speech_like(128 * 40), 128 * 25
    changed = signal.copy()
    changed[change:] = np.random.default_rng(1).uniform(-0.5, 0.5, len(signal) - change)
    before, after = denoiser.denoise(signal), denoiser.denoise(changed)
    np.testing.assert_array_equal(before[: change - OVERLAP_DELAY], after[: change - OVERLAP_DELAY])
    assert np.max(np.abs(before - after)[change - OVERLAP_DELAY : change - OVERLAP_DELAY + BLOCK_SHIFT]) > 1e-4


def test_chunks_of_any_size_give_the_same_samples(exported):
    _, folder = exported
    denoiser = StreamingDenoiser(open_backend("onnx", folder))
    signal = speech_like(5000)
    whole = denoiser.denoise(signal)
    cuts = np.sort(np.random.default_rng(0).integers(0, 5000, 30))
    chunks = [denoiser.process(chunk) for chunk in np.split(signal, cuts)]
    np.testing.assert_array_equal(np.concatenate([*chunks, denoiser.flush()]), whole)


def test_a_block_at_a_time_gives_the_same_samples_with_a_fixed_delay(exported):
    _, folder = exported
    denoiser = StreamingDenoiser(open_backend("tflite", folder))
    signal = speech_like(128 * 30)
    whole = denoiser.denoise(signal)
    live = np.concatenate([denoiser.process_block(block) for block in signal.reshape(-1, 128)])
    np.testing.assert_array_equal(live[OVERLAP_DELAY:], whole[:-OVERLAP_DELAY])
    assert denoiser.delay == OVERLAP_DELAY


@pytest.mark.parametrize("kind", EXPORT_KINDS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38], ids=str)
def test_unusable_blocks_are_silenced_and_never_reach_the_states(exported, kind, bad):
    _, folder = exported
    denoiser = StreamingDenoiser(open_backend(kind, folder))
    clean = speech_like(128 * 20).reshape(-1, 128)
    spoilt = clean.copy()
    spoilt[5, 17] = bad
    silenced = clean.copy()
    silenced[5] = 0
    expected = np.concatenate([denoiser.process_block(block) for block in silenced])
    assert denoiser.silenced_blocks == 0
    denoiser.reset()
    np.testing.assert_array_equal(np.concatenate([denoiser.process_block(block) for block in spoilt]), expected)
    assert denoiser.silenced_blocks == 1


@pytest.mark.parametrize(("length", "shift", "layers"), [(320, 160, 3), (160, 80, 1), (400, 160, 1)])
def test_exports_and_engine_take_their_sizes_from_the_model(tmp_path, length, shift, layers):
    config = dtln.DTLNConfig(block_length=length, block_shift=shift, units=24, lstm_layers=layers, encoder_size=64)
    network = random_network(config)
    signal = speech_like(shift * 20 + 7)
    for kind in EXPORT_KINDS:
        EXPORT_KINDS[kind].export(network, tmp_path)
        backend = open_backend(kind, tmp_path)
        assert (backend.block_length, backend.block_shift) == (length, shift)
        assert_parity(network, kind, signal, StreamingDenoiser(backend).denoise(signal))
    restored = dtln.load_network(tmp_path / "dtln_saved_model")
    assert restored.config == config
    np.testing.assert_array_equal(batch_output(restored, signal), batch_output(network, signal))


def test_exports_serve_code_that_binds_by_position(exported):
    """Ports of the published scripts bind signal and states by their positions: 0 and 1, in and out."""
    network, folder = exported
    signal = speech_like(128 * 12)
    padded = np.pad(signal, (0, OVERLAP_DELAY))
    expected = batch_output(network, signal)

    def stream(model_1, model_2):
        states = [np.zeros((1, 2, 128, 2), np.float32) for _ in range(2)]
        window, added = np.zeros(512, np.float32), np.zeros(len(padded) + 512)
        for start in range(0, len(padded), 128):
            window = np.concatenate([window[128:], padded[start : start + 128]])
            spectrum = np.fft.rfft(window)
            mask, states[0] = model_1(np.abs(spectrum).reshape(1, 1, -1).astype(np.float32), states[0])
            estimate = np.fft.irfft(spectrum * mask.reshape(-1)).reshape(1, 1, -1).astype(np.float32)
            denoised, states[1] = model_2(estimate, states[1])
            added[start : start + 512] += denoised.reshape(-1)
        return added[OVERLAP_DELAY : OVERLAP_DELAY + len(signal)]

    _, interpreter_class = find_tflite_runtime()

    def tflite(path):
        interpreter = interpreter_class(model_path=str(path))
        interpreter.allocate_tensors()
        details_in, details_out = interpreter.get_input_details(), interpreter.get_output_details()

        def run(*tensors):
            for detail, tensor in zip(details_in, tensors, strict=True):
                interpreter.set_tensor(detail["index"], tensor)
            interpreter.invoke()
            return [interpreter.get_tensor(detail["index"]) for detail in details_out]

        return run

    def onnx(path):
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path))
        names = [value.name for value in session.get_inputs()]
        return lambda *tensors: session.run(None, dict(zip(names, tensors, strict=True)))

    for load, suffix in ((tflite, "tflite"), (onnx, "onnx")):
        output = stream(load(folder / f"model_1.{suffix}"), load(folder / f"model_2.{suffix}"))
        np.testing.assert_allclose(output, expected, atol=FLOAT_TOLERANCE)


def test_saved_model_serves_code_written_for_the_published_one(exported):
    import tensorflow as tf

    network, folder = exported
    infer = tf.saved_model.load(str(folder / "dtln_saved_model")).signatures["serving_default"]
    signal = speech_like(128 * 12)
    padded = np.pad(signal, (0, OVERLAP_DELAY))
    window, added = np.zeros((1, 512), np.float32), np.zeros(len(padded) + 512)
    for start in range(0, len(padded), 128):
        window = np.concatenate([window[:, 128:], padded[None, start : start + 128]], axis=1)
        block = infer(tf.constant(window, dtype=tf.float32))["conv1d_1"]
        assert block.shape == (1, 1, 512)
        added[start : start + 512] += np.squeeze(block)
    output = added[OVERLAP_DELAY : OVERLAP_DELAY + len(signal)]
    np.testing.assert_allclose(output, batch_output(network, signal), atol=FLOAT_TOLERANCE)


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_engine_is_imported_without_tensorflow():
    code = "import dtln.streaming, sys; assert not {'tensorflow', 'keras', 'soundfile'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_missing_models_are_named(tmp_path):
    for kind in ("tflite", "onnx"):
        with pytest.raises(FileNotFoundError, match="model_1.*no such model file.*dtln convert"):
            open_backend(kind, tmp_path)
    with pytest.raises(FileNotFoundError, match="holds no saved_model.pb"):
        open_backend("savedmodel", tmp_path)
    with pytest.raises(ValueError, match="unknown kind of model 'torch': expected one of tflite"):
        open_backend("torch", tmp_path)


def test_models_that_do_not_fit_are_named(exported, tmp_path):
    _, folder = exported
    with pytest.raises(ModelError, match="takes 512 frequency bins, but .*model_2.tflite.* two files of one export"):
        TFLiteBackend(folder / "model_2.tflite", folder / "model_2.tflite")
    for name in ("model_1.tflite", "model_2.tflite", "model_1.onnx", "model_2.onnx"):
        (tmp_path / name).write_text("no model")
    with pytest.raises(ModelError, match="model_1.tflite: cannot be loaded"):
        open_backend("tflite", tmp_path)
    with pytest.raises(ModelError, match="model_1.onnx: cannot be loaded by onnxruntime"):
        open_backend("onnx", tmp_path)


def test_missing_runtime_says_what_to_install(exported, monkeypatch):
    _, folder = exported
    monkeypatch.setattr(backends, "TFLITE_RUNTIMES", {"none": ("no_such_runtime", "Interpreter")})
    with pytest.raises(MissingRuntimeError, match=r'pip install ".*\[live\]" \(or'):
        open_backend("tflite", folder)


def test_samples_of_wrong_shape_are_refused(exported):
    _, folder = exported
    denoiser = StreamingDenoiser(open_backend("onnx", folder))
    with pytest.raises(ValueError, match=r"shape \(100,\) was given: expected one shift, \(128,\)"):
        denoiser.process_block(np.zeros(100, np.float32))
    with pytest.raises(ValueError, match=r"shape \(128, 2\) were given: expected one channel"):
        denoiser.process(np.zeros((128, 2), np.float32))
