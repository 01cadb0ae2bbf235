"""dtln.evaluation.denoising: formats, rates, channels, engines, and files that fail."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from signal import SIGINT, SIGTERM

import numpy as np
import pytest
import soundfile
from enhancing import SCRIPT, require_aligned

from dtln.audio.headers import audio_info
from dtln.audio.reading import audio_blocks, read_audio
from dtln.audio.resampling import resample
from dtln.evaluation import denoising, recording
from dtln.evaluation.denoising import plan_denoising
from dtln.evaluation.engines import WholeSignals
from dtln.evaluation.sequences import SequenceDenoiser
from dtln.formats import DEFAULT_WEIGHTS, EXPORT_KINDS
from dtln.pool import Stopped


@pytest.mark.parametrize(
    ("name", "container", "subtype", "decibels"),
    [
        ("a.wav", "WAV", "PCM_U8", 28),
        ("a.wav", "WAV", "PCM_16", 40),
        ("a.WAV", "WAV", "PCM_24", 40),
        ("a.wav", "WAVEX", "PCM_32", 40),
        ("a.wav", "WAV", "FLOAT", 40),
        ("a.wav", "WAV", "DOUBLE", 40),
        ("a.Flac", "FLAC", "PCM_24", 40),
        ("a.ogg", "OGG", "VORBIS", 15),
        ("a.aif", "AIFF", "PCM_16", 40),
    ],
)
def test_sample_formats(folders, evaluate, noise, name, container, subtype, decibels):
    source, target = folders
    (source / "deep" / "down").mkdir(parents=True)
    soundfile.write(source / "deep" / "down" / name, noise(10007), 16000, format=container, subtype=subtype)
    assert evaluate() == 0
    result = target / "deep" / "down" / name
    info = soundfile.info(result)
    assert (info.format, info.subtype, info.samplerate, info.channels) == (container, subtype, 16000, 1)
    require_aligned(
        read_audio(result, mono=True)[0], read_audio(source / "deep" / "down" / name, mono=True)[0], decibels
    )


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
@pytest.mark.parametrize("keep_rate", [False, True])
def test_stereo_of_any_rate(folders, evaluate, noise, rate, keep_rate):
    source, target = folders
    signal = resample(noise(9000, 2), 8000, rate)[: rate + 3]  # (L, 2)
    soundfile.write(source / "a.wav", signal, rate, subtype="FLOAT")
    assert evaluate(*["--keep-rate"] * keep_rate) == 0
    result, result_rate = read_audio(target / "a.wav")
    assert result_rate == (rate if keep_rate else 16000)
    length = len(signal) if keep_rate else -(-len(signal) * 16000 // rate)
    assert result.shape == (length, 1)
    expected = signal.mean(axis=1)
    require_aligned(result[:, 0], expected if keep_rate else resample(expected, rate, 16000))


def test_keep_channels(folders, evaluate, noise):
    source, target = folders
    signal = noise(8000, 3)
    soundfile.write(source / "a.wav", signal, 16000, subtype="FLOAT")
    assert evaluate("--keep-channels") == 0
    result, _ = read_audio(target / "a.wav")
    for channel in range(3):
        require_aligned(result[:, channel], signal[:, channel])


@pytest.mark.parametrize("length", [1, 127, 512, 513])
def test_short_recordings(folders, evaluate, noise, length):
    source, target = folders
    soundfile.write(source / "a.wav", noise(length), 16000, subtype="FLOAT")
    assert evaluate() == 0
    np.testing.assert_allclose(read_audio(target / "a.wav", mono=True)[0], noise(length), atol=0.05)


def test_zero_samples(folders, evaluate, capsys):
    source, target = folders
    soundfile.write(source / "a.wav", np.zeros((0, 2)), 44100, subtype="PCM_24")
    assert evaluate() == 0
    info = soundfile.info(target / "a.wav")
    assert (info.frames, info.samplerate, info.channels, info.subtype) == (0, 16000, 1, "PCM_24")
    assert re.search(r"1 file empty:\n  .*a.wav: holds no samples", capsys.readouterr().out)


def test_format_that_cannot_be_written(folders, evaluate, noise, capsys):
    source, target = folders
    soundfile.write(source / "a.wav", noise(3200), 16000, subtype="GSM610")
    soundfile.write(source / "b.mp3", noise(11000), 11025, format="MP3", subtype="MPEG_LAYER_III")
    soundfile.write(source / "c.wve", noise(8000), 8000, format="WVE", subtype="ALAW")
    assert evaluate("--keep-rate") == 0
    found = {path.name: soundfile.info(path).subtype for path in target.iterdir()}
    assert found == {"a.wav": "PCM_16", "b.mp3": "MPEG_LAYER_III", "c.wve": "ALAW"}
    assert "1 file converted:" in capsys.readouterr().out
    assert evaluate("--overwrite") == 0
    assert soundfile.info(target / "c.wav").subtype == "ALAW"
    assert re.search(r"c.wve: WVE ALAW cannot be written, .*c.wav is WAV ALAW", capsys.readouterr().out)


def test_recordings_that_become_the_same_wav_keep_their_extensions(folders, evaluate, noise, capsys):
    source, target = folders
    soundfile.write(source / "a.wve", noise(8000), 8000, format="WVE", subtype="ALAW")
    soundfile.write(source / "a.wav", noise(8000), 8000)
    soundfile.write(source / "b.wve", noise(8000), 8000, format="WVE", subtype="ALAW")
    assert evaluate() == 0
    assert {path.name for path in target.iterdir()} == {"a.wav", "a.wve.wav", "b.wav"}
    assert re.search(r"a.wve: WVE ALAW cannot be written, .*a.wve.wav is WAV ALAW", capsys.readouterr().out)


def test_report_of_what_became_of_each_file(folders, evaluate, noise, tmp_path, capsys):
    source, target = folders
    soundfile.write(source / "a.wve", noise(8000) + 1.0, 8000, format="WVE", subtype="ALAW")
    soundfile.write(source / "done.wav", noise(800), 16000)
    (source / "bad.wav").write_bytes(b"bad")
    (source / "matrix.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))
    target.mkdir()
    (target / "done.wav").write_bytes(b"older")
    report = tmp_path / "report.json"
    assert evaluate("--skip-existing", "--json", str(report)) == 1
    assert f"report written to {report}" in capsys.readouterr().out
    found = json.loads(report.read_text())
    entries = {Path(entry["source"]).name: entry for entry in found["denoised"]}
    status = {name: entry["status"] for name, entry in entries.items()}
    assert status == {"a.wve": "denoised", "bad.wav": "failed", "done.wav": "skipped", "matrix.mat": "passed over"}
    about = entries["a.wve"]
    assert (about["seconds"], about["sample_rate"], about["format"]) == (1.0, 16000, "WAV ALAW")
    assert about["target"] == str(target / "a.wav") and about["converted_from"] == "WVE ALAW"
    assert "freed of a DC offset" in [finding["title"] for finding in about["findings"]]
    assert "bad.wav" in entries["bad.wav"]["reason"] and found["settings"]["level"] == "auto"
    assert found["count"] == {"scored": 0, "left_out": 0, "failed": 0}
    assert evaluate("--overwrite", "--json", str(tmp_path / "no" / "report.json")) == 1
    assert "report.json: its folder does not exist. Make it first" in capsys.readouterr().err
    assert (target / "done.wav").read_bytes() == b"older"


def test_clipped_samples_are_counted(folders, evaluate, capsys):
    source, target = folders
    tone = 0.9999 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    soundfile.write(source / "a.wav", np.sign(tone) * np.abs(tone) ** 0.1, 16000, subtype="PCM_16")
    soundfile.write(source / "b.wav", 3 * tone, 16000, subtype="FLOAT")
    assert evaluate() == 0
    summary = capsys.readouterr().out
    assert re.search(r"1 file clipped at full scale:\n  .*a.wav: [1-9]\d* samples\n", summary)
    assert np.max(read_audio(target / "b.wav", mono=True)[0]) > 2


def test_summary_and_progress(folders, evaluate, noise, capsys):
    source, _ = folders
    soundfile.write(source / "a.wav", noise(32000), 16000)
    (source / "notes.txt").write_text("not audio")
    assert evaluate() == 0
    out, progress = capsys.readouterr()
    assert re.match(r"1 file denoised: 2\.0 s of audio in [\d.]+ s, [\d.]+ x real time\n", out)
    assert re.search(r"denoising: 100%.*1/1 .*x real time", progress)


def test_strength_0_gives_the_recording_back(folders, evaluate, noise):
    source, target = folders
    stereo = 1e-3 * noise(9000, 2) + 0.1
    soundfile.write(source / "a.wav", stereo, 44100, subtype="PCM_24")
    soundfile.write(source / "b.flac", noise(9000), 16000)
    assert evaluate("--strength", "0", "--keep-rate") == 0
    np.testing.assert_allclose(soundfile.read(target / "a.wav")[0], stereo.mean(axis=1), atol=2**-22)
    np.testing.assert_array_equal(soundfile.read(target / "b.flac")[0], soundfile.read(source / "b.flac")[0])
    assert evaluate("--strength", "0", "--keep-rate", "--keep-channels", "--overwrite") == 0
    np.testing.assert_array_equal(soundfile.read(target / "a.wav")[0], soundfile.read(source / "a.wav")[0])


def test_attenuation_limit_is_a_strength(folders, evaluate, noise):
    source, target = folders
    soundfile.write(source / "a.wav", noise(9000), 16000, subtype="FLOAT")
    outputs = []
    for options in (["--strength", "0.75"], ["--attenuation-limit", "12.0411998"], []):
        assert evaluate(*options, "--overwrite", weights=DEFAULT_WEIGHTS) == 0
        outputs.append(soundfile.read(target / "a.wav")[0])
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-6)
    np.testing.assert_allclose(outputs[0], 0.75 * outputs[2] + 0.25 * noise(9000), atol=1e-6)


def test_high_band_is_kept_or_said_to_be_gone(folders, evaluate, noise, capsys):
    source, target = folders
    white = 0.1 * np.random.default_rng(0).standard_normal(20000)
    soundfile.write(source / "a.wav", white, 48000, subtype="FLOAT")
    soundfile.write(source / "b.wav", noise(9000), 16000, subtype="FLOAT")
    assert evaluate("--keep-rate", "--keep-high-band") == 0
    assert "8 kHz" not in capsys.readouterr().out
    np.testing.assert_allclose(soundfile.read(target / "a.wav")[0][500:-500], white[500:-500], atol=0.01)
    assert evaluate("--keep-rate", "--overwrite") == 0
    assert re.search(r"1 file without anything above 8 kHz:\n  .*a.wav: 48000 Hz; --keep-high", capsys.readouterr().out)
    assert np.std(soundfile.read(target / "a.wav")[0]) < 0.07


def test_existing_output(folders, evaluate, noise, capsys):
    source, target = folders
    for name in ("a.wav", "b.wav"):
        soundfile.write(source / name, noise(1000), 16000)
    target.mkdir()
    (target / "b.wav").write_text("old")
    assert evaluate() == 1
    assert re.search(r"b.wav: exists already \(1 of 2 outputs do\).*--overwrite or --skip", capsys.readouterr().err)
    assert os.listdir(target) == ["b.wav"]
    assert evaluate("--skip-existing") == 0
    assert "1 file skipped, because the output exists" in capsys.readouterr().out
    assert (target / "b.wav").read_text() == "old" and (target / "a.wav").exists()
    assert evaluate("--overwrite") == 0
    assert soundfile.info(target / "b.wav").frames == 1000


def test_bad_files_do_not_stop_the_others(folders, evaluate, noise, capsys):
    source, target = folders
    for name in ("a.wav", "cut.wav", "short.wav", "z.wav"):
        soundfile.write(source / name, noise(16000), 16000)
    (source / "cut.wav").write_bytes((source / "cut.wav").read_bytes()[:1044])
    (source / "short.wav").write_bytes((source / "short.wav").read_bytes()[:30])
    (source / "empty.wav").touch()
    (source / "link.wav").symlink_to("nowhere")
    (source / "text.wav").write_text("these are words, not samples")
    soundfile.write(source / "nan.wav", np.array([0, np.nan]), 16000, subtype="FLOAT")
    soundfile.write(source / "inf.wav", np.array([0, np.inf]), 16000, subtype="FLOAT")
    assert evaluate() == 1
    out, err = capsys.readouterr()
    assert sorted(os.listdir(target)) == ["a.wav", "z.wav"]
    assert "2 files denoised" in out and "7 files failed" in out
    for name, reason in {
        "cut.wav": "is truncated: the header announces 32000 bytes of samples, 1000 are there",
        "short.wav": "is truncated: the header breaks off",
        "empty.wav": "is a file of 0 bytes",
        "link.wav": "is a link to nowhere",
        "text.wav": "cannot be read as audio",
        "nan.wav": "1 samples are NaN or Inf",
        "inf.wav": "1 samples are NaN or Inf",
    }.items():
        assert f"FAILED {source / name}: {reason}" in err


def test_engines_agree(folders, evaluate, noise):
    """To 1e-4 of full scale with shipped weights: other rates, two channels, a recording of several chunks, jobs."""
    source, target = folders
    weights = SCRIPT.parent / "pretrained_model" / "model.h5"
    exports = ["tflite", "onnx"]
    assert set(exports) < set(EXPORT_KINDS)
    recordings = {"a": (noise(90000), 16000), "b": (noise(30000, channels=2), 44100), "c": (noise(500), 8000)}
    for name, (signal, rate) in recordings.items():
        soundfile.write(source / f"{name}.wav", signal, rate, "FLOAT")
    flags = ["--keep-rate", "--keep-channels", "--overwrite"]
    results = []
    engines = [["keras"], ["fast", "--jobs", "1"], ["fast", "--jobs", "3"], *([kind] for kind in exports)]
    for engine in engines:
        model = weights.parent if engine[0] in exports else weights
        assert evaluate("--engine", *engine, *flags, weights=model) == 0
        results.append({name: read_audio(target / f"{name}.wav") for name in recordings})
    for name, (signal, rate) in recordings.items():
        expected = results[0][name][0]
        assert np.max(np.abs(expected)) > 1e-3
        for result in results[1:]:
            assert result[name][1] == rate and len(result[name][0]) == len(signal)
            np.testing.assert_allclose(result[name][0], expected, atol=1e-4)


def test_denoising_needs_few_packages_and_no_memory_for_length(tmp_path, noise):
    """Eight minutes take at most 12 MiB more than half a minute; their samples alone are 29 MiB."""
    for name, seconds in (("short", 30), ("long", 480)):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "a.wav", np.tile(noise(16000 * 30), seconds // 30), 16000)
    code = (
        "import resource, sys\n"
        "absent = 'tensorflow', 'keras', 'DTLN_model', 'pesq', 'pystoi', 'scipy', 'tqdm'\n"
        "for name in absent: sys.modules[name] = None  # imports would raise\n"
        "import run_evaluation\n"
        "assert run_evaluation.main(sys.argv[1:]) == 0\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    sizes = []
    for name in ("short", "long"):
        command = [sys.executable, "-c", code, "-i", str(tmp_path / name), "-o", str(tmp_path / f"{name}_out")]
        run = subprocess.run(command, cwd=SCRIPT.parent, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        sizes.append(float(run.stdout.split()[-1]))
    assert soundfile.info(tmp_path / "long_out" / "a.wav").frames == 480 * 16000
    assert sizes[1] - sizes[0] <= 12, sizes


@pytest.mark.parametrize("rate", [16000, 44100])
def test_blocks_without_samples_are_no_end(folders, evaluate, noise, monkeypatch, rate):
    """The reader gives one after an MP3 whose length it estimated, for instance."""
    source, target = folders
    soundfile.write(source / "a.wav", noise(rate, 2), rate, subtype="PCM_24")  # FLOAT would hold the time of day
    assert evaluate() == 0
    expected = (target / "a.wav").read_bytes()

    def reader(path, *rate, **options):
        for block in audio_blocks(path, *rate, **options):
            yield from (block[:100], block[:0], block[100:], block[:0])

    monkeypatch.setattr(recording, "audio_blocks", reader)
    flushed, flush = [], SequenceDenoiser.flush
    monkeypatch.setattr(SequenceDenoiser, "flush", lambda self: flushed.append(1) or flush(self))
    assert evaluate("--overwrite") == 0
    assert (target / "a.wav").read_bytes() == expected and flushed == [1]


def test_unforeseen_error_is_one_files_own(folders, evaluate, noise, capsys, monkeypatch):
    source, target = folders
    for name in ("a.wav", "b.wav"):
        soundfile.write(source / name, noise(1000), 16000)

    def reader(path, *rate, **options):
        if path.name == "a.wav":
            raise MemoryError("too long")
        return audio_blocks(path, *rate, **options)

    monkeypatch.setattr(recording, "audio_blocks", reader)
    assert evaluate() == 1
    assert "a.wav: MemoryError: too long" in capsys.readouterr().err
    assert os.listdir(target) == ["b.wav"]


def test_unforeseen_error_of_a_header_is_one_files_own(folders, evaluate, noise, capsys, monkeypatch):
    source, target = folders
    for name in ("a", "b"):
        soundfile.write(source / f"{name}.wav", noise(1000), 16000)

    def stumble(path, *arguments):
        if path.name == "a.wav":
            raise OverflowError("can't convert")
        return audio_info(path, *arguments)

    monkeypatch.setattr(denoising, "audio_info", stumble)
    assert evaluate() == 1
    assert re.search("FAILED .*a.wav: OverflowError: can't convert", capsys.readouterr().err)
    assert [path.name for path in target.iterdir()] == ["b.wav"]


def test_measuring_can_be_ended(folders, noise, monkeypatch):
    source, target = folders
    soundfile.write(source / "a.wav", noise(1000), 16000)
    (job,) = plan_denoising(source, target)

    def stop(seconds):
        raise Stopped

    monkeypatch.setattr(recording, "advance", stop)
    monkeypatch.delattr(recording, "load_engine")  # for which it is too early
    with pytest.raises(Stopped):
        recording.denoise_file(recording.DenoisingSettings(), job)


def test_network_that_gives_nan(folders, evaluate, noise, capsys, monkeypatch):
    source, target = folders
    soundfile.write(source / "a.wav", noise(1000), 16000)

    def broken(engine, weights):
        return lambda signals: WholeSignals(lambda samples: np.nan * samples)

    monkeypatch.setattr(recording, "load_engine", broken)
    assert evaluate() == 1
    assert "a.wav: the network gave NaN or Inf" in capsys.readouterr().err
    assert not list(target.iterdir())


def test_program_with_two_processes(folders, noise, identity_weights):
    source, target = folders
    for index in range(3):
        soundfile.write(source / f"{index}.wav", noise(8000, seed=index), 16000, subtype="FLOAT")
    soundfile.write(source / "bad.wav", np.array([np.nan]), 16000, subtype="FLOAT")
    command = [sys.executable, SCRIPT, "-i", source, "-o", target, "-m", identity_weights, "--jobs", "2"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=source.parent)
    assert result.returncode == 1, result.stderr
    assert "3 files denoised" in result.stdout
    assert "bad.wav: 1 samples are NaN or Inf" in result.stderr
    for index in range(3):
        require_aligned(read_audio(target / f"{index}.wav", mono=True)[0], noise(8000, seed=index))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names that are not text")
def test_names_that_are_not_utf_8(folders, evaluate, noise):
    source, target = folders
    soundfile.write(source / "good.wav", noise(1000), 16000)
    os.mkdir(os.fsencode(source) + b"/d\xe9")
    for name in (b"caf\xe9.wav", b"d\xe9/caf\xe9.flac"):
        soundfile.write(
            os.fsencode(source) + b"/" + name, noise(1000), 16000, format="FLAC" if b"flac" in name else None
        )
    assert evaluate() == 0
    assert sorted(os.listdir(os.fsencode(target))) == [b"caf\xe9.wav", b"d\xe9", b"good.wav"]
    assert os.listdir(os.fsencode(target) + b"/d\xe9") == [b"caf\xe9.flac"]


@pytest.mark.skipif(sys.platform != "linux", reason="links as Linux has them")
def test_link_that_leads_to_itself_costs_one_file(folders, evaluate, noise, capsys):
    source, target = folders
    soundfile.write(source / "good.wav", noise(1000), 16000)
    (source / "loop.wav").symlink_to("loop.wav")
    assert evaluate() == 1
    assert "loop.wav: is a link to loop.wav" in capsys.readouterr().err
    assert os.listdir(target) == ["good.wav"]


def test_name_that_the_terminal_cannot_show(folders, noise):
    source, target = folders
    soundfile.write(source / "\u65e5.wav", noise(1000), 16000)
    command = [sys.executable, str(SCRIPT), str(source / "\u65e5.wav")]
    run = subprocess.run(command, env=os.environ | {"PYTHONIOENCODING": "cp1252"}, capture_output=True)
    assert run.returncode == 0, run.stderr
    assert b"\\u65e5_denoised.wav" in run.stdout


@pytest.mark.parametrize("number", [SIGINT, SIGTERM])
def test_interrupt_within_a_long_recording(folders, noise, identity_weights, number):
    """The program ends at once, leaves nothing half-written, and says what was written; a later run goes on."""
    source, target = folders
    for name, length in (("a", 1000), ("b", 2000), ("long", 32000)):
        soundfile.write(source / f"{name}.wav", noise(length), 16000)
    target.mkdir()
    (target / "b.wav").write_text("old")
    code = (
        "import sys, time, run_evaluation\n"
        "from dtln.evaluation import engines, recording\n"
        "def denoise(samples):\n"
        "    if samples.shape[1] > 20000: print('inside', flush=True); time.sleep(60)\n"
        "    return samples\n"
        "recording.load_engine = lambda *engine: lambda signals: engines.WholeSignals(denoise)\n"
        "sys.exit(run_evaluation.main(sys.argv[1:]))"
    )
    flags = ["-i", source, "-o", target, "-m", identity_weights, "--jobs", "1", "--overwrite"]
    command = [sys.executable, "-c", code, *map(str, flags)]
    with subprocess.Popen(command, cwd=SCRIPT.parent, stdout=-1, stderr=-1, text=True) as program:
        assert program.stdout.readline() == "inside\n"
        program.send_signal(number)
        out, err = program.communicate(timeout=5)
    assert (program.returncode, out) == (128 + number, "")
    said = "run_evaluation.py: stopped: 2 of 3 files written, complete; --skip-existing goes on"
    assert [line for line in err.splitlines() if not line.startswith("denoising: ")] == [said]
    assert sorted(os.listdir(target)) == ["a.wav", "b.wav"] and soundfile.info(target / "b.wav").frames == 2000


def test_folder_that_cannot_be_listed_costs_itself_alone(folders, evaluate, noise, capsys, monkeypatch):
    source, target = folders
    for name in ("good", "locked"):
        (source / name).mkdir()
        soundfile.write(source / name / "a.wav", noise(1000), 16000)
    scandir = os.scandir

    def guarded(path):
        if os.path.basename(path) == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    assert evaluate() == 1
    assert f"FAILED {source / 'locked'}: cannot be listed (Permission denied)" in capsys.readouterr().err
    assert os.listdir(target) == ["good"]
