"""Scores of recordings: what belongs together, the work on each, means, CSV and JSON."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from dtln.audio.folders import find_recordings, of_shard, pair_files
from dtln.audio.reading import read_audio
from dtln.cluster import Cluster, common_folder
from dtln.errors import AudioFileError, NotScorable, count, describe_error
from dtln.evaluation.denoising import print_files
from dtln.facts import SAMPLE_RATE
from dtln.files import complete_file
from dtln.pool import run_all
from dtln.scoring.findings import UNRELATED, align, find_delay, findings
from dtln.scoring.input_snr import bins_by_snr, read_manifest, snr_from_name
from dtln.scoring.means import CONFIDENCE, Scores, summarise, table_lines
from dtln.scoring.metrics import dnsmos, require_metrics, score, versions
from dtln.shards import Shard

__all__ = [
    "Pair",
    "ScoredFile",
    "ScoringSettings",
    "plan_scores",
    "score_file",
    "score_files",
    "scores_report",
    "write_csv",
    "write_json",
]

NAMES = "backslashreplace"  # how names that are no text are written: in JSON that is the escape of the same character
FILES_WORTH_A_PROCESS = 8  # in fewer, the start of a process does not pay


@dataclass(frozen=True)
class ScoringSettings:
    """How recordings are scored; reference: a recording or a folder of clean ones, manifest: a table of input SNRs.

    pesq: whether PESQ is among the scores against clean recordings. salvage: as in `read_audio`.
    """

    reference: Path | None = None
    dnsmos: bool = False
    align: bool = False
    manifest: Path | None = None
    pesq: bool = True
    salvage: bool = False


@dataclass(frozen=True)
class Pair:
    """One recording to be scored, maybe beside the noisy one it came from, maybe against a clean one."""

    name: str  # below its folder
    signals: Mapping[str, Path]  # "noisy" and "enhanced", or "input" alone
    clean: Path | None
    known_snr: float | None = None  # of the noisy recording, dB, where a manifest or the names tell it

    @property
    def source(self) -> Path:
        """The recording that the pair is about."""
        return list(self.signals.values())[-1]


@dataclass(frozen=True)
class ScoredFile:
    """What became of a pair."""

    pair: Pair
    failure: str | None = None  # the reason, which names the file
    excluded: str | None = None  # why no metric is defined for it
    seconds: float = 0.0  # of audio
    scores: Scores = field(default_factory=dict)  # {} where there are none
    findings: tuple[tuple[str, str], ...] = ()  # (kind, words that name the file) of what spoils the scores


# ----------------------------------------------------------------------------------------------------------------------
# Before work starts: what belongs together, and everything that can be refused
# ----------------------------------------------------------------------------------------------------------------------


def plan_scores(
    recordings: Path,
    settings: ScoringSettings,
    noisy: Path | None = None,
    denoised: Mapping[Path, Path] | None = None,
    shard: Shard | None = None,
) -> list[Pair]:
    """What is scored: a recording or those of a folder, or of a shard of it.

    noisy: what they were denoised from, a recording or a folder likewise. denoised: where each of them will lie once it
    is denoised; then both are scored. shard: of all recordings, whose partners and input SNRs must be there. Raises for
    everything that forbids to start: AudioFileError for recordings without partners, SettingsError for a manifest that
    cannot be used, MissingPackageError.
    """
    require_metrics(settings.reference is not None, settings.dnsmos, settings.pesq)
    folder, sources = find_recordings(recordings) if denoised is None else (_folder(recordings), list(denoised))
    clean = _partners(recordings, sources, settings.reference) if settings.reference else {}
    origins = _partners(recordings, sources, noisy) if noisy else {}
    pairs, names = [], []
    for source in sources:
        signals = {"input": source}
        if denoised is not None:
            signals = {"noisy": source, "enhanced": denoised[source]}
        elif noisy:
            signals = {"noisy": origins[source], "enhanced": source}
        name = source.relative_to(folder).as_posix()
        names.append([name, *([origins[source].relative_to(_folder(noisy)).as_posix()] if noisy else [])])
        pairs.append(Pair(name, signals, clean.get(source)))
    if settings.manifest:
        snrs: list[float | None] = list(read_manifest(settings.manifest, names))
    else:
        snrs = [next((snr for snr in map(snr_from_name, known) if snr is not None), None) for known in names]
    if None not in snrs:  # measured SNRs are others than those of names: they are not mixed
        pairs = [replace(pair, known_snr=snr) for pair, snr in zip(pairs, snrs, strict=True)]
    mine = set(of_shard(shard, folder, sources))
    return [pair for source, pair in zip(sources, pairs, strict=True) if source in mine]


def _folder(path: Path) -> Path:
    """The folder that the names of recordings are below."""
    return path.parent if path.is_file() else path


def _partners(recordings: Path, sources: Sequence[Path], others: Path) -> dict[Path, Path]:
    """The other recording that belongs to each source. Raises AudioFileError if one has none or several."""
    if others.is_file():
        if not recordings.is_file():
            raise AudioFileError(f"{others}: is a file, {recordings} a folder. Expected two files or two folders.")
        return dict.fromkeys(sources, others)
    folder, found = _folder(recordings), find_recordings(others)[1]
    names = [source.relative_to(folder).as_posix() for source in sources]
    pairs = pair_files(names, [path.relative_to(others).as_posix() for path in found], folder, others)
    return {source: others / partner for source, (_, partner) in zip(sources, pairs, strict=True)}


# ----------------------------------------------------------------------------------------------------------------------
# The work
# ----------------------------------------------------------------------------------------------------------------------


def score_files(
    pairs: Sequence[Pair], settings: ScoringSettings, workers: int | None = None, ray: str | None = None
) -> list[ScoredFile]:
    """Scores all pairs, prints the means, and returns what became of each.

    workers: processes; None: as many as pay, at most one per core. ray: the address of a cluster that does the work, as
    `dtln.cluster.Cluster` takes it. Raises with `ray` as `Cluster` and its `as_done`.
    """
    work = partial(score_file, settings)
    if ray and pairs:
        kinds = [[pair.signals[name] for pair in pairs] for name in pairs[0].signals]
        kinds.append([pair.clean for pair in pairs if pair.clean])
        with Cluster(ray, workers, [common_folder(paths) for paths in kinds if paths]) as cluster:
            files = cluster.run_all(work, pairs, "scoring", _lost)
    else:
        workers = workers or min(os.cpu_count() or 1, len(pairs) // FILES_WORTH_A_PROCESS)
        files = run_all(work, pairs, workers, "scoring", _lost, processes=True)
    _report(files)
    return files


def _lost(pair: Pair, reason: str) -> ScoredFile:
    """What became of a pair whose process was killed."""
    return ScoredFile(pair, f"{pair.source}: {reason}")


def score_file(settings: ScoringSettings, pair: Pair) -> ScoredFile:
    """Scores the recordings of a pair, mono at 16 kHz. Whatever goes wrong with it is its `failure`."""
    found: list[tuple[str, str]] = []
    scores: dict[str, dict[str, float]] = {}
    path = pair.clean or pair.source
    try:
        clean = read_audio(pair.clean, SAMPLE_RATE, mono=True, salvage=settings.salvage)[0] if pair.clean else None
        for name, path in pair.signals.items():
            signal, _ = read_audio(path, SAMPLE_RATE, mono=True, salvage=settings.salvage)
            target, estimate = clean, signal
            if clean is not None and settings.align:
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
            scores[name] = {} if target is None else score(target, estimate, pesq=settings.pesq)
            if settings.dnsmos:
                scores[name] |= dnsmos(signal)
    except AudioFileError as error:
        return ScoredFile(pair, str(error))
    except NotScorable as error:
        against = f" against {pair.clean}" if pair.clean else ""
        return ScoredFile(pair, excluded=f"{path}{against}: {error}", findings=tuple(found))
    except Exception as error:  # the other files are still to be done
        return ScoredFile(pair, f"{path}: cannot be scored: {describe_error(error)}")
    return ScoredFile(pair, seconds=len(signal) / SAMPLE_RATE, scores=scores, findings=tuple(found))


# ----------------------------------------------------------------------------------------------------------------------
# What is printed and written
# ----------------------------------------------------------------------------------------------------------------------


def _scored(files: Sequence[ScoredFile]) -> tuple[list[ScoredFile], list[float]]:
    """The files that have scores, and their input SNRs in dB: told, else measured; [] where not all have one."""
    scored = [file for file in files if file.scores]
    for snrs in (
        [file.pair.known_snr for file in scored],
        [file.scores.get("noisy", {}).get("snr_db") for file in scored],
    ):
        present = [snr for snr in snrs if snr is not None]
        if len(present) == len(scored):
            return scored, present
    return scored, []


def _report(files: Sequence[ScoredFile]) -> None:
    """Prints the means with their intervals, those by input SNR, what was left out, and what spoils scores."""
    scored, snrs = _scored(files)
    if not scored:
        print("no file could be scored")
    else:
        intervals = ", with 95 % intervals" if len(scored) > 1 else ""
        print(f"means over {count(len(scored), 'file')}{intervals}:")
        print("\n".join(table_lines(summarise([file.scores for file in scored]))))
    bins = bins_by_snr(snrs)
    for label, indices in bins.items() if len(bins) > 1 else ():
        print(f"input SNR {label}, {count(len(indices), 'file')}:")
        print("\n".join(table_lines(summarise([scored[index].scores for index in indices]))))
    print_files("left out of the means", [file.excluded for file in files if file.excluded])
    lines: dict[str, list[str]] = {}
    for kind, words in (finding for file in files for finding in file.findings):
        lines.setdefault(kind, []).append(words)
    for kind in sorted(lines):
        print_files(kind, lines[kind])


def write_csv(path: Path, files: Sequence[ScoredFile]) -> None:
    """Writes a table with one row a file: its name, its input SNR where known, and each metric of each signal.

    Cells of infinite scores are empty. Bytes of names that are no text become \\udc80 to \\udcff.
    """
    import csv

    scored, snrs = _scored(files)
    columns = [(signal, key) for signal, scores in scored[0].scores.items() for key in scores] if scored else []
    with complete_file(path) as part, open(part, "w", newline="", encoding="utf-8", errors=NAMES) as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", *(["input_snr_db"] if snrs else []), *(f"{signal}_{key}" for signal, key in columns)])
        for index, file in enumerate(scored):
            values = [*snrs[index : index + 1], *(file.scores[signal][key] for signal, key in columns)]
            writer.writerow([file.pair.name, *(f"{value:.6g}" if math.isfinite(value) else "" for value in values)])
    print(f"scores of {count(len(scored), 'file')} written to {path}")


def json_values(value: Any) -> Any:
    """The same with None for what is not finite, which JSON does not know."""
    if isinstance(value, Mapping):
        return {key: json_values(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_values(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def save_json(path: Path, report: Mapping[str, Any]) -> None:
    """Writes a report of `json_values`, names that are no text as escapes. Raises OSError."""
    import json

    with complete_file(path) as part:
        text = json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        part.write_text(text, encoding="utf-8", errors=NAMES)


def scores_report(
    files: Sequence[ScoredFile],
    settings: Mapping[str, object],
    denoised: Sequence[Mapping[str, object]] | None = None,
) -> dict[str, Any]:
    """Settings, versions, means with intervals, also by input SNR, and each file; None is what is not finite.

    settings: of the command line, by the names of the flags. denoised: what became of each recording that was to be
    denoised, see `dtln.evaluation.denoising.account`.
    """
    scored, snrs = _scored(files)

    def means(some: Sequence[ScoredFile]) -> dict[str, object]:
        return {
            signal: {key: {"mean": mean.mean, "low": mean.low, "high": mean.high} for key, mean in of_signal.items()}
            for signal, of_signal in summarise([file.scores for file in some]).items()
        }

    origin_of_snrs = "measured" if snrs else None
    if scored and scored[0].pair.known_snr is not None:
        origin_of_snrs = "manifest" if settings.get("manifest") else "names"
    report = {
        "settings": {
            **{name: str(value) if isinstance(value, (Path, Shard)) else value for name, value in settings.items()},
            "sample_rate": SAMPLE_RATE,
            "confidence": CONFIDENCE,
            "interval": "Student's t over files",
            "difference": "enhanced - noisy, file by file",
            "input_snr": origin_of_snrs,
        },
        "versions": versions(),
        "count": {
            "scored": len(scored),
            "left_out": sum(bool(file.excluded) for file in files),
            "failed": sum(bool(file.failure) for file in files),
        },
        "means": means(scored) if scored else {},
        "by_input_snr": {
            label: {"count": len(indices), "means": means([scored[index] for index in indices])}
            for label, indices in bins_by_snr(snrs).items()
        },
        "files": [
            {
                "file": file.pair.name,
                "clean": str(file.pair.clean) if file.pair.clean else None,
                "signals": {signal: str(path) for signal, path in file.pair.signals.items()},
                "seconds": file.seconds,
                "input_snr_db": snrs[index] if snrs else None,
                "scores": file.scores,
                "findings": [words for _, words in file.findings],
            }
            for index, file in enumerate(scored)
        ],
        **({} if denoised is None else {"denoised": list(denoised)}),
        "left_out": [file.excluded for file in files if file.excluded],
        "failed": [file.failure for file in files if file.failure],
    }
    return json_values(report)


def write_json(
    path: Path,
    files: Sequence[ScoredFile],
    settings: Mapping[str, object],
    denoised: Sequence[Mapping[str, object]] | None = None,
) -> None:
    """Writes what `scores_report` gives for the same arguments."""
    save_json(path, scores_report(files, settings, denoised))
    print(f"{'report' if denoised is not None else 'scores, means and settings'} written to {path}")
