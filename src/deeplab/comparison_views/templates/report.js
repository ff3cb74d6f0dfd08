"use strict";
// Small on purpose: sorting and filtering tables, drawing plotly's charts when they come into view, light and dark.
const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const readJson = (id) => JSON.parse(document.getElementById(id).textContent);
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// Tables. A cell's value is its data-value, else its text; empty values go last in both directions.
function sortTable(table, column, header) {
  const descending = header.getAttribute("aria-sort") === "ascending" ||
    (!header.hasAttribute("aria-sort") && header.classList.contains("number"));
  const up = header.getAttribute("aria-sort") === "descending" || !descending;
  for (const other of $$("th[aria-sort]", table)) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", up ? "ascending" : "descending");
  const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
  const order = (a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === "" || y === "") return (x === "") - (y === "");
    const numbers = !isNaN(x) && !isNaN(y);
    return (up ? 1 : -1) * (numbers ? x - y : x.localeCompare(y, undefined, { numeric: true }));
  };
  const body = table.tBodies[0];
  body.append(...[...body.rows].sort(order));
}
for (const table of $$("table.sortable")) {
  $$("thead th", table).forEach((header, column) =>
    $("button", header).addEventListener("click", () => sortTable(table, column, header)));
}

function filterRuns() {
  const words = $("#filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const state = $("#state").value;
  const rows = [...$("#runs-table").tBodies[0].rows];
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = (state && row.dataset.state !== state) || !words.every((word) => text.includes(word));
  }
  $("#shown").textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} runs`;
}
$("#filter").addEventListener("input", filterRuns);
$("#state").addEventListener("change", filterRuns);
filterRuns();

// Charts. Plotly's source lies in the page as text and is run once, when the first chart comes near.
const charts = readJson("chart-data");
const drawn = new Set();
let plotlyReady = false;
function loadPlotly() {
  if (plotlyReady) return;
  const script = document.createElement("script");
  script.textContent = $("#plotly").textContent;
  document.head.append(script);
  plotlyReady = true;
}
function smoothed(values, weight) {
  let last = null;
  return values.map((value) => {
    if (value === null) return null;
    last = last === null ? value : weight * last + (1 - weight) * value;
    return last;
  });
}
function draw(card) {
  loadPlotly();
  const chart = charts[card.dataset.chart];
  const choice = $(".choice", card);
  const figure = structuredClone(chart.figures[choice ? choice.value : Object.keys(chart.figures)[0]]);
  const weight = Number($(".smooth", card)?.value ?? 0);
  if (weight > 0) for (const trace of figure.data) trace.y = smoothed(trace.y, weight);
  const layout = figure.layout;
  Object.assign(layout, {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", autosize: true,
    font: { color: css("--ink"), family: getComputedStyle(document.body).fontFamily, size: 13 },
    hoverlabel: { bgcolor: css("--raised"), bordercolor: css("--line"), font: { color: css("--ink") } },
  });
  for (const axis of [layout.xaxis, layout.yaxis]) {
    Object.assign(axis, { gridcolor: css("--grid"), zerolinecolor: css("--line"), linecolor: css("--line") });
  }
  const narrow = $(".plot", card).clientWidth < 450;
  for (const axis of [layout.xaxis, layout.yaxis]) axis.title.font = { size: narrow ? 11 : 13 };
  if (narrow) Object.assign(layout, { margin: { l: 45, r: 8, t: 10, b: 45 }, font: { ...layout.font, size: 11 } });
  // Each button of a chart is a stop of the Tab key: dragging zooms, so saving and resetting are left.
  const unneeded = ["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "autoScale2d", "select2d", "lasso2d"];
  const options = { responsive: true, displaylogo: false, modeBarButtonsToRemove: unneeded };
  Plotly.react($(".plot", card), figure.data, layout, options);
  drawn.add(card);
}
const whenIdle = window.requestIdleCallback ?? ((work) => setTimeout(work)); // Safari has none
const nearby = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    nearby.unobserve(entry.target);
    // One at a time, when nothing else waits: the page answers between them.
    whenIdle(() => draw(entry.target), { timeout: 3000 });
  }
}, { rootMargin: "100px" });
// Plotly's source is the last thing in the page: tables and pictures work while it is still being read.
addEventListener("DOMContentLoaded", () => $$(".chart").forEach((card) => nearby.observe(card)));
for (const card of $$(".chart")) {
  for (const control of $$(".choice, .smooth", card)) control.addEventListener("input", () => draw(card));
}

// Light and dark: as the system says, until the button is pressed.
const dark = matchMedia("(prefers-color-scheme: dark)");
const redraw = () => drawn.forEach(draw);
$("#theme").addEventListener("click", () => {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : dark.matches;
  root.dataset.theme = isDark ? "light" : "dark";
  redraw();
});
dark.addEventListener("change", redraw);
