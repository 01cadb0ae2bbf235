"""dtln.reporting.page and sound: what is in the file, as read without a browser."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import os
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from score_reports import report_of

from dtln import reporting
from dtln.audio.reading import read_audio
from dtln.errors import SettingsError
from dtln.reporting import ReportSettings, System, combine, system_of, write_report
from dtln.reporting.sound import link_to, read_clips, worst_and_best

LIBRARIES = Path(reporting.__file__).parent / "libraries"


def data_of(page: Path) -> dict:
    """The data in a page."""
    return json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(encoding="utf-8"))[1])


def test_page_holds_the_worst_and_the_best(recordings, tmp_path):
    names = [f"{index}.wav" for index in range(9)]

    def edit(report: dict) -> None:
        for index, file in enumerate(report["files"]):
            file["scores"]["enhanced"]["si_sdr_db"] = file["scores"]["noisy"]["si_sdr_db"] + abs(index - 4)
        report["files"][8]["scores"]["enhanced"]["si_sdr_db"] = None

    systems = recordings(names, edit=edit)
    table = write_report(tmp_path / "report.html", systems, ReportSettings(embed=2))
    assert worst_and_best(table, "si_sdr_db", 2) == [0, 3, 4, 7]  # 8 is not finite
    data = data_of(tmp_path / "report.html")
    assert data["embedded"] == [0, 3, 4, 7] and data["metric"] == "si_sdr_db"
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert re.findall(r'id="sound-(\d+)"', text) == ["0", "3", "4", "7"]
    assert data["scores"]["enhanced"]["si_sdr_db"][8] is None
    assert data["links"]["clean"] == [f"clean/{name}" for name in names]
    assert not list(tmp_path.glob(".*")) and not (tmp_path / "report_files").exists()


def test_clips_are_what_the_metrics_heard(tmp_path, noise):
    soundfile.write(tmp_path / "long.wav", noise(8000 * 70, 2), 8000, subtype="PCM_24")
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    paths = {"noisy": tmp_path / "long.wav", "mine": tmp_path / "broken.wav", "clean": None}
    signals = read_clips(paths, 3).signals
    assert list(signals) == ["noisy", "mine"] and signals["noisy"]["seconds"] == 70
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(signals["noisy"]["flac"])))
    assert (samples.shape, rate) == ((60 * 16000,), 16000)
    expected = read_audio(tmp_path / "long.wav", 16000, mono=True)[0][: 60 * 16000]
    np.testing.assert_allclose(samples, expected, atol=2 / 32768)
    assert "broken.wav: cannot be read as audio" in signals["mine"]["error"]


def test_links_lead_from_the_page_to_the_recording(tmp_path, noise):
    folder = tmp_path / "sets"
    folder.mkdir()
    for name in ('a "b" <c> & 50 %.wav', "#1?.flac"):
        soundfile.write(folder / name, noise(100), 16000)
    (folder / os.fsdecode(b"caf\xe9.wav")).write_bytes((folder / 'a "b" <c> & 50 %.wav').read_bytes())
    assert link_to(folder / 'a "b" <c> & 50 %.wav', tmp_path / "pages") == (
        "../sets/a%20%22b%22%20%3Cc%3E%20%26%2050%20%25.wav"
    )
    assert link_to(folder / "#1?.flac", folder) == "%231%3F.flac"
    assert link_to(folder / os.fsdecode(b"caf\xe9.wav"), tmp_path) == "sets/caf%E9.wav"
    soundfile.write(folder / "a.aiff", noise(100), 16000)
    soundfile.write(folder / "a.wav", noise(100), 16000, subtype="MS_ADPCM")
    assert link_to(folder / "a.aiff", folder) == "!AIFF PCM_16 does not play in browsers"
    assert link_to(folder / "a.wav", folder) == "!WAV MS_ADPCM does not play in browsers"
    assert link_to(folder / "gone.wav", folder) == link_to(folder / "gone.m4a", folder) == "!the recording is not there"


def test_names_cannot_break_the_page(recordings, tmp_path):
    names = ["<img src=x onerror=alert(1)>.wav", "</script>.wav".replace("/", "\u2215"), b"caf\xe9.wav", "{{DATA}}.wav"]
    failed = ["</script><script>alert(2)</script>: cannot be read"]
    systems = recordings(names, edit=lambda report: report.update(failed=failed))
    title = "<b>{{STYLE}}</script>\udce9"
    write_report(tmp_path / "report.html", systems, ReportSettings(title=title))
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<img src=x" not in text and "alert(2)</script>" not in text
    assert "<h1>&lt;b&gt;{{STYLE}}&lt;/script&gt;\\udce9</h1>" in text
    data = data_of(tmp_path / "report.html")
    assert data["names"] == [names[0], names[1], "caf\\udce9.wav", names[3]]
    assert data["apart"] == ["failed: </script><script>alert(2)</script>: cannot be read"]


def test_folder_beside_the_page(recordings, tmp_path):
    folder = tmp_path / "report_files"
    folder.mkdir()
    for name in ("0.js", "7.js", "mine.js"):
        (folder / name).write_text("old")
    write_report(tmp_path / "report.html", recordings(["a.wav", "b.wav"], suffix=".aiff"), ReportSettings(files=True))
    assert sorted(path.name for path in folder.iterdir()) == ["0.js", "1.js", "mine.js"]
    data = data_of(tmp_path / "report.html")
    call = re.fullmatch(r'soundArrived\("(\w+)", 1, (\{.*\})\);\n', (folder / "1.js").read_text())
    assert call[1] == data["id"] and list(json.loads(call[2])) == ["noisy", "enhanced", "clean"]
    assert data["folder"] == "report_files" and data["embedded"] == []
    assert 'id="sound-' not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_names_of_pages(tmp_path):
    system = system_of("A", report_of(["a.wav"], [{"input": {"snr_db": 1.0}}]))
    with pytest.raises(SettingsError, match="report.txt: is no name of a page. Expected one that ends in .html"):
        write_report(tmp_path / "report.txt", [system])
    with pytest.raises(SettingsError, match="report.html: its folder does not exist. Make it first"):
        write_report(tmp_path / "missing" / "report.html", [system])


def test_page_of_2000_files_is_small(tmp_path):
    rng = np.random.default_rng(0)
    keys = ("pesq_raw_nb", "pesq_lqo_nb", "pesq_wb", "stoi_percent", "estoi_percent", "si_sdr_db", "snr_db")
    names = [f"book_{index:05}_chp_0012_reader_04321_8_snr5_tl-25_fileid_{index}.wav" for index in range(2000)]

    def system(name: str) -> System:
        scores = [{s: dict(zip(keys, rng.normal(5, 3, 7), strict=True)) for s in ("noisy", "enhanced")} for _ in names]
        for own, first in zip(scores, shared, strict=True):
            own["noisy"] = first
        signals = [{s: str(tmp_path / s / name / file) for s in ("noisy", "enhanced")} for file in names]
        return system_of(name, report_of(names, scores, input_snr_db=list(rng.uniform(-5, 20, 2000)), signals=signals))

    shared = [dict(zip(keys, rng.normal(2, 3, 7), strict=True)) for _ in names]
    write_report(tmp_path / "report.html", [system("DTLN"), system("other")], ReportSettings(embed=0))
    assert (tmp_path / "report.html").stat().st_size < 5e6
    assert all(math.isfinite(value) for value in data_of(tmp_path / "report.html")["scores"]["other"]["snr_db"])


def test_libraries_are_as_published():
    text = (LIBRARIES / "README.md").read_text(encoding="utf-8")
    sums = dict(re.findall(r"^([0-9a-f]{64})  (\S+)$", text, re.MULTILINE))
    scripts = {path.name: path.read_bytes() for path in LIBRARIES.glob("*.js")}
    assert {digest: name for name, digest in ((n, hashlib.sha256(b).hexdigest()) for n, b in scripts.items())} == sums
    for name, code in scripts.items():
        assert f"`{name}`" in text and b"</script" not in code.lower()


def test_page_names_no_other_host(recordings, tmp_path):
    write_report(tmp_path / "report.html", recordings(["a.wav"]), ReportSettings(embed=0))
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", text)
    assert "default-src 'none'" in text and "sourceMappingURL" not in text
    assert "Chart.js Contributors" in text and "katspaugh and contributors" in text and "Jukka Kurkela" in text


def test_table_is_what_combine_gives(recordings, tmp_path):
    systems = recordings(["a.wav"], ["A", "B"])
    assert write_report(tmp_path / "report.html", systems) == combine(systems)
