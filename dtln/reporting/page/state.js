"use strict";
// What the page knows and shows: the data, the choices of the reader, and small helpers for the other scripts.

const DATA = JSON.parse(document.getElementById("data").textContent);
const NOISY = "noisy", CLEAN = "clean";
const METRICS = Object.keys(DATA.metrics);
const HAS_NOISY = NOISY in DATA.scores;
const SIGNALS = [...(HAS_NOISY ? [NOISY] : []), ...DATA.systems]; // keys of objects do not keep names such as "2024" here
const ROWS = DATA.names.map((_, row) => row);
const COLOURS = { // of Okabe and Ito, which colour-blind readers tell apart; lighter ones on dark
  light: ["#7a7f87", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#a07800", "#56b4e9"],
  dark: ["#9aa3ad", "#56b4e9", "#e69f00", "#35c48f", "#e59cc4", "#f0e442", "#7fa8ff"],
};

function minus(one, other) {
  return one === null || other === null ? null : one - other;
}

function score(signal, metric, row) {
  return DATA.scores[signal][metric][row];
}

// What the columns of the table can show; the first one is shown first.
const VIEWS = [
  ...(HAS_NOISY ? DATA.systems.map((name) => ({
    title: `${name} \u2212 noisy`, difference: true,
    value: (metric, row) => minus(score(name, metric, row), score(NOISY, metric, row)),
  })) : []),
  ...SIGNALS.map((name) => ({ title: name, difference: false, value: (metric, row) => score(name, metric, row) })),
  ...DATA.systems.slice(1).map((name) => ({
    title: `${name} \u2212 ${DATA.systems[0]}`, difference: true,
    value: (metric, row) => minus(score(name, metric, row), score(DATA.systems[0], metric, row)),
  })),
];

const state = { metric: DATA.metric, view: 0, sort: DATA.metric, descending: false, page: 0, open: null };

// An element with attributes, listeners (on...) and children; text is never read as HTML.
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

function byId(id) {
  return document.getElementById(id);
}

// The name of a signal where there is little room.
function short(signal) {
  return signal.length > 30 ? `${signal.slice(0, 28)}\u2026` : signal;
}

function digits(metric) {
  return /percent$/.test(metric) ? 1 : 2;
}

function shown(value, metric, signed = false) {
  if (value === null) return "\u2013";
  const text = Math.abs(value).toFixed(digits(metric));
  const sign = value < 0 && Number(text) !== 0 ? "\u2212" : signed ? "+" : "";
  return sign + text;
}

function isDark() {
  return document.documentElement.dataset.theme === "dark";
}

function colour(signal) {
  const index = signal === NOISY ? 0 : 1 + DATA.systems.indexOf(signal);
  const colours = COLOURS[isDark() ? "dark" : "light"];
  return colours[index < colours.length ? index : 1 + (index - 1) % (colours.length - 1)];
}

function files(number) {
  return `${number} file${number === 1 ? "" : "s"}`;
}

// Calls a function once, a while after the last of several calls.
function soon(call, milliseconds = 150) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(call, milliseconds);
  };
}

// What the browser keeps for the reader, where it keeps anything.
const kept = {
  read(name) {
    try {
      return JSON.parse(localStorage.getItem(name));
    } catch {
      return null;
    }
  },
  write(name, value) {
    try {
      localStorage.setItem(name, JSON.stringify(value));
    } catch {
      // private windows keep nothing: then it lasts as long as the page is open
    }
  },
};
