"""Scoring of a folder: pairs, the work on each, means, CSV and JSON."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from dtln.evaluation.outcomes import Job, Outcome, Pair, count, print_files
from dtln.pool import run_all


def plan_scores(jobs: Sequence[Job], args: argparse.Namespace) -> list[Pair]:
    """What is scored: the jobs' recordings, or those of the input folder. Raises for everything that forbids to start.

    AudioFileError for recordings without partners, ValueError for a manifest that cannot be used, ModuleNotFoundError
    with the remedy for a missing package.
    """
    from dtln.audio.folders import find_audio_files
    from dtln.errors import AudioFileError
    from dtln.scoring.input_snr import read_manifest, snr_from_name
    from dtln.scoring.metrics import DNSMOS_PACKAGES, SCORING_PACKAGES, require_packages

    require_packages(SCORING_PACKAGES if args.reference else ())
    require_packages(DNSMOS_PACKAGES if args.dnsmos else ())
    for report in (args.csv, args.json):
        if report and not report.absolute().parent.is_dir():
            raise AudioFileError(f"{report}: its folder does not exist. Make it first.")
    sources = find_audio_files(args.input) if args.score_only else [job.source for job in jobs]
    clean = partners(sources, args.input, args.reference) if args.reference else {}
    noisy = partners(sources, args.input, args.noisy) if args.noisy else {}
    targets = {job.source: job.target for job in jobs}
    pairs, names = [], []
    for source in sources:
        signals: tuple[tuple[str, Path], ...] = (("input", source),)
        if source in targets:
            signals = (("noisy", source), ("enhanced", targets[source]))
        elif source in noisy:
            signals = (("noisy", noisy[source]), ("enhanced", source))
        name = source.relative_to(args.input).as_posix()
        names.append([name, *([noisy[source].relative_to(args.noisy).as_posix()] if source in noisy else [])])
        pairs.append(Pair(name, signals, clean.get(source)))
    if args.manifest:
        snrs: list[float | None] = list(read_manifest(args.manifest, names))
    else:
        snrs = [next((snr for snr in map(snr_from_name, known) if snr is not None), None) for known in names]
    if None in snrs:
        return pairs  # measured SNRs are others than those of names: they are not mixed
    return [replace(pair, known_snr=snr) for pair, snr in zip(pairs, snrs, strict=True)]


def partners(sources: Sequence[Path], folder: Path, other: Path) -> dict[Path, Path]:
    """The recording in another folder that belongs to each. Raises AudioFileError if one has none or several."""
    from dtln.audio.folders import find_audio_files, pair_files

    names = [source.relative_to(folder).as_posix() for source in sources]
    others = [file.relative_to(other).as_posix() for file in find_audio_files(other)]
    pairs = pair_files(names, others, folder, other)
    return {source: other / partner for source, (_, partner) in zip(sources, pairs, strict=True)}


def score_file(with_dnsmos: bool, aligned: bool, pair: Pair) -> Outcome:
    """Scores the recordings of a pair, mono at 16 kHz; whatever goes wrong with it is its outcome."""
    from dtln.audio.reading import read_audio
    from dtln.errors import AudioFileError, NotScorable
    from dtln.facts import SAMPLE_RATE
    from dtln.scoring.findings import UNRELATED, align, find_delay, findings
    from dtln.scoring.metrics import dnsmos, score

    found: list[tuple[str, str]] = []
    scores: dict[str, dict[str, float]] = {}
    path = pair.clean or pair.source
    try:
        clean = read_audio(pair.clean, sample_rate=SAMPLE_RATE, mono=True)[0] if pair.clean else None
        for name, path in pair.signals:
            signal, _ = read_audio(path, sample_rate=SAMPLE_RATE, mono=True)
            target, estimate = clean, signal
            if clean is not None and aligned:
                delay, correlation = find_delay(clean, signal)
                target, estimate = align(clean, signal, delay if abs(correlation) >= UNRELATED else 0)
                if not len(clean) == len(signal) == len(estimate):
                    words = f"{delay:+d} samples of delay removed, {len(estimate)} samples of both recordings scored"
                    found.append(("aligned", f"{path}: {words}"))
            elif clean is not None and len(clean) != len(signal):
                raise AudioFileError(
                    f"{pair.clean}: has {len(clean)} samples at 16 kHz, {path} {len(signal)}. Expected equal lengths; "
                    "make the pair again, or say --align to cut both to what they share."
                )
            found += [(kind, f"{path}: {words}") for kind, words in findings(estimate, target).items()]
            scores[name] = {} if target is None else score(target, estimate)
            if with_dnsmos:
                scores[name] |= dnsmos(signal)
    except AudioFileError as error:
        return Outcome(pair, str(error))
    except NotScorable as error:
        against = f" against {pair.clean}" if pair.clean else ""
        return Outcome(pair, excluded=f"{path}{against}: {error}", findings=tuple(found))
    except Exception as error:  # the other files are still to be done
        return Outcome(pair, f"{path}: cannot be scored: {type(error).__name__}: {error}")
    return Outcome(pair, seconds=len(signal) / SAMPLE_RATE, scores=scores, findings=tuple(found))


def score_files(pairs: Sequence[Pair], args: argparse.Namespace) -> list[Outcome]:
    """Scores all pairs, prints the means and writes the scores of each file if a name for them was given."""
    workers = args.jobs or min(os.cpu_count() or 1, len(pairs) // 8)  # a process is worth its start for 8 files
    outcomes = run_all(
        partial(score_file, args.dnsmos, args.align),
        pairs,
        workers,
        "scoring",
        lambda pair, reason: Outcome(pair, f"{pair.source}: {reason}"),
        processes=True,
    )
    scored = [outcome for outcome in outcomes if outcome.scores]
    snrs = input_snrs(scored)
    report_scores(outcomes, scored, snrs)
    if args.csv:
        write_csv(args.csv, scored, snrs)
        print(f"scores of {count(len(scored), 'file')} written to {args.csv}")
    if args.json:
        write_json(args.json, outcomes, scored, snrs, args)
        print(f"scores, means and settings written to {args.json}")
    return outcomes


def input_snrs(scored: Sequence[Outcome]) -> list[float]:
    """The SNR in dB of each noisy recording, as told or else as measured; [] where there is neither for all."""
    known = [outcome.job.known_snr for outcome in scored]
    if None not in known:
        return known
    measured = [outcome.scores.get("noisy", {}).get("snr_db") for outcome in scored]
    return [] if None in measured else measured


def report_scores(outcomes: Sequence[Outcome], scored: Sequence[Outcome], snrs: Sequence[float]) -> None:
    """Prints the means with their intervals, those by input SNR, what was left out, and what spoils scores."""
    from dtln.scoring.input_snr import bins_by_snr
    from dtln.scoring.means import summarise, table_lines

    if not scored:
        print("no file could be scored")
    else:
        intervals = ", with 95 % intervals" if len(scored) > 1 else ""
        print(f"means over {count(len(scored), 'file')}{intervals}:")
        print("\n".join(table_lines(summarise([outcome.scores for outcome in scored]))))
    bins = bins_by_snr(snrs)
    for label, indices in bins.items() if len(bins) > 1 else ():
        print(f"input SNR {label}, {count(len(indices), 'file')}:")
        print("\n".join(table_lines(summarise([scored[index].scores for index in indices]))))
    print_files("left out of the means", [outcome.excluded for outcome in outcomes if outcome.excluded])
    lines: dict[str, list[str]] = {}
    for kind, words in (finding for outcome in outcomes for finding in outcome.findings):
        lines.setdefault(kind, []).append(words)
    for kind in sorted(lines):
        print_files(kind, lines[kind])


def write_csv(path: Path, scored: Sequence[Outcome], snrs: Sequence[float]) -> None:
    """Writes a table with one row a file: its name, its input SNR where known, and each metric of each signal."""
    import csv

    from dtln.files import complete_file

    columns = [(signal, key) for signal, scores in scored[0].scores.items() for key in scores] if scored else []
    with complete_file(path) as part, open(part, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", *(["input_snr_db"] if snrs else []), *(f"{signal}_{key}" for signal, key in columns)])
        for index, outcome in enumerate(scored):
            values = [*snrs[index : index + 1], *(outcome.scores[signal][key] for signal, key in columns)]
            writer.writerow([outcome.job.name, *(f"{value:.6g}" for value in values)])


def write_json(
    path: Path,
    outcomes: Sequence[Outcome],
    scored: Sequence[Outcome],
    snrs: Sequence[float],
    args: argparse.Namespace,
) -> None:
    """Writes settings, versions, means with intervals, also by input SNR, and each file; null is what is not finite."""
    import json
    import math

    from dtln.facts import SAMPLE_RATE
    from dtln.files import complete_file
    from dtln.scoring.input_snr import bins_by_snr
    from dtln.scoring.means import CONFIDENCE, summarise
    from dtln.scoring.metrics import versions

    def plain(value: object) -> object:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return None if isinstance(value, float) and not math.isfinite(value) else value

    def means(files: Sequence[Outcome]) -> dict[str, object]:
        return {
            signal: {
                key: plain({"mean": mean.mean, "low": mean.low, "high": mean.high}) for key, mean in of_signal.items()
            }
            for signal, of_signal in summarise([outcome.scores for outcome in files]).items()
        }

    settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()}
    for unused in ("output", "weights") if args.score_only else ():
        del settings[unused]
    told = scored and scored[0].job.known_snr is not None
    report = {
        "settings": {
            **settings, "sample_rate": SAMPLE_RATE, "confidence": CONFIDENCE, "interval": "Student's t over files",
            "difference": "enhanced - noisy, file by file",
            "input_snr": ("manifest" if args.manifest else "names") if told else "measured" if snrs else None,
        },
        "versions": versions(),
        "count": {
            "scored": len(scored),
            "left_out": sum(bool(outcome.excluded) for outcome in outcomes),
            "failed": sum(bool(outcome.failure) for outcome in outcomes),
        },
        "means": means(scored) if scored else {},
        "by_input_snr": {
            label: {"count": len(indices), "means": means([scored[index] for index in indices])}
            for label, indices in bins_by_snr(snrs).items()
        },
        "files": [
            {
                "file": outcome.job.name,
                "clean": str(outcome.job.clean) if outcome.job.clean else None,
                "input_snr_db": plain(snrs[index]) if snrs else None,
                "scores": plain(outcome.scores),
                "findings": [words for _, words in outcome.findings],
            }
            for index, outcome in enumerate(scored)
        ],
        "left_out": [outcome.excluded for outcome in outcomes if outcome.excluded],
        "failed": [outcome.failure for outcome in outcomes if outcome.failure],
    }  # fmt: skip
    with complete_file(path) as part:
        part.write_text(json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
