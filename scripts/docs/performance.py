"""Writes docs/performance.md and its plots from the results of `make bench` in build/bench: `make performance`."""

from __future__ import annotations

import json
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from unlearn.report.charts.theme import chart, colour, layer, quantity, spans

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts" / "bench"
BENCHES, DOCS = ROOT / "build" / "bench", ROOT / "docs"
CHARTS = {  # title, and what it grows with
    "largest": ("Selection of the 10 % largest scores", "parameters"),
    "chance": ("Selection of 10 % by chance", "parameters"),
    "edit": ("Noise on 10 % of the weights, chosen by chance", "parameters"),
    "forget set": ("Squared gradients of each sample, MNIST CNN", "samples of the forget set"),
    "cells": ("A grid over noise scales, digits", "cells"),
    "shadows": ("Shadow models, digits CNN, batch 16: a step of all", "shadow models"),
}
SIDES = ("ours", "rival", "limit")
COLOURS = ("good", "unlearned", "soft")  # of the sides


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


def plot(name: str, rows: list[dict[str, Any]]) -> str:
    """Draw a curve for each side, as an SVG file that stands alone."""
    import vl_convert

    title, along = CHARTS[name]
    points = [{"at": row["at"], "value": row[side], "side": side} for side in SIDES for row in rows if row[side]]
    x, y = quantity("at", along), quantity("value", rows[0]["unit"])
    x, y = (channel | _scale([point[channel["field"]] for point in points]) for channel in (x, y))
    scale = {"domain": list(SIDES), "range": [colour(shade) for shade in COLOURS]}
    side = {"field": "side", "type": "nominal", "scale": scale, "legend": {"title": None}}
    lines = [layer({"type": mark}, points, x=x, y=y, color=side) for mark in ("line", "point")]
    svg: str = vl_convert.vegalite_to_svg(chart(title, lines, 300) | {"width": 560})
    return svg + "\n"


def _scale(values: list[float]) -> dict[str, Any]:
    return {"scale": {"type": "log"} if spans(values) else {"zero": True}}


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
