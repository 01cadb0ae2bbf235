"""dtln.mixing.rooms: measured and simulated room responses, and mixing in rooms."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from mixtures import level_db
from room_responses import delayed, echo, response_folder
from training_pairs import speech_like

from dtln.errors import AudioFileError
from dtln.mixing import rooms as mixing_rooms
from dtln.mixing.mixer import Mixer
from dtln.mixing.recordings import Recordings
from dtln.mixing.rooms import (
    RoomResponse,
    RoomResponses,
    load_rooms,
    place_in_room,
    prepare_response,
    read_response,
    reverberation_time,
    simulate_rooms,
)


def test_measured_responses(tmp_path: Path) -> None:
    rooms = load_rooms(response_folder(tmp_path / "rir")).responses
    assert [(r.name, r.room) for r in rooms] == [
        ("box.flac", "box.flac"),
        ("hall/a.wav", "hall"),
        ("hall/b.wav", "hall"),
    ]
    box, a, b = rooms
    assert (box.direct, a.direct, b.direct) == (0, 40, 40)  # what came before is cut off but for 40 samples
    assert all(r.samples[r.direct] == pytest.approx(1.0) for r in rooms)
    assert a.samples[440] == pytest.approx(0.5, abs=1e-3) and a.samples[2040] == pytest.approx(0.4, abs=1e-3)
    assert box.samples[160] == pytest.approx(0.3, abs=1e-3) and not box.samples[990:1010].any()  # the first channel
    assert [len(r.samples) for r in rooms] == [9600, 9640, 9640]  # 0.6 s from the direct sound on
    assert len(a.early) == 40 + 800 and a.early[440] and not b.early[540 + 300 :].any()


def test_placing_in_a_room(tmp_path: Path) -> None:
    box, a, b = load_rooms(response_folder(tmp_path / "rir")).responses
    speech, noise = speech_like(20000), speech_like(20000, 5)
    heard = speech + 0.5 * delayed(speech, 400) + 0.4 * delayed(speech, 2000)
    noise_heard = noise - 0.5 * delayed(noise, 500) + 0.3 * delayed(noise, 1500)
    result = place_in_room(speech, noise, (a, b))
    for signal, expected in zip(result, (heard, noise_heard, heard), strict=True):
        assert signal.dtype == np.float32
        np.testing.assert_allclose(signal, expected, atol=1e-4)
    result = place_in_room(speech, noise, (a, None), "early")
    for signal, expected in zip(result, (heard, noise, speech + 0.5 * delayed(speech, 400)), strict=True):
        np.testing.assert_allclose(signal, expected, atol=1e-4)


def test_direct_sound_is_found_before_a_louder_reflection() -> None:
    response = prepare_response(echo(500, (300, 1.6)), "room", "name")
    assert (response.direct, response.samples[40], len(response.samples)) == (40, 1.0, 9640)
    assert response.samples[340] == pytest.approx(1.6)
    rising = echo(500)
    rising[498:500] = 0.3, 0.45  # the rise to the direct sound
    assert prepare_response(rising, "room", "name").samples[38] == pytest.approx(0.6)


@pytest.mark.parametrize("rt60", [0.2, 0.5, 0.9])
def test_reverberation_time_of_an_exponential_decay(rt60: float) -> None:
    decay = np.random.default_rng(0).standard_normal(32000) * 10 ** (-3 * np.arange(32000) / 16000 / rt60)
    assert reverberation_time(decay) == pytest.approx(rt60, rel=0.05)


def test_bad_responses(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(1000), 16000)
    with pytest.raises(AudioFileError, match=r"silent\.wav: is silent\. Expected a room impulse response"):
        read_response(tmp_path / "silent.wav", "room")
    soundfile.write(tmp_path / "silent.wav", np.zeros(0), 16000)
    with pytest.raises(AudioFileError, match=r"silent\.wav: holds no samples; expected a room impulse response"):
        read_response(tmp_path / "silent.wav", "room")
    with pytest.raises(AudioFileError, match="missing: expected a folder of audio files, found nothing"):
        load_rooms(tmp_path / "missing")
    with pytest.raises(ValueError, match="a bank of room responses was given none"):
        RoomResponses([])
    with pytest.raises(ValueError, match="0 simulated room responses: expected at least one"):
        simulate_rooms(0, seed=1)


def test_noise_sounds_in_the_room_of_the_speech() -> None:
    responses = [RoomResponse(np.ones(1, np.float32), 0, room, room + name, 0.3) for room in "xyz" for name in "123"]
    bank = RoomResponses([*responses, RoomResponse(np.ones(1, np.float32), 0, "alone", "alone", 0.3)])
    seen = set()
    for seed in range(200):
        speech, noise = bank.draw(np.random.default_rng(seed))
        if speech.room == "alone":
            assert noise is None
        else:
            assert noise.room == speech.room and noise.name != speech.name
        seen.add(speech.name)
    assert len(seen) == 10


def room_mixer(rooms: RoomResponses | None = None, **settings: object) -> Mixer:
    def recordings(seed: int) -> Recordings:
        return Recordings(["a_0.wav"], [np.round(speech_like(20000, seed) * 32767).astype(np.int16)])

    return Mixer(recordings(1), recordings(2), 8000, rooms=rooms, **settings)


def test_mixing_on_the_fly_in_rooms(tmp_path: Path) -> None:
    bank = RoomResponses(load_rooms(response_folder(tmp_path / "rir")).responses[1:])  # the hall's
    dry, rooms, early = room_mixer(), room_mixer(bank), room_mixer(bank, room_target="early")
    reverberant = 0
    for seed in range(100):
        (noisy, clean), (heard, target), (heard_early, early_target) = (
            mixer.draw(np.random.default_rng(seed)) for mixer in (dry, rooms, early)
        )
        assert target.dtype == heard.dtype == early_target.dtype == np.float32 and target.shape == (8000,)
        np.testing.assert_allclose(heard, heard_early, atol=1e-6)
        if np.array_equal(noisy, heard):
            np.testing.assert_array_equal(clean, target)
            continue
        reverberant += 1
        snr = level_db(target) - level_db(heard - target)
        assert snr == pytest.approx(level_db(clean) - level_db(noisy - clean), abs=0.1)  # of speech as it sounds
        assert level_db(heard) == pytest.approx(level_db(noisy), abs=0.1)
        lags = np.correlate(target, clean, "same")
        assert np.argmax(np.abs(lags)) == 4000  # the direct sound keeps its time
        assert not np.allclose(target, early_target, atol=0.01 * np.max(np.abs(target)))  # both responses are long
    assert 30 < reverberant < 70
    with pytest.raises(ValueError, match="unknown room target 'late': expected one of reverberant, early"):
        room_mixer(bank, room_target="late")
    with pytest.raises(ValueError, match="reverberant share 1.5: expected a share from 0 to 1"):
        room_mixer(bank, reverberant_share=1.5)


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_share_of_segments_in_rooms(share: float, tmp_path: Path) -> None:
    bank = RoomResponses(load_rooms(response_folder(tmp_path / "rir")).responses[1:])
    dry, rooms = room_mixer(), room_mixer(bank, reverberant_share=share)
    pairs = [[mixer.draw(np.random.default_rng(seed))[0] for mixer in (dry, rooms)] for seed in range(100)]
    reverberant = sum(not np.array_equal(*pair) for pair in pairs)
    assert 100 * share - 12 * (0 < share < 1) <= reverberant <= 100 * share + 12 * (0 < share < 1)


def test_rooms_come_after_the_augmentations(tmp_path: Path) -> None:
    """Speech that is silenced by `pauses` still sounds on in the room."""
    bank = RoomResponses([prepare_response(echo(0, (3000, 0.5)), "room", "room")])
    dry, wet = room_mixer(augmentations=["pauses"]), room_mixer(bank, augmentations=["pauses"])
    silenced = 0
    for seed in range(200):
        (_, clean), (_, target) = (mixer.draw(np.random.default_rng(seed)) for mixer in (dry, wet))
        if not np.array_equal(clean, target):
            expected = clean + 0.5 * delayed(clean, 3000)
            assert np.corrcoef(expected, target)[0, 1] > 0.9999
            silenced += bool(clean[:100].any() and not clean[-3000:].any())
    assert silenced


def test_simulated_rooms_are_as_described() -> None:
    pytest.importorskip("pyroomacoustics", reason="pyroomacoustics is not installed")
    bank = simulate_rooms(25, seed=3)
    assert len(bank.responses) == 25
    ratios, direct_ratios = [], []
    for index, response in enumerate(bank.responses):
        assert response.room == f"room {index // 2}"
        assert response.samples.dtype == np.float32 and 800 < len(response.samples) <= 40 + 9600
        described = re.fullmatch(
            rf"{response.room}: ([\d.]+) x ([\d.]+) x ([\d.]+) m, RT60 ([\d.]+) s by Sabine, source at ([\d.]+) m",
            response.name,
        )
        width, depth, height, rt60, distance = map(float, described.groups())
        assert 3 <= width <= 10 and 3 <= depth <= 8 and 2.5 <= height <= 4
        assert 0.15 <= rt60 <= 1.0 and 0.3 <= distance <= 3.0
        # whatever the direction, the direct sound comes first and at its time
        assert response.direct == 40 and response.samples[40] == pytest.approx(1.0)
        assert np.max(np.abs(response.samples[:36])) < 0.5
        ratios.append(response.rt60 / rt60)
        direct_ratios.append((distance, level_db(response.samples[120:])))
    assert 0.7 < np.median(ratios) < 1.3 and min(ratios) > 0.3 and max(ratios) < 2.5
    near, far = (np.mean([tail for d, tail in direct_ratios if (d < 1.2) == side]) for side in (True, False))
    assert far > near + 3  # relative to the direct sound there is more of the room farther away


def test_simulated_banks_repeat_and_are_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyroomacoustics", reason="pyroomacoustics is not installed")
    first, again = (simulate_rooms(3, seed=3, cache_dir=cache) for cache in (tmp_path / "cache", None))
    assert len(list((tmp_path / "cache").iterdir())) == 1

    def none_to_simulate(*arguments: object) -> None:
        raise AssertionError("simulated again")

    with monkeypatch.context() as patched:
        patched.setattr(mixing_rooms, "simulate_room", none_to_simulate)
        cached = simulate_rooms(3, seed=3, cache_dir=tmp_path / "cache")
        for other_bank in ((4, 3), (3, 4)):
            with pytest.raises(AssertionError, match="simulated again"):
                simulate_rooms(*other_bank, tmp_path / "cache")
    for bank in (again, cached):
        for one, other in zip(first.responses, bank.responses, strict=True):
            np.testing.assert_array_equal(one.samples, other.samples)
            assert (one.direct, one.room, one.name, one.rt60) == (other.direct, other.room, other.name, other.rt60)
    other = simulate_rooms(3, seed=4).responses[0]
    assert other.name != first.responses[0].name
