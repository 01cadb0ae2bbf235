"""Make the tables of docs/results.md: denoisers of any origin, scored on the same pairs and compared with the first.

    python docs/make_results.py --pairs EVAL --rooms EVAL_REVERB --little-noise --transparency --work WORK \\
        "model.h5=pretrained_model/model.h5" "model.h5 in 8 bits=pretrained_model:tflite-stream-quant" \\
        "another=DENOISED_BY_ANOTHER"
    python docs/make_results.py --pairs EVAL --work WORK -o leaderboard.md "ours=a.h5" "theirs=b.h5"

A system is NAME=H5, NAME=FOLDER_OF_EXPORTS:ENGINE, or NAME=FOLDER of what any program denoised, with a sub-folder of
recordings for each set: pairs, rooms, little_noise, clean; a set that it lacks is left out. The first system is the one
that others are compared with. EVAL and EVAL_REVERB hold noisy/ and clean/. --little-noise adds a set that is written to
WORK/little_noise/noisy: EVAL with its noise at 10, 15, 20 or 25 dB SNR. --transparency adds the set clean: the clean
recordings of EVAL as input.

WORK keeps what was denoised and scored, a JSON file for each system and set, named by the contents of the weights,
exports and recordings that made it. So a second run takes the scores from there, a run that was stopped goes on, and
what has changed is scored again. Delete WORK to score with another version of a metric. -o names a text with the lines
<!-- results --> and <!-- end of results -->, between which the tables go; a file that does not exist is made. --also
FILE, which may be repeated, names a text with tables of its own, README.md or the model card: the scores of the systems
in them are replaced. Needs `pip install ".[eval,score]"`.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dtln.audio.reading import read_audio
from dtln.commands import enhance, score
from dtln.commands.run import failed
from dtln.errors import SettingsError
from dtln.evaluation.comparing import compare_scores
from dtln.evaluation.scores import ScoringSettings, plan_scores
from dtln.facts import SAMPLE_RATE
from dtln.files import complete_file
from dtln.formats import EXPORT_KINDS
from dtln.reporting import System, read_scores
from dtln.scoring.comparison import Comparison
from dtln.scoring.means import Mean
from dtln.scoring.metrics import METRICS

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- results -->", "<!-- end of results -->"
COLUMNS = ("pesq_raw_nb", "pesq_lqo_nb", "pesq_wb", "stoi_percent", "estoi_percent", "si_sdr_db")
BY_SNR = ("pesq_raw_nb", "stoi_percent", "si_sdr_db")  # differences that are shown by input SNR
NOISY = "noisy"
LITTLE_NOISE = (10, 15, 20, 25)  # dB SNR


@dataclass(frozen=True)
class Set:
    """Pairs of recordings; introduction: the lines above its table, corner: the first cell of that."""

    name: str
    noisy: Path
    clean: Path
    title: str
    introduction: str
    corner: str = ""


@dataclass(frozen=True)
class Denoiser:
    """A denoiser: weights or exports with their engine, or a folder of denoised recordings."""

    name: str
    path: Path
    engine: str | None = None

    @property
    def denoised_already(self) -> bool:
        return self.engine is None and self.path.is_dir()


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="+", type=system, metavar="NAME=PATH", help="denoisers, the main one first")
    parser.add_argument("--pairs", type=Path, required=True, metavar="EVAL", help="folder with noisy/ and clean/")
    parser.add_argument("--rooms", type=Path, metavar="EVAL_REVERB", help="the same for reverberant recordings")
    parser.add_argument("--little-noise", action="store_true", help="also EVAL at 10 to 25 dB SNR")
    parser.add_argument("--transparency", action="store_true", help="also denoise the clean recordings of EVAL")
    parser.add_argument("--work", type=Path, required=True, metavar="WORK", help="folder for recordings and scores")
    parser.add_argument("--jobs", type=int, metavar="N", help="processes (default: as many as pay)")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "docs" / "results.md", metavar="TEXT")
    parser.add_argument(
        "--also", type=Path, action="append", default=[], metavar="FILE", help="text with such scores; may be repeated"
    )
    args = parser.parse_args(argv)
    names = [NOISY, *(one.name for one in args.systems)]
    if twice := next((name for name in names if names.count(name) > 1), None):
        parser.error(f"{twice}: is the name of two systems, or of the recordings before denoising. Give each its own")
    return args


def system(text: str) -> Denoiser:
    """NAME=PATH or NAME=PATH:ENGINE."""
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"{text}: expected NAME=PATH")
    start, colon, engine = path.rpartition(":")
    return Denoiser(name, Path(start), engine) if colon and engine in EXPORT_KINDS else Denoiser(name, Path(path))


def sets_of(args: argparse.Namespace) -> list[Set]:
    """The sets that are asked for. Raises SettingsError for a folder that lacks noisy/ or clean/."""
    sets = [Set("pairs", args.pairs / "noisy", args.pairs / "clean", "Speech and noise", "Speech in noise.")]
    if args.rooms:
        introduction = (
            "The same in simulated rooms, the reverberant speech as reference: what counts is the noise, not the room."
        )
        sets.append(Set("rooms", args.rooms / "noisy", args.rooms / "clean", "In rooms", introduction, "in rooms"))
    if args.little_noise:
        introduction = "The same recordings with their noise at 10, 15, 20 or 25 dB SNR: where there is little to gain."
        noisy = args.work / "little_noise" / "noisy"
        sets.append(Set("little_noise", noisy, args.pairs / "clean", "Little noise", introduction, "little noise"))
    if args.transparency:
        introduction = "Clean speech as input: what denoising takes away where there is nothing to take away."
        clean = args.pairs / "clean"
        sets.append(Set("clean", clean, clean, "Clean speech", introduction, "clean speech"))
    if args.little_noise:
        write_little_noise(sets[0], args.work / "little_noise")
    for folder in {folder for one in sets for folder in (one.noisy, one.clean)}:
        if not folder.is_dir():
            raise SettingsError(f"{folder}: is no folder. Expected recordings in noisy/ and clean/.")
    return sets


def write_little_noise(pairs: Set, folder: Path) -> None:
    """Writes noisy/ and mixes.tsv: the recordings of the pairs with their noise at each of LITTLE_NOISE in turn."""
    lines = ["file\tsnr_db"]
    for index, pair in enumerate(plan_scores(pairs.noisy, ScoringSettings(pairs.clean))):
        clean, noisy = (read_audio(path, SAMPLE_RATE, mono=True)[0] for path in (pair.clean, pair.source))  # (L,)
        snr = LITTLE_NOISE[index % len(LITTLE_NOISE)]
        noise = noisy - clean
        noise *= np.sqrt(np.sum(clean**2) / np.sum(noise**2) / 10 ** (snr / 10))
        path = (folder / "noisy" / pair.name).with_suffix(".au")  # floats of WAV come with the time of writing
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, clean + noise, SAMPLE_RATE, subtype="FLOAT")
        lines.append(f"{path.relative_to(folder / 'noisy').as_posix()}\t{snr}")
    (folder / "mixes.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def scores_of(one: Set, denoiser: Denoiser | None, args: argparse.Namespace) -> System | None:
    """The scores of a system on a set, or of the noisy recordings; None where a folder lacks the set."""
    name = denoiser.name if denoiser else NOISY
    recordings = one.noisy
    if denoiser and denoiser.denoised_already:
        recordings = denoiser.path / one.name
        if not recordings.is_dir():
            print(f"{name}: {recordings} does not exist; left out of the set {one.name}")
            return None
    report = args.work / one.name / f"{file_of(name, one, denoiser)}.json"
    if not report.is_file():
        report.parent.mkdir(parents=True, exist_ok=True)
        if denoiser and not denoiser.denoised_already:
            recordings = report.with_suffix("")
            flags = [*([] if denoiser.engine is None else ["--engine", denoiser.engine]), "--overwrite"]
            _run(enhance.main, [one.noisy, "-o", recordings, "-m", denoiser.path, *flags], args.jobs)
        print(f"scores of {name} on {one.name}:")
        try:
            _run(score.main, [recordings, "--reference", one.clean, "--json", report, *_snrs(one)], args.jobs)
        except SettingsError:  # it may hold those of some files
            report.unlink(missing_ok=True)
            raise
    return read_scores(report, name)


def file_of(name: str, one: Set, denoiser: Denoiser | None) -> str:
    """What the scores of a system on a set are called in WORK: its name without signs, and a hash of what makes them.

    That is the engine and the contents of weights or exports and of recordings, wherever they lie. Raises SettingsError
    for a file that is not there.
    """
    paths = [one.noisy, one.clean, *map(Path, map(str, _snrs(one)[1:]))]
    if denoiser and denoiser.denoised_already:
        paths.append(denoiser.path / one.name)
    elif denoiser:
        paths += EXPORT_KINDS[denoiser.engine].found(denoiser.path) if denoiser.engine else [denoiser.path]
    made_by = json.dumps([denoiser and denoiser.engine, *map(contents, paths)])
    return f"{re.sub(r'[^A-Za-z0-9]+', '_', name).strip('_')}_{hashlib.sha256(made_by.encode()).hexdigest()[:12]}"


@functools.cache
def contents(path: Path) -> str:
    """A hash of a file, or of the names and contents of a folder's files."""
    if not path.exists():
        raise SettingsError(f"{path}: does not exist. Expected weights, exports or recordings; check the path.")
    found = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            name = file.relative_to(path).as_posix().encode(errors="surrogateescape")
            found.update(name + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()


def _snrs(one: Set) -> list[object]:
    """The flag that names a table of input SNRs beside the recordings."""
    table = one.noisy.parent / "mixes.tsv"
    return ["--manifest", table] if table.is_file() and one.noisy != one.clean else []


def _run(main, arguments: Sequence[object], jobs: int | None) -> None:
    """Runs a command; raises SettingsError where it fails, after it has said why."""
    flags = [] if jobs is None else ["--jobs", jobs]
    if main([str(argument) for argument in [*arguments, *flags]]):
        raise SettingsError(f"{arguments[0]}: not everything could be done, see above. Mend it and start again.")


def number(value: float, key: str) -> str:
    """A score as tables show it: three digits after the point for PESQ, two for percents and dB."""
    return f"{round(value, digits(key)) + 0.0:.{digits(key)}f}"


def digits(key: str) -> int:
    return 3 if key.startswith("pesq") else 2


def cell(mean: Mean, key: str, sign: str = "", strong: bool = False) -> str:
    """A mean with half the width of its interval."""
    text = f"{round(mean.mean, digits(key)) + 0.0:{sign}.{digits(key)}f}"
    width = "" if mean.half_width != mean.half_width else f" ±{number(mean.half_width, key)}"
    return f"**{text}**{width}" if strong else f"{text}{width}"


def table(header: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [header, ["---"] * len(header), *([name, *cells] for name, cells in rows.items())]
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)


def section(one: Set, systems: Sequence[System], noisy: System | None) -> tuple[str, Comparison]:
    """(the text of a set, the comparison in it), of two systems at least, of which noisy recordings may be one."""
    whole, by_snr, notes = compare_scores([*systems, *([noisy] if noisy else [])])
    keys = [key for key in COLUMNS if key in whole.means[whole.first]]
    names = dict.fromkeys([*([noisy.name] if noisy else []), *whole.means])
    means = {name: [cell(whole.means[name][key], key) for key in keys] for name in names}
    parts = [
        f"## {one.title}",
        f"{one.introduction} Means over {len(whole.files)} recordings and half the width of their 95 % intervals:",
        table([one.corner, *(METRICS[key] for key in keys)], means),
    ]
    differences = {
        (difference.other, difference.metric): (difference.mean, difference.verdict.endswith(" ahead"))
        for difference in (compare_scores(systems)[0].differences if len(systems) > 1 else ())
    }
    first, others = systems[0].name, [system.name for system in systems[1:]]
    if others:
        rows = {
            f"{other} − {first}": [
                cell(differences[other, key][0], key, "+", differences[other, key][1]) for key in keys
            ]
            for other in others
        }
        parts += [
            f"Differences to {first}, recording by recording, positive where the other is ahead. Bold: a difference "
            "was found (paired t-test, Holm's correction over all metrics and systems). Of the others these recordings "
            "cannot tell.",
            table([f"{one.corner}: difference".removeprefix(": "), *(METRICS[key] for key in keys)], rows),
        ]
    if others and by_snr:
        parts.append("The same by input SNR, with intervals and without verdicts, and what denoising does there:")
        for key in (key for key in BY_SNR if key in keys):
            rows = {
                f"{other} − {first}": [
                    cell(difference.mean, key, "+")
                    for comparison in by_snr.values()
                    for difference in comparison.differences
                    if (difference.other, difference.metric) == (other, key)
                ]
                for other in [*([noisy.name] if noisy else []), *others]
            }
            bins = [f"{label} (n = {len(comparison.files)})" for label, comparison in by_snr.items()]
            parts.append(table([METRICS[key], *bins], rows))
    parts += [f"Note: {note}." for note in notes]
    return "\n\n".join(parts), whole


def insert(text: str, tables: str) -> str:
    """A text with the tables between its marks. Raises SettingsError where it has none."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SettingsError(f"the lines {BEGIN} and {END} are missing. Put them where the tables belong.")
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}"


def replace_scores(text: str, found: Mapping[str, Comparison]) -> str:
    """A text whose tables have the new scores of the systems in them; found: by the name of the set.

    A table is one of scores if its header names PESQ. Its first cell says "in rooms" if all of it is about rooms, else
    a column may say so. "the same in 8 bits" is the row above in 8 bits. In the front matter of a model card the
    results of the weights that it names are replaced, those of pairs before those of rooms.
    """
    headings = {METRICS[key]: key for key in COLUMNS}

    def replaced(match: re.Match[str]) -> str:
        header, rule, *rows = match[0].splitlines()
        columns = [name.strip() for name in header.strip("|").split("|")]
        lines, above = [header, rule], ""
        for row in rows:
            cells = [value.strip() for value in row.strip("|").split("|")]
            above = cells[0] if cells[0] != "the same in 8 bits" else above
            name = f"{above} in 8 bits" if cells[0] == "the same in 8 bits" else cells[0]
            in_rooms = columns[0] == "in rooms"
            for index, column in enumerate(columns[1:], 1):
                in_rooms |= column.startswith("in rooms: ")
                key = headings.get(column.removeprefix("in rooms: "))
                comparison = found.get("rooms" if in_rooms else "clean" if columns[0] == "clean speech" else "pairs")
                if key and comparison and key in comparison.means.get(name, {}):
                    cells[index] = number(comparison.means[name][key].mean, key)
            lines.append(f"| {' | '.join(cells)} |".replace("|  |", "| |"))
        return "\n".join(lines) + "\n"

    text = re.sub(r"^\|[^\n]*PESQ[^\n]*\n(?:\|[^\n]*\n)+", replaced, text, flags=re.MULTILINE)
    if not text.startswith("---\n"):
        return text
    front, end, body = text[4:].partition("---\n")
    named = re.search(r"^  - name: (.*)$", front, re.MULTILINE)
    system = f"`{named[1]}`" if named else ""
    for key in COLUMNS:
        sets = [found[name] for name in ("pairs", "rooms") if name in found]
        values = [one.means.get(system, {}).get(key) for one in sets]
        parts = re.split(rf"(?<=name: {re.escape(METRICS[key])}, value: )[-\d.]+", front)
        if len(parts) == len(values) + 1 and all(values):
            new = [number(mean.mean, key) for mean in values if mean]
            front = "".join(part + value for part, value in zip(parts, [*new, ""], strict=True))
    return f"---\n{front}{end}{body}"


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    try:
        sections, found = [], {}
        for one in sets_of(args):
            noisy = None if one.noisy == one.clean else scores_of(one, None, args)
            systems = [scores for denoiser in args.systems if (scores := scores_of(one, denoiser, args))]
            if len(systems) + bool(noisy) > 1:
                text, found[one.name] = section(one, systems, noisy)
                sections.append(text)
        texts = {args.output: args.output.read_text(encoding="utf-8") if args.output.exists() else f"{BEGIN}{END}\n"}
        texts[args.output] = insert(texts[args.output], "\n\n".join(sections))
        for path in args.also:
            texts[path] = replace_scores(path.read_text(encoding="utf-8"), found)
        for path, text in texts.items():
            with complete_file(path) as part:
                part.write_text(text, encoding="utf-8")
            print(f"wrote {path}")
    except (SettingsError, OSError) as error:
        return failed("make_results.py", error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
