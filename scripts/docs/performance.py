"""Writes docs/performance.md and its plots from the results of `make bench` in build/bench: `make performance`."""

from __future__ import annotations

import json
import sys
from itertools import groupby
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from unlearn.report.charts.axis import Axis
from unlearn.report.charts.plane import HEIGHT, LEFT, TOP, Line, lines
from unlearn.report.charts.svg import WIDTH, letters

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts" / "bench"
BENCHES, DOCS = ROOT / "build" / "bench", ROOT / "docs"
SVG = "http://www.w3.org/2000/svg"
CHARTS = {  # title, and what it grows with
    "largest": ("Selection of the 10 % largest scores", "parameters"),
    "chance": ("Selection of 10 % by chance", "parameters"),
    "edit": ("Noise on 10 % of the weights, chosen by chance", "parameters"),
    "forget set": ("Squared gradients of each sample, MNIST CNN", "samples of the forget set"),
    "cells": ("A grid over noise scales, digits", "cells"),
    "shadows": ("Shadow models, digits CNN, batch 16: a step of all", "shadow models"),
}
SIDES = ("ours", "rival", "limit")
STYLE = """
svg { background: #fff; font: 12px system-ui, sans-serif; color-scheme: light }
text { fill: #333 } .share { text-anchor: end; dominant-baseline: middle; font-size: 10px }
.tick { text-anchor: middle; dominant-baseline: middle; font-size: 10px }
.grid { stroke: #ddd } .axis { stroke: #888; fill: none } .line { fill: none; stroke-width: 1.75 }
.line.s0 { stroke: #0b6e4f } .line.s1 { stroke: #b3541e } .line.s2 { stroke: #777; stroke-dasharray: 4 3 }
.mark.s0, .name.s0 { fill: #0b6e4f } .mark.s1, .name.s1 { fill: #b3541e } .mark.s2, .name.s2 { fill: #777 }
"""


def read_results(folder: Path) -> dict[str, dict[str, Any]]:
    """Read the results of each bench, by name.

    Raises:
        SystemExit: A bench has no results.
    """
    names = sorted(path.stem for path in SCRIPTS.glob("*.py") if path.stem != "table")
    missing = [name for name in names if not (folder / f"{name}.json").exists()]
    if missing:
        raise SystemExit(f"{folder}: expected the results of `make bench`, got none of {', '.join(missing)}")
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in names}


def page(results: dict[str, dict[str, Any]]) -> str:
    """Return the text of the page."""
    headers = [bench["header"] for bench in results.values()]
    machine = {key: sorted({str(header[key]) for header in headers}) for key in headers[0]}
    tables = {name: [row for row in bench["rows"] if row["at"] is None] for name, bench in results.items()}
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"short": short, "goal": goal, "escaped": escape_cell}
    return environment.get_template("performance.md.j2").render(
        machine=machine,
        tables={name: rows for name, rows in tables.items() if rows},
        charts={chart: (*CHARTS[chart], rows) for chart, rows in curves(results).items()},
    )


def curves(results: dict[str, dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the points of each chart, in order."""
    points = [row for bench in results.values() for row in bench["rows"] if row["at"] is not None]
    points.sort(key=lambda row: (list(CHARTS).index(row["chart"]), row["at"]))
    return {chart: list(rows) for chart, rows in groupby(points, key=lambda row: str(row["chart"]))}


def plot(chart: str, rows: list[dict[str, Any]]) -> str:
    """Draw a curve for each side; returns a standalone SVG file."""
    title, along = CHARTS[chart]
    unit = rows[0]["unit"]
    sides = {side: [(row["at"], row[side]) for row in rows if row[side] is not None] for side in SIDES}
    x = Axis.over(along, [row["at"] for row in rows])
    y = Axis.over(unit, [value for points in sides.values() for _, value in points])
    side_lines = [
        Line(side, SIDES.index(side), 0, tuple((at, value, 0.0, f"{short(value)} {unit}", "") for at, value in points))
        for side, points in sides.items()
        if points
    ]
    svg = ElementTree.fromstring(lines(title, x, y, side_lines, bands=False))
    svg.attrib |= {"xmlns": SVG, "width": str(2 * WIDTH), "height": str(2 * HEIGHT)}
    style = ElementTree.Element("style")
    style.text = STYLE
    svg.insert(0, style)
    names = [letters(line.label, LEFT + 10, TOP + 12 + 16 * n, f"name s{line.style}") for n, line in enumerate(side_lines)]
    svg.extend(names)
    return ElementTree.tostring(svg, encoding="unicode") + "\n"


def short(value: float) -> str:
    """Format with at least three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def goal(row: dict[str, Any]) -> str:
    """Format the goal, and whether it is met."""
    if row["goal"] is None:
        return ""
    met = row["ratio"] <= row["goal"] if row["at_most"] else row["ratio"] >= row["goal"]
    return f"{'≤' if row['at_most'] else '≥'} {row['goal']:g}{'' if met else ', **missed**'}"


def escape_cell(text: str) -> str:
    """Escape text for a cell of a Markdown table."""
    return text.replace("|", "\\|")


def write(folder: Path, docs: Path) -> list[str]:
    """Write the page and its plots; returns the names of the files."""
    results = read_results(folder)
    files = {"performance.md": page(results)}
    files |= {
        f"performance-{chart.replace(' ', '-')}.svg": plot(chart, rows) for chart, rows in curves(results).items()
    }
    for name, text in files.items():
        (docs / name).write_text(text)
    return list(files)


if __name__ == "__main__":
    sys.stdout.write(f"wrote {', '.join(write(BENCHES, DOCS))}\n")
