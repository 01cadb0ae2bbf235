"""The page in Chromium, opened from disk: what a reader sees, hears and does."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from score_reports import report_of

from dtln.reporting import ReportSettings, system_of, write_report
from dtln.scoring.means import mean_with_interval

NAMES = [f"{index}.wav" for index in range(6)]
PLAYERS = "return [...document.querySelectorAll('.recording audio')]"
SPECTROGRAMS = """
// for each picture: the colours of its largest canvas
return [...document.querySelectorAll('.picture')].map((picture) => {
  const inside = (node) => [...node.querySelectorAll('*')].flatMap((child) => [child,
    ...(child.shadowRoot ? inside(child.shadowRoot) : [])]);
  const drawn = inside(picture).filter((node) => node.tagName === 'CANVAS' && node.height >= 100 && node.width > 100);
  return drawn.map((canvas) => new Set(new Uint32Array(canvas.getContext('2d').getImageData(0, 0, canvas.width,
    canvas.height).data.buffer)).size).reduce((a, b) => Math.max(a, b), 0);
});
"""


class Page:
    """A page in the browser."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser

    def open(self, path: Path) -> Page:
        self.browser.get("about:blank")
        self.browser.get_log("performance"), self.browser.get_log("browser")
        self.browser.get(path.as_uri())
        return self

    def run(self, script: str, *arguments: Any) -> Any:
        return self.browser.execute_script(script, *arguments)

    def all(self, selector: str) -> list[Any]:
        return self.browser.find_elements("css selector", selector)

    def one(self, selector: str) -> Any:
        return self.browser.find_element("css selector", selector)

    def texts(self, selector: str) -> list[str]:
        return self.run("return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)", selector)

    def names(self) -> list[str]:
        return self.texts("#table button[data-row]")

    def choose(self, name: str, value: str) -> None:
        """Chooses in a list, types into a field, or ticks a box, as a reader would."""
        script = """
        const [id, value] = arguments, field = document.getElementById(id);
        if (field.type === 'checkbox') field.checked = value; else field.value = value;
        for (const kind of ['input', 'change']) field.dispatchEvent(new Event(kind, { bubbles: true }));
        """
        self.run(script, name, value)

    def click(self, selector: str) -> None:
        self.run("arguments[0].click()", self.one(selector))

    def press(self, *keys: str) -> None:
        from selenium.webdriver import ActionChains

        ActionChains(self.browser).send_keys(*keys).perform()

    def wait(self, script: str, seconds: float = 30) -> Any:
        """What a script returns once that is true."""
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.browser, seconds, 0.05).until(lambda _: self.run(script), script)

    def requests(self) -> set[str]:
        """The addresses that the page asked for."""
        messages = [json.loads(entry["message"])["message"] for entry in self.browser.get_log("performance")]
        sent = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
        return {params["request"]["url"] for params in sent}


@pytest.fixture
def page(chromium) -> Iterator[Page]:
    """The browser as it was started, without what earlier pages kept; no message may be left at the end."""
    yield Page(chromium)
    messages = [entry for entry in chromium.get_log("browser") if entry["level"] != "INFO"]
    chromium.execute_script("localStorage.clear()")
    chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert messages == []


@pytest.fixture
def report(recordings, tmp_path, page) -> Callable[..., Page]:
    """Function: writes a report and opens it."""

    def make(names: Sequence[str | bytes] = NAMES, systems: Sequence[str] = ("enhanced",), **settings: Any) -> Page:
        suffix = settings.pop("suffix", "")
        write_report(tmp_path / "report.html", recordings(names, systems, suffix), ReportSettings(**settings))
        return page.open(tmp_path / "report.html")

    return make


def test_summary_is_that_of_the_scores(report, tmp_path):
    page = report()
    data = page.run("return DATA")
    gains = [
        after - before
        for before, after in zip(
            data["scores"]["noisy"]["si_sdr_db"], data["scores"]["enhanced"]["si_sdr_db"], strict=True
        )
    ]
    mean = mean_with_interval(gains)
    assert page.texts("#means thead th") == ["", "SI-SDR dB", "SNR dB"]
    assert page.texts("#means tbody th") == ["noisy", "enhanced", "enhanced \u2212 noisy"]
    cell = page.texts("#means tbody tr:last-child td")[0]
    assert cell == f"+{mean.mean:.2f} \u00b1{mean.half_width:.2f}"
    assert page.texts("#about") == ["6 files, 3 s of audio"]


def test_verdicts_on_systems(report):
    page = report(systems=["A", "B"])
    assert page.texts("#verdicts thead th") == ["Systems", "Metric", "Difference", "p (Holm)", "Findable", "Verdict"]
    rows = page.run("return [...document.querySelectorAll('#verdicts tbody tr')].map((row) => row.innerText)")
    assert [row.split("\t")[:2] + row.split("\t")[-1:] for row in rows] == [
        ["B \u2212 A", "SI-SDR dB", "B ahead"],
        ["B \u2212 A", "SNR dB", "B ahead"],
    ]
    assert "3.52" in rows[1]  # 20 log10(3/2): a third of the noise is left instead of half


def test_nothing_is_asked_of_the_network(report):
    page = report()
    page.click("button[data-row]")
    page.wait("return players.length === 3 && players.every(({ wave }) => wave.getDuration() > 0)")
    requests = page.requests()
    assert any(url.startswith("file:") and url.endswith("report.html") for url in requests)
    assert not [url for url in requests if not url.startswith(("file:", "blob:", "data:"))]


def test_sorting(report):
    page = report()
    gains = {
        name: after - before
        for name, before, after in zip(
            *page.run("return [DATA.names, DATA.scores.noisy.snr_db, DATA.scores.enhanced.snr_db]"), strict=True
        )
    }
    page.click("[data-sort=snr_db]")
    assert page.names() == sorted(NAMES, key=gains.get)
    headings = "[...document.querySelectorAll('#table th[aria-sort]')].map((th) => th.getAttribute('aria-sort'))"
    assert page.run(f"return {headings}") == ["none", "none", "none", "ascending"]
    page.click("[data-sort=snr_db]")
    assert page.names() == sorted(NAMES, key=gains.get, reverse=True)
    page.choose("sort", "name")
    page.choose("order", "up")
    assert page.names() == NAMES
    page.choose("view", "1")  # the noisy files
    page.click("[data-sort=si_sdr_db]")
    assert page.names() == NAMES  # whose noise falls
    assert page.texts("#table tbody tr:first-child td")[-1] == page.run(
        "return shown(DATA.scores.noisy.snr_db[0], 'x')"
    )


def test_scores_that_are_not_finite_come_last(page, tmp_path):
    values = [3.0, None, 1.0]
    write_report(
        tmp_path / "report.html",
        [system_of("A", report_of(["a.wav", "b.wav", "c.wav"], [{"input": {"snr_db": v}} for v in values]))],
    )
    page.open(tmp_path / "report.html")
    assert page.names() == ["c.wav", "a.wav", "b.wav"]
    page.choose("order", "down")
    assert page.names() == ["a.wav", "c.wav", "b.wav"]
    assert page.texts("#table tbody tr:last-child td") == ["\u2013"]
    assert page.run("return document.getElementById('scatter-figure').hidden")


def test_filters(report):
    page = report(["a_bus.wav", "b_bus.wav", "c_car.wav"])
    page.choose("text", "BUS")
    page.wait("return document.getElementById('count').textContent === '2 files of 3'")
    assert sorted(page.names()) == ["a_bus.wav", "b_bus.wav"]
    page.choose("text", "")
    page.choose("range", "snr_db")
    page.choose("view", "1")  # the noisy files
    middle = page.run("return DATA.scores.noisy.snr_db[1]")
    page.choose("low", str(middle))
    page.choose("high", str(middle))
    page.wait("return document.getElementById('count').textContent.startsWith('1 file ')")
    assert page.names() == ["b_bus.wav"]
    assert "1 file that the filters leave" in page.texts("#charted")[0]
    page.click("#clear")
    page.wait("return document.getElementById('count').textContent === '3 files of 3'")


def test_worst_file_is_one_click_away_and_plays(report):
    page = report(embed=2)
    page.click("#table button[data-row]")
    page.wait("return players.length === 3 && players.every(({ audio }) => audio.readyState >= 2)")
    assert page.run(f"{PLAYERS}.map((audio) => audio.dataset.signal)") == ["noisy", "enhanced", "clean"]
    for duration in page.run(f"{PLAYERS}.map((audio) => audio.duration)"):
        assert duration == pytest.approx(0.5, abs=0.01)
    page.run("players[1].audio.play()")
    page.wait("return players[1].audio.currentTime > 0.1")
    assert min(page.wait(f"const f = () => {{ {SPECTROGRAMS} }}; const c = f(); return Math.min(...c) > 50 && c")) > 50
    page.click("#table button[data-row]")
    assert page.run("return players.length") == 0 and not page.all(".detail")


def test_sound_beside_the_page_plays(report):
    names = ['a "b" <c> & 50 %.wav', "#1?.flac", b"caf\xe9.wav", "</b>.wav".replace("/", "\u2215")]
    page = report(names, embed=0)
    assert page.names()[0] in page.run("return DATA.names")
    for row in range(len(names)):
        page.run("openRow(arguments[0])", row)
        page.wait("return players.length === 3 && players.every(({ audio }) => audio.readyState >= 2)")
    assert "No spectrogram: this sound lies outside the page." in page.texts(".recording p")


def test_recording_that_is_gone_is_told(report, tmp_path, page):
    report(embed=0)
    shutil.rmtree(tmp_path / "noisy")
    page.run("openRow(0)")
    page.wait("return document.querySelector('.recording .worse')?.textContent.includes('is not where it was')")
    assert page.run("return players.length") == 3
    page.browser.get_log("browser")  # the browser itself notes the missing file


def test_sound_that_does_not_play_is_told_apart_from_a_picture_that_is_not_drawn(report):
    page = report(["a.wav"])
    page.run("openRow(0)")
    page.wait("return players.length === 3 && players.every(({ wave }) => wave.getDuration() > 0)")
    page.run(
        "players[0].wave.emit('error', new Error('too wide')); "
        "players[1].audio.src = URL.createObjectURL(new Blob(['no sound']))"
    )
    page.wait("return document.querySelectorAll('.recording .worse').length >= 2")
    picture, sound = page.texts(".recording .worse")[:2]
    assert picture == "No picture: too wide" and sound.startswith("The recording does not play: ")


def test_folder_of_sound_can_be_moved_with_the_page(report, tmp_path, page):
    report(["a.wav", "b.wav"], files=True, suffix=".aiff")
    moved = tmp_path / "else where #1"
    moved.mkdir()
    for name in ("report.html", "report_files"):
        shutil.move(tmp_path / name, moved / name)
    for folder in ("clean", "noisy", "enhanced"):
        shutil.rmtree(tmp_path / folder)
    page.open(moved / "report.html")
    page.run("openRow(1)")
    page.wait("return players.length === 3 && players.every(({ wave }) => wave.getDuration() > 0)")
    shutil.rmtree(moved / "report_files")
    page.run("openRow(0)")
    page.wait("return document.querySelector('.detail p.worse')?.textContent.includes('report_files is not beside')")
    assert "AIFF PCM_16 does not play in browsers" in page.texts(".recording p")[0]
    page.browser.get_log("browser")  # the browser itself notes the missing file


def test_folder_of_another_page_is_not_played(report, tmp_path, page):
    report(["a.wav", "b.wav"], files=True)
    script = tmp_path / "report_files" / "0.js"
    script.write_text(script.read_text().replace(page.run("return DATA.id"), "0" * 16))
    page.run("openRow(0)")
    page.wait("return document.querySelector('.detail p.worse')?.textContent.includes('another version of this page')")


def test_click_on_a_point_opens_its_file(report):
    page = report()
    place = """
    const chart = charts.scatter, index = chart.data.datasets[0].data.findIndex((point) => point.row === 3);
    const canvas = document.getElementById('scatter');
    canvas.scrollIntoView({ block: 'center' });
    const { x, y } = chart.getDatasetMeta(0).data[index].getProps(['x', 'y']), box = canvas.getBoundingClientRect();
    return [Math.round(box.left + x), Math.round(box.top + y)];
    """
    x, y = page.run(place)
    for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
        event = {"type": kind, "x": x, "y": y, "button": "none" if kind == "mouseMoved" else "left", "clickCount": 1}
        page.browser.execute_cdp_cmd("Input.dispatchMouseEvent", event)
    page.wait("return state.open === 3")
    assert page.run("return document.activeElement.dataset.row") == "3"
    assert page.texts(".detail h3")[0] == "3.wav"


def test_file_that_the_filters_hide_is_opened_nevertheless(report):
    page = report()
    page.choose("text", "5.wav")
    page.wait("return document.getElementById('count').textContent === '1 file of 6'")
    page.run("openRow(2)")
    assert page.run("return state.open") == 2 and len(page.names()) == 6


def test_keyboard(report):
    from selenium.webdriver.common.keys import Keys

    page = report()
    page.press(Keys.TAB)
    assert page.run("return document.activeElement.textContent") == "Skip to the files"
    page.run("document.querySelector('#table button[data-row]').focus()")
    page.press(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_UP, Keys.ENTER)
    second = page.run("return Number(document.querySelectorAll('#table button[data-row]')[1].dataset.row)")
    assert page.run("return state.open") == second
    assert page.run("return document.activeElement.getAttribute('aria-expanded')") == "true"
    page.wait("return players.length === 3 && players.every(({ audio }) => audio.readyState >= 2)")
    page.run("players[0].audio.loop = players[2].audio.loop = true; players[0].audio.focus()")
    page.press("1")
    page.wait("return players[0].audio.currentTime > 0.05")
    page.press("3")
    page.wait("return players[0].audio.paused && !players[2].audio.paused")
    page.press("0")
    page.wait("return players.every(({ audio }) => audio.paused)")
    page.run("document.querySelector('[data-sort=snr_db]').focus()")
    page.press(Keys.ENTER)
    assert page.run("return [state.sort, document.activeElement.dataset.sort]") == ["snr_db", "snr_db"]


def test_everything_has_a_name(report):
    page = report(systems=["A", "B"])
    page.click("#table button[data-row]")
    page.wait("return players.length === 4")
    page.click("#blind-start")
    page.wait("return Object.keys(blindPlayers).length === 3")
    parts = page.all("input, select, button, audio, canvas[role], .picture, section, nav, [role=region], [role=group]")
    assert len(parts) > 30
    assert [
        part.get_attribute("outerHTML")[:80] for part in parts if part.is_displayed() and not part.accessible_name
    ] == []


def test_phone(report):
    page = report([f"deep/{'very_' * 45}long.wav", "b.wav"], [f"DTLN {'x' * 150}", "B"])
    size = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page.click("#table button[data-row]")
    page.wait("return players.length === 4")
    assert page.run("return [innerWidth, document.documentElement.scrollWidth]") == [360, 360]
    page.run("openRow(0)")
    assert page.run("const h = document.querySelector('.detail h3'); return h.scrollWidth - h.clientWidth") == 0
    heights = "return [...document.querySelectorAll('.detail table th')].map((th) => th.offsetHeight)"
    lines = page.run(heights)
    assert max(lines[:4] + lines[5:]) < 40  # no word is broken but that of 150 letters
    assert (
        page.run("const t = document.getElementById('table'); return t.offsetWidth - t.parentElement.clientWidth") <= 0
    )
    assert page.run("return [...document.querySelectorAll('#table > thead th')].map((th) => th.offsetWidth > 0)") == [
        True, False, True, False,
    ]  # fmt: skip


def test_dark(report, tmp_path, page):
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    ground = "return getComputedStyle(document.body).backgroundColor"
    report()
    assert page.run(ground) == "rgb(255, 255, 255)"
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    page.open(tmp_path / "report.html")
    assert page.run(ground) == "rgb(20, 23, 27)"
    page.click("#theme")
    page.open(tmp_path / "report.html")
    assert page.run(ground) == "rgb(255, 255, 255)"  # the reader's choice is kept


def test_2000_files_a_page_at_a_time(page, tmp_path):
    scores = [{"noisy": {"snr_db": 1.0}, "enhanced": {"snr_db": 1.0 + index % 1000}} for index in range(2000)]
    system = system_of("A", report_of([f"{index:04}.wav" for index in range(2000)], scores, input_snr_db=[1.0] * 2000))
    write_report(tmp_path / "report.html", [system])
    page.open(tmp_path / "report.html")
    assert page.names()[:3] == ["0000.wav", "1000.wav", "0001.wav"] and len(page.names()) == 50
    assert page.texts("#count") == ["2000 files of 2000, 1 to 50 shown"]
    page.click("#next")
    assert page.texts("#count") == ["2000 files of 2000, 51 to 100 shown"] and page.names()[0] == "0025.wav"
    page.run("openRow(1999)")
    assert "1999.wav" in page.names() and page.run("return state.open") == 1999
    assert page.run("return document.getElementById('next').disabled")


def test_distribution_counts_every_file(report):
    page = report(systems=["A", "B"])
    counts = page.run("return charts.distribution.data.datasets.map((set) => set.data.reduce((a, { y }) => a + y, 0))")
    assert counts == [6, 6, 6]
    assert page.run("return [quantile([1, 2, 4, 8], 0.5), quantile([1, 2], 1), quantile([], 0.5)]") == [3, 2, None]


def test_distribution_rises_from_edge_to_edge(page, tmp_path):
    """A last edge beyond the last score, by rounding, would draw the area across the chart."""
    bins = 12  # of sixteen files
    high = next(h for h in (round(0.7 + 0.1 * n, 1) for n in range(99)) if 0.1 + bins * ((h - 0.1) / bins) > h)
    scores = [{"input": {"snr_db": value}} for value in [0.1, *[0.5] * 14, high]]
    write_report(tmp_path / "report.html", [system_of("A", report_of([f"{n}.wav" for n in range(16)], scores))])
    (points,) = page.open(tmp_path / "report.html").run("return charts.distribution.data.datasets.map((s) => s.data)")
    places = [point["x"] for point in points]
    assert len(places) == bins + 2 and places == sorted(places)
    assert sum(point["y"] for point in points) == 16


def test_distribution_stands_above_its_scores(page, tmp_path):
    """The area of a bin lies between its edges, the first one's from the lowest score on."""
    scores = [{"input": {"snr_db": value}} for value in [0.0] * 8 + [10.0] * 8]
    write_report(tmp_path / "report.html", [system_of("A", report_of([f"{n}.wav" for n in range(16)], scores))])
    filled = """
    const chart = charts.distribution, { x, y } = chart.scales, ratio = chart.currentDevicePixelRatio;
    const line = chart.ctx.getImageData(0, Math.round(y.getPixelForValue(4.5) * ratio), chart.canvas.width, 1).data;
    return arguments[0].map((value) => line[4 * Math.round(x.getPixelForValue(value) * ratio) + 3] > 0);
    """
    width = 10 / 12  # of sixteen files
    places = [width / 2, 1.5 * width, 10 - 1.5 * width, 10 - width / 2]
    assert page.open(tmp_path / "report.html").run(filled, places) == [True, False, False, True]
    page.choose("low", "10")  # all have the same score
    page.wait("return document.getElementById('count').textContent === '8 files of 16'")
    edges = "return charts.distribution.data.datasets[0].data.map(({ x, y }) => [x, y])"
    assert page.run(edges) == [[9.5, 0], [10.5, 8], [10.5, 0]]


def test_names_that_are_numbers_or_turn_lines(report):
    page = report(["a\u202egnp.wav", "b\nc.wav"], ["2024", "7", "constructor"])
    assert page.run("return [SIGNALS, soundSignals()]") == [
        ["noisy", "2024", "7", "constructor"],
        ["noisy", "2024", "7", "constructor", "clean"],
    ]
    assert sorted(page.names()) == ["a\\u202egnp.wav", "b\\nc.wav"]
    page.run("openRow(1)")
    page.wait("return players.length === 5 && players.every(({ audio }) => audio.readyState >= 2)")


def test_points_and_means_of_improvement(report):
    page = report()
    means, points = page.run("return charts.gain.data.datasets.map((set) => set.data)")
    data = page.run("return DATA")
    for point in points:
        row = point["row"]
        gain = data["scores"]["enhanced"]["si_sdr_db"][row] - data["scores"]["noisy"]["si_sdr_db"][row]
        assert (point["x"], point["y"]) == (data["snrs"][row], pytest.approx(gain))
    assert [mean["y"] for mean in means] == [line["means"]["enhanced"]["si_sdr_db"][0] for line in data["bins"]]
    page.choose("metric", "snr_db")
    assert page.run("return charts.gain.options.scales.y.title.text") == "improvement, SNR dB"


# ----------------------------------------------------------------------------------------------------------------------
# The blind test
# ----------------------------------------------------------------------------------------------------------------------


def answer(page: Page, count: int, right: int) -> None:
    """Answers the trials, so many of them right, by the buttons that a reader would press."""
    for trial in range(count):
        hidden = page.run("return tests.at(-1).trials[tests.at(-1).answers.length].x")
        wrong = "b" if hidden == "a" else "a"
        page.click(f"[data-answer={hidden if trial < right else wrong}]")


def test_chance_is_that_of_the_binomial_test(report):
    stats = pytest.importorskip("scipy.stats")
    page = report()
    cases = [(0, 1), (1, 1), (8, 16), (12, 16), (16, 16), (100, 200), (131, 200)]
    found = page.run("return arguments[0].map(([right, count]) => byChance(right, count))", cases)
    expected = [stats.binomtest(right, count, 0.5, alternative="greater").pvalue for right, count in cases]
    assert found == pytest.approx(expected, rel=1e-9)


def test_blind_test_of_two_systems(report, tmp_path):
    page = report(["a, b.wav", 'c "d".wav', "e.wav"], ["A", "B"])
    assert page.run("return [document.getElementById('blind-a').value, document.getElementById('blind-b').value]") == [
        "A",
        "B",
    ]
    page.choose("blind-count", "7")
    page.click("#blind-start")
    trials = page.run("return tests[0].trials")
    assert len(trials) == 7 and {trial["x"] for trial in trials} <= {"a", "b"}
    assert sorted(trial["row"] for trial in trials[:3]) == [0, 1, 2]  # each file before one comes again
    page.wait("return Object.keys(blindPlayers).length === 3")
    page.press("x")
    page.wait("return !blindPlayers.x.paused || blindPlayers.x.currentTime > 0")
    sources = "const p = blindPlayers; return [p.a.src, p.b.src, p.x.src].every((src) => src.startsWith('blob:'))"
    assert page.run(sources)
    page.press("a")
    page.wait("return blindPlayers.x.paused")
    answer(page, 1, right=1)
    assert page.run("return answersCsv().trim().split('\\n').length") == 1  # it does not tell what X was, nor is
    answer(page, 6, right=5)
    assert page.texts("#blind-result") == [
        "6 of 7 answers were right. Guessing gives as many or more in 6.3 % of such tests (exact binomial test). "
        "No difference was heard beyond chance."
    ]
    rows = list(csv.DictReader(page.run("return answersCsv()").splitlines()))
    assert [int(row["correct"]) for row in rows] == [1] * 6 + [0] and {row["a"] for row in rows} == {"A"}
    assert {row["file"] for row in rows} == {"a, b.wav", 'c "d".wav', "e.wav"}
    assert {float(row["p_value"]) for row in rows} == {0.0625}
    assert all((row["answer"] == row["x"]) == (row["correct"] == "1") for row in rows)
    page.open(tmp_path / "report.html")
    assert "6 of 7 answers were right" in page.texts("#blind-result")[0]  # the browser keeps them
    page.click("#blind-forget")
    assert page.run("return [tests.length, answersCsv().split('\\n').length]") == [0, 2]


def test_blind_test_goes_on_where_it_was_left(report, tmp_path):
    page = report()
    page.choose("blind-count", "16")
    page.click("#blind-start")
    answer(page, 3, right=3)
    page.open(tmp_path / "report.html")
    assert page.texts("#blind-trial h3")[0].startswith("Trial 4 of 16: ")
    answer(page, 13, right=13)
    words = page.texts("#blind-result")[0]
    assert words.startswith("16 of 16 answers were right. Guessing gives as many or more in less than 0.1 %")
    assert words.endswith("enhanced and noisy can be told apart.")
    page.click("#blind-start")
    answer(page, 2, right=1)
    page.click("#blind-stop")
    assert page.texts("#blind-result")[0].endswith("The test was ended early: 2 of 16 trials.")


def test_blind_test_is_about_files_with_sound(report, page):
    report(embed=1, suffix=".aiff")
    assert page.texts("#blind-which") == ["2 files to listen to"]
    page.choose("blind-b", "enhanced")
    assert page.texts("#blind-which") == ["Choose two recordings that differ."]
    assert page.run("return document.getElementById('blind-start').disabled")


def test_coin_is_fair(report):
    page = report()
    counts = page.run("const n = [0, 0, 0]; for (let i = 0; i < 3000; i += 1) n[randomBelow(3)] += 1; return n")
    assert all(abs(count - 1000) < 6 * math.sqrt(3000 * 2 / 9) for count in counts)


def test_answers_are_saved_as_a_file(report, tmp_path):
    page = report()
    folder = tmp_path / "downloads"
    page.browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
    page.choose("blind-count", "1")
    page.click("#blind-start")
    answer(page, 1, right=1)
    page.click("#blind-csv")
    page.wait("return true")
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(page.browser, 30, 0.05).until(lambda _: (folder / "blind-test.csv").exists())
    assert (folder / "blind-test.csv").read_text().startswith("test,trial,file,a,b,x,answer,correct,")
