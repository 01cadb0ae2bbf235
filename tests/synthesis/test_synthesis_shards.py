"""--shard of a synthesis: parts of the same pairs, in one folder or in several, whose manifests follow each other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from synthesised import arguments, contents, make

from dtln.commands import synthesize


def shards(corpus: Path, output: Path, count: int, *more: object) -> None:
    for number in range(1, count + 1):
        assert synthesize.main(arguments(corpus, output, "--shard", f"{number}/{count}", *more)) == 0


def test_shards_in_one_folder_are_the_whole(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(corpus, tmp_path / "whole")
    whole = contents(tmp_path / "whole")
    shards(corpus, tmp_path / "out", 3)
    assert re.findall(r"(\d+) pairs, .* h; (\d+) made now, 0 were there", capsys.readouterr().out)[1:] == [
        ("3", "3"), ("3", "3"), ("4", "4"),
    ]  # fmt: skip
    found = contents(tmp_path / "out")
    manifests = [found.pop(f"manifest-{number}-of-3.csv") for number in (1, 2, 3)]
    head = whole["manifest.csv"].splitlines(keepends=True)[0]
    assert all(manifest.startswith(head) for manifest in manifests)
    assert b"".join([head, *(manifest[len(head) :] for manifest in manifests)]) == whole["manifest.csv"]
    assert found | {"manifest.csv": whole["manifest.csv"]} == whole

    assert synthesize.main(["--output", str(tmp_path / "out"), "--resume"]) == 0  # joins the manifests
    assert "10 pairs, 0.01 h; 0 made now, 10 were there" in capsys.readouterr().out
    assert contents(tmp_path / "out") == whole


def test_shards_in_folders_of_their_own(corpus: Path, tmp_path: Path) -> None:
    make(corpus, tmp_path / "whole")
    found: dict[str, bytes] = {}
    for number in range(1, 13):
        assert synthesize.main(arguments(corpus, tmp_path / f"{number}", "--shard", f"{number}/12")) == 0
        part = {name: data for name, data in contents(tmp_path / f"{number}").items() if name.endswith(".wav")}
        assert not part.keys() & found.keys()
        found |= part
        assert (tmp_path / f"{number}" / f"manifest-{number:02d}-of-12.csv").is_file()
    assert found == {name: data for name, data in contents(tmp_path / "whole").items() if name.endswith(".wav")}


def test_a_shard_that_was_stopped(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(corpus, tmp_path / "whole")
    out = tmp_path / "out"
    shards(corpus, out, 2)
    manifest = out / "manifest-2-of-2.csv"
    before = contents(out)
    (out / "unfinished-2-of-2.jsonl").touch()
    manifest.unlink()
    lost = sorted(out.glob("*/clean/clean_fileid_7.wav"))[0]
    lost.unlink()
    capsys.readouterr()
    assert synthesize.main(arguments(corpus, out, "--shard", "2/2")) == 1
    assert "out: is not empty. Expected a new or empty folder" in capsys.readouterr().err
    assert synthesize.main(arguments(corpus, out, "--shard", "2/2", "--resume")) == 0
    assert "5 pairs, 0.00 h; 5 made now, 0 were there" in capsys.readouterr().out
    assert contents(out) == before
    assert synthesize.main(arguments(corpus, out, "--shard", "2/2", "--resume")) == 0
    assert "0 made now, 5 were there" in capsys.readouterr().out
    lost.unlink()
    assert synthesize.main(["--output", str(out), "--resume"]) == 0
    assert "10 pairs, 0.01 h; 1 made now, 9 were there" in capsys.readouterr().out
    assert contents(out) == contents(tmp_path / "whole")


def test_shards_of_other_settings_are_refused(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert synthesize.main(arguments(corpus, tmp_path / "out", "--shard", "1/2")) == 0
    assert synthesize.main(arguments(corpus, tmp_path / "out", "--shard", "2/2", "--seed", 3)) == 1
    assert "was begun with other settings: seed 42 (now 3)" in capsys.readouterr().err
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    assert synthesize.main(arguments(corpus, tmp_path / "out", "--shard", "2/2")) == 1
    assert "out: is not empty" in capsys.readouterr().err
