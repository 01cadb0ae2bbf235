"""Scripts and notebooks written for the published DTLN code run on this module unchanged."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import soundfile
import tensorflow as tf
from keras.layers import Conv1D, Input, Lambda, Multiply
from keras.models import Model
from training_pairs import noisy_pair, speech_like, write_pairs

from DTLN_model import DTLN_model, InstantLayerNormalization, audio_generator

BLOCK_SIZES = [(512, 128), (320, 160), (160, 80), (400, 160)]


def small(**settings: Any) -> DTLN_model:
    """The class with few units, as a script would set it up."""
    m = DTLN_model()
    m.numUnits = 16
    m.encoder_size = 32
    for name, value in settings.items():
        assert hasattr(m, name)
        setattr(m, name, value)
    return m


def randomise(model: keras.Model, seed: int = 0) -> None:
    """Random weights, biases and gains among them."""
    rng = np.random.default_rng(seed)
    model.set_weights([w + 0.1 * rng.standard_normal(w.shape).astype(np.float32) for w in model.get_weights()])


def signals(length: int = 4096, count: int = 2) -> np.ndarray:
    return np.stack([noisy_pair(length, seed)[0] for seed in range(count)])


def test_attributes_and_their_defaults() -> None:
    m = DTLN_model()
    expected = {
        "fs": 16000,
        "batchsize": 32,
        "len_samples": 15,
        "activation": "sigmoid",
        "numUnits": 128,
        "numLayer": 2,
        "blockLen": 512,
        "block_shift": 128,
        "dropout": 0.25,
        "lr": 1e-3,
        "max_epochs": 200,
        "encoder_size": 256,
        "eps": 1e-7,
        "model": [],
    }
    assert {name: getattr(m, name) for name in expected} == expected
    assert m.cost_function == m.snr_cost


# ----------------------------------------------------------------------------------------------------------------------
# Graphs
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm_stft", [False, True])
def test_build_load_predict_save(norm_stft: bool, tmp_path: Path) -> None:
    m = small()
    m.build_DTLN_model(norm_stft=norm_stft)
    randomise(m.model)
    path = tmp_path / "x.h5"
    m.model.save_weights(str(path))
    again = small()
    again.build_DTLN_model(norm_stft=norm_stft)
    again.model.load_weights(str(path))
    estimate = again.model.predict_on_batch(signals())
    assert estimate.shape == (2, 4096) and estimate.dtype == np.float32
    np.testing.assert_array_equal(estimate, m.model.predict_on_batch(signals()))


def test_published_weights_by_the_published_calls(shared: Path) -> None:
    m = DTLN_model()
    m.build_DTLN_model(norm_stft=True)
    m.model.load_weights(str(shared / "reference" / "DTLN_norm_500h.h5"))
    golden = np.load(shared / "reference" / "golden.npz")
    padded = np.concatenate([np.zeros(384), golden["input"], np.zeros(384)]).astype(np.float32)
    estimate = np.squeeze(m.model.predict_on_batch(np.expand_dims(padded, axis=0)))[384:-384]
    np.testing.assert_allclose(estimate, golden["batch_DTLN_norm_500h"], atol=1e-5)


def block_by_block(model: keras.Model, audio: np.ndarray, block_length: int, block_shift: int) -> np.ndarray:
    """The loop of the published `real_time_processing.py`, without its zeros at the start."""
    out = np.zeros_like(audio)
    for start in range(0, len(audio) - block_length + 1, block_shift):
        block = audio[start : start + block_length][None].astype(np.float32)
        out[start : start + block_length] += np.squeeze(model.predict_on_batch(block))
    return out


@pytest.mark.parametrize("norm_stft", [False, True])
@pytest.mark.parametrize(("block_length", "block_shift"), [(512, 128), (320, 160)])
def test_stateful_network_equals_the_batch_network(
    norm_stft: bool, block_length: int, block_shift: int, tmp_path: Path
) -> None:
    sizes = {"blockLen": block_length, "block_shift": block_shift}
    batch, stateful = small(**sizes), small(**sizes)
    batch.build_DTLN_model(norm_stft=norm_stft)
    randomise(batch.model)
    batch.model.save_weights(str(tmp_path / "x.h5"))
    stateful.build_DTLN_model_stateful(norm_stft=norm_stft)
    stateful.model.load_weights(str(tmp_path / "x.h5"))
    assert stateful.model.predict_on_batch(np.zeros((1, block_length), np.float32)).shape == (1, 1, block_length)

    audio = signals(block_length + 12 * block_shift, 1)[0]
    expected = batch.model.predict_on_batch(audio[None])[0]
    stateful.model.reset_states()
    first = block_by_block(stateful.model, audio, block_length, block_shift)
    np.testing.assert_allclose(first, expected, atol=1e-5)
    went_on = block_by_block(stateful.model, audio, block_length, block_shift)
    assert np.max(np.abs(went_on - expected)) > 1e-4  # the states are inside
    stateful.model.reset_states()
    np.testing.assert_array_equal(block_by_block(stateful.model, audio, block_length, block_shift), first)


def wired_by_hand(m: DTLN_model, norm_stft: bool) -> Model:
    """The network as notebooks build it: from the class's layers, one after the other."""
    time_dat = Input(batch_shape=(None, None))
    mag, angle = Lambda(m.stftLayer)(time_dat)
    mag_norm = InstantLayerNormalization()(keras.ops.log(mag + 1e-7)) if norm_stft else mag
    mask_1 = m.seperation_kernel(m.numLayer, (m.blockLen // 2 + 1), mag_norm)
    estimated_mag = Multiply()([mag, mask_1])
    estimated_frames_1 = Lambda(m.ifftLayer)([estimated_mag, angle])
    encoded_frames = Conv1D(m.encoder_size, 1, strides=1, use_bias=False)(estimated_frames_1)
    encoded_frames_norm = InstantLayerNormalization()(encoded_frames)
    mask_2 = m.seperation_kernel(m.numLayer, m.encoder_size, encoded_frames_norm)
    estimated = Multiply()([encoded_frames, mask_2])
    decoded_frames = Conv1D(m.blockLen, 1, padding="causal", use_bias=False)(estimated)
    estimated_sig = Lambda(m.overlapAddLayer)(decoded_frames)
    return Model(inputs=time_dat, outputs=estimated_sig)


@pytest.mark.parametrize("norm_stft", [False, True])
@pytest.mark.parametrize(("block_length", "block_shift"), BLOCK_SIZES)
def test_network_wired_by_hand(norm_stft: bool, block_length: int, block_shift: int) -> None:
    m = small(blockLen=block_length, block_shift=block_shift)
    by_hand = wired_by_hand(m, norm_stft)
    m.build_DTLN_model(norm_stft=norm_stft)
    randomise(m.model)
    by_hand.set_weights(m.model.get_weights())
    audio = signals(block_length + 9 * block_shift)
    expected = m.model.predict_on_batch(audio)
    assert np.std(expected) > 1e-3
    np.testing.assert_allclose(by_hand.predict_on_batch(audio), expected, atol=1e-5)


def test_network_wired_by_hand_loads_published_weights(shared: Path) -> None:
    m = DTLN_model()
    by_hand = wired_by_hand(m, norm_stft=False)
    by_hand.load_weights(str(shared / "reference" / "model.h5"))
    m.build_DTLN_model()
    m.model.load_weights(str(shared / "reference" / "model.h5"))
    np.testing.assert_allclose(by_hand.predict_on_batch(signals()), m.model.predict_on_batch(signals()), atol=1e-5)


def test_network_with_states_wired_by_hand(tmp_path: Path) -> None:
    """As the published `create_tf_lite_model` does it: fftLayer, and the cores with their states outside."""
    m = small()
    m.build_DTLN_model()
    randomise(m.model)
    weights = m.model.get_weights()

    block = Input(batch_shape=(1, m.blockLen))
    states_in_1 = Input(batch_shape=(1, m.numLayer, m.numUnits, 2))
    mag, angle = Lambda(m.fftLayer)(block)
    mask_1, states_out_1 = m.seperation_kernel_with_states(m.numLayer, (m.blockLen // 2 + 1), mag, states_in_1)
    frame = Lambda(m.ifftLayer)([Multiply()([mag, mask_1]), angle])
    model_1 = Model(inputs=[block, states_in_1], outputs=[frame, states_out_1])
    model_1.set_weights(weights[: len(model_1.get_weights())])

    frame_in = Input(batch_shape=(1, 1, m.blockLen))
    states_in_2 = Input(batch_shape=(1, m.numLayer, m.numUnits, 2))
    encoded = Conv1D(m.encoder_size, 1, strides=1, use_bias=False)(frame_in)
    mask_2, states_out_2 = m.seperation_kernel_with_states(
        m.numLayer, m.encoder_size, InstantLayerNormalization()(encoded), states_in_2
    )
    decoded = Conv1D(m.blockLen, 1, padding="causal", use_bias=False)(Multiply()([encoded, mask_2]))
    model_2 = Model(inputs=[frame_in, states_in_2], outputs=[decoded, states_out_2])
    model_2.set_weights(weights[len(model_1.get_weights()) :])

    audio = signals(2048, 1)[0]
    out = np.zeros_like(audio)
    states_1 = states_2 = np.zeros((1, 2, 16, 2), np.float32)
    for start in range(0, len(audio) - m.blockLen + 1, m.block_shift):
        frame, states_1 = model_1.predict_on_batch([audio[start : start + m.blockLen][None], states_1])
        denoised, states_2 = model_2.predict_on_batch([frame, states_2])
        out[start : start + m.blockLen] += np.squeeze(denoised)
    np.testing.assert_allclose(out, m.model.predict_on_batch(audio[None])[0], atol=1e-5)


@pytest.mark.parametrize(("block_length", "block_shift"), BLOCK_SIZES)
def test_untouched_blocks_add_up_to_the_signal_times_their_count(block_length: int, block_shift: int) -> None:
    m = small(blockLen=block_length, block_shift=block_shift)
    length = block_length + 7 * block_shift
    count = np.zeros(length)
    for start in range(0, 8 * block_shift, block_shift):
        count[start : start + block_length] += 1
    audio = signals(length)
    time_dat = Input(batch_shape=(None, None))
    mag, angle = Lambda(m.stftLayer)(time_dat)
    untouched = Model(time_dat, Lambda(m.overlapAddLayer)(Lambda(m.ifftLayer)([mag, angle])))
    np.testing.assert_allclose(untouched.predict_on_batch(audio), audio * count, atol=2e-6)
    mag, angle = m.stftLayer(audio)
    assert mag.shape == angle.shape == (2, 8, block_length // 2 + 1)
    np.testing.assert_allclose(m.overlapAddLayer(m.ifftLayer([mag, angle])), audio * count, atol=2e-6)

    mag, angle = m.fftLayer(audio[:, :block_length])
    expected = np.fft.rfft(audio[:, None, :block_length])
    np.testing.assert_allclose(np.asarray(mag), np.abs(expected), atol=1e-4)
    np.testing.assert_allclose(np.asarray(mag) * np.exp(1j * np.asarray(angle)), expected, atol=1e-4)


@pytest.mark.parametrize(("block_length", "block_shift"), BLOCK_SIZES)
def test_training_steps_stay_finite(block_length: int, block_shift: int) -> None:
    m = small(blockLen=block_length, block_shift=block_shift, numLayer=1)
    m.build_DTLN_model(norm_stft=True)
    m.compile_model()
    noisy, clean = (np.stack(s) for s in zip(*(noisy_pair(2400, seed) for seed in range(2)), strict=True))
    clean[1] = 0  # a silent target
    noisy[1, 1000:] = 0  # and digital silence in the input
    m.model.run_eagerly = True  # compiling the graph would take longer than five steps
    losses = [float(m.model.train_on_batch(noisy, clean)) for _ in range(5)]
    assert np.all(np.isfinite(losses))
    assert all(np.all(np.isfinite(w)) for w in m.model.get_weights())


def test_keras_file_round_trip(tmp_path: Path) -> None:
    """The layer comes back from a `.keras` file, as every Keras user expects."""
    inputs = Input((None, 5))
    model = Model(inputs, InstantLayerNormalization()(inputs))
    randomise(model)
    model.save(tmp_path / "x.keras")
    loaded = keras.models.load_model(tmp_path / "x.keras")
    features = np.random.default_rng(0).standard_normal((2, 3, 5)).astype(np.float32)
    np.testing.assert_array_equal(loaded.predict_on_batch(features), model.predict_on_batch(features))


def test_instant_layer_normalization_against_numpy() -> None:
    layer = InstantLayerNormalization()
    features = (3 + 2 * np.random.default_rng(0).standard_normal((2, 3, 40))).astype(np.float32)
    layer.build(features.shape)
    layer.set_weights([np.full(40, 1.5, np.float32), np.full(40, 0.25, np.float32)])
    mean, variance = features.mean(-1, keepdims=True), features.var(-1, keepdims=True)
    expected = (features - mean) / np.sqrt(variance + 1e-7) * 1.5 + 0.25
    np.testing.assert_allclose(np.asarray(layer(features)), expected, atol=1e-5)


# ----------------------------------------------------------------------------------------------------------------------
# Loss
# ----------------------------------------------------------------------------------------------------------------------


def published_cost(s_estimate: np.ndarray, s_true: np.ndarray) -> np.ndarray:
    s_estimate, s_true = s_estimate.astype(np.float64), s_true.astype(np.float64)
    power = np.mean(s_true**2, axis=-1, keepdims=True)
    return -10 * np.log10(power / (np.mean((s_true - s_estimate) ** 2, axis=-1, keepdims=True) + 1e-7))


@pytest.mark.parametrize("amplitude", [1.0, 0.1, 1e-3, 1e-5])
def test_snr_cost_is_the_published_one(amplitude: float) -> None:
    noisy, clean = (np.stack([amplitude * s]) for s in noisy_pair(4000))
    cost = np.asarray(DTLN_model.snr_cost(noisy, clean))
    assert cost.shape == (1, 1)
    np.testing.assert_allclose(cost, published_cost(noisy, clean), atol=1e-4)
    swapped = np.asarray(DTLN_model().snr_cost(clean, noisy))
    np.testing.assert_allclose(swapped, published_cost(clean, noisy), atol=1e-4)
    if amplitude >= 0.1:
        assert abs(float(swapped[0, 0] - cost[0, 0])) > 0.1  # (estimate, target), in this order


def test_snr_cost_of_silent_targets() -> None:
    silence, left_over = np.zeros((1, 4000), np.float32), np.full((1, 4000), 0.1, np.float32)
    assert float(DTLN_model.snr_cost(silence, silence)[0, 0]) == pytest.approx(0.0, abs=1e-4)
    assert float(DTLN_model.snr_cost(left_over, silence)[0, 0]) == pytest.approx(50.0, abs=1e-3)  # -20 dB over -70


def test_loss_wrapper_turns_the_arguments_round() -> None:
    noisy, clean = (np.stack(s) for s in zip(*(noisy_pair(4000, seed) for seed in range(3)), strict=True))
    loss = DTLN_model().lossWrapper()(clean, noisy)  # Keras gives (target, estimate)
    assert np.shape(loss) == ()
    assert float(loss) == pytest.approx(float(published_cost(noisy, clean).mean()), abs=1e-4)


def test_cost_function_can_be_replaced() -> None:
    m = small()
    m.build_DTLN_model()
    m.cost_function = lambda s_estimate, s_true: tf.reduce_mean(tf.square(s_estimate), axis=-1, keepdims=True) + 7.0
    m.compile_model()
    noisy = signals(1024)
    estimate = m.model.predict_on_batch(noisy)
    loss = m.model.test_on_batch(noisy, noisy)
    assert loss == pytest.approx(7.0 + np.mean(estimate**2), rel=1e-5)


def test_cost_function_can_be_overridden_in_a_subclass() -> None:
    class Custom(DTLN_model):
        @staticmethod
        def snr_cost(s_estimate: Any, s_true: Any) -> Any:
            return tf.reduce_mean(tf.abs(s_estimate - s_true), axis=-1, keepdims=True)

    ones, zeros = np.ones((2, 8), np.float32), np.zeros((2, 8), np.float32)
    assert float(Custom().lossWrapper()(zeros, ones)) == 1.0


# ----------------------------------------------------------------------------------------------------------------------
# Data and training
# ----------------------------------------------------------------------------------------------------------------------


def test_audio_generator_batches_as_published(tmp_path: Path) -> None:
    noisy, clean = write_pairs(tmp_path, [3000, 2048, 700])
    generator = audio_generator(str(noisy), str(clean), 1024, 16000)
    assert generator.total_samples == 2 + 2 + 0
    elements = list(generator.tf_data_set.as_numpy_iterator())
    cut = [
        (soundfile.read(folder / name, dtype="float32")[0][start : start + 1024])
        for name in generator.file_names
        for start in range(0, soundfile.info(noisy / name).frames - 1023, 1024)
        for folder in (noisy, clean)
    ]
    np.testing.assert_array_equal(np.reshape(elements, (-1, 1024)), cut)
    assert all(a.shape == b.shape == (1024,) and a.dtype == np.float32 for a, b in elements)

    shuffled = audio_generator(str(noisy), str(clean), 1024, 16000, train_flag=True)
    np.random.seed(0)  # noqa: NPY002  as scripts in the field seed it
    first, second = ([a.tobytes() for a, _ in shuffled.tf_data_set.as_numpy_iterator()] for _ in range(2))
    assert sorted(first) == sorted(second) == sorted(a.tobytes() for a, _ in elements)
    assert first != second

    dataset = shuffled.tf_data_set.batch(4, drop_remainder=True).repeat()
    batches = [batch[0].shape for batch in dataset.take(5)]
    assert batches == [(4, 1024)] * 5

    m = small()
    m.build_DTLN_model()
    m.compile_model()
    m.model.run_eagerly = True
    history = m.model.fit(dataset, steps_per_epoch=2, epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"][0])


def test_train_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    train = write_pairs(tmp_path / "train", [2048] * 4)
    validation = write_pairs(tmp_path / "val", [2048] * 2, seed=50)
    m = small(batchsize=2, len_samples=0.13, max_epochs=2, numLayer=1)
    m.build_DTLN_model()
    m.compile_model()
    before = m.model.get_weights()
    m.train_model("my_run", *map(str, (*train, *validation)))
    run_dir = tmp_path / "models_my_run"
    assert (run_dir / "my_run.h5").is_file()
    with open(run_dir / "training_my_run.log", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert set(rows[0]) == {"epoch", "loss", "val_loss", "lr"}  # as the published training writes them
    assert float(rows[0]["lr"]) == pytest.approx(1e-3)
    again = small(numLayer=1)
    again.build_DTLN_model()
    again.model.load_weights(str(run_dir / "my_run.h5"))
    assert not np.array_equal(again.model.get_weights()[0], before[0])


def test_train_model_trains_a_network_wired_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a cost function of one's own; the best weights load into the network of the same sizes."""
    monkeypatch.chdir(tmp_path)
    folders = write_pairs(tmp_path / "train", [1024] * 2)
    m = small(batchsize=2, len_samples=0.064, max_epochs=1)
    m.model = wired_by_hand(m, norm_stft=True)
    m.cost_function = lambda s_estimate, s_true: tf.reduce_mean(tf.square(s_estimate - s_true), axis=-1, keepdims=True)
    m.compile_model()
    m.model.run_eagerly = True
    m.train_model("own", *map(str, (*folders, *folders)))
    trained = m.model.predict_on_batch(signals(1024))
    m.build_DTLN_model(norm_stft=True)
    m.model.load_weights(str(tmp_path / "models_own" / "own.h5"))
    np.testing.assert_allclose(m.model.predict_on_batch(signals(1024)), trained, atol=1e-5)


# ----------------------------------------------------------------------------------------------------------------------
# Exports
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "norm_stft"), [("plain_but_called_norm", False), ("normalises_silently", True)])
def test_exports_take_the_variant_from_the_file(name: str, norm_stft: bool, tmp_path: Path) -> None:
    m = small()
    m.build_DTLN_model(norm_stft=norm_stft)
    randomise(m.model)
    weights = str(tmp_path / f"{name}.h5")
    m.model.save_weights(weights)
    audio = np.zeros((1, 512), np.float32)
    audio[0] = speech_like(512)
    expected = m.model.predict_on_batch(audio)[0]

    exporter = DTLN_model()  # sizes are the file's, not the class's
    exporter.create_saved_model(weights, str(tmp_path / "saved"))
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    block = loaded.signatures["serving_default"](tf.constant(audio))["conv1d_1"]
    assert block.shape == (1, 1, 512)
    np.testing.assert_allclose(np.squeeze(block), expected, atol=1e-5)

    exporter.create_tf_lite_model(weights, str(tmp_path / "model"))
    exporter.create_tf_lite_model(weights, str(tmp_path / "quant"), use_dynamic_range_quant=True)
    sizes = {path.name: path.stat().st_size for path in tmp_path.glob("*.tflite")}
    assert set(sizes) == {"model_1.tflite", "model_2.tflite", "quant_1.tflite", "quant_2.tflite"}
    assert sizes["quant_1.tflite"] < sizes["model_1.tflite"]
    mask = tflite_mask(tmp_path / "model_1.tflite", audio)
    np.testing.assert_allclose(mask, keras_mask(m.model, audio), atol=1e-5)


def tflite_mask(path: Path, audio: np.ndarray) -> np.ndarray:
    """The mask of the first core for one block, states at zero, bound by position as the published script does."""
    interpreter = tf.lite.Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    inputs = interpreter.get_input_details()
    interpreter.set_tensor(inputs[1]["index"], np.zeros(inputs[1]["shape"], np.float32))
    interpreter.set_tensor(inputs[0]["index"], np.abs(np.fft.rfft(audio))[None].astype(np.float32))
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def keras_mask(model: keras.Model, audio: np.ndarray) -> np.ndarray:
    """What the first core of a batch network makes of the same block."""
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Activation)]
    return Model(model.inputs, layers[0].output).predict_on_batch(audio)
