"""dtln.synthesis: the pairs written, as the manifest describes them, dry and in rooms."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from mixtures import level_db
from room_responses import delayed, echo, response_folder
from synthesised import NOISES, SPEAKERS, STEP, UTTERANCES, arguments, contents, make, manifest, pair_of
from training_pairs import speech_like

from dtln.commands import synthesize
from dtln.errors import AudioFileError
from dtln.mixing.groups import speaker_of
from dtln.mixing.mixer import PEAK_LIMIT
from dtln.mixing.rooms import (
    simulate_room,
)
from dtln.synthesis.drawing import NOISE_FADE, ROOM, Piece, draw_noise
from dtln.synthesis.pairs import joined
from dtln.synthesis.recordings import Part, scan
from dtln.synthesis.settings import Settings


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
