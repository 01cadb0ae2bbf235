"""Synthesis of training pairs on disk, the rooms it shares with mixing on the fly, and pairing by `fileid_N`."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from training_pairs import speech_like

from dtln.audio.folders import pair_files
from dtln.commands import synthesize, train
from dtln.commands.train import mixed_sources
from dtln.errors import AudioFileError
from dtln.mixing import rooms as mixing_rooms
from dtln.mixing import spectra
from dtln.mixing.mixer import PEAK_LIMIT, Mixer
from dtln.mixing.recordings import Recordings, speaker_of
from dtln.mixing.rooms import (
    RoomResponse,
    RoomResponses,
    load_rooms,
    place_in_room,
    prepare_response,
    read_response,
    reverberation_time,
    simulate_room,
    simulate_rooms,
)
from dtln.synthesis import pairs as synthesis_pairs
from dtln.synthesis import run as synthesis_run
from dtln.synthesis.drawing import NOISE_FADE, ROOM, Draw, Piece, draw_noise
from dtln.synthesis.pairs import joined
from dtln.synthesis.recordings import Part, scan, validation_groups
from dtln.synthesis.run import Progress
from dtln.synthesis.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
STEP = 1 / 32768  # of 16-bit samples
SPEAKERS, UTTERANCES, NOISES = 6, 3, 7


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`speech` of six speakers, in sub-folders, one at 8 kHz, and `noise`, flac and wav, some of two channels."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(1)
    for speaker in range(SPEAKERS):
        (folder / "speech" / f"set{speaker % 2}").mkdir(parents=True, exist_ok=True)
        for utterance in range(UTTERANCES):
            length = int(rng.integers(9000, 15000))
            path = folder / "speech" / f"set{speaker % 2}" / f"who{speaker}_{utterance}.wav"
            soundfile.write(path, speech_like(length, 10 * speaker + utterance), 8000 if speaker == 3 else 16000)
    (folder / "noise").mkdir()
    for index in range(NOISES):
        noise = 0.05 * (1 + index) * rng.standard_normal((int(rng.integers(8000, 20000)), 1 + index % 2))
        soundfile.write(folder / "noise" / f"hum{index}_0.{'flac' if index % 2 else 'wav'}", noise.clip(-1, 1), 16000)
    return folder


def arguments(corpus: Path, output: Path, *more: object) -> list[str]:
    """A command line for ten pairs of two seconds; what is in `more` comes later and so wins."""
    folders = ["--speech", corpus / "speech", "--noise", corpus / "noise", "--output", output]
    return [*map(str, folders), "--count", "10", "--seconds", "2", *map(str, more)]


def make(corpus: Path, output: Path, *more: object) -> list[dict[str, str]]:
    """Synthesizes and returns the rows of the manifest."""
    assert synthesize.main(arguments(corpus, output, *more)) == 0
    return manifest(output)


def manifest(output: Path) -> list[dict[str, str]]:
    with open(output / "manifest.csv", newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def contents(output: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {p.relative_to(output).as_posix(): p.read_bytes() for p in sorted(output.rglob("*")) if p.is_file()}


def pair_of(output: Path, row: dict[str, str]) -> tuple[np.ndarray, np.ndarray]:
    noisy, clean = (soundfile.read(output / row[kind])[0] for kind in ("noisy", "clean"))
    return noisy, clean


def level_db(samples: np.ndarray) -> float:
    return 10 * np.log10(np.mean(np.square(samples, dtype=np.float64)))


# ----------------------------------------------------------------------------------------------------------------------
# Pairing
# ----------------------------------------------------------------------------------------------------------------------


def test_files_are_paired_by_name_then_by_fileid() -> None:
    noisy = ["a.wav", "deep/b_snr5_tl-25_fileid_12.wav", "fileid_3_of_old_fileid_4.wav", "clean_fileid_7.wav"]
    clean = ["clean_fileid_12.wav", "clean_fileid_004.wav", "clean_fileid_7.wav", "a.wav"]
    assert pair_files(noisy, clean) == [
        ("a.wav", "a.wav"),
        ("deep/b_snr5_tl-25_fileid_12.wav", "clean_fileid_12.wav"),
        ("fileid_3_of_old_fileid_4.wav", "clean_fileid_004.wav"),  # the last id in the name counts
        ("clean_fileid_7.wav", "clean_fileid_7.wav"),
    ]
    assert pair_files([], []) == []


@pytest.mark.parametrize(
    ("noisy", "clean", "message"),
    [
        (
            ["a_fileid_1.wav"],
            ["b_fileid_11.wav"],
            r"N.a_fileid_1\.wav: has no partner in C \(1 such files\)\. Expected",
        ),
        (["a.wav"], ["a.wav", "b_fileid_1.wav"], r"C.b_fileid_1\.wav: has no partner in N \(1 such files\)"),
        (["x.wav", "y.wav"], ["z.wav"], r"N.x\.wav: has no partner in C \(2 such files\)"),
        (["a_fileid_1.wav", "b_fileid_01.wav"], ["c_fileid_1.wav"], r"N.b_fileid_01\.wav: has the same fileid as N.a_"),
        (["a_fileid_1.wav"], ["c_fileid_1.wav", "d_fileid_1.wav"], r"C.d_fileid_1\.wav: .* Expected fileid_1 once"),
    ],
)
def test_files_without_a_sure_partner_are_named(noisy: list[str], clean: list[str], message: str) -> None:
    with pytest.raises(AudioFileError, match=message):
        pair_files(noisy, clean, "N", Path("C"), all_clean=True)


# ----------------------------------------------------------------------------------------------------------------------
# What is written
# ----------------------------------------------------------------------------------------------------------------------


def test_names_manifest_and_files_agree(corpus: Path, tmp_path: Path) -> None:
    rows = make(corpus, tmp_path / "out", "--count", 20, "--snr-db", -5, 15, "--level-dbfs", -35, -20)
    assert [int(row["fileid"]) for row in rows] == list(range(20))
    written = {name for name in contents(tmp_path / "out") if name.endswith(".wav")}
    assert written == {row[kind] for row in rows for kind in ("noisy", "clean")}
    assert [row["subset"] for row in rows] == ["training"] * 16 + ["validation"] * 4
    for row in rows:
        noisy_info, clean_info = (soundfile.info(tmp_path / "out" / row[kind]) for kind in ("noisy", "clean"))
        for info in (noisy_info, clean_info):
            assert (info.samplerate, info.channels, info.frames) == (16000, 1, 32000)
            assert (info.format, info.subtype) == ("WAV", "PCM_16")
        name = re.fullmatch(rf"{row['subset']}/noisy/(who\d)_snr(-?\d+)_tl(-\d+)_fileid_(\d+)\.wav", row["noisy"])
        assert name and row["speaker"].endswith(name[1]) and name[4] == row["fileid"]
        assert row["clean"] == f"{row['subset']}/clean/clean_fileid_{row['fileid']}.wav"
        noisy, clean = pair_of(tmp_path / "out", row)
        assert level_db(clean) - level_db(noisy - clean) == pytest.approx(float(row["snr_db"]), abs=0.05)
        assert float(row["snr_db"]) == int(name[2]) and round(float(row["level_dbfs"])) == int(name[3])
        assert level_db(noisy) == pytest.approx(float(row["level_dbfs"]), abs=0.02)
        assert (row["guard_db"], row["target"], row["rt60"], row["seed"]) == ("0.00", "dry", "", "42")
    snrs, levels = ({int(float(row[key])) for row in rows} for key in ("snr_db", "level_dbfs"))
    assert min(snrs) >= -5 and max(snrs) <= 15 and len(snrs) > 5
    assert min(levels) >= -35 and max(levels) <= -20 and len(levels) > 5


def test_ends_of_the_ranges_are_drawn(corpus: Path, tmp_path: Path) -> None:
    rows = make(corpus, tmp_path / "out", "--snr-db", 3, 4, "--level-dbfs", -30, -30)
    assert {row["snr_db"] for row in rows} == {"3", "4"} and {row["level_dbfs"] for row in rows} == {"-30.00"}


def source(folder: Path, name: str) -> np.ndarray:
    """A recording as the script reads it, at its own rate."""
    return soundfile.read(folder / name, always_2d=True)[0].mean(axis=1)


def test_pairs_are_made_of_what_the_manifest_says(corpus: Path, tmp_path: Path) -> None:
    rows = make(corpus, tmp_path / "out", "--seconds", 5)
    compared = 0
    for row in rows:
        noisy, clean = pair_of(tmp_path / "out", row)
        speech, noise = json.loads(row["speech"]), json.loads(row["noise"])
        assert len(speech) > 2 and len(noise) > 3
        for (_, _, start, length), (_, _, following, _) in zip(speech, speech[1:], strict=False):
            assert 3200 <= following - (start + length) < 12800  # a pause
            assert not clean[start + length : following].any()
        for (_, _, start, length), (_, _, following, _) in zip(noise, noise[1:], strict=False):
            assert following == start + length - 800  # a cross-fade
        assert noise[0][2] == 0 and noise[-1][2] + noise[-1][3] == 80000  # noise all along
        assert {speaker_of(name) for name, *_ in speech} == {row["speaker"]}
        assert {name for name, *_ in speech[:UTTERANCES]} == {name for name, *_ in speech}  # all, before any again
        for pieces, mixed, folder in ((speech, clean, "speech"), (noise, noisy - clean, "noise")):
            for name, offset, start, length in pieces:
                if length < 4000 or "who3" in name:  # who3 is resampled
                    continue
                expected = source(corpus / folder, name)[offset : offset + length][900:-900]
                found = mixed[start : start + length][900:-900]
                assert np.corrcoef(expected, found)[0, 1] > 0.999, name
                compared += 1
    assert compared > 50
    assert any(offset for row in rows for _, offset, _, _ in json.loads(row["speech"]) + json.loads(row["noise"]))


def test_cross_fades_keep_the_level(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for kind, count in (("speech", 2), ("noise", 6)):
        (tmp_path / kind).mkdir()
        for index in range(count):
            soundfile.write(tmp_path / kind / f"x{index}_0.wav", 0.1 * rng.standard_normal(4000), 16000)
    folder, part = tmp_path / "noise", Part({}, scan(str(tmp_path / "noise")), {})
    sums = np.zeros(30000)
    for seed in range(60):
        pieces = draw_noise(np.random.default_rng(seed), part, 30000)
        sums += joined(str(folder), pieces, 30000, NOISE_FADE) ** 2
    powers = sums[: 30000 // 400 * 400].reshape(-1, 400).mean(axis=1) / 60
    np.testing.assert_allclose(10 * np.log10(powers / 0.01), 0, atol=0.6)  # the cross-fades lie at the same places


def test_training_and_validation_share_no_speaker_and_no_noise(corpus: Path, tmp_path: Path) -> None:
    rows = make(corpus, tmp_path / "out", "--count", 60, "--seconds", 1)
    for column in ("speech", "noise"):
        names = {
            part: {name for row in rows if row["subset"] == part for name, *_ in json.loads(row[column])}
            for part in ("training", "validation")
        }
        groups = [{speaker_of(name) for name in names[part]} for part in names]
        assert groups[0] and groups[1] and not groups[0] & groups[1]
        assert len(groups[0] | groups[1]) == (SPEAKERS if column == "speech" else NOISES)  # and none is left unused


def test_no_validation(corpus: Path, tmp_path: Path) -> None:
    rows = make(corpus, tmp_path / "out", "--validation-share", 0, "--count", 1)
    assert [row["subset"] for row in rows] == ["training"] and not (tmp_path / "out" / "validation").exists()


def test_division_takes_about_the_share_and_never_all() -> None:
    durations = {f"speaker {i}": 1.0 + i % 5 for i in range(400)}
    chosen = validation_groups(durations, 0.2)
    assert sum(durations[name] for name in chosen) / sum(durations.values()) == pytest.approx(0.2, abs=0.01)
    for count in (2, 3, 5):
        for size in (1.0, 100.0):  # also with one who fills nearly all
            few = {f"{count} {i}": 1.0 for i in range(count - 1)} | {"big": size}
            assert 0 < len(validation_groups(few, 0.2)) < count
    assert validation_groups({"a": 1.0, "big": 100.0}, 0.2) == {"a"}


def test_silence_share(corpus: Path, tmp_path: Path) -> None:
    rows = make(corpus, tmp_path / "out", "--silence-share", 0.5, "--count", 30)
    silent = [row for row in rows if not json.loads(row["speech"])]
    assert 7 <= len(silent) <= 23
    for row in rows:
        noisy, clean = pair_of(tmp_path / "out", row)
        assert level_db(noisy) == pytest.approx(float(row["level_dbfs"]), abs=0.02)
        if row in silent:
            assert not clean.any() and row["snr_db"] == row["speaker"] == ""
            level = round(float(row["level_dbfs"]))
            assert row["noisy"].endswith(f"/nospeech_tl{level}_fileid_{row['fileid']}.wav")
        else:
            assert clean.any() and "nospeech" not in row["noisy"]


def test_peaks_are_turned_down_and_noted(corpus: Path, tmp_path: Path) -> None:
    rows = make(corpus, tmp_path / "out", "--level-dbfs", -3, -3, "--snr-db", 5, 5)
    for row in rows:
        noisy, clean = pair_of(tmp_path / "out", row)
        assert max(np.max(np.abs(noisy)), np.max(np.abs(clean))) == pytest.approx(PEAK_LIMIT, abs=2 * STEP)
        assert float(row["guard_db"]) < -1
        assert float(row["level_dbfs"]) == pytest.approx(-3 + float(row["guard_db"]), abs=0.011)
        assert level_db(noisy) == pytest.approx(float(row["level_dbfs"]), abs=0.02)
        assert f"_tl{round(float(row['level_dbfs']))}_" in row["noisy"]
        assert level_db(clean) - level_db(noisy - clean) == pytest.approx(5.0, abs=0.05)


def test_hours_are_rounded_up_to_whole_files() -> None:
    def count(hours: float, seconds: float = 30.0) -> int:
        return Settings(hours=hours, seconds=seconds).total

    assert (count(0.1), count(1.1), count(0.101), count(1.0, 7.0)) == (12, 132, 13, 515)
    shares = [Settings(count=n, validation_share=s).training_count for n, s in ((100, 0.2), (2, 0.2), (2, 0.9))]
    assert shares == [80, 1, 1]


# ----------------------------------------------------------------------------------------------------------------------
# The same again: jobs, seeds, settings, resuming
# ----------------------------------------------------------------------------------------------------------------------


def test_output_does_not_depend_on_the_number_of_jobs(corpus: Path, tmp_path: Path) -> None:
    options = ["--silence-share", 0.2, "--reverberant-share", 0.4, "--rir", response_folder(tmp_path / "rir")]
    for name, jobs, seed in (("one", 1, 5), ("two", 2, 5), ("other", 1, 6)):
        make(corpus, tmp_path / name, *options, "--jobs", jobs, "--seed", seed)
    one, two, other = (contents(tmp_path / name) for name in ("one", "two", "other"))
    assert len(one) == 22 and one == two
    assert not any(one.get(name) == content for name, content in other.items() if name.endswith(".wav"))
    for column in ("speech", "noise", "snr_db", "level_dbfs"):
        rows = zip(manifest(tmp_path / "one"), manifest(tmp_path / "other"), strict=True)
        assert sum(row[column] == other_row[column] for row, other_row in rows) < 5


def test_fewer_pairs_begin_alike(corpus: Path, tmp_path: Path) -> None:
    """A pair depends on seed and index alone (as long as it is for training in both)."""
    ten, six = (make(corpus, tmp_path / str(n), "--count", n, "--validation-share", 0.2) for n in (10, 6))
    assert [row["noisy"] for row in ten[:5]] == [row["noisy"] for row in six[:5]]
    assert contents(tmp_path / "10")[ten[4]["noisy"]] == contents(tmp_path / "6")[six[4]["noisy"]]


def test_settings_file_and_flags(corpus: Path, tmp_path: Path) -> None:
    make(corpus, tmp_path / "first", "--snr-db", 0, 9, "--silence-share", 0.1, "--seed", 3)
    settings = tmp_path / "first" / "settings.json"
    assert synthesize.main(["--output", str(tmp_path / "again"), "--settings", str(settings)]) == 0
    assert contents(tmp_path / "again") == contents(tmp_path / "first")

    more = ["--seed", "4", "--hours", "0.001", "--rir", str(response_folder(tmp_path / "rir"))]
    assert synthesize.main(["--output", str(tmp_path / "flags"), "--settings", str(settings), *more]) == 0
    changed = json.loads((tmp_path / "flags" / "settings.json").read_text())
    assert (changed["seed"], changed["hours"], changed["count"]) == (4, 0.001, None)  # a flag wins, also over its rival
    assert (changed["snr_db"], changed["silence_share"]) == ([0, 9], 0.1)  # the rest is the file's
    assert len(manifest(tmp_path / "flags")) == 2


def test_resuming_after_a_kill(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a killed run leaves is complete, and going on from it ends in the same bytes as a run without a break."""
    options = ["--count", "150"]
    make(corpus, tmp_path / "whole", *options)
    broken = tmp_path / "broken"
    command = [sys.executable, "synthesize_training_data.py", *arguments(corpus, broken, *options)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(list(broken.glob("*/noisy/*.wav"))) < 20:
        time.sleep(0.002)
    process.kill()
    process.wait()
    left = [path for path in broken.glob("*/*/*.wav") if not path.name.startswith(".")]
    assert 20 <= len(left) < 300 and not (broken / "manifest.csv").exists()
    whole = contents(tmp_path / "whole")
    for path in left:
        assert path.read_bytes() == whole[path.relative_to(broken).as_posix()]

    journal = broken / "unfinished.jsonl"
    journal.write_text(journal.read_text()[:-7])  # the kill came while a row was written
    (broken / "training" / "noisy" / ".x.partial.y.wav").write_bytes(b"RIFF")  # ... or a wav
    capsys.readouterr()
    before = {path: path.stat().st_mtime_ns for path in left}
    assert synthesize.main(["--output", str(broken), "--resume"]) == 0
    made = int(re.search(r"150 pairs, 0.08 h; (\d+) made now", capsys.readouterr().out)[1])
    assert 150 - made >= len(left) // 2 - 2  # but for the torn row, and a pair whose row was not begun
    assert sum(path.stat().st_mtime_ns == time for path, time in before.items()) >= 2 * (150 - made)
    assert contents(broken) == whole


def test_resuming_a_finished_run(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = make(corpus, tmp_path / "out")
    whole = contents(tmp_path / "out")
    assert synthesize.main(arguments(corpus, tmp_path / "out", "--resume")) == 0
    assert "10 pairs, 0.01 h; 0 made now, 10 were there" in capsys.readouterr().out
    (tmp_path / "out" / rows[4]["clean"]).unlink()
    assert synthesize.main(arguments(corpus, tmp_path / "out", "--resume")) == 0
    assert "1 made now, 9 were there" in capsys.readouterr().out
    assert contents(tmp_path / "out") == whole


def test_resuming_before_anything_was_made(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert len(make(corpus, tmp_path / "out", "--resume")) == 10


def test_interrupt(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_pair = synthesis_pairs.make_pair

    def interrupted(settings: Settings, output: Path, draw: Draw) -> object:
        if draw.index == 6:
            raise KeyboardInterrupt
        return make_pair(settings, output, draw)

    with monkeypatch.context() as patched:
        patched.setattr(synthesis_run, "make_pair", interrupted)
        assert synthesize.main(arguments(corpus, tmp_path / "out")) == 130
    assert "stopped; what was written is complete, --resume goes on" in capsys.readouterr().err
    assert not (tmp_path / "out" / "manifest.csv").exists()
    assert synthesize.main(["--output", str(tmp_path / "out"), "--resume"]) == 0
    make(corpus, tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_resuming_with_other_settings_or_recordings(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    speech = tmp_path / "speech"
    speech.mkdir()
    for index in range(3):
        soundfile.write(speech / f"a{index}_0.wav", speech_like(16000, index), 16000)
    command = ["--speech", str(speech), "--count", "4"]
    make(corpus, tmp_path / "out", *command)
    whole = contents(tmp_path / "out")
    assert (
        synthesize.main(arguments(corpus, tmp_path / "out", *command, "--resume", "--snr-db", 0, 5, "--seed", 1)) == 1
    )
    message = capsys.readouterr().err
    assert re.search(r"begun with other settings: snr_db \[-5, 25\] \(now \[0, 5\]\), seed 42 \(now 1\)\.", message)
    soundfile.write(speech / "a1_0.wav", speech_like(16001, 1), 16000)
    assert synthesize.main(arguments(corpus, tmp_path / "out", *command, "--resume")) == 1
    assert "are not those it was begun with" in capsys.readouterr().err
    assert contents(tmp_path / "out") == whole


# ----------------------------------------------------------------------------------------------------------------------
# Bad input
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--seconds", "0.5"], "--seconds 0.5: expected 1 to 3600"),
        (["--seconds", "nan"], "--seconds nan: expected 1 to 3600"),
        (["--count", "0"], "--hours or --count 0: expected more than none"),
        (["--snr-db", "9", "1"], "--snr-db 9 1 is an empty range: give the lower end first"),
        (["--level-dbfs", "0", "-9"], "--level-dbfs 0 -9 is an empty range"),
        (["--silence-share", "1.5"], "--silence-share 1.5: expected a share from 0 to 1"),
        (["--rir", "r", "--reverberant-share", "-1"], "--reverberant-share -1: expected a share from 0 to 1"),
        (["--reverberant-share", "0.5"], "--reverberant-share needs rooms: give --rir or --simulated-rooms"),
        (["--target", "early"], "--target early needs rooms: give --rir or --simulated-rooms"),
        (["--validation-share", "1"], "--validation-share 1: expected a share from 0 to below 1"),
        (["--count", "1"], "one pair cannot be divided into training and validation: raise --count"),
        (["--seed", "-1"], "--seed -1: expected 0 or more"),
        (["--speaker-pattern", "(x"], "--speaker-pattern '(x': is no pattern"),
        (["--speaker-pattern", "x"], "--speaker-pattern 'x': expected one group, found 0"),
        (["--speaker-pattern", "who([0-4])"], "who5_0.wav: --speaker-pattern 'who([0-4])' finds no speaker"),
        (["--speaker-pattern", "(who)"], "speech: holds one speaker (who). Expected two at least"),
        (["--speech", "missing"], "missing: expected a folder of audio files, found nothing"),
        (["--rir", "missing"], "missing: expected a folder of audio files, found nothing"),
        (["--settings", "missing.json"], "missing.json: cannot be read (No such file or directory)"),
    ],
)
def test_settings_that_do_not_fit(
    more: list[str], message: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert synthesize.main(arguments(corpus, tmp_path / "out", *more)) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed = 3", "is no JSON"),
        ("[1]", "holds no JSON object"),
        ('{"sead": 3}', "unknown setting 'sead'. Expected some of speech, noise, rir"),
        ('{"seed": "3"}', 'seed is "3". Expected a whole number'),
        ('{"seed": true}', "seed is true. Expected a whole number"),
        ('{"simulated_rooms": 1}', "simulated_rooms is 1. Expected true or false"),
        ('{"snr_db": [1.5, 2]}', "snr_db is [1.5, 2]. Expected a list of two whole numbers"),
        ('{"silence_share": "0"}', 'silence_share is "0". Expected a number'),
        ('{"speech": 3}', "speech is 3. Expected a text"),
        ('{"target": "dry"}', "target 'dry': expected reverberant or early"),
        ('{"hours": 1, "count": 2}', "hours and count are both set"),
        ('{"rir": "x", "simulated_rooms": true}', "rir and simulated_rooms are both set"),
        ("{}", "give --hours or --count: how much to make"),
    ],
)
def test_bad_settings_files(
    text: str, message: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.json").write_text(text)
    folders = ["--speech", corpus / "speech", "--noise", corpus / "noise", "--output", tmp_path / "out"]
    if '"speech"' in text:
        folders = folders[2:]
    if '"target"' in text:
        folders += ["--simulated-rooms", "--count", "3"]
    if '"rir"' in text:
        folders += ["--count", "3"]
    assert synthesize.main([*map(str, folders), "--settings", str(tmp_path / "s.json")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_folders_have_to_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert synthesize.main(["--output", str(tmp_path / "out"), "--count", "3"]) == 1
    assert "--speech is missing: expected a folder of clean speech" in capsys.readouterr().err
    assert synthesize.main(["--output", str(tmp_path / "out"), "--count", "3", "--speech", "s"]) == 1
    assert "--noise is missing: expected a folder of noise recordings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--count", "3"], "required: --output"),
        (["--output", "o", "--jobs", "0"], "--jobs 0: expected at least one process"),
        (["--output", "o", "--count", "3", "--hours", "1"], "--hours: not allowed with argument --count"),
        (["--output", "o", "--rir", "r", "--simulated-rooms"], "--simulated-rooms"),
        (["--output", "o", "--target", "dry"], "invalid choice: 'dry'"),
        (["--output", "o", "--snr-db", "0.5", "2"], "invalid int value: '0.5'"),
    ],
)
def test_arguments_that_do_not_fit(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        synthesize.main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_output_folders_that_do_not_fit(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    for output, more, message in (
        (tmp_path / "file", [], "file: is a file. Expected a folder to write to"),
        (
            tmp_path / "full",
            [],
            "full: is not empty. Expected a new or empty folder; choose another one, or say --resu",
        ),
        (tmp_path / "full", ["--resume"], "full: holds no settings.json. Expected a folder that this script began"),
        (corpus / "noise", [], "noise: is the --noise folder or lies inside it"),
        (corpus / "speech" / "new", [], "new: is the --speech folder or lies inside it"),
    ):
        assert synthesize.main(arguments(corpus, output, *more)) == 1
        assert message in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["thesis.txt"]
    assert not (corpus / "speech" / "new").exists()


def test_recordings_found_bad_before_work_starts(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for content, message in (
        (b"", r"click_0.wav: is a file of 0 bytes"),
        (b"no audio", r"click_0.wav: cannot be read as audio"),
        (None, r"click_0.wav: holds 0.050 s. Expected at least 0.1 s; remove the file"),
    ):
        path = tmp_path / "noise" / "click_0.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, np.ones(800), 16000) if content is None else path.write_bytes(content)
        assert synthesize.main(arguments(corpus, tmp_path / "out", "--noise", path.parent)) == 1
        assert message in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
    path.unlink()
    for name in ("hum_0.wav", "hum_1.wav"):  # one kind by its name: the files are divided
        soundfile.write(path.parent / name, 0.1 * np.ones(16000), 16000)
    rows = make(corpus, tmp_path / "out", "--noise", path.parent)
    used = [
        {name for r in rows if r["subset"] == s for name, *_ in json.loads(r["noise"])}
        for s in ("training", "validation")
    ]
    assert sorted(map(sorted, used)) == [["hum_0.wav"], ["hum_1.wav"]]
    (path.parent / "hum_1.wav").unlink()
    assert synthesize.main(arguments(corpus, tmp_path / "out2", "--noise", path.parent)) == 1
    assert "noise: holds one (hum_0.wav). Expected two at least" in capsys.readouterr().err


def test_damaged_and_silent_recordings_are_replaced_and_listed(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = tmp_path / "noise"
    noise.mkdir()
    rng = np.random.default_rng(0)
    for index in range(4):
        soundfile.write(noise / f"good{index}_0.flac", 0.1 * rng.standard_normal(40000), 16000)
    soundfile.write(noise / "silent_0.wav", np.zeros(80000), 16000)
    soundfile.write(noise / "cut_0.flac", 0.1 * rng.standard_normal(80000), 16000)
    cut = (noise / "cut_0.flac").read_bytes()
    (noise / "cut_0.flac").write_bytes(cut[: len(cut) // 50])  # what is left of it could be used
    for name, jobs in (("one", 1), ("two", 2)):
        command = arguments(corpus, tmp_path / name, "--noise", noise, "--validation-share", 0, "--jobs", jobs)
        assert synthesize.main(command) == 1
        report = capsys.readouterr().err
        assert re.search(r"LEFT OUT .*cut_0\.flac: is truncated or damaged", report)
        assert re.search(r"LEFT OUT .*noise: silence was drawn from silent_0\.wav\. Expected sound", report)
    rows = manifest(tmp_path / "one")
    assert len(rows) == 10 and all("good" in row["noise"] and "cut" not in row["noise"] for row in rows)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")

    for path in noise.glob("good*"):
        path.unlink()
    assert synthesize.main(arguments(corpus, tmp_path / "none", "--noise", noise, "--validation-share", 0)) == 1
    assert re.search(r"pair 0: 10 draws gave nothing to use; the last: ", capsys.readouterr().err)
    assert not list((tmp_path / "none").rglob("*.wav"))


def test_recording_that_is_shorter_than_announced(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", speech_like(2000), 16000)
    with pytest.raises(AudioFileError, match=r"a\.wav: is shorter than its header announces, .* Expected 2100 samples"):
        joined(str(tmp_path), [Piece("a.wav", 100, 0, 2000)], 4000, 80)


def test_files_that_cannot_be_written(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(corpus, tmp_path / "out", "--count", 4)
    row = manifest(tmp_path / "out")[0]
    (tmp_path / "out" / row["noisy"]).unlink()
    (tmp_path / "out" / row["noisy"]).mkdir()  # in the way
    assert synthesize.main(["--output", str(tmp_path / "out"), "--resume"]) == 1
    assert "synthesize_training_data.py: " in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress() -> None:
    for stream, expected in ((io.StringIO(), 10), (Terminal(), 1)):
        progress = Progress(40, 0, 30.0, stream)
        for _ in range(40):
            progress.step()
        text = stream.getvalue()
        assert text.count("\n") == expected
        assert "40 of 40 pairs, 0.33 h, " in text and text.rstrip(" \n").endswith("times real time, 0.0 min left")
    assert text.startswith("\r1 of 40 pairs")


def test_help() -> None:
    run = subprocess.run(
        [sys.executable, "synthesize_training_data.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert synthesize.__doc__.splitlines()[0] in run.stdout and "--speaker-pattern REGEX" in run.stdout


# ----------------------------------------------------------------------------------------------------------------------
# Rooms
# ----------------------------------------------------------------------------------------------------------------------


def echo(delay: int, *reflections: tuple[int, float], gain: float = 0.5) -> np.ndarray:
    """A response (12000,): direct sound after `delay` samples, reflections (samples after it, gain relative to it)."""
    response = np.zeros(12000)
    response[delay] = gain
    for later, relative in reflections:
        response[delay + later] = gain * relative
    return response


def response_folder(folder: Path) -> Path:
    """Responses of two rooms: one has two of them, the other, of two channels, stands alone."""
    (folder / "hall").mkdir(parents=True)
    soundfile.write(folder / "hall" / "a.wav", echo(300, (400, 0.5), (2000, 0.4)), 16000)
    soundfile.write(folder / "hall" / "b.wav", echo(100, (500, -0.5), (1500, 0.3)), 16000)
    soundfile.write(folder / "box.flac", np.stack([echo(0, (160, 0.3)), echo(7, (999, 0.9))], axis=1), 16000)
    return folder


def delayed(samples: np.ndarray, delay: int) -> np.ndarray:
    return np.concatenate([np.zeros(delay, samples.dtype), samples[: len(samples) - delay]])


def test_measured_responses(tmp_path: Path) -> None:
    rooms = load_rooms(response_folder(tmp_path / "rir")).responses
    assert [(r.name, r.room) for r in rooms] == [
        ("box.flac", "box.flac"),
        ("hall/a.wav", "hall"),
        ("hall/b.wav", "hall"),
    ]
    box, a, b = rooms
    assert (box.direct, a.direct, b.direct) == (0, 40, 40)  # what came before is cut off but for 40 samples
    assert all(r.samples[r.direct] == pytest.approx(1.0) for r in rooms)
    assert a.samples[440] == pytest.approx(0.5, abs=1e-3) and a.samples[2040] == pytest.approx(0.4, abs=1e-3)
    assert box.samples[160] == pytest.approx(0.3, abs=1e-3) and not box.samples[990:1010].any()  # the first channel
    assert [len(r.samples) for r in rooms] == [9600, 9640, 9640]  # 0.6 s from the direct sound on
    assert len(a.early) == 40 + 800 and a.early[440] and not b.early[540 + 300 :].any()


def test_placing_in_a_room(tmp_path: Path) -> None:
    box, a, b = load_rooms(response_folder(tmp_path / "rir")).responses
    speech, noise = speech_like(20000), speech_like(20000, 5)
    heard = speech + 0.5 * delayed(speech, 400) + 0.4 * delayed(speech, 2000)
    noise_heard = noise - 0.5 * delayed(noise, 500) + 0.3 * delayed(noise, 1500)
    result = place_in_room(speech, noise, (a, b))
    for signal, expected in zip(result, (heard, noise_heard, heard), strict=True):
        assert signal.dtype == np.float32
        np.testing.assert_allclose(signal, expected, atol=1e-4)
    result = place_in_room(speech, noise, (a, None), "early")
    for signal, expected in zip(result, (heard, noise, speech + 0.5 * delayed(speech, 400)), strict=True):
        np.testing.assert_allclose(signal, expected, atol=1e-4)


def test_direct_sound_is_found_before_a_louder_reflection() -> None:
    response = prepare_response(echo(500, (300, 1.6)), "room", "name")
    assert (response.direct, response.samples[40], len(response.samples)) == (40, 1.0, 9640)
    assert response.samples[340] == pytest.approx(1.6)
    rising = echo(500)
    rising[498:500] = 0.3, 0.45  # the rise to the direct sound
    assert prepare_response(rising, "room", "name").samples[38] == pytest.approx(0.6)


@pytest.mark.parametrize("rt60", [0.2, 0.5, 0.9])
def test_reverberation_time_of_an_exponential_decay(rt60: float) -> None:
    decay = np.random.default_rng(0).standard_normal(32000) * 10 ** (-3 * np.arange(32000) / 16000 / rt60)
    assert reverberation_time(decay) == pytest.approx(rt60, rel=0.05)


def test_bad_responses(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(1000), 16000)
    with pytest.raises(AudioFileError, match=r"silent\.wav: is silent\. Expected a room impulse response"):
        read_response(tmp_path / "silent.wav", "room")
    soundfile.write(tmp_path / "silent.wav", np.zeros(0), 16000)
    with pytest.raises(AudioFileError, match=r"silent\.wav: holds no samples; expected a room impulse response"):
        read_response(tmp_path / "silent.wav", "room")
    with pytest.raises(AudioFileError, match="missing: expected a folder of audio files, found nothing"):
        load_rooms(tmp_path / "missing")
    with pytest.raises(ValueError, match="a bank of room responses was given none"):
        RoomResponses([])
    with pytest.raises(ValueError, match="0 simulated room responses: expected at least one"):
        simulate_rooms(0, seed=1)


def test_noise_sounds_in_the_room_of_the_speech() -> None:
    responses = [RoomResponse(np.ones(1, np.float32), 0, room, room + name, 0.3) for room in "xyz" for name in "123"]
    bank = RoomResponses([*responses, RoomResponse(np.ones(1, np.float32), 0, "alone", "alone", 0.3)])
    seen = set()
    for seed in range(200):
        speech, noise = bank.draw(np.random.default_rng(seed))
        if speech.room == "alone":
            assert noise is None
        else:
            assert noise.room == speech.room and noise.name != speech.name
        seen.add(speech.name)
    assert len(seen) == 10


def room_mixer(rooms: RoomResponses | None = None, **settings: object) -> Mixer:
    def recordings(seed: int) -> Recordings:
        return Recordings(["a_0.wav"], [np.round(speech_like(20000, seed) * 32767).astype(np.int16)])

    return Mixer(recordings(1), recordings(2), 8000, rooms=rooms, **settings)


def test_mixing_on_the_fly_in_rooms(tmp_path: Path) -> None:
    bank = RoomResponses(load_rooms(response_folder(tmp_path / "rir")).responses[1:])  # the hall's
    dry, rooms, early = room_mixer(), room_mixer(bank), room_mixer(bank, room_target="early")
    reverberant = 0
    for seed in range(100):
        (noisy, clean), (heard, target), (heard_early, early_target) = (
            mixer.draw(np.random.default_rng(seed)) for mixer in (dry, rooms, early)
        )
        assert target.dtype == heard.dtype == early_target.dtype == np.float32 and target.shape == (8000,)
        np.testing.assert_allclose(heard, heard_early, atol=1e-6)
        if np.array_equal(noisy, heard):
            np.testing.assert_array_equal(clean, target)
            continue
        reverberant += 1
        snr = level_db(target) - level_db(heard - target)
        assert snr == pytest.approx(level_db(clean) - level_db(noisy - clean), abs=0.1)  # of speech as it sounds
        assert level_db(heard) == pytest.approx(level_db(noisy), abs=0.1)
        lags = np.correlate(target, clean, "same")
        assert np.argmax(np.abs(lags)) == 4000  # the direct sound keeps its time
        assert not np.allclose(target, early_target, atol=0.01 * np.max(np.abs(target)))  # both responses are long
    assert 30 < reverberant < 70
    with pytest.raises(ValueError, match="unknown room target 'late': expected one of reverberant, early"):
        room_mixer(bank, room_target="late")
    with pytest.raises(ValueError, match="reverberant share 1.5: expected a share from 0 to 1"):
        room_mixer(bank, reverberant_share=1.5)


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_share_of_segments_in_rooms(share: float, tmp_path: Path) -> None:
    bank = RoomResponses(load_rooms(response_folder(tmp_path / "rir")).responses[1:])
    dry, rooms = room_mixer(), room_mixer(bank, reverberant_share=share)
    pairs = [[mixer.draw(np.random.default_rng(seed))[0] for mixer in (dry, rooms)] for seed in range(100)]
    reverberant = sum(not np.array_equal(*pair) for pair in pairs)
    assert 100 * share - 12 * (0 < share < 1) <= reverberant <= 100 * share + 12 * (0 < share < 1)


def test_rooms_come_after_the_augmentations(tmp_path: Path) -> None:
    """Speech that is silenced by `pauses` still sounds on in the room."""
    bank = RoomResponses([prepare_response(echo(0, (3000, 0.5)), "room", "room")])
    dry, wet = room_mixer(augmentations=["pauses"]), room_mixer(bank, augmentations=["pauses"])
    silenced = 0
    for seed in range(200):
        (_, clean), (_, target) = (mixer.draw(np.random.default_rng(seed)) for mixer in (dry, wet))
        if not np.array_equal(clean, target):
            expected = clean + 0.5 * delayed(clean, 3000)
            assert np.corrcoef(expected, target)[0, 1] > 0.9999
            silenced += bool(clean[:100].any() and not clean[-3000:].any())
    assert silenced


def test_sizes_of_transforms() -> None:
    for length in (1, 7, 511, 513, 40001, 50559, 489639):
        size = spectra._fast_length(length)
        rest = size
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        assert rest == 1 and length <= size <= 1.07 * length + 1


@pytest.mark.parametrize("target", ["reverberant", "early"])
def test_pairs_in_measured_rooms(target: str, corpus: Path, tmp_path: Path) -> None:
    rir = response_folder(tmp_path / "rir")
    rows = make(corpus, tmp_path / "out", "--rir", rir, "--reverberant-share", 1, "--target", target, "--count", 20)
    dry = make(corpus, tmp_path / "dry", "--count", 20)
    late = 0
    for row, dry_row in zip(rows, dry, strict=True):
        for column in ("speaker", "speech", "noise", "snr_db"):
            assert row[column] == dry_row[column]  # the rooms change nothing else
        assert row["target"] == target and row["speech_response"] in ("box.flac", "hall/a.wav", "hall/b.wav")
        pairs = {"hall/a.wav": "hall/b.wav", "hall/b.wav": "hall/a.wav", "box.flac": ""}
        assert row["noise_response"] == pairs[row["speech_response"]] and float(row["rt60"]) > 0
        noisy, clean = pair_of(tmp_path / "out", row)
        speech, reflections = (
            pair_of(tmp_path / "dry", row | {k: dry_row[k] for k in ("noisy", "clean")})[1],
            {
                "box.flac": [(160, 0.3)],
                "hall/a.wav": [(400, 0.5), (2000, 0.4)],
                "hall/b.wav": [(500, -0.5), (1500, 0.3)],
            }[row["speech_response"]],
        )
        heard = speech + sum(gain * delayed(speech, delay) for delay, gain in reflections)
        wanted = speech + sum(gain * delayed(speech, delay) for delay, gain in reflections if delay < 800)
        expected = heard if target == "reverberant" else wanted
        scale = np.dot(clean, expected) / np.dot(expected, expected)
        np.testing.assert_allclose(clean, scale * expected, atol=1e-3 * np.max(np.abs(clean)) + 2 * STEP)
        noise = noisy - scale * heard
        assert level_db(scale * heard) - level_db(noise) == pytest.approx(float(row["snr_db"]), abs=0.1)
        assert level_db(noisy) == pytest.approx(float(row["level_dbfs"]), abs=0.02)
        late += len(reflections) > 1
    rooms = [{row["speech_response"][:3] for row in rows if row["subset"] == s} for s in ("training", "validation")]
    assert sorted(map(sorted, rooms)) == [["box"], ["hal"]]  # no room is in both parts
    assert late


def test_half_of_the_pairs_sound_in_a_room_if_there_are_any(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "rir").mkdir()
    soundfile.write(tmp_path / "rir" / "only.wav", echo(20, (300, 0.5)), 16000)
    rows = make(corpus, tmp_path / "out", "--rir", tmp_path / "rir", "--count", 40, "--seconds", 1)
    assert 10 <= sum(row["target"] == "reverberant" for row in rows) <= 30
    assert {row["subset"] for row in rows if row["speech_response"]} == {
        "training",
        "validation",
    }  # one room serves both


def test_silent_speech_in_a_room(corpus: Path, tmp_path: Path) -> None:
    rir = response_folder(tmp_path / "rir")
    rows = make(corpus, tmp_path / "out", "--rir", rir, "--reverberant-share", 1, "--silence-share", 1)
    for row in rows:
        noisy, clean = pair_of(tmp_path / "out", row)
        assert not clean.any() and level_db(noisy) == pytest.approx(float(row["level_dbfs"]), abs=0.02)


def test_damaged_responses_are_replaced(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rir = response_folder(tmp_path / "rir")
    soundfile.write(rir / "silent.wav", np.zeros(9000), 16000)
    more = ["--rir", rir, "--reverberant-share", 1, "--validation-share", 0, "--count", 12]
    assert synthesize.main(arguments(corpus, tmp_path / "out", *more)) == 1
    assert re.search(r"LEFT OUT .*silent\.wav: is silent\. Expected a room impulse response", capsys.readouterr().err)
    assert all(row["speech_response"] not in ("", "silent.wav") for row in manifest(tmp_path / "out"))


# --- simulated rooms --------------------------------------------------------------------------------------------------


def test_missing_pyroomacoustics(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyroomacoustics", None)
    remedy = "simulating rooms needs the package pyroomacoustics: pip install pyroomacoustics"
    with pytest.raises(ModuleNotFoundError, match=remedy):
        simulate_rooms(2, seed=1)
    assert synthesize.main(arguments(corpus, tmp_path / "out", "--simulated-rooms")) == 1
    assert remedy in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_simulated_rooms_are_as_described() -> None:
    pytest.importorskip("pyroomacoustics", reason="pyroomacoustics is not installed")
    bank = simulate_rooms(25, seed=3)
    assert len(bank.responses) == 25
    ratios, direct_ratios = [], []
    for index, response in enumerate(bank.responses):
        assert response.room == f"room {index // 2}"
        assert response.samples.dtype == np.float32 and 800 < len(response.samples) <= 40 + 9600
        described = re.fullmatch(
            rf"{response.room}: ([\d.]+) x ([\d.]+) x ([\d.]+) m, RT60 ([\d.]+) s by Sabine, source at ([\d.]+) m",
            response.name,
        )
        width, depth, height, rt60, distance = map(float, described.groups())
        assert 3 <= width <= 10 and 3 <= depth <= 8 and 2.5 <= height <= 4
        assert 0.15 <= rt60 <= 1.0 and 0.3 <= distance <= 3.0
        # whatever the direction, the direct sound comes first and at its time
        assert response.direct == 40 and response.samples[40] == pytest.approx(1.0)
        assert np.max(np.abs(response.samples[:36])) < 0.5
        ratios.append(response.rt60 / rt60)
        direct_ratios.append((distance, level_db(response.samples[120:])))
    assert 0.7 < np.median(ratios) < 1.3 and min(ratios) > 0.3 and max(ratios) < 2.5
    near, far = (np.mean([tail for d, tail in direct_ratios if (d < 1.2) == side]) for side in (True, False))
    assert far > near + 3  # relative to the direct sound there is more of the room farther away


def test_simulated_banks_repeat_and_are_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyroomacoustics", reason="pyroomacoustics is not installed")
    first, again = (simulate_rooms(3, seed=3, cache_dir=cache) for cache in (tmp_path / "cache", None))
    assert len(list((tmp_path / "cache").iterdir())) == 1

    def none_to_simulate(*arguments: object) -> None:
        raise AssertionError("simulated again")

    with monkeypatch.context() as patched:
        patched.setattr(mixing_rooms, "simulate_room", none_to_simulate)
        cached = simulate_rooms(3, seed=3, cache_dir=tmp_path / "cache")
        for other_bank in ((4, 3), (3, 4)):
            with pytest.raises(AssertionError, match="simulated again"):
                simulate_rooms(*other_bank, tmp_path / "cache")
    for bank in (again, cached):
        for one, other in zip(first.responses, bank.responses, strict=True):
            np.testing.assert_array_equal(one.samples, other.samples)
            assert (one.direct, one.room, one.name, one.rt60) == (other.direct, other.room, other.name, other.rt60)
    other = simulate_rooms(3, seed=4).responses[0]
    assert other.name != first.responses[0].name


def test_pairs_in_simulated_rooms(corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyroomacoustics", reason="pyroomacoustics is not installed")
    more = ["--simulated-rooms", "--reverberant-share", 1, "--target", "early", "--count", 4]
    rows = make(corpus, tmp_path / "one", *more)
    make(corpus, tmp_path / "two", *more, "--jobs", 2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    dry = make(corpus, tmp_path / "dry", "--count", 4)
    assert len({row["speech_response"] for row in rows}) == 4  # a room for each
    for row, dry_row in zip(rows, dry, strict=True):
        room, noise_room = (row[key].split(", source")[0] for key in ("speech_response", "noise_response"))
        assert room == noise_room and row["speech_response"] != row["noise_response"] and float(row["rt60"]) > 0.05
        clean = soundfile.read(tmp_path / "one" / row["clean"])[0]
        speech = soundfile.read(tmp_path / "dry" / dry_row["clean"])[0]
        rng = np.random.default_rng([42, int(row["fileid"]), ROOM])
        response = simulate_room(rng)[0]
        assert response.name == row["speech_response"]
        expected = np.convolve(speech, response.samples[: 40 + 800])[40:][: len(speech)]  # aligned
        scale = np.dot(clean, expected) / np.dot(expected, expected)
        np.testing.assert_allclose(clean, scale * expected, atol=1e-3 * np.max(np.abs(clean)) + 2 * STEP)


# ----------------------------------------------------------------------------------------------------------------------
# Training on it
# ----------------------------------------------------------------------------------------------------------------------


def test_training_on_what_was_written(corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The paper's recipe but for sizes, on the folders as they are, names and all."""
    make(corpus, tmp_path / "set", "--count", 5, "--seconds", 1)
    folders = [
        f"--{flag}-{kind}={tmp_path / 'set' / part / kind}"
        for flag, part in (("train", "training"), ("val", "validation"))
        for kind in ("noisy", "clean")
    ]
    command = [sys.executable, "run_training.py", "--run-name", "r", "--run-dir", str(tmp_path / "run"), *folders]
    sizes = ["--segment-seconds", "1", "--batch-size", "2", "--max-epochs", "1"]
    run = subprocess.run([*command, *sizes], cwd=ROOT, capture_output=True, text=True, env=os.environ)
    assert run.returncode == 0, run.stderr[-3000:]
    assert "4 pairs, 0.00 h, 4 segments of 1 s" in run.stdout and "1 pairs, 0.00 h, 1 segments of 1 s" in run.stdout
    assert (tmp_path / "run" / "r.h5").is_file()


def test_training_in_rooms_says_what_is_missing(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("keras")

    monkeypatch.setitem(sys.modules, "pyroomacoustics", None)
    command = ["--run-name", "r", "--run-dir", str(tmp_path / "run"), "--speech", str(corpus / "speech")]
    command += ["--noise", str(corpus / "noise"), "--segment-seconds", "0.064", "--batch-size", "2"]
    checks: list[tuple[list[str], str]] = [
        (["--rooms", "2"], "simulating rooms needs the package pyroomacoustics: pip install pyroomacoustics"),
        (["--rooms", "0"], "0 simulated room responses: expected at least one"),
        (["--rir", str(tmp_path / "missing")], "missing: expected a folder of audio files, found nothing"),
    ]
    for more, message in checks:
        assert train.main([*command, *more]) == 1
        assert message in capfd.readouterr().err
        assert not (tmp_path / "run").exists()


def test_training_mixes_in_rooms(tmp_path: Path) -> None:
    """`--rir` and its flags reach the mixer that is trained on; validation stays as it is without them."""

    rir = ["--rir", str(response_folder(tmp_path / "rir")), "--room-target", "early", "--reverberant-share", "0.9"]
    speech = tmp_path / "speech"
    speech.mkdir()
    for index in range(60):  # enough speakers and kinds to divide by hashes
        soundfile.write(speech / f"a{index}_0.wav", speech_like(2000, index), 16000)
    command = ["--run-name", "r", "--speech", str(speech), "--noise", str(speech)]
    (dry, _), (wet, validation) = (mixed_sources(train.parse([*command, *more]), 8000) for more in ([], rir))
    assert dry.rooms is None and validation.rooms is None
    assert len(wet.rooms.responses) == 3 and wet.room_target == "early" and wet.reverberant_share == 0.9
    assert any(not np.array_equal(dry.draw(rng(s))[0], wet.draw(rng(s))[0]) for s in range(10))


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)
