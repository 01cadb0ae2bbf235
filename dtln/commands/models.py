"""List the models: which are there, where they lie, whether a runtime for them is installed, what their cards say.

A card is a README.md that begins with metadata as on Hugging Face: licence, languages, scores. It describes the models
in its folder. Weights NAME.h5 beside a folder NAME have the card of that folder, if there is one.

%(prog)s
%(prog)s -m FOLDER --json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dtln.errors import EXTRAS, MissingPackageError, install_line, one_line, require
from dtln.formats import EXPORT_KINDS, MODEL_DIR, available_kinds, default_kind

CARD = "README.md"
FIELDS = {"license": "licence", "language": "languages"}


def parse(argv: Sequence[str] | None, prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "-m", "--model-dir", type=Path, default=MODEL_DIR, metavar="DIR",
        help="list the models in this folder and its sub-folders, or this one (default: the included models)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args(argv)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def front_matter(folder: Path) -> str | None:
    """The YAML between the two `---` at the beginning of a folder's README.md; None where there is none."""
    card = folder / CARD
    if not card.is_file():
        return None
    first, *lines = card.read_text(encoding="utf-8-sig", errors="replace").splitlines() or [""]
    return "\n".join(lines[: lines.index("---")]) if first == "---" and "---" in lines else None


def number(value: str) -> int | float | str:
    """A number of a card; a text that is none stays as it is."""
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            pass
    return value


def read_card(folder: Path) -> dict[str, Any] | None:
    """What the card of a folder says; None where there is no card.

    Fields that the card lacks are left out. `unread` says why nothing could be read: PyYAML is missing, or the metadata
    is not that of a card. The metadata is described at https://huggingface.co/docs/hub/model-cards; `hours_of_mixtures`
    is ours.
    """
    text = front_matter(folder)
    if text is None:
        return None
    card: dict[str, Any] = {"file": str(folder / CARD)}
    try:
        yaml = require("yaml", "reading it")
        said = yaml.load(text, yaml.BaseLoader)  # texts alone: safe, and Norwegian (`no`) stays a language
        if not isinstance(said, dict):
            raise TypeError("it is no mapping of fields")
        for field in FIELDS:
            if field in said:
                card[field] = [said[field]] if isinstance(said[field], str) else [str(value) for value in said[field]]
        if "hours_of_mixtures" in said:
            card["hours_of_mixtures"] = number(said["hours_of_mixtures"])
        if "model-index" in said:
            card["scores"] = [
                {
                    "dataset": result["dataset"]["name"],
                    "metrics": {m.get("name", m["type"]): number(m["value"]) for m in result["metrics"]},
                }
                for model in said["model-index"]
                for result in model["results"]
            ]
    except MissingPackageError as error:
        card["unread"] = str(error)
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        reason = one_line(" ".join(f"{type(error).__name__}: {error}".split()))
        card["unread"] = f"expected the metadata of a Hugging Face model card between the two --- lines; {reason}"
    return card


def card_of(weights: Path) -> str | None:
    """The card of a weights file, relative to its folder: in the folder of its name, else beside it."""
    folders = (weights.with_suffix(""), weights.parent)
    cards = [folder / CARD for folder in folders if front_matter(folder) is not None]
    return cards[0].relative_to(weights.parent).as_posix() if cards else None


def describe(folder: Path) -> dict[str, Any]:
    """The weights and exports in one folder, the kind that is taken where none is asked for, and the card."""
    kinds = available_kinds(folder)
    return {
        "folder": str(folder),
        "card": read_card(folder),
        "weights": [
            {"file": path.name, "bytes": size_of(path), "card": card_of(path)} for path in sorted(folder.glob("*.h5"))
        ],
        "default": default_kind(folder) if kinds else None,
        "exports": [
            {
                "kind": name,
                "title": EXPORT_KINDS[name].title,
                "files": [path.name for path in EXPORT_KINDS[name].found(folder)],
                "bytes": sum(size_of(path) for path in EXPORT_KINDS[name].found(folder)),
                "runtime": EXPORT_KINDS[name].installed_runtime(),
            }
            for name in kinds
        ],
    }


def card_lines(card: dict[str, Any] | None) -> list[str]:
    """What a card says, for people."""
    if card is None:
        return []
    if "unread" in card:
        return [f"  {CARD} was not read: {card['unread']}"]
    facts = [f"{title}: {', '.join(card[field])}" for field, title in FIELDS.items() if field in card]
    if "hours_of_mixtures" in card:
        facts.append(f"trained on {card['hours_of_mixtures']} hours of mixtures")
    scores = [
        f"  {score['dataset']}: {', '.join(f'{name} {value}' for name, value in score['metrics'].items())}"
        for score in card.get("scores", [])
    ]
    return [*([f"  {'; '.join(facts)}"] if facts else []), *scores]


def lines(found: dict[str, Any]) -> list[str]:
    """The description for people."""
    text = [found["folder"], *card_lines(found["card"])]
    for weights in found["weights"]:
        card = f"  card: {weights['card']}" if weights["card"] else ""
        text.append(f"  {weights['file']:20}  {'weights':20} {weights['bytes'] / 1e6:5.1f} MB{card}")
    for export in found["exports"]:
        kind, runtime = export["kind"], export["runtime"]
        if runtime is None:
            wanted = next(package for package in EXPORT_KINDS[kind].runtimes if package in EXTRAS)
            runs = f"cannot run here: {install_line(wanted)}"
        else:
            runs = f"runs on {runtime}{', the default' if kind == found['default'] else ''}"
        text.append(f"  {kind:20}  {export['title']:20} {export['bytes'] / 1e6:5.1f} MB  {runs}")
    return text


def main(argv: Sequence[str] | None = None, prog: str = "dtln models") -> int:
    args = parse(argv, prog)
    exports = {path for kind in EXPORT_KINDS.values() for path in kind.found(args.model_dir)}
    folders = [args.model_dir, *sorted(path for path in set(args.model_dir.glob("*")) - exports if path.is_dir())]
    found = [models for models in map(describe, folders) if models["weights"] or models["exports"]]
    if args.json:
        print(json.dumps(found, indent=2))
    elif found:
        print("\n".join(line for models in found for line in lines(models)))
    else:
        print(f"{args.model_dir}: holds neither weights nor exports")
    return 0 if found else 1
