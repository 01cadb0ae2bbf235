"""dtln.errors: errors of the system in words, and names of files in one line."""

from __future__ import annotations

import errno
import os

import pytest

from dtln.errors import REMEDIES, SettingsError, in_words, one_line, require_place


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "a.wav"), "a.wav: permission is denied. Check the perm"),
        (FileNotFoundError(errno.ENOENT, "No such file", b"caf\xe9.wav"), "caf\udce9.wav: does not exist. Check"),
        (OSError(errno.EXDEV, "Cross-device link", "a", None, "b"), "b: Cross-device link (error 18 of the system)."),
        (OSError(errno.ENOSPC, "No space left on device"), "No space is left on the disk. Free some, or choose"),
        (OSError(errno.EMFILE, "Too many open files", "a"), "a: too many files are open. Take fewer --jobs, or raise"),
        (FileNotFoundError("a.h5: no such weights file"), "a.h5: no such weights file"),
        (ValueError("a: is no number"), "a: is no number"),
    ],
)
def test_errors_in_words(error, words):
    assert in_words(error).startswith(words)


@pytest.mark.parametrize("number", REMEDIES)
def test_every_remedy_says_what_is_wrong_and_what_to_do(number):
    words = in_words(OSError(number, "reason", "a.wav"))
    assert words.startswith("a.wav: ") and words.count(". ") == 1 and words.endswith(".")


def test_one_line():
    assert one_line("a\nb\x1b[31m\u2028\x85c \u65e5 \udce9") == "a\\nb\\x1b[31m\\u2028\\x85c \u65e5 \udce9"


def test_places_of_files(tmp_path, monkeypatch):
    (tmp_path / "old.json").write_text("{}")
    require_place(tmp_path / "old.json")
    require_place(tmp_path / "new.json")
    with pytest.raises(SettingsError, match="no/a.json: its folder does not exist. Make it first"):
        require_place(tmp_path / "no" / "a.json")
    with pytest.raises(SettingsError, match="is a folder. Expected the name of a file; choose another one"):
        require_place(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(SettingsError, match="new.json: its folder cannot be written to. Choose another one"):
        require_place(tmp_path / "new.json")
