"""Sound cards without hardware: ALSA devices with the rates, the channels and the clock that a test wants (card.c)."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

# PortAudio aborts where neither "default" nor "dmix" is defined.
NO_SERVER = "pcm.!default { type null }\n"


@dataclass
class Card:
    """A card, and what it needs in an ALSA configuration.

    heard, played: what comes from its microphone and what went to its loudspeaker, 16-bit interleaved.
    unplugged: while this file exists, the card is gone.
    """

    folder: Path
    configuration: str

    def __post_init__(self) -> None:
        self.heard, self.played, self.unplugged = (
            self.folder / name for name in ("heard.raw", "played.raw", "unplugged")
        )


def sound_card(folder: Path, name: str, rates: tuple[int, ...], channels: int, ppm: int = 0) -> Card:
    """The ALSA device `name`, whose clock is `ppm` fast; `folder` holds its files. Skips where no compiler is."""
    compiler, library = shutil.which("cc"), folder.parent / "card.so"
    if compiler is None:
        pytest.skip("no C compiler; on Debian: apt install build-essential")
    if not library.exists():
        source = Path(__file__).with_name("card.c")
        built = subprocess.run(
            [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o", library, source,
             "-l:libasound.so.2"],
            capture_output=True, text=True,
        )  # fmt: skip
        assert built.returncode == 0, built.stderr
    folder.mkdir()
    return Card(
        folder,
        f'pcm_type.card {{ lib "{library}" }}\n'
        f'pcm.{name} {{ type card rates "{" ".join(map(str, rates))}" channels {channels} ppm {ppm} '
        f'folder "{folder}" }}\n',
    )
