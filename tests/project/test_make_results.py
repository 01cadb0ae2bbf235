"""docs/make_results.py: tables from scores that lie there, and the same scores in README and model card."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dtln.evaluation.scores import Pair, ScoredFile, write_json
from dtln.scoring import metrics
from dtln.scoring.means import mean_with_interval

ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip("scipy")
KEYS = ("pesq_raw_nb", "pesq_lqo_nb", "pesq_wb", "stoi_percent", "estoi_percent", "si_sdr_db")


@pytest.fixture
def results(monkeypatch):
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("make_results", ROOT / "docs" / "make_results.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setitem(sys.modules, "make_results", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def scored(results, tmp_path):
    """Scores in WORK, as a run before left them: noisy ones, `model.h5`, and `other.h5`, which is worse but in STOI."""
    rng = np.random.default_rng(0)
    values = {}
    for folder in ("pairs/noisy", "pairs/clean", "rooms/noisy", "rooms/clean"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "of_the_set.txt").write_text(folder)
    for weights in ("a.h5", "b.h5"):
        (tmp_path / weights).write_text(weights)
    for name, gain in (("pairs", 1.0), ("rooms", 2.0)):
        noisy, noise = rng.normal(5, 1, (20, 6)), rng.normal(0, 0.05, (20, 6))
        systems = {
            None: noisy,
            results.Denoiser("`model.h5`", tmp_path / "a.h5"): noisy + gain,
            results.Denoiser("`other.h5`", tmp_path / "b.h5"): noisy + gain + noise - [0.5, 0.5, 0.5, 0, 0.5, 0.5],
        }
        one = results.Set(name, tmp_path / name / "noisy", tmp_path / name / "clean", "", "")
        for denoiser, scores in systems.items():
            system = denoiser.name if denoiser else "noisy"
            files = [
                ScoredFile(
                    Pair(f"{i}.wav", {"input": tmp_path}, None, 5.0 * (i % 2)),
                    scores={"input": dict(zip(KEYS, row, strict=True))},
                )
                for i, row in enumerate(scores)
            ]
            file = tmp_path / "work" / name / f"{results.file_of(system, one, denoiser)}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, files, {})
            values[name, system] = scores
    return values


def run(results, tmp_path, *more: object) -> str:
    flags = ["--pairs", tmp_path / "pairs", "--rooms", tmp_path / "rooms", "--work", tmp_path / "work"]
    systems = [f"`model.h5`={tmp_path}/a.h5", f"`other.h5`={tmp_path}/b.h5", "-o", tmp_path / "out.md"]
    assert results.main([str(argument) for argument in [*flags, *systems, *more]]) == 0
    return (tmp_path / "out.md").read_text(encoding="utf-8")


def test_tables(results, scored, tmp_path):
    (tmp_path / "out.md").write_text("# Before\n\n<!-- results -->\nhand-made\n<!-- end of results -->\n\nafter\n")
    text = run(results, tmp_path)
    assert text.startswith("# Before\n\n<!-- results -->\n\n## Speech and noise") and text.endswith("-->\n\nafter\n")
    assert "hand-made" not in text
    mean = mean_with_interval(scored["pairs", "`model.h5`"][:, 0].tolist())
    assert f"| `model.h5` | {mean.mean:.3f} ±{mean.half_width:.3f} |" in text
    mean = mean_with_interval((scored["rooms", "`other.h5`"] - scored["rooms", "`model.h5`"])[:, 5].tolist())
    rows = re.findall(r"^\| `other.h5` − `model.h5` \| (.*) \|$", text, re.MULTILINE)
    cells = rows[4].split(" | ")  # pairs: all, three by SNR; then rooms
    assert cells[5] == f"**{mean.mean:+.2f}** ±{mean.half_width:.2f}"
    assert [cell.startswith("**-") for cell in cells] == [True, True, True, False, True, True]
    assert "| PESQ raw NB | -2.5 to 2.5 dB (n = 10) | 2.5 to 7.5 dB (n = 10) |" in text
    assert text.index("| in rooms |") > text.index("## In rooms")
    gain = "-1.000 ±0.000"  # of every recording; no verdict on the noisy ones, but what denoising does at each SNR
    assert text.count("| noisy − `model.h5` |") == 6 and f"| noisy − `model.h5` | {gain} | {gain} |" in text


def test_little_noise(results, tmp_path, noise):
    """The same speech in the same noise at other SNRs, the same bytes each time."""
    for folder in ("noisy", "clean"):
        (tmp_path / folder / "deep").mkdir(parents=True)
    for index in range(5):
        clean = noise(8000, seed=index)
        for folder, samples in (("clean", clean), ("noisy", clean + 0.1 * noise(8000, seed=9))):
            soundfile.write(tmp_path / folder / "deep" / f"{index}.flac", samples, 16000)
    pairs = results.Set("pairs", tmp_path / "noisy", tmp_path / "clean", "", "")
    hashes = []
    for folder in (tmp_path / "once", tmp_path / "again"):
        results.write_little_noise(pairs, folder)
        hashes.append([results.contents(folder / "noisy"), (folder / "mixes.tsv").read_text()])
    assert hashes[0] == hashes[1]
    told = ["file\tsnr_db", *(f"deep/{n}.au\t{snr}" for n, snr in enumerate([10, 15, 20, 25, 10]))]
    assert (tmp_path / "once" / "mixes.tsv").read_text().splitlines() == told
    for index, snr in enumerate((10, 15, 20, 25, 10)):
        clean, before = (soundfile.read(tmp_path / name / "deep" / f"{index}.flac")[0] for name in ("clean", "noisy"))
        after = soundfile.read(tmp_path / "once" / "noisy" / "deep" / f"{index}.au")[0] - clean
        assert metrics.snr(clean, clean + after) == pytest.approx(snr, abs=0.01)
        assert np.corrcoef(after, before - clean)[0, 1] == pytest.approx(1, abs=1e-4)


def test_scores_of_other_texts_are_replaced(results, scored, tmp_path):
    card = tmp_path / "card.md"
    card.write_text((ROOT / "pretrained_model" / "README.md").read_text(encoding="utf-8"), encoding="utf-8")
    other, absent = tmp_path / "other.md", tmp_path / "absent.md"
    for path, weights in ((other, "other.h5"), (absent, "absent.h5")):
        path.write_text(card.read_text(encoding="utf-8").replace("- name: model.h5", f"- name: {weights}"), "utf-8")
    readme = tmp_path / "README.md"
    readme.write_text((ROOT / "README.md").read_text(encoding="utf-8"), encoding="utf-8")
    run(results, tmp_path, "--also", card, "--also", readme, "--also", other, "--also", absent)
    new, old = card.read_text(encoding="utf-8"), (ROOT / "pretrained_model" / "README.md").read_text(encoding="utf-8")
    for name, digits in (("pairs", (3, 3, 3, 2, 2, 2)), ("rooms", (3, 3, 3, 2, 2, 2))):
        means = scored[name, "`model.h5`"].mean(axis=0)
        cells = [f"{mean:.{count}f}" for mean, count in zip(means, digits, strict=True)]
        assert f"| `model.h5` | {' | '.join(cells)} |" in new
        assert f"name: PESQ WB, value: {cells[2]} }}" in new and f"name: SI-SDR dB, value: {cells[5]} }}" in new
    kept = [line for line in old.splitlines() if line.startswith("| published") or "h.h5" in line]
    assert len(kept) > 4 and all(line in new for line in kept)
    assert f"name: PESQ WB, value: {scored['rooms', '`other.h5`'][:, 2].mean():.3f} }}" in other.read_text("utf-8")
    assert absent.read_text("utf-8").split("---")[1] == old.split("---")[1].replace("model.h5", "absent.h5")
    wb, rooms = (scored[name, "`model.h5`"].mean(axis=0) for name in ("pairs", "rooms"))
    expected = (
        f"| `model.h5` | {wb[0]:.3f} | {wb[2]:.3f} | {wb[3]:.2f} | {wb[5]:.2f} | {rooms[3]:.2f} | {rooms[5]:.2f} |"
    )
    assert expected in readme.read_text(encoding="utf-8")
    untouched = [re.sub(r"value: [\d.]+|\|.*", "", text) for text in (old, new)]
    assert untouched[0] == untouched[1]


def test_eight_bits_are_those_of_the_row_above(results, scored, tmp_path):
    text = tmp_path / "a.md"
    text.write_text("| | PESQ WB |\n|---|---|\n| `model.h5` | 1 |\n| the same in 8 bits | 2 |\n")
    flags = ["--pairs", tmp_path / "pairs", "--work", tmp_path / "work", "-o", tmp_path / "out.md", "--also", text]
    (other,) = (tmp_path / "work" / "pairs").glob("other_h5_*.json")
    other.rename(other.with_name(other.name.replace("other_h5", "model_h5_in_8_bits")))
    systems = [f"`model.h5`={tmp_path}/a.h5", f"`model.h5` in 8 bits={tmp_path}/b.h5"]
    assert results.main([str(argument) for argument in [*flags, *systems]]) == 0
    row = f"| the same in 8 bits | {scored['pairs', '`other.h5`'][:, 2].mean():.3f} |"
    assert (
        text.read_text()
        == f"| | PESQ WB |\n|---|---|\n| `model.h5` | {scored['pairs', '`model.h5`'][:, 2].mean():.3f} |\n{row}\n"
    )


def test_systems(results, tmp_path):
    (tmp_path / "denoised").mkdir()
    assert results.system(f"other={tmp_path}/denoised").denoised_already
    exports = results.system("in 8 bits=pretrained_model:tflite-stream-quant")
    assert (exports.path, exports.engine, exports.denoised_already) == (
        Path("pretrained_model"), "tflite-stream-quant", False,
    )  # fmt: skip
    assert results.system(r"a=C:\weights.h5").engine is None
    with pytest.raises(ValueError, match="expected NAME=PATH"):
        try:
            results.system("a.h5")
        except Exception as error:
            raise ValueError(str(error)) from error


def test_what_is_missing_is_said(results, scored, tmp_path, capsys):
    (tmp_path / "out.md").write_text("# Without marks\n")
    flags = ["--pairs", str(tmp_path / "pairs"), "--work", str(tmp_path / "work"), "-o", str(tmp_path / "out.md")]
    assert results.main([*flags, f"`model.h5`={tmp_path}/a.h5"]) == 1
    assert "the lines <!-- results --> and <!-- end of results --> are missing" in capsys.readouterr().err
    assert (tmp_path / "out.md").read_text() == "# Without marks\n"
    flags[1] = str(tmp_path / "work")
    assert results.main([*flags, f"`model.h5`={tmp_path}/a.h5"]) == 1
    assert re.search("work/(noisy|clean): is no folder. Expected recordings in", capsys.readouterr().err)


@pytest.mark.parametrize("names", [("a", "a"), ("noisy",)])
def test_denoisers_of_one_name_are_refused(results, tmp_path, capsys, names):
    systems = [f"{name}={tmp_path / 'a.h5'}" for name in names]
    with pytest.raises(SystemExit, match="2"):
        results.parse([*systems, "--pairs", str(tmp_path), "--work", str(tmp_path)])
    assert f"{names[0]}: is the name of two systems, or of the recordings before denoising" in capsys.readouterr().err


def test_what_made_scores_names_them(results, scored, tmp_path, monkeypatch, capsys):
    """Only what is as it was when it was scored is not scored again, however old files are and wherever they lie."""
    asked = []

    def commands(name):
        def main(arguments):
            asked.append(name)
            if name == "score":  # as if any other system scored like the noisy recordings
                target = arguments[arguments.index("--json") + 1]
                noisy = next((tmp_path / "work" / "pairs").glob("noisy_*.json"))
                Path(target).write_bytes(noisy.read_bytes())
            return 0

        return main

    for command in ("enhance", "score"):
        monkeypatch.setattr(getattr(results, command), "main", commands(command))

    def scored_again(*systems: str) -> list[str]:
        asked.clear()
        results.contents.cache_clear()  # of another run
        flags = ["--pairs", tmp_path / "pairs", "--work", tmp_path / "work", "-o", tmp_path / "out.md"]
        assert results.main([*map(str, flags), *systems]) == 0
        return list(asked)

    one = f"`model.h5`={tmp_path}/a.h5"
    assert scored_again(one) == []
    (tmp_path / "moved").mkdir()
    (tmp_path / "a.h5").rename(tmp_path / "moved" / "a.h5")
    assert scored_again(f"`model.h5`={tmp_path}/moved/a.h5") == []
    older = tmp_path / "older.h5"
    older.write_text("other weights")
    os.utime(older, (0, 0))
    assert scored_again(f"`model.h5`={older}") == ["enhance", "score"]
    assert scored_again(f"`model.h5`={older}") == []
    for engine in ("tflite-stream", "onnx-stream"):
        for path in results.EXPORT_KINDS[engine].paths(tmp_path / "moved"):
            path.write_text("an export")
        assert scored_again(f"`model.h5`={tmp_path}/moved:{engine}") == ["enhance", "score"]
    denoised = tmp_path / "denoised" / "pairs"
    denoised.mkdir(parents=True)
    for text in ("one recording", "another"):
        (denoised / "0.wav").write_text(text)
        os.utime(denoised / "0.wav", (0, 0))
        assert scored_again(f"`model.h5`={tmp_path}/denoised") == ["score"]
    capsys.readouterr()
    (tmp_path / "pairs" / "clean" / "of_the_set.txt").write_text("another reference")
    assert scored_again(f"`model.h5`={older}") == ["score", "enhance", "score"]  # the noisy ones, too
    assert results.main(["a=no.h5", "--pairs", str(tmp_path / "pairs"), "--work", str(tmp_path / "work")]) == 1
    assert "no.h5: does not exist. Expected weights, exports or recordings" in capsys.readouterr().err


def test_scores_of_a_run_that_failed_are_not_kept(results, scored, tmp_path, monkeypatch, capsys):
    weights = tmp_path / "c.h5"
    weights.write_text("new")

    def fails(arguments):
        Path(arguments[arguments.index("--json") + 1]).write_text("scores of those files that did not fail")
        return 1

    monkeypatch.setattr(results.enhance, "main", lambda arguments: 0)
    monkeypatch.setattr(results.score, "main", fails)
    before = sorted((tmp_path / "work" / "pairs").iterdir())
    flags = ["--pairs", str(tmp_path / "pairs"), "--work", str(tmp_path / "work"), "-o", str(tmp_path / "out.md")]
    assert results.main([f"c={weights}", *flags]) == 1
    assert "not everything could be done, see above" in capsys.readouterr().err
    assert sorted((tmp_path / "work" / "pairs").iterdir()) == before
