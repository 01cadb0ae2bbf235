"""A corpus of speech and noise to train on: its settings, and the mixers of training and validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dtln.errors import SettingsError
from dtln.mixing.augmentations import augmentation_by_name
from dtln.mixing.groups import MOSTLY_ALONE, corpus_of, speaker_of, speaker_rule
from dtln.mixing.mixer import Mixer
from dtln.mixing.recordings import Recordings, load_recordings, split_by_group
from dtln.mixing.rooms import load_rooms, simulate_rooms

FEW_RECORDINGS = 10  # under which each may well be of a speaker of its own


@dataclass(frozen=True)
class CorpusSettings:
    """What segments are mixed from, and how. Each field is a flag of run_training.py of the same name.

    speech, noise, rir: folders. val_speech, val_noise: folders to validate on; None keeps a share of the others back.
    speaker_pattern: see `speaker_rule`. speech_weights, noise_weights: see `Recordings.reweighted`. cache_dir: where
    decoded recordings and simulated rooms are kept. rooms: how many responses are simulated. For the others see
    `Mixer`.
    """

    speech: Path
    noise: Path
    val_speech: Path | None
    val_noise: Path | None
    speaker_pattern: str | None
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
    snr_over: str


def training_mixers(
    corpus: CorpusSettings, segment_length: int, seed: int, tell: Callable[[str], None] = print
) -> tuple[Mixer, Mixer]:
    """The mixers of training and of validation.

    They share no speaker and no kind of noise, unless the share for validation is 0 or there is only one. Weights,
    augmentations, rooms and `snr_over` are for training alone. segment_length: in samples. seed: of simulated rooms.
    tell: is given lines about how the recordings are divided. Raises SettingsError, AudioFileError, and
    MissingPackageError where rooms cannot be simulated.
    """
    find_speaker = speaker_rule(corpus.speaker_pattern)
    for folder, held in ((corpus.speech, corpus.val_speech), (corpus.noise, corpus.val_noise)):
        require_apart(folder, held)
    for name in corpus.augment:  # decoding a corpus takes minutes: report a misspelt name before
        augmentation_by_name(name)
    rooms = None
    if corpus.rir:
        rooms = load_rooms(corpus.rir)
    elif corpus.rooms is not None:
        rooms = simulate_rooms(corpus.rooms, seed, corpus.cache_dir)
    speech = load_recordings(corpus.speech, corpus.cache_dir)
    noise = load_recordings(corpus.noise, corpus.cache_dir)
    training_speech = validation_speech = speech
    training_noise = validation_noise = noise
    if corpus.val_speech:
        validation_speech = load_recordings(corpus.val_speech, corpus.cache_dir)
    elif corpus.validation_speech_share != 0:
        if corpus.speaker_pattern is None:
            tell_speakers(speech, tell)
        training_speech, validation_speech = split_by_group(
            speech, corpus.validation_speech_share, find_speaker, lambda words: tell(f"speakers: {words}")
        )
    if corpus.val_noise:
        validation_noise = load_recordings(corpus.val_noise, corpus.cache_dir)
    elif corpus.validation_noise_share != 0:
        training_noise, validation_noise = split_by_group(
            noise, corpus.validation_noise_share, tell=lambda words: tell(f"kinds of noise: {words}")
        )
    training_speech = training_speech.reweighted(corpus.speech_weights)
    training_noise = training_noise.reweighted(corpus.noise_weights)
    ranges = (segment_length, corpus.snr_db, corpus.level_dbfs)
    in_rooms = (rooms, corpus.room_target, corpus.reverberant_share)
    training = Mixer(training_speech, training_noise, *ranges, corpus.augment, *in_rooms, corpus.snr_over)
    return training, Mixer(validation_speech, validation_noise, *ranges)


def require_apart(folder: Path, held: Path | None) -> None:
    """Raises SettingsError where a folder to validate on lies in the one to train on, or the other way round."""
    if held is None:
        return
    one, other = folder.resolve(), held.resolve()
    if one == other or one in other.parents or other in one.parents:
        raise SettingsError(f"{held}: validation would hear what is trained on, {folder}. Expected folders apart")


def tell_speakers(speech: Recordings, tell: Callable[[str], None]) -> None:
    """Says which corpora's file names were recognised, or warns where the names seem not to tell the speakers."""
    known = sorted({corpus for corpus in map(corpus_of, speech.names) if corpus})
    if known:
        tell(f"speakers: named as in {', '.join(known)}; --speaker-pattern says it otherwise")
    speakers = len({speaker_of(name) for name in speech.names})
    if speakers > MOSTLY_ALONE * len(speech.names) and len(speech.names) >= FEW_RECORDINGS:
        tell(
            f"speakers: {len(speech.names)} recordings seem to be of {speakers} speakers, {speech.names[0]} of "
            f"{speaker_of(speech.names[0])}. If that is wrong, the same voices are trained on and validated: "
            "say with --speaker-pattern how names tell speakers, or give --val-speech"
        )
