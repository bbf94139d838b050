// The charts. Each has a table of its lines beside it: the newest value, or the one under the cursor, and the highest.
"use strict";

const STUCK_S = 60;
const MOST_REASONS = 5;
const LONGEST_WORD = 14;

// Steps of a scale in seconds that a clock has too.
const TIMES = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 604800];
const WHOLE = [...Array(12).keys()].flatMap((power) => [1, 2, 5].map((n) => n * 10 ** power));

const CHARTS = [
  {id: "settled", title: "Settled per second", say: rate, area: true,
    lines: (o) => [["settled", o.series.settled_per_s], ["accepted", o.series.accepted_per_s]]},
  {id: "oldest", title: "Oldest pending", say: lasting, area: true, limit: STUCK_S, incrs: TIMES,
    lines: (o) => [["oldest", o.series.oldest_pending_s]]},
  {id: "latency", title: "Receipt to outcome", say: latency, log: true,
    lines: (o) => [["p50", o.series.p50_s], ["p99", o.series.p99_s]]},
  {id: "refusals", title: "Refused per second", say: rate, empty: "Nothing was refused", lines: refusals},
  {id: "backlog", title: "Backlog", say: count, area: true, incrs: WHOLE, lines: (o) => [["commands", o.series.backlog]]},
];

const drawn = new Map();

// The most frequent reasons, and the rest as one line: more could not be told apart.
function refusals(overview) {
  const total = (line) => line.reduce((sum, value) => sum + (value ?? 0), 0);
  const all = Object.entries(overview.refusals).filter(([, line]) => total(line) > 0);
  all.sort((a, b) => total(b[1]) - total(a[1]));
  const shown = all.length > MOST_REASONS ? all.slice(0, MOST_REASONS - 1) : all;
  const rest = all.slice(shown.length);
  const lines = shown.map(([reason, line]) => [reason.replaceAll("_", " "), line]);
  if (rest.length) {
    lines.push([`${rest.length} others`, overview.times.map((_, i) => rest.reduce((sum, [, line]) => sum + (line[i] ?? 0), 0))]);
  }
  return lines;
}

function buildCharts() {
  const place = document.getElementById("charts");
  for (const chart of CHARTS) {
    const figure = made("figure", "chart");
    figure.id = `chart-${chart.id}`;
    const table = made("table", "lines");
    const head = table.createTHead().insertRow();
    const caption = made("figcaption");
    caption.append(made("h2", "", chart.title));
    for (const name of ["line", "now", "highest"]) {
      const cell = made("th", name === "line" ? "name" : "number", name === "line" ? "" : name);
      cell.scope = "col";
      if (name === "line") cell.append(made("span", "unseen", chart.title));
      head.append(cell);
    }
    table.createTBody();
    const plot = made("div", "plot");
    plot.setAttribute("role", "img");
    const empty = made("p", "empty", "");
    plot.append(empty);
    figure.append(caption, plot, table);
    place.append(figure);
    const state = {chart, figure, plot, table, empty, names: null, uplot: null, lines: [], times: [], at: null};
    drawn.set(chart.id, state);
    new ResizeObserver(() => state.uplot?.setSize(sizeOf(plot))).observe(plot);
  }
}

function drawCharts(overview, spanS) {
  const to = overview.now;
  for (const state of drawn.values()) {
    const {chart} = state;
    state.lines = chart.lines(overview).map(([name, line]) => [name, chart.log ? line.map((v) => (v > 0 ? v : null)) : line]);
    state.times = overview.times;
    state.span = [to - spanS, to];
    const names = state.lines.map(([name]) => name).join("\n");
    if (names !== state.names) {
      state.names = names;
      nameLines(state);
      plotAnew(state);
    } else {
      state.uplot?.setData(dataOf(state));
    }
    writeValues(state);
  }
}

// Colours are the style sheet's: what is painted follows them when light becomes dark.
function repaintCharts() {
  for (const state of drawn.values()) if (state.uplot) plotAnew(state);
}

function plotAnew(state) {
  state.uplot?.destroy();
  state.uplot = new uPlot(optionsOf(state), dataOf(state), state.plot);
}

function dataOf(state) {
  return [state.times, ...state.lines.map(([, line]) => line)];
}

function sizeOf(plot) {
  return {width: Math.max(120, plot.clientWidth), height: Math.max(80, plot.clientHeight)};
}

function optionsOf(state) {
  const {chart, plot, table} = state;
  const style = getComputedStyle(plot);
  const [ink, grid, alarm] = [style.color, style.borderTopColor, style.outlineColor];
  const font = `${style.fontSize} ${style.fontFamily}`;
  const rem = parseFloat(style.fontSize);
  const axis = {stroke: ink, font, grid: {stroke: grid, width: 1}, ticks: {show: false}};
  const colours = [...table.tBodies[0].querySelectorAll(".key")].map((key) => getComputedStyle(key).color);
  return {
    ...sizeOf(plot),
    padding: [rem * 0.7, rem * 1.6, 0, 0],
    legend: {show: false},
    cursor: {sync: {key: "florin"}, drag: {x: false, y: false}, points: {size: 7}, y: false},
    scales: {
      x: {time: true, range: () => state.span},
      y: chart.log ? {distr: 3, log: 10, range: decades} : {range: (_, __, highest) => [0, ceiling(highest, chart)]},
    },
    axes: [
      {...axis, size: rem * 2, space: rem * 6, gap: rem * 0.4, values: (_, splits) => splits.map((at) => time(at, false))},
      {
        ...axis, size: rem * 4.8, space: rem * 2.2, gap: rem * 0.4,
        ...(chart.incrs && {incrs: chart.incrs}),
        ...(chart.log && {splits: (_, __, from, to) => powers(from, to), filter: (_, splits) => splits}),
        values: (_, splits) => splits.map((v) => (v === null ? "" : chart.say(v))),
      },
    ],
    series: [{}, ...state.lines.map(([name], i) => ({
      label: name,
      stroke: colours[i],
      width: 2,
      dash: DASHES[i],
      fill: chart.area && i === 0 ? faded(colours[i]) : undefined,
      // A value between two gaps has no line: it is a dot.
      points: {show: true, size: 6, width: 0, fill: colours[i], filter: (u, index) => lonely(u.data[index])},
    }))],
    hooks: {
      draw: [(u) => chart.limit && drawLimit(u, chart.limit, alarm)],
      setCursor: [(u) => {
        state.at = u.cursor.idx;
        writeValues(state);
      }],
    },
  };
}

// Lines differ by their dashes too, not by colour alone.
const DASHES = [undefined, [7, 4], [2, 3], [10, 3, 2, 3], [4, 4]];

function lonely(line) {
  const isThere = (i) => line[i] !== null && line[i] !== undefined;
  return line.flatMap((_, i) => (isThere(i) && !isThere(i - 1) && !isThere(i + 1) ? [i] : []));
}

function faded(colour) {
  return colour.replace(/^rgb\(([^)]*)\)$/, "rgba($1, 0.14)");
}

function ceiling(highest, chart) {
  const least = chart.incrs ? 5 : 1;
  return Math.max(least, (highest ?? 0) * 1.08);
}

function decades(_, lowest, highest) {
  if (!(lowest > 0)) return [0.001, 1];
  const from = 10 ** Math.floor(Math.log10(lowest));
  const to = 10 ** Math.ceil(Math.log10(highest));
  return [from, to > from ? to : from * 10];
}

function powers(from, to) {
  const found = [];
  for (let n = Math.round(Math.log10(from)); n <= Math.round(Math.log10(to)); n += 1) found.push(10 ** n);
  return found;
}

function drawLimit(u, limit, colour) {
  if (u.scales.y.max === null || limit > u.scales.y.max) return;
  const y = Math.round(u.valToPos(limit, "y", true)) + 0.5;
  u.ctx.save();
  u.ctx.strokeStyle = colour;
  u.ctx.lineWidth = 1.5 * devicePixelRatio;
  u.ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
  u.ctx.beginPath();
  u.ctx.moveTo(u.bbox.left, y);
  u.ctx.lineTo(u.bbox.left + u.bbox.width, y);
  u.ctx.stroke();
  u.ctx.restore();
}

function nameLines(state) {
  const body = state.table.tBodies[0];
  body.replaceChildren();
  state.lines.forEach(([name], i) => {
    const row = body.insertRow();
    const head = made("th", "name");
    head.scope = "row";
    head.append(made("span", `key line-${i + 1}`), made("span", name.split(/\s/).some((word) => word.length > LONGEST_WORD) ? "long" : "", name));
    row.append(head, made("td", "number"), made("td", "number"));
  });
}

function writeValues(state) {
  const {chart, table, times, lines} = state;
  const pointed = state.at !== null && state.at !== undefined && state.at < times.length;
  write(table.tHead.rows[0].cells[1], pointed ? time(times[state.at]) : "now");
  const said = lines.map(([name, line], i) => {
    const cells = table.tBodies[0].rows[i].cells;
    const now = chart.say(newest(line));
    const highest = chart.say(line.reduce((most, value) => (value !== null && (most === null || value > most) ? value : most), null));
    write(cells[1], pointed ? chart.say(line[state.at]) : now);
    write(cells[2], highest);
    return `${name} now ${now}, highest ${highest}`;
  });
  const isEmpty = lines.every(([, line]) => line.every((value) => value === null));
  write(state.empty, isEmpty ? chart.empty ?? "No values yet" : "");
  state.plot.setAttribute("aria-label", `${chart.title}: ${said.join("; ") || chart.empty || "no values"}`);
}

// The last point of a rate is often not there yet; an older one is not 'now'.
function newest(line) {
  for (let i = line.length - 1; i >= Math.max(0, line.length - 3); i--) if (line[i] !== null) return line[i];
  return null;
}
