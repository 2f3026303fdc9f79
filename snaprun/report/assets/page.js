// The page of snaprun report: DataTables shows its tables, plotly.js its curves.
/* global Plotly */

const { charts, arrays, counters } = JSON.parse(document.getElementById("data").textContent);

// The libraries lie in the page as gzip in base64.
const bytesOf = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
async function unpacked(id) {
  const packed = new Blob([bytesOf(document.getElementById(id).textContent)]);
  const script = await new Response(packed.stream().pipeThrough(new DecompressionStream("gzip"))).blob();
  return URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
}
const { default: DataTable, set_or_remove_dark_class: followTheme } = await import(await unpacked("datatables"));
const plotly = document.createElement("script");
plotly.src = await unpacked("plotly");
const drawable = new Promise((resolve, reject) => Object.assign(plotly, { onload: resolve, onerror: reject }));
document.head.append(plotly);

const dark = matchMedia("(prefers-color-scheme: dark)");
const picked = new Set(); // numbers of runs
followTheme();

// Tables

const MANY = 1000; // rows beyond which a table has pages

for (const table of document.querySelectorAll("table.display")) {
  const frame = table.parentElement, paged = table.tBodies[0].rows.length > MANY;
  const made = new DataTable(table, {
    autoWidth: false,
    order: [],
    paging: paged,
    pageLength: 100,
    language: { search: "Filter:", info: "_TOTAL_ rows", infoEmpty: "no rows", infoFiltered: "of _MAX_" },
    layout: { topStart: "info", topEnd: ["search", { buttons: ["csv", "colvis"] }], bottomStart: null, bottomEnd: paged ? "paging" : null },
  });
  const box = made.table().container(); // stands in the frame; only the table itself is to scroll
  frame.replaceWith(box);
  table.replaceWith(frame);
  frame.append(table);
}

document.getElementById("table-runs").addEventListener("click", (event) => {
  const button = event.target.closest(".pick");
  if (button) pick([Number(button.dataset.run)], button.getAttribute("aria-pressed") === "false");
});
document.getElementById("clear")?.addEventListener("click", () => pick([...picked], false));

const table = () => new DataTable.Api("#table-runs"); // knows rows by their numbers, however they are sorted

function pick(runs, shown) {
  for (const run of runs) {
    if (shown) picked.add(run);
    else picked.delete(run);
    table().row(run).node().classList.toggle("picked", shown);
    table().cell(run, 0).node().querySelector(".pick").setAttribute("aria-pressed", shown);
  }
  document.getElementById("clear").hidden = !picked.size;
  redraw();
}

// Curves

const decoded = [];
function numbers(index) {
  if (!decoded[index]) {
    decoded[index] = Array.from(new Float32Array(bytesOf(arrays[index]).buffer), (x) => (Number.isFinite(x) ? x : null));
  }
  return decoded[index];
}

const variable = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// Greys change places with their opposites on a dark page; dark colours become lighter.
function ink(colour, opacity = 1) {
  let parts = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16) / 255);
  if (document.documentElement.classList.contains("dark")) {
    const grey = Math.max(...parts) - Math.min(...parts) < 0.05;
    parts = parts.map((part) => (grey ? 1 - 0.75 * part : part + 0.3 * (1 - part)));
  }
  return `rgba(${parts.map((part) => Math.round(255 * part)).join(", ")}, ${opacity})`;
}

// plotly.js takes some tags in a text for markup, and no text here is meant as such.
const plain = (text) => text.replace(/[&<>]/g, (sign) => `&#${sign.charCodeAt(0)};`);
const suffix = (panel) => (panel ? panel + 1 : "");

// The outline of a band; where a value is missing, the band has a gap.
function outline(x, low, high, steps) {
  const xs = [], ys = [];
  let start = 0;
  for (let n = 0; n <= x.length; n++) {
    if (n < x.length && low[n] !== null) continue;
    const there = [], back = [];
    for (let k = start; k < n; k++) {
      if (steps && k > start) {
        there.push([x[k], high[k - 1]]);
        back.push([x[k], low[k - 1]]);
      }
      there.push([x[k], high[k]]);
      back.push([x[k], low[k]]);
    }
    for (const [at, value] of [...there, ...back.reverse()]) {
      xs.push(at);
      ys.push(value);
    }
    xs.push(null);
    ys.push(null);
    start = n + 1;
  }
  return [xs, ys];
}

function traces(chart, counter, shown) {
  const shape = chart.steps ? "hv" : "linear";
  const colours = new Map(chart.lines.map((line) => [line.rank, line.colour]));
  const bands = [], lines = [], marks = [], thin = new Map(), chosen = [];
  const named = new Set();
  for (const line of chart.lines) {
    const points = line.points[counter] ?? (chart.threads.length ? null : Object.values(line.points)[0]);
    if (!points) continue;
    const [x, middle, low, high] = points.columns.map(numbers);
    const colour = ink(line.colour);
    const own = {
      xaxis: `x${suffix(line.panel)}`, yaxis: `y${suffix(line.panel)}`, name: plain(line.label),
      legendgroup: `series ${line.rank}`, legendrank: line.rank, showlegend: false,
    };
    const hasBand = low.some((value) => value !== null);
    if (hasBand && shown.bands) {
      const [xs, ys] = outline(x, low, high, chart.steps);
      bands.push({ ...own, uid: `band ${line.panel} ${line.rank}`, x: xs, y: ys, mode: "lines", fill: "toself",
        fillcolor: ink(line.colour, 0.15), line: { width: 0 }, hoverinfo: "skip" });
    }
    lines.push({ ...own, uid: `line ${line.panel} ${line.rank}`, x, y: middle, mode: "lines+markers",
      showlegend: !named.has(line.rank), line: { color: colour, width: 2, dash: line.dash, shape },
      marker: { color: colour, symbol: line.symbol, size: 6, maxdisplayed: 10 },
      customdata: hasBand ? low.map((value, n) => (value === null ? "" : ` [${value.toPrecision(4)}, ${high[n].toPrecision(4)}]`)) : undefined,
      hovertemplate: `%{y:.4~g}${hasBand ? "%{customdata}" : ""} at %{x:.4~s}` });
    named.add(line.rank);
    if (points.stops.length) {
      marks.push({ ...own, uid: `ends ${line.panel} ${line.rank}`, x: points.stops.map((stop) => stop[0]), y: points.stops.map((stop) => stop[1]),
        mode: "markers", marker: { symbol: "x-thin", size: 8, line: { color: colour, width: 2 } },
        hovertemplate: "diverged at %{x:.4~s}" });
    }
  }
  for (const thread of chart.threads) {
    if (!(counter in thread.at)) continue;
    const own = {
      xaxis: `x${suffix(thread.panel)}`, yaxis: `y${suffix(thread.panel)}`, mode: "lines", showlegend: false,
      legendgroup: `series ${thread.rank}`,
    };
    const x = numbers(thread.at[counter]), y = numbers(thread.values);
    if (shown.threads) {
      const key = `runs ${thread.panel} ${thread.rank}`;
      if (!thin.has(key)) {
        thin.set(key, { ...own, uid: key, x: [], y: [], hoverinfo: "skip",
          line: { color: ink(colours.get(thread.rank), 0.4), width: 0.8, shape } });
      }
      thin.get(key).x.push(...x, null);
      thin.get(key).y.push(...y, null);
    }
    if (picked.has(thread.run)) {
      chosen.push({ ...own, uid: `run ${thread.run} ${thread.panel}`, x, y, name: plain(title(thread.run)), legendgroup: `run ${thread.run}`,
        showlegend: true, legendrank: -1, line: { color: variable("--picked"), width: 3, shape }, hovertemplate: "%{y:.4~g} at %{x:.4~s}" });
    }
  }
  return [...bands, ...thin.values(), ...lines, ...marks, ...chosen];
}

function title(run) {
  const seed = table().columns().titles().toArray().indexOf("seed");
  const [label, number] = [0, seed].map((column) => column >= 0 && table().cell(run, column).node().textContent.trim());
  return `run ${run + 1}: ${label}${number ? `, seed ${number}` : ""}`;
}

function layoutOf(chart, width, counter, drawn, threads) {
  const narrow = width < 700;
  const entries = drawn.filter((trace) => trace.showlegend);
  const longest = Math.max(0, ...entries.map((trace) => trace.name.length));
  const side = narrow || !entries.length ? 0 : Math.min(70 + 6.2 * longest, 0.3 * width); // pixels of the legend
  const columns = Math.max(1, Math.min(chart.panels.length, Math.floor((width - side) / 300)));
  const rows = Math.ceil(chart.panels.length / columns);
  const taken = entries.reduce((sum, trace) => sum + 60 + 6.2 * trace.name.length, 0); // in one row
  const below = narrow ? Math.min(22 * Math.ceil((1.25 * taken) / width) + 10, 220) : 0;
  const [panel, gap, left, right, top, bottom] = [rows > 1 ? 230 : 300, 74, 62, 14, 52, 50];
  const inner = rows * panel + (rows - 1) * gap;
  const height = top + inner + bottom + below;
  const across = width - left - right - side;
  const between = chart.alike ? 22 : 66;
  const each = (across - (columns - 1) * between) / columns;
  const ends = chart.panels.map((_, n) => Math.max(...drawn.filter((trace) => trace.xaxis === `x${suffix(n)}`).map((trace) => trace.x.at(-1) ?? 0)));
  const linked = Math.max(...ends) <= 1.5 * Math.min(...ends);
  const text = variable("--ink"), grid = variable("--grid");
  const layout = {
    width, height, margin: { l: left, r: right + side, t: top, b: bottom + below, autoexpand: false },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", uirevision: `${counter} ${threads}`,
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: text },
    hovermode: "closest", hoverlabel: { namelength: -1 },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: variable("--quiet"), activecolor: variable("--link") },
    annotations: [], showlegend: true,
    legend: narrow
      ? { orientation: "h", x: 0, xanchor: "left", y: -(bottom - 4) / inner, yanchor: "top", font: { size: 11 }, tracegroupgap: 0, maxheight: below }
      : { x: 1 + 12 / across, xanchor: "left", y: 1, yanchor: "top", font: { size: 11 }, tracegroupgap: 2 },
  };
  layout.legend.uirevision = "kept"; // what is hidden stays hidden against another counter
  chart.panels.forEach((one, n) => {
    const column = n % columns, row = Math.floor(n / columns);
    const x0 = (column * (each + between)) / across, y1 = 1 - (row * (panel + gap)) / inner;
    const last = n + columns >= chart.panels.length;
    const key = chart.threads.length ? counter : "tokens";
    layout[`xaxis${suffix(n)}`] = {
      domain: [x0, Math.min(1, x0 + each / across)], anchor: `y${suffix(n)}`, title: last ? { text: counters[key], standoff: 8 } : undefined,
      gridcolor: grid, zeroline: false, rangemode: "tozero", matches: linked && n ? "x" : undefined, nticks: 6, exponentformat: "SI", automargin: false, linecolor: text,
    };
    layout[`yaxis${suffix(n)}`] = {
      domain: [Math.max(0, y1 - panel / inner), y1], anchor: `x${suffix(n)}`, title: chart.alike && column ? undefined : { text: plain(one.axis), standoff: 6 },
      gridcolor: grid, zeroline: false, matches: chart.alike && n ? "y" : undefined, type: one.log ? "log" : "linear",
      showticklabels: !(chart.alike && column), range: (threads ? one.limits_of_runs : one.limits) ?? undefined, nticks: 6, exponentformat: "power", automargin: false, linecolor: text,
    };
    layout.annotations.push({
      text: plain(one.title), x: x0, xref: "paper", xanchor: "left", y: y1, yref: "paper", yanchor: "bottom", showarrow: false, font: { size: 12 },
    });
  });
  return layout;
}

const ticked = (id) => document.getElementById(id)?.checked ?? true;

function draw(figure) {
  const chart = charts[figure.dataset.chart];
  const counter = document.getElementById("counter")?.value ?? "tokens";
  const shown = { threads: ticked("threads"), bands: ticked("bands") };
  const drawn = traces(chart, counter, shown);
  const place = figure.querySelector(".plot");
  const layout = layoutOf(chart, place.clientWidth, counter, drawn, shown.threads);
  Plotly.react(place, drawn, layout, {
    displaylogo: false, showSendToCloud: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    toImageButtonOptions: { format: "svg", filename: chart.title.replace(/\W+/g, "-") },
  });
  place.setAttribute("role", "figure");
  place.setAttribute("aria-label", chart.title);
  figure.dataset.drawn = "yes";
}

await drawable;
const figures = [...document.querySelectorAll("figure.chart")];
const redraw = () => figures.filter((figure) => figure.dataset.drawn).forEach(draw);

// A chart is drawn when it comes near the screen, or before the page is printed.
const near = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting && !target.dataset.drawn) draw(target);
  }
}, { rootMargin: "600px" });
figures.forEach((figure) => near.observe(figure));

let width = document.body.clientWidth;
addEventListener("resize", () => {
  if (document.body.clientWidth === width) return;
  width = document.body.clientWidth;
  redraw();
});
for (const id of ["counter", "bands", "threads"]) document.getElementById(id)?.addEventListener("change", redraw);
document.getElementById("controls")?.addEventListener("submit", (event) => event.preventDefault());
dark.addEventListener("change", redraw);
addEventListener("beforeprint", () => figures.filter((figure) => !figure.dataset.drawn).forEach(draw));
document.documentElement.dataset.ready = "yes";
