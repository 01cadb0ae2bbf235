"""Training data: folders of pairs, and batches of pairs and of mixtures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from mixtures import mixer
from training_pairs import speech_like, write_pairs

from dtln.commands import train
from dtln.errors import AudioFileError
from DTLN_model import MixedSegments, PairedFolders, ValidationBatches, batch_of, training_batches, wav_length

SEGMENT = 1024  # samples


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
    damage_header: r"noisy.pair_1\.wav: is truncated: the header breaks off before the samples begin",
    damage_header_end: r"noisy.pair_1\.wav: is truncated: the header breaks off before the samples begin",
    damage_last_sample: r"clean.pair_1\.wav: is truncated: the header announces 2048 bytes of samples, 2046 are there",
    damage_most_samples: r"noisy.pair_1\.wav: is truncated: the header announces 2048 bytes of samples, 156 are there",
    damage_never_closed: r"noisy.pair_1\.wav: was never closed: its header announces no samples",
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


def test_mixed_segments() -> None:
    source = MixedSegments(mixer(), 10)
    assert len(source) == 10
    assert "2 speech files" in source.summary and "10 segments of 0.5 s" in source.summary
    noisy, clean = batch_of(source, range(4), [1, 0])
    assert noisy.shape == clean.shape == (4, 8000)
    np.testing.assert_array_equal(batch_of(source, [2], [1, 0])[0][0], noisy[2])  # whatever else is in the batch
    assert not np.array_equal(batch_of(source, [2], [1, 1])[0][0], noisy[2])  # another epoch
