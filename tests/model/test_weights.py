"""Weights both ways: published files load here, ours load under Keras 2, and what does not fit says so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from training_pairs import noisy_pair

import DTLN_model as dtln
from DTLN_model import WeightsFileError

TINY = dtln.DTLNConfig(units=16, encoder_size=32)
TINY_NORM = dtln.DTLNConfig(units=16, encoder_size=32, norm_stft=True)


def randomise(network: dtln.DTLNNetwork, seed: int = 0) -> dtln.DTLNNetwork:
    """Random weights throughout, biases and gains among them, small enough that the masks stay off their limits."""
    rng = np.random.default_rng(seed)
    for layer in network.dtln_layers.weighted:
        layer.set_weights([w + 0.1 * rng.standard_normal(w.shape).astype(np.float32) for w in layer.get_weights()])
    return network


@pytest.fixture
def tiny(tmp_path: Path) -> tuple[dtln.DTLNNetwork, Path]:
    """A tiny network and the file that its weights were saved to."""
    network = randomise(dtln.build_network(TINY))
    network.save_weights(tmp_path / "tiny.h5")
    return network, tmp_path / "tiny.h5"


# ----------------------------------------------------------------------------------------------------------------------
# What works
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "norm_stft"), [("model.h5", False), ("DTLN_norm_500h.h5", True)])
def test_published_files_load(name: str, norm_stft: bool, shared: Path, tmp_path: Path) -> None:
    path = shared / "reference" / name
    assert dtln.read_config(path) == dtln.DTLNConfig(norm_stft=norm_stft)
    network = dtln.load_network(path)
    stored = [w for _, weights in dtln.read_legacy_weights(path) for w in weights]
    assert len(stored) == 20 + 2 * norm_stft
    assert all(np.array_equal(a, b) for a, b in zip(network.get_weights(), stored, strict=True))

    renamed = tmp_path / ("plain.h5" if norm_stft else "DTLN_norm.h5")  # the name says the opposite
    shutil.copy(path, renamed)
    assert dtln.read_config(renamed).norm_stft == norm_stft


@pytest.mark.parametrize("config", [TINY, TINY_NORM, dtln.DTLNConfig(units=16, lstm_layers=3, norm_stft=True)])
def test_saved_weights_come_back_bit_for_bit(config: dtln.DTLNConfig, tmp_path: Path) -> None:
    network = randomise(dtln.build_network(config))
    path = tmp_path / "weights.h5"
    network.save_weights(path)
    assert dtln.read_config(path) == config
    loaded = dtln.load_network(path)
    assert all(np.array_equal(a, b) for a, b in zip(network.get_weights(), loaded.get_weights(), strict=True))
    again = tmp_path / "again.h5"
    loaded.save_weights(again)
    assert dtln.describe_layers(dtln.read_legacy_weights(again)) == dtln.describe_layers(dtln.read_legacy_weights(path))
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["again.h5", "weights.h5"]


def test_layout_is_that_of_keras_2(tmp_path: Path) -> None:
    path = tmp_path / "weights.h5"
    dtln.build_network(TINY_NORM).save_weights(path)
    with h5py.File(path) as file:
        assert [name.decode() for name in file.attrs["layer_names"]] == [
            "instant_layer_normalization",
            "lstm",
            "lstm_1",
            "dense",
            "conv1d",
            "instant_layer_normalization_1",
            "lstm_2",
            "lstm_3",
            "dense_1",
            "conv1d_1",
        ]
        assert file.attrs["keras_version"] == "2.15.0"
        assert file.attrs["backend"] == "tensorflow"
        names = [name.decode() for name in file["lstm_1"].attrs["weight_names"]]
        assert names == [f"lstm_1/lstm_cell/{part}:0" for part in ("kernel", "recurrent_kernel", "bias")]
        assert [n.decode() for n in file["instant_layer_normalization"].attrs["weight_names"]] == [
            "instant_layer_normalization/gamma:0",
            "instant_layer_normalization/beta:0",
        ]
        assert file["lstm_1"][names[0]].shape == (16, 64)


def test_block_shift_is_noted(tmp_path: Path) -> None:
    config = dtln.DTLNConfig(block_length=400, block_shift=160, units=16, encoder_size=32)
    path = tmp_path / "weights.h5"
    dtln.build_network(config).save_weights(path)
    assert dtln.read_config(path) == config
    assert dtln.load_network(path).config.block_shift == 160
    with h5py.File(path, "a") as file:
        del file.attrs["dtln_block_shift"]  # as in a published file
    assert dtln.read_config(path).block_shift == 100  # a quarter of a block
    assert dtln.read_config(path, default_block_shift=200).block_shift == 200


def test_a_whole_model_of_keras_2_is_read(tiny: tuple[dtln.DTLNNetwork, Path], tmp_path: Path) -> None:
    """`model.save` of Keras 2 puts the weights into a group of their own."""
    path = tmp_path / "whole.h5"
    with h5py.File(tiny[1]) as source, h5py.File(path, "w") as target:
        source.copy(source, target, name="model_weights")
    assert dtln.read_config(path) == TINY
    np.testing.assert_array_equal(dtln.load_network(path).get_weights()[0], tiny[0].get_weights()[0])


def test_the_stateful_network_takes_the_same_files(tiny: tuple[dtln.DTLNNetwork, Path]) -> None:
    stateful = dtln.build_stateful_network(TINY)
    stateful.load_weights(tiny[1])
    loaded = [w for layer in stateful.dtln_layers.weighted for w in layer.get_weights()]
    assert all(np.array_equal(a, b) for a, b in zip(loaded, tiny[0].get_weights(), strict=True))


def test_keras_3_names_are_left_to_keras(tiny: tuple[dtln.DTLNNetwork, Path], tmp_path: Path) -> None:
    path = tmp_path / "tiny.weights.h5"
    tiny[0].save_weights(path)
    network = dtln.build_network(TINY)
    network.load_weights(path)
    assert all(np.array_equal(a, b) for a, b in zip(network.get_weights(), tiny[0].get_weights(), strict=True))


def test_warm_start(tiny: tuple[dtln.DTLNNetwork, Path]) -> None:
    source, path = tiny
    same, other = dtln.build_network(TINY), dtln.build_network(TINY_NORM)
    core_1 = other.dtln_layers.core_1.dense.get_weights()[0]
    assert dtln.warm_start(same, path) == "all layers"
    assert all(np.array_equal(a, b) for a, b in zip(same.get_weights(), source.get_weights(), strict=True))
    assert dtln.warm_start(other, path).startswith("the layers after core 1 (the file is of the other variant")
    for target, layer in zip(other.dtln_layers.after_core_1, source.dtln_layers.after_core_1, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(target.get_weights(), layer.get_weights(), strict=True))
    np.testing.assert_array_equal(other.dtln_layers.core_1.dense.get_weights()[0], core_1)


# ----------------------------------------------------------------------------------------------------------------------
# What does not
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("read", [dtln.read_legacy_weights, dtln.read_config, dtln.load_network])
def test_files_that_hold_no_legacy_weights(read: object, tiny: tuple[dtln.DTLNNetwork, Path], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"missing\.h5: no such weights file\. Check the path"):
        read(tmp_path / "missing.h5")
    text = tmp_path / "text.h5"
    text.write_text("weights, honestly")
    with pytest.raises(WeightsFileError, match=r"text\.h5: is not an HDF5 file\. Expected weights as `\.h5`"):
        read(text)
    modern = tmp_path / "modern.weights.h5"
    tiny[0].save_weights(modern)
    with pytest.raises(WeightsFileError, match=r"modern\.weights\.h5: is HDF5 but not of the Keras 2 layout.*layers"):
        read(modern)
    cut = tmp_path / "cut.h5"
    cut.write_bytes(tiny[1].read_bytes()[:-1000])
    with pytest.raises(WeightsFileError, match=r"cut\.h5: is a damaged or incomplete HDF5 file .*Copy it again"):
        read(cut)
    hollow = tmp_path / "hollow.h5"
    shutil.copy(tiny[1], hollow)
    with h5py.File(hollow, "a") as file:
        del file["lstm"]
    with pytest.raises(WeightsFileError, match=r"hollow\.h5: is a damaged or incomplete HDF5 file"):
        read(hollow)


def test_weights_of_something_else(tmp_path: Path) -> None:
    import keras

    other = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4, name="guess")])
    path = tmp_path / "other.h5"
    dtln.save_legacy_weights(dtln.weighted_layers(other), path)
    message = (
        r"other\.h5: does not hold a DTLN network\. Expected \[normalisation\], LSTMs, .*; found guess \(8, 4\) \(4,\)"
    )
    with pytest.raises(WeightsFileError, match=message):
        dtln.load_network(path)
    dtln.save_legacy_weights([], path)
    with pytest.raises(WeightsFileError, match="found no weights"):
        dtln.read_config(path)


def test_block_shift_that_does_not_fit(tiny: tuple[dtln.DTLNNetwork, Path], tmp_path: Path) -> None:
    path = tmp_path / "odd.h5"
    path.write_bytes(tiny[1].read_bytes())
    with h5py.File(path, "a") as file:
        file.attrs["dtln_block_shift"] = 0
    with pytest.raises(WeightsFileError, match=r"odd\.h5: block length \d+ and block shift 0 do not fit: expected"):
        dtln.read_config(path)


def test_weights_of_the_other_variant_or_size(tiny: tuple[dtln.DTLNNetwork, Path], tmp_path: Path) -> None:
    norm = dtln.build_network(TINY_NORM)
    before = norm.get_weights()
    with pytest.raises(WeightsFileError, match="tiny.h5: does not fit this network. One normalises the log magnitude"):
        norm.load_weights(tiny[1])
    norm.save_weights(tmp_path / "norm.h5")
    with pytest.raises(WeightsFileError, match=r"norm\.h5: does not fit .* One normalises the log magnitude"):
        dtln.build_network(TINY).load_weights(tmp_path / "norm.h5")

    small = dtln.DTLNConfig(units=8, encoder_size=32)
    with pytest.raises(
        WeightsFileError,
        match=r"tiny\.h5: does not fit this network\. Expected lstm \(257, 32\).*found lstm \(257, 64\)",
    ):
        dtln.build_network(small).load_weights(tiny[1])
    with pytest.raises(WeightsFileError, match=r"tiny\.h5: does not fit this network"):
        dtln.warm_start(dtln.build_network(small), tiny[1])
    small_norm = dtln.build_network(dtln.DTLNConfig(units=8, encoder_size=32, norm_stft=True))
    with pytest.raises(WeightsFileError, match=r"tiny\.h5: does not fit this network"):
        dtln.warm_start(small_norm, tiny[1])
    assert all(np.array_equal(a, b) for a, b in zip(norm.get_weights(), before, strict=True))  # nothing was changed


def test_interrupted_writing_leaves_the_old_file(
    tiny: tuple[dtln.DTLNNetwork, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, path = tiny
    before = path.read_bytes()
    written = []
    create_dataset = h5py.Group.create_dataset

    def full_disk(self: h5py.Group, *args: object, **kwargs: object) -> object:
        written.append(args)
        if len(written) > 5:
            raise OSError("No space left on device")
        return create_dataset(self, *args, **kwargs)

    monkeypatch.setattr(h5py.Group, "create_dataset", full_disk)
    randomise(network, seed=1)
    with pytest.raises(OSError, match="No space left"):
        network.save_weights(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_overwriting_can_be_refused(tiny: tuple[dtln.DTLNNetwork, Path]) -> None:
    network, path = tiny
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"tiny\.h5: exists, and overwrite=False was given"):
        network.save_weights(path, overwrite=False)
    assert path.read_bytes() == before


# ----------------------------------------------------------------------------------------------------------------------
# Keras 2
# ----------------------------------------------------------------------------------------------------------------------


def test_files_written_here_load_under_keras_2(tmp_path: Path) -> None:
    """Both variants, into a plain restatement of the published graph (`keras2_graph.py`), outputs compared."""
    signal = np.stack([noisy_pair(6400, seed)[0] for seed in range(2)])
    np.save(tmp_path / "signal.npy", signal)
    expected = {}
    for stem, norm_stft in (("plain", False), ("norm", True)):
        network = randomise(dtln.build_network(dtln.DTLNConfig(norm_stft=norm_stft)), seed=norm_stft)
        network.save_weights(tmp_path / f"{stem}.h5")
        expected[stem] = np.asarray(network.predict(signal, verbose=0))

    script = Path(__file__).resolve().parents[1] / "keras2_graph.py"
    names = ("signal.npy", "result.npz", "plain.h5", "norm.h5")
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "KERAS_BACKEND")}
    command = [sys.executable, str(script), *names]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    with np.load(tmp_path / "result.npz") as results:
        assert sorted(results.files) == ["norm", "plain"]
        for stem, estimate in expected.items():
            assert np.std(estimate) > 0.01
            np.testing.assert_allclose(results[stem], estimate, rtol=0, atol=1e-5)
