"""dtln.evaluation.scores: scoring what was denoised here or elsewhere."""

from __future__ import annotations

import csv
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from enhancing import SCRIPT

from dtln.audio.reading import read_audio
from dtln.commands import enhance
from dtln.evaluation import scores
from dtln.interrupts import say_last_words
from dtln.scoring.means import mean_with_interval
from dtln.scoring.metrics import DNSMOS_METRICS, METRICS, score, si_sdr


@pytest.fixture
def pairs(folders, tmp_path, noise) -> Path:
    """Two noisy recordings in the input folder, their clean ones in the folder that is returned."""
    source, clean = folders[0], tmp_path / "clean"
    (source / "deep").mkdir()
    (clean / "deep").mkdir(parents=True)
    for seed, name in enumerate(("a", "deep/b")):
        speech = noise(32000, seed=seed) * np.sin(2 * np.pi * 2 * np.arange(32000) / 16000) ** 2
        soundfile.write(clean / f"{name}.flac", speech, 16000)
        soundfile.write(source / f"{name}.wav", speech + 0.2 * noise(32000, seed=seed + 10), 16000, subtype="FLOAT")
    return clean


def test_scores(folders, pairs, evaluate, tmp_path, capsys):
    pytest.importorskip("pesq"), pytest.importorskip("pystoi")
    source, target = folders
    (target / "deep").mkdir(parents=True)
    better = 0.5 * read_audio(source / "a.wav", mono=True)[0] + 0.5 * read_audio(pairs / "a.flac", mono=True)[0]
    soundfile.write(target / "a.wav", better, 16000, subtype="FLOAT")  # an output of an earlier run is scored as well
    assert evaluate("--reference", pairs, "--csv", tmp_path / "scores.csv", "--skip-existing") == 0
    rows = list(csv.DictReader((tmp_path / "scores.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["file"] for row in rows] == ["a.wav", "deep/b.wav"]
    expected = []
    for row in rows:
        clean = read_audio((pairs / row["file"]).with_suffix(".flac"), mono=True)[0]
        for signal, folder in (("noisy", source), ("enhanced", target)):
            expected.append(score(clean, read_audio(folder / row["file"], mono=True)[0]))
            assert {key: float(row[f"{signal}_{key}"]) for key in METRICS} == pytest.approx(expected[-1], rel=1e-4)
    # each cell holds the mean and its interval, which is the reason that the line is read otherwise than before
    table = capsys.readouterr().out.split("means over 2 files, with 95 % intervals:\n")[1].splitlines()
    assert [re.split(r"\s{2,}", line.strip()) for line in table[:1]] == [list(METRICS.values())]
    difference = [{key: b[key] - a[key] for key in METRICS} for a, b in zip(expected[::2], expected[1::2], strict=True)]
    for line, signal in zip(table[1:4], (expected[::2], expected[1::2], difference), strict=True):
        means = [mean_with_interval([scores[key] for scores in signal]) for key in METRICS]
        cells = re.findall(r"(-?[\d.]+) \u00b1([\d.]+)", line)
        np.testing.assert_allclose([float(cell[0]) for cell in cells], [mean.mean for mean in means], atol=6e-4)
        np.testing.assert_allclose([float(cell[1]) for cell in cells], [m.half_width for m in means], atol=6e-4)
    assert [line.split()[0] for line in table[1:4]] == ["noisy", "enhanced", "difference"]


def test_reference_that_does_not_fit(folders, pairs, evaluate, noise, tmp_path, capsys):
    source, target = folders
    assert evaluate("--reference", tmp_path / "missing") == 1
    assert "missing: expected a folder of audio files, found nothing" in capsys.readouterr().err
    assert evaluate("--reference", pairs, "--csv", tmp_path / "no" / "scores.csv") == 1
    assert "scores.csv: its folder does not exist" in capsys.readouterr().err
    soundfile.write(pairs / "a.wav", noise(100), 16000)
    assert evaluate("--reference", pairs) == 1
    assert re.search(r"a.wav: has 2 partners, .*a.flac and .*a.wav", capsys.readouterr().err)
    (pairs / "a.wav").unlink()
    (pairs / "deep" / "b.flac").unlink()
    assert evaluate("--reference", pairs) == 1
    assert re.search(r"b.wav: has no partner in .*\(1 such files\)", capsys.readouterr().err)
    assert not target.exists()


def test_pair_that_cannot_be_scored(folders, pairs, evaluate, noise, capsys):
    pytest.importorskip("pesq"), pytest.importorskip("pystoi")
    soundfile.write(pairs / "a.flac", noise(31999), 16000)
    assert evaluate("--reference", pairs) == 1
    out, err = capsys.readouterr()
    assert re.search(r"FAILED .*a.flac: has 31999 samples at 16 kHz, .*a.wav 32000", err)
    assert "means over 1 file:" in out


def test_output_onto_the_references(folders, pairs, identity_weights, capsys):
    options = ["-i", folders[0], "-o", pairs, "-m", identity_weights, "--reference", pairs, "--overwrite"]
    assert enhance.main([str(option) for option in options]) == 1
    assert "is the clean folder" in capsys.readouterr().err


@pytest.fixture
def write(tmp_path):
    """Writes a signal (L,) as float wav below the temporary folder."""

    def write(name: str, signal: np.ndarray) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, signal, 16000, subtype="FLOAT")

    return write


@pytest.fixture
def triples(tmp_path, noise, write) -> Path:
    """The folder of `clean`, `noisy` and `denoised`: three recordings of a second, named as the DNS-Challenge does."""
    pytest.importorskip("pesq"), pytest.importorskip("pystoi")
    for index, snr in enumerate((-3, 1, 4)):
        speech = noise(16000, seed=index) * np.sin(2 * np.pi * 2 * np.arange(16000) / 16000) ** 2
        other = 10 ** (-(snr + 10) / 20) * noise(16000, seed=index + 10)
        write(f"clean/clean_fileid_{index}.wav", speech)
        write(f"noisy/book_snr{snr}_tl-20_fileid_{index}.wav", speech + other)
        write(f"denoised/book_snr{snr}_tl-20_fileid_{index}.wav", speech + 0.5 * other)
    return tmp_path


@pytest.fixture
def score_only(tmp_path):
    """Runs the script on `denoised`, with options in which `@` stands for the temporary folder."""

    def run(*options: str) -> int:
        arguments = ["--score-only", "-i", "@denoised", *options]
        return enhance.main([option.replace("@", f"{tmp_path}/") for option in arguments])

    return run


def replace_denoised(folder: Path, index: int, signal: np.ndarray) -> None:
    """Another signal (L,) in the place of a denoised recording."""
    name = next((folder / "denoised").glob(f"*fileid_{index}.wav"))
    soundfile.write(name, signal, 16000, subtype="FLOAT")


def test_two_folders_beside_each_other(triples, score_only, capsys):
    options = ("--reference", "@clean", "--noisy", "@noisy", "--csv", "@scores.csv", "--json", "@scores.json")
    assert score_only(*options) == 0
    out = capsys.readouterr().out
    assert "means over 3 files, with 95 % intervals:" in out
    assert re.findall(r"input SNR (.*):", out) == [
        "-7.5 to -2.5 dB, 1 file",
        "-2.5 to 2.5 dB, 1 file",
        "2.5 to 7.5 dB, 1 file",
    ]
    rows = list(csv.DictReader((triples / "scores.csv").read_text(encoding="utf-8").splitlines()))
    report = json.loads((triples / "scores.json").read_text(encoding="utf-8"))
    assert [row["input_snr_db"] for row in rows] == ["-3", "1", "4"]
    for index, (row, file) in enumerate(zip(rows, report["files"], strict=True)):
        clean = read_audio(triples / "clean" / f"clean_fileid_{index}.wav", mono=True)[0]
        assert file["file"] == row["file"] and file["findings"] == []
        for signal, folder in (("noisy", "noisy"), ("enhanced", "denoised")):
            expected = score(clean, read_audio(triples / folder / row["file"], mono=True)[0])
            assert {key: float(row[f"{signal}_{key}"]) for key in METRICS} == pytest.approx(expected, rel=1e-4)
            assert file["scores"][signal] == pytest.approx(expected, rel=1e-9)
    assert report["means"]["difference"]["snr_db"]["mean"] == pytest.approx(20 * np.log10(2), abs=1e-3)
    enhanced = [file["scores"]["enhanced"]["pesq_wb"] for file in report["files"]]
    mean = mean_with_interval(enhanced)
    found = report["means"]["enhanced"]["pesq_wb"]
    assert (found["mean"], found["low"], found["high"]) == pytest.approx((mean.mean, mean.low, mean.high))
    assert report["by_input_snr"]["-7.5 to -2.5 dB"]["means"]["noisy"]["snr_db"]["low"] is None  # one file: no interval
    assert report["by_input_snr"]["2.5 to 7.5 dB"]["count"] == 1
    assert report["count"] == {"scored": 3, "left_out": 0, "failed": 0}
    assert report["versions"]["pesq"] and report["versions"]["pystoi"]
    settings = report["settings"]
    assert (settings["input_snr"], settings["confidence"], settings["align"]) == ("names", 0.95, False)
    assert "weights" not in settings


def test_one_folder_alone(triples, score_only, capsys):
    assert score_only("--reference", "@clean", "--json", "@scores.json") == 0
    out = capsys.readouterr().out
    assert re.search(r"\ninput +\d", out) and "enhanced" not in out
    report = json.loads((triples / "scores.json").read_text(encoding="utf-8"))
    assert list(report["means"]) == ["input"]


def test_input_snr_of_a_manifest_and_measured(triples, score_only, capsys):
    for folder in ("noisy", "denoised"):
        for file in (triples / folder).iterdir():
            file.rename(file.with_name(re.sub(".*(fileid_.)", r"mix_\1", file.name)))
    (triples / "mixes.csv").write_text("noisy,snr_db\nmix_fileid_0.wav,1\nmix_fileid_1.wav,2\nmix_fileid_2.wav,17\n")
    options = ("--reference", "@clean", "--json", "@scores.json")
    assert score_only(*options, "--manifest", "@mixes.csv") == 0
    assert re.findall(r"input SNR (.*):", capsys.readouterr().out) == [
        "-2.5 to 2.5 dB, 2 files",
        "12.5 to 17.5 dB, 1 file",
    ]
    assert json.loads((triples / "scores.json").read_text())["settings"]["input_snr"] == "manifest"
    assert score_only(*options) == 0  # neither told nor to be measured: this folder may be the denoised one
    assert "input SNR" not in capsys.readouterr().out
    assert score_only(*options, "--noisy", "@noisy") == 0
    report = json.loads((triples / "scores.json").read_text())
    assert report["settings"]["input_snr"] == "measured"
    for file in report["files"]:
        assert file["input_snr_db"] == file["scores"]["noisy"]["snr_db"]
    (triples / "mixes.csv").write_text("noisy,snr_db\nmix_fileid_0.wav,1\n")
    assert score_only(*options, "--manifest", "@mixes.csv") == 1
    assert "mixes.csv: does not name mix_fileid_1.wav" in capsys.readouterr().err


def test_delay_is_said_and_removed(triples, score_only, noise, capsys):
    clean = read_audio(triples / "clean" / "clean_fileid_1.wav", mono=True)[0]
    late = np.concatenate([np.zeros(384, np.float32), clean + 0.02 * noise(16000, seed=5)])
    replace_denoised(triples, 1, late[:16000])
    options = ("--reference", "@clean", "--csv", "@scores.csv")
    si_sdrs = []
    for more in ((), ("--align",)):
        assert score_only(*options, *more) == 0
        rows = list(csv.DictReader((triples / "scores.csv").read_text(encoding="utf-8").splitlines()))
        si_sdrs.append(float(rows[1]["input_si_sdr_db"]))
    assert si_sdrs[0] < 0 < 5 < si_sdrs[1]
    assert si_sdrs[1] == pytest.approx(si_sdr(clean[:-384], late[384:16000]), abs=1e-3)
    out = capsys.readouterr().out
    assert re.search(r"1 file delayed:\n  .*fileid_1.wav: comes 384 samples after the clean recording", out)
    assert re.search(r"1 file aligned:\n  .*fileid_1.wav: \+384 samples of delay removed, 15616 samples of both", out)
    assert out.count("delayed") == 1


def test_unequal_lengths(triples, score_only, noise, capsys):
    clean = read_audio(triples / "clean" / "clean_fileid_1.wav", mono=True)[0]
    replace_denoised(triples, 1, np.concatenate([np.zeros(100, np.float32), clean])[:15000] + 0.01 * noise(15000))
    assert score_only("--reference", "@clean") == 1
    out, err = capsys.readouterr()
    message = (
        r"FAILED .*fileid_1.wav: has 16000 samples at 16 kHz, .*fileid_1.wav 15000. Expected .* say --align to cut"
    )
    assert re.search(message, err) and "means over 2 files" in out
    assert score_only("--reference", "@clean", "--align") == 0
    assert "means over 3 files" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("signal", "kind", "words"),
    [
        (lambda clean, other: 0.02 * clean + 1e-4 * other, "at another level", r"-3\d.\d dB against the clean"),
        (lambda clean, other: 1e-3 * (clean + 0.1 * other), "nearly silent", r"-8\d.\d dB of full scale"),
        (lambda clean, other: np.clip(9 * (clean + 0.1 * other), -1, 1), "clipped", r"\d+ samples at full scale"),
        (lambda clean, other: other, "unrelated", r"correlation 0.0\d with the clean recording at best"),
    ],
)
def test_what_spoils_scores_is_said(triples, score_only, noise, capsys, signal, kind, words):
    clean = read_audio(triples / "clean" / "clean_fileid_2.wav", mono=True)[0]
    replace_denoised(triples, 2, signal(clean, noise(16000, seed=99)))
    assert score_only("--reference", "@clean") == 0
    out = capsys.readouterr().out
    assert re.search(rf"1 file {kind}:\n  .*fileid_2.wav: {words}", out)
    assert "means over 3 files" in out


def test_silent_and_short_recordings_are_left_out(triples, score_only, noise, write, capsys):
    write("clean/clean_fileid_0.wav", np.zeros(16000))
    replace_denoised(triples, 1, np.zeros(16000))
    for index, length in ((3, 3000), (4, 5000), (5, 0)):
        write(f"clean/clean_fileid_{index}.wav", noise(length))
        write(f"denoised/x_snr1_fileid_{index}.wav", noise(length))
    assert score_only("--reference", "@clean", "--json", "@scores.json") == 0
    out, err = capsys.readouterr()
    assert "means over 1 file:" in out and "5 files left out of the means:" in out and "FAILED" not in err
    for index, reason in (
        (0, "against .*clean_fileid_0.wav: PESQ of a silent clean signal"),
        (1, "PESQ of a silent estimate"),
        (3, "PESQ cannot be computed .*1/4 of a second"),
        (4, "STOI cannot be computed"),
        (5, "signals without samples cannot be scored"),
    ):
        assert re.search(rf"fileid_{index}.wav.*{reason}", out), reason
    report = json.loads((triples / "scores.json").read_text())
    assert report["count"] == {"scored": 1, "left_out": 5, "failed": 0} and len(report["left_out"]) == 5
    for file in (triples / "denoised").glob("*snr4*"):
        file.unlink()
    assert score_only("--reference", "@clean", "--json", "@scores.json", "--csv", "@scores.csv") == 1
    assert "no file could be scored" in capsys.readouterr().out
    assert json.loads((triples / "scores.json").read_text())["means"] == {}


def test_recordings_too_long_for_pesq_are_left_out(triples, score_only, noise, write, capsys):
    """The package pesq would crash, and take the process along."""
    bursts = np.tile(np.concatenate([noise(4000), np.zeros(4000)]), 60)  # 60 utterances
    write("clean/clean_fileid_1.wav", bursts)
    replace_denoised(triples, 1, bursts + 0.01 * noise(480000, seed=3))
    assert score_only("--reference", "@clean", "--csv", "@scores.csv") == 0
    out = capsys.readouterr().out
    assert "means over 2 files" in out
    reason = r"PESQ of about \d\d utterances cannot be computed: the package pesq has room for 50, .*\(--no-pesq\)"
    assert re.search(f"1 file left out of the means:\n.*fileid_1.wav against .*clean_fileid_1.wav: {reason}", out)
    assert len((triples / "scores.csv").read_text().splitlines()) == 1 + 2
    assert score_only("--reference", "@clean", "--csv", "@scores.csv", "--no-pesq") == 0
    out = capsys.readouterr().out
    assert "means over 3 files" in out and "STOI %" in out and "PESQ" not in out
    rows = list(csv.reader((triples / "scores.csv").read_text().splitlines()))
    assert rows[0][2:] == [f"input_{key}" for key in METRICS if not key.startswith("pesq")]
    assert len(rows) == 1 + 3


def test_no_pesq_needs_no_pesq(triples, score_only, monkeypatch):
    monkeypatch.setitem(sys.modules, "pesq", None)
    assert score_only("--reference", "@clean", "--no-pesq") == 0


def test_names_and_numbers_of_reports(tmp_path):
    """Names that are no text, or hold what separates cells; numbers that are not finite."""
    names = ['a "b", c\nd.wav', "\udce4.wav", "\u00e4.wav"]
    pairs = [scores.Pair(name, {"input": tmp_path / name}, None) for name in names]
    files = [scores.ScoredFile(pair, scores={"input": {"snr_db": math.inf, "si_sdr_db": 1.0}}) for pair in pairs]
    files.append(scores.ScoredFile(pairs[1], failure=f"{pairs[1].source}: cannot be read"))
    scores.write_csv(tmp_path / "scores.csv", files)
    with open(tmp_path / "scores.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))
    assert rows[1:] == [[names[0], "", "1"], ["\\udce4.wav", "", "1"], [names[2], "", "1"]]
    scores.write_json(tmp_path / "scores.json", files, {"input": tmp_path / names[1]})
    report = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert [file["file"] for file in report["files"]] == names
    assert report["settings"]["input"] == str(tmp_path / names[1]) and names[1] in report["failed"][0]
    assert report["files"][0]["scores"]["input"]["snr_db"] is None


def test_a_copy_of_the_clean_recordings(triples, score_only, tmp_path):
    """Infinite SI-SDR and SNR: null in JSON, which knows no infinity."""
    options = ["--score-only", "-i", triples / "clean", "--reference", triples / "clean", "--json", tmp_path / "a.json"]
    assert enhance.main([str(option) for option in options]) == 0
    means = json.loads((tmp_path / "a.json").read_text())["means"]["input"]
    assert means["snr_db"] == {"mean": None, "low": None, "high": None}
    assert means["pesq_raw_nb"]["mean"] == pytest.approx(4.5, abs=1e-3)


def test_recordings_without_partner(triples, score_only, noise, write, capsys):
    write("denoised/a_fileid_8.wav", noise(16000))
    assert score_only("--reference", "@clean") == 1
    message = r"denoised.a_fileid_8.wav: has no partner in .*clean \(1 such files\)"
    assert re.search(message, capsys.readouterr().err)
    write("clean/clean_fileid_8.wav", noise(16000))
    assert score_only("--reference", "@clean", "--noisy", "@noisy") == 1
    assert re.search(r"denoised.a_fileid_8.wav: has no partner in .*noisy", capsys.readouterr().err)
    assert score_only("--reference", "@clean", "--json", "@no/scores.json") == 1
    assert "scores.json: its folder does not exist. Make it first." in capsys.readouterr().err
    assert score_only("--reference", "@clean", "--csv", "@clean") == 1
    assert "clean: is a folder. Expected the name of a file" in capsys.readouterr().err


def test_missing_dnsmos_is_refused_before_work_starts(triples, score_only, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "speechmos", None)
    assert score_only("--dnsmos") == 1
    assert re.search(r"DNSMOS needs the package speechmos: pip install .*\[dnsmos\]", capsys.readouterr().err)


def test_dnsmos_without_reference(triples, score_only, capsys):
    pytest.importorskip("librosa")
    pytest.importorskip("speechmos.dnsmos", reason="speechmos is not installed")
    for file in (*(triples / "noisy").iterdir(), *(triples / "denoised").iterdir()):
        soundfile.write(file, np.resize(soundfile.read(file)[0], 18020), 16000)  # one stretch for speechmos, not seven
    assert score_only("--dnsmos", "--noisy", "@noisy", "--csv", "@scores.csv") == 0
    rows = list(csv.DictReader((triples / "scores.csv").read_text(encoding="utf-8").splitlines()))
    columns = [f"{signal}_{key}" for signal in ("noisy", "enhanced") for key in DNSMOS_METRICS]
    assert list(rows[0]) == ["file", "input_snr_db", *columns]
    assert all(0.9 < float(row[column]) < 5 for row in rows for column in columns)
    out = capsys.readouterr().out
    assert "DNSMOS OVRL" in out and "PESQ" not in out


def test_interrupted_scoring(triples, score_only, capsys, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(scores, "score_files", interrupt)
    with pytest.raises(KeyboardInterrupt):
        score_only("--reference", "@clean")
    say_last_words("prog")
    assert "prog: stopped: no scores were written" in capsys.readouterr().err


def test_scoring_needs_no_network(triples):
    code = (
        "import sys\n"
        "absent = 'tensorflow', 'keras', 'DTLN_model', 'h5py', 'onnx', 'onnxruntime', 'tqdm'\n"
        "for name in absent: sys.modules[name] = None  # imports would raise\n"
        "import run_evaluation\n"
        "sys.exit(run_evaluation.main(sys.argv[1:]))"
    )
    options = [
        "--score-only",
        "-i",
        triples / "denoised",
        "--reference",
        triples / "clean",
        "--noisy",
        triples / "noisy",
    ]
    results = []
    for more in ([], ["--jobs", "2"]):
        run = subprocess.run(
            [sys.executable, "-c", code, *options, *more, "--csv", triples / "scores.csv"],
            cwd=SCRIPT.parent, capture_output=True, text=True,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        assert re.search(r"scoring: 100%.*3/3", run.stderr)
        results.append((triples / "scores.csv").read_text())
    assert results[0] == results[1]
