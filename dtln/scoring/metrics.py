"""Scores of a signal (L,): PESQ, STOI, ESTOI, SI-SDR and SNR against the clean one, and DNSMOS without it."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator
from functools import partial

import numpy as np

from dtln.errors import NotScorable, require
from dtln.facts import SAMPLE_RATE
from dtln.scoring.utterances import require_room

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
STOI_SHORTEST = (256 + 29 * 128) / 10000  # seconds: STOI correlates 30 frames of 256 samples, shift 128, at 10 kHz
PIECE = 1 << 20  # samples
STOI_PART = 300  # seconds: pystoi takes 200 MB of memory for a minute


def require_metrics(reference: bool = True, dnsmos: bool = False, pesq: bool = True) -> None:
    """Imports what metrics against a clean reference need, and DNSMOS. Raises MissingPackageError with the pip line.

    pesq: whether PESQ is among the metrics against a reference.
    """
    for package in (*(("pesq",) if pesq else ()), "pystoi", "scipy") if reference else ():
        require(package, "scoring")
    # speechmos does not name what it imports
    for package in ("librosa", "onnxruntime", "requests", "scipy", "speechmos") if dnsmos else ():
        require(package, "DNSMOS")


def si_sdr(clean: np.ndarray, estimate: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio in dB of signals (L,), their means removed.

    Le Roux et al., "SDR - half-baked or well done?", ICASSP 2019, equation 4. An estimate that is the scaled clean
    signal gives inf, silence -inf. Raises ValueError for unequal lengths, NotScorable for a constant clean signal.
    """
    _require_pair(clean, estimate)
    means = [float(np.mean(signal, dtype=np.float64)) for signal in (clean, estimate)]
    pieces = partial(_pieces, clean, estimate, *means)
    power = sum(float(np.dot(c, c)) for c, _ in pieces())
    if power == 0.0:
        raise NotScorable("SI-SDR of a silent clean signal is not defined. Expected speech")
    scale = sum(float(np.dot(e, c)) for c, e in pieces()) / power
    distortion = sum(float(np.sum(np.square(e - scale * c))) for c, e in pieces())
    wanted = scale**2 * power
    if wanted == 0.0:
        return -math.inf
    return 10.0 * math.log10(wanted / distortion) if distortion else math.inf


def _pieces(
    clean: np.ndarray, estimate: np.ndarray, clean_mean: float = 0.0, estimate_mean: float = 0.0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Two signals (L,) without their means, piece by piece in float64: whole ones of hours would take gigabytes."""
    for start in range(0, len(clean), PIECE):
        part = slice(start, start + PIECE)
        yield clean[part].astype(np.float64) - clean_mean, estimate[part].astype(np.float64) - estimate_mean


def snr(clean: np.ndarray, estimate: np.ndarray) -> float:
    """Signal-to-noise ratio in dB of signals (L,): 10 log10(sum(s^2) / sum((s - estimate)^2)), level errors included.

    That is the training loss of the DTLN paper without its sign; of a noisy signal it is the SNR of the
    mixture. Equal signals give inf. Raises ValueError for unequal lengths, NotScorable for a silent clean signal.
    """
    _require_pair(clean, estimate)
    power = sum(float(np.dot(c, c)) for c, _ in _pieces(clean, estimate))
    noise = sum(float(np.sum(np.square(c - e))) for c, e in _pieces(clean, estimate))
    if power == 0.0:
        raise NotScorable("SNR of a silent clean signal is not defined. Expected speech")
    return 10.0 * math.log10(power / noise) if noise else math.inf


def stoi_percent(
    clean: np.ndarray, estimate: np.ndarray, sample_rate: int = SAMPLE_RATE, extended: bool = False
) -> float:
    """Short-time objective intelligibility in percent of signals (L,) (Taal et al., IEEE TASLP 2011), by pystoi.

    extended: ESTOI (Jensen & Taal, IEEE/ACM TASLP 2016). Of more than 5 minutes it is the mean over equal parts of at
    most 5 minutes that hold speech. Raises ValueError for unequal lengths, NotScorable for less speech than 30 of its
    frames, MissingPackageError.
    """
    _require_pair(clean, estimate)
    stoi = require("pystoi", "STOI").stoi
    too_short = f"STOI cannot be computed. Expected at least {STOI_SHORTEST:.1f} s of speech between the pauses"
    if len(clean) < STOI_SHORTEST * sample_rate:
        raise NotScorable(too_short)
    parts = math.ceil(len(clean) / (STOI_PART * sample_rate))
    quiet = 1e-4 * _loudest(clean, sample_rate)  # STOI leaves out frames that are 40 dB below the loudest
    values = []
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Not enough STFT frames", RuntimeWarning)  # pystoi returns 1e-5 then
        for target, signal in zip(np.array_split(clean, parts), np.array_split(estimate, parts), strict=True):
            if _loudest(target, sample_rate) < quiet:
                continue
            with contextlib.suppress(RuntimeWarning):
                values.append(100.0 * float(stoi(target, signal, sample_rate, extended=extended)))
    if not values:
        raise NotScorable(too_short)
    return float(np.mean(values))


def _loudest(signal: np.ndarray, sample_rate: int) -> float:
    """The power of the loudest stretch of 25.6 ms, a frame of STOI, in a signal (L,)."""
    length = round(0.0256 * sample_rate)
    frames = signal[: len(signal) // length * length].reshape(-1, length)
    return float(np.max(np.mean(np.square(frames, dtype=np.float64), axis=1)))


def pesq_lqo(clean: np.ndarray, estimate: np.ndarray, band: str, sample_rate: int = SAMPLE_RATE) -> float:
    """PESQ of signals (L,) as listening quality (MOS-LQO), by the package pesq.

    band "wb": P.862.2, 1.04 to 4.64; "nb": P.862 mapped by P.862.1, 1.02 to 4.55. Raises ValueError for unequal
    lengths, NotScorable where one signal is silent, where pesq finds no speech or has no room for so much of it,
    MissingPackageError.
    """
    _require_pair(clean, estimate)
    for name, signal in (("clean signal", clean), ("estimate", estimate)):
        if not np.any(signal):
            raise NotScorable(f"PESQ of a silent {name} is not defined. Expected speech")
    pesq = require("pesq", "PESQ")
    require_room(clean, band, sample_rate)
    try:
        return float(pesq.pesq(sample_rate, clean, estimate, band))
    except pesq.PesqError as error:
        text = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        raise NotScorable(
            f"PESQ cannot be computed ({text}). Expected speech of at least a quarter of a second"
        ) from error
    except ValueError as error:  # it stumbles over its own NaN: the fainter signal vanishes beside the louder one
        raise NotScorable("PESQ cannot be computed: the levels are too far apart. Expected similar ones") from error


def raw_pesq(lqo: float) -> float:
    """Raw P.862 score (-0.5 to 4.5) behind a narrow-band MOS-LQO: the inverse of `lqo_pesq`."""
    return (4.6607 - math.log((4.999 - lqo) / (lqo - 0.999))) / 1.4945


def lqo_pesq(raw: float) -> float:
    """Narrow-band MOS-LQO (1.02 to 4.55) of a raw P.862 score: equation 1 of ITU-T P.862.1."""
    return 0.999 + (4.999 - 0.999) / (1 + math.exp(-1.4945 * raw + 4.6607))


def score(
    clean: np.ndarray, estimate: np.ndarray, sample_rate: int = SAMPLE_RATE, pesq: bool = True
) -> dict[str, float]:
    """All metrics of an estimate (L,) against the clean signal (L,), by the keys of METRICS. Raises as they do.

    pesq: False leaves PESQ out.
    """
    scores = {}
    if pesq:
        narrow = pesq_lqo(clean, estimate, "nb", sample_rate)
        wide = pesq_lqo(clean, estimate, "wb", sample_rate)
        scores = {"pesq_raw_nb": raw_pesq(narrow), "pesq_lqo_nb": narrow, "pesq_wb": wide}
    return scores | {
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
    Raises NotScorable for a silent signal, MissingPackageError.
    """
    if not np.any(signal):
        raise NotScorable("DNSMOS of a silent signal is not defined. Expected speech")
    require_metrics(reference=False, dnsmos=True)
    found = require("speechmos.dnsmos", "DNSMOS").run(np.clip(signal, -1.0, 1.0), SAMPLE_RATE)
    return {f"dnsmos_{key}": float(found[f"{key}_mos"]) for key in ("sig", "bak", "ovrl", "p808")}


def _require_pair(clean: np.ndarray, estimate: np.ndarray) -> None:
    if clean.shape != estimate.shape or clean.ndim != 1:
        raise ValueError(
            f"clean {clean.shape} and estimate {estimate.shape} cannot be compared. Expected two signals (L,) of equal "
            "length"
        )
    if clean.size == 0:
        raise NotScorable("signals without samples cannot be scored. Expected speech")
    if not (np.all(np.isfinite(clean)) and np.all(np.isfinite(estimate))):
        raise NotScorable("signals with NaN or Inf cannot be scored. Expected finite samples")


def versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that the scores come from; None where one is not installed."""
    import platform

    from dtln.machine import installed_versions

    names = ("numpy", "scipy", "soxr", "pesq", "pystoi", "speechmos", "librosa", "onnxruntime")
    return {"python": platform.python_version(), **dict.fromkeys(names), **installed_versions(names)}
