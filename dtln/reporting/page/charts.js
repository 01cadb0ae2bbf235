"use strict";
// Charts of the files that the filters leave, drawn by Chart.js.

const MOST_BINS = 30; // of the distribution
const ENOUGH = 5; // files: intervals of fewer may be so wide that they leave the chart; the table has them
const charts = {};

// Whiskers of points with `low` and `high`, which Chart.js does not have.
const whiskers = {
  id: "whiskers",
  afterDatasetsDraw(chart) {
    chart.data.datasets.forEach((dataset, index) => {
      if (!dataset.whiskers || !chart.isDatasetVisible(index)) return;
      const context = chart.ctx;
      const { left, top, width, height } = chart.chartArea;
      context.save();
      context.beginPath();
      context.rect(left, top, width, height);
      context.clip();
      context.strokeStyle = dataset.borderColor;
      context.lineWidth = 2;
      for (const { x, low, high } of dataset.data) {
        if (low === null || high === null) continue;
        const place = chart.scales.x.getPixelForValue(x);
        context.beginPath();
        context.moveTo(place, chart.scales.y.getPixelForValue(low));
        context.lineTo(place, chart.scales.y.getPixelForValue(high));
        context.stroke();
      }
      context.restore();
    });
  },
};

function chartOptions(x, y) {
  const style = getComputedStyle(document.documentElement);
  const text = style.getPropertyValue("--faint").trim(), line = style.getPropertyValue("--line").trim();
  const axis = (title) => ({ type: "linear", title: { display: true, text: title, color: text }, ticks: { color: text },
    grid: { color: line } });
  return {
    animation: false, maintainAspectRatio: false, responsive: true,
    interaction: { mode: "nearest", intersect: true },
    scales: { x: axis(x), y: axis(y) },
    plugins: { legend: { labels: { color: text, usePointStyle: true, boxHeight: 8, filter: (item) => !item.text.startsWith("_") } } },
  };
}

function draw(id, configuration) {
  charts[id]?.destroy();
  charts[id] = new Chart(byId(id), configuration);
}

// Points that stand for files: their tooltips name them, a click opens them.
function openOnClick(options) {
  options.onClick = (event, elements, chart) => {
    const point = elements.map((hit) => chart.data.datasets[hit.datasetIndex].data[hit.index]).find((p) => "row" in p);
    if (point) openRow(point.row, true);
  };
  options.onHover = (event, elements) => {
    event.native.target.style.cursor = elements.length ? "pointer" : "default";
  };
  options.plugins.tooltip = { callbacks: { label: (item) => pointLabel(item.dataset.label, item.raw) } };
  return options;
}

function pointLabel(label, point) {
  const values = `${point.x.toFixed(2)}, ${point.y.toFixed(2)}`;
  return "row" in point ? `${DATA.names[point.row]} (${label}): ${values}` : `${label}: ${values}`;
}

function points(rows, system, x, y) {
  return rows.map((row) => ({ x: x(row), y: y(row), row })).filter((p) => Number.isFinite(p.x) && Number.isFinite(p.y)
    && p.x !== null && p.y !== null);
}

function pointSet(label, system, data) {
  const many = data.length > 500; // so faint that means in the same colour stand out
  return { label, type: "scatter", data, borderColor: colour(system), backgroundColor: colour(system) + (many ? "33" : "55"),
    pointRadius: many ? 2 : 3.5, pointHoverRadius: 7, borderWidth: many ? 0 : 1 };
}

function drawGain(rows) {
  const metric = state.metric;
  byId("gain-figure").hidden = !HAS_NOISY || DATA.snrs === null;
  if (byId("gain-figure").hidden) return;
  const centred = DATA.bins.filter((bin) => bin.centre !== null);
  const sets = DATA.systems.flatMap((system, index) => {
    const aside = (index - (DATA.systems.length - 1) / 2) * 0.6; // dB, so that the intervals lie side by side
    const means = centred.map((bin) => {
      const [y, low, high] = bin.means[system][metric];
      return { x: bin.centre + aside, y, low, high, count: bin.count };
    }).filter((point) => point.y !== null);
    const files = points(rows, system, (row) => DATA.snrs[row],
      (row) => minus(score(system, metric, row), score(NOISY, metric, row)));
    return [
      { label: short(system), type: "line", data: means, whiskers: true, order: 0, borderColor: colour(system),
        backgroundColor: colour(system), pointRadius: 5, borderWidth: 2 },
      { ...pointSet(`_${short(system)}`, system, files), order: 1 },
    ];
  });
  const options = openOnClick(chartOptions("input SNR, dB", `improvement, ${DATA.metrics[metric]}`));
  options.plugins.tooltip.callbacks.label = (item) => pointLabel(item.dataset.label.replace(/^_/, ""), item.raw);
  const ends = sets.flatMap((set) => set.data.flatMap(({ y, low, high, count }) => count >= ENOUGH ? [low, high] : [y]));
  options.scales.y.suggestedMin = ends.reduce((a, b) => Math.min(a, b), 0);
  options.scales.y.suggestedMax = ends.reduce((a, b) => Math.max(a, b), 0);
  draw("gain", { data: { datasets: sets }, options, plugins: [whiskers] });
  byId("gain").setAttribute("aria-label", `Improvement of ${DATA.metrics[metric]} against input SNR. `
    + "The numbers are in the table below the chart.");
  byId("gain-table").replaceChildren(
    headings(["Input SNR", "Files", ...DATA.systems]),
    element("tbody", {}, ...DATA.bins.map((bin) => element("tr", {}, element("th", { scope: "row" }, bin.label),
      element("td", {}, String(bin.count)),
      ...DATA.systems.map((system) => element("td", {}, ...interval(bin.means[system][metric], metric, true)))))),
  );
}

function quantile(sorted, share) {
  if (!sorted.length) return null;
  const place = (sorted.length - 1) * share, below = Math.floor(place);
  return sorted[below] + (place - below) * ((sorted[below + 1] ?? sorted[below]) - sorted[below]);
}

function drawDistribution(rows) {
  const metric = state.metric;
  const values = Object.fromEntries(SIGNALS.map((signal) => [signal,
    rows.map((row) => score(signal, metric, row)).filter((value) => value !== null).sort((a, b) => a - b)]));
  const all = Object.values(values).flat();
  const lowest = all.reduce((a, b) => Math.min(a, b), Infinity), high = all.reduce((a, b) => Math.max(a, b), -Infinity);
  const bins = high > lowest ? Math.min(MOST_BINS, Math.ceil(3 * Math.sqrt(rows.length))) : 1;
  const width = high > lowest ? (high - lowest) / bins : 1; // one bin around a score that all have
  const low = high > lowest ? lowest : lowest - width / 2;
  const sets = SIGNALS.map((signal) => {
    const counts = new Array(bins).fill(0);
    for (const value of values[signal]) counts[Math.min(bins - 1, Math.floor((value - low) / width))] += 1;
    const edge = (bin) => low + bin * width; // the last one may differ from `high` by rounding
    const steps = counts.map((y, bin) => ({ x: edge(bin + 1), y }));
    return { label: short(signal), type: "line", stepped: "after", fill: true, pointRadius: 0, borderWidth: 2,
      data: all.length ? [{ x: low, y: 0 }, ...steps, { x: edge(bins), y: 0 }] : [],
      borderColor: colour(signal), backgroundColor: `${colour(signal)}33` };
  });
  const options = chartOptions(DATA.metrics[metric], "files");
  options.interaction = { mode: "index", intersect: false };
  options.scales.y.ticks.precision = 0;
  draw("distribution", { data: { datasets: sets }, options });
  byId("distribution").setAttribute("aria-label", `Distribution of ${DATA.metrics[metric]} over `
    + `${files(rows.length)}. The quartiles are in the table below the chart.`);
  const shares = [0, 0.25, 0.5, 0.75, 1];
  byId("distribution-table").replaceChildren(
    headings(["", "Lowest", "25 %", "Median", "75 %", "Highest"]),
    element("tbody", {}, ...SIGNALS.map((signal) => element("tr", {}, element("th", { scope: "row" }, signal),
      ...shares.map((share) => element("td", {}, shown(quantile(values[signal], share), metric)))))),
  );
}

function drawScatter(rows) {
  const metric = state.metric;
  byId("scatter-figure").hidden = !HAS_NOISY;
  if (!HAS_NOISY) return;
  const sets = DATA.systems.map((system) => pointSet(short(system), system, points(rows, system,
    (row) => score(NOISY, metric, row), (row) => score(system, metric, row))));
  const all = sets.flatMap((set) => set.data.map((point) => point.x));
  const ends = all.length ? [all.reduce((a, b) => Math.min(a, b)), all.reduce((a, b) => Math.max(a, b))] : [];
  sets.push({ label: "no change", type: "line", data: ends.map((x) => ({ x, y: x })), pointRadius: 0, borderWidth: 1.5,
    borderDash: [6, 4], borderColor: colour(NOISY), pointHitRadius: 0, pointStyle: "line" });
  const options = openOnClick(chartOptions(`noisy, ${DATA.metrics[metric]}`, `denoised, ${DATA.metrics[metric]}`));
  draw("scatter", { data: { datasets: sets }, options });
  byId("scatter").setAttribute("aria-label", `${DATA.metrics[metric]} of ${files(rows.length)} before and after. `
    + "The table of files below holds each number.");
}

function drawCharts() {
  const rows = chosenRows();
  byId("charted").textContent = rows.length === ROWS.length ? "" : `${files(rows.length)} that the filters leave; `
    + "the means by input SNR are of all";
  drawGain(rows);
  drawDistribution(rows);
  drawScatter(rows);
}

function headings(texts) {
  return element("thead", {}, element("tr", {}, ...texts.map((text) => element("th", { scope: "col" }, text))));
}

// A mean and half the width of its interval.
function interval([mean, low, high], metric, signed = false) {
  if (mean === null || high === null) return [shown(mean, metric, signed)];
  return [shown(mean, metric, signed), " ", element("small", {}, `\u00b1${(high - mean).toFixed(digits(metric))}`)];
}
