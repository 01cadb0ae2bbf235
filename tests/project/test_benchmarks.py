"""benchmarks/: that the restated published processing does the same work as ours, and that the comparison runs."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from signals import random_network, speech_like
from training_pairs import write_unmixed

from benchmarks import (
    live_soak,
    long_recordings,
    low_frequencies,
    mixtures,
    mutations,
    published,
    robustness,
    soak,
    speed,
)
from benchmarks.report import Row
from dtln.commands import enhance
from dtln.evaluation.sequences import SequenceNetwork
from dtln.formats import MODEL_DIR, kind_paths
from dtln.mixing.recordings import Recordings
from dtln.mixing.spectra import shape_spectrum
from dtln.streaming.backends import find_tflite_runtime, open_backend
from dtln.streaming.engine import StreamingDenoiser

ROOT = Path(__file__).resolve().parents[2]
SHIFTS = 150


@pytest.fixture(scope="module")
def keras():
    import keras

    return keras


# --- published.py -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm_stft", [False, True])
def test_restated_graph_is_our_network(keras, tmp_path, norm_stft):
    import DTLN_model as dtln

    network = random_network(dtln.DTLNConfig(norm_stft=norm_stft))
    network.save_weights(tmp_path / "network.h5")
    graph = published.build_graph(keras, normalise=norm_stft)
    graph.load_weights(str(tmp_path / "network.h5"))
    signals = np.stack([speech_like(128 * SHIFTS, seed) for seed in range(2)])
    expected = network.predict(signals, verbose=0)
    assert np.std(expected) > 0.01
    np.testing.assert_allclose(graph.predict(signals, verbose=0), expected, rtol=0, atol=1e-4)


def test_restated_training_minimises_our_loss(keras):
    import DTLN_model as dtln

    graph = published.build_graph(keras)
    published.compile_graph(keras, graph)
    target = np.stack([speech_like(128 * SHIFTS, seed) for seed in range(2)])
    estimate = graph.predict(target, verbose=0)
    expected = np.mean(dtln.negative_snr(target, estimate))
    np.testing.assert_allclose(graph.evaluate(target, target, verbose=0), expected, rtol=1e-4)


def restated_loop(kind: str, folder: Path) -> published.Loop:
    paths = kind_paths(kind, folder)
    if kind == "savedmodel":
        return published.SavedModelLoop(paths[0])
    return published.ONNXLoop(paths) if kind == "onnx" else published.TFLiteLoop(paths, find_tflite_runtime()[1])


def assert_same_stream(kind: str, folder: Path) -> None:
    loop, engine = restated_loop(kind, folder), StreamingDenoiser(open_backend(kind, folder))
    shifts = speech_like(128 * SHIFTS).reshape(-1, 128)
    expected = np.concatenate([engine.process_block(samples) for samples in shifts])
    assert np.std(expected) > 0.01
    stream = np.concatenate([loop.process_block(samples) for samples in shifts])
    np.testing.assert_allclose(stream, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["tflite", "onnx", "savedmodel"])
def test_restated_loops_give_our_stream(kind):
    assert_same_stream(kind, MODEL_DIR)


@pytest.mark.parametrize("kind", ["tflite", "onnx", "savedmodel"])
def test_restated_loops_give_our_stream_with_the_published_exports(shared, kind):
    assert_same_stream(kind, shared / "reference")


def test_restated_folder_evaluation_gives_what_ours_gives(tmp_path):

    (tmp_path / "noisy" / "below").mkdir(parents=True)
    for name, length in (("a.wav", 128 * 70), ("below/b.wav", 128 * 95)):
        soundfile.write(tmp_path / "noisy" / name, speech_like(length), 16000)
    command = ["-i", str(tmp_path / "noisy"), "-m", str(MODEL_DIR / "model.h5"), "-o"]
    assert enhance.main([*command, str(tmp_path / "ours")]) == 0
    assert published.main([*command, str(tmp_path / "restated")]) == 0
    for name in ("a.wav", "below/b.wav"):
        ours, restated = (soundfile.read(tmp_path / folder / name)[0] for folder in ("ours", "restated"))
        np.testing.assert_allclose(restated, ours, rtol=0, atol=2 / 32768)


# --- speed.py ---------------------------------------------------------------------------------------------------------


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "benchmarks" / "speed.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("script", ["speed.py", "published.py"])
def test_help_is_the_docstring(script):
    command = [sys.executable, str(ROOT / "benchmarks" / script), "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    module = speed if script == "speed.py" else published
    assert module.__doc__.splitlines()[0] in text


def test_block_row_runs_without_the_published_exports(tmp_path):
    target = tmp_path / "speed.json"
    result = run("--quick", "--only", "block", "jitter", "--turn-blocks", "20", "--jitter-blocks", "60",
                 "--json", str(target), "--plot", str(tmp_path / "speed.png"))  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "speed.png").stat().st_size > 10000
    assert "block, 8 bit" in result.stdout and "no comparison: --published DIR was not given" in result.stdout
    report = json.loads(target.read_text())
    assert set(report) >= {"machine", "versions", "settings", "rows", "contenders", "missing", "limit"}
    assert {row["name"] for row in report["rows"]} == {"block", "jitter"}
    for row in report["rows"]:
        assert set(row) >= {"title", "ours", "baseline", "unit", "ratio", "ratio_range", "needed", "aimed", "why"}
        assert row["baseline"] is None and row["ratio"] is None
    ours = report["contenders"]["ours:tflite"]
    assert ours["count"] == 5 * 20 and len(ours["turn_medians_ms"]) == 5
    assert ours["median_ms"] <= ours["p99_ms"] <= ours["p99_9_ms"] <= ours["max_ms"]
    assert report["missing"].keys() == {"published:tflite", "published:onnx"}
    assert report["limit"]["weight_bytes"] == 4 * sum(network_products())


def test_chunk_rows_stand_beside_the_bare_blocks(tmp_path):
    target = tmp_path / "speed.json"
    result = run("--quick", "--only", "chunk", "--turns", "2", "--json", str(target))
    assert result.returncode == 0, result.stderr
    report = json.loads(target.read_text())
    chunks = [row for row in report["rows"] if row["needed"]]
    assert [row["needed"] for row in chunks] == [1.5] * 4 and not report["missing"]
    for row in chunks:
        assert row["ratio"] == pytest.approx(row["ours"] / row["baseline"])
    assert report["contenders"]["chunks:16000,1"]["latency_ms"] == 32
    assert {"48 kHz, 2 channels", "44.1 kHz, 1 channel"} <= {row["title"].partition("10 ms, ")[2] for row in chunks}


def test_rows_stand_beside_the_published_ones(shared, tmp_path):
    target = tmp_path / "speed.json"
    result = run("--quick", "--only", "block", "--turn-blocks", "20", "--json", str(target),
                 "--published", str(shared / "reference"))  # fmt: skip
    assert result.returncode == 0, result.stderr
    report = json.loads(target.read_text())
    for row in report["rows"]:
        low, high = row["ratio_range"]
        assert row["ratio"] == pytest.approx(row["ours"] / row["baseline"]) and 0 < low <= high
    assert not report["missing"]


def test_folder_row_stands_beside_its_limit(shared, tmp_path):
    target = tmp_path / "speed.json"
    result = run("--quick", "--only", "folder", "--json", str(target), "--published", str(shared / "reference"))
    assert result.returncode == 0, result.stderr
    report = json.loads(target.read_text())
    (row,) = report["rows"]
    assert row["ratio"] == pytest.approx(row["ours"] / row["baseline"])
    # 3 files of at most 2 s are 750 blocks, a few multiplications of 2 MFLOP each on one core or more
    assert 0 < report["limit"]["folder_products_s"] < 1 and report["limit"]["folder_start_s"] > 0
    assert "limit of the folder" in result.stdout


def network_products() -> tuple[int, int]:
    """Multiplications with weights in one block of the paper's network: those of its LSTMs, and the others."""
    lstms = 4 * 128 * (257 + 3 * 128 + 256 + 3 * 128)
    return lstms, 128 * 257 + 128 * 256 + 2 * 512 * 256


def test_counts_are_those_of_the_network(tmp_path):
    target = tmp_path / "count.json"
    result = run("--count", "--quick", "--json", str(target))
    assert result.returncode == 0, result.stderr
    assert "not measured" in result.stdout
    count = json.loads(target.read_text())["count"]
    lstms, others = network_products()
    for kind, bytes_each in (("tflite", 4), ("tflite-quant", 1)):
        assert count[kind]["multiply_adds"] == lstms + others
        assert count[kind]["weight_bytes"] == bytes_each * (lstms + others)


def test_row_says_what_was_reached():
    for ours, verdict in ((0.5, "aimed at"), (0.7, "reached"), (0.8, "NOT REACHED")):
        row = Row("block", "a row", ours, 1.0, "ms")
        row.finish((0.75, 0.6))
        assert row.verdict == verdict and row.line().endswith(verdict)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--turns", "0"], "expected at least one of everything"),
        (["--speech", "speech"], "--speech and --noise go together"),
        (["--published", "nowhere"], "--published nowhere: is no folder"),
        (["--json", "nowhere/speed.json"], "its folder does not exist"),
        (["--only", "blocks"], "invalid choice: 'blocks'"),
    ],
)
def test_wrong_arguments_are_named(capsys, arguments, message):
    with pytest.raises(SystemExit):
        speed.parse(arguments)
    assert message in capsys.readouterr().err


def test_a_contender_that_fails_is_named(tmp_path, capsys):
    for name in ("model_1.tflite", "model_2.tflite"):
        (tmp_path / name).write_bytes((MODEL_DIR / name).read_bytes())
    (tmp_path / "model_2.tflite").write_text("no model")
    assert speed.main(["--count", "-m", str(tmp_path / "nowhere")]) == 1
    assert "model_1.tflite does not exist" in capsys.readouterr().err
    assert speed.main(["--quick", "--only", "jitter", "-m", str(tmp_path)]) == 0
    assert "model_2.tflite: cannot be loaded by" in capsys.readouterr().out


# --- long_recordings.py -----------------------------------------------------------------------------------------------


def test_end_of_long_recordings_is_scored(tmp_path, capsys):
    import DTLN_model as dtln

    random_network(dtln.DTLNConfig()).save_weights(tmp_path / "random.h5")
    sizes = ["--mixtures", "2", "--minutes", "0.05", "--end-seconds", "0.5", "--silence-seconds", "1"]
    assert long_recordings.main(["-m", str(tmp_path / "random.h5"), *write_unmixed(tmp_path), *sizes]) == 0
    heading, *rows, summary = capsys.readouterr().out.splitlines()
    assert heading.endswith("SI-SDR in dB of the last 0.5 s")
    scores = np.array([[float(cell) for cell in row.split()] for row in rows])
    assert scores[:, :2].tolist() == [[0, 0], [1, 5]]  # mixture, SNR
    carried, from_zero, silent = scores[:, 2:].mean(axis=0)
    found = [float(number) for number in re.findall(r"([-+]?\d+\.\d+)(?: \+-\d+\.\d+)? dB", summary)]
    expected = [carried, from_zero, carried - from_zero, silent, silent - from_zero]
    assert found == pytest.approx(expected, abs=0.02)
    assert len({carried, from_zero, silent}) == 3  # a network of random weights never forgets its start entirely


def test_silence_before_a_signal_leaves_its_states(tmp_path):
    import DTLN_model as dtln

    random_network(dtln.DTLNConfig(units=8)).save_weights(tmp_path / "random.h5")
    signals = np.stack([speech_like(4000, seed) for seed in range(2)])
    whole = SequenceNetwork(tmp_path / "random.h5").denoise(np.pad(signals, ((0, 0), (128 * 600, 0))))
    after = long_recordings.AfterSilence(tmp_path / "random.h5", 128 * 600 / 16000).denoise(signals)
    np.testing.assert_allclose(after, whole[:, 128 * 600 :], rtol=0, atol=1e-5)
    assert np.abs(after - SequenceNetwork(tmp_path / "random.h5").denoise(signals)).max() > 1e-4


# --- mixtures.py ------------------------------------------------------------------------------------------------------


def test_weights_are_compared_on_the_same_mixtures(tmp_path, capsys):
    """Noisy columns have the SNR asked for; weights twice differ by nothing, other weights by what their means say."""
    import DTLN_model as dtln

    paths = [str(tmp_path / name) for name in ("a.h5", "b.h5")]
    for seed, path in enumerate(paths):
        random_network(dtln.DTLNConfig(), seed).save_weights(path)
    sizes = ["--mixtures", "4", "--seconds", "0.5", "--snr-db", "3", "3", "--rooms", "2", "--training-speakers"]
    command = ["-m", paths[0], *paths, *write_unmixed(tmp_path), *sizes, "--kinds", "calls", "gusts"]
    assert mixtures.main(command) == 0
    heading, noisy, first, again, nothing, other, gained = capsys.readouterr().out.splitlines()
    assert heading.split() == ["SNR", "dB", "recorded", "trained", "on", "calls", "gusts", "in", "rooms"]
    assert [float(cell) for cell in noisy.split()[1:]] == pytest.approx([3.0] * 5, abs=0.01)
    assert first.split()[1:] == again.split()[1:] and nothing.split() == ["+0.00", "+-0.00"] * 5
    means = [[float(cell) for cell in row.split()[1:]] for row in (first, other)]
    found = [float(cell) for cell in gained.split()[::2]]
    assert found == pytest.approx(np.subtract(means[1], means[0]), abs=0.011) and any(found)


def test_core_1_is_scored_alone(tmp_path, capsys):
    """With masks of one it leaves the mixtures as they are; what follows it does not count."""
    import DTLN_model as dtln

    network = random_network(dtln.DTLNConfig(units=8))
    dense = network.dtln_layers.core_1.dense
    dense.set_weights([0 * dense.get_weights()[0], 0 * dense.get_weights()[1] + 40.0])
    network.save_weights(tmp_path / "open.h5")
    sizes = ["--mixtures", "2", "--seconds", "0.5", "--snr-db", "3", "3", "--core-1", "--kinds"]
    assert mixtures.main(["-m", str(tmp_path / "open.h5"), *write_unmixed(tmp_path), *sizes]) == 0
    _, noisy, whole, alone, _ = capsys.readouterr().out.splitlines()
    assert alone.startswith("core 1 ...") and alone.split()[-1] == noisy.split()[-1] == "3.00"
    assert whole.split()[-1] != "3.00"


def test_speakers_trained_on_have_a_column_for_each_set_of_recordings(tmp_path, capsys):
    folders = write_unmixed(tmp_path)
    for index, path in enumerate(sorted((tmp_path / "speech").iterdir())):
        path.parent.joinpath("ab"[index % 2]).mkdir(exist_ok=True)
        path.rename(path.parent / "ab"[index % 2] / path.name)
    weights = str(MODEL_DIR / "model.h5")
    sizes = ["--mixtures", "2", "--seconds", "0.5", "--training-speakers", "--kinds"]
    assert mixtures.main(["-m", weights, *folders, *sizes]) == 0
    heading, _, scores = capsys.readouterr().out.splitlines()
    assert heading.split() == ["SNR", "dB", "recorded", "a", "b"]
    assert len(set(scores.split()[1:])) == 3


def test_other_scores_and_near_clean_speech_have_their_places(tmp_path, capsys):
    """Of recordings without sub-folders, all speakers are heard; what cannot be scored is left out."""
    folders = write_unmixed(tmp_path)
    (tmp_path / "speech" / "voices").mkdir()
    for path in sorted((tmp_path / "speech").glob("*.wav"))[::2]:
        path.rename(path.parent / "voices" / path.name)
    sizes = ["--mixtures", "3", "--seconds", "0.3", "--snr-db", "3", "3", "--kinds", "--all-speakers"]
    command = ["-m", str(MODEL_DIR / "model.h5"), *folders, *sizes, "--scores", "si_sdr_db", "stoi_percent"]
    assert mixtures.main([*command, "--near-clean", "voices"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["SNR", "dB", "recorded", "40", "dB", "40", "dB", "voices"]
    assert lines[1].split() == ["noisy", "3.00", "40.00", "40.00"]
    assert lines[3].startswith("SI-SDR dB") and float(lines[4].split()[1]) == pytest.approx(3.0, abs=0.5)
    assert lines[6].startswith("STOI %") and lines[7].split() == ["noisy", "-", "-", "-"]  # 0.3 s are too short for it
    assert mixtures.main([*command, "--near-clean", "elsewhere"]) == 1
    assert "--near-clean elsewhere: expected a sub-folder of the speech: , voices" in capsys.readouterr().err


def test_what_levels_offsets_and_silence_cost(tmp_path, capsys):
    """A network with open masks denoises nothing at any level: the SNR changes by the power of the offset alone."""
    import DTLN_model as dtln

    network = random_network(dtln.DTLNConfig(units=8))
    for core in (network.dtln_layers.core_1, network.dtln_layers.core_2):
        core.dense.set_weights([0 * core.dense.get_weights()[0], 0 * core.dense.get_weights()[1] + 40.0])
    decoder = network.dtln_layers.decoder
    decoder.set_weights([decoder.get_weights()[0] / 4])
    network.save_weights(tmp_path / "open.h5")
    sizes = ["--mixtures", "3", "--seconds", "0.5", "--snr-db", "3", "3", "--kinds"]
    command = ["-m", str(tmp_path / "open.h5"), *write_unmixed(tmp_path), *sizes, "--levels", "--silence", "0.5", "60"]
    assert mixtures.main(command) == 0
    heading, cells = capsys.readouterr().out.splitlines()[-2:]
    levels = ["-60 dBFS", "-55 dBFS", "-45 dBFS", "-35 dBFS", "-15 dBFS", "-5 dBFS", "0 dBFS"]
    columns = [*levels, "offset 0.05", "offset 0.3", "0.5 s silence", "60 s silence"]
    assert heading.split("dB", 1)[1].split() == " ".join(columns).split()
    changes = dict(zip(columns, (float(cell) for cell in cells.split()[1::2]), strict=True))
    power = 10**-2.5 / (1 + 10**0.3)  # of the noise at 3 dB SNR and -25 dBFS
    expected = {f"offset {offset}": -10 * np.log10(1 + offset**2 / power) for offset in (0.05, 0.3)}
    for column, change in changes.items():
        assert change == pytest.approx(expected.get(column, 0.0), abs=0.25), column


def test_rumble_stands_apart_from_speech_at_the_levels_asked_for():
    rng = np.random.default_rng(0)
    folder = Recordings(["a.wav"], [np.round(20000 * rng.standard_normal(64000).clip(-1, 1)).astype(np.int16)])
    column = mixtures.Column(folder, folder, kind="rumble")
    args = argparse.Namespace(seconds=4.0, mixtures=8, seed=0)
    noisy, clean = mixtures.mixtures_of(args, column)
    rumble = np.fft.rfft(noisy - clean)
    speech, frequencies = np.fft.rfft(clean), np.fft.rfftfreq(64000, 1 / 16000)
    outside = np.sum(np.abs(rumble[:, (frequencies < 10) | (frequencies > 80)]) ** 2)
    assert outside < 1e-6 * np.sum(np.abs(rumble) ** 2)
    assert np.sum(np.abs(speech[:, frequencies <= 80]) ** 2) < 1e-6 * np.sum(np.abs(speech) ** 2)
    of_speech, of_rumble = (10 * np.log10(np.mean(s**2, axis=1)) for s in (clean, noisy - clean))
    assert of_speech == pytest.approx(-25, abs=0.1)
    assert of_rumble.min() > -35.1 and of_rumble.max() < -14.9 and np.ptp(of_rumble) > 5


def test_what_is_left_of_rumble_and_of_low_voices():
    """Gains of bands come out as they went in; noise in the voice's band does not count for the voice."""
    time = np.arange(32000) / 16000
    on = np.sin(2 * np.pi * time) > 0  # what is left of it in the pauses does not count
    low, high = (sum(np.sin(2 * np.pi * k * pitch * time) / k for k in range(1, 6)) * on for pitch in (120, 210))
    low, high = (shape_spectrum(voice.astype(np.float32), lambda f: f > 80) for voice in (low, high))
    rumble = np.sin(2 * np.pi * 30 * time).astype(np.float32)
    other = 0.3 * np.sin(2 * np.pi * 97 * time).astype(np.float32)
    weaker = shape_spectrum(low, lambda f: np.where((f > 80) & (f < 170), 0.5, 1.0))
    clean, noisy = np.stack([low, low, high]), np.stack([low, low, high]) + rumble
    denoised = np.stack([weaker + other + rumble / 10, low + rumble, high])
    less, share, voices = low_frequencies.rumble_measures(noisy, clean, denoised).values()
    assert less[:2] == pytest.approx([20, 0], abs=0.1) and less[2] > 40
    assert share.tolist() == [100, 0, 100]
    assert voices == pytest.approx([-6.02, 0, np.nan], abs=0.3, nan_ok=True)


def test_rumble_has_a_table_of_its_own(tmp_path, capsys):
    sizes = ["--mixtures", "3", "--seconds", "1", "--kinds", "rumble", "wind", "machine"]
    weights = str(MODEL_DIR / "model.h5")
    assert mixtures.main(["-m", weights, weights, *write_unmixed(tmp_path), *sizes]) == 0
    *_, heading, noisy, first, again, nothing = capsys.readouterr().out.splitlines()
    assert heading.split("rumble")[1].split() == " ".join(low_frequencies.TITLES).split()
    assert noisy.split()[:3] == ["noisy", "0.00", "0.00"] and float(first.split()[1]) > 3
    assert again == first and nothing.split()[:2] == ["+0.00", "+-0.00"]


def test_weights_and_folders_that_are_missing_are_named(tmp_path, capsys):
    folders = ["--speech", str(tmp_path / "nowhere"), "--noise", str(tmp_path / "nowhere")]
    assert mixtures.main(["-m", str(tmp_path / "a.h5"), *folders]) == 1
    assert "a.h5: no such weights file" in capsys.readouterr().err
    assert mixtures.main(["-m", str(MODEL_DIR / "model.h5"), *folders]) == 1
    assert "expected a folder of audio files" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--mixtures", "1"], ["--seconds", "0"], ["--snr-db", "5", "0"], ["--silence", "0"]]
)
def test_mixtures_that_cannot_be_made(capsys, arguments):
    with pytest.raises(SystemExit):
        mixtures.main(["-m", "a.h5", "--speech", "speech", "--noise", "noise", *arguments])
    assert "expected at least two mixtures" in capsys.readouterr().err


def test_core_1_alone_hears_no_silence(capsys):
    with pytest.raises(SystemExit):
        mixtures.main(["-m", "a.h5", "--speech", "speech", "--noise", "noise", "--core-1", "--silence", "9"])
    assert "--core-1 goes without --silence" in capsys.readouterr().err


# --- robustness.py ----------------------------------------------------------------------------------------------------


def test_damaged_files_are_done_or_named(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(robustness, "MUTATIONS", (mutations.cut, mutations.empty, mutations.swap))
    report = tmp_path / "rows.json"
    assert robustness.main(["--only", "mutated", "--files", "24", "--json", str(report)]) == 0, capsys.readouterr().out
    row = json.loads(report.read_text())[0]
    assert row["done"] + row["named"] == row["inputs"] == 24 and row["done"] and row["named"]
    assert row["seconds"] > 0 and row["faults"] == []


def test_faults_of_a_run_are_seen(tmp_path):
    """An output that is missing, one that is too short, one beside a failure, a temporary file that stayed."""
    inputs, outputs = tmp_path / "in", tmp_path / "out"
    inputs.mkdir(), outputs.mkdir()
    sources = [robustness.write_wav(inputs / f"{name}.wav", 0.1) for name in ("whole", "missing", "short", "failed")]
    for name, seconds in (("whole", 0.1), ("short", 0.05), ("failed", 0.1), (".left", 0.1)):
        robustness.write_wav(outputs / f"{name}.wav", seconds)
    failed = robustness.Run(1, 1.0, 50.0, "", f"FAILED {sources[3]}: for a reason")
    row = robustness.Row("all")
    robustness.judge(row, failed, sources, inputs, outputs)
    assert (row.inputs, row.done, row.named, row.lost, row.partial) == (4, 1, 0, 1, 3)
    assert [fault.split(": ")[0] for fault in row.faults] == ["missing.wav", "short.wav", "failed.wav", ".left.wav"]
    robustness.measure(row, robustness.Run(-11, 1.0, 2000.0, "", ""))
    robustness.measure(row, robustness.Run(None, 60.0, 50.0, "", ""))
    assert [fault.split(",")[0] for fault in row.faults[4:]] == [
        "crashed", "took 2000 MB", "hung: still running after 60 s"
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in robustness.EXPERIMENTS if name != "mutated"])
def test_quick_robustness(name, capsys):
    assert robustness.main(["--quick", "--only", name]) == 0, capsys.readouterr().out


def test_a_damaged_recording_of_each_format_and_kind():
    rng = np.random.default_rng(0)
    originals = mutations.recordings(0.05)
    assert set(originals) >= set(mutations.FORMATS)
    for data in originals.values():
        changed = [mutation(data, originals[".au"], rng) for mutation in mutations.MUTATIONS]
        assert all(isinstance(found, bytes) for found in changed) and changed.count(data) <= 2


# --- soak.py ----------------------------------------------------------------------------------------------------------


def test_quick_soak(tmp_path, capsys):
    status = soak.main(["--quick", "--json", str(tmp_path / "soak.json")])
    printed = capsys.readouterr().out
    assert status == 0, printed
    found = json.loads((tmp_path / "soak.json").read_text())
    assert set(found["sounds"]) == set(soak.SOUNDS)
    assert sum(hour["seconds"] for hour in found["hours"]) >= 162 and len(found["hours"]) == 4
    assert sum(hour["silenced"] for hour in found["hours"]) > 0
    assert f"differs from that of a fresh stream by {found['difference_db']:.1f} dB" in printed


class Worn(StreamingDenoiser):
    """A stream that gets worse after its first 600000 samples."""

    def process(self, samples):
        output = super().process(samples)
        return output if self._taken < 600000 else 1.02 * output


class Forgetful(StreamingDenoiser):
    """A stream that keeps the last samples for itself."""

    def flush(self):
        return super().flush()[:0]


class Broken(StreamingDenoiser):
    """A stream that no longer gives numbers after its first 600000 samples."""

    def process(self, samples):
        output = super().process(samples)
        return output if self._taken < 600000 else np.nan * output


@pytest.mark.parametrize(
    ("stream", "fault"),
    [
        (StreamingDenoiser, None),
        (Worn, "differs from a fresh stream's by -3"),
        (Forgetful, "went in, .* came out"),
        (Broken, "is not finite"),
    ],
)
def test_streams_that_wear_out_are_seen(monkeypatch, capsys, stream, fault):
    monkeypatch.setattr(soak, "LAST", 5.0)
    monkeypatch.setattr(soak, "new_stream", lambda args: stream(open_backend(args.kind, args.model_dir)))
    monkeypatch.setattr(soak, "QUICK", {"hours": 0.012, "settle": 20.0})
    assert soak.main(["--quick", "--seed", "1"]) == (fault is not None)
    assert fault is None or re.search(f"FAULT: .*{fault}", capsys.readouterr().out)


def test_growth_and_slowness_are_seen():
    hours = [soak.Hour(3600, 0.1, 0.2, 0.05, 70.0, 0, 2.0), soak.Hour(3600, 0.3, 0.4, 0.1, 74.0, 0, 2.4)]
    result = soak.Result(hours, {}, -80.0)
    soak.judge(result, quick=True)
    assert not result.faults
    soak.judge(result, quick=False)
    assert result.faults == [
        "the memory grew from 70.0 to 74.0 MiB", "the last hour is 1.20 times as slow as the first"
    ]  # fmt: skip


def test_quick_soak_of_a_live_session(monkeypatch, capsys):
    monkeypatch.setattr(soak, "QUICK", {"hours": 0.012})
    assert soak.main(["--quick", "--live", "--rate", "48000"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("late_blocks 0, dropouts 0, drift_ppm ") >= 2 and "FAULT" not in printed


def test_live_sessions_that_get_worse_are_seen():
    told = [
        {"late_blocks": 2, "dropouts": 0, "drift_ppm": 203, "delay": 0.1},
        {"late_blocks": 3, "dropouts": 1, "drift_ppm": 190, "delay": 0.13},
    ]
    hours = [soak.Hour(3600, 0.1, 0.2, 0.05, 70.0, 0, 2.0, live) for live in told]
    for last, faults in (
        (hours[0], []),
        (
            hours[1],
            ["1 dropouts, 3 late blocks; 2 of these in the first hour", "a drift of 200 ppm was told as 190"]
            + ["the delay grew from 0.100 to 0.130 s"],
        ),
    ):
        result = soak.Result([hours[0], last])
        soak.judge(result, quick=False)
        assert result.faults == faults


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hours", "0"], "--hours must be above 0, --settle at least 0"),
        (["--settle", "-1"], "--hours must be above 0, --settle at least 0"),
        (["--live", "--dtype", "int16"], "--live takes float32"),
    ],
)
def test_soaks_that_cannot_be_run(capsys, arguments, message):
    with pytest.raises(SystemExit):
        soak.main(arguments)
    assert message in capsys.readouterr().err


def test_stretches_follow_from_the_seed():
    stretches = soak.plan(3, 600, "float32")
    assert stretches == soak.plan(3, 600, "float32") and stretches != soak.plan(4, 600, "float32")
    assert 600 <= sum(stretch.units for stretch in stretches) * soak.UNIT < 600 + soak.MOST_UNITS * soak.UNIT
    for dtype in ("float32", "int16"):
        recordings = soak.Recordings(ROOT / "audio_samples", 3, 16000, dtype)
        for sound in {stretch.sound for stretch in soak.plan(3, 600, dtype)}:
            stretch = soak.Stretch(7, sound, 2)
            samples = recordings.samples(stretch)
            assert samples.dtype == dtype and len(samples) == 40960
            np.testing.assert_array_equal(recordings.samples(stretch), samples)


# --- live_soak.py -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_session_in_trouble(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(live_soak, "PAUSE_SECONDS", 5.0)
    name = "trouble on PulseAudio"
    live_soak.main(["--minutes", "0.4", "--only", name, "--json", str(tmp_path / "rows.json")])
    printed = capsys.readouterr().out
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert row["report"]["reconnections"] == 1 and 1 <= len(row["back"]) <= len(row["delays"]) + 1
    assert printed.splitlines()[-1].startswith(f"| {name} | ")
    assert all(line.count("|") == len(live_soak.COLUMNS) + 1 for line in printed.splitlines())


def test_what_goes_wrong_in_a_session_is_a_fault():
    experiment = live_soak.EXPERIMENTS["PulseAudio"]
    memory = [80.0] * 11 + [100.0]
    report = {"dropouts": 2, "series": {"memory_mb": memory}}
    row = live_soak.Row("", delays=[0.3, 0.9, 0.8, 0.4], report=report)
    live_soak.judge(row, experiment)
    assert row.faults == [
        "a delay of 0.80 s that stayed",
        "20.0 MB more memory than after a tenth of the time",
        "2 dropouts in peace",
    ]
    row = live_soak.Row("", delays=[0.3, 2.0, 0.4], report={"dropouts": 0, "series": {"memory_mb": [80.0] * 12}})
    live_soak.judge(row, experiment)
    assert row.faults == []
