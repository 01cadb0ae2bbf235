"""Rooms: measured and simulated impulse responses, and speech and noise in them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType

import numpy as np

from dtln.audio.folders import find_audio_files
from dtln.audio.reading import read_audio
from dtln.errors import AudioFileError, SettingsError, require
from dtln.facts import SAMPLE_RATE
from dtln.files import complete_file
from dtln.mixing.segment import Segment
from dtln.mixing.spectra import convolved

RESPONSE_LENGTH = round(0.6 * SAMPLE_RATE)  # samples kept of a room response, from the direct sound on
EARLY_LENGTH = round(0.05 * SAMPLE_RATE)  # samples from the direct sound on that count as early reflections: 50 ms
RESPONSE_LEAD = 40  # samples kept before the direct sound: half of pyroomacoustics' fractional delay filter (81)
SOUND_SPEED = 343.0  # m/s
ROOMS_VERSION = 1  # of cached banks
HIGHEST_ORDER = 60  # of image sources; higher orders hold 3 % of a long decay at 0.5 s, but take most of the time


@dataclass(frozen=True)
class RoomResponse:
    """The impulse response from one place in a room to one microphone, at 16 kHz, scaled to a direct sound of 1.

    samples: float32 (K,). direct: index of the direct sound in them. room: responses of one room carry the same name.
    name: the file, or the simulated room and place. rt60: reverberation time in s, as `reverberation_time` finds it.
    """

    samples: np.ndarray
    direct: int
    room: str
    name: str
    rt60: float

    @property
    def early(self) -> np.ndarray:
        """The samples up to 50 ms after the direct sound."""
        return self.samples[: self.direct + EARLY_LENGTH]


def prepare_response(samples: np.ndarray, room: str, name: str, direct: int | None = None) -> RoomResponse:
    """Cuts a response (K,) at 16 kHz to RESPONSE_LEAD before the direct sound and RESPONSE_LENGTH from it on.

    direct: index of the direct sound. None looks for it: the peak within 1 ms of the first sample that reaches half of
    the largest magnitude. A reflection, or two at once, may be louder than the direct sound, but seldom twice as loud.
    Raises AudioFileError for a response that is silent.
    """
    magnitude = np.abs(samples)
    if not magnitude.any():
        raise AudioFileError(f"{name}: is silent. Expected a room impulse response; remove the file.")
    if direct is None:
        onset = int(np.argmax(magnitude >= magnitude.max() / 2))
        direct = onset + int(np.argmax(magnitude[onset : onset + SAMPLE_RATE // 1000]))
    rt60 = reverberation_time(samples[direct:])
    start = max(0, direct - RESPONSE_LEAD)
    kept = samples[start : direct + RESPONSE_LENGTH] / magnitude[direct]
    return RoomResponse(kept.astype(np.float32), direct - start, room, name, rt60)


def reverberation_time(response: np.ndarray) -> float:
    """RT60 in s of a response (K,) at 16 kHz: three times the time of its decay from -5 to -25 dB (T20, ISO 3382-2).

    The decay is that of the energy still to come: Schroeder, "New method of measuring reverberation time", JASA 37,
    1965.
    """
    remaining = np.cumsum(np.square(response[::-1], dtype=np.float64))[::-1]
    decay_db = 10 * np.log10(np.maximum(remaining / remaining[0], 1e-30))
    start, end = (int(np.count_nonzero(decay_db > limit)) for limit in (-5.0, -25.0))
    return 3 * (end - start) / SAMPLE_RATE


def read_response(path: str | Path, room: str, name: str | None = None) -> RoomResponse:
    """A measured room impulse response of any rate; of several channels the first. Raises AudioFileError."""
    samples, _ = read_audio(path, sample_rate=SAMPLE_RATE)
    if samples.size == 0:
        raise AudioFileError(f"{path}: holds no samples; expected a room impulse response. Remove the file.")
    response = prepare_response(samples[:, 0], room, str(path))
    return replace(response, name=name or str(path))


def room_of(name: str) -> str:
    """The room of a measured response, read from its relative path: its sub-folder, or the file itself without one."""
    return name.rpartition("/")[0] or name


def simulate_room(rng: np.random.Generator, room: str = "simulated") -> list[RoomResponse]:
    """Two responses of one random room, from two sources to one microphone, by the image-source method.

    The room is a shoebox of 3-10 m x 3-8 m x 2.5-4 m. Its walls absorb as much as gives an RT60 of 0.15 to 1.0 s by
    Sabine's formula; a room that is too large for a short RT60 gets the shortest that it can have. The sources are 0.3
    to 3 m away from the microphone, and all are at least 0.3 m away from the walls. Method: Allen & Berkley, "Image
    method for efficiently simulating small-room acoustics", JASA 65, 1979, as pyroomacoustics has it.
    Raises MissingPackageError where pyroomacoustics is not installed.
    """
    pyroomacoustics = require_pyroomacoustics()
    margin = 0.3  # m
    size = rng.uniform([3.0, 3.0, 2.5], [10.0, 8.0, 4.0])
    walls = 2 * (size[0] * size[1] + size[0] * size[2] + size[1] * size[2])  # m^2
    shortest = 24 * np.log(10) / SOUND_SPEED * np.prod(size) / walls  # s, by Sabine, of walls that absorb everything
    rt60 = rng.uniform(max(0.15, 1.01 * shortest), 1.0)
    microphone = rng.uniform(margin, size - margin)
    sources: list[np.ndarray] = []
    distances: list[float] = []
    while len(sources) < 2:
        direction = rng.standard_normal(3)
        distance = rng.uniform(0.3, 3.0)
        source = microphone + distance * direction / np.linalg.norm(direction)
        if np.all(source >= margin) and np.all(source <= size - margin):
            sources.append(source)
            distances.append(distance)
    reach = SOUND_SPEED * min(rt60, RESPONSE_LENGTH / SAMPLE_RATE)  # m that sound travels in the part that is kept
    shoebox = pyroomacoustics.ShoeBox(
        size,
        fs=SAMPLE_RATE,
        materials=pyroomacoustics.Material(shortest / rt60),
        max_order=min(HIGHEST_ORDER, int(np.ceil(reach / size.min()))),
    )
    for source in sources:
        shoebox.add_source(source)
    shoebox.add_microphone(microphone)
    shoebox.compute_rir()
    what = f"{room}: {size[0]:.2f} x {size[1]:.2f} x {size[2]:.2f} m, RT60 {rt60:.2f} s by Sabine"
    responses = []
    for samples, distance in zip(shoebox.rir[0], distances, strict=True):
        direct = round(distance / SOUND_SPEED * SAMPLE_RATE) + RESPONSE_LEAD
        responses.append(prepare_response(samples, room, f"{what}, source at {distance:.2f} m", direct))
    return responses


def require_pyroomacoustics() -> ModuleType:
    """The package pyroomacoustics, set to one thread. Raises MissingPackageError.

    Each of its threads sums a part of the images. With one thread the sum does not depend on the number of processors.
    """
    pyroomacoustics = require("pyroomacoustics", "simulating rooms")
    pyroomacoustics.constants.set("num_threads", 1)
    assert pyroomacoustics.constants.get("c") == SOUND_SPEED
    assert pyroomacoustics.constants.get("frac_delay_length") // 2 == RESPONSE_LEAD
    return pyroomacoustics


@dataclass
class RoomResponses:
    """A bank of room responses to draw from."""

    responses: list[RoomResponse]

    def __post_init__(self) -> None:
        if not self.responses:
            raise SettingsError("a bank of room responses was given none: expected at least one")

    @cached_property
    def _of_room(self) -> dict[str, list[int]]:
        rooms: dict[str, list[int]] = {}
        for index, response in enumerate(self.responses):
            rooms.setdefault(response.room, []).append(index)
        return rooms

    def draw(self, rng: np.random.Generator) -> tuple[RoomResponse, RoomResponse | None]:
        """A random response for speech, and another one of its room for noise; None where the room has no other."""
        speech = int(rng.integers(len(self.responses)))
        others = [index for index in self._of_room[self.responses[speech].room] if index != speech]
        noise = self.responses[others[int(rng.integers(len(others)))]] if others else None
        return self.responses[speech], noise


def load_rooms(folder: str | Path) -> RoomResponses:
    """The measured responses below a folder; a sub-folder holds those of one room. Raises AudioFileError."""
    folder = Path(folder)
    files = {file.relative_to(folder).as_posix(): file for file in find_audio_files(folder)}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return RoomResponses(list(pool.map(lambda name: read_response(files[name], room_of(name), name), files)))


def simulate_rooms(count: int, seed: int, cache_dir: str | Path | None = None) -> RoomResponses:
    """A bank of `count` simulated responses, two of each room. The same seed gives the same bank.

    cache_dir: where banks are kept, one npz for each count and seed; None keeps nothing.
    Raises SettingsError for a count below 1, and MissingPackageError where pyroomacoustics is needed and not installed.
    """
    if count < 1:
        raise SettingsError(f"{count} simulated room responses: expected at least one")
    cache = Path(cache_dir) / f"rooms_{count}_{seed}_v{ROOMS_VERSION}.npz" if cache_dir is not None else None
    if cache is not None and cache.exists():
        with np.load(cache) as stored:
            columns = [stored[name].tolist() for name in ("direct", "room", "name", "rt60")]
            signals = np.split(stored["samples"], np.cumsum(stored["lengths"])[:-1])
        return RoomResponses([RoomResponse(*fields) for fields in zip(signals, *columns, strict=True)])
    rooms = [simulate_room(np.random.default_rng([seed, i]), f"room {i}") for i in range((count + 1) // 2)]
    responses = [response for room in rooms for response in room][:count]
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with complete_file(cache) as partial, open(partial, "wb") as stream:
            np.savez(
                stream,
                samples=np.concatenate([r.samples for r in responses]),
                lengths=[len(r.samples) for r in responses],
                direct=[r.direct for r in responses],
                room=[r.room for r in responses],
                name=[r.name for r in responses],
                rt60=[r.rt60 for r in responses],
            )
    return RoomResponses(responses)


def place_in_room(
    speech: np.ndarray,
    noise: np.ndarray,
    responses: tuple[RoomResponse, RoomResponse | None],
    target: str = "reverberant",
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Speech and noise as they sound at the microphone, and the target: (speech, noise, target), each float32 (L,).

    responses: that of the speech and that of the noise; None leaves the noise as it is. target: "reverberant" is the
    speech as it sounds, "early" its direct sound with the reflections of the first 50 ms. The direct sound keeps its
    time.
    """
    response, noise_response = responses
    wanted = [response.samples] if target == "reverberant" else [response.samples, response.early]
    heard = convolved(speech, wanted, response.direct)
    if noise_response is not None:
        noise = convolved(noise, [noise_response.samples], noise_response.direct)[0]
    return heard[0], noise, heard[-1]


@dataclass(frozen=True)
class PlacedInRooms:
    """Places a share of the segments in random rooms of a bank: speech and noise in two places of one room.

    target: see `place_in_room`.
    """

    rooms: RoomResponses
    target: str
    share: float

    def __call__(self, segment: Segment, rng: np.random.Generator) -> None:
        """Changes the segment, or leaves it as it is."""
        if rng.random() < self.share:
            placed = place_in_room(segment.speech, segment.noise, self.rooms.draw(rng), self.target)
            segment.speech, segment.noise, segment.target = placed
