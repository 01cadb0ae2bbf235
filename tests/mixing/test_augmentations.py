"""dtln.mixing.augmentations: each changes what it says, and nothing else."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from mixtures import level_db, mixer
from training_pairs import speech_like

from dtln.mixing.augmentations import AUGMENTATIONS, equalisation, speed_perturbation
from dtln.mixing.mixer import Mixer
from dtln.mixing.recordings import Recordings
from dtln.mixing.segment import Segment
from dtln.mixing.spectra import mean_power


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_each_augmentation_changes_segments(name: str) -> None:
    plain, augmented = mixer(), mixer(augmentations=[name])
    changed = 0
    for seed in range(60):
        before, _ = plain.draw(np.random.default_rng(seed))
        noisy, clean = augmented.draw(np.random.default_rng(seed))
        assert noisy.shape == clean.shape == (8000,) and noisy.dtype == clean.dtype == np.float32
        assert np.all(np.isfinite(noisy)) and np.all(np.isfinite(clean))
        assert np.max(np.abs(noisy)) <= 1.0 or name in ("levels", "offset")  # these may exceed full scale
        changed += not np.array_equal(noisy, before)
    assert changed >= 1


@functools.cache
def shared_mixer() -> Mixer:
    return mixer()


def segment_of(speech: np.ndarray, noise: np.ndarray, source: Mixer | None = None) -> Segment:
    source = source or shared_mixer()
    return Segment(speech, noise, 0.0, -25.0, all_speech=source.speech, all_noise=source.noise)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentations_take_silence(name: str) -> None:
    for seed in range(30):
        segment = segment_of(np.zeros(8000, np.float32), np.zeros(8000, np.float32))
        AUGMENTATIONS[name](segment, np.random.default_rng(seed))
        assert np.all(np.isfinite(segment.speech)) and np.all(np.isfinite(segment.noise))


def test_augmentations_do_what_they_say() -> None:
    speech, noise = speech_like(8000), np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    results = {name: [] for name in AUGMENTATIONS}
    for name, augment in AUGMENTATIONS.items():
        for seed in range(40):
            segment = segment_of(speech.copy(), noise.copy())
            augment(segment, np.random.default_rng(seed))
            results[name].append(segment)
    for segment in results["spectral_tilt"] + results["equalisation"]:  # powers are kept
        assert level_db(segment.speech) == pytest.approx(level_db(speech), abs=0.01)
        assert level_db(segment.noise) == pytest.approx(level_db(noise), abs=0.01)
    speech_stays = (
        "noise_pieces cross_synthesis second_noise babble coloured_noise hum fan clicks impacts calls altered_voices "
        "gusts bursts noise_pauses time_reversal frequency_shift noise_speed rumble wind machine"
    )
    for name in speech_stays.split():
        assert all(np.array_equal(segment.speech, speech) for segment in results[name])
        assert 0 < sum(not np.array_equal(segment.noise, noise) for segment in results[name]) < 40
    assert all(
        np.array_equal(segment.noise, noise) or np.array_equal(segment.noise[::-1], noise)
        for segment in results["time_reversal"]
    )
    for segment in results["noise_pauses"]:  # one stretch is silent, the rest is as it was
        kept = segment.noise != 0
        assert np.array_equal(segment.noise[kept], noise[kept]) and np.count_nonzero(np.diff(kept)) <= 1
    for segment in results["muting"]:  # both are silent up to one point, and as they were from there
        silent = np.flatnonzero(segment.noise == 0)
        assert np.array_equal(silent, np.arange(len(silent))) and not segment.speech[: len(silent)].any()
        assert np.array_equal(segment.speech[len(silent) :], speech[len(silent) :])
        assert np.array_equal(segment.noise[len(silent) :], noise[len(silent) :])
    assert 0 < sum(segment.noise[0] == 0 for segment in results["muting"]) < 20
    for segment in results["level_changes"]:  # by no more than 8 dB, and slowly
        gains = [
            after[before != 0] / before[before != 0]
            for after, before in ((segment.speech, speech), (segment.noise, noise))
        ]
        assert all(np.all(np.abs(20 * np.log10(gain)) < 8.01) for gain in gains)
        assert np.max(np.abs(np.diff(gains[1]))) < 0.01
    assert any(not np.array_equal(segment.speech, speech) for segment in results["level_changes"])
    silenced = [segment.speech for segment in results["pauses"] if not np.array_equal(segment.speech, speech)]
    assert silenced and all(np.array_equal(segment.noise, noise) for segment in results["pauses"])
    for signal in silenced:  # one stretch is silent, the rest is as it was
        assert np.array_equal(signal[signal != 0], speech[signal != 0])
        assert signal[0] == 0 or signal[-1] == 0


@pytest.mark.parametrize("name", ["impacts", "calls", "gusts"])
def test_noises_made_on_the_spot(name: str) -> None:
    """Blows leave silence between them, calls are tones, gusts swell; what is added has a level from -10 to 10 dB."""
    noise = (1e-2 * np.random.default_rng(0).standard_normal(32000)).astype(np.float32)
    made = []
    for seed in range(150):
        segment = segment_of(noise.copy(), noise.copy())
        AUGMENTATIONS[name](segment, np.random.default_rng(seed))
        assert segment.noise.shape == noise.shape and segment.noise.dtype == np.float32
        assert np.array_equal(segment.speech, noise)
        if not np.array_equal(segment.noise, noise):
            made.append(segment.noise if name == "gusts" else segment.noise - noise)
    assert 3 < len(made) < 30  # one in twelve
    for signal in made:
        powers = np.sort(np.mean(np.square(signal.reshape(-1, 160), dtype=np.float64), axis=1))  # of 10 ms
        spectrum = np.sort(np.abs(np.fft.rfft(signal)) ** 2)
        if name == "gusts":
            assert 2 < np.percentile(powers, 95) / np.percentile(powers, 5) < 10**4.5
            continue
        assert -10.01 <= level_db(signal) - level_db(noise) <= 10.01
        if name == "impacts":
            assert powers[-len(powers) // 3 :].sum() > 0.6 * powers.sum()  # of steady noise: a third
        else:
            assert spectrum[-len(spectrum) // 5 :].sum() > 0.8 * spectrum.sum()  # of white noise: half


def share_below(signal: np.ndarray, hertz: float) -> float:
    """The share of a signal's energy below a frequency."""
    power = np.abs(np.fft.rfft(signal)) ** 2
    return power[: round(hertz * len(signal) / 16000)].sum() / power.sum()


def many(name: str, count: int = 40) -> tuple[np.ndarray, list[Segment]]:
    """White noise of -40 dBFS, and segments of it, 4 s long, that an augmentation has changed."""
    noise = (1e-2 * np.random.default_rng(0).standard_normal(64000)).astype(np.float32)
    segments = [segment_of(noise.copy(), noise.copy()) for _ in range(count)]
    for seed, segment in enumerate(segments):
        AUGMENTATIONS[name].change(segment, np.random.default_rng(seed))
    return noise, segments


def test_rumble_lies_low_and_leaves_the_snr_of_the_rest() -> None:
    noise, segments = many("rumble")
    added_db = []
    for segment in segments:
        added = segment.noise - noise
        assert share_below(added, 120.0) > 0.85 and share_below(added, 3.0) < 0.05
        added_db.append(level_db(added) - level_db(noise))
        grown = 10 * np.log10(1 + 10 ** (added_db[-1] / 10))
        assert segment.snr_db == pytest.approx(-grown, abs=0.01)  # 0 dB before
    assert -15.1 < min(added_db) < -8 and 20 < max(added_db) < 30.1


def test_wind_lies_low_and_comes_in_gusts() -> None:
    _, segments = many("wind")
    shares = [share_below(segment.noise, 200.0) for segment in segments]
    assert np.median(shares) > 0.8
    rises = []
    for segment in segments:
        levels = 10 * np.log10(np.mean(np.square(segment.noise.reshape(-1, 1600)), axis=1))  # of 0.1 s
        rises.append(np.percentile(levels, 90) - np.percentile(levels, 10))
    assert 5 < np.median(rises) < 25


def test_machines_run_steadily_and_differ() -> None:
    _, segments = many("machine")
    tonal, steady = [], []
    for segment in segments:
        power = np.abs(np.fft.rfft(segment.noise)) ** 2
        tonal.append(np.sort(power)[-320:].sum() / power.sum())  # of the strongest hundredth of the bins
        levels = 10 * np.log10(np.mean(np.square(segment.noise.reshape(-1, 4000)), axis=1))  # of a quarter of a second
        steady.append(np.ptp(levels))
    assert min(tonal) < 0.3 and max(tonal) > 0.8
    assert np.median(steady) < 4


def test_levels_offset_and_near_clean_set_what_they_say() -> None:
    levels = [segment.level_dbfs for segment in many("levels")[1]]
    assert -60 <= min(levels) < -50 and -10 < max(levels) <= 0
    offsets = np.array([segment.offset for segment in many("offset")[1]])
    assert (
        0.001 <= np.abs(offsets).min() < 0.01
        and 0.1 < np.abs(offsets).max() <= 0.4
        and -1 < np.sign(offsets).mean() < 1
    )
    snrs = [segment.snr_db for segment in many("near_clean")[1]]
    assert 20 <= min(snrs) < 25 and 45 < max(snrs) <= 50


def test_levels_and_offset_reach_the_mixture() -> None:
    source = mixer(augmentations=["levels=1", "offset=1"], level_dbfs=(-25.0, -25.0))
    reached, moved = [], []
    for seed in range(60):
        noisy, clean = source.draw(np.random.default_rng(seed))
        moved.append(float(np.mean(noisy)) - float(np.mean(clean)))
        reached.append(level_db(noisy - np.mean(noisy)))
    assert min(reached) < -50 and max(reached) > -8
    assert max(np.abs(moved)) > 0.1


def test_bursts_are_sudden_and_apart() -> None:
    """Much of steady noise falls silent, or by 20 dB; what remains is no quieter than 20 dB below it."""
    noise = (1e-2 * np.random.default_rng(0).standard_normal(64000)).astype(np.float32)
    quiet_share, silent = [], 0
    for seed in range(60):
        segment = segment_of(noise.copy(), noise.copy())
        AUGMENTATIONS["bursts"].change(segment, np.random.default_rng(seed))
        assert (
            np.array_equal(segment.speech, noise)
            and segment.noise.shape == noise.shape
            and segment.noise.dtype == np.float32
        )
        powers = np.mean(np.square(segment.noise.reshape(-1, 160), dtype=np.float64), axis=1)  # of 10 ms
        assert 10 * np.log10(powers.max() / mean_power(noise)) > -20
        quiet_share.append(np.mean(powers < powers.max() / 100))
        silent += bool((powers == 0).any())
    assert np.mean(quiet_share) > 0.4  # of the 10 ms are 20 dB below the loudest; of steady noise none
    assert 10 < silent < 50  # in half of the segments the noise goes on, far below


def test_proximity_boosts_low_frequencies_of_the_speech() -> None:
    """By 3 to 20 dB times what a first-order low-pass leaves, in dB; by less from 80 Hz down, by nothing at 8 kHz."""
    impulse = np.zeros(16000, np.float32)
    impulse[8000] = 1.0
    boosts, corners = [], []
    for seed in range(60):
        segment = segment_of(impulse.copy(), impulse.copy())
        AUGMENTATIONS["proximity"].change(segment, np.random.default_rng(seed))
        assert np.array_equal(segment.noise, impulse)
        gains_db = 20 * np.log10(np.abs(np.fft.rfft(segment.speech)))  # at 0, 1, 2... Hz
        assert np.all(np.diff(gains_db[150:]) < 1e-3) and gains_db[-1] < 0.1
        assert np.max(np.abs(gains_db[:15])) < 0.01  # rumble stays as it was
        first, second = gains_db[[150, 600]] * (1.0 + (60.0 / np.array([150.0, 600.0])) ** 6)
        squared_corner = (second * 600.0**2 - first * 150.0**2) / (first - second)
        corners.append(np.sqrt(squared_corner))
        boosts.append(first * (1.0 + 150.0**2 / squared_corner))
    assert 3 < min(boosts) < 6 and 16 < max(boosts) < 20
    assert 79 <= min(corners) < 100 and 240 < max(corners) <= 301


def mixer_of_a_tone(samples: int, segment_length: int) -> Mixer:
    """Speech and noise are one recording each, of the same 1 kHz."""
    tone = (8000 * np.sin(2 * np.pi * 1000 / 16000 * np.arange(samples))).astype(np.int16)
    return Mixer(Recordings(["a_0.wav"], [tone]), Recordings(["b_0.wav"], [tone]), segment_length)


def test_speed_perturbation_moves_a_tone() -> None:
    """A tone of 1 kHz comes out 0.9 to 1.1 times as high from speech, 0.7 to 1.4 times from noise, its level kept."""
    source = mixer_of_a_tone(64000, 8000)
    original = source.speech.signals[0][:8000] / np.float32(32768)
    found: dict[str, set[float]] = {"speech": set(), "noise": set()}
    for seed in range(60):
        segment = segment_of(original.copy(), original.copy(), source)
        speed_perturbation(segment, np.random.default_rng(seed))
        for part, frequencies in found.items():
            signal = getattr(segment, part)
            assert signal.shape == (8000,) and signal.dtype == np.float32
            assert level_db(signal[500:-500]) == pytest.approx(level_db(original), abs=0.2)
            frequencies.add(float(np.argmax(np.abs(np.fft.rfft(signal * np.hanning(8000)))) * 2))
    assert min(found["speech"]) == pytest.approx(900, abs=3) and max(found["speech"]) == pytest.approx(1100, abs=3)
    assert 700 - 3 <= min(found["noise"]) < 850 and 1250 < max(found["noise"]) <= 1400 + 3
    assert 1000.0 in found["speech"] and 1000.0 in found["noise"]


def test_noise_pieces_are_other_noises_at_other_speeds() -> None:
    """From a tone of 1 kHz: tones of 0.5 to 2 kHz, 0.2 to 2 s each, whose levels differ, and no gaps between them."""
    source = mixer_of_a_tone(160000, 64000)
    pitches, changed = [], 0
    for seed in range(30):
        segment = segment_of(np.zeros(64000), np.zeros(64000, np.float32), source)
        AUGMENTATIONS["noise_pieces"](segment, np.random.default_rng(seed))
        assert segment.noise.shape == (64000,) and segment.noise.dtype == np.float32
        if not segment.noise.any():
            continue
        changed += 1
        frames = segment.noise.reshape(-1, 800)
        levels = np.array([level_db(frame) for frame in frames])
        assert 0 < np.ptp(levels) < 40
        heard = np.argmax(np.abs(np.fft.rfft(frames * np.hanning(800))), axis=1) * 20  # Hz
        assert 2 <= 1 + np.count_nonzero(np.diff(heard)) <= 50
        pitches += heard.tolist()
    assert 6 <= changed <= 18  # four of ten
    assert 480 <= min(pitches) < 600 and 1700 < max(pitches) <= 2020


def test_speech_speed_moves_the_voice_alone() -> None:
    """A tone of 1 kHz comes out 0.8 to 1.25 times as high from speech; the noise is left alone."""
    source = mixer_of_a_tone(64000, 8000)
    original = source.speech.signals[0][:8000] / np.float32(32768)
    heard = []
    for seed in range(80):
        segment = segment_of(original.copy(), original.copy(), source)
        AUGMENTATIONS["speech_speed"](segment, np.random.default_rng(seed))
        assert segment.speech.shape == (8000,) and segment.speech.dtype == np.float32
        assert np.array_equal(segment.noise, original)
        heard.append(float(np.argmax(np.abs(np.fft.rfft(segment.speech * np.hanning(8000)))) * 2))
    assert 800 - 3 <= min(heard) < 850 and 1200 < max(heard) <= 1250 + 3
    assert 25 <= sum(frequency == 1000.0 for frequency in heard) <= 60


def test_vocal_tract_length_moves_formants_and_keeps_pitch() -> None:
    """A buzz of 125 Hz with one formant at 1.5 kHz: that comes out 0.85 to 1.18 times as high, the buzz as it was."""
    buzz = np.zeros(16000)
    buzz[::128] = 1.0
    spectrum = np.fft.rfft(buzz)
    frequencies = np.fft.rfftfreq(16000, 1 / 16000)
    speech = np.fft.irfft(spectrum / (1 + np.square((frequencies - 1500) / 150)), 16000).astype(np.float32)
    formants = []
    for seed in range(60):
        segment = segment_of(speech.copy(), buzz.copy())
        AUGMENTATIONS["vocal_tract_length"].change(segment, np.random.default_rng(seed))
        assert segment.speech.shape == (16000,) and segment.speech.dtype == np.float32
        assert np.array_equal(segment.noise, buzz)
        assert level_db(segment.speech) == pytest.approx(level_db(speech), abs=0.01)
        power = np.square(np.abs(np.fft.rfft(segment.speech)))
        assert power[::125].sum() > 0.99 * power.sum()  # harmonics, and nothing between them
        near = slice(1000, 2001, 125)
        formants.append(np.sum(frequencies[near] * power[near]) / np.sum(power[near]))
    assert 1500 * 0.85 - 30 < min(formants) < 1500 * 0.91 and 1500 * 1.1 < max(formants) < 1500 * 1.18 + 30


@pytest.mark.parametrize(("name", "lowest", "highest"), [("noise_speed", 500, 2000), ("frequency_shift", 700, 1600)])
def test_noise_sounds_higher_or_lower(name: str, lowest: float, highest: float) -> None:
    """Where a tone of 1 kHz comes out, its level kept; the speech is left alone."""
    source = mixer_of_a_tone(64000, 8000)
    original = source.speech.signals[0][:8000] / np.float32(32768)
    heard = []
    for seed in range(60):
        segment = segment_of(original.copy(), original.copy(), source)
        AUGMENTATIONS[name].change(segment, np.random.default_rng(seed))
        assert segment.noise.shape == (8000,) and segment.noise.dtype == np.float32
        assert np.array_equal(segment.speech, original)
        assert level_db(segment.noise[500:-500]) == pytest.approx(level_db(original), abs=0.2)
        heard.append(float(np.argmax(np.abs(np.fft.rfft(segment.noise * np.hanning(8000)))) * 2))
    assert lowest - 3 <= min(heard) < 1.1 * lowest and highest / 1.1 < max(heard) <= highest + 3


def test_what_a_frequency_shift_moves_out_of_the_band_is_gone() -> None:
    """It neither comes back from below 0 Hz nor from above 8 kHz."""
    time = np.arange(8000) / 16000
    for hertz in (100, 7700):
        tone = np.sin(2 * np.pi * hertz * time).astype(np.float32)
        levels = []
        for seed in range(40):
            segment = segment_of(tone.copy(), tone.copy())
            AUGMENTATIONS["frequency_shift"].change(segment, np.random.default_rng(seed))
            levels.append(level_db(segment.noise + 1e-5))
        assert min(levels) < -80 and max(levels) == pytest.approx(level_db(tone), abs=0.2)


def test_altered_voices_are_no_human_ones() -> None:
    """From a tone of 1 kHz as speech: bursts of 300 to 500 Hz or of 2 to 3.3 kHz, -10 to 10 dB, never both."""
    source = mixer_of_a_tone(160000, 64000)
    noise = (1e-2 * np.random.default_rng(0).standard_normal(64000)).astype(np.float32)
    pitches, made = [], 0
    for seed in range(200):
        segment = segment_of(noise.copy(), noise.copy(), source)
        AUGMENTATIONS["altered_voices"](segment, np.random.default_rng(seed))
        assert segment.noise.shape == (64000,) and segment.noise.dtype == np.float32
        assert np.array_equal(segment.speech, noise)
        if np.array_equal(segment.noise, noise):
            continue
        made += 1
        added = segment.noise - noise
        assert -10.01 <= level_db(added) - level_db(noise) <= 10.01
        pitch = float(np.argmax(np.abs(np.fft.rfft(added)))) / 4  # Hz
        assert 290 <= pitch <= 510 or 1980 <= pitch <= 3320
        pitches.append(pitch)
    assert 12 <= made <= 40  # one of eight
    assert min(pitches) < 510 and max(pitches) > 1980


def test_cross_synthesis_takes_levels_from_one_noise_and_sound_from_the_other() -> None:
    """White noise takes the rhythm and the band of bursts at 1 kHz, and stays noise."""
    time = np.arange(64000) / 16000
    beats = (8000 * np.sin(2 * np.pi * 1000 * time) * (np.floor(time * 4) % 2 == 0)).astype(np.int16)
    source = Mixer(Recordings(["a_0.wav"], [beats]), Recordings(["b_0.wav"], [beats]), 64000)
    white = (1e-2 * np.random.default_rng(0).standard_normal(64000)).astype(np.float32)
    changed = 0
    for seed in range(40):
        segment = segment_of(white.copy(), white.copy(), source)
        AUGMENTATIONS["cross_synthesis"](segment, np.random.default_rng(seed))
        assert segment.noise.shape == (64000,) and segment.noise.dtype == np.float32
        assert np.array_equal(segment.speech, white)
        if np.array_equal(segment.noise, white):
            continue
        changed += 1
        loud, quiet = (np.concatenate(segment.noise.reshape(16, 4000)[first::2, 600:-600]) for first in (0, 1))
        assert np.square(loud).sum() > 1000 * np.square(quiet).sum()
        powers = np.square(np.abs(np.fft.rfft(loud)))
        in_band = powers[len(powers) // 10 : len(powers) // 6]  # 0.8 to 1.33 kHz
        assert in_band.sum() > 0.9 * powers.sum() and in_band.max() < 0.1 * powers.sum()  # not a tone, one bin of which
    assert 3 <= changed <= 15  # two of ten


def test_equalisation_changes_bands_by_up_to_8_db() -> None:
    white = np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    segment = segment_of(white.copy(), white.copy())
    equalisation(segment, np.random.default_rng(1))
    before, after = (np.abs(np.fft.rfft(signal)) for signal in (white, segment.noise))
    gains_db = 20 * np.log10(after / before)
    assert 3 < np.ptp(gains_db) <= 16
    assert np.max(np.abs(np.diff(gains_db[100:]))) < 0.5  # smooth


def first_change(name: str, seconds: float = 2.0) -> Segment:
    """What an augmentation makes of a voice in white noise of RMS 0.1 where it first does anything."""
    length = round(seconds * 16000)
    for seed in range(200):
        noise = 0.1 * np.random.default_rng(seed).standard_normal(length).astype(np.float32)
        segment = segment_of(speech_like(length), noise.copy())
        AUGMENTATIONS[name](segment, np.random.default_rng(seed))
        if segment.clipped_share or not np.array_equal(segment.noise, noise):
            return segment
    raise AssertionError(f"{name} did nothing in 200 segments")


def test_hum_is_a_line_at_the_mains_frequency() -> None:
    spectrum = np.abs(np.fft.rfft(first_change("hum").noise))  # bins of 0.5 Hz
    loudest = np.argmax(spectrum[:800]) / 2
    assert np.min(np.abs(loudest / np.arange(1, 9) - np.array([[50.0], [60.0]]))) < 0.8
    assert np.max(spectrum[:800]) > 20 * np.median(spectrum)


def test_fan_falls_towards_high_frequencies() -> None:
    power = np.abs(np.fft.rfft(first_change("fan").noise)) ** 2
    assert np.mean(power[1000:2000]) > 5 * np.mean(power[12000:])


def test_clicks_are_sparse() -> None:
    noise = first_change("clicks").noise
    assert np.max(np.abs(noise)) > 5 * np.sqrt(np.median(noise**2) / 0.4549)  # of Gaussian noise: 4.3 at most


def test_band_limits_cut_both_sides_of_speech_and_noise_alike() -> None:
    segment = first_change("band_limits")
    before = segment_of(speech_like(32000), 0.1 * np.ones(1, np.float32)).speech
    white = np.abs(np.fft.rfft(segment.noise)) ** 2
    assert np.mean(white[:20]) < 0.3 * np.mean(white[2000:4000])
    speech_gain = np.abs(np.fft.rfft(segment.speech))[2000:4000] / np.abs(np.fft.rfft(before))[2000:4000]
    np.testing.assert_allclose(speech_gain, 1.0, atol=0.1)


def test_clipping_spoils_the_mixture_alone() -> None:
    source, plain = mixer(augmentations=["clipping"]), mixer()
    clipped = 0
    for seed in range(100):
        (noisy, clean), (whole, target) = (m.draw(np.random.default_rng(seed)) for m in (source, plain))
        np.testing.assert_array_equal(clean, target)
        if not np.array_equal(noisy, whole):
            clipped += 1
            limit = np.max(np.abs(noisy))
            inside = np.abs(whole) < limit
            np.testing.assert_array_equal(noisy[inside], whole[inside])
            assert 1 <= np.count_nonzero(~inside) <= 0.04 * len(whole)
    assert 1 <= clipped <= 15
