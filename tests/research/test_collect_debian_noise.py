"""collect_debian_noise.py on packages made by dpkg-deb."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from dtln.mixing.recordings import load_recordings
from research import collect_debian_noise as collector

pytestmark = pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="dpkg-deb is not installed: no Debian")

COPYRIGHT = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: 2001 A
License: GPL-2+

Files: data/sounds/*
Copyright: 2002 B
License: CC-BY-SA-3.0

Files: data/sounds/closed/* media/unfree.wav
Copyright: 2003 C
License: GPL-3+ and CC-BY-3.0

Files: data/sounds/either.wav
Copyright: 2004 D
License: GPL-3 or CC-BY-3.0

License: CC-BY-SA-3.0
 Share alike.
"""


def encoded(samples: np.ndarray, rate: int = 16000, container: str = "WAV") -> bytes:
    """An audio file's content."""
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format=container)
    return stream.getvalue()


def g722(samples: np.ndarray) -> bytes:
    """The same in raw G.722."""
    stream = io.BytesIO()
    with av.open(stream, "w", format="g722") as container:
        track = container.add_stream("g722", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.int16(32767 * samples)[None], format="s16", layout="mono")
        frame.sample_rate = 16000
        for packet in [*track.encode(frame), *track.encode()]:
            container.mux(packet)
    return stream.getvalue()


def package(folder: Path, name: str, files: dict[str, bytes], copyright_text: str | None = COPYRIGHT) -> Path:
    """A .deb file, built."""
    root = folder / name
    if copyright_text is not None:
        files = files | {f"usr/share/doc/{name}/copyright": copyright_text.encode()}
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    (root / "DEBIAN").mkdir(parents=True)
    control = f"Package: {name}\nVersion: 1.0-2\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: none\n"
    (root / "DEBIAN/control").write_text(control)
    deb = folder / f"{name}_1.0-2_all.deb"
    subprocess.run(["dpkg-deb", "--build", str(root), str(deb)], check=True, capture_output=True)
    return deb


def manifest(folder: Path) -> list[dict[str, str]]:
    """The rows of manifest.csv."""
    with open(folder / "manifest.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def test_collects_what_is_free_and_no_speech(tmp_path, noise, capsys):
    bark, music = noise(24000), noise(30 * 16000, 2, seed=1)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as stream:
        stream.writestr("data/sounds/zipped.ogg", encoded(noise(16000, seed=2), container="OGG"))
        stream.writestr("data/sounds/picture.png", b"no sound")
    sounds = "usr/share/games/g/data/sounds"
    quiet_ends = np.concatenate([np.zeros(8000), bark, np.full(8000, 1e-5)])
    deb = package(
        tmp_path,
        "game-data",
        {
            f"{sounds}/bark.wav": encoded(quiet_ends),
            f"{sounds}/copy_of_bark.wav": encoded(quiet_ends),
            f"{sounds}/either.wav": encoded(0.01 * noise(8000, seed=3)),
            f"{sounds}/music.flac": encoded(np.tile(music, (3, 1)), container="FLAC"),
            f"{sounds}/low rate.wav": encoded(noise(8000, seed=4), 8000),
            f"{sounds}/closed/no.wav": encoded(noise(8000, seed=5)),
            f"{sounds}/voices/hello.wav": encoded(noise(8000, seed=6)),
            f"{sounds}/silent.wav": encoded(np.zeros(8000)),
            f"{sounds}/constant.wav": encoded(np.full(8000, 0.1)),
            f"{sounds}/empty.wav": encoded(np.zeros(0)),
            f"{sounds}/tick.wav": encoded(noise(400, seed=7)),
            "usr/share/games/g/other.wav": encoded(noise(8000, seed=8)),
            "usr/share/games/g/media/unfree.wav": encoded(noise(8000, seed=9)),
            "usr/share/games/g/sounds.pk3": archive.getvalue(),
            "usr/share/games/g/broken.zip": b"PK, but no more",
        },
    )
    out = tmp_path / "out"
    assert collector.main(["--output", str(out), str(deb)]) == 0
    rows = manifest(out)
    assert [Path(row["path"]).name for row in rows] == [
        "bark.wav", "either.wav", "low rate.wav", "zipped.ogg", "music.flac",
    ]  # fmt: skip
    assert {(row["package"], row["version"]) for row in rows} == {("game-data", "1.0-2")}
    assert [row["licence"] for row in rows] == ["CC-BY-SA-3.0", "GPL-3 or CC-BY-3.0"] + ["CC-BY-SA-3.0"] * 3
    assert [row["duration_s"] for row in rows] == ["1.500", "0.500", "1.000", "1.000", "60.000"]
    assert [row["file"] for row in rows] == ["short/game-data_00.flac"] * 4 + ["long/game-data_00.flac"]
    assert (out / "attribution_game-data.txt").read_text() == COPYRIGHT
    assert "4 short sounds (0.1 min), 1 long (1.0 min)" in capsys.readouterr().out
    joined, rate = soundfile.read(out / "short/game-data_00.flac")
    assert rate == 16000 and joined.ndim == 1
    for row, source in ((rows[0], bark), (rows[1], noise(8000, seed=3))):
        start = round(float(row["start_s"]) * 16000)
        piece = joined[start : start + len(source)]
        assert np.corrcoef(piece, source)[0, 1] > 0.9999
        assert 10 * np.log10(np.mean(piece**2)) == pytest.approx(-28.0, abs=0.01)
    assert len(load_recordings(out).names) == 2  # a folder that training takes


def test_sounds_are_joined_to_files_of_two_minutes(tmp_path, noise):
    files = {f"x/data/sounds/{i}.wav": encoded(noise(16 * 16000, seed=i)) for i in range(9)}
    assert collector.main(["--output", str(tmp_path / "out"), str(package(tmp_path, "nine", files))]) == 0
    durations = [soundfile.info(tmp_path / f"out/short/nine_0{i}.flac").duration for i in range(2)]
    assert durations == pytest.approx([7 * 16, 2 * 16], abs=0.01)
    assert [row["file"][-7:] for row in manifest(tmp_path / "out")] == ["00.flac"] * 7 + ["01.flac"] * 2


def test_prompts_in_g722_with_pauses(tmp_path, noise):
    """Speech as telephone exchanges keep it, whose paths would tell of speech: decoded, silence after each."""
    hum = 0.1 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    deb = package(
        tmp_path,
        "prompts",
        {"x/data/sounds/voices/a.g722": g722(hum), "x/data/sounds/voices/b.wav": encoded(noise(8000))},
    )
    out = tmp_path / "out"
    assert collector.main(["--output", str(out), "--leave-out", "beep", "--pause", "0.5", str(deb)]) == 0
    assert [float(row["start_s"]) for row in manifest(out)] == pytest.approx([0.0, 1.5], abs=0.01)
    samples, _ = soundfile.read(out / "short/prompts_00.flac")
    assert len(samples) == pytest.approx(2.5 * 16000, abs=200)
    spectrum = np.abs(np.fft.rfft(samples[:16000]))
    assert np.argmax(spectrum) == 440 and np.sum(spectrum[430:451] ** 2) > 0.99 * np.sum(spectrum**2)
    assert not samples[16100:23900].any() and not samples[-7900:].any()


def test_g722_without_its_decoder_is_told(tmp_path, noise, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    prompts = {f"x/data/sounds/{name}.g722": b"\0" * 8000 + name.encode() for name in "acd"}
    files = prompts | {"x/data/sounds/b.wav": encoded(noise(8000))}
    assert collector.main(["--output", str(tmp_path / "out"), str(package(tmp_path, "prompts", files))]) == 1
    message = "prompts_1.0-2_all.deb: 3 files in G.722 are left out. Decoding them needs PyAV: pip install av"
    assert capsys.readouterr().err.strip() == message
    assert [row["path"] for row in manifest(tmp_path / "out")] == ["x/data/sounds/b.wav"]


def test_loud_crackle_stays_below_full_scale(tmp_path):
    crackle = np.full(16000, 1e-3)
    crackle[::4000] = 0.5
    deb = package(tmp_path, "fire", {"x/data/sounds/fire.wav": encoded(crackle)})
    assert collector.main(["--output", str(tmp_path / "out"), str(deb)]) == 0
    samples, _ = soundfile.read(tmp_path / "out/short/fire_00.flac")
    assert np.abs(samples).max() == pytest.approx(0.99, abs=1e-3)


def test_other_licences_and_paths(tmp_path, noise):
    sounds = "x/data/sounds"
    deb = package(
        tmp_path,
        "game",
        {f"{sounds}/a.wav": encoded(noise(8000)), "x/voice.wav": encoded(noise(8000, seed=1))},
    )
    options = ["--licences", "gpl.*", "--leave-out", "bark"]
    assert collector.main(["--output", str(tmp_path / "out"), *options, str(deb)]) == 0
    assert [row["path"] for row in manifest(tmp_path / "out")] == ["x/voice.wav"]


def test_unusable_packages_are_named_and_the_rest_is_kept(tmp_path, noise, capsys):
    good = package(
        tmp_path,
        "good",
        {
            "x/data/sounds/a.wav": encoded(noise(8000)),
            "x/data/sounds/cut.wav": encoded(noise(8000, seed=1))[:9000],
        },
    )
    plain = package(tmp_path, "plain", {"x/a.wav": encoded(noise(8000))}, "You may do as you like.")
    without = package(tmp_path, "without", {"x/a.wav": encoded(noise(8000))}, None)
    no_deb = tmp_path / "torn_1_all.deb"
    no_deb.write_bytes(good.read_bytes()[:300])
    missing = tmp_path / "missing.deb"
    packages = [str(path) for path in (plain, without, no_deb, missing, good)]
    assert collector.main(["--output", str(tmp_path / "out"), *packages, "no-such-package-here"]) == 1
    messages = capsys.readouterr().err
    for message in (
        r"plain_1.0-2_all.deb: holds no machine-readable copyright file \(.*\), so the licences .* Leave it out",
        "without_1.0-2_all.deb: holds no machine-readable copyright file",
        "torn_1_all.deb: is no readable Debian package .* Download it again",
        "missing.deb: there is no such file. Check the path, or give the name of a package",
        r"good_1.0-2_all.deb: x/data/sounds/cut.wav: is truncated: the header announces",
        "no-such-package-here: apt-get (was not found|cannot download it)",
    ):
        assert re.search(message, messages), message
    assert [row["path"] for row in manifest(tmp_path / "out")] == ["x/data/sounds/a.wav"]


@pytest.mark.parametrize(
    ("path", "licence"),
    [
        ("usr/share/games/g/data/sounds/a.wav", "CC-BY-SA-3.0"),
        ("usr/share/sounds/a.wav", "CC-BY-SA-3.0"),  # data/ left away where it was installed
        ("usr/share/games/g/data/sounds/closed/a.wav", "GPL-3+ and CC-BY-3.0"),
        ("usr/share/games/g/media/unfree.wav", "GPL-3+ and CC-BY-3.0"),
        ("usr/share/games/g/data/resounds/a.wav", "GPL-2+"),
        ("usr/share/games/g/a.wav", "GPL-2+"),
    ],
)
def test_licence_of_an_installed_path(path, licence):
    from debian.copyright import Copyright

    assert collector.licence_of(Copyright(io.StringIO(COPYRIGHT)))(path) == licence


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("CC0-1.0", True),
        ("GPL-3 or CC-BY-3.0", True),
        ("GPL-2+ or Artistic", False),
        ("Expat and CC-BY-4.0", True),
        ("Expat and GPL-2", False),
        ("CC-BY-NC-3.0", False),
        ("CC-BY-ND-3.0", False),
        ("public-domain", True),
        ("", False),
    ],
)
def test_licences(licence, allowed):
    assert collector.is_allowed(licence, collector._pattern(collector.LICENCES)) is allowed


def test_refuses_before_it_starts(tmp_path, capsys, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/a.txt").touch()
    assert collector.main(["--output", str(tmp_path / "full"), "x"]) == 2
    assert "full: is no empty folder. Give a new one, or empty it." in capsys.readouterr().err
    monkeypatch.setattr(collector.importlib.util, "find_spec", lambda name: None)
    assert collector.main(["--output", str(tmp_path / "new"), "x"]) == 2
    assert re.search(r"needs the package python-debian: pip install \".*\[collect\]\"\.", capsys.readouterr().err)
    monkeypatch.setattr(collector.shutil, "which", lambda name: None)
    assert collector.main(["--output", str(tmp_path / "new"), "x"]) == 2
    assert "dpkg-deb was not found. Run this on Debian" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        collector.main(["--output", str(tmp_path / "new"), "--licences", "(", "x"])
    assert "(: is no regular expression" in capsys.readouterr().err
    assert collector.main(["--output", str(tmp_path / "new"), "--pause", "-1", "x"]) == 2
    assert "--pause -1: expected 0 to 10 s." in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
