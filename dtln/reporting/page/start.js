"use strict";
// Fills the page and listens to the reader.

function options(select, entries) {
  byId(select).replaceChildren(...entries.map(([value, title]) => element("option", { value }, title)));
}

function drawSummary() {
  const lines = DATA.means.map(({ signal, means }) => [signal, means, false]);
  for (const { of, to, means } of DATA.differences) lines.push([`${of} \u2212 ${to}`, means, true]);
  byId("means").replaceChildren(
    headings(["", ...METRICS.map((key) => DATA.metrics[key])]),
    element("tbody", {}, ...lines.map(([title, means, signed]) => element("tr", {},
      element("th", { scope: "row" }, title),
      ...METRICS.map((key) => element("td", { class: signed ? tendency(means[key]) : "" },
        ...interval(means[key], key, signed)))))),
  );
}

// What can be said of the systems: the verdicts of all metrics and systems hold together.
function drawVerdicts() {
  if (!DATA.verdicts.length) return;
  const chance = (p) => p === null ? "\u2013" : p < 0.001 ? "< 0.001" : p.toFixed(3);
  const lines = DATA.verdicts.map(({ of, to, metric, difference, p, findable, verdict }) => element("tr", {},
    element("th", { scope: "row" }, `${of} \u2212 ${to}`), element("td", {}, DATA.metrics[metric]),
    element("td", {}, ...interval(difference, metric, true)), element("td", {}, chance(p)),
    element("td", {}, findable === null ? "\u2013" : findable.toFixed(digits(metric))), element("td", {}, verdict)));
  byId("verdicts").replaceChildren(
    element("h3", {}, "Which system is ahead"),
    element("p", { class: "note" }, "Paired t-tests over the files; p is corrected for all lines together (Holm). "
      + "\u201cNo difference found\u201d says nothing about differences smaller than the findable one, which so many "
      + "files would show in four of five repetitions."),
    element("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Table of verdicts" },
      element("table", { class: "verdicts" },
        headings(["Systems", "Metric", "Difference", "p (Holm)", "Findable", "Verdict"]), element("tbody", {}, ...lines))),
  );
}

// Whether an interval of differences lies above or below zero as a whole.
function tendency([, low, high]) {
  if (low === null || (low <= 0 && high >= 0)) return "";
  return low > 0 ? "better" : "worse";
}

function about() {
  const parts = [files(ROWS.length)];
  const seconds = DATA.seconds.reduce((sum, value) => sum + value, 0);
  if (seconds) parts.push(seconds < 90 ? `${seconds.toFixed(0)} s of audio` : `${(seconds / 60).toFixed(0)} minutes of audio`);
  if (DATA.apart.length) parts.push(`${DATA.apart.length} left out`);
  byId("about").textContent = parts.join(", ");
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  byId("theme").setAttribute("aria-pressed", String(theme === "dark"));
}

function start() {
  const system = matchMedia("(prefers-color-scheme: dark)");
  setTheme(kept.read("dtln-report-theme") ?? (system.matches ? "dark" : "light"));
  about();
  drawSummary();
  drawVerdicts();
  byId("apart").hidden = !DATA.apart.length;
  document.querySelector('nav a[href="#apart"]').hidden = !DATA.apart.length;
  byId("apart-list").replaceChildren(...DATA.apart.map((words) => element("li", {}, words)));
  byId("notes").replaceChildren(...DATA.notes.map((words) => element("li", {}, `Note: ${words}.`)));
  byId("within-label").hidden = !DATA.embedded.length;
  options("metric", METRICS.map((key) => [key, DATA.metrics[key]]));
  options("view", VIEWS.map((view, index) => [index, view.title]));
  options("sort", columns());
  options("range", columns().slice(1));
  byId("metric").value = byId("range").value = state.metric;
  byId("metric").addEventListener("change", () => {
    state.metric = byId("metric").value;
    drawCharts();
  });
  byId("view").addEventListener("change", () => {
    state.view = Number(byId("view").value);
    update();
  });
  byId("sort").addEventListener("change", () => {
    state.sort = byId("sort").value;
    update();
  });
  byId("order").addEventListener("change", () => {
    state.descending = byId("order").value === "down";
    update();
  });
  const filtered = soon(() => {
    state.page = 0;
    update();
    sayWhich();
  });
  for (const id of ["text", "low", "high", "range", "found", "within"]) byId(id).addEventListener("input", filtered);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("clear").addEventListener("click", () => {
    clearFilters();
    filtered();
  });
  byId("previous").addEventListener("click", () => { state.page -= 1; update(); });
  byId("next").addEventListener("click", () => { state.page += 1; update(); });
  byId("table").addEventListener("keydown", moveAmongNames);
  byId("blind").addEventListener("keydown", blindKey);
  byId("theme").addEventListener("click", () => {
    setTheme(isDark() ? "light" : "dark");
    kept.write("dtln-report-theme", document.documentElement.dataset.theme);
    update();
  });
  update();
  drawSetup();
  drawTrial();
}

start();
