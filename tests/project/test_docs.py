"""Texts: every command in them parses, Python compiles, links lead somewhere, the site builds, tables are complete."""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from dtln.__main__ import main as dtln_main
from dtln.commands import COMMANDS
from dtln.commands.models import card_of
from dtln.formats import EXPORT_KINDS
from dtln.mixing.augmentations import AUGMENTATIONS

ROOT = Path(__file__).resolve().parents[2]
FOLDERS_WITH_README = ("pretrained_model", "benchmarks", "audio_samples", "research")
TEXTS = (
    sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])
    + [ROOT / folder / "README.md" for folder in FOLDERS_WITH_README]
    + sorted((ROOT / "pretrained_model").glob("*/README.md"))
)  # without HISTORY.md: its commands ran on version 0.1.0
OF_OTHERS = {"aplay", "apt-get", "arecord", "cd", "cpufreq-set", "dpkg", "ffmpeg", "for", "git", "journalctl",
             "loginctl", "mkdocs", "modprobe", "mypy", "nice", "npm", "pactl", "pip", "pre-commit", "ruff", "run",
             "systemctl", "vcgencmd"}  # fmt: skip
STAND_INS = {  # for names that must exist
    "DIR": ROOT / "pretrained_model",
    "noisy.wav": ROOT / "audio_samples" / "noisy" / "numbers_bus_10dB.wav",
}
PREFIXES = ("sudo", "taskset")  # of which the latter has an option and its value


def blocks(text: Path, language: str) -> list[str]:
    """The code blocks of one language."""
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", text.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands_of(block: str) -> Iterator[list[str]]:
    """The words of each command in a bash block, continuation lines joined, without settings of the environment."""
    for line in block.replace("\\\n", " ").splitlines():
        words: list[str] = []
        for word in [*shlex.split(line, comments=True), "&&"]:
            if word.rstrip(";") in ("&&", "|", "do", "done", ""):
                if words:
                    yield words
                words = []
            elif words or not re.match(r"[A-Z_0-9]+=", word):
                words.append(word)


def commands(text: Path) -> Iterator[list[str]]:
    """The words of each command in the bash blocks of a text."""
    for block in blocks(text, "bash"):
        yield from commands_of(block)


def test_commands_are_found():
    assert sum(len(list(commands(text))) for text in TEXTS) > 60


class Parsed(Exception):
    """The command line was taken."""


def module_at(path: Path) -> ModuleType:
    """The module of a script."""
    name = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "_")
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)  # where dataclasses look for it
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def parse_only(main, module: ModuleType, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs `main` up to the point where `module` has parsed the arguments."""
    owner, name = (module, "parse") if hasattr(module, "parse") else (argparse.ArgumentParser, "parse_args")
    parse = getattr(owner, name)

    def parse_and_stop(*args, **kwargs):
        parse(*args, **kwargs)
        raise Parsed

    with monkeypatch.context() as patch, pytest.raises(Parsed):
        patch.setattr(owner, name, parse_and_stop)
        main(arguments)


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_parse(text, monkeypatch):
    monkeypatch.chdir(ROOT)  # recipes are named by their paths in a clone
    for words in commands(text):
        words = [str(STAND_INS.get(word, word)) for word in words]
        while words[0] in PREFIXES:
            words = words[3 if words[0] == "taskset" else 1 :]
        program, arguments = Path(words[0]).name, words[1:]
        if program.startswith("python") and arguments[0] == "-m":
            assert arguments[1] in ("venv", "pytest", "pip", "http.server"), words
        elif program.startswith("python"):
            script = module_at(ROOT / arguments[0])
            command = re.search(r'"(dtln\.commands\.\w+)"', (ROOT / arguments[0]).read_text(encoding="utf-8"))
            module = importlib.import_module(command[1]) if command else script
            parse_only(script.main, module, arguments[1:], monkeypatch)
        elif program == "dtln":
            assert arguments[0] in COMMANDS, words
            parse_only(dtln_main, importlib.import_module(COMMANDS[arguments[0]][0]), arguments, monkeypatch)
        else:
            assert program in OF_OTHERS, words


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_outputs_of_one_recording_have_an_extension(text):
    """Without one, `dtln enhance` does not know the format."""
    for words in commands(text):
        if words[:2] == ["dtln", "enhance"] and Path(words[2]).suffix and "-o" in words:
            assert Path(words[words.index("-o") + 1]).suffix, words


NOT_RUN = re.compile(r"^(?:<!-- not run: ([^\n]+) -->\n\n)?```bash\n(.*?)^```", re.DOTALL | re.MULTILINE)
RUN_PAGES = [
    pytest.param(page, id=page.relative_to(ROOT).as_posix(), marks=pytest.mark.slow if page.stem == "convert" else ())
    for page in TEXTS
    if any(not reason for reason, _ in NOT_RUN.findall(page.read_text(encoding="utf-8")))
]


def test_marks_of_commands_that_are_not_run_stand_before_commands():
    for page in TEXTS:
        text = page.read_text(encoding="utf-8")
        found = NOT_RUN.findall(text)
        assert len(found) == len(blocks(page, "bash")), f"{page}: a bash block is indented"
        assert text.count("\n<!-- not run") == sum(bool(reason) for reason, _ in found), page
        for test in re.findall(r"\btests/[\w/.]+\b", "\n".join(reason for reason, _ in found)):
            assert (ROOT / test).exists(), f"{page}: {test}"


@pytest.fixture
def desk(tmp_path, monkeypatch, capsys):
    """The working folder, with what the commands of the pages name: recordings, scores, weights, logs of training."""
    samples, weights = ROOT / "audio_samples", ROOT / "pretrained_model" / "model.h5"
    for folder in ("NOISY", "recordings", "EVAL/noisy", "FOLDER/pairs", "CLEAN", "EVAL/clean"):
        (tmp_path / folder).mkdir(parents=True)
        for name in ("numbers_bus_10dB.wav", "cards_applause_0dB.wav"):
            shutil.copy(samples / ("clean" if folder.lower().endswith("clean") else "noisy") / name, tmp_path / folder)
    for folder in ("DENOISED_A", "DENOISED_B", "OTHER_DENOISED"):
        shutil.copytree(tmp_path / "NOISY", tmp_path / folder)
    shutil.copytree(samples, tmp_path / "audio_samples")
    shutil.copy(tmp_path / "NOISY" / "numbers_bus_10dB.wav", tmp_path / "noisy.wav")
    for name in ("model.h5", "WEIGHTS.h5", "A.h5", "B.h5"):
        shutil.copy(weights, tmp_path / name)
    for run in ("RUN", "A", "B"):
        (tmp_path / f"models_{run}").mkdir()
        log = "epoch,learning_rate,loss,val_loss\n0,0.001,-10.5,-11.0\n1,0.001,-11.5,-12.0\n"
        (tmp_path / f"models_{run}" / f"training_{run}.log").write_text(log)
    monkeypatch.chdir(tmp_path)
    score = "score DENOISED_A --noisy NOISY --reference CLEAN --no-pesq --json ours.json"
    assert dtln_main(shlex.split(score)) == 0
    for name in ("theirs.json", "old_scores.json"):
        shutil.copy("ours.json", name)
    capsys.readouterr()
    return tmp_path


@pytest.mark.parametrize("page", RUN_PAGES)
def test_commands_without_a_mark_run(page, desk):
    """One after the other; the files that `-o` names are there afterwards."""
    for reason, block in NOT_RUN.findall(page.read_text(encoding="utf-8")):
        for words in commands_of(block) if not reason else ():
            program, arguments = words[0], words[1:]
            assert program in ("dtln", "python"), f"{page}: mark it as not run, or let this test run {words}"
            main = dtln_main if program == "dtln" else module_at(ROOT / arguments.pop(0)).main
            assert main(arguments) == 0, " ".join(words)
            for flag, value in zip(arguments, arguments[1:], strict=False):
                assert flag not in ("-o", "-t", "--csv", "--json", "--report") or (desk / value).exists(), words


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_python_imports_what_exists(text):
    for block in blocks(text, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{node.module}.{alias.name}"
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "dtln":
                assert hasattr(importlib.import_module("dtln"), node.attr), f"dtln.{node.attr}"


def test_python_of_the_readme_runs():
    import numpy as np

    (block,) = blocks(ROOT / "README.md", "python")
    names = {"samples": np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32), "sample_rate": 16000}
    exec(block, names)
    assert len(names["clean"]) + len(names["rest"]) == 16000 and names["denoiser"].strength == 0.8


def test_python_of_the_five_minutes_runs(desk):
    import soundfile

    (block,) = blocks(ROOT / "docs" / "five-minutes.md", "python")
    exec(block, {})
    noisy = soundfile.info("audio_samples/noisy/any_format/reader_water_10dB.flac")
    voice = soundfile.info("voice.flac")
    assert (voice.frames, voice.channels, voice.samplerate) == (noisy.frames, noisy.channels, noisy.samplerate)


def test_numbers_of_porting_are_those_of_its_python(capsys):
    import numpy as np

    text = ROOT / "docs" / "porting.md"
    (code,), (shown,) = blocks(text, "python"), blocks(text, "text")
    exec(code, {})
    number = re.compile(r"-?\d+\.\d+")
    printed = capsys.readouterr().out
    assert number.sub("", printed) == number.sub("", shown)
    values, shown_values = ([float(value) for value in number.findall(output)] for output in (printed, shown))
    np.testing.assert_allclose(values, shown_values, atol=2e-5)


def test_dotted_names_exist():
    for text in TEXTS:
        for name in re.findall(r"`(dtln(?:\.\w+)+)", text.read_text(encoding="utf-8")):
            try:
                importlib.import_module(name)
            except ModuleNotFoundError:
                module, _, attribute = name.rpartition(".")
                assert hasattr(importlib.import_module(module), attribute), f"{text.name}: {name}"


def test_extras_named_are_extras():
    listed = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    for text in TEXTS:
        for extras in re.findall(r"\.\[([\w,]+)\]", text.read_text(encoding="utf-8")):
            assert set(extras.split(",")) <= set(listed), f"{text.name}: {extras}"


def test_every_extra_is_described():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    table = text[text.index("[project.optional-dependencies]") : text.index("[tool.hatch.version]")]
    install = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    for extra in set(re.findall(r"^(\w+) = ", table, re.MULTILINE)) - {"test"}:  # dev is test with pre-commit
        assert f"| `{extra}` |" in install, extra


def test_every_augmentation_is_described():
    training = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?`) \|", training[training.index("### Augmentations") :], re.MULTILINE)
    described = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert described >= set(AUGMENTATIONS)


def test_every_command_is_described():
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    for name in COMMANDS:
        assert f"`dtln {name}" in text, name


def test_every_kind_of_export_is_described():
    text = (ROOT / "docs" / "convert.md").read_text(encoding="utf-8")
    for name, kind in EXPORT_KINDS.items():
        (row,) = re.findall(rf"^\| `{name}` \|(.*)$", text, re.MULTILINE)
        assert re.findall(r"`([^`]+?)/?`", row) == list(kind.files)


CARD = ROOT / "pretrained_model" / "README.md"  # of model.h5; it has the scores of all weights


def score_tables(text: str) -> Iterator[tuple[list[str], dict[str, list[str]]]]:
    """The header and the rows, by their names, of each table with PESQ."""
    for table in re.findall(r"^\|[^\n]*PESQ[^\n]*\n(?:\|[^\n]*\n)+", text, re.MULTILINE):
        header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
        yield header, {row[0]: row[1:] for row in rows}


def scores_of_the_card() -> tuple[dict[tuple[str, str], str], dict[tuple[str, str], str]]:
    """{(row, column): score} of the unheard pairs, and of those in rooms."""
    pairs, rooms, *_ = (  # what follows is of other mixtures
        {(name, column): score for name, row in rows.items() for column, score in zip(header[1:], row, strict=True)}
        for header, rows in score_tables(CARD.read_text(encoding="utf-8"))
    )
    return pairs, rooms


@pytest.mark.parametrize("weights", sorted(path.name for path in CARD.parent.glob("*.h5")))
def test_front_matter_of_cards_has_their_scores(weights):
    yaml = pytest.importorskip("yaml")
    _, front, _ = (CARD.parent / str(card_of(CARD.parent / weights))).read_text(encoding="utf-8").split("---\n", 2)
    card = yaml.safe_load(front)
    hours = re.search(rf"^\| `{weights}` \| (\d+) \|", CARD.read_text(encoding="utf-8"), re.MULTILINE)
    assert card["hours_of_mixtures"] == int(hours[1])
    assert card["pipeline_tag"] == "audio-to-audio" and isinstance(card["language"], list)
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith(card["license"].upper())
    (model,) = card["model-index"]
    assert model["name"] == weights  # by which docs/make_results.py knows whose scores it has
    for result, scores in zip(model["results"], scores_of_the_card(), strict=True):
        assert result["task"]["type"] == card["pipeline_tag"] and result["dataset"].keys() == {"type", "name"}
        given = {metric["name"]: metric["value"] for metric in result["metrics"]}
        assert given == {column: float(score) for (name, column), score in scores.items() if name == f"`{weights}`"}
        assert {metric["type"] for metric in result["metrics"]} == set(card["metrics"])


@pytest.mark.parametrize("text", ["README.md", "docs/results.md"])
def test_scores_are_those_of_the_card(text):
    compared = set()
    for header, rows in score_tables((ROOT / text).read_text(encoding="utf-8")):
        for name, row in rows.items() if header[0] not in ("clean speech", "little noise") else ():
            in_rooms = header[0] == "in rooms"
            for column, score in zip(header[1:], row, strict=True):
                in_rooms |= column.startswith("in rooms: ")
                known = scores_of_the_card()[in_rooms].get((name, column.removeprefix("in rooms: ")))
                if known is not None:
                    assert score.partition(" ±")[0] == known, f"{name}, {column}"
                    compared.add((name, in_rooms))
    assert compared >= {(name, in_rooms) for name in ("noisy", "`model.h5`") for in_rooms in (False, True)}


def test_every_weights_file_has_its_card():
    cards = [card_of(weights) for weights in CARD.parent.glob("*.h5")]
    assert None not in cards and len(set(cards)) == len(cards) == 2


def test_attributions_are_linked():
    card, corpus = CARD.read_text(encoding="utf-8"), (ROOT / "docs" / "corpus.md").read_text(encoding="utf-8")
    for file in (ROOT / "pretrained_model").glob("ATTRIBUTION_*.txt"):
        assert f"({file.name})" in card and f"`{file.name}`" in corpus, file.name


def test_site_builds(tmp_path):
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    home = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert 'src="images/spectrograms.png"' in home and 'href="training/"' in home
    assert (tmp_path / "site" / "images" / "spectrograms.png").is_file()
    folders = ROOT / "docs" / "demo", tmp_path / "site" / "demo"
    demo = [{path.relative_to(folder) for path in folder.rglob("*")} for folder in folders]
    assert Path("index.html") in demo[0] and demo[0] == demo[1]  # with what was built, if it was
    samples = (tmp_path / "site" / "samples" / "index.html").read_text(encoding="utf-8")
    players = re.findall(r'<audio [^>]*src="([^"]+)"', samples)
    assert len(players) == 18 and all((tmp_path / "site" / "samples" / source).is_file() for source in players)
    assert 'href="../demo/"' in (tmp_path / "site" / "browser" / "index.html").read_text(encoding="utf-8")
