"""dtln.plotting and dtln plot: what the figures show, and which files are refused."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest
import soundfile

from dtln.commands import plot
from dtln.errors import SettingsError
from dtln.streaming.times import BlockTimes

pytest.importorskip("matplotlib")
from PIL import Image  # noqa: E402

from dtln.plotting import (  # noqa: E402
    latency_figure,
    read_curves,
    read_times,
    save,
    spectrogram_db,
    spectrogram_figure,
    training_figure,
)

KERAS_LOG = "epoch,learning_rate,loss,val_loss\n0,0.001,-10.5,-11.0\n1,0.001,-11.5,-12.25\n2,0.001,-12.0,-12.0\n"
CUDA_LOG = (
    "step,hours,drawn_hours,seconds,network,loss,val_loss\n"
    "10,1.50,2.00,5,a,-9.0,-10.0\n10,1.50,2.00,5,b,-8.0,-9.5\n20,3.00,4.00,9,a,-9.5,-10.5\n20,3.00,4.00,9,b,-9.0,-9.0\n"
)


def tone(hertz: float, sample_rate: int = 16000, seconds: float = 1.0, amplitude: float = 1.0) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * sample_rate)) / sample_rate)


# -------------------------------------------------------------------------------------------------------- spectrograms


@pytest.mark.parametrize("sample_rate", [8000, 16000, 48000])
def test_a_sine_of_full_scale_has_0_db_in_its_bin(sample_rate):
    levels = spectrogram_db(tone(1000, sample_rate, amplitude=0.1), sample_rate)
    assert levels.shape[0] == 0.032 * sample_rate // 2 + 1
    assert np.all(np.argmax(levels, axis=0) == 32)  # of 31.25 Hz
    np.testing.assert_allclose(levels[32], -20.0, atol=0.02)


def test_long_recordings_share_columns_and_hide_nothing():
    samples = np.zeros(60 * 16000)
    samples[500_000:501_000] = tone(2000)[:1000]
    levels = spectrogram_db(samples, 16000)
    assert levels.shape[1] == 750
    assert levels[64].max() > -30 and np.argmax(levels[64]) == pytest.approx(750 * 500_500 / 960_000, abs=2)


def test_short_recordings_are_filled():
    assert spectrogram_db(np.ones(10), 16000).shape == (257, 1)


def test_recordings_share_colours_and_axes():
    figure = spectrogram_figure({"loud": (tone(1000), 16000), "faint": (tone(500, 8000, 0.5, 0.01), 8000)})
    *axes, bar = figure.axes
    assert [axis.get_title() for axis in axes] == ["loud", "faint"] and "dB" in bar.get_ylabel()
    images = [axis.images[0] for axis in axes]
    assert images[0].get_clim() == images[1].get_clim() == (pytest.approx(-70, abs=0.1), pytest.approx(0, abs=0.1))
    for axis in axes:
        assert axis.get_xlim() == (0, 1) and axis.get_ylim() == (0, 8)
    assert images[1].get_extent() == [0, 0.5, 0, 4]
    assert spectrogram_figure({"x": (tone(1000), 16000)}, 3000).axes[0].get_ylim() == (0, 3)


def test_silence_is_black_and_the_end_is_not(noise):
    silence, short = (np.zeros(16000), 16000), (noise(8000), 16000)
    (axis, *_) = spectrogram_figure({"silence": silence}).axes
    (image,) = axis.images
    assert image.get_array().max() < image.get_clim()[0] + 1e-6  # the lowest colour
    axes = spectrogram_figure({"noise": (noise(16000), 16000), "short": short}).axes[:2]
    assert all(max(axis.get_facecolor()[:3]) > 0.8 for axis in axes)  # where the short one has ended


def test_long_titles_keep_beginning_and_end():
    from dtln.plotting.figures import as_text

    title = as_text(f"begin{'x' * 300}end\n\t\u202e")
    assert title.startswith("beginxxx") and title.endswith(r"xxxend\n\t\u202e") and len(title) < 72


def test_command_cuts_and_names(tmp_path, capsys, monkeypatch):
    drawn = []
    monkeypatch.setattr("dtln.plotting.spectrograms.spectrogram_figure", lambda *given: drawn.append(given))
    monkeypatch.setattr("dtln.plotting.figures.save", lambda figure, path: None)
    soundfile.write(tmp_path / "a.wav", np.stack([tone(1000, seconds=3), tone(1000, seconds=3)], 1) / 2, 16000)
    flags = ["--start", "1", "--seconds", "0.5", "--highest", "4000", "-o", str(tmp_path / "x.png")]
    assert plot.main(["spectrograms", f"before={tmp_path}/a.wav", str(tmp_path / "a.wav"), *flags]) == 0
    ((recordings, highest),) = drawn
    assert list(recordings) == ["before", str(tmp_path / "a.wav")] and highest == 4000
    samples, rate = recordings["before"]
    np.testing.assert_allclose(samples, tone(1000, seconds=3)[16000:24000] / 2, atol=1e-4)
    assert rate == 16000 and f"drawn in {tmp_path}/x.png" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------------------ training


def test_curves_of_both_engines(tmp_path):
    (tmp_path / "training_plain.log").write_text(KERAS_LOG)
    (curves,) = read_curves(tmp_path).values()
    assert (curves.unit, curves.positions) == ("epoch", [1, 2, 3])
    assert (curves.loss, curves.val_loss) == ([-10.5, -11.5, -12.0], [-11.0, -12.25, -12.0])
    (tmp_path / "cuda").mkdir()
    (tmp_path / "cuda" / "training.csv").write_text(CUDA_LOG)
    found = read_curves(tmp_path / "cuda")
    assert list(found) == ["a", "b"]
    assert (found["b"].unit, found["b"].positions) == ("hours of mixtures", [1.5, 3.0])
    assert found["b"].val_loss == [-9.5, -9.0]
    (axis,) = training_figure(found).axes
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["a: -10.50 dB", "b: -9.50 dB", "training"]
    assert axis.get_xlabel() == "hours of mixtures"
    with pytest.raises(SettingsError, match="some runs count by epoch and others by hours of mixtures. Draw them"):
        training_figure({"plain": curves, **found})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("training_a.log", "epoch,loss\n", "training_a.log: holds no finished epoch yet"),
        ("training_a.log", "epoch,loss,val_loss\n0,x,1\n", "training_a.log: is no log of a run. Expected training_RUN"),
        ("training_a.log", "x" * 200_000, r"training_a.log: cannot be read \(it is no text of such a log\)"),
        ("training.csv", "step,loss\n0,1\n", "training.csv: is no log of a run"),
        ("other.csv", "", r"holds no training_RUN.log and no training.csv. Expected the folder of a run"),
    ],
)
def test_logs_that_cannot_be_drawn(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(SettingsError, match=message):
        read_curves(tmp_path)


def test_validation_is_not_needed(tmp_path):
    (tmp_path / "training_a.log").write_text("epoch,lr,loss\n0,1,-3\n1,1,-4\n")
    (axis,) = training_figure(read_curves(tmp_path)).axes
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["a", "training"]


# ------------------------------------------------------------------------------------------------------------- latency


@pytest.fixture
def histogram():
    times = BlockTimes()
    for milliseconds in [0.1] * 980 + [1.0] * 15 + [20.0] * 5:
        times.add(milliseconds)
    return times.histogram()


def test_histogram_holds_every_block(histogram):
    assert histogram["blocks"] == [980, 15, 5]
    assert histogram["ms"] == pytest.approx([0.1, 1.0, 20.0], rel=0.01)
    assert BlockTimes().histogram() == {"ms": [], "blocks": []}


def test_times_of_benchmark_and_live(tmp_path, histogram):
    (tmp_path / "times.json").write_text(json.dumps({"results": [{"backend": "onnx", "histogram": histogram}]}))
    (tmp_path / "live.json").write_text(json.dumps({"settings": {"model": "tflite"}, "histogram": histogram}))
    found = read_times(tmp_path / "times.json") | read_times(tmp_path / "live.json")
    assert list(found) == ["onnx", "tflite"]
    times = found["onnx"]
    assert [times.percentile(percent) for percent in (50, 99, 99.9)] == pytest.approx([0.1, 1.0, 20.0], rel=0.01)
    figure = latency_figure(found)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert re.fullmatch(r"onnx: median 0\.\d+, 99 % below 1 ms|onnx: median 0\.\d+, 99 % below \d\.\d+ ms", labels[0])
    assert labels[-1] == "8 ms of sound"
    (axis,) = figure.axes
    shares = np.nan_to_num(axis.patches[0].get_data().values)
    assert shares.sum() == pytest.approx(100) and shares.max() == pytest.approx(98)


@pytest.mark.parametrize("names", [["onnx"], [f"tflite-stream-quant-{n}" for n in "abcd"], ["x" * 200, "a"]])
def test_legend_of_times_lies_in_the_picture(tmp_path, histogram, names):
    results = [{"backend": name, "histogram": histogram} for name in names]
    (tmp_path / "times.json").write_text(json.dumps({"results": results}))
    figure = latency_figure(read_times(tmp_path / "times.json"))
    figure.canvas.draw()
    (legend,) = figure.legends
    box, page = legend.get_window_extent(), figure.bbox
    assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1
    assert all(" 99 % below " in text.get_text() for text in legend.get_texts()[:-1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "times.json: holds no histogram of block times. Expected what --json of `dtln benchmark`"),
        ("no json", "times.json: holds no histogram"),
        ('{"results": [{"backend": "onnx"}]}', "times.json: holds no histogram"),
        (
            '{"results": [{"backend": "onnx", "histogram": {"ms": [1], "blocks": []}}]}',
            "times.json: holds no histogram",
        ),
        (
            '{"results": [{"backend": "onnx", "histogram": {"ms": [0, 1], "blocks": [1, 1]}}]}',
            "times.json: holds no histogram",
        ),
        (
            '{"settings": {"model": "x"}, "histogram": {"ms": [], "blocks": []}}',
            "times.json: holds the time of no block",
        ),
    ],
)
def test_reports_without_times(tmp_path, text, message):
    (tmp_path / "times.json").write_text(text)
    with pytest.raises(SettingsError, match=message):
        read_times(tmp_path / "times.json")


# --------------------------------------------------------------------------------------------------- files and refusals


def test_png_and_svg(tmp_path, histogram):
    (tmp_path / "live.json").write_text(json.dumps({"settings": {"model": "tflite"}, "histogram": histogram}))
    (tmp_path / "training_a.log").write_text(KERAS_LOG)
    soundfile.write(tmp_path / "a.wav", tone(1000) / 2, 16000)
    for kind, source in (("latency", "live.json"), ("training", "training_a.log"), ("spectrograms", "a.wav")):
        for suffix in ("png", "svg"):
            arguments = [kind, str(tmp_path / source), "-o", str(tmp_path / f"{kind}.{suffix}")]
            assert plot.main(arguments) == 0
            once = (tmp_path / f"{kind}.{suffix}").read_bytes()
            assert plot.main(arguments) == 0 and once == (tmp_path / f"{kind}.{suffix}").read_bytes()
        with Image.open(tmp_path / f"{kind}.png") as picture:
            assert picture.mode == "P" and picture.width > 600 and len(picture.getcolors()) > 10
        assert (tmp_path / f"{kind}.svg").read_text(encoding="utf-8").rstrip().endswith("</svg>")


def test_pngs_keep_rare_colours(tmp_path):
    """The loudest end of the scale beside the picture: here a single column of sound has it."""
    samples = 0.001 * np.random.default_rng(0).normal(size=160_000)
    samples[80_000:80_200] += tone(1000)[:200]
    figure = spectrogram_figure({"click": (samples, 16000)})
    save(figure, tmp_path / "a.png")
    figure.canvas.draw()
    with Image.open(tmp_path / "a.png") as picture:
        saved = np.asarray(picture.convert("RGB")).astype(int)
    assert np.abs(saved - np.asarray(figure.canvas.buffer_rgba())[..., :3]).max() < 24


@pytest.mark.parametrize("name", ["cost $\\frac$", "_under", "caf\udce9"])
def test_titles_that_matplotlib_would_take_for_something_else(tmp_path, histogram, name):
    (tmp_path / "live.json").write_text(json.dumps({"settings": {"model": name}, "histogram": histogram}))
    (tmp_path / "training_a.log").write_text(KERAS_LOG)
    figures = {
        "spectrograms": spectrogram_figure({name: (tone(1000), 16000)}),
        "training": training_figure({name: read_curves(tmp_path)["a"]}),
        "latency": latency_figure(read_times(tmp_path / "live.json")),
    }
    for kind, figure in figures.items():
        save(figure, tmp_path / f"{kind}.svg")
        text = (tmp_path / f"{kind}.svg").read_text(encoding="utf-8")
        assert name.encode("utf-8", "backslashreplace").decode() in text, kind  # in a comment beside the glyphs


def test_what_is_refused(tmp_path, capsys, monkeypatch):
    (tmp_path / "training_a.log").write_text(KERAS_LOG)
    soundfile.write(tmp_path / "a.wav", tone(1000) / 2, 16000)
    log, wav = str(tmp_path / "training_a.log"), str(tmp_path / "a.wav")
    for arguments, message in (
        (["training", log, "-o", "x.jpg"], "x.jpg: pictures are .png or .svg. Choose a name that ends so"),
        (["training", log, "-o", str(tmp_path / "no" / "x.png")], "x.png: its folder does not exist"),
        (["training", log, log, "-o", "x.png"], "two of the sources are called a. Give them names: NAME=FILE"),
        (["training", str(tmp_path / "no.log"), "-o", "x.png"], r"no.log: cannot be read \(No such file"),
        (["spectrograms", wav, "--start", "5", "-o", "x.png"], "a.wav: holds no samples in this stretch"),
        (["spectrograms", str(tmp_path / "no.wav"), "-o", "x.png"], "no.wav"),
    ):
        assert plot.main(arguments) == 1
        assert re.search(f"dtln plot: .*{message}", capsys.readouterr().err), message
    with pytest.raises(SystemExit, match="2"):
        plot.main(["training", log, "--start", "2", "-o", "x.png"])
    with pytest.raises(SystemExit, match="2"):
        plot.main(["spectrograms", wav, "--start", "inf", "-o", "x.png"])
    assert "--start, --seconds and --highest are about spectrograms" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match=r"drawing needs the package matplotlib: pip install .*\[plot\]"):
        plot.main(["training", log, "-o", "x.png"])


def test_figures_are_saved_complete_or_not_at_all(tmp_path, monkeypatch):
    figure = spectrogram_figure({"x": (tone(1000), 16000)})
    monkeypatch.setattr(Image.Image, "quantize", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save(figure, tmp_path / "x.png")
    assert not list(tmp_path.iterdir())
