"""dtln.audio.folders: finding audio files, and pairing noisy with clean ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dtln.audio.folders import find_audio_files, pair_files
from dtln.errors import AudioFileError


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


def test_find_audio_files(tmp_path):
    (tmp_path / "sub.wav").mkdir()
    for name in ("b.WAV", "a.Flac", "sub.wav/c.ogg", "notes.txt", ".hidden.wav", "d.raw"):
        (tmp_path / name).touch()
    (tmp_path / "dangling.wav").symlink_to("nowhere")
    (tmp_path / "sub.wav" / "up").symlink_to(tmp_path, target_is_directory=True)
    found = [path.relative_to(tmp_path).as_posix() for path in find_audio_files(tmp_path)]
    assert found == ["a.Flac", "b.WAV", "dangling.wav", "sub.wav/c.ogg"]


def test_hidden_folders_are_left_out(tmp_path):
    for name in (".trash/a.wav", "deep/.cache/b.wav", ".shown/c.wav", "d.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert found_in(tmp_path) == ["d.wav"]
    assert found_in(tmp_path / ".shown") == ["c.wav"]
    (tmp_path / "cache").symlink_to("deep/.cache")
    assert found_in(tmp_path) == ["cache/b.wav", "d.wav"]


def found_in(folder):
    return [path.relative_to(folder).as_posix() for path in find_audio_files(folder)]


@pytest.mark.parametrize("name", ["a_link", "z_link"])
@pytest.mark.parametrize(
    ("target", "added"),
    [
        (".", []),
        ("..", []),  # with other.wav beside the folder
        ("../..", []),
        ("m", []),
        ("m/deeper", []),
        ("../outside", ["b.wav", "sub/c.wav"]),
        ("../outside/back", []),  # a link to the folder itself
        ("circle", []),
    ],
)
def test_each_folder_is_visited_once(tmp_path, name, target, added):
    """By its own path if it has one, whatever the order of names; links upwards add nothing."""
    for file in (
        "top/in/m/a.wav",
        "top/in/m/deeper/d.wav",
        "top/other.wav",
        "top/outside/b.wav",
        "top/outside/sub/c.wav",
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    folder = tmp_path / "top" / "in"
    (tmp_path / "top" / "outside" / "back").symlink_to(folder)
    (tmp_path / "top" / "outside" / "self").symlink_to(".")
    (tmp_path / "top" / "outside" / "sub" / "up").symlink_to("..")
    (folder / name).symlink_to(
        {"circle": name}.get(target, folder / target.replace("in/", "", 1) if target != "in" else folder)
    )
    (folder / "second_link").symlink_to(folder / name)
    expected = ["m/a.wav", "m/deeper/d.wav", *(f"{min(name, 'second_link')}/{file}" for file in added)]
    assert found_in(folder) == sorted(expected)


def test_folders_that_cannot_be_listed(tmp_path, monkeypatch):
    """They are refused, or handed to the caller, who does the rest; the folder itself is refused always."""
    for name in ("a", "locked", "locked.d/deep"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "a" / "a.wav").touch()
    scandir = os.scandir

    def guarded(path):
        if "locked" in Path(path).name or "locked" in str(tmp_path):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(AudioFileError, match="locked.*: cannot be listed .Permission denied.. Check its permissions"):
        find_audio_files(tmp_path)
    unlisted = []
    assert find_audio_files(tmp_path, lambda *folder: unlisted.append(folder)) == [tmp_path / "a" / "a.wav"]
    assert sorted(path.name for path, _ in unlisted) == ["locked", "locked.d"]
    assert all(reason.startswith(f"{path}: cannot be listed") for path, reason in unlisted)
    with pytest.raises(AudioFileError, match="locked: cannot be listed"):
        find_audio_files(tmp_path / "locked", lambda *folder: None)


def test_find_audio_files_refuses(tmp_path, monkeypatch):
    with pytest.raises(AudioFileError, match="missing: expected a folder of audio files, found nothing"):
        find_audio_files(tmp_path / "missing")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(AudioFileError, match="found a file"):
        find_audio_files(tmp_path / "notes.txt")
    with pytest.raises(AudioFileError, match="holds no audio files"):
        find_audio_files(tmp_path)

    def locked(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", locked)
    with pytest.raises(AudioFileError, match="cannot be listed .Permission denied"):
        find_audio_files(tmp_path)


def test_pairs_by_name_and_by_fileid():
    noisy = ["deep/a.wav", "book_snr-5_tl-20_fileid_12.wav", "mix_fileid_7.flac", "x_fileid_007_denoised.wav"]
    with_ids = ["clean_fileid_12.wav", "deep/a.flac", "mix_fileid_7.flac", "clean_fileid_120.wav", "left_over.wav"]
    assert pair_files(noisy[:3], with_ids) == [
        ("deep/a.wav", "deep/a.flac"),
        ("book_snr-5_tl-20_fileid_12.wav", "clean_fileid_12.wav"),
        ("mix_fileid_7.flac", "mix_fileid_7.flac"),
    ]
    assert pair_files(noisy[3:], with_ids) == [(noisy[3], "mix_fileid_7.flac")]
    both = ["mix_fileid_7.wav", "clean_fileid_7.wav"]
    assert pair_files(["mix_fileid_7.wav"], both) == [("mix_fileid_7.wav", "mix_fileid_7.wav")]
    umlaut = ("u\u0308ber.wav", "\u00fcber.wav")  # of a Mac's folder, and of another
    assert pair_files([umlaut[0]], [umlaut[1]]) == [umlaut]


@pytest.mark.parametrize(
    ("noisy", "clean", "message"),
    [
        (["a.wav", "b.wav"], ["a.wav"], r"^b.wav: has no partner in the other folder \(1 such files\)"),
        (["a.wav"], ["a.wav", "a.flac"], "^a.wav: has 2 partners, a.wav and a.flac among them"),
        (["a_fileid_1.wav"], ["b_fileid_1.wav", "c_fileid_01.wav"], "^c_fileid_01.wav: has the same fileid as b_"),
    ],
)
def test_pairs_that_cannot_be_made(noisy, clean, message):
    with pytest.raises(AudioFileError, match=message):
        pair_files(noisy, clean)
