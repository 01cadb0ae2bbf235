"""Training data: folders of pairs, mixing on the fly, and what `run_training.py` says about bad input."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from training_pairs import speech_like, write_pairs, write_unmixed

from dtln.commands import train
from dtln.commands.train import mixed_sources
from dtln.errors import AudioFileError
from dtln.facts import SAMPLE_RATE
from dtln.mixing import recordings as recordings_module
from dtln.mixing import spectra
from dtln.mixing.augmentations import AUGMENTATIONS, Draw, augmentation_by_name, equalisation, speed_perturbation
from dtln.mixing.mixer import PEAK_LIMIT, Mixer, mix
from dtln.mixing.recordings import Recordings, load_recordings, speaker_of, split_by_group
from dtln.mixing.spectra import mean_power
from DTLN_model import MixedSegments, PairedFolders, ValidationBatches, batch_of, training_batches, wav_length

SEGMENT = 1024  # samples

# ----------------------------------------------------------------------------------------------------------------------
# Folders of pairs
# ----------------------------------------------------------------------------------------------------------------------


def test_segments_cover_every_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noisy, clean = write_pairs(tmp_path, [3 * SEGMENT, 2 * SEGMENT + 100, 300])
    source = PairedFolders(noisy, clean, SEGMENT)
    assert source.segments == [
        ("pair_0.wav", 0),
        ("pair_0.wav", SEGMENT),
        ("pair_0.wav", 2 * SEGMENT),
        ("pair_1.wav", 0),
        ("pair_1.wav", SEGMENT),
        ("pair_1.wav", SEGMENT + 100),  # ends where the recording ends
        ("pair_2.wav", 0),
    ]
    assert len(source) == 7
    assert source.summary == "3 pairs, 0.00 h, 7 segments of 0.064 s, 1 shorter ones padded"

    for index in range(len(source)):
        name, start = source.segments[index]
        for folder, segment in zip((noisy, clean), source.segment(index), strict=True):
            whole, _ = soundfile.read(folder / name, dtype="float32")
            expected = np.pad(whole, (0, max(0, SEGMENT - len(whole))))[start : start + SEGMENT]
            assert segment.dtype == np.float32
            np.testing.assert_array_equal(segment, expected)


def test_sub_folders_and_upper_case_and_links(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for part in ("noisy", "clean"):
        folder = tmp_path / part
        (folder / "deep" / "er").mkdir(parents=True)
        soundfile.write(folder / "deep" / "er" / "a.WAV", speech_like(SEGMENT), 16000)
        soundfile.write(folder / "b.wav", speech_like(SEGMENT), 16000)
        (folder / "notes.txt").write_text("no audio")
        (folder / "._b.wav").write_text("what some systems leave beside a file")
        (elsewhere / part).mkdir()
        soundfile.write(elsewhere / part / "c.wav", speech_like(SEGMENT), 16000)
        (folder / "linked").symlink_to(elsewhere / part)
    source = PairedFolders(tmp_path / "noisy", tmp_path / "clean", SEGMENT)
    assert list(source.lengths) == ["b.wav", "deep/er/a.WAV", "linked/c.wav"]


def test_pairs_of_the_dns_set(tmp_path: Path) -> None:
    """Names that differ but for their `fileid_N`, of which 10 comes before 9 in order of names."""
    noisy, clean = write_pairs(tmp_path, [SEGMENT, SEGMENT + 10])
    for index, fileid in enumerate((9, 10)):
        (noisy / f"pair_{index}.wav").rename(noisy / f"who_snr5_tl-25_fileid_{fileid}.wav")
        (clean / f"pair_{index}.wav").rename(clean / f"clean_fileid_{fileid}.wav")
    source = PairedFolders(noisy, clean, SEGMENT)
    assert source.clean_names == {f"who_snr5_tl-25_fileid_{n}.wav": f"clean_fileid_{n}.wav" for n in (9, 10)}
    assert len(source) == 3
    for index, (name, start) in enumerate(source.segments):
        expected, _ = soundfile.read(clean / source.clean_names[name], dtype="float32")
        np.testing.assert_array_equal(source.segment(index)[1], expected[start : start + SEGMENT])
    (clean / "clean_fileid_9.wav").rename(clean / "clean_fileid_8.wav")
    with pytest.raises(AudioFileError, match=r"noisy.who_snr5_tl-25_fileid_9\.wav: has no partner in .*clean \(1 such"):
        PairedFolders(noisy, clean, SEGMENT)


def test_batches_cover_an_epoch_in_an_order_of_their_own(tmp_path: Path) -> None:
    noisy, clean = write_pairs(tmp_path, [SEGMENT] * 5)
    source = PairedFolders(noisy, clean, SEGMENT)
    indices = {source.segment(i)[0].tobytes(): i for i in range(5)}

    def order(first_epoch: int, batches: int, workers: int = 1) -> list[int]:
        stream = training_batches(source, 2, seed=1, first_epoch=first_epoch, workers=workers)
        return [indices[signal.tobytes()] for _ in range(batches) for signal in next(stream)[0]]

    whole = order(0, 6)
    assert all(len(set(whole[start : start + 4])) == 4 for start in (0, 4, 8))
    assert whole[:4] != whole[4:8]
    assert order(1, 4) == whole[4:]  # what resuming needs
    assert order(0, 6, workers=3) == whole
    seen = {index for epoch in range(8) for index in order(epoch, 2)}
    assert seen == set(range(5))  # what is left over of one epoch takes its turn in another

    validation = ValidationBatches(source, 2)
    assert [len(validation[i][0]) for i in range(len(validation))] == [2, 2, 1]


@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        ("WAV", "PCM_U8"),
        ("WAV", "PCM_16"),
        ("WAV", "PCM_24"),
        ("WAV", "PCM_32"),
        ("WAV", "FLOAT"),
        ("WAV", "DOUBLE"),
        ("WAV", "ULAW"),
        ("WAVEX", "PCM_16"),  # WAVE_FORMAT_EXTENSIBLE
        ("WAVEX", "FLOAT"),
        ("RF64", "PCM_16"),
    ],
)
def test_wav_codings(container: str, subtype: str, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, speech_like(SEGMENT + 1), 16000, subtype=subtype, format=container)
    assert wav_length(path, 16000) == SEGMENT + 1


def test_adpcm_counts_samples_not_blocks(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, speech_like(SEGMENT), 16000, subtype="IMA_ADPCM")
    assert wav_length(path, 16000) == len(soundfile.read(path)[0])


def chunk(name: bytes, content: bytes) -> bytes:
    return name + len(content).to_bytes(4, "little") + content


def with_chunks(wav: bytes, chunks: bytes) -> bytes:
    """A wav with further chunks before its samples."""
    data = wav.index(b"data")
    body = wav[8:data] + chunks + wav[data:]
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def streamed(wav: bytes) -> bytes:
    """A wav as ffmpeg writes it into a pipe: the sizes are unknown."""
    data = wav.index(b"data")
    return wav[:4] + b"\xff" * 4 + wav[8 : data + 4] + b"\xff" * 4 + wav[data + 8 :]


ODD_HEADERS: dict[str, Callable[[bytes], bytes]] = {
    "LIST before the samples": lambda wav: with_chunks(wav, chunk(b"LIST", b"INFO" + chunk(b"INAM", b"name"))),
    "LIST of odd size": lambda wav: with_chunks(wav, chunk(b"LIST", b"INFO" + chunk(b"INAM", b"abc")) + b"\0"),
    "unknown chunk": lambda wav: with_chunks(wav, chunk(b"junk", b"abcd")),
    "broken bext": lambda wav: with_chunks(wav, chunk(b"bext", b"abcd")),
    "broken iXML": lambda wav: with_chunks(wav, chunk(b"iXML", b"<no>")),
    "size of the file missing": lambda wav: wav[:4] + bytes(4) + wav[8:],
    "stream": streamed,
}


@pytest.mark.parametrize("kind", ODD_HEADERS)
def test_odd_but_readable_headers(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, speech_like(SEGMENT), 16000, subtype="PCM_16")
    path.write_bytes(ODD_HEADERS[kind](path.read_bytes()))
    assert wav_length(path, 16000) == SEGMENT


def damage_nothing_there(noisy: Path, clean: Path) -> None:
    for path in noisy.iterdir():
        path.unlink()
    noisy.rmdir()


def damage_empty_folder(noisy: Path, clean: Path) -> None:
    for path in noisy.iterdir():
        path.unlink()


def damage_flac_only(noisy: Path, clean: Path) -> None:
    damage_empty_folder(noisy, clean)
    soundfile.write(noisy / "pair_0.flac", speech_like(SEGMENT), 16000)


def damage_not_a_wav(noisy: Path, clean: Path) -> None:
    (noisy / "pair_1.wav").write_text("this is no audio, but it says so in its name " * 10)


def damage_empty_file(noisy: Path, clean: Path) -> None:
    (clean / "pair_1.wav").write_bytes(b"")


def damage_flac_inside(noisy: Path, clean: Path) -> None:
    soundfile.write(noisy / "pair_1.wav", speech_like(SEGMENT), 16000, format="FLAC")


def damage_header(noisy: Path, clean: Path) -> None:
    path = noisy / "pair_1.wav"
    path.write_bytes(path.read_bytes()[:30])


def damage_header_end(noisy: Path, clean: Path) -> None:
    path = noisy / "pair_1.wav"
    path.write_bytes(path.read_bytes()[:40])


def damage_last_sample(noisy: Path, clean: Path) -> None:
    path = clean / "pair_1.wav"
    path.write_bytes(path.read_bytes()[:-2])


def damage_most_samples(noisy: Path, clean: Path) -> None:
    path = noisy / "pair_1.wav"
    path.write_bytes(path.read_bytes()[:200])


def damage_never_closed(noisy: Path, clean: Path) -> None:
    path = noisy / "pair_1.wav"
    wav = path.read_bytes()
    size = wav.index(b"data") + 4
    path.write_bytes(wav[:size] + bytes(4) + wav[size + 4 :])


def damage_nan(noisy: Path, clean: Path) -> None:
    signal = speech_like(SEGMENT)
    signal[700] = np.nan
    soundfile.write(noisy / "pair_1.wav", signal, 16000, subtype="FLOAT")


def damage_inf(noisy: Path, clean: Path) -> None:
    signal = speech_like(SEGMENT)
    signal[[3, 700]] = np.inf
    soundfile.write(clean / "pair_1.wav", signal, 16000, subtype="DOUBLE")


def damage_link(noisy: Path, clean: Path) -> None:
    (noisy / "pair_1.wav").unlink()
    (noisy / "pair_1.wav").symlink_to("moved_away.wav")


def damage_no_clean(noisy: Path, clean: Path) -> None:
    (clean / "pair_1.wav").unlink()


def damage_no_noisy(noisy: Path, clean: Path) -> None:
    (noisy / "pair_0.wav").unlink()


def damage_length(noisy: Path, clean: Path) -> None:
    soundfile.write(clean / "pair_1.wav", speech_like(SEGMENT - 1), 16000)


def damage_rate(noisy: Path, clean: Path) -> None:
    soundfile.write(noisy / "pair_1.wav", speech_like(SEGMENT), 44100)


def damage_channels(noisy: Path, clean: Path) -> None:
    soundfile.write(noisy / "pair_1.wav", np.stack([speech_like(SEGMENT)] * 2, axis=1), 16000)


def damage_no_samples(noisy: Path, clean: Path) -> None:
    for folder in (noisy, clean):
        soundfile.write(folder / "pair_1.wav", np.zeros(0), 16000)


DAMAGES: dict[Callable[[Path, Path], None], str] = {
    damage_nothing_there: r"noisy: expected a folder of audio files, found nothing\. Check the path",
    damage_empty_folder: "noisy: holds no audio files",
    damage_flac_only: "noisy: holds no wav files",
    damage_not_a_wav: r"noisy.pair_1\.wav: cannot be read as audio \(Format not recognised\)",
    damage_empty_file: r"clean.pair_1\.wav: is a file of 0 bytes",
    damage_flac_inside: r"noisy.pair_1\.wav: is FLAC inside\. Expected a RIFF wav file; convert it",
    damage_header: r"noisy.pair_1\.wav: cannot be read as audio",
    damage_header_end: r"noisy.pair_1\.wav: cannot be read as audio",
    damage_last_sample: r"clean.pair_1\.wav: is truncated: the header announces 2048 bytes of samples, 2046 are there",
    damage_most_samples: r"noisy.pair_1\.wav: is truncated: the header announces 2048 bytes of samples, 156 are there",
    damage_never_closed: r"noisy.pair_1\.wav: is truncated: the file was never closed",
    damage_nan: r"noisy.pair_1\.wav: 1 samples are NaN or Inf\. Expected finite samples",
    damage_inf: r"clean.pair_1\.wav: 2 samples are NaN or Inf\. Expected finite samples",
    damage_link: r"noisy.pair_1\.wav: is a link to moved_away\.wav, which does not exist",
    damage_no_clean: r"noisy.pair_1\.wav: has no partner in .*clean \(1 such files\)",
    damage_no_noisy: r"clean.pair_0\.wav: has no partner in .*noisy \(1 such files\)",
    damage_length: r"noisy.pair_1\.wav: has 1024 samples, its clean partner 1023\. Expected equal lengths",
    damage_rate: r"noisy.pair_1\.wav: has a rate of 44100 Hz\. Expected 16000 Hz; resample it",
    damage_channels: r"noisy.pair_1\.wav: has 2 channels\. Expected mono; down-mix it",
    damage_no_samples: r"noisy.pair_1\.wav: holds no samples\. Expected speech; remove the pair",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__.removeprefix("damage_"))
def test_bad_pairs_are_named_before_the_first_step(
    damage: Callable[[Path, Path], None], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    noisy, clean = write_pairs(tmp_path, [SEGMENT, SEGMENT])
    damage(noisy, clean)
    with pytest.raises(AudioFileError, match=DAMAGES[damage]) as raised:
        PairedFolders(noisy, clean, SEGMENT)

    folders = ["--train-noisy", noisy, "--train-clean", clean, "--val-noisy", noisy, "--val-clean", clean]
    command = [*map(str, folders), "--run-name", "run", "--run-dir", str(tmp_path / "run"), "--batch-size", "1"]
    assert train.main(command) == 1
    assert f"run_training.py: {raised.value}" in capfd.readouterr().err
    assert not (tmp_path / "run").exists()


def test_file_that_changes_after_the_check(tmp_path: Path) -> None:
    noisy, clean = write_pairs(tmp_path, [SEGMENT])
    source = PairedFolders(noisy, clean, SEGMENT)
    soundfile.write(noisy / "pair_0.wav", np.full(SEGMENT, np.nan), 16000, subtype="FLOAT")
    with pytest.raises(AudioFileError, match=r"pair_0\.wav: holds NaN or Inf from sample 0 on"):
        source.segment(0)
    (noisy / "pair_0.wav").write_bytes(b"gone")
    with pytest.raises(AudioFileError, match=r"pair_0\.wav: cannot be read"):
        source.segment(0)


# ----------------------------------------------------------------------------------------------------------------------
# Mixing
# ----------------------------------------------------------------------------------------------------------------------


def level_db(signal: np.ndarray) -> float:
    return 10 * np.log10(np.mean(np.square(signal, dtype=np.float64)))


def recordings(names: list[str], length: int = 20000, voice: bool = True, seed: int = 0) -> Recordings:
    rng = np.random.default_rng(seed)
    signals = [speech_like(length, seed + i) if voice else 0.1 * rng.standard_normal(length) for i in range(len(names))]
    return Recordings(names, [np.round(s * 32767).astype(np.int16) for s in signals])


def mixer(**settings: object) -> Mixer:
    speech, noise = recordings(["s/a_0.wav", "s/b_0.wav"]), recordings(["n/hum.wav"], voice=False, seed=9)
    return Mixer(**{"speech": speech, "noise": noise, "segment_length": 8000, **settings})


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 12.5, 25.0])
@pytest.mark.parametrize("level_dbfs", [-35.0, -20.0])
def test_mixture_has_the_snr_and_level_asked_for(snr_db: float, level_dbfs: float) -> None:
    speech, noise = speech_like(16000), np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    noisy, clean = mix(speech, noise, snr_db, level_dbfs)
    assert noisy.dtype == clean.dtype == np.float32
    assert level_db(clean) - level_db(noisy - clean) == pytest.approx(snr_db, abs=0.01)
    assert level_db(noisy) == pytest.approx(level_dbfs, abs=0.01)
    assert np.corrcoef(clean, speech)[0, 1] == pytest.approx(1.0, abs=1e-6)  # aligned, only scaled


def test_peak_is_limited_and_the_snr_kept() -> None:
    noise = np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    noisy, clean = mix(speech_like(16000), noise, 5.0, 0.0)
    assert max(np.max(np.abs(noisy)), np.max(np.abs(clean))) == pytest.approx(PEAK_LIMIT, abs=1e-4)
    assert level_db(clean) - level_db(noisy - clean) == pytest.approx(5.0, abs=0.01)


def test_silent_parts_are_mixed_without_nan() -> None:
    speech, noise, silence = speech_like(8000), speech_like(8000, seed=3), np.zeros(8000, np.float32)
    noisy, clean = mix(speech, silence, 5.0, -25.0)
    np.testing.assert_array_equal(noisy, clean)
    assert level_db(noisy) == pytest.approx(-25.0, abs=0.01)
    noisy, clean = mix(silence, noise, 5.0, -25.0)
    assert not clean.any()
    assert level_db(noisy) == pytest.approx(-25.0, abs=0.01)
    noisy, clean = mix(silence, silence, 5.0, -25.0)
    assert not noisy.any() and not clean.any()


def test_draws_lie_in_the_ranges_and_repeat_for_a_seed() -> None:
    source = mixer(snr_db=(-5.0, 25.0), level_dbfs=(-35.0, -15.0))
    snrs, levels = [], []
    for seed in range(60):
        noisy, clean = source.draw(np.random.default_rng(seed))
        assert noisy.shape == clean.shape == (8000,)
        again = source.draw(np.random.default_rng(seed))
        np.testing.assert_array_equal(noisy, again[0])
        np.testing.assert_array_equal(clean, again[1])
        snrs.append(level_db(clean) - level_db(noisy - clean))
        levels.append(level_db(noisy))
    assert min(snrs) >= -5.01 and max(snrs) <= 25.01 and np.ptp(snrs) > 20
    assert min(levels) >= -35.01 and max(levels) <= -14.99 and np.ptp(levels) > 12


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
        values = [round(float(drawn.crop(rng, 10)[0]) * 32768) for _ in range(4000)]
        return [values.count(k + 1) / len(values) for k in range(3)]

    assert shares(source) == pytest.approx([0.25, 0.5, 0.25], abs=0.03)
    assert shares(source.weighted({})) == shares(source)  # draws for a seed stay what they were
    assert shares(source.weighted({"c": 5})) == pytest.approx([0.125, 0.25, 0.625], abs=0.03)
    assert shares(source.weighted({"a/b/": 0, "a": 3})) == pytest.approx([0.75, 0, 0.25], abs=0.03)
    assert shares(source.weighted({"a": 3, "c": 0}).select(set(names[1:]))) == [0, 1, 0]


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
        Recordings(["librispeech/19_0.wav"], [np.ones(10, np.int16)]).weighted(folders)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_each_augmentation_changes_segments(name: str) -> None:
    plain, augmented = mixer(), mixer(augmentations=[name])
    changed = 0
    for seed in range(60):
        before, _ = plain.draw(np.random.default_rng(seed))
        noisy, clean = augmented.draw(np.random.default_rng(seed))
        assert noisy.shape == clean.shape == (8000,) and noisy.dtype == clean.dtype == np.float32
        assert np.all(np.isfinite(noisy)) and np.all(np.isfinite(clean))
        assert np.max(np.abs(noisy)) <= 1.0
        changed += not np.array_equal(noisy, before)
    assert changed >= 1


@functools.cache
def shared_mixer() -> Mixer:
    return mixer()


@pytest.mark.parametrize(("share", "fewest", "most"), [("0", 0, 0), ("0.3", 15, 45), ("1", 100, 100)])
def test_share_of_segments_is_set_by_name(share: str, fewest: int, most: int) -> None:
    plain, reversed_noise = mixer(), mixer(augmentations=[f"time_reversal={share}"])
    draws = [[source.draw(np.random.default_rng(seed))[0] for source in (plain, reversed_noise)] for seed in range(100)]
    assert fewest <= sum(not np.array_equal(*pair) for pair in draws) <= most


@pytest.mark.parametrize("share", ["1.5", "-0.1", "often", "", "nan"])
def test_shares_that_are_none(share: str) -> None:
    with pytest.raises(ValueError, match=f"augmentation calls={share}: expected a share of segments from 0 to 1"):
        augmentation_by_name(f"calls={share}")


def draw_of(speech: np.ndarray, noise: np.ndarray) -> Draw:
    return Draw(speech=speech, noise=noise, snr_db=0.0, level_dbfs=-25.0, mixer=shared_mixer())


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentations_take_silence(name: str) -> None:
    for seed in range(30):
        draw = draw_of(np.zeros(8000, np.float32), np.zeros(8000, np.float32))
        AUGMENTATIONS[name](draw, np.random.default_rng(seed))
        assert np.all(np.isfinite(draw.speech)) and np.all(np.isfinite(draw.noise))


def test_augmentations_do_what_they_say() -> None:
    speech, noise = speech_like(8000), np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    results = {name: [] for name in AUGMENTATIONS}
    for name, augment in AUGMENTATIONS.items():
        for seed in range(40):
            draw = draw_of(speech.copy(), noise.copy())
            augment(draw, np.random.default_rng(seed))
            results[name].append(draw)
    for draw in results["spectral_tilt"] + results["equalisation"]:  # powers are kept
        assert level_db(draw.speech) == pytest.approx(level_db(speech), abs=0.01)
        assert level_db(draw.noise) == pytest.approx(level_db(noise), abs=0.01)
    speech_stays = (
        "noise_pieces cross_synthesis second_noise babble coloured_noise hum fan clicks impacts calls altered_voices "
        "gusts bursts noise_pauses time_reversal frequency_shift noise_speed"
    )
    for name in speech_stays.split():
        assert all(np.array_equal(draw.speech, speech) for draw in results[name])
        assert 0 < sum(not np.array_equal(draw.noise, noise) for draw in results[name]) < 40
    assert all(
        np.array_equal(draw.noise, noise) or np.array_equal(draw.noise[::-1], noise)
        for draw in results["time_reversal"]
    )
    for draw in results["noise_pauses"]:  # one stretch is silent, the rest is as it was
        kept = draw.noise != 0
        assert np.array_equal(draw.noise[kept], noise[kept]) and np.count_nonzero(np.diff(kept)) <= 1
    for draw in results["muting"]:  # both are silent up to one point, and as they were from there
        silent = np.flatnonzero(draw.noise == 0)
        assert np.array_equal(silent, np.arange(len(silent))) and not draw.speech[: len(silent)].any()
        assert np.array_equal(draw.speech[len(silent) :], speech[len(silent) :])
        assert np.array_equal(draw.noise[len(silent) :], noise[len(silent) :])
    assert 0 < sum(draw.noise[0] == 0 for draw in results["muting"]) < 20
    for draw in results["level_changes"]:  # by no more than 8 dB, and slowly
        gains = [
            after[before != 0] / before[before != 0] for after, before in ((draw.speech, speech), (draw.noise, noise))
        ]
        assert all(np.all(np.abs(20 * np.log10(gain)) < 8.01) for gain in gains)
        assert np.max(np.abs(np.diff(gains[1]))) < 0.01
    assert any(not np.array_equal(draw.speech, speech) for draw in results["level_changes"])
    silenced = [draw.speech for draw in results["pauses"] if not np.array_equal(draw.speech, speech)]
    assert silenced and all(np.array_equal(draw.noise, noise) for draw in results["pauses"])
    for signal in silenced:  # one stretch is silent, the rest is as it was
        assert np.array_equal(signal[signal != 0], speech[signal != 0])
        assert signal[0] == 0 or signal[-1] == 0


@pytest.mark.parametrize("name", ["impacts", "calls", "gusts"])
def test_noises_made_on_the_spot(name: str) -> None:
    """Blows leave silence between them, calls are tones, gusts swell; what is added has a level from -10 to 10 dB."""
    noise = (1e-2 * np.random.default_rng(0).standard_normal(32000)).astype(np.float32)
    made = []
    for seed in range(150):
        draw = draw_of(noise.copy(), noise.copy())
        AUGMENTATIONS[name](draw, np.random.default_rng(seed))
        assert draw.noise.shape == noise.shape and draw.noise.dtype == np.float32
        assert np.array_equal(draw.speech, noise)
        if not np.array_equal(draw.noise, noise):
            made.append(draw.noise if name == "gusts" else draw.noise - noise)
    assert 3 < len(made) < 30  # one in twelve
    for signal in made:
        powers = np.sort(np.mean(np.square(signal.reshape(-1, 160), dtype=np.float64), axis=1))  # of 10 ms
        spectrum = np.sort(np.abs(np.fft.rfft(signal)) ** 2)
        if name == "gusts":
            assert 2 < np.percentile(powers, 95) / np.percentile(powers, 5) < 10**4.5
            continue
        assert -10.01 <= level_db(signal) - level_db(noise) <= 10.01
        if name == "impacts":
            assert powers[-len(powers) // 3 :].sum() > 0.6 * powers.sum()  # of steady noise: a third
        else:
            assert spectrum[-len(spectrum) // 5 :].sum() > 0.8 * spectrum.sum()  # of white noise: half


def test_bursts_are_sudden_and_apart() -> None:
    """Much of steady noise falls silent, or by 20 dB; what remains is no quieter than 20 dB below it."""
    noise = (1e-2 * np.random.default_rng(0).standard_normal(64000)).astype(np.float32)
    quiet_share, silent = [], 0
    for seed in range(60):
        draw = draw_of(noise.copy(), noise.copy())
        AUGMENTATIONS["bursts"].change(draw, np.random.default_rng(seed))
        assert np.array_equal(draw.speech, noise) and draw.noise.shape == noise.shape and draw.noise.dtype == np.float32
        powers = np.mean(np.square(draw.noise.reshape(-1, 160), dtype=np.float64), axis=1)  # of 10 ms
        assert 10 * np.log10(powers.max() / mean_power(noise)) > -20
        quiet_share.append(np.mean(powers < powers.max() / 100))
        silent += bool((powers == 0).any())
    assert np.mean(quiet_share) > 0.4  # of the 10 ms are 20 dB below the loudest; of steady noise none
    assert 10 < silent < 50  # in half of the segments the noise goes on, far below


def test_proximity_boosts_low_frequencies_of_the_speech() -> None:
    """By 3 to 20 dB at 0 Hz, half of that in dB at a corner of 80 to 300 Hz, nothing at 8 kHz."""
    impulse = np.zeros(16000, np.float32)
    impulse[8000] = 1.0
    boosts, corners = [], []
    for seed in range(60):
        draw = draw_of(impulse.copy(), impulse.copy())
        AUGMENTATIONS["proximity"].change(draw, np.random.default_rng(seed))
        assert np.array_equal(draw.noise, impulse)
        gains_db = 20 * np.log10(np.abs(np.fft.rfft(draw.speech)))  # at 0, 1, 2... Hz
        assert np.all(np.diff(gains_db) < 1e-3) and gains_db[-1] < 0.1
        boosts.append(gains_db[0])
        corners.append(np.argmax(gains_db < gains_db[0] / 2))
    assert 3 < min(boosts) < 6 and 16 < max(boosts) < 20
    assert 80 <= min(corners) < 100 and 240 < max(corners) <= 301


def mixer_of_a_tone(samples: int, segment_length: int) -> Mixer:
    """Speech and noise are one recording each, of the same 1 kHz."""
    tone = (8000 * np.sin(2 * np.pi * 1000 / 16000 * np.arange(samples))).astype(np.int16)
    return Mixer(Recordings(["a_0.wav"], [tone]), Recordings(["b_0.wav"], [tone]), segment_length)


def test_speed_perturbation_moves_a_tone() -> None:
    """A tone of 1 kHz comes out 0.9 to 1.1 times as high from speech, 0.7 to 1.4 times from noise, its level kept."""
    source = mixer_of_a_tone(64000, 8000)
    original = source.speech.signals[0][:8000] / np.float32(32768)
    found: dict[str, set[float]] = {"speech": set(), "noise": set()}
    for seed in range(60):
        draw = Draw(original.copy(), original.copy(), snr_db=0.0, level_dbfs=-25.0, mixer=source)
        speed_perturbation(draw, np.random.default_rng(seed))
        for part, frequencies in found.items():
            signal = getattr(draw, part)
            assert signal.shape == (8000,) and signal.dtype == np.float32
            assert level_db(signal[500:-500]) == pytest.approx(level_db(original), abs=0.2)
            frequencies.add(float(np.argmax(np.abs(np.fft.rfft(signal * np.hanning(8000)))) * 2))
    assert min(found["speech"]) == pytest.approx(900, abs=3) and max(found["speech"]) == pytest.approx(1100, abs=3)
    assert 700 - 3 <= min(found["noise"]) < 850 and 1250 < max(found["noise"]) <= 1400 + 3
    assert 1000.0 in found["speech"] and 1000.0 in found["noise"]


def test_noise_pieces_are_other_noises_at_other_speeds() -> None:
    """From a tone of 1 kHz: tones of 0.5 to 2 kHz, 0.2 to 2 s each, whose levels differ, and no gaps between them."""
    source = mixer_of_a_tone(160000, 64000)
    pitches, changed = [], 0
    for seed in range(30):
        draw = Draw(np.zeros(64000), np.zeros(64000, np.float32), snr_db=0.0, level_dbfs=-25.0, mixer=source)
        AUGMENTATIONS["noise_pieces"](draw, np.random.default_rng(seed))
        assert draw.noise.shape == (64000,) and draw.noise.dtype == np.float32
        if not draw.noise.any():
            continue
        changed += 1
        frames = draw.noise.reshape(-1, 800)
        levels = np.array([level_db(frame) for frame in frames])
        assert 0 < np.ptp(levels) < 40
        heard = np.argmax(np.abs(np.fft.rfft(frames * np.hanning(800))), axis=1) * 20  # Hz
        assert 2 <= 1 + np.count_nonzero(np.diff(heard)) <= 50
        pitches += heard.tolist()
    assert 6 <= changed <= 18  # four of ten
    assert 480 <= min(pitches) < 600 and 1700 < max(pitches) <= 2020


def test_speech_speed_moves_the_voice_alone() -> None:
    """A tone of 1 kHz comes out 0.8 to 1.25 times as high from speech; the noise is left alone."""
    source = mixer_of_a_tone(64000, 8000)
    original = source.speech.signals[0][:8000] / np.float32(32768)
    heard = []
    for seed in range(80):
        draw = Draw(original.copy(), original.copy(), snr_db=0.0, level_dbfs=-25.0, mixer=source)
        AUGMENTATIONS["speech_speed"](draw, np.random.default_rng(seed))
        assert draw.speech.shape == (8000,) and draw.speech.dtype == np.float32
        assert np.array_equal(draw.noise, original)
        heard.append(float(np.argmax(np.abs(np.fft.rfft(draw.speech * np.hanning(8000)))) * 2))
    assert 800 - 3 <= min(heard) < 850 and 1200 < max(heard) <= 1250 + 3
    assert 25 <= sum(frequency == 1000.0 for frequency in heard) <= 60


def test_vocal_tract_length_moves_formants_and_keeps_pitch() -> None:
    """A buzz of 125 Hz with one formant at 1.5 kHz: that comes out 0.85 to 1.18 times as high, the buzz as it was."""
    buzz = np.zeros(16000)
    buzz[::128] = 1.0
    spectrum = np.fft.rfft(buzz)
    frequencies = np.fft.rfftfreq(16000, 1 / 16000)
    speech = np.fft.irfft(spectrum / (1 + np.square((frequencies - 1500) / 150)), 16000).astype(np.float32)
    formants = []
    for seed in range(60):
        draw = draw_of(speech.copy(), buzz.copy())
        AUGMENTATIONS["vocal_tract_length"].change(draw, np.random.default_rng(seed))
        assert draw.speech.shape == (16000,) and draw.speech.dtype == np.float32
        assert np.array_equal(draw.noise, buzz)
        assert level_db(draw.speech) == pytest.approx(level_db(speech), abs=0.01)
        power = np.square(np.abs(np.fft.rfft(draw.speech)))
        assert power[::125].sum() > 0.99 * power.sum()  # harmonics, and nothing between them
        near = slice(1000, 2001, 125)
        formants.append(np.sum(frequencies[near] * power[near]) / np.sum(power[near]))
    assert 1500 * 0.85 - 30 < min(formants) < 1500 * 0.91 and 1500 * 1.1 < max(formants) < 1500 * 1.18 + 30


@pytest.mark.parametrize(("name", "lowest", "highest"), [("noise_speed", 500, 2000), ("frequency_shift", 700, 1600)])
def test_noise_sounds_higher_or_lower(name: str, lowest: float, highest: float) -> None:
    """Where a tone of 1 kHz comes out, its level kept; the speech is left alone."""
    source = mixer_of_a_tone(64000, 8000)
    original = source.speech.signals[0][:8000] / np.float32(32768)
    heard = []
    for seed in range(60):
        draw = Draw(original.copy(), original.copy(), snr_db=0.0, level_dbfs=-25.0, mixer=source)
        AUGMENTATIONS[name].change(draw, np.random.default_rng(seed))
        assert draw.noise.shape == (8000,) and draw.noise.dtype == np.float32
        assert np.array_equal(draw.speech, original)
        assert level_db(draw.noise[500:-500]) == pytest.approx(level_db(original), abs=0.2)
        heard.append(float(np.argmax(np.abs(np.fft.rfft(draw.noise * np.hanning(8000)))) * 2))
    assert lowest - 3 <= min(heard) < 1.1 * lowest and highest / 1.1 < max(heard) <= highest + 3


def test_what_a_frequency_shift_moves_out_of_the_band_is_gone() -> None:
    """It neither comes back from below 0 Hz nor from above 8 kHz."""
    time = np.arange(8000) / 16000
    for hertz in (100, 7700):
        tone = np.sin(2 * np.pi * hertz * time).astype(np.float32)
        levels = []
        for seed in range(40):
            draw = draw_of(tone.copy(), tone.copy())
            AUGMENTATIONS["frequency_shift"].change(draw, np.random.default_rng(seed))
            levels.append(level_db(draw.noise + 1e-5))
        assert min(levels) < -80 and max(levels) == pytest.approx(level_db(tone), abs=0.2)


def test_altered_voices_are_no_human_ones() -> None:
    """From a tone of 1 kHz as speech: bursts of 300 to 500 Hz or of 2 to 3.3 kHz, -10 to 10 dB, never both."""
    source = mixer_of_a_tone(160000, 64000)
    noise = (1e-2 * np.random.default_rng(0).standard_normal(64000)).astype(np.float32)
    pitches, made = [], 0
    for seed in range(200):
        draw = Draw(noise.copy(), noise.copy(), snr_db=0.0, level_dbfs=-25.0, mixer=source)
        AUGMENTATIONS["altered_voices"](draw, np.random.default_rng(seed))
        assert draw.noise.shape == (64000,) and draw.noise.dtype == np.float32
        assert np.array_equal(draw.speech, noise)
        if np.array_equal(draw.noise, noise):
            continue
        made += 1
        added = draw.noise - noise
        assert -10.01 <= level_db(added) - level_db(noise) <= 10.01
        pitch = float(np.argmax(np.abs(np.fft.rfft(added)))) / 4  # Hz
        assert 290 <= pitch <= 510 or 1980 <= pitch <= 3320
        pitches.append(pitch)
    assert 12 <= made <= 40  # one of eight
    assert min(pitches) < 510 and max(pitches) > 1980


def test_cross_synthesis_takes_levels_from_one_noise_and_sound_from_the_other() -> None:
    """White noise takes the rhythm and the band of bursts at 1 kHz, and stays noise."""
    time = np.arange(64000) / 16000
    beats = (8000 * np.sin(2 * np.pi * 1000 * time) * (np.floor(time * 4) % 2 == 0)).astype(np.int16)
    source = Mixer(Recordings(["a_0.wav"], [beats]), Recordings(["b_0.wav"], [beats]), 64000)
    white = (1e-2 * np.random.default_rng(0).standard_normal(64000)).astype(np.float32)
    changed = 0
    for seed in range(40):
        draw = Draw(white.copy(), white.copy(), snr_db=0.0, level_dbfs=-25.0, mixer=source)
        AUGMENTATIONS["cross_synthesis"](draw, np.random.default_rng(seed))
        assert draw.noise.shape == (64000,) and draw.noise.dtype == np.float32
        assert np.array_equal(draw.speech, white)
        if np.array_equal(draw.noise, white):
            continue
        changed += 1
        loud, quiet = (np.concatenate(draw.noise.reshape(16, 4000)[first::2, 600:-600]) for first in (0, 1))
        assert np.square(loud).sum() > 1000 * np.square(quiet).sum()
        powers = np.square(np.abs(np.fft.rfft(loud)))
        in_band = powers[len(powers) // 10 : len(powers) // 6]  # 0.8 to 1.33 kHz
        assert in_band.sum() > 0.9 * powers.sum() and in_band.max() < 0.1 * powers.sum()  # not a tone, one bin of which
    assert 3 <= changed <= 15  # two of ten


@pytest.mark.parametrize("length", [100, 5000, 64000])
def test_block_spectra_are_a_perfect_reconstruction(length: int) -> None:
    signal = np.random.default_rng(0).standard_normal(length).astype(np.float32)
    again = spectra.from_block_spectra(spectra.block_spectra(signal), length)
    assert again.dtype == np.float32 and np.max(np.abs(again - signal)) < 1e-5


def test_equalisation_changes_bands_by_up_to_8_db() -> None:
    white = np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    draw = draw_of(white.copy(), white.copy())
    equalisation(draw, np.random.default_rng(1))
    before, after = (np.abs(np.fft.rfft(signal)) for signal in (white, draw.noise))
    gains_db = 20 * np.log10(after / before)
    assert 3 < np.ptp(gains_db) <= 16
    assert np.max(np.abs(np.diff(gains_db[100:]))) < 0.5  # smooth


def first_change(name: str, seconds: float = 2.0) -> Draw:
    """What an augmentation makes of a voice in white noise of RMS 0.1 where it first does anything."""
    length = round(seconds * 16000)
    for seed in range(200):
        noise = 0.1 * np.random.default_rng(seed).standard_normal(length).astype(np.float32)
        draw = draw_of(speech_like(length), noise.copy())
        AUGMENTATIONS[name](draw, np.random.default_rng(seed))
        if draw.clipped_share or not np.array_equal(draw.noise, noise):
            return draw
    raise AssertionError(f"{name} did nothing in 200 segments")


def test_hum_is_a_line_at_the_mains_frequency() -> None:
    spectrum = np.abs(np.fft.rfft(first_change("hum").noise))  # bins of 0.5 Hz
    loudest = np.argmax(spectrum[:800]) / 2
    assert np.min(np.abs(loudest / np.arange(1, 9) - np.array([[50.0], [60.0]]))) < 0.8
    assert np.max(spectrum[:800]) > 20 * np.median(spectrum)


def test_fan_falls_towards_high_frequencies() -> None:
    power = np.abs(np.fft.rfft(first_change("fan").noise)) ** 2
    assert np.mean(power[1000:2000]) > 5 * np.mean(power[12000:])


def test_clicks_are_sparse() -> None:
    noise = first_change("clicks").noise
    assert np.max(np.abs(noise)) > 5 * np.sqrt(np.median(noise**2) / 0.4549)  # of Gaussian noise: 4.3 at most


def test_band_limits_cut_both_sides_of_speech_and_noise_alike() -> None:
    draw = first_change("band_limits")
    before = draw_of(speech_like(32000), 0.1 * np.ones(1, np.float32)).speech
    white = np.abs(np.fft.rfft(draw.noise)) ** 2
    assert np.mean(white[:20]) < 0.3 * np.mean(white[2000:4000])
    speech_gain = np.abs(np.fft.rfft(draw.speech))[2000:4000] / np.abs(np.fft.rfft(before))[2000:4000]
    np.testing.assert_allclose(speech_gain, 1.0, atol=0.1)


def test_clipping_spoils_the_mixture_alone() -> None:
    source, plain = mixer(augmentations=["clipping"]), mixer()
    clipped = 0
    for seed in range(100):
        (noisy, clean), (whole, target) = (m.draw(np.random.default_rng(seed)) for m in (source, plain))
        np.testing.assert_array_equal(clean, target)
        if not np.array_equal(noisy, whole):
            clipped += 1
            limit = np.max(np.abs(noisy))
            inside = np.abs(whole) < limit
            np.testing.assert_array_equal(noisy[inside], whole[inside])
            assert 1 <= np.count_nonzero(~inside) <= 0.04 * len(whole)
    assert 1 <= clipped <= 15


def test_bad_mixer_settings() -> None:
    with pytest.raises(
        ValueError, match="unknown augmentation 'reverb': expected one of altered_voices, babble, band_limits"
    ):
        mixer(augmentations=["reverb"])
    with pytest.raises(ValueError, match="SNR range 10.0 to 5.0 dB is empty"):
        mixer(snr_db=(10.0, 5.0))
    with pytest.raises(ValueError, match="level range -10.0 to -20.0 dB is empty"):
        mixer(level_dbfs=(-10.0, -20.0))
    with pytest.raises(ValueError, match="the mixer was given no noise recordings"):
        mixer(noise=Recordings([], []))


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
    with pytest.raises(ValueError, match="2 recordings of 1 speakers or kinds cannot be split"):
        split_by_group(recordings(["a_0.wav", "a_1.wav"]), 0.1)


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


def test_mixed_segments() -> None:
    source = MixedSegments(mixer(), 10)
    assert len(source) == 10
    assert "2 speech files" in source.summary and "10 segments of 0.5 s" in source.summary
    noisy, clean = batch_of(source, range(4), [1, 0])
    assert noisy.shape == clean.shape == (4, 8000)
    np.testing.assert_array_equal(batch_of(source, [2], [1, 0])[0][0], noisy[2])  # whatever else is in the batch
    assert not np.array_equal(batch_of(source, [2], [1, 1])[0][0], noisy[2])  # another epoch


# ----------------------------------------------------------------------------------------------------------------------
# run_training.py: arguments, and mixing on the fly
# ----------------------------------------------------------------------------------------------------------------------


MIXED = ["--run-name", "r", "--speech", "s", "--noise", "n"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (MIXED[2:], "required: --run-name"),
        (MIXED[:2], "give either --train-noisy"),
        (MIXED[:4], "give either --train-noisy"),
        ([*MIXED, "--val-noisy", "v"], "give either --train-noisy"),
        ([*MIXED[:2], "--train-noisy", "a", "--train-clean", "b", "--val-noisy", "c"], "give either --train-noisy"),
        ([*MIXED, "--resume", "--init-weights", "w.h5"], "--resume goes on with the run's own weights"),
        ([*MIXED, "--snr-db", "9", "1"], "--snr-db 9 1 is an empty range"),
        ([*MIXED, "--level-dbfs", "0", "-9"], "--level-dbfs 0 -9 is an empty range"),
        ([*MIXED, "--validation-segments", "0"], "must be at least 1"),
        ([*MIXED, "--schedule", "step"], "invalid choice: 'step'"),
        ([*MIXED, "--processes", "2", "--process", "1"], "needs --coordinator HOST:PORT and another --process"),
        ([*MIXED, "--noise-weights", "esc50"], "esc50: expected FOLDER=X with a number X"),
        ([*MIXED, "--dropout", "1"], "--dropout 1: expected a share from 0 to below 1"),
        ([*MIXED, "--core-1-loss", "-1"], "--core-1-loss: expected a share of at least 0"),
        ([*MIXED, "--core-1-loss", "0.2", "--only-core-1"], "and 0 with --only-core-1, whose loss it is alone"),
        ([*MIXED, "--open-core-1-mask"], "--open-core-1-mask is for trained weights: name them with --init-weights"),
        ([*MIXED, "--change-basis", "mclt"], "--change-basis is for trained weights: name them with --init-weights"),
    ],
)
def test_arguments_that_do_not_fit(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        train.main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_status_of_several_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One command for all: what the first writes, and what another does that fails alone."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "process = sys.argv[sys.argv.index('--process') + 1]\n"
        "print('written by', process, file=sys.stderr)\n"
        "sys.exit(process in sys.argv[sys.argv.index('--run-name') + 1])\n"  # the name says who fails
    )
    monkeypatch.setattr(train, "START", script.read_text())
    for failing, shown in (("none", "0"), ("0", "0"), ("1", "01"), ("012", "0")):
        arguments = ["--run-name", failing, *MIXED[2:], "--processes", "3"]
        assert train.main(arguments) == (failing != "none")
        message = capfd.readouterr().err
        assert [i for i in "012" if f"written by {i}" in message] == list(shown)


def test_augmentations_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        train.main(["--list-augmentations"])
    assert stopped.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("=")[0] for line in lines] == list(AUGMENTATIONS)
    assert "pauses=0.1: Silences the speech from a random point to the end or from the start to it." in lines
    for line in lines:  # what is listed can be given
        assert augmentation_by_name(line.split(":")[0]).share == pytest.approx(float(line.split("=")[1].split(":")[0]))


@pytest.fixture(scope="module")
def unmixed(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Arguments that name a folder of speech and one of noise, with enough speakers to split."""
    return write_unmixed(tmp_path_factory.mktemp("unmixed"))


def mixed_command(unmixed: list[str], run_dir: Path, *more: str) -> list[str]:
    sizes = ["--segment-seconds", "0.064", "--batch-size", "2", "--max-epochs", "1", "--segments-per-epoch", "4"]
    return [*unmixed, *sizes, "--validation-segments", "3", "--run-name", "r", "--run-dir", str(run_dir), *more]


def test_training_on_mixtures_made_on_the_fly(
    unmixed: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache"
    command = mixed_command(unmixed, tmp_path / "run", "--augment", "pauses", "babble", "--cache-dir", str(cache))
    assert train.main(command) == 0
    output = capfd.readouterr().out
    assert "training: mixed from" in output and "4 segments of 0.064 s" in output
    assert "validation: mixed from" in output and "3 segments of 0.064 s" in output
    assert "validation has no speaker" not in output
    assert (tmp_path / "run" / "r.h5").is_file()
    assert len(list(cache.iterdir())) == 2


def test_sets_without_a_validation_speaker_are_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    unmixed = write_unmixed(tmp_path)
    speech = tmp_path / "speech"
    for folder, files in {"crowd": sorted(speech.iterdir())[:-2], "solo": sorted(speech.iterdir())[-2:]}.items():
        (speech / folder).mkdir()
        for index, path in enumerate(files):
            path.rename(speech / folder / (path.name if folder == "crowd" else f"reader_{index}.wav"))
    assert train.main(mixed_command(unmixed, tmp_path / "run")) == 0
    assert "validation has no speaker of solo: it will not tell" in capfd.readouterr().out


def test_shares_kept_for_validation(unmixed: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def counts(*more: str) -> list[tuple[int, int]]:
        """Files of speech and of noise in training, then in validation."""
        assert train.main(mixed_command(unmixed, tmp_path / "run", *more)) == 0
        pattern = r"(?:training|validation): mixed from (\d+) speech files .*? and (\d+) noise files"
        return [(int(speech), int(noise)) for speech, noise in re.findall(pattern, capfd.readouterr().out)]

    (speech, noise), (validation_speech, validation_noise) = counts("--validation-speech-share", "0.3")
    assert speech + validation_speech == 40 and 5 < validation_speech < 20
    assert noise + validation_noise == 30 and 0 < validation_noise < 10
    training, validation = counts("--validation-noise-share", "0")  # all noise in both, speakers apart
    assert training[1] == validation[1] == 30
    assert training[0] + validation[0] == 40
    assert train.main(mixed_command(unmixed, tmp_path / "run", "--validation-speech-share", "0")) == 1
    assert "with a share of 0.0: one part would be empty" in capfd.readouterr().err


def test_weights_count_in_training_alone(tmp_path: Path) -> None:
    for kind, folder in (("speech", "read"), ("noise", "street")):
        for part in (folder, "other"):
            (tmp_path / kind / part).mkdir(parents=True)
            for index in range(20):
                signal = speech_like(2048, seed=index)
                soundfile.write(tmp_path / kind / part / f"{index:02d}_0.wav", signal, SAMPLE_RATE)
    folders = ["--speech", str(tmp_path / "speech"), "--noise", str(tmp_path / "noise")]
    weights = ["--speech-weights", "read=3", "other=0.5", "--noise-weights", "street=2"]
    command = mixed_command([*folders, *weights], tmp_path / "run")
    assert train.main(command) == 0
    for argv in (command, [*command[-4:], "--resume"]):  # given, and taken from config.json
        args = train.parse(argv)
        training, validation = mixed_sources(args, 1024)
        assert set(training.mixer.speech.weights) == {3, 0.5} and set(training.mixer.noise.weights) == {2, 1}
        assert validation.mixer.speech.weights is validation.mixer.noise.weights is None


def test_dropout_is_set(unmixed: list[str], tmp_path: Path) -> None:
    """The same start and mixtures: nothing but the dropout can change the loss."""
    losses = []
    for share in ("0.25", "0"):
        run_dir = tmp_path / share
        assert train.main(mixed_command(unmixed, run_dir, "--dropout", share)) == 0
        losses.append(read_losses(run_dir / "training_r.log"))
    assert losses[0] != losses[1]
    again = mixed_command(unmixed, tmp_path / "default")
    assert train.main(again) == 0
    assert read_losses(tmp_path / "default" / "training_r.log") == losses[0]


def read_losses(path: Path) -> list[str]:
    return [line.split(",")[-2] for line in path.read_text().splitlines()[1:]]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--augment", "reverb"], "unknown augmentation 'reverb': expected one of"),
        (["--warmup-steps", "5"], "warm-up steps belong to the cosine schedule"),
        (["--segment-seconds", "0.001"], "segments of 0.001 s hold not one shift"),
        (["--batch-size", "5"], "a batch of 5 segments is larger than the data: mixed from"),
        (["--batch-size", "0"], "batch size 0"),
        (["--speech-weights", "read=2"], "read: no recording to weight lies in a folder of this name"),
        (["--init-weights", "missing.h5"], "missing.h5: no such weights file"),
    ],
)
def test_settings_that_do_not_fit(
    more: list[str], message: str, unmixed: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert train.main(mixed_command(unmixed, tmp_path / "run", *more)) == 1
    assert message in capfd.readouterr().err
    assert not (tmp_path / "run").exists()
