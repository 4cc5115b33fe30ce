"use strict";
// Sorts and filters the tables, and tells what a mark of a chart stands for. Without it the page reads all the same.
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

function sort(table, column, button) {
  const head = button.closest("th");
  const down = head.getAttribute("aria-sort") === "ascending";
  all("th[aria-sort]", table).forEach(th => th.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const body = table.tBodies[table.tBodies.length - 1];
  const value = row => row.cells[column].dataset.order ?? row.cells[column].textContent.trim();
  const compare = (a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === "" || y === "") return (x === "") - (y === ""); // what is missing stays last
    const order = isNaN(x) || isNaN(y) ? x.localeCompare(y, "en", { numeric: true }) : x - y;
    return down ? -order : order;
  };
  body.append(...[...body.rows].sort(compare));
}

function filter(part) {
  const words = part.querySelector("input[type=search]").value.toLowerCase().split(/\s+/).filter(Boolean);
  const strategy = part.querySelector("select").value;
  const fits = element =>
    (!strategy || element.dataset.strategy === strategy) && words.every(word => element.dataset.label.includes(word));
  all("[data-label]", part).forEach(element => (element.hidden = !fits(element)));
  const rows = all("table.numbers tr[data-label]", part);
  const shown = new Set(rows.filter(row => !row.hidden).map(row => row.dataset.row));
  all("svg a", part).forEach(mark => mark.classList.toggle("out", !shown.has(mark.getAttribute("href").slice(1))));
  part.querySelector("output").textContent = `${shown.size} of ${new Set(rows.map(row => row.dataset.row)).size} rows`;
}

function tell(mark) {
  const told = document.getElementById("told"), target = mark && mark.getAttribute("href").slice(1);
  told.textContent = mark ? mark.dataset.told : "";
  told.hidden = !mark;
  all("tr.told, svg a.told").forEach(element => element.classList.remove("told"));
  if (mark) all(`tr[data-row="${target}"], svg a[href="#${target}"]`).forEach(found => found.classList.add("told"));
}

function open() {
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
all("section.part").forEach(part => {
  const tools = part.querySelector("form");
  tools.hidden = false;
  tools.addEventListener("submit", event => event.preventDefault());
  ["input", "change"].forEach(kind => tools.addEventListener(kind, () => filter(part)));
});
all("svg a").forEach(mark => {
  ["pointerenter", "focus"].forEach(kind => mark.addEventListener(kind, () => tell(mark)));
  ["pointerleave", "blur"].forEach(kind => mark.addEventListener(kind, () => tell(null)));
});
addEventListener("hashchange", open);
open();
