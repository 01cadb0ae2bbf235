"""dtln.mixing.recordings: loading, caching, drawing and dividing recordings of speech and noise."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from mixtures import recordings
from training_pairs import speech_like

from dtln.errors import AudioFileError
from dtln.mixing import recordings as recordings_module
from dtln.mixing.corpus import tell_speakers
from dtln.mixing.groups import corpus_of, speaker_of, speaker_rule, validation_groups
from dtln.mixing.recordings import Recordings, load_recordings, split_by_group


def test_short_recordings_are_repeated_and_pauses_avoided() -> None:
    ramp = Recordings(["a_0.wav"], [np.arange(1, 101, dtype=np.int16)])
    crop = ramp.crop(np.random.default_rng(0), 250)
    np.testing.assert_array_equal(crop * 32768, np.tile(np.arange(1, 101), 3)[:250])
    half_silent = np.zeros(40000, np.int16)
    half_silent[20000:] = 3000
    crops = [Recordings(["a_0.wav"], [half_silent]).crop(np.random.default_rng(seed), 1000) for seed in range(50)]
    assert all(crop.any() for crop in crops)
    assert not Recordings(["a_0.wav"], [np.zeros(5000, np.int16)]).crop(np.random.default_rng(0), 1000).any()


def test_weights_say_how_often_a_folder_is_drawn() -> None:
    """Three recordings of 1000, 2000 and 1000 samples; all samples of one are alike."""
    names, lengths = ["a/x_0.wav", "a/b/y_0.wav", "c/z_0.wav"], [1000, 2000, 1000]
    source = Recordings(names, [np.full(n, k + 1, np.int16) for k, n in enumerate(lengths)])

    def shares(drawn: Recordings) -> list[float]:
        rng = np.random.default_rng(0)
        values = [round(float(drawn.crop(rng, 10)[0]) * 32768) for _ in range(2000)]
        return [values.count(k + 1) / len(values) for k in range(3)]

    assert shares(source) == pytest.approx([0.25, 0.5, 0.25], abs=0.03)
    assert shares(source.reweighted({})) == shares(source)  # draws for a seed stay what they were
    assert shares(source.reweighted({"c": 5})) == pytest.approx([0.125, 0.25, 0.625], abs=0.03)
    assert shares(source.reweighted({"a/b/": 0, "a": 3})) == pytest.approx([0.75, 0, 0.25], abs=0.03)
    assert shares(source.reweighted({"a": 3, "c": 0}).select(set(names[1:]))) == [0, 1, 0]


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ({"lib": 2.0}, "lib: no recording to weight lies in a folder of this name. There are: librispeech"),
        ({"librispeech": -1.0}, "librispeech=-1: expected a weight of at least 0"),
        ({"librispeech": math.nan}, "librispeech=nan: expected a weight of at least 0"),
        ({"librispeech": 0.0}, "every recording has the weight 0"),
    ],
)
def test_weights_that_cannot_be_used(folders: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recordings(["librispeech/19_0.wav"], [np.ones(10, np.int16)]).reweighted(folders)


def test_split_keeps_speakers_apart() -> None:
    names = [f"corpus/speaker{s:03d}_{u:02d}.wav" for s in range(200) for u in range(3)]
    whole = Recordings([*names, *(f"corpus/big_{u}.wav" for u in range(100))], [np.ones(10, np.int16)] * 700)
    training, validation = split_by_group(whole, 0.1)
    assert set(training.names) | set(validation.names) == set(whole.names)
    groups = [{speaker_of(name) for name in part.names} for part in (training, validation)]
    assert not groups[0] & groups[1]
    assert 0.05 < len(groups[1]) / 201 < 0.15
    assert "corpus/big" in groups[0]  # a seventh of everything: never in validation

    fewer = whole.select(set(names[:300]))
    _, validation_of_fewer = split_by_group(fewer, 0.1)
    assert set(validation_of_fewer.names) == set(validation.names) & set(fewer.names)  # adding changes nothing
    with pytest.raises(ValueError, match="a share of 0 leaves one part empty"):
        split_by_group(whole, 0)


@pytest.mark.parametrize("count", [2, 3, 5, 9])
@pytest.mark.parametrize("share", [0.01, 0.06, 0.2, 0.5, 0.9])
def test_a_few_speakers_are_divided_at_any_share(count: int, share: float) -> None:
    names = [f"speaker{s}_{u}.wav" for s in range(count) for u in range(4)]
    lines: list[str] = []
    parts = split_by_group(Recordings(names, [np.ones(10, np.int16)] * len(names)), share, tell=lines.append)
    speakers = [{speaker_of(name) for name in part.names} for part in parts]
    assert all(speakers) and not speakers[0] & speakers[1] and sum(len(part.names) for part in parts) == len(names)
    assert re.match(rf"{len(speakers[1])} of {count} are kept for validation, \d+% of the duration: speaker", lines[0])


@pytest.mark.parametrize("lengths", [[1000], [3, 400, 600], [1] * 50])
def test_a_single_speaker_is_split_in_time(lengths: list[int]) -> None:
    ramp = np.arange(sum(lengths), dtype=np.int16)
    whole = Recordings([f"me_{i:02d}.wav" for i in range(len(lengths))], np.split(ramp, np.cumsum(lengths)[:-1]))
    lines: list[str] = []
    training, validation = (np.concatenate(part.signals) for part in split_by_group(whole, 0.1, tell=lines.append))
    assert np.array_equal(np.concatenate([training, validation]), ramp)
    assert len(validation) == round(0.1 * len(ramp))
    assert lines == ["the last 10% of me are kept for validation: there is no other"]


@pytest.mark.parametrize(
    ("corpus", "names", "speaker"),
    [
        ("librispeech", ["84/121123/84-121123-0000.flac", "a/84/121123/84_121123_000007_000001.wav"], "84"),
        ("timit", ["DR1/FCJF0/SA1.WAV", "TRAIN/dr1/fcjf0/sx37.wav", "DR1/FCJF0/SI648.WAV.wav"], "FCJF0"),
        ("vctk", ["p225/p225_001_mic1.flac", "wav48/p225/p225_366.wav", "p225_001_mic2.flac"], "p225"),
        ("dns-challenge", ["clean/book_00000_chp_0009_reader_06709_0.wav"], "06709"),
    ],
)
def test_speakers_of_known_corpora(corpus: str, names: list[str], speaker: str) -> None:
    for name in names:
        assert speaker_rule(corpus)(name).upper() == speaker.upper()
        assert corpus_of(name) == corpus and speaker_of(name).rpartition("/")[2].upper() == speaker.upper()


def test_other_names_are_not_taken_for_known_corpora() -> None:
    for name in ("1-100032-A-0.wav", "spk0001_00.opus", "2024-01-31.wav", "DR1.wav", "my_p225.wav", "reader.wav"):
        assert corpus_of(name) is None
    for pattern, message in (
        ("(", r"is no regular expression \(.*\), and none of the known corpora \(librispeech, timit"),
        ("spk", "expected one group, found 0"),
    ):
        with pytest.raises(ValueError, match=message):
            speaker_rule(pattern)


def test_names_that_do_not_tell_speakers_are_told() -> None:
    def told(names: list[str]) -> list[str]:
        lines: list[str] = []
        tell_speakers(recordings(names), lines.append)
        return lines

    assert told([f"spk{i % 5}_{i}.wav" for i in range(40)]) == []
    assert (
        "40 recordings seem to be of 40 speakers, 0.wav of 0. If that is wrong"
        in told([f"{i}.wav" for i in range(40)])[0]
    )
    assert "named as in librispeech" in told([f"84/1/84-1-{i:04d}.flac" for i in range(40)])[0]


def test_few_groups_are_divided_by_about_the_share_and_never_all() -> None:
    durations = {f"speaker {i}": 1.0 + i % 5 for i in range(400)}
    chosen = validation_groups(durations, 0.2, stable=False)
    assert sum(durations[name] for name in chosen) / sum(durations.values()) == pytest.approx(0.2, abs=0.01)
    for count in (2, 3, 5):
        for size in (1.0, 100.0):  # also with one who fills nearly all
            few = {f"{count} {i}": 1.0 for i in range(count - 1)} | {"big": size}
            assert 0 < len(validation_groups(few, 0.2, stable=False)) < count
    assert validation_groups({"a": 1.0, "big": 100.0}, 0.2, stable=False) == {"a"}


def test_speaker_is_read_from_the_path() -> None:
    assert speaker_of("corpus/spk0001_00.opus") == "corpus/spk0001"
    assert speaker_of("a_b_c.wav") == "a_b"
    assert speaker_of("hum.wav") == "hum"
    assert speaker_of("with_underscore/hum.wav") == "with_underscore/hum"


@pytest.mark.parametrize(("suffix", "container", "subtype"), [(".opus", "OGG", "OPUS"), (".flac", "FLAC", "PCM_16")])
def test_recordings_of_other_formats(suffix: str, container: str, subtype: str, tmp_path: Path) -> None:
    signal = speech_like(32000)
    soundfile.write(tmp_path / f"a_0{suffix}", signal, 16000, format=container, subtype=subtype)
    loaded = load_recordings(tmp_path)
    assert loaded.names == [f"a_0{suffix}"]
    assert loaded.signals[0].dtype == np.int16 and len(loaded.signals[0]) == 32000
    assert np.corrcoef(loaded.signals[0], signal)[0, 1] > 0.95
    assert loaded.hours == pytest.approx(2 / 3600)


def test_stereo_of_another_rate(tmp_path: Path) -> None:
    pytest.importorskip("soxr")
    soundfile.write(tmp_path / "a_0.wav", np.stack([speech_like(44100)] * 2, axis=1), 44100)
    assert len(load_recordings(tmp_path).signals[0]) == 16000


def test_cache_is_used_again_until_a_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, cache = tmp_path / "speech", tmp_path / "cache"
    folder.mkdir()
    for index in range(3):
        soundfile.write(folder / f"a_{index}.wav", speech_like(5000 + index, index), 16000)
    decoded: list[Path] = []
    read_audio = recordings_module.read_audio

    def counting_read_audio(path: Path, *args: object, **kwargs: object) -> object:
        decoded.append(path)
        return read_audio(path, *args, **kwargs)

    monkeypatch.setattr(recordings_module, "read_audio", counting_read_audio)
    first = load_recordings(folder, cache)
    assert len(decoded) == 3
    second = load_recordings(folder, cache)
    assert len(decoded) == 3
    assert second.names == first.names
    assert all(np.array_equal(a, b) for a, b in zip(first.signals, second.signals, strict=True))

    soundfile.write(folder / "a_1.wav", speech_like(6000, 8), 16000)
    third = load_recordings(folder, cache)
    assert len(decoded) == 6
    assert len(third.signals[1]) == 6000


def test_recordings_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match="expected a folder of audio files, found nothing"):
        load_recordings(tmp_path / "missing")
    with pytest.raises(AudioFileError, match="holds no audio files"):
        load_recordings(tmp_path)
    soundfile.write(tmp_path / "a_0.wav", np.zeros(0), 16000)
    with pytest.raises(AudioFileError, match=r"a_0\.wav: holds no samples; expected a recording"):
        load_recordings(tmp_path)


@pytest.mark.parametrize("stable", [True, False])
def test_speakers_whose_names_are_no_text(stable):
    names = [f"caf\udce9 {index}" for index in range(40)]
    assert 0 < len(validation_groups(dict.fromkeys(names, 10.0), 0.2, stable=stable)) < 40
