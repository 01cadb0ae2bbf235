"""Sets of recordings with scores, and a browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from score_reports import report_of

from dtln.reporting import System, system_of
from dtln.scoring.metrics import si_sdr, snr

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (  # no screen, no sandbox for root, and nothing asked of the network by the browser itself
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--autoplay-policy=no-user-gesture-required",
)  # fmt: skip
SECONDS = 0.5  # of each recording


@pytest.fixture
def recordings(tmp_path, noise) -> Callable[..., list[System]]:
    """Function: names of files, names of systems -> systems with recordings in folders of `tmp_path`, and their scores.

    The noise falls from file to file; of the systems, the first one leaves half of it, the next one a third, and so on.
    edit: changes a report.
    """

    def make(
        names: Sequence[str | bytes], systems: Sequence[str] = ("enhanced",), suffix: str = "", edit: Any = None
    ) -> list[System]:
        names = [name if isinstance(name, str) else name.decode("utf-8", "surrogateescape") for name in names]
        length = round(SECONDS * 16000)
        files: dict[str, list[dict[str, Any]]] = {system: [] for system in systems}
        for index, name in enumerate(names):
            clean = noise(length, seed=index)
            other = 0.8 * 0.9**index * noise(length, seed=index + 1000)
            signals = {"clean": clean, "noisy": clean + other}
            signals |= {system: clean + other / (2 + place) for place, system in enumerate(systems)}
            paths = {}
            for signal, samples in signals.items():
                paths[signal] = (tmp_path / signal / name).with_suffix(suffix or Path(name).suffix)
                paths[signal].parent.mkdir(parents=True, exist_ok=True)
                with open(paths[signal], "wb") as stream:
                    kind = paths[signal].suffix[1:].upper()
                    soundfile.write(stream, samples, 16000, subtype="PCM_16", format=kind)

            def scores(samples: np.ndarray, clean: np.ndarray = clean) -> dict[str, float]:
                return {"si_sdr_db": si_sdr(clean, samples), "snr_db": snr(clean, samples)}

            for system in systems:
                files[system].append(
                    {
                        "scores": {"noisy": scores(signals["noisy"]), "enhanced": scores(signals[system])},
                        "input_snr_db": snr(clean, signals["noisy"]),
                        "clean": str(paths["clean"]),
                        "signals": {"noisy": str(paths["noisy"]), "enhanced": str(paths[system])},
                        "seconds": SECONDS,
                    }
                )

        def report(system: str) -> dict:
            columns = {key: [file[key] for file in files[system]] for key in files[system][0]}
            made = report_of(names, columns.pop("scores"), **columns)
            if edit:
                edit(made)
            return made

        return [system_of(system, report(system)) for system in systems]

    return make


@pytest.fixture(scope="session")
def chromium(tmp_path_factory) -> Iterator[Any]:
    """A browser without a screen, driven by selenium."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    from selenium.webdriver.chrome.service import Service

    program = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    driver = shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("there is no Chromium with its chromedriver (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, "--window-size=1280,1000", f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options, Service(driver))
    browser.set_script_timeout(60)
    yield browser
    browser.quit()
