"""What a training hears, from the arguments of run_training.py.

This room makes it, because it alone knows flags: what trains, below, is given mixers and sources.
"""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dtln.mixing.mixer import Mixer
    from DTLN_model import SegmentSource


def mixers_of(args: argparse.Namespace, segment_length: int) -> tuple[Mixer, Mixer]:
    """The mixers of training and of validation; says which sets of speech the validation does not hear.

    Raises as `dtln.mixing.training_mixers`.
    """
    from dtln.mixing.corpus import CorpusSettings, training_mixers

    given = {field.name: getattr(args, field.name) for field in fields(CorpusSettings)}
    for name in ("snr_db", "level_dbfs"):
        given[name] = tuple(given[name])
    for name in ("speech_weights", "noise_weights"):
        given[name] = dict(given[name])
    training, validation = training_mixers(CorpusSettings(**given), segment_length, args.seed)
    if unheard := set(training.speech.by_folder()) - set(validation.speech.by_folder()) - {""}:
        print(
            f"validation has no speaker of {', '.join(sorted(unheard))}: it will not tell how well they fare. A larger "
            "--validation-speech-share may keep some; benchmarks/mixtures.py --training-speakers compares sets"
        )
    return training, validation


def sources_of(args: argparse.Namespace, segment_length: int) -> tuple[SegmentSource, SegmentSource]:
    """The segments of training and of validation, mixed on the fly or from pairs on disk.

    Raises AudioFileError, and as `mixers_of`.
    """
    from DTLN_model import MixedSegments, PairedFolders

    if args.speech:
        training, validation = mixers_of(args, segment_length)
        return MixedSegments(training, args.segments_per_epoch), MixedSegments(validation, args.validation_segments)
    return (
        PairedFolders(args.train_noisy, args.train_clean, segment_length),
        PairedFolders(args.val_noisy, args.val_clean, segment_length),
    )
