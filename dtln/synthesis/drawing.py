"""Plans of pairs, drawn from headers alone. A plan depends on (seed, index, attempt) and on nothing else."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dtln.synthesis.recordings import ListedRecording, Part
from dtln.synthesis.settings import Settings

if TYPE_CHECKING:
    import numpy as np

NOISE_FADE = 800  # samples (50 ms) in which one noise clip passes into the next
SHORTEST_PIECE = 8000  # samples (0.5 s) that a further utterance has to have left
PAUSE = (3200, 12800)  # samples (0.2 to 0.8 s) between two utterances
# The generator of random numbers is seeded with (seed, index, one of these). 0 would add nothing to a seed sequence.
SCALARS, ROOM, CLIPS = 1, 2, 3


@dataclass(frozen=True)
class Piece:
    """`length` samples of a recording, from its sample `offset` on, which begin at sample `start` of the pair."""

    name: str
    offset: int
    start: int
    length: int


@dataclass(frozen=True)
class PairPlan:
    """What a pair is made of, before any sample is read.

    speech: none for a pair without speech. responses: names of measured room responses: one for the speech and, where
    its room has another, one for the noise.
    """

    index: int
    attempt: int
    part: str
    speaker: str
    speech: tuple[Piece, ...]
    noise: tuple[Piece, ...]
    snr_db: int
    level_dbfs: int
    in_room: bool
    responses: tuple[str, ...]


def draw_pair(settings: Settings, parts: Mapping[str, Part], index: int, attempt: int = 0) -> PairPlan:
    """The plan of pair `index`. A further attempt draws other clips; SNR, level and kind of the pair stay."""
    import numpy as np

    name = "training" if index < settings.training_count else "validation"
    part = parts[name]
    rng = np.random.default_rng([settings.seed, index, SCALARS])
    silent, in_room = rng.random() < settings.silence_share, rng.random() < settings.reverberant_share
    snr_db = int(rng.integers(settings.snr_db[0], settings.snr_db[1] + 1))
    level_dbfs = int(rng.integers(settings.level_dbfs[0], settings.level_dbfs[1] + 1))
    rng = np.random.default_rng([settings.seed, index, CLIPS + attempt])
    speaker = list(part.speakers)[draw_index(rng, part.speaker_ends)]
    speech = draw_speech(rng, part.speakers[speaker], settings.length)
    noise = draw_noise(rng, part, settings.length)
    responses: tuple[str, ...] = ()
    if in_room and part.responses:
        room = list(part.responses.values())[int(rng.integers(len(part.responses)))]
        responses = tuple(room[i] for i in rng.permutation(len(room))[:2])
    if silent:
        speaker, speech = "", ()
    return PairPlan(index, attempt, name, speaker, speech, noise, snr_db, level_dbfs, in_room, responses)


def draw_index(rng: np.random.Generator, ends: Sequence[int]) -> int:
    """A random index, drawn in proportion to weights; `ends` are the running sums of the weights."""
    return bisect.bisect_right(ends, int(rng.integers(ends[-1])))


def draw_speech(rng: np.random.Generator, utterances: Sequence[ListedRecording], length: int) -> tuple[Piece, ...]:
    """Utterances in random order, with pauses between them. None is repeated before all were used."""
    pieces: list[Piece] = []
    order: list[int] = []
    start = 0
    while not pieces or length - start >= SHORTEST_PIECE:
        order = order or rng.permutation(len(utterances)).tolist()
        utterance = utterances[order.pop()]
        taken = min(utterance.length, length - start)
        pieces.append(Piece(utterance.name, int(rng.integers(utterance.length - taken + 1)), start, taken))
        start += taken + int(rng.integers(*PAUSE))
    return tuple(pieces)


def draw_noise(rng: np.random.Generator, part: Part, length: int) -> tuple[Piece, ...]:
    """Clips of random recordings, drawn in proportion to their lengths, with cross-fades between them."""
    pieces: list[Piece] = []
    end = 0
    while end < length:
        recording = part.noise[draw_index(rng, part.noise_ends)]
        start = max(0, end - NOISE_FADE)
        taken = min(recording.length, length - start)
        pieces.append(Piece(recording.name, int(rng.integers(recording.length - taken + 1)), start, taken))
        end = start + taken
    return tuple(pieces)
