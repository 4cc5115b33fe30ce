"use strict";
// Draws the charts, and sorts, filters and copies the tables. Without it all numbers can still be read.
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const dark = matchMedia("(prefers-color-scheme: dark)");
const colours = JSON.parse(document.getElementById("colours").textContent);
const views = new Map(); // chart element -> view

// ---- charts

async function loadVega() {
  const packed = Uint8Array.from(atob(document.getElementById("vega").textContent), letter => letter.charCodeAt(0));
  const script = document.createElement("script");
  script.textContent = await new Response(
    new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))
  ).text();
  document.head.append(script);
}

function recolour(view, scheme) {
  Object.entries(colours[scheme]).forEach(([name, value]) => view.signal(name, value));
  view.run();
}

const recolourAll = scheme => views.forEach(view => recolour(view, scheme));
const currentScheme = () => (dark.matches ? "dark" : "light");

async function draw(chart) {
  if (views.has(chart)) return;
  views.set(chart, { signal() {}, run() {} }); // so that it is drawn once
  const spec = JSON.parse(chart.querySelector("script").textContent);
  const place = chart.appendChild(document.createElement("div"));
  const { view } = await vegaEmbed(place, spec, {
    mode: "vega-lite",
    renderer: "svg",
    ast: true, // the page's policy forbids eval
    actions: { export: { svg: true, png: true }, source: false, compiled: false, editor: false },
    downloadFileName: spec.description.replaceAll(/\W+/g, "-").toLowerCase(),
    i18n: { SVG_ACTION: "Save as SVG", PNG_ACTION: "Save as PNG" },
    tooltip: { theme: "custom" },
    scaleFactor: { png: 2 },
  });
  views.set(chart, view);
  if (dark.matches) recolour(view, "dark");
  view.addEventListener("click", (_, mark) => mark?.datum?.anchor && (location.hash = mark.datum.anchor));
  view.addEventListener("mouseover", (_, mark) => highlight(mark?.datum?.anchor));
  view.addEventListener("mouseout", () => highlight(null));
}

async function drawAll() {
  const charts = all(".chart");
  await loadVega();
  all("details").forEach(fold => fold.addEventListener("toggle", () => fold.open && all(".chart", fold).forEach(draw)));
  for (const chart of charts) if (chart.checkVisibility()) await draw(chart);
  dispatchEvent(new Event("drawn"));
}

// ---- tables

function sort(table, column, button) {
  const head = button.closest("th");
  const down = head.getAttribute("aria-sort") === "ascending";
  all("th[aria-sort]", table).forEach(th => th.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const body = table.tBodies[table.tBodies.length - 1];
  const value = row => row.cells[column].dataset.order ?? text(row.cells[column]);
  const compare = (a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === "" || y === "") return (x === "") - (y === ""); // missing values stay last
    const order = isNaN(x) || isNaN(y) ? x.localeCompare(y, "en", { numeric: true }) : x - y;
    return down ? -order : order;
  };
  body.append(...[...body.rows].sort(compare));
}

function text(cell) {
  const copy = cell.cloneNode(true);
  all("small, sup, .badge", copy).forEach(extra => extra.remove());
  return copy.textContent.replaceAll("\u00a0", " ").trim();
}

const grid = table =>
  [...table.rows].filter(row => !row.hidden).map(row => ({
    cells: [...row.cells].map(text),
    best: row.querySelector(".badge")?.textContent,
    references: row.parentNode.classList.contains("references"),
  }));

const LATEX = { "±": "$\\pm$", "×": "$\\times$", "–": "--", "−": "$-$", "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}" };
const latex = words => words.replaceAll(/[&%$#_{}]/g, "\\$&").replaceAll(/\\(?![&%$#_{}])|[±×–−~^]/g, sign => LATEX[sign]);
const marked = (row, cells, bold) => (row.best ? [...cells.map(bold).slice(0, 1).map(name => `${name} (${row.best})`), ...cells.slice(1).map(bold)] : cells);

const FORMATS = {
  CSV: rows =>
    rows.map(row => row.cells.map(cell => (/[",\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell)).join(",")).join("\n"),
  LaTeX(rows) {
    const lines = rows.map(row => marked(row, row.cells.map(latex), cell => (cell ? `\\textbf{${cell}}` : "")).join(" & ") + " \\\\");
    const [head, ...body] = lines;
    const rule = rows.slice(1).findLastIndex(row => row.references) + 1;
    if (rule) body.splice(rule, 0, "\\midrule");
    const columns = "l" + "r".repeat(rows[0].cells.length - 1);
    return ["% \\usepackage{booktabs}", `\\begin{tabular}{${columns}}`, "\\toprule", head, "\\midrule", ...body, "\\bottomrule", "\\end{tabular}"].join("\n");
  },
  Markdown(rows) {
    const lines = rows.map(row => {
      const cells = row.cells.map(cell => cell.replaceAll("|", "\\|"));
      return `| ${marked(row, cells, cell => (cell ? `**${cell}**` : "")).join(" | ")} |`;
    });
    lines.splice(1, 0, `| --- |${" ---: |".repeat(rows[0].cells.length - 1)}`);
    return lines.join("\n");
  },
};

async function copy(words) {
  try {
    await navigator.clipboard.writeText(words);
  } catch {
    const field = document.body.appendChild(document.createElement("textarea"));
    field.value = words;
    field.select();
    document.execCommand("copy");
    field.remove();
  }
}

function addCopyButtons(box) {
  const bar = document.createElement("p");
  bar.className = "copy soft";
  bar.append("Copy as ");
  Object.entries(FORMATS).forEach(([name, format]) => {
    const button = bar.appendChild(document.createElement("button"));
    button.type = "button";
    button.textContent = name;
    button.addEventListener("click", async () => {
      await copy(format(grid(box.querySelector("table"))));
      button.textContent = `${name} ✓`;
      setTimeout(() => (button.textContent = name), 1500);
    });
  });
  box.after(bar);
}

// ---- a sweep's filter, which holds for its table, charts and runs

function filter(part) {
  const words = part.querySelector("input[type=search]").value.toLowerCase().split(/\s+/).filter(Boolean);
  const strategy = part.querySelector("select").value;
  const fits = element =>
    (!strategy || element.dataset.strategy === strategy) && words.every(word => element.dataset.label.includes(word));
  all("[data-label]", part).forEach(element => (element.hidden = !fits(element)));
  const rows = all("table.numbers tr[data-label]", part);
  const shown = new Set(rows.filter(row => !row.hidden).map(row => row.dataset.row));
  const count = new Set(rows.map(row => row.dataset.row)).size;
  all(".chart", part).forEach(chart => {
    const view = views.get(chart);
    if (view?.getState && "only" in view.getState().signals) {
      view.signal("only", shown.size === count ? null : [...shown]).run();
    }
  });
  part.querySelector("output").textContent = shown.size ? `${shown.size} of ${count} rows` : "No row matches.";
}

const highlight = anchor => {
  all("tr.lit").forEach(row => row.classList.remove("lit"));
  if (anchor) all(`tr[data-row="${anchor}"]`).forEach(row => row.classList.add("lit"));
};

function openTarget() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target && target.matches("details")) {
    target.hidden = false;
    target.open = true;
    target.scrollIntoView();
  }
}

all("table.numbers").forEach(table =>
  all("thead button", table).forEach((button, column) => {
    button.disabled = false;
    button.addEventListener("click", () => sort(table, column, button));
  })
);
all(".wide").forEach(addCopyButtons);
all("section.part").forEach(part => {
  const tools = part.querySelector("form");
  tools.hidden = false;
  tools.addEventListener("submit", event => event.preventDefault());
  ["input", "change"].forEach(kind => tools.addEventListener(kind, () => filter(part)));
});
dark.addEventListener("change", () => recolourAll(currentScheme()));
addEventListener("beforeprint", () => recolourAll("light"));
addEventListener("afterprint", () => recolourAll(currentScheme()));
addEventListener("hashchange", openTarget);
openTarget();
drawAll();
