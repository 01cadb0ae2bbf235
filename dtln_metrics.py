"""Scores of a denoised signal: against the clean one PESQ in three conventions, STOI, ESTOI, SI-SDR and SNR, and
DNSMOS, which needs none; what spoils them; their means with intervals; tables.

All take signals (L,), full scale 1. PESQ, STOI and DNSMOS come from the packages pesq, pystoi and speechmos, which are
imported inside the functions that use them.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
import platform
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np

from dtln_audio import SAMPLE_RATE

METRICS = {  # key -> heading, in the order of tables
    "pesq_raw_nb": "PESQ raw NB",
    "pesq_lqo_nb": "PESQ LQO NB",
    "pesq_wb": "PESQ WB",
    "stoi_percent": "STOI %",
    "estoi_percent": "ESTOI %",
    "si_sdr_db": "SI-SDR dB",
    "snr_db": "SNR dB",
}
DNSMOS_METRICS = {
    "dnsmos_sig": "DNSMOS SIG",
    "dnsmos_bak": "DNSMOS BAK",
    "dnsmos_ovrl": "DNSMOS OVRL",
    "dnsmos_p808": "DNSMOS P808",
}
SCORING_PACKAGES = ("pesq", "pystoi")
DNSMOS_PACKAGES = ("speechmos", "librosa", "onnxruntime", "requests")  # speechmos does not name what it imports
STOI_SHORTEST = (256 + 29 * 128) / 10000  # seconds: STOI correlates 30 frames of 256 samples, shift 128, at 10 kHz


class NotScorable(ValueError):
    """A signal for which a metric is not defined: silent, or too short."""


# ----------------------------------------------------------------------------------------------------------------------
# The metrics
# ----------------------------------------------------------------------------------------------------------------------


def require_packages(names: Sequence[str] = SCORING_PACKAGES) -> None:
    """Raises ModuleNotFoundError with the remedy where one of the packages is missing."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        purpose = "DNSMOS" if "speechmos" in names else "scoring"
        raise ModuleNotFoundError(f"{purpose} needs {' and '.join(missing)}: pip install {' '.join(missing)}")


def si_sdr(clean: np.ndarray, estimate: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio in dB of signals (L,), their means removed.

    Le Roux et al., "SDR - half-baked or well done?", ICASSP 2019, equation 4. An estimate that is the scaled clean
    signal gives inf, silence -inf. Raises ValueError for unequal lengths, NotScorable for a constant clean signal.
    """
    _require_pair(clean, estimate)
    clean = clean.astype(np.float64) - np.mean(clean, dtype=np.float64)
    estimate = estimate.astype(np.float64) - np.mean(estimate, dtype=np.float64)
    power = float(np.dot(clean, clean))
    if power == 0.0:
        raise NotScorable("SI-SDR of a silent clean signal is not defined. Expected speech")
    target = np.dot(estimate, clean) / power * clean  # (L,)
    distortion = float(np.sum(np.square(estimate - target)))
    wanted = float(np.sum(np.square(target)))
    if wanted == 0.0:
        return -math.inf
    return 10.0 * math.log10(wanted / distortion) if distortion else math.inf


def snr(clean: np.ndarray, estimate: np.ndarray) -> float:
    """Signal-to-noise ratio in dB of signals (L,): 10 log10(sum(s^2) / sum((s - estimate)^2)), level errors included.

    That is the training loss of the DTLN paper without its sign; of a noisy signal it is the SNR of the
    mixture. Equal signals give inf. Raises ValueError for unequal lengths, NotScorable for a silent clean signal.
    """
    _require_pair(clean, estimate)
    clean, estimate = clean.astype(np.float64), estimate.astype(np.float64)
    power, noise = float(np.dot(clean, clean)), float(np.sum(np.square(clean - estimate)))
    if power == 0.0:
        raise NotScorable("SNR of a silent clean signal is not defined. Expected speech")
    return 10.0 * math.log10(power / noise) if noise else math.inf


def stoi_percent(
    clean: np.ndarray, estimate: np.ndarray, sample_rate: int = SAMPLE_RATE, extended: bool = False
) -> float:
    """Short-time objective intelligibility in percent of signals (L,) (Taal et al., IEEE TASLP 2011), by pystoi.

    extended: ESTOI (Jensen & Taal, IEEE/ACM TASLP 2016). Raises ValueError for unequal lengths, NotScorable for less
    speech than 30 of its frames, ModuleNotFoundError with the remedy where the package is missing.
    """
    _require_pair(clean, estimate)
    require_packages()
    from pystoi import stoi

    too_short = f"STOI cannot be computed. Expected at least {STOI_SHORTEST:.1f} s of speech between the pauses"
    if len(clean) < STOI_SHORTEST * sample_rate:
        raise NotScorable(too_short)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Not enough STFT frames", RuntimeWarning)  # pystoi returns 1e-5 then
        try:
            return 100.0 * float(stoi(clean, estimate, sample_rate, extended=extended))
        except RuntimeWarning as warning:
            raise NotScorable(too_short) from warning


def pesq_lqo(clean: np.ndarray, estimate: np.ndarray, band: str, sample_rate: int = SAMPLE_RATE) -> float:
    """PESQ of signals (L,) as listening quality (MOS-LQO), by the package pesq.

    band "wb": P.862.2, 1.04 to 4.64; "nb": P.862 mapped by P.862.1, 1.02 to 4.55. Raises ValueError for unequal
    lengths, NotScorable where one signal is silent or pesq finds no speech, ModuleNotFoundError with the remedy where
    the package is missing.
    """
    _require_pair(clean, estimate)
    for name, signal in (("clean signal", clean), ("estimate", estimate)):
        if not np.any(signal):
            raise NotScorable(f"PESQ of a silent {name} is not defined. Expected speech")
    require_packages()
    from pesq import PesqError, pesq

    try:
        return float(pesq(sample_rate, clean, estimate, band))
    except PesqError as error:
        text = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        raise NotScorable(
            f"PESQ cannot be computed ({text}). Expected speech of at least a quarter of a second"
        ) from error


def raw_pesq(lqo: float) -> float:
    """Raw P.862 score (-0.5 to 4.5) behind a narrow-band MOS-LQO: the inverse of `lqo_pesq`."""
    return (4.6607 - math.log((4.999 - lqo) / (lqo - 0.999))) / 1.4945


def lqo_pesq(raw: float) -> float:
    """Narrow-band MOS-LQO (1.02 to 4.55) of a raw P.862 score: equation 1 of ITU-T P.862.1."""
    return 0.999 + (4.999 - 0.999) / (1 + math.exp(-1.4945 * raw + 4.6607))


def score(clean: np.ndarray, estimate: np.ndarray, sample_rate: int = SAMPLE_RATE) -> dict[str, float]:
    """All metrics of an estimate (L,) against the clean signal (L,), by the keys of METRICS. Raises as they do."""
    narrow = pesq_lqo(clean, estimate, "nb", sample_rate)
    return {
        "pesq_raw_nb": raw_pesq(narrow),
        "pesq_lqo_nb": narrow,
        "pesq_wb": pesq_lqo(clean, estimate, "wb", sample_rate),
        "stoi_percent": stoi_percent(clean, estimate, sample_rate),
        "estoi_percent": stoi_percent(clean, estimate, sample_rate, extended=True),
        "si_sdr_db": si_sdr(clean, estimate),
        "snr_db": snr(clean, estimate),
    }


def dnsmos(signal: np.ndarray) -> dict[str, float]:
    """DNSMOS of a signal (L,) at 16 kHz, 1 to 5, by the keys of DNSMOS_METRICS, by the package speechmos.

    Opinions of listeners as a network predicts them, without a clean signal: of the speech, the background and the
    whole (P.835; Reddy et al., ICASSP 2022), and of the whole by an older network (P.808; Reddy et al., ICASSP 2021).
    Samples beyond full scale are set to it, because speechmos refuses them; signals below 9 s are repeated there.
    Raises NotScorable for a silent signal, ModuleNotFoundError with the remedy where a package is missing.
    """
    if not np.any(signal):
        raise NotScorable("DNSMOS of a silent signal is not defined. Expected speech")
    require_packages(DNSMOS_PACKAGES)
    from speechmos import dnsmos

    found = dnsmos.run(np.clip(signal, -1.0, 1.0), SAMPLE_RATE)
    return {f"dnsmos_{key}": float(found[f"{key}_mos"]) for key in ("sig", "bak", "ovrl", "p808")}


def _require_pair(clean: np.ndarray, estimate: np.ndarray) -> None:
    if clean.shape != estimate.shape or clean.ndim != 1:
        raise ValueError(
            f"clean {clean.shape} and estimate {estimate.shape} cannot be compared. Expected two signals (L,) of equal "
            "length"
        )
    if clean.size == 0:
        raise NotScorable("signals without samples cannot be scored. Expected speech")


def versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that the scores come from; None where one is not installed."""

    def version(name: str) -> str | None:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return None

    names = ("numpy", "scipy", "soxr", "pesq", "pystoi", "speechmos", "librosa", "onnxruntime")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


# ----------------------------------------------------------------------------------------------------------------------
# What spoils a score
# ----------------------------------------------------------------------------------------------------------------------

LONGEST_DELAY = SAMPLE_RATE  # samples: one second
UNRELATED = 0.1  # normalised correlation; a mixture at -15 dB still has 0.17
FULL_SCALE = 1.0 - 1.5 / 32768  # 16-bit samples of 32767 and beyond
NEAR_SILENCE = -60.0  # dB of full scale; in 16 bits about 5 bits are left, from about -75 on PESQ falls
LEVEL_DIFFERENCE = 20.0  # dB; a mixture at -15 dB is 15 dB above its speech


def find_delay(clean: np.ndarray, estimate: np.ndarray, longest: int = LONGEST_DELAY) -> tuple[int, float]:
    """Samples by which the estimate (L2,) comes after the clean signal (L1,), and their correlation there, -1 to 1.

    The cross-correlation with the largest magnitude among delays of `longest` samples either way; (0, 0.0) where a
    signal is constant.
    """
    clean, estimate = (x.astype(np.float64) - np.mean(x, dtype=np.float64) for x in (clean, estimate))
    energy = float(np.dot(clean, clean) * np.dot(estimate, estimate))
    if energy == 0.0:
        return 0, 0.0
    size = 1 << (max(len(clean), len(estimate)) + longest).bit_length()  # the circle's ends must not meet
    spectrum = np.fft.rfft(estimate, size) * np.conj(np.fft.rfft(clean, size))  # (size / 2 + 1,)
    circular = np.fft.irfft(spectrum, size) / math.sqrt(energy)  # (size,)
    correlation = np.concatenate([circular[-longest:], circular[: longest + 1]])  # (2 longest + 1,)
    peak = int(np.argmax(np.abs(correlation)))
    return peak - longest, float(correlation[peak])


def align(clean: np.ndarray, estimate: np.ndarray, delay: int) -> tuple[np.ndarray, np.ndarray]:
    """The parts (L,) of two signals (L1,), (L2,) that belong together if the estimate comes `delay` samples late."""
    clean, estimate = clean[max(0, -delay) :], estimate[max(0, delay) :]
    length = min(len(clean), len(estimate))
    return clean[:length], estimate[:length]


def findings(estimate: np.ndarray, clean: np.ndarray | None = None) -> dict[str, str]:
    """What spoils scores of an estimate (L2,), of its own or against a clean signal (L1,): kind -> words.

    Kinds: "delayed", "unrelated", "at another level", "clipped", "nearly silent".
    """
    found = {}
    level = level_db(estimate)
    full = np.abs(estimate) >= FULL_SCALE
    pairs = full[1:] & full[:-1]  # one alone is the peak of a normalised recording
    clipped = int(np.count_nonzero(np.append(pairs, False) | np.append(False, pairs)))
    if clipped:
        found["clipped"] = f"{clipped} samples at full scale, side by side"
    if level < NEAR_SILENCE:
        found["nearly silent"] = f"{level:.1f} dB of full scale: integer formats leave few steps, and metrics fall"
    if clean is None or not np.any(clean) or not np.any(estimate):
        return found
    delay, correlation = find_delay(clean, estimate)
    if abs(correlation) < UNRELATED:
        found["unrelated"] = (
            f"correlation {abs(correlation):.2f} with the clean recording at best: do they belong together?"
        )
    elif delay:
        when = "after" if delay > 0 else "before"
        found["delayed"] = f"comes {abs(delay)} samples {when} the clean recording: STOI, SI-SDR and SNR fall"
    difference = level - level_db(clean)
    if abs(difference) > LEVEL_DIFFERENCE:
        found["at another level"] = f"{difference:+.1f} dB against the clean recording: the SNR measures that"
    return found


def level_db(signal: np.ndarray) -> float:
    """Level of a signal (L,) in dB of full scale (RMS 1); silence is -inf."""
    power = float(np.mean(np.square(signal, dtype=np.float64))) if signal.size else 0.0
    return 10.0 * math.log10(power) if power else -math.inf


# ----------------------------------------------------------------------------------------------------------------------
# Means over files
# ----------------------------------------------------------------------------------------------------------------------

CONFIDENCE = 0.95
DIFFERENCE = "difference"  # enhanced - noisy, in summaries

Scores = Mapping[str, Mapping[str, float]]  # of one file: signal ("noisy", "enhanced", ...) -> metric -> score


@dataclass(frozen=True)
class Mean:
    """A mean over files and half the width of its interval; nan where there is none: one file, or infinite scores."""

    mean: float
    half_width: float
    files: int

    @property
    def low(self) -> float:
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        return self.mean + self.half_width


def mean_with_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Mean:
    """Mean of one score a file, with the interval of Student's t: mean -+ t(n - 1) * standard deviation / sqrt(n).

    Student's t rather than a bootstrap: the bins by SNR hold few files, where the percentile bootstrap is too narrow;
    and it can be checked with a pocket calculator, without a seed. It takes the files as drawn independently. Raises
    ValueError where there are no values.
    """
    values = np.asarray(values, np.float64)  # (n,)
    if values.size == 0:
        raise ValueError("no scores to average. Expected those of one file at least")
    with np.errstate(invalid="ignore"):  # inf - inf
        mean = float(np.mean(values))
    if len(values) < 2 or not math.isfinite(mean):
        return Mean(mean, math.nan, len(values))
    from scipy.special import stdtrit

    quantile = float(stdtrit(len(values) - 1, 0.5 + confidence / 2))
    return Mean(mean, quantile * float(np.std(values, ddof=1)) / math.sqrt(len(values)), len(values))


def summarise(files: Sequence[Scores], confidence: float = CONFIDENCE) -> dict[str, dict[str, Mean]]:
    """Mean of each signal and metric: signal -> metric -> Mean; with "noisy" and "enhanced" also their "difference".

    The difference is taken file by file: its interval is far narrower than those of the two say. files: signals and
    metrics as in the first of them. Raises ValueError where there are none.
    """
    if not files:
        raise ValueError("no scores to average. Expected those of one file at least")
    columns = {
        signal: {key: [file[signal][key] for file in files] for key in scores} for signal, scores in files[0].items()
    }
    if "noisy" in columns and "enhanced" in columns:
        with np.errstate(invalid="ignore"):  # inf - inf
            columns[DIFFERENCE] = {
                key: np.subtract(columns["enhanced"][key], noisy) for key, noisy in columns["noisy"].items()
            }
    return {
        signal: {key: mean_with_interval(values, confidence) for key, values in scores.items()}
        for signal, scores in columns.items()
    }


def table_lines(summary: Mapping[str, Mapping[str, Mean]]) -> list[str]:
    """A summary as text: a heading and a line for each signal, `mean \u00b1half width` in each cell; DNSMOS apart."""
    lines = []
    for metrics in (METRICS, DNSMOS_METRICS):
        if any(key in scores for scores in summary.values() for key in metrics):
            lines.append(f"{'':12}" + "".join(f" {heading:>14}" for heading in metrics.values()))
            lines += [
                f"{signal:12}" + "".join(f" {_cell(scores[key]):>14}" for key in metrics)
                for signal, scores in summary.items()
            ]
    return lines


def _cell(mean: Mean) -> str:
    width = "" if math.isnan(mean.half_width) else f" \u00b1{mean.half_width:.3f}"
    return f"{round(mean.mean, 3) + 0.0:.3f}{width}"  # + 0.0 makes 0.000 of -0.000


# ----------------------------------------------------------------------------------------------------------------------
# Input SNR
# ----------------------------------------------------------------------------------------------------------------------

BIN_WIDTH = 5  # dB


def snr_from_name(name: str) -> float | None:
    """The SNR in dB that a name of the DNS-Challenge tells (`..._snr-5_tl-20_fileid_3.wav`: -5), or None."""
    found = re.search(r"(?<![A-Za-z])snr_?(-?\d+(?:\.\d+)?)", PurePath(name).stem, re.IGNORECASE)
    return float(found[1]) if found else None


def read_manifest(path: str | Path, files: Sequence[Sequence[str]]) -> list[float]:
    """The SNR in dB of each file from a table with a line of headings, split by commas, semicolons or tabs.

    Columns: `noisy`, `file` or `name`, and `snr_db` or `snr`. files: for each the names (paths below their folders)
    that it may stand under; a row fits if its path or, where that is unique, its name is equal, extensions aside.
    Raises ValueError if the table cannot be read or used, or lacks a file.
    """
    import csv

    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ValueError(f"{path}: cannot be read as a manifest ({reason}). Expected a CSV table.") from error
    delimiter = max(",;\t", key=lines[0].count) if lines else ","
    table = csv.DictReader(lines, delimiter=delimiter)
    headings = table.fieldnames or []
    name_column = next((column for column in ("noisy", "file", "name") if column in headings), None)
    snr_column = next((column for column in ("snr_db", "snr") if column in headings), None)
    if name_column is None or snr_column is None:
        raise ValueError(
            f"{path}: has the columns {', '.join(headings) or '(none)'}. Expected noisy, file or name, "
            "and snr_db or snr."
        )
    rows: dict[str, set[float]] = {}
    for row in table:
        try:
            value = float(row[snr_column])
        except (TypeError, ValueError):
            value = math.nan
        if math.isnan(value):
            raise ValueError(
                f"{path}: line {table.line_num} has {row[snr_column]!r} as {snr_column}. Expected a number in dB."
            )
        name = PurePath((row[name_column] or "").replace("\\", "/"))
        for key in {name.with_suffix("").as_posix() if name.name else "", name.stem}:
            rows.setdefault(key, set()).add(value)
    snrs = []
    for names in files:
        keys = [PurePath(name).with_suffix("").as_posix() for name in names]
        keys += [PurePath(name).stem for name in names]
        found = next((rows[key] for key in keys if key in rows), None)
        if found is None or len(found) > 1:
            what = "does not name" if found is None else f"gives several values of {snr_column} for"
            raise ValueError(f"{path}: {what} {names[0]}. Expected one row for each file; add or mend it.")
        snrs += found
    return snrs


def bins_by_snr(snrs: Sequence[float], width: int = BIN_WIDTH) -> dict[str, list[int]]:
    """Indices of files by input SNR: "-5 to 0 dB" -> those from -5 on and below 0, in ascending order; inf is last."""
    starts: dict[float, list[int]] = {}
    for index, value in enumerate(snrs):
        starts.setdefault(math.floor(value / width) * width if math.isfinite(value) else value, []).append(index)
    return {
        f"{start} to {start + width} dB" if math.isfinite(start) else f"{start} dB": starts[start]
        for start in sorted(starts)
    }
