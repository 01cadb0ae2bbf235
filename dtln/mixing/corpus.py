"""A corpus of speech and noise to train on: its settings, and the mixers of training and validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dtln.mixing.augmentations import augmentation_by_name
from dtln.mixing.mixer import Mixer
from dtln.mixing.recordings import load_recordings, split_by_group
from dtln.mixing.rooms import load_rooms, simulate_rooms


@dataclass(frozen=True)
class CorpusSettings:
    """What segments are mixed from, and how. Each field is a flag of run_training.py of the same name.

    speech, noise, rir: folders. speech_weights, noise_weights: see `Recordings.reweighted`. cache_dir: where decoded
    recordings and simulated rooms are kept. rooms: how many responses are simulated. For the others see `Mixer`.
    """

    speech: Path
    noise: Path
    speech_weights: Mapping[str, float]
    noise_weights: Mapping[str, float]
    cache_dir: Path | None
    validation_speech_share: float
    validation_noise_share: float
    snr_db: tuple[float, float]
    level_dbfs: tuple[float, float]
    augment: Sequence[str]
    rooms: int | None
    rir: Path | None
    room_target: str
    reverberant_share: float


def training_mixers(corpus: CorpusSettings, segment_length: int, seed: int) -> tuple[Mixer, Mixer]:
    """The mixers of training and of validation.

    They share no speaker and, unless the share of noise for validation is 0, no kind of noise. Weights, augmentations
    and rooms are for training alone. segment_length: in samples. seed: of simulated rooms. Raises SettingsError,
    AudioFileError, and MissingPackageError where rooms cannot be simulated.
    """
    for name in corpus.augment:  # decoding a corpus takes minutes: report a misspelt name before
        augmentation_by_name(name)
    rooms = None
    if corpus.rir:
        rooms = load_rooms(corpus.rir)
    elif corpus.rooms is not None:
        rooms = simulate_rooms(corpus.rooms, seed, corpus.cache_dir)
    speech = load_recordings(corpus.speech, corpus.cache_dir)
    noise = load_recordings(corpus.noise, corpus.cache_dir)
    training_speech, validation_speech = split_by_group(speech, corpus.validation_speech_share)
    training_noise = validation_noise = noise
    if corpus.validation_noise_share != 0:
        training_noise, validation_noise = split_by_group(noise, corpus.validation_noise_share)
    training_speech = training_speech.reweighted(corpus.speech_weights)
    training_noise = training_noise.reweighted(corpus.noise_weights)
    ranges = (segment_length, corpus.snr_db, corpus.level_dbfs)
    in_rooms = (rooms, corpus.room_target, corpus.reverberant_share)
    training = Mixer(training_speech, training_noise, *ranges, corpus.augment, *in_rooms)
    return training, Mixer(validation_speech, validation_noise, *ranges)
