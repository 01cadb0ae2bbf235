"""The package for browsers and its demo: in node, and in headless Chromium, beside the engine in Python."""

from __future__ import annotations

import functools
import gzip
import http.server
import json
import re
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from signals import snr_db

from benchmarks import web
from dtln.audio.reading import read_audio
from dtln.formats import MODEL_DIR
from dtln.streaming import StreamingDenoiser, open_backend

pytestmark = [pytest.mark.web, pytest.mark.environments("web")]

HERE = Path(__file__).parent
NOISY = HERE.parents[1] / "audio_samples" / "noisy"
TOLERANCE = 1e-3  # of full scale, between browser and Python; float32 gives 3e-7, a 16-bit recording 1e-4
FIREFOX = ("firefox-esr", "firefox")
FADE = 128  # samples in which denoised sound comes back after an underrun
SEEN = 10.0  # steps of colour between two spectrograms that differ; of the same sound they differ by less than 3


@pytest.fixture(scope="session")
def built(python_of) -> Path:
    """A folder like the repository, with `web` and `docs/demo` built in it."""
    return Path(python_of("web"))


@pytest.fixture(scope="session")
def backend():
    return open_backend("onnx-stream")


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".js": "text/javascript"}

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def site(built, tmp_path) -> Iterator[str]:
    """The address of a static server, of a folder below its top: the demo and pages of the tests lie there."""
    place = tmp_path / "site" / "some" / "place"
    place.mkdir(parents=True)
    (place / "demo").symlink_to(built / "docs" / "demo", target_is_directory=True)
    handler = functools.partial(Quiet, directory=str(tmp_path / "site"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/some/place/"
        server.shutdown()


@pytest.fixture
def browse(built, site, tmp_path):
    """Function (scenario of browser.mjs, page below `site`, options) -> what it said; `tmp_path` has what it saved."""

    def run(scenario: str, page: str, may_fail: bool = False, browser: str = "chromium", **options: object) -> dict:
        programs = web.BROWSERS if browser == "chromium" else FIREFOX
        program = next(filter(None, map(shutil.which, programs)), None)
        if program is None:
            pytest.skip(f"none of {', '.join(programs)} is installed")
        words = json.dumps({"browser": program, **options}, default=str)
        command = [str(word) for word in ("node", HERE / "browser.mjs", scenario, site + page, tmp_path, words)]
        done = subprocess.run(command, cwd=built / "web", capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stdout + done.stderr
        said = json.loads(done.stdout)
        assert "error" not in said, said
        assert may_fail or said["faults"] == []
        outside = [url for url in said["requests"] if not url.startswith((site, "blob:", "data:"))]
        assert said["requests"] and not outside
        return said

    return run


@pytest.fixture
def page_of(built, site, tmp_path):
    """Function (name of a script beside this file) -> the folder of a page with it, below `site`."""

    def make(name: str) -> Path:
        folder = tmp_path / "site" / "some" / "place" / name
        command = ["node_modules/.bin/esbuild", HERE / f"{name}.mjs", "--bundle", "--format=esm", "--log-level=error"]
        command += ["--alias:dtln-web=./dist/index.js", "--external:module", f"--outfile={folder / 'page.js'}"]
        subprocess.run([str(word) for word in command], cwd=built / "web", check=True, timeout=60)
        page = '<!doctype html><link rel="icon" href="data:,"><script type="module" src="page.js"></script>'
        (folder / "index.html").write_text(page)
        return folder

    return make


def noisy(sample_rate: int, seconds: float = 2.0) -> np.ndarray:
    """Speech beside a bus, (L,)."""
    signal = read_audio(NOISY / "numbers_bus_10dB.wav", sample_rate=sample_rate, mono=True)[0]
    return signal[: int(seconds * sample_rate) + 17].astype(np.float32)


@pytest.fixture
def in_node(built, tmp_path):
    """Function (signal (C, L), options of denoise.mjs, model) -> denoised (C, L), what the script said."""

    def run(signal: np.ndarray, options: dict, model: str = "model_stream.onnx") -> tuple[np.ndarray, dict]:
        signal.tofile(tmp_path / "noisy.f32")
        command = ["node", HERE / "denoise.mjs", built / "web", MODEL_DIR / model, json.dumps(options)]
        command += [tmp_path / "noisy.f32", tmp_path / "denoised.f32"]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return np.fromfile(tmp_path / "denoised.f32", np.float32).reshape(len(signal), -1), json.loads(done.stdout)

    return run


def test_package_passes_its_own_tests(built):
    run = subprocess.run(
        ["npm", "test", "--ignore-scripts"], cwd=built / "web", capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert int(re.search(r"^# pass (\d+)$", run.stdout, re.MULTILINE)[1]) > 30


def test_code_of_the_docs_compiles(built):
    text = (HERE.parents[1] / "docs" / "browser.md").read_text(encoding="utf-8")
    known = "declare const [left, right, samples]: Float32Array[];\n"
    blocks = re.findall(r"^```ts\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    for number, block in enumerate(blocks):
        (built / "web" / "test" / f"docs_{number}.ts").write_text(known + block)
    command = ["npx", "tsc", "-p", "tsconfig.json", "--noUnusedLocals", "false"]
    run = subprocess.run(command, cwd=built / "web", capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr


NEWCOMER = """
import fs from "node:fs";
import { fileURLToPath } from "node:url";
import { Denoiser, encodeWav, type StreamOptions } from "dtln-web";

const options: StreamOptions = { sampleRate: 48000 };
const model = fs.readFileSync(fileURLToPath(import.meta.resolve("dtln-web/model_stream.onnx")));
const denoiser = await Denoiser.create({ model, ...options });
const clean: Float32Array = await denoiser.denoise(new Float32Array(4800));
console.log(clean.length, encodeWav(clean, 48000).length);
"""


def test_packed_package_brings_all_that_it_needs(built, tmp_path):
    """As `npm install dtln-web-0.2.0.tgz` lays it, beside what it depends on."""
    web = built / "web"
    command = ["npm", "pack", "--json", "--ignore-scripts", "--pack-destination", tmp_path]
    packed = subprocess.run([str(word) for word in command], cwd=web, capture_output=True, text=True, timeout=120)
    assert packed.returncode == 0, packed.stderr
    described = json.loads((web / "package.json").read_text())
    project = tmp_path / "project"
    modules = project / "node_modules"
    modules.mkdir(parents=True)
    with tarfile.open(tmp_path / f"dtln-web-{described['version']}.tgz") as archive:
        archive.extractall(tmp_path)
    (tmp_path / "package").rename(modules / "dtln-web")
    for name in [*described["dependencies"], "@types"]:
        (modules / name).symlink_to(web / "node_modules" / name, target_is_directory=True)
    for target in described["exports"].values():
        for file in target.values() if isinstance(target, dict) else [target]:
            assert (modules / "dtln-web" / file).is_file()
    assert (modules / "dtln-web" / "dist" / "LICENSE").is_file()
    # worker.js has this version in it, and the wasm file is of it
    assert re.fullmatch(r"[\d.]+", described["dependencies"]["onnxruntime-web"])

    (project / "package.json").write_text('{"type": "module"}')
    (project / "use.ts").write_text(NEWCOMER)
    words = "--strict --target es2022 --module nodenext --types node --skipLibCheck use.ts"
    for command in ([web / "node_modules" / ".bin" / "tsc", *words.split()], ["node", "use.js"]):
        run = subprocess.run([str(word) for word in command], cwd=project, capture_output=True, text=True, timeout=120)
        assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout == f"4800 {44 + 2 * 4800}\n"


def test_docs_say_how_large_the_files_are(built):
    text = (HERE.parents[1] / "docs" / "browser.md").read_text(encoding="utf-8")
    page = built / "docs" / "demo"
    build = page / "build"
    scripts = [*build.glob("*.js"), page / "index.html", page / "demo.css"]
    for words, files in {
        r"\| `ort-wasm-simd-threaded.wasm`.*?": [build / "ort-wasm-simd-threaded.wasm"],
        r"\| `model_stream.onnx`.*?": [build / "model_stream.onnx"],
        r"\| `worker.js`.*?": scripts,
    }.items():
        plain, compressed = re.search(words + r"\| ([\d.]+) MB \| ([\d.]+) MB \|", text).groups()
        assert plain == f"{sum(file.stat().st_size for file in files) / 1e6:.1f}"
        size = sum(len(gzip.compress(file.read_bytes())) for file in files) / 1e6
        assert compressed == f"{size:.{len(compressed) - 2}f}"
    quantised = (MODEL_DIR / "model_stream_quant.onnx").stat().st_size / 1e6
    assert f"`model_stream_quant.onnx` has {quantised:.1f} MB" in text
    everything = sum(file.stat().st_size for file in build.iterdir()) / 1e6
    assert f"{everything:.0f} MB in\n`docs/demo/build`" in text


def test_benchmark_runs(built, tmp_path, capsys):
    if not any(map(shutil.which, web.BROWSERS)):
        pytest.skip("Chromium is not installed")
    flags = ["--built", built, "--turns", "2", "--blocks", "20", "--settle", "0", "--json", tmp_path / "times.json"]
    web.main([str(flag) for flag in flags])  # the status is the machine's
    rows = capsys.readouterr().out.splitlines()
    assert [re.split("  +", row)[0] for row in rows[1:4]] == [
        *(f"block, {kind}" for kind in web.KINDS),
        "40 ms at 48 kHz",
    ]
    times = json.loads((tmp_path / "times.json").read_text())
    assert len(times["model_stream.onnx"]) == len(times["python onnx-stream"]) == 40
    assert len(times["48 kHz"]) == len(times["python 48 kHz"]) == 8 and min(map(min, times.values())) > 0


@pytest.mark.parametrize("level", ["raw", "auto"])
@pytest.mark.parametrize(("sample_rate", "channels"), [(16000, 1), (44100, 2), (48000, 1), (44099, 1)])
def test_package_gives_what_python_gives(sample_rate, channels, level, in_node, backend):
    """The second channel is quiet and has an offset; samples that cannot be used, and a switch, are in it."""
    signal = noisy(sample_rate)
    signal = np.stack([signal, 0.003 * signal[::-1] + np.float32(0.01)])[:channels]
    signal[0, sample_rate // 2] = np.nan
    chunk = 777
    changes = [(10 * chunk, "strength", 0.4), (20 * chunk, "bypass", True), (25 * chunk, "bypass", False)]
    options = {"sampleRate": sample_rate, "channels": channels, "level": level, "chunk": chunk, "changes": changes}
    found, said = in_node(signal, options)

    denoiser = StreamingDenoiser(backend, level, sample_rate=sample_rate, channels=channels)
    denoised = denoiser.denoise(signal.T).T
    assert found.shape == denoised.shape and np.max(np.abs(denoised)) > 0.1
    assert said["silenced"] == denoiser.silenced_blocks == 1
    assert denoiser.latency.samples - 0.0015 * sample_rate <= said["latency"] <= denoiser.latency.samples
    # Chunks come out a little earlier than in Python, so that switches do: each part is compared with its own mix.
    gains = np.select(
        [np.arange(found.shape[1]) < place for place in (10 * chunk, 20 * chunk, 25 * chunk)], [1, 0.4, 0], 0.4
    )
    dry = np.nan_to_num(signal)
    expected = denoised * gains + dry * (1 - gains)
    settled = np.ones(found.shape[1], bool)
    for place, _, _ in changes:  # until the switch has come out, and 10 ms of it
        settled[max(0, place - denoiser.latency.samples - chunk) : place + sample_rate // 100] = False
    assert settled.mean() > 0.6
    np.testing.assert_allclose(found[:, settled], expected[:, settled], atol=1e-5)  # 3e-7 were seen


def test_package_runs_the_8_bit_model(in_node):
    signal = noisy(16000)
    (found,), _ = in_node(signal[None], {"chunk": 1000}, "model_stream_quant.onnx")
    expected = StreamingDenoiser(open_backend("onnx-stream-quant")).denoise(signal)
    assert snr_db(expected, found) > 50  # 65 were seen; the float model's output is at 46
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


@pytest.mark.parametrize("browser", ["chromium", "firefox"])  # Firefox plays nothing without a sound card
def test_demo_denoises_recordings(browser, browse, site, backend, tmp_path):
    dropped, chosen = tmp_path / "dropped.wav", tmp_path / "chosen.wav"
    soundfile.write(dropped, noisy(16000), 16000, subtype="PCM_16")
    stereo = np.stack([noisy(44100), 0.003 * noisy(44100)[::-1] + 0.01], axis=1)
    soundfile.write(chosen, stereo, 44100, subtype="FLOAT")
    (tmp_path / "site" / "some" / "place" / "unbuilt").mkdir()
    page = HERE.parents[1] / "docs" / "demo"
    for name in ("index.html", "demo.css"):
        shutil.copy(page / name, tmp_path / "site" / "some" / "place" / "unbuilt")

    said = browse("files", "demo/", browser=browser, dropped=dropped, chosen=chosen, unbuilt=f"{site}unbuilt/")
    assert not said["unbuilt"] and said["overflow"] <= 0
    assert said["name"] == "dropped_denoised.wav"
    assert "16 kHz, one channel" in said["dropped"] and "44.1 kHz, 2 channels" in said["chosen"]
    assert said["wrong"].startswith("words.txt: this browser cannot read it. Expected an audio file")
    for source, target, strength in (
        (dropped, "dropped_out.wav", 1.0),
        (dropped, "dropped_30.wav", 0.3),
        (chosen, "chosen_out.wav", 1.0),
    ):
        signal, rate = soundfile.read(source, dtype="float32", always_2d=True)
        stream = StreamingDenoiser(backend, "auto", sample_rate=rate, channels=signal.shape[1], strength=strength)
        expected = stream.denoise(signal)
        found, found_rate = soundfile.read(tmp_path / target, dtype="float32", always_2d=True)
        assert found_rate == rate and np.max(np.abs(expected - signal)) > 0.01
        np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def test_demo_plays_and_switches(browse):
    said = browse("listening", "demo/")
    assert said["differences"]["denoised"] > SEEN < said["differences"]["denoised again"]
    assert said["differences"]["original"] < 3 > said["differences"]["strength 0"]
    assert (said["playing"], said["paused"]) == ("Pause", "Play")
    assert re.fullmatch(r"0:0[1-6] of 0:06", said["time"])
    assert said["violations"] == []
    assert all(re.fullmatch(r"0:0[0-6] of 0:06", time) for time in said["times"]) and len(said["times"]) > 2


def test_demo_denoises_the_microphone(browse, backend, tmp_path):
    soundfile.write(tmp_path / "microphone.wav", noisy(48000, 4.0), 48000, subtype="PCM_16")
    said = browse("microphone", "demo/", microphone=tmp_path / "microphone.wav")
    assert 60 < int(re.fullmatch(r"(\d+) ms", said["delay"])[1]) < 400
    assert re.fullmatch(r"0|\d+, of \d+ samples", said["underruns"]) and said["load"] != "–"
    dry, rate = soundfile.read(tmp_path / "microphone_in.wav", dtype="float32")
    found, _ = soundfile.read(tmp_path / "microphone_out.wav", dtype="float32")
    assert len(dry) > 3 * rate and np.max(np.abs(dry)) > 0.1
    expected = StreamingDenoiser(backend, "auto", sample_rate=rate).denoise(dry)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def test_demo_says_what_is_missing(browse):
    said = browse("troubles", "demo/", denied=True)
    assert re.fullmatch(
        r"http.*/model_stream.onnx: cannot be fetched \(404 .*\). Expected an ONNX model.", said["model"]
    )
    assert "sample.wav (16 kHz" in said["sample"]  # the runtime came with a wrong type, which costs a warning
    assert said["offline"].startswith("sample.wav: cannot be read (Failed to fetch). Expected")
    assert said["microphone"] == "The browser did not give this page the microphone. Allow it in the address bar."
    assert said["canPlay"]


def test_demo_outlives_surprises(browse, tmp_path):
    soundfile.write(tmp_path / "dropped.wav", noisy(16000), 16000, subtype="PCM_16")
    said = browse("surprises", "demo/", dropped=tmp_path / "dropped.wav")
    assert said["late"].startswith("sample.wav (16 kHz, one channel): ")  # the last that was asked for
    assert said["folder"] == "folder: cannot be read (not found). Expected a file that is still there, no folder."
    assert said["empty.wav"] == "empty.wav: is empty. Expected an audio file, or a video with sound."
    assert said["a word"].startswith("What was dropped is no file. Expected a recording")
    assert said["running"].startswith("Stop the microphone") and said["violations"] == []
    assert re.fullmatch(r"The microphone is gone. microphone.wav \(.*\): .* s took .*", said["unplugged"])
    assert said["stopped"].startswith("Use the microphone")


def test_demo_as_a_file_says_that_it_needs_a_server():
    page = (HERE.parents[1] / "docs" / "demo" / "index.html").read_text(encoding="utf-8")
    notice = re.search(r'<p id="unbuilt".*?</p>', page, re.DOTALL)[0]
    assert "opened as a file" in notice and "python3 -m http.server" in notice  # no script runs there, to say more


def test_stream_in_a_worker_gives_what_python_gives(browse, page_of, backend, tmp_path):
    page_of("stream")
    browse("page", "stream/", build="../demo/build/", rate=44100)
    dry, *found = (np.fromfile(tmp_path / f"{name}.f32", np.float32) for name in ("dry", "first", "second", "single"))
    expected = StreamingDenoiser(backend, sample_rate=44100).denoise(dry)
    assert len(dry) == 44100 and np.max(np.abs(expected - dry)) > 0.01
    for denoised in found:
        np.testing.assert_allclose(denoised, expected, atol=1e-5)


MESSAGES = {
    "no worker": r"http.*/nowhere/worker.js: cannot be started \(not found, or .*\). Expected the built worker.",
    "no runtime": r"http.*/ort-wasm-simd-threaded.wasm: ONNX Runtime cannot be started .* Expected the built .*",
    "no model": r"http.*/missing.onnx: cannot be fetched \(404 .*\). Expected an ONNX model.",
    "no ONNX": r"http.*/index.html: cannot be loaded .* Expected model_stream.onnx or model_stream_quant.onnx.*",
    "no worklet": r"http.*/without_worklet/worklet.js: cannot be loaded .* Expected the built worklet.",
    "offline": r"an OfflineAudioContext waits for no worker. Expected an AudioContext; use Denoiser for recordings.",
    "insecure": r"a page gets an AudioWorklet only over https, or from localhost.",
    "buffer": r"a buffer of -1 was given. Expected seconds, 0 to 10.",
    "channels": r"a number of channels of 100 was given. Expected a whole number of channels, 1 to 64.",
    "strength": r"a strength of 2 was given. Expected a number from 0 to 1.",
    "samples": r"arrays of 5 samples were given. Expected one for each channel, 2, equally long.",
    "closed": r"the stream is closed",
    "used when closed": r"the stream is closed",
    "ended": r"the stream is closed",
    "opening when ended": r"the worker has ended. Start a new DenoiserWorker.",
    "opened when ended": r"the worker has ended. Start a new DenoiserWorker.",
    "closed node": "nothing",
}


def test_package_says_what_is_missing_or_wrong(browse, page_of):
    folder = page_of("errors")
    build = folder.parent / "demo" / "build"
    for name, files in {
        "without_wasm": ["worker.js", "worklet.js"],
        "without_worklet": ["worker.js", "ort-wasm-simd-threaded.wasm"],
    }.items():
        (folder / name).mkdir()
        for file in files:
            shutil.copy(build / file, folder / name)
    said = browse("page", "errors/", may_fail=True, build="../demo/build/")
    for name, pattern in MESSAGES.items():
        assert re.fullmatch(pattern, said[name]), f"{name}: {said[name]}"


STALLING = """
import "../demo/build/worker.js";
const stall = () => { for (const begun = performance.now(); performance.now() - begun < 150; ); };
setInterval(stall, 500);
"""


@pytest.mark.parametrize(("rate", "stalls"), [(16000, False), (44100, False), (48000, True)])
def test_live_node_gives_what_python_gives_and_counts_what_is_late(
    rate, stalls, browse, page_of, built, backend, tmp_path
):
    """A page plays noise through a node. Every sample that is not Python's is one that was counted as late."""
    place = page_of("live").parent
    options = {"build": "../demo/build/"}
    if stalls:
        options["assets"] = "../stalling/"
        (place / "stalling").mkdir()
        (place / "stalling" / "worker.js").write_text(STALLING)
        for name in ("worklet.js", "ort-wasm-simd-threaded.wasm"):
            shutil.copy(place / "demo" / "build" / name, place / "stalling")
    said = browse("page", "live/", seconds=3, rate=rate, buffer=0.04, changes=[(2.2, "bypass", True)], **options)
    assert said["failures"] == []

    # The last report before a gap, if there is one: after a gap the network begins anew, and Python does not.
    report = [one for one in said["reports"] if not one["skippedFrames"]][-1]
    dry, wet = (np.fromfile(tmp_path / f"{name}.f32", np.float32) for name in ("dry", "wet"))
    assert report["frames"] <= len(wet) == len(dry) and np.max(np.abs(dry)) > 0.1
    delay = said["delay"]
    assert not wet[:delay].any()
    bypassed = int(2 * rate)  # of the samples that went in
    played = wet[delay : report["frames"]]
    dry = dry[: len(played)]
    denoised = StreamingDenoiser(backend, sample_rate=rate).denoise(dry)  # complete but for the last samples
    usual = np.arange(len(played)) < min(bypassed, len(played) - delay)
    late = usual & (played == dry)
    other = usual & ~late & (np.abs(played - denoised) > TOLERANCE)
    assert usual.sum() > 0.5 * rate
    assert np.max(np.abs(denoised - dry)[usual]) > 0.1
    assert late.sum() <= report["lateFrames"]
    assert other.sum() <= FADE * report["underruns"]
    if stalls:
        assert report["underruns"] > 0 and late.sum() > 0
    if len(played) > 2.9 * rate - delay:
        tail = slice(int(2.6 * rate), None)  # the switch has come out
        np.testing.assert_array_equal(played[tail], dry[tail])
