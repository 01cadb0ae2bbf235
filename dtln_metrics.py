"""Scores of a denoised signal against the clean one: SI-SDR, STOI, and PESQ in three conventions.

All take two signals (L,) of equal length, full scale 1. PESQ and STOI come from the packages pesq and pystoi, which are
imported inside the functions that use them.
"""

from __future__ import annotations

import importlib.util
import math

import numpy as np

from dtln_audio import SAMPLE_RATE

METRICS = {  # key -> heading, in the order of tables
    "pesq_raw_nb": "PESQ raw NB",
    "pesq_lqo_nb": "PESQ LQO NB",
    "pesq_wb": "PESQ WB",
    "stoi_percent": "STOI %",
    "si_sdr_db": "SI-SDR dB",
}


def require_packages() -> None:
    """Raises ModuleNotFoundError with the remedy where pesq or pystoi is missing."""
    missing = [name for name in ("pesq", "pystoi") if importlib.util.find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(f"scoring needs {' and '.join(missing)}: pip install {' '.join(missing)}")


def si_sdr(clean: np.ndarray, estimate: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio in dB of signals (L,), their means removed.

    Le Roux et al., "SDR - half-baked or well done?", ICASSP 2019, equation 4. An estimate that is the scaled clean
    signal gives inf, silence -inf. Raises ValueError for unequal lengths or a constant clean signal.
    """
    _require_pair(clean, estimate)
    clean = clean.astype(np.float64) - np.mean(clean, dtype=np.float64)
    estimate = estimate.astype(np.float64) - np.mean(estimate, dtype=np.float64)
    power = float(np.dot(clean, clean))
    if power == 0.0:
        raise ValueError("SI-SDR of a silent clean signal is not defined. Expected speech")
    target = np.dot(estimate, clean) / power * clean  # (L,)
    distortion = float(np.sum(np.square(estimate - target)))
    wanted = float(np.sum(np.square(target)))
    if wanted == 0.0:
        return -math.inf
    return 10.0 * math.log10(wanted / distortion) if distortion else math.inf


def stoi_percent(clean: np.ndarray, estimate: np.ndarray, sample_rate: int = SAMPLE_RATE) -> float:
    """Short-time objective intelligibility in percent of signals (L,) (Taal et al., IEEE TASLP 2011), by pystoi.

    Raises ValueError for unequal lengths, ModuleNotFoundError with the remedy where the package is missing.
    """
    _require_pair(clean, estimate)
    require_packages()
    from pystoi import stoi

    return 100.0 * float(stoi(clean, estimate, sample_rate))


def pesq_lqo(clean: np.ndarray, estimate: np.ndarray, band: str, sample_rate: int = SAMPLE_RATE) -> float:
    """PESQ of signals (L,) as listening quality (MOS-LQO), by the package pesq.

    band "wb": P.862.2, 1.04 to 4.64; "nb": P.862 mapped by P.862.1, 1.02 to 4.56. Raises ValueError for unequal
    lengths or where pesq finds no speech, ModuleNotFoundError with the remedy where the package is missing.
    """
    _require_pair(clean, estimate)
    if not np.any(clean):
        raise ValueError("PESQ against a silent clean signal is not defined. Expected speech")
    require_packages()
    from pesq import PesqError, pesq

    try:
        return float(pesq(sample_rate, clean, estimate, band))
    except PesqError as error:
        text = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        raise ValueError(
            f"PESQ cannot be computed ({text}). Expected speech of at least a quarter of a second"
        ) from error


def raw_pesq(lqo: float) -> float:
    """Raw P.862 score (-0.5 to 4.5) behind a narrow-band MOS-LQO: the inverse of equation 1 of ITU-T P.862.1.

    LQO = 0.999 + 4 / (1 + exp(-1.4945 raw + 4.6607)).
    """
    return (4.6607 - math.log((4.999 - lqo) / (lqo - 0.999))) / 1.4945


def score(clean: np.ndarray, estimate: np.ndarray, sample_rate: int = SAMPLE_RATE) -> dict[str, float]:
    """All metrics of an estimate (L,) against the clean signal (L,), by the keys of METRICS. Raises as they do."""
    narrow = pesq_lqo(clean, estimate, "nb", sample_rate)
    return {
        "pesq_raw_nb": raw_pesq(narrow),
        "pesq_lqo_nb": narrow,
        "pesq_wb": pesq_lqo(clean, estimate, "wb", sample_rate),
        "stoi_percent": stoi_percent(clean, estimate, sample_rate),
        "si_sdr_db": si_sdr(clean, estimate),
    }


def _require_pair(clean: np.ndarray, estimate: np.ndarray) -> None:
    if clean.shape != estimate.shape or clean.ndim != 1:
        raise ValueError(
            f"clean {clean.shape} and estimate {estimate.shape} cannot be compared. Expected two signals (L,) of equal "
            "length"
        )
    if clean.size == 0:
        raise ValueError("signals without samples cannot be scored. Expected speech")
