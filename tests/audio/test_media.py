"""dtln.audio.media: recordings that soundfile does not read, and the sound of videos."""

from __future__ import annotations

import importlib.util
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from dtln.audio.folders import find_audio_files
from dtln.audio.headers import audio_info
from dtln.audio.reading import audio_blocks, read_audio, read_stretch
from dtln.commands import enhance
from dtln.errors import AudioFileError, NotAudioError

RATE, LENGTH = 48000, 50000


def chirps() -> np.ndarray:
    """Chirps that begin and end within the recording, (L, channels), by which a delay is seen."""
    time = np.arange(LENGTH) / RATE
    envelope = np.clip(40 * (time - 0.1), 0, 1) * np.clip(40 * (LENGTH / RATE - 0.1 - time), 0, 1)
    left = 0.5 * envelope * np.sin(2 * np.pi * (300 + 500 * time) * time)
    return np.stack([left, 0.5 * left], axis=1).astype(np.float32)


def write_media(path: Path, codec: str | None, video: bool = False, **tags: str) -> None:
    """A file with the chirps in this codec, and a video of a second beside them."""
    with av.open(str(path), "w") as container:
        container.metadata.update(tags)
        pictures = container.add_stream("mpeg4", rate=10) if video else None
        sound = container.add_stream(codec, rate=RATE, layout="stereo") if codec else None
        if pictures:
            pictures.width, pictures.height, pictures.pix_fmt = 32, 32, "yuv420p"
            for index in range(10):
                picture = av.VideoFrame(32, 32, "yuv420p")
                picture.pts, picture.time_base = index, Fraction(1, 10)
                container.mux(pictures.encode(picture))
            container.mux(pictures.encode())
        if sound:
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(chirps().T), "fltp", "stereo")
            frame.sample_rate, frame.pts = RATE, 0
            container.mux(sound.encode(frame))
            container.mux(sound.encode())


@pytest.mark.parametrize(
    ("name", "codec", "exact"),
    [
        ("a.m4a", "aac", True),
        ("a.M4A", "alac", True),
        ("a.mp4", "aac", True),
        ("a.mov", "pcm_s16le", True),
        ("a.mka", "flac", True),
        ("a.webm", "libopus", False),
        ("a.mkv", "aac", False),
        ("a.wma", "libmp3lame", False),
        ("a.aac", "aac", False),
        ("a.avi", "ac3", False),
        ("a.wav", "ac3", False),  # a codec that libsndfile does not know
    ],
)
def test_sound_is_as_players_have_it(tmp_path, name, codec, exact):
    path = tmp_path / name
    write_media(path, codec, video=name == "a.mp4")
    samples, rate = read_audio(path)
    info = audio_info(path, counted=True)
    assert (rate, samples.shape[1], samples.dtype) == (RATE, 2, np.float32)
    assert len(samples) == info.length and abs(len(samples) - LENGTH) <= (0 if exact else 4096)
    assert abs(audio_info(path).length - LENGTH) < 0.2 * RATE  # by the header
    expected = chirps()[:, 0]
    lags = np.correlate(samples[:20000, 0], expected[2000:18000], "valid")
    delay = int(np.argmax(lags)) - 2000
    assert abs(delay) <= (1 if name != "a.aac" and codec not in ("ac3", "libmp3lame") else 2100)  # these do not tell it
    overlap = samples[max(0, delay) :][: LENGTH - 4096, 0]
    assert np.sqrt(np.mean((overlap - expected[: len(overlap)]) ** 2)) < 0.03
    assert np.max(np.abs(samples[:, 1] - 0.5 * samples[:, 0])) < 0.1
    mono = read_audio(path, 16000, mono=True)[0]
    stretch = read_stretch(path, 5000, 4000, 16000)
    np.testing.assert_allclose(stretch, mono[5000:9000], atol=1e-4)
    assert max(map(len, audio_blocks(path))) <= 1 << 18


def test_tags_and_names(tmp_path):
    write_media(tmp_path / "a.m4a", "aac", title="Gespräch", artist="A. B.")
    assert audio_info(tmp_path / "a.m4a").tags == {"title": "Gespräch", "artist": "A. B."}
    (tmp_path / "a.bin").write_bytes((tmp_path / "a.m4a").read_bytes())
    assert len(read_audio(tmp_path / "a.bin")[0]) == LENGTH  # known by its first bytes
    assert [path.name for path in find_audio_files(tmp_path)] == ["a.m4a"]


def test_bad_media(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video " * 99)
    with pytest.raises(AudioFileError, match=r"a.mp4: cannot be read as audio \(Invalid data"):
        audio_info(tmp_path / "a.mp4")
    write_media(tmp_path / "silent.mp4", None, video=True)
    with pytest.raises(NotAudioError, match="silent.mp4: holds no sound, but video"):
        audio_info(tmp_path / "silent.mp4")


@pytest.mark.parametrize("name", ["a.m4a", "a.mka", "a.webm", "a.wma", "a.avi"])
def test_media_that_are_cut_or_joined(tmp_path, name):
    path = tmp_path / name
    codecs = {".m4a": "aac", ".mka": "flac", ".webm": "libopus", ".wma": "libmp3lame", ".avi": "ac3"}
    write_media(path, codecs[path.suffix])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(
        AudioFileError, match=f"{name}: (is truncated: its structure announces|cannot be read as audio)"
    ):
        audio_info(path)
    if name != "a.m4a":  # whose index stands at its end
        info = audio_info(path, salvage=True)
        assert 5000 < info.length == len(read_audio(path, salvage=True)[0]) < LENGTH and info.salvaged
    path.write_bytes(content * 2)
    with pytest.raises(AudioFileError, match=f"{name}: holds 2 recordings joined end to end, of which the first alone"):
        audio_info(path)
    assert "samples per channel are there, the " in (audio_info(path, salvage=True).salvaged or "")
    path.write_bytes(content + bytes(100))
    assert len(read_audio(path)[0])


def test_without_pyav_files_are_named_with_what_reads_them(tmp_path, monkeypatch):
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0\x18ftypM4A " + bytes(100))
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "av" else find_spec(name, *rest)
    )
    with pytest.raises(
        AudioFileError, match=r"a.m4a: is of a format that soundfile does not read. pip install .*media"
    ):
        audio_info(tmp_path / "a.m4a")


def test_folder_of_all_kinds(tmp_path, noise, identity_weights, capsys):
    """Videos are denoised, what holds no sound is named, and what lies about its length is salvaged."""
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    write_media(source / "video.mp4", "aac", video=True, title="Titel")
    write_media(source / "silent.mp4", None, video=True)
    (source / "matrix.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(500))
    with soundfile.SoundFile(source / "stale.wav", "w", 16000, 1) as file:
        file.title, file.artist = "Küche", "A. B."
        file.write(noise(8000))
    content = (source / "stale.wav").read_bytes()
    (source / "stale.wav").write_bytes(content + content[-6000:])
    arguments = ["-i", source, "-o", target, "-m", identity_weights, "--keep-rate"]
    assert enhance.main([*map(str, arguments)]) == 1
    told = capsys.readouterr()
    assert "FAILED" in told.err and "stale.wav: goes on behind its announced end" in told.err
    assert "2 files without sound, passed over:" in told.out and told.err.count("FAILED") == 1
    assert enhance.main([*map(str, arguments), "--salvage", "--overwrite"]) == 0
    told = capsys.readouterr().out
    assert "1 file salvaged:\n" in told and "samples per channel are there, the header announces 8000" in told
    assert f"{source / 'video.mp4'}: MP4 AAC cannot be written, {target / 'video.wav'} is WAV PCM_16" in told
    assert audio_info(target / "video.wav").length == LENGTH
    assert audio_info(target / "video.wav").tags["title"] == "Titel"
    assert audio_info(target / "stale.wav").tags == {"title": "Küche", "artist": "A. B."}
    assert audio_info(target / "stale.wav").length > 8000
