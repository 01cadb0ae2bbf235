"""Making one pair. This runs in worker processes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dtln.synthesis.drawing import NOISE_FADE, ROOM, PairPlan, Piece
from dtln.synthesis.settings import Settings

if TYPE_CHECKING:
    import numpy as np

    from dtln.mixing.rooms import RoomResponse

SPEECH_FADE = 80  # samples (5 ms) against clicks where an utterance begins or ends
Row = dict[str, str]  # of the manifest
COLUMNS = (
    "fileid",
    "subset",
    "noisy",
    "clean",
    "speaker",
    "speech",  # JSON: [[file, first sample of it, first sample in the pair, samples], ...], at 16 kHz
    "noise",
    "snr_db",  # of the speech as it sounds in the room; empty without speech
    "level_dbfs",  # of the noisy file
    "guard_db",  # by how much the mixture was turned down for its peak
    "target",
    "speech_response",
    "noise_response",
    "rt60",  # s, of the speech response
    "seed",
)


def make_pair(settings: Settings, output: Path, plan: PairPlan) -> Row | str:
    """Writes a pair and returns its row of the manifest.

    Where its recordings cannot be used, because they are unreadable or silent, it writes nothing and returns the reason
    in words. Raises AudioFileError or OSError for a file that cannot be written.
    """
    from dtln.audio.headers import SampleFormat
    from dtln.audio.writing import write_audio
    from dtln.errors import AudioFileError
    from dtln.facts import SAMPLE_RATE
    from dtln.mixing.mixer import mix_with_guard
    from dtln.mixing.recordings import SILENCE_POWER
    from dtln.mixing.rooms import place_in_room
    from dtln.mixing.spectra import mean_power

    try:
        speech = joined(settings.speech, plan.speech, settings.length, SPEECH_FADE)
        noise = joined(settings.noise, plan.noise, settings.length, NOISE_FADE)
        responses = responses_of(settings, plan) if plan.in_room else None
    except AudioFileError as error:
        return str(error)
    for signal, pieces, folder in ((speech, plan.speech, settings.speech), (noise, plan.noise, settings.noise)):
        if pieces and mean_power(signal) <= SILENCE_POWER:
            names = ", ".join(sorted({piece.name for piece in pieces}))
            return f"{folder}: silence was drawn from {names}. Expected sound; remove silent recordings."
    target = speech
    if responses:
        speech, noise, target = place_in_room(speech, noise, responses, settings.target)
    noisy, clean, guard_db = mix_with_guard(speech, noise, plan.snr_db, plan.level_dbfs, target)

    level = plan.level_dbfs + guard_db
    who = re.sub(r"[^\w-]+", "-", plan.speaker.rpartition("/")[2])[:60]
    what = f"{who}_snr{plan.snr_db}" if plan.speech else "nospeech"
    noisy_name = f"{plan.part}/noisy/{what}_tl{round(level)}_fileid_{plan.index}.wav"
    clean_name = f"{plan.part}/clean/clean_fileid_{plan.index}.wav"
    for name, samples in ((clean_name, clean), (noisy_name, noisy)):
        write_audio(output / name, samples, SAMPLE_RATE, SampleFormat("WAV", "PCM_16"))
    speech_response, noise_response = responses or (None, None)
    values = (
        plan.index,
        plan.part,
        noisy_name,
        clean_name,
        plan.speaker,
        listed(plan.speech),
        listed(plan.noise),
        plan.snr_db if plan.speech else "",
        f"{level:.2f}",
        f"{guard_db:.2f}" if guard_db < 0 else "0.00",
        settings.target if responses else "dry",
        speech_response.name if speech_response else "",
        noise_response.name if noise_response else "",
        f"{speech_response.rt60:.3f}" if speech_response else "",
        settings.seed,
    )
    return dict(zip(COLUMNS, map(str, values), strict=True))


def listed(pieces: Iterable[Piece]) -> str:
    """Pieces as the manifest lists them, in JSON."""
    return json.dumps([[piece.name, piece.offset, piece.start, piece.length] for piece in pieces], ensure_ascii=False)


def responses_of(settings: Settings, plan: PairPlan) -> tuple[RoomResponse, RoomResponse | None]:
    """The room responses of speech and noise: measured ones, or those of a room that is simulated for this pair."""
    import numpy as np

    from dtln.mixing.rooms import read_response, room_of, simulate_room

    if settings.simulated_rooms:
        first, second = simulate_room(np.random.default_rng([settings.seed, plan.index, ROOM]))
        return first, second
    assert settings.rir is not None
    found = [read_response(Path(settings.rir, name), room_of(name), name) for name in plan.responses]
    return found[0], found[1] if len(found) > 1 else None


def joined(folder: str, pieces: Sequence[Piece], length: int, fade: int) -> np.ndarray:
    """The pieces at their places in a signal, float32 (length,). Each fades in and out, except at the signal's ends.

    The fades are sine and cosine: where two unrelated pieces overlap, the power stays the same.
    """
    import numpy as np

    from dtln.audio.reading import read_stretch
    from dtln.errors import AudioFileError
    from dtln.facts import SAMPLE_RATE

    signal = np.zeros(length, np.float32)
    ramp = np.sin(np.pi / 2 * (np.arange(fade) + 0.5) / fade).astype(np.float32)
    for piece in pieces:
        path = Path(folder, piece.name)
        stretch = read_stretch(path, piece.offset, piece.length, SAMPLE_RATE)  # (piece.length,)
        if len(stretch) < piece.length:
            raise AudioFileError(
                f"{path}: is shorter than its header announces, or has changed. Expected "
                f"{piece.offset + piece.length} samples at 16 kHz; copy or convert it again from its source."
            )
        if piece.start > 0:
            stretch[:fade] *= ramp
        if piece.start + piece.length < length:
            stretch[-fade:] *= ramp[::-1]
        signal[piece.start : piece.start + piece.length] += stretch
    return signal
