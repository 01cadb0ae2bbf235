"""The systemd unit of `dtln live`, as systemd's own verifier reads it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import SimpleNamespace

import pytest
from live_audio import ROOT

from dtln.commands.live import main
from dtln.errors import SettingsError
from dtln.live import service
from dtln.live.service import install_service, unit_path, unit_text

STRANGE = ["a b", "50%", "%h", "$HOME", "${HOME}", ";", "#x", "-", "grün", "!@+:|", "~", "*?[", " "]
QUOTES = ['quo"te', "apo's", "back\\slash", "\\x41", "'a'", '"a"']


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A home of a user with systemd who runs the program in the folder `here`."""
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(service, "shutil", SimpleNamespace(which=lambda name: f"/usr/bin/{name}"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def verify(unit: Path) -> str:
    """What systemd says against a unit; empty if nothing."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is missing; on Debian: apt install systemd")
    done = subprocess.run(
        ["systemd-analyze", "--user", "--man=no", "verify", str(unit)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode == 0) == (not done.stderr), done.stderr
    return done.stderr


def command_of(text: str) -> str:
    (command,) = re.findall("^ExecStart=(.*)$", text, flags=re.MULTILINE)
    return command


def test_systemd_takes_the_unit(home):
    lines = install_service(["-i", "USB microphone", "--install-service", "--strength", "0.8", "--latency", "low"])
    unit = home / ".config" / "systemd" / "user" / "dtln-live.service"
    assert lines[0] == f"wrote {unit}"
    assert verify(unit) == ""
    text = unit.read_text()
    flags = '-i "USB microphone" --strength 0.8 --latency low --reconnect'
    assert command_of(text) == f":{sys.executable} -m dtln live {flags}"
    assert f"WorkingDirectory=-{home / 'here'}\n" in text
    advice = "\n".join(lines)
    for word in ("daemon-reload", "enable --now dtln-live", "status", "journalctl", "enable-linger", f"rm {unit}"):
        assert word in advice
    assert ("You are root" in advice) == (os.geteuid() == 0)


def test_verifier_finds_what_is_wrong(home):
    unit = home / "dtln-live.service"
    unit.write_text(unit_text([]).replace("Restart=on-failure", "Restart=perhaps").replace(sys.executable, "/nowhere"))
    said = verify(unit)
    assert "Failed to parse service restart specifier" in said and "/nowhere is not executable" in said


@pytest.mark.parametrize("name", STRANGE)
def test_systemd_finds_the_program(home, name):
    folder = home / "programs"
    folder.mkdir()
    program = folder / f"{name}."
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = home / "word.service"
    unit.write_text(unit_text([], str(program)), encoding="utf-8")
    assert verify(unit) == ""
    program.rename(folder / "other")
    assert "is not executable" in verify(unit)


@pytest.mark.parametrize("word", STRANGE + QUOTES)
def test_systemd_reads_each_word_as_it_was_meant(home, word):
    """systemd-tmpfiles reads words as units do, and makes files of them."""
    if shutil.which("systemd-tmpfiles") is None:
        pytest.skip("systemd-tmpfiles is missing; on Debian: apt install systemd")
    made = home / "made"
    (quoted,) = re.findall(
        ":python -m dtln live (.*) --reconnect", command_of(unit_text([f"{made}/{word}."], "python"))
    )
    (home / "words.conf").write_text(f"d {made}\nf {quoted}\n", encoding="utf-8")
    done = subprocess.run(
        ["systemd-tmpfiles", "--create", str(home / "words.conf")], capture_output=True, text=True, timeout=60
    )
    assert os.listdir(made) == [f"{word}."], done.stderr


def test_command_of_the_unit_starts_the_command(home):
    """Its words, with the environment that it sets, from the folder of another clone or package."""
    text = unit_text(["--help"])
    environment = dict(re.findall(r"^Environment=(\w+)=(.*)$", text, flags=re.MULTILINE))
    assert environment == {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command_of(text)[1:].split(), env=environment, cwd=home, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "microphone -> DTLN -> loudspeaker" in done.stdout


def test_installed_package_needs_no_path(home):
    text = unit_text([], package=Path(sysconfig.get_path("purelib")).resolve())
    assert "PYTHONPATH" not in text
    assert r'Environment="PYTHONPATH=/a b/%%\"c"' in unit_text([], package=Path('/a b/%"c'))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--no-reconnect"], "--no-reconnect"),
        (["--recon", "--ins"], "--recon"),
        (["--record", "day"], "--record day --reconnect"),
        (["--install-s", "--input-channel", "mix"], "--input-channel mix --reconnect"),
    ],
)
def test_flags_stay_as_they_are(given, expected):
    assert command_of(unit_text(given)).partition(" live ")[2] == expected


def test_place_follows_the_settings_of_the_user(home, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "settings"))
    install_service([])
    assert unit_path() == home / "settings" / "systemd" / "user" / "dtln-live.service"
    assert unit_path().is_file()
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert unit_path() == home / ".config" / "systemd" / "user" / "dtln-live.service"


def test_unit_that_differs_is_left_alone(home):
    install_service([])
    before = unit_path().read_text()
    assert install_service([])[0] == f"wrote {unit_path()}"  # the same again
    with pytest.raises(SettingsError, match=rf"differs: .*--reconnect' where .* -i 3 --reconnect'.* rm {unit_path()}$"):
        install_service(["-i", "3"])
    assert unit_path().read_text() == before
    unit_path().write_text("")
    with pytest.raises(SettingsError, match="it says '' where"):
        install_service([])


def test_without_systemd(home, monkeypatch):
    monkeypatch.setattr(service, "shutil", SimpleNamespace(which=lambda _: None))
    for platform, way in (("darwin", "launchd"), ("win32", "Task Scheduler"), ("linux", "what starts programs here")):
        monkeypatch.setattr(sys, "platform", platform)
        with pytest.raises(SettingsError, match=f"needs systemd.*{way}"):
            install_service([])
    assert not unit_path().exists()


@pytest.mark.parametrize("word", [os.fsdecode(b"caf\xe9"), "line\nbreak", "tab\t"])
def test_words_that_no_unit_can_hold_are_refused(home, word):
    with pytest.raises(SettingsError, match="characters that no unit can hold"):
        install_service(["-m", word])
    assert not unit_path().exists()


def test_recording_in_a_service_is_refused(home, capsys):
    assert main(["--install-service", "--record", "talk"]) == 1
    assert "--record never overwrites" in capsys.readouterr().err and not unit_path().exists()
