"""Mixing of speech and noise into training segments: numpy, and soundfile where recordings are read."""

from dtln.mixing.augmentations import AUGMENTATIONS, Augmentation, augmentation, augmentation_by_name
from dtln.mixing.corpus import CorpusSettings, training_mixers
from dtln.mixing.groups import SPEAKER_PATTERNS, speaker_of, speaker_rule, validation_groups
from dtln.mixing.mixer import Mixer, mix, mix_with_guard
from dtln.mixing.recordings import Recordings, load_recordings, split_by_group
from dtln.mixing.rooms import RoomResponse, RoomResponses, load_rooms, place_in_room, simulate_rooms
from dtln.mixing.segment import Segment

__all__ = [
    "AUGMENTATIONS",
    "Augmentation",
    "CorpusSettings",
    "Mixer",
    "Recordings",
    "RoomResponse",
    "RoomResponses",
    "SPEAKER_PATTERNS",
    "Segment",
    "augmentation",
    "augmentation_by_name",
    "load_recordings",
    "load_rooms",
    "mix",
    "mix_with_guard",
    "place_in_room",
    "simulate_rooms",
    "speaker_of",
    "speaker_rule",
    "split_by_group",
    "training_mixers",
    "validation_groups",
]
