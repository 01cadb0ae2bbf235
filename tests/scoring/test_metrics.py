"""dtln.scoring: against closed forms, and against the packages themselves."""

from __future__ import annotations

import math
import re
import sys

import numpy as np
import pytest

from dtln.audio.reading import read_audio
from dtln.errors import MissingPackageError, NotScorable
from dtln.scoring import findings as findings_module
from dtln.scoring import metrics
from dtln.scoring.findings import align, find_delay, findings, level_db
from dtln.scoring.input_snr import bins_by_snr, read_manifest, snr_from_name
from dtln.scoring.means import Mean, mean_with_interval, summarise, table_lines
from dtln.scoring.metrics import (
    DNSMOS_METRICS,
    METRICS,
    dnsmos,
    lqo_pesq,
    pesq_lqo,
    raw_pesq,
    si_sdr,
    snr,
    stoi_percent,
)


@pytest.fixture
def pair(noise):
    """(clean, noisy): two seconds of modulated noise, and with 10 dB of other noise on top; float32."""
    envelope = np.sin(2 * np.pi * 2 * np.arange(32000) / 16000) ** 2
    clean, other = noise(32000) * envelope, noise(32000, seed=1)
    other *= np.sqrt(np.sum(clean**2) / np.sum(other**2) / 10)
    return clean.astype(np.float32), (clean + other).astype(np.float32)


# ------------------------------------------------------------------------------------------------------------- metrics


def test_si_sdr_of_known_mixture():
    time = np.arange(16000) / 16000
    clean, other = np.sin(2 * np.pi * 400 * time), np.sin(2 * np.pi * 900 * time)  # orthogonal
    assert si_sdr(clean, 0.3 * clean + 0.03 * other) == pytest.approx(20.0, abs=1e-6)


def test_long_signals_are_taken_piece_by_piece(pair, monkeypatch):
    clean, noisy = pair[0] + 0.1, pair[1] - 0.2
    whole = si_sdr(clean, noisy), snr(clean, noisy)
    monkeypatch.setattr(metrics, "PIECE", 999)
    assert (si_sdr(clean, noisy), snr(clean, noisy)) == pytest.approx(whole, abs=1e-9)


def test_si_sdr_ignores_gain_and_means(noise):
    clean, estimate = noise(16000), noise(16000) + 0.3 * noise(16000, seed=1)
    shifted = si_sdr(clean + 0.2, -3.0 * estimate + 0.5)
    assert shifted == pytest.approx(si_sdr(clean, estimate), abs=1e-3)


def test_si_sdr_at_its_ends(noise):
    clean = np.round(noise(1000) * 256) / 256
    assert si_sdr(clean, 2 * clean) > 200
    assert si_sdr(clean, np.zeros(1000)) == -math.inf
    with pytest.raises(ValueError, match="SI-SDR of a silent clean signal is not defined"):
        si_sdr(np.ones(1000), clean)


def test_snr_is_that_of_the_mixture(pair):
    clean, noisy = pair
    assert snr(clean, noisy) == pytest.approx(10.0, abs=1e-3)
    assert snr(clean, 0.9 * clean) == pytest.approx(20.0, abs=1e-3)  # a wrong level counts
    assert snr(clean, clean) == math.inf
    with pytest.raises(NotScorable, match="SNR of a silent clean signal is not defined"):
        snr(0 * clean, clean)


def test_known_conversions_of_p862_1():
    """The first is the example recording of P.862's own software, as three programs report it; then the ends."""
    for raw, lqo in ((1.969, 1.607), (4.5, 4.549), (-0.5, 1.017)):
        assert lqo_pesq(raw) == pytest.approx(lqo, abs=6e-4)
        assert raw_pesq(lqo) == pytest.approx(raw, abs=6e-3)


@pytest.mark.parametrize("raw", [-0.5, 1.0, 2.481, 4.5])
def test_raw_pesq_inverts_p862_1(raw):
    lqo = 0.999 + (4.999 - 0.999) / (1 + math.exp(-1.4945 * raw + 4.6607))
    assert raw_pesq(lqo) == pytest.approx(raw, abs=1e-9)
    assert lqo_pesq(raw) == pytest.approx(lqo, abs=1e-12)


@pytest.mark.parametrize("function", [si_sdr, snr, stoi_percent, metrics.score])
def test_signals_that_do_not_fit(noise, function):
    with pytest.raises(ValueError, match=r"clean \(9000,\) and estimate \(9001,\) cannot be compared"):
        function(noise(9000), noise(9001))
    with pytest.raises(ValueError, match="signals without samples cannot be scored"):
        function(noise(0), noise(0))


def test_pesq_without_speech(noise):
    with pytest.raises(NotScorable, match="PESQ of a silent clean signal is not defined"):
        pesq_lqo(np.zeros(16000, np.float32), noise(16000), "wb")
    with pytest.raises(NotScorable, match="PESQ of a silent estimate is not defined"):
        pesq_lqo(noise(16000), np.zeros(16000, np.float32), "nb")
    pytest.importorskip("pesq"), pytest.importorskip("pystoi")
    with pytest.raises(NotScorable, match="PESQ cannot be computed .*1/4 of a second"):
        pesq_lqo(noise(1000), noise(1000), "nb")


def test_pesq_of_levels_too_far_apart(noise):
    """The package scales both by the louder one; the other vanishes, and it stumbles over NaN."""
    pytest.importorskip("pesq")
    with pytest.raises(NotScorable, match="PESQ cannot be computed: the levels are too far apart"):
        pesq_lqo(noise(16000), 1e-37 * noise(16000, seed=1), "nb")


@pytest.mark.parametrize("function", [si_sdr, snr, stoi_percent, metrics.score])
def test_signals_that_are_not_finite(noise, function):
    broken = noise(16000)
    broken[7] = np.nan
    with pytest.raises(NotScorable, match="signals with NaN or Inf cannot be scored"):
        function(noise(16000), broken)


def test_stoi_of_long_signals_is_the_mean_over_parts_with_speech(pair, monkeypatch):
    pystoi = pytest.importorskip("pystoi")
    clean, noisy = pair
    monkeypatch.setattr(metrics, "STOI_PART", 1)
    expected = [100 * pystoi.stoi(clean[part], noisy[part], 16000) for part in (slice(16000), slice(16000, None))]
    assert stoi_percent(clean, noisy) == pytest.approx(np.mean(expected), abs=1e-9)
    pause = 1e-3 * noisy[:16000]  # 60 dB down: STOI leaves such frames out
    longer, noisier = np.concatenate([clean, pause]), np.concatenate([noisy, noisy[:16000]])
    assert stoi_percent(longer, noisier) == pytest.approx(np.mean(expected), abs=1e-9)


@pytest.mark.parametrize("length", [100, 6000, 6400])
def test_stoi_of_too_little_speech(noise, length):
    """pystoi itself fails or returns 1e-5, which would spoil a mean."""
    pytest.importorskip("pystoi"), pytest.importorskip("pesq")
    with pytest.raises(NotScorable, match=r"STOI cannot be computed. Expected at least 0.4 s of speech"):
        stoi_percent(noise(length), noise(length))


def test_missing_packages(monkeypatch, noise):
    for name in ("pesq", "pystoi", "speechmos", "librosa", "requests"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingPackageError, match=r"STOI needs the package pystoi: pip install .*\[score\]"):
        stoi_percent(noise(1000), noise(1000))
    with pytest.raises(MissingPackageError, match=r"PESQ needs the package pesq: pip install .*\[score\]"):
        pesq_lqo(noise(1000), noise(1000), "wb")
    with pytest.raises(MissingPackageError, match=r"DNSMOS needs the package \w+: pip install .*\[dnsmos\]"):
        dnsmos(noise(1000))
    with pytest.raises(MissingPackageError, match=r"scoring needs the package pesq: pip install .*\[score\]"):
        metrics.require_metrics()


def test_score_is_what_the_packages_say(pair):
    pesq, pystoi = pytest.importorskip("pesq"), pytest.importorskip("pystoi")
    clean, noisy = pair
    scores = metrics.score(clean, noisy)
    assert list(scores) == list(METRICS)
    assert scores["pesq_lqo_nb"] == pytest.approx(pesq.pesq(16000, clean, noisy, "nb"), abs=1e-6)
    assert lqo_pesq(scores["pesq_raw_nb"]) == pytest.approx(scores["pesq_lqo_nb"], abs=1e-9)
    assert scores["pesq_wb"] == pytest.approx(pesq.pesq(16000, clean, noisy, "wb"), abs=1e-6)
    assert scores["stoi_percent"] == pytest.approx(100 * pystoi.stoi(clean, noisy, 16000), abs=1e-6)
    assert scores["estoi_percent"] == pytest.approx(100 * pystoi.stoi(clean, noisy, 16000, extended=True), abs=1e-6)


def test_dnsmos_is_what_the_package_says(noise):
    pytest.importorskip("librosa")
    speechmos = pytest.importorskip("speechmos.dnsmos", reason="speechmos is not installed")
    signal = noise(18020)  # the shortest that speechmos repeats to one stretch of 9.01 s
    found = dnsmos(signal)
    assert list(found) == list(DNSMOS_METRICS)
    expected = speechmos.run(signal, 16000)
    assert found == pytest.approx({f"dnsmos_{key[:-4]}": float(value) for key, value in expected.items()}, abs=1e-6)
    assert all(0.9 < value < 5 for value in found.values())
    loud = 4 * signal  # speechmos itself refuses it
    assert dnsmos(loud) == pytest.approx(dnsmos(np.clip(loud, -1, 1)), abs=1e-6)
    with pytest.raises(NotScorable, match="DNSMOS of a silent signal is not defined"):
        dnsmos(0 * signal)


def test_score_of_shared_files_is_what_the_packages_say(shared):
    pesq, pystoi = pytest.importorskip("pesq"), pytest.importorskip("pystoi")
    for name in ("mix_fileid_0.flac", "mix_fileid_1.flac", "mix_fileid_2.flac"):
        clean, _ = read_audio(shared / "eval" / "clean" / name, mono=True)
        noisy, _ = read_audio(shared / "eval" / "noisy" / name, mono=True)
        narrow = pesq.pesq(16000, clean, noisy, "nb")
        centred, estimate = clean - clean.mean(), noisy - noisy.mean()
        target = (estimate @ centred) / (centred @ centred) * centred
        expected = {
            "pesq_raw_nb": (4.6607 - math.log((4.999 - narrow) / (narrow - 0.999))) / 1.4945,
            "pesq_lqo_nb": narrow,
            "pesq_wb": pesq.pesq(16000, clean, noisy, "wb"),
            "stoi_percent": 100 * pystoi.stoi(clean, noisy, 16000),
            "estoi_percent": 100 * pystoi.stoi(clean, noisy, 16000, extended=True),
            "si_sdr_db": 10 * np.log10(np.sum(target**2) / np.sum((estimate - target) ** 2)),
            "snr_db": 10 * np.log10(np.sum(clean**2) / np.sum((noisy - clean) ** 2)),
        }
        scores = metrics.score(clean, noisy)
        assert list(scores) == list(METRICS)
        assert scores == pytest.approx(expected, abs=1e-3)


def test_versions_name_the_packages():
    versions = metrics.versions()
    assert versions["numpy"] == np.__version__
    assert {"python", "pesq", "pystoi", "speechmos"} <= set(versions)


# ------------------------------------------------------------------------------------------------- what spoils a score


@pytest.mark.parametrize("delay", [0, 1, 384, -7, -16000, 16000])
@pytest.mark.parametrize("sign", [1, -1])
def test_delay_is_found_and_removed(noise, delay, sign):
    clean, other = noise(40000), noise(40000, seed=1)
    late = np.roll(np.pad(clean, (20000, 20000)), delay)[20000:60000]  # zeros come in from outside
    estimate = sign * (late + other)  # 0 dB
    found, correlation = find_delay(clean, estimate)
    assert found == delay
    assert 0.3 < sign * correlation < 0.8
    target, aligned = align(clean, sign * late, found)
    assert len(target) == 40000 - abs(delay)
    np.testing.assert_array_equal(sign * target, aligned)


@pytest.mark.parametrize("delay", [0, 384, -7, -16000, 16000])
@pytest.mark.parametrize("kept", [5000, 40000])
def test_delay_is_found_block_by_block(noise, monkeypatch, delay, kept):
    clean = noise(60000)
    estimate = np.roll(np.pad(clean, (20000, 20000)), delay)[20000 : 20000 + kept] + 0.5 * noise(kept, seed=1)
    whole = find_delay(clean, estimate)
    monkeypatch.setattr(findings_module, "DELAY_BLOCK", 4096)
    assert find_delay(clean, estimate) == (whole[0], pytest.approx(whole[1], abs=1e-9))
    assert whole[0] == delay or (kept, delay) == (5000, 16000)  # nothing of it is left there


def test_delay_of_unequal_lengths_and_of_silence(noise):
    clean = noise(20000)
    late = np.concatenate([np.zeros(500, np.float32), clean, np.zeros(3000, np.float32)])
    assert find_delay(clean, late) == (500, pytest.approx(1.0, abs=0.01))
    target, aligned = align(clean, late, 500)
    np.testing.assert_array_equal(target, clean)
    np.testing.assert_array_equal(aligned, clean)
    assert find_delay(clean, np.ones(20000)) == (0, 0.0)


def test_findings(noise):
    clean, other = noise(32000), noise(32000, seed=1)
    assert list(findings(clean, clean)) == ["equal to the clean recording"]
    assert findings(clean + np.float32(1e-6) * other, clean) == {}
    assert findings(clean / 20 + 10 ** (15 / 20) * other / 20, clean / 20) == {}  # -15 dB
    late = np.concatenate([np.zeros(384, np.float32), clean])[:32000]
    for estimate, kind, words in (
        (late, "delayed", r"comes 384 samples after the clean recording: STOI, SI-SDR and SNR fall"),
        (clean[384:], "delayed", r"comes 384 samples before"),
        (other, "unrelated", r"correlation 0.0\d with the clean recording at best: do they belong together"),
        (clean / 20, "at another level", r"-26.0 dB against the clean recording: the SNR measures that"),
    ):
        found = findings(estimate, clean)
        assert list(found) == [kind]
        assert re.match(words, found[kind])
    faint = findings(clean / 1000)
    assert list(faint) == ["nearly silent"] and faint["nearly silent"].startswith("-80.0 dB of full scale")
    assert list(findings(0 * clean, clean)) == ["nearly silent"]
    assert findings(clean / np.max(np.abs(clean))) == {}  # one sample at full scale is a peak
    tops = np.float32([0, 1, 1, 0.5, -1, 0.2, -1, -1, -1])
    assert findings(tops) == {"clipped": "5 samples at full scale, side by side"}
    assert findings(np.zeros(0, np.float32), clean)  # no crash


def test_level():
    assert level_db(np.full(100, 0.1)) == pytest.approx(-20.0)
    assert level_db(np.zeros(3)) == -math.inf


# ---------------------------------------------------------------------------------------------------- means, intervals


def test_interval_is_that_of_student():
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(0).normal(2.0, 0.5, 12)
    found = mean_with_interval(values)
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert (found.mean, found.files) == (pytest.approx(np.mean(values)), 12)
    assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_interval_holds_the_mean_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(1.0, 2.0, (2000, 5))
    held = [mean.low < 1.0 < mean.high for mean in map(mean_with_interval, draws)]
    assert np.mean(held) == pytest.approx(0.95, abs=0.015)


def test_means_without_interval():
    one = mean_with_interval([2.0])
    assert one.mean == 2.0 and math.isnan(one.low) and math.isnan(one.high)
    infinite = mean_with_interval([1.0, math.inf])
    assert infinite.mean == math.inf and math.isnan(infinite.half_width)
    for function in (mean_with_interval, summarise):
        with pytest.raises(ValueError, match="no scores to average"):
            function([])


def test_summary_has_the_paired_difference():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    noisy = rng.normal(2, 1, 20)
    enhanced = noisy + rng.normal(0.3, 0.1, 20)
    files = [{"noisy": {"x": a}, "enhanced": {"x": b}} for a, b in zip(noisy, enhanced, strict=True)]
    summary = summarise(files)
    assert list(summary) == ["noisy", "enhanced", "difference"]
    expected = stats.ttest_rel(enhanced, noisy).confidence_interval(0.95)
    difference = summary["difference"]["x"]
    assert (difference.low, difference.high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert difference.half_width < 0.2 * summary["noisy"]["x"].half_width
    assert list(summarise([{"input": {"x": 1.0}}])) == ["input"]


def test_table():
    scores = {key: Mean(2.0, 0.125, 7) for key in METRICS}
    opinions = {key: Mean(3.0, math.nan, 1) for key in DNSMOS_METRICS}
    lines = table_lines({"noisy": scores | opinions, "enhanced": scores | opinions})
    cells = [re.split(r"\s{2,}", line.strip()) for line in lines]
    assert cells[0] == list(METRICS.values())
    assert cells[1] == ["noisy", *["2.000 \u00b10.125"] * 7]
    assert cells[3] == list(DNSMOS_METRICS.values())
    assert cells[5] == ["enhanced", *["3.000"] * 4]
    assert max(map(len, lines)) < 120
    assert len(table_lines({"input": opinions})) == 2
    assert table_lines({"input": {"snr_db": Mean(2.0, 0.125, 7)}})[0].split() == ["SNR", "dB"]
    two_files = {key: Mean(-52.0, 183.891, 2) for key in METRICS}  # intervals of two are wide
    assert len({len(line) for line in table_lines({"input": two_files})}) == 1  # and stay below their headings
    assert table_lines({"input": two_files})[1].split() == ["input", *["-52.000", "\u00b1183.891"] * 7]


# ----------------------------------------------------------------------------------------------------------- input SNR


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("no_reverb/clnsp1_train_69005_1_snr15_tl-21_fileid_158.wav", 15.0),
        ("book_snr-5_tl-20_fileid_3.flac", -5.0),
        ("snr0.wav", 0.0),
        ("SNR_2.5.wav", 2.5),
        ("snr5/a.wav", None),
        ("mix_fileid_5.wav", None),
        ("xsnr5.wav", None),
    ],
)
def test_snr_of_names(name, expected):
    assert snr_from_name(name) == expected


def test_bins_of_five_decibels():
    bins = bins_by_snr([4.999, -0.1, 2.5, -2.5, math.inf, 0.0, -2.6])
    assert list(bins.items()) == [
        ("-7.5 to -2.5 dB", [6]),
        ("-2.5 to 2.5 dB", [1, 3, 5]),
        ("2.5 to 7.5 dB", [0, 2]),
        ("inf dB", [4]),
    ]
    assert bins_by_snr([]) == {}
    assert list(bins_by_snr([math.inf, -math.inf])) == ["-inf dB", "inf dB"]


@pytest.mark.parametrize("nominal", [(-5.0, 0.0, 5.0, 10.0), (0.0, 10.0, 20.0), (2.5, 7.5, 12.5, 17.5), (0.0,), (2.5,)])
def test_nominal_snrs_share_a_bin(nominal):
    scatter = np.random.default_rng(0).normal(0, 0.4, (20, len(nominal)))
    bins = bins_by_snr((scatter + nominal).ravel().tolist())
    assert len(bins) == len(nominal)
    for column, indices in enumerate(bins.values()):
        assert {index % len(nominal) for index in indices} == {column}


def test_snrs_that_gather_nowhere_have_the_usual_bins():
    bins = bins_by_snr(np.random.default_rng(0).uniform(-5, 20, 64).tolist())
    assert [*bins][:2] == ["-7.5 to -2.5 dB", "-2.5 to 2.5 dB"] and len(bins) == 6


@pytest.mark.parametrize(
    "text",
    [
        "file\tspeaker\tsnr_db\na.flac\tone, two\t3.5\ndeep/b.flac\tthree\t-2\n",
        "\ufeffsnr,noisy\n3.5,noisy/a.wav\n-2,deep/b.wav\n99,other/b.wav\n",
        "name;snr\na;3.5\nnoisy\\deep\\b.wav;-2\n",
    ],
)
def test_manifests(tmp_path, text):
    (tmp_path / "mixes.csv").write_text(text, encoding="utf-8")
    names = [["deep/b_denoised.wav", "deep/b.wav"], ["a.wav"]]
    assert read_manifest(tmp_path / "mixes.csv", names) == [-2.0, 3.5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"mixes.csv: cannot be read as a manifest \(No such file or directory\)"),
        (b"\xff\xfe\x00", r"cannot be read as a manifest \(it is not UTF-8 text\)"),
        (b"", r"has the columns \(none\)"),
        (b"file,loudness\na.wav,3\n", "has the columns file, loudness. Expected noisy, file or name, and snr_db or"),
        (b"file,snr\nb.wav,3\na.wav,loud\n", r"line 3 has 'loud' as snr. Expected a number in dB"),
        (b"file,snr\na.wav\n", r"line 2 has None as snr"),
        (b"file,snr\nb.wav,3\n", r"does not name deep/a.wav. Expected one row for each file"),
        (b"file,snr\nx/a.wav,3\ny/a.wav,4\n", r"gives several values of snr for deep/a.wav"),
    ],
)
def test_manifests_that_cannot_be_used(tmp_path, text, message):
    if text is not None:
        (tmp_path / "mixes.csv").write_bytes(text)
    with pytest.raises(ValueError, match=message):
        read_manifest(tmp_path / "mixes.csv", [["deep/a.wav"]])
