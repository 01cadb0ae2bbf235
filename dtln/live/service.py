"""A systemd unit that runs `dtln live` in the background: from login, or from the start of the machine."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from dtln.errors import SettingsError
from dtln.files import complete_file

__all__ = ["install_service", "unit_path", "unit_text"]

NAME = "dtln-live.service"
FLAG = "--install-service"
UNIT = """\
# Written by `dtln live {flag}`. Changes of your own: systemctl --user edit {name}
[Unit]
Description=DTLN removes noise from the microphone
After=pipewire.service pipewire-pulse.service wireplumber.service pulseaudio.service sound.target
# It is tried again and again, however often it fails.
StartLimitIntervalSec=0

[Service]
Type=exec
{environment}WorkingDirectory=-{folder}
ExecStart={command}
Restart=on-failure
RestartSec=5
# The status of flags that are wrong: they do not mend themselves.
RestartPreventExitStatus=2
TimeoutStopSec=15
# Before other programs on a busy machine. Users who may raise priorities (`ulimit -e` says 31) can add Nice=-11.
CPUWeight=1000

[Install]
WantedBy=default.target
"""
ELSEWHERE = {
    "darwin": "On macOS start `dtln live ... --reconnect` by launchd, or from Login Items",
    "win32": "On Windows start `dtln live ... --reconnect` by the Task Scheduler, at log-on",
}


def unit_path() -> Path:
    """Where systemd looks for the units of a user: below $XDG_CONFIG_HOME, or ~/.config."""
    folder = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    return (folder if folder.is_absolute() else Path.home() / ".config") / "systemd" / "user" / NAME


def unit_text(arguments: Sequence[str], python: str = sys.executable, package: Path | None = None) -> str:
    """The unit that runs `PYTHON -m dtln live ARGUMENTS --reconnect` in the folder that one is in now.

    arguments: the flags of `dtln live`; --install-service among them is left out, --no-reconnect is obeyed. package:
    the folder that holds the package `dtln`, None for this one's; the unit names it unless Python looks there by
    itself. Raises SettingsError for words that a unit cannot hold.
    """
    flags = [argument for argument in arguments if not _is_short_for(FLAG, argument)]
    if not any(_is_short_for(name, flag) for flag in flags for name in ("--reconnect", "--no-reconnect")):
        flags.append("--reconnect")
    package = package or Path(__file__).resolve().parents[2]
    installed = {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")}
    environment = {"PYTHONUNBUFFERED": "1"} | ({} if package in installed else {"PYTHONPATH": str(package)})
    # With the colon, $ stands for itself.
    command = [_quoted(f":{python}"), *(_quoted(word) for word in ("-m", "dtln", "live", *flags))]
    return UNIT.format(
        flag=FLAG,
        name=NAME,
        environment="".join(f"Environment={_quoted(f'{name}={value}')}\n" for name, value in environment.items()),
        folder=os.getcwd().replace("%", "%%"),
        command=" ".join(command),
    )


def install_service(arguments: Sequence[str]) -> list[str]:
    """Writes the unit of the user; returns the lines that say what to do next.

    A unit that is there already and differs is left alone. Raises SettingsError there, and where there is no systemd.
    """
    if shutil.which("systemctl") is None:
        way = ELSEWHERE.get(sys.platform, "Start `dtln live ... --reconnect` by what starts programs here")
        raise SettingsError(f"{FLAG} needs systemd, and there is no systemctl. {way}")
    text, path = unit_text(arguments), unit_path()
    unit = shlex.quote(str(path))
    if path.is_file() and (old := path.read_text(encoding="utf-8", errors="replace")) != text:
        pairs = zip([*old.splitlines(), ""], [*text.splitlines(), ""], strict=False)
        line, new = next((line, new) for line, new in pairs if line != new)
        raise SettingsError(
            f"{path}: is there already, and differs: it says {line!r} where the new one says {new!r}. To replace it, "
            f"remove it first: rm {unit}"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with complete_file(path) as partial:
        partial.write_text(text, encoding="utf-8")
    lines = [
        f"wrote {path}",
        f"start it now and at each login:  systemctl --user daemon-reload && systemctl --user enable --now {NAME}",
        f"see how it goes:                 systemctl --user status {NAME}; journalctl --user-unit {NAME} -f",
        "start it without a login, too:   sudo loginctl enable-linger $USER",
        f"remove it:                       systemctl --user disable --now {NAME}; rm {unit}",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        lines.append(
            "You are root, so it is root's. Sound belongs to the user who is logged in: install it as that one."
        )
    return lines


def _is_short_for(flag: str, argument: str) -> bool:
    """Whether an argument is a flag, which argparse knows by its beginning as well: where no other one begins so."""
    return len(argument) > (len("--reco") if flag == "--reconnect" else len("--in")) and flag.startswith(argument)


def _quoted(word: str) -> str:
    """A word of a unit as systemd reads it: in quotes where needed, % doubled."""
    if re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", word):  # the last are bytes that are no UTF-8
        raise SettingsError(f"{FLAG}: {word!r} has characters that no unit can hold. Rename it")
    word = word.replace("%", "%%")
    if re.fullmatch(r"[\w%@:=,./+-]+", word):
        return word
    return '"' + re.sub(r'(["\\])', r"\\\1", word) + '"'
