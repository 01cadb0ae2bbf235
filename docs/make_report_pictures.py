"""Draw the pictures of docs/report.md: a page of scores in Chromium, its charts in light and an open file in dark.

    python docs/make_report_pictures.py [--pairs ../shared/eval] [-o docs/images]

It denoises noisy recordings with the default weights and with those of the normalising variant, scores both, makes the
page, and photographs it. Run it in an environment with `pip install ".[test]"`, Chromium and its chromedriver (Debian:
chromium, chromium-driver).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dtln.commands import enhance, report, score

ROOT = Path(__file__).resolve().parents[1]
WIDTH = 1280  # pixels
SECONDS = 60  # that spectrograms may take
QUALITY = 80  # of WebP: a palette of PNG loses the few coloured letters, or the spectrograms
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking")
PARTS = {  # name of the picture: dark or light, id of the element at its top, height in pixels, script before it
    "report_charts.webp": ("light", "summary", 1190, ""),
    "report_file.webp": ("dark", "files", 740, "document.querySelector('#table button[data-row]').click()"),
}

DRAWN = """
// whether the open file, if one is open, has its recordings, each with a picture of more than a few colours
const inside = (node) => [...node.querySelectorAll("*")].flatMap((child) => [child,
  ...(child.shadowRoot ? inside(child.shadowRoot) : [])]);
const colours = (canvas) => new Set(new Uint32Array(canvas.getContext("2d").getImageData(0, 0, canvas.width,
  canvas.height).data.buffer)).size;
const pictures = [...document.querySelectorAll(".picture")];
return state.open === null || (players.length === soundSignals().length && pictures.length === players.length
  && pictures.every((picture) => inside(picture).some((node) => node.tagName === "CANVAS" && node.height >= 100
    && node.width > 100 && colours(node) > 50)));
"""


def make_page(pairs: Path, folder: Path) -> Path:
    """Denoises `noisy` of the pairs in two ways, scores the outputs against `clean` and writes the page."""
    weights = {"DTLN": "model.h5", "normalising": "DTLN_norm_7246h.h5"}
    for name, file in weights.items():
        arguments = [pairs / "noisy", "-o", folder / name, "-m", ROOT / "pretrained_model" / file]
        _require(enhance.main([str(argument) for argument in arguments]))
    scores = ["--noisy", pairs / "noisy", "--reference", pairs / "clean", "--json", folder / "scores.json"]
    _require(score.main([str(folder / "DTLN"), *map(str, scores)]))
    page = folder / "report.html"
    compared = f"normalising={folder / 'normalising'}"
    _require(report.main([str(folder / "scores.json"), "-o", str(page), "--name", "DTLN", "--compare", compared]))
    return page


def _require(status: int) -> None:
    if status:
        raise RuntimeError(f"the command ended with status {status}")


@contextmanager
def chromium(profile: Path) -> Iterator[Any]:
    """A browser without a screen."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    try:
        yield browser
    finally:
        browser.quit()


def photograph(browser: Any, page: Path, name: str, path: Path) -> None:
    """Writes one picture of the page."""
    from PIL import Image  # matplotlib brings it
    from selenium.webdriver.support.ui import WebDriverWait

    theme, top, height, script = PARTS[name]
    size = {"width": WIDTH, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page.as_uri())
    browser.execute_script(f"setTheme('{theme}'); update(); {script}")
    WebDriverWait(browser, SECONDS).until(lambda _: browser.execute_script(DRAWN), "the spectrograms are not drawn")
    browser.execute_script(f"document.getElementById('{top}').scrollIntoView()")
    image = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    image.save(path, quality=QUALITY, method=6)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--pairs", type=Path, default=ROOT / "audio_samples", metavar="DIR",
        help="folder of the recordings, with `noisy` and `clean` in it (default: audio_samples)",
    )  # fmt: skip
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "docs" / "images", help="folder of the pictures")
    args = parser.parse_args(argv)
    args.output.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="dtln-", ignore_cleanup_errors=True)))
        page = make_page(args.pairs, folder)
        browser = opened.enter_context(chromium(folder / "profile"))
        for name in PARTS:
            photograph(browser, page, name, args.output / name)
            print(f"wrote {args.output / name}: {(args.output / name).stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
