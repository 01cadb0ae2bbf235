"""Hooks of mkdocs: texts that live elsewhere in the repository become pages, and links lead to the pages.

The home page is README.md, the model card stays beside the models, and so on: each text has one home, is read there by
whoever browses the repository, and is part of the site all the same. Links in texts are written for the repository; a
link to a recording becomes a player.
"""

from __future__ import annotations

import os.path
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PAGES = {  # page of the site -> text in the repository
    "index.md": "README.md",
    "models.md": "pretrained_model/README.md",
    "normalising.md": "pretrained_model/DTLN_norm_7246h/README.md",
    "history.md": "pretrained_model/HISTORY.md",
    "speed.md": "benchmarks/README.md",
    "samples.md": "audio_samples/README.md",
    "research.md": "research/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}
SOUND = (".wav", ".flac")
PLAYER = "width: min(10em, 20vw); height: 2.5em"  # three beside each other
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")  # relative ones alone: no colon


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the texts from outside docs/."""
    for page, source in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    for path in sorted((ROOT / "audio_samples").rglob("*")):
        if path.suffix in SOUND:
            files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Points links at pages of the site; a link to another file of the repository becomes its text."""
    name = page.file.src_uri
    folder = posixpath.dirname(PAGES.get(name, f"docs/{name}"))
    pages = {source: target for target, source in PAGES.items()}

    def rewritten(link: re.Match[str]) -> str:
        picture, text, target, anchor = link.groups()
        path = posixpath.normpath(posixpath.join(folder, target))
        if path in pages:
            place = pages[path]
        elif path.startswith("docs/"):
            place = path.removeprefix("docs/")
        elif path.endswith(SOUND) and files.get_file_from_path(path):
            source = posixpath.relpath(path, page.url)  # what mkdocs does not see as a link it does not rewrite
            return f'<audio controls preload="none" style="{PLAYER}" src="{source}" aria-label="{target}"></audio>'
        elif (ROOT / path).exists():
            return text
        else:
            return link.group()  # mkdocs reports it, and --strict fails
        return f"{picture}[{text}]({os.path.relpath(place, posixpath.dirname(name) or '.')}{anchor or ''})"

    return LINK.sub(rewritten, markdown)
