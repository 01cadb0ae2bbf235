"use strict";
// The table of files: sorted, filtered, a page at a time; a name opens the file below its row.

const PAGE_ROWS = 50;

function number(id) {
  const value = byId(id).value;
  return value === "" ? null : Number(value);
}

function clearFilters() {
  for (const id of ["text", "low", "high"]) byId(id).value = "";
  byId("found").checked = byId("within").checked = false;
}

// The rows that the filters leave, in the order of the table.
function chosenRows() {
  const view = VIEWS[state.view], range = byId("range").value, low = number("low"), high = number("high");
  const text = byId("text").value.trim().toLowerCase();
  const left = ROWS.filter((row) => {
    if (text && !DATA.names[row].toLowerCase().includes(text)) return false;
    if (byId("found").checked && !(row in DATA.findings)) return false;
    if (byId("within").checked && !DATA.embedded.includes(row)) return false;
    if (low === null && high === null) return true;
    const value = sortValue(view, range, row);
    return value !== null && (low === null || value >= low) && (high === null || value <= high);
  });
  const values = new Map(left.map((row) => [row, sortValue(view, state.sort, row)]));
  const direction = state.descending ? -1 : 1;
  return left.sort((a, b) => {
    const one = values.get(a), other = values.get(b);
    if (one === null || other === null) return (one === null) - (other === null) || a - b; // at the end either way
    return direction * (typeof one === "string" ? one.localeCompare(other) : one - other) || a - b;
  });
}

function sortValue(view, key, row) {
  if (key === "name") return DATA.names[row];
  if (key === "snr") return DATA.snrs[row];
  return view.value(key, row);
}

function columns() {
  return [["name", "File"], ...(DATA.snrs ? [["snr", "Input SNR dB"]] : []), ...METRICS.map((key) => [key,
    DATA.metrics[key]])];
}

function sortBy(key) {
  state.descending = state.sort === key ? !state.descending : false;
  state.sort = key;
  update();
}

function drawTable(rows) {
  const pages = Math.max(1, Math.ceil(rows.length / PAGE_ROWS));
  state.page = Math.min(state.page, pages - 1);
  const view = VIEWS[state.view];
  const classes = (key) => [key === "name" ? "" : "metric", key === state.sort ? "sorted" : ""].join(" ").trim();
  const head = columns().map(([key, title]) => element("th", { scope: "col", class: classes(key),
    "aria-sort": key !== state.sort ? "none" : state.descending ? "descending" : "ascending" },
  element("button", { type: "button", "data-sort": key, onclick: () => sortBy(key) }, title)));
  const visible = rows.slice(state.page * PAGE_ROWS, (state.page + 1) * PAGE_ROWS);
  const lines = visible.map((row) => element("tr", { id: `row-${row}` },
    element("th", { scope: "row" }, element("button", { type: "button", "data-row": row, "aria-expanded": "false",
      onclick: () => toggleRow(row) }, DATA.names[row]),
    row in DATA.findings ? element("small", { title: DATA.findings[row].join("\n") }, " \u26a0",
      element("span", { class: "hidden" }, " has findings")) : null),
    ...columns().slice(1).map(([key]) => {
      const value = sortValue(view, key, row);
      const signed = view.difference && key !== "snr";
      const kind = signed && value !== null ? (value < 0 ? " worse" : value > 0 ? " better" : "") : "";
      return element("td", { class: classes(key) + kind }, key === "snr" ? shown(value, "snr_db") : shown(value, key, signed));
    })));
  closeRow();
  byId("table").replaceChildren(
    element("caption", { class: "hidden" }, `Scores of each file: ${view.title}`),
    element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...lines),
  );
  const first = rows.length ? state.page * PAGE_ROWS + 1 : 0;
  byId("count").textContent = `${files(rows.length)} of ${ROWS.length}`
    + (pages > 1 ? `, ${first} to ${first + visible.length - 1} shown` : "");
  byId("previous").disabled = state.page === 0;
  byId("next").disabled = state.page >= pages - 1;
}

// Draws all that depends on choices; the file that was open stays open if it is still on the page.
function update() {
  const rows = chosenRows(), open = state.open;
  byId("sort").value = state.sort;
  byId("order").value = state.descending ? "down" : "up";
  byId("view").value = String(state.view);
  const focused = document.activeElement?.dataset?.sort;
  drawTable(rows);
  if (focused) document.querySelector(`[data-sort="${focused}"]`)?.focus();
  if (open !== null && byId(`row-${open}`)) toggleRow(open);
  drawCharts();
}

// Opens a file wherever it is: on another page, or among those that the filters hide.
function openRow(row, focus) {
  let rows = chosenRows();
  if (!rows.includes(row)) {
    clearFilters();
    rows = chosenRows();
    drawCharts();
  }
  state.page = Math.floor(rows.indexOf(row) / PAGE_ROWS);
  drawTable(rows);
  toggleRow(row);
  if (focus) {
    const button = document.querySelector(`button[data-row="${row}"]`);
    button.focus({ preventScroll: true });
    button.scrollIntoView({ block: "start" });
  }
}

function toggleRow(row) {
  const wasOpen = state.open === row;
  closeRow();
  if (wasOpen) return;
  state.open = row;
  const line = byId(`row-${row}`);
  const cell = element("td", { colspan: columns().length });
  line.after(element("tr", { class: "detail", id: `detail-${row}` }, cell));
  const button = line.querySelector("button");
  button.setAttribute("aria-expanded", "true");
  button.setAttribute("aria-controls", `detail-${row}`);
  fillDetail(cell, row);
}

function closeRow() {
  if (state.open === null) return;
  releasePlayers();
  byId(`detail-${state.open}`)?.remove();
  document.querySelector(`button[data-row="${state.open}"]`)?.setAttribute("aria-expanded", "false");
  state.open = null;
}

// Arrow keys, Home and End go from name to name.
function moveAmongNames(event) {
  if (!event.target.matches?.("button[data-row]")) return;
  const buttons = [...document.querySelectorAll("#table button[data-row]")];
  const here = buttons.indexOf(event.target);
  const places = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: buttons.length - 1 };
  const there = buttons[places[event.key]];
  if (there) {
    event.preventDefault();
    there.focus();
  }
}
