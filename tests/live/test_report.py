"""dtln.live.report: the text and the JSON at the end of a session."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
from snapshots import BLOCKS_PER_SECOND, beginning, later

import dtln
from dtln.live.recorder import Recorder
from dtln.live.report import MOST_ROWS, Series, report_json, report_text, write_report
from dtln.machine import memory_use


def test_text_says_what_happened():
    counters, _ = beginning()
    first = later(counters, 5, input_db=0, output_db=0, milliseconds=7)
    counters.flags["output_underflow"] += 2
    counters.late_blocks, counters.dropouts, counters.silenced_blocks, counters.reconnections = 3, 4, 5, 6
    counters.skips = 7
    counters.delay, counters.drift_ppm = 0.0874, -31.6
    lines = report_text(first, later(counters, 15.5, seconds=10), round_trip=0.0123).splitlines()
    assert lines[:4] == [
        "1250 blocks, 10.0 s of sound",
        "input overflows: 0, input underflows: 0, output overflows: 0, output underflows: 2",
        "late blocks, played dry: 3, skips: 7, dropouts: 4, reconnections: 6",
        "silenced blocks (NaN, Inf or far beyond full scale): 5",
    ]
    assert re.match(
        r"ms per block: mean 2\.000, p50 \d.*, max 1\.99\d \(1250 blocks\); real-time factor 0.25", lines[4]
    )
    assert lines[5:8] == [
        "input -20.0 dBFS, output -32.0 dBFS, reduction 12.0 dB",
        "delay: 87 ms from microphone to loudspeaker; 12.3 ms from loudspeaker to microphone, measured",
        "drift of the clocks: -32 ppm, output against input",
    ]
    assert re.fullmatch(r"memory: \d+ MB at the end, \d+ MB at most", lines[8])


def test_text_of_a_session_without_sound():
    _, first = beginning()
    text = report_text(first, first)
    assert "0 blocks, 0.0 s of sound" in text and "no blocks" in text
    assert "input without samples, output without samples\ndelay: not known\ndrift of the clocks: not known" in text
    counters, first = beginning()
    assert "input silent, output silent\n" in report_text(first, later(counters, 1, 1, -math.inf, -math.inf))


def test_json_has_the_course_of_the_session(tmp_path):
    counters, first = beginning()
    series = Series(first)
    for second, (input_db, milliseconds) in enumerate([(-20, 2), (-10, 4), (-math.inf, 1)], 1):
        counters.late_blocks += second == 2
        last = later(counters, second, 1, input_db, -30, milliseconds)
        series.add(last)
    counters.delay = 0.1
    write_report(tmp_path / "report.json", report_json(first, last, series, 0.05, model="tflite"))
    report = json.loads((tmp_path / "report.json").read_text())
    columns = report["series"]
    assert columns["seconds"] == [1, 2, 3] and columns["late_blocks"] == [0, 1, 0] and columns["xruns"] == [0, 0, 0]
    assert columns["input_db"] == [-20, -10, None] and columns["output_db"] == [-30, -30, -30]
    assert columns["reduction_db"] == [10, 20, None] and columns["drift_ppm"] == [None] * 3
    assert columns["p50_ms"] == columns["p99_ms"] == pytest.approx([2, 4, 1], rel=0.01)
    assert columns["max_ms"] == pytest.approx([2, 4, 1], rel=0.01)
    assert len({len(column) for column in columns.values()}) == 1 and all(mb > 10 for mb in columns["memory_mb"])
    assert report["blocks"] == 3 * BLOCKS_PER_SECOND and report["late_blocks"] == 1 and report["round_trip_ms"] == 50
    assert report["ms_per_block"]["max"] == 4 and report["xruns_by_kind"]["input_overflow"] == 0
    assert sum(report["histogram"]["blocks"]) == report["blocks"] > 0
    assert report["settings"] == {"model": "tflite"} and report["input_rate"] == 48000
    assert report["versions"]["numpy"] == np.__version__ and report["machine"]["processor"]
    assert report["peak_memory_mb"] >= report["memory_mb"] > 10


def test_course_of_a_long_session_stays_small():
    counters, first = beginning()
    series = Series(first, most=10)
    for second in range(1, 101):
        series.add(later(counters, second, seconds=0.008, input_db=-second / 2, output_db=-second / 2 - 6))
    columns = series.columns()
    assert 5 <= len(columns["seconds"]) < 10 and columns["seconds"][-1] > 80
    assert set(np.diff(columns["seconds"])) == {16.0}
    assert columns["reduction_db"] == pytest.approx([6] * len(columns["seconds"]))
    assert MOST_ROWS >= 300  # five minutes, second by second


def test_memory():
    now, peak = memory_use()
    block = np.ones(10_000_000)
    assert memory_use()[0] > now + 70e6 and memory_use()[1] >= memory_use()[0] - 1e6 and peak >= now - 1e6
    del block


def test_recording_is_described(tmp_path):
    with Recorder(tmp_path / "a", 16000, 1, 16000, 1) as recorder:
        recorder.put_output(np.float32([2.0]))
    assert recorder.describe() == (
        f"recorded: {tmp_path}/a_input.wav, {tmp_path}/a_output.wav\n"
        "samples missing there, because the disk was slow: 0 of the input, 0 of the output; "
        "clipped: 0 of the input, 1 of the output"
    )


def test_report_needs_what_the_live_path_has(tmp_path):
    """versions: those that are there, and no error for those that are not."""
    _, first = beginning()
    report = report_json(first, first, Series(first))
    assert report["series"] == {} and report["input_db"] is None
    assert report["versions"]["dtln"] == dtln.__version__
