"""Denoises and scores recordings, single ones and folders: what `dtln enhance` and `dtln score` do."""

from dtln.evaluation.denoising import denoise_files, plan_denoising
from dtln.evaluation.recording import DenoisedFile, DenoisingSettings, Job
from dtln.evaluation.scores import (
    Pair,
    ScoredFile,
    ScoringSettings,
    plan_scores,
    score_files,
    scores_report,
    write_csv,
    write_json,
)
from dtln.evaluation.sequences import SequenceDenoiser, SequenceNetwork

__all__ = [
    "DenoisedFile",
    "DenoisingSettings",
    "Job",
    "Pair",
    "ScoredFile",
    "ScoringSettings",
    "SequenceDenoiser",
    "SequenceNetwork",
    "denoise_files",
    "plan_denoising",
    "plan_scores",
    "score_files",
    "scores_report",
    "write_csv",
    "write_json",
]
