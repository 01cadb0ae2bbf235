"""Scores of denoised signals, what spoils them, and their means. Metrics import the packages that they need."""

from dtln.scoring.comparison import Comparison, Difference, compare, comparison_lines
from dtln.scoring.findings import align, find_delay
from dtln.scoring.means import Mean, mean_with_interval, summarise, table_lines
from dtln.scoring.metrics import (
    DNSMOS_METRICS,
    METRICS,
    dnsmos,
    lqo_pesq,
    pesq_lqo,
    raw_pesq,
    require_metrics,
    score,
    si_sdr,
    snr,
    stoi_percent,
)

__all__ = [
    "DNSMOS_METRICS",
    "METRICS",
    "Comparison",
    "Difference",
    "Mean",
    "align",
    "compare",
    "comparison_lines",
    "dnsmos",
    "find_delay",
    "lqo_pesq",
    "mean_with_interval",
    "pesq_lqo",
    "raw_pesq",
    "require_metrics",
    "score",
    "si_sdr",
    "snr",
    "stoi_percent",
    "summarise",
    "table_lines",
]
