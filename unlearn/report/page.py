"""The page of a run: `report.html`, made from the report's JSON and a few pictures, and from nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from unlearn.report.charts import svg
from unlearn.report.charts.dots import Dot, dots
from unlearn.report.charts.generator import caption, charts
from unlearn.report.charts.roc_curves import rocs
from unlearn.report.criterion import RetrainedGap, criteria
from unlearn.report.inversion import Recovery
from unlearn.report.notes import place
from unlearn.report.pictures import Examples
from unlearn.report.retained import NAMES as RETAINED_NAMES
from unlearn.report.retained import RETAINED, renamed
from unlearn.report.table import COLUMNS, cell, footer, measured, rows
from unlearn.report.verdict import NAMES, verdict

Report = dict[str, Any]
ROLES = ("original", "retrained", "unlearned")
SUBSETS = ("forget", "retain", "test")
FOOTED = {"attack", "blind_attacks"}  # below the table
MIRRORED = {"unlearning_accuracy"}  # its gap is that of forget accuracy, the sign turned


@dataclass(frozen=True)
class Cell:
    """A cell of the table: what it says, the number of its footnote, what stands behind it."""

    text: str
    note: int | None = None
    behind: str = ""


@dataclass(frozen=True)
class Row:
    """A row of the table; `n` counts the images behind it, None where none were."""

    name: str
    indented: bool
    cells: tuple[Cell, ...]
    n: int | None


def render(report: Report, examples: Examples, recovery: Recovery | None = None) -> str:
    """The whole page: self-contained HTML that asks no network for anything."""
    footnotes: dict[str, int] = {}
    notes = [text for key, text in report["notes"].items() if key not in report["metrics"] and key not in FOOTED]
    found, told = gaps(report), report.get("spd_gan")
    page: str = template("page.html.j2").render(
        title=title(report),
        choices=report["choices"],
        verdict=verdict(report),
        criteria=list(compared(report)),
        rocs=list(rocs(report)),
        notes=notes,
        columns=list(COLUMNS.values()),
        rows=list(table(report, footnotes)),
        footnotes=footnotes,
        footer=[line for line in footer(report) if line not in notes],
        accuracies=list(accuracies(report)),
        gaps=svg.gaps("gap of the unlearned model to retrained models", found) if found else "",
        floored=any(gap.floor is not None for gap in found),
        beyond=any(abs(gap.value) > svg.MOST for gap in found if gap.value is not None),
        confidences=list(confidences(report)),
        examples=examples,
        recovery=recovery or Recovery(),
        moved_by=told["by"] if told else "SPD-GAN",
        moved=caption(told) if told else "",
        moves=list(charts(told)) if told else [],
        timings=timings(report),
        speed=speed(report),
        report=report,
        place=place,
        config=json.dumps(report["config"], indent=2, ensure_ascii=False),
    )
    return page


def template(name: str) -> Any:
    """A Jinja2 template beside this file; it escapes whatever is not a chart of ours."""
    return _environment().get_template(name)


@cache
def _environment() -> Any:
    """One for all the pages of a process: it compiles each template once, which takes longer than to fill it in."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def title(report: Report) -> str:
    """What was done to what, by the options taken: `random_k on digits`."""
    choices = report["choices"]
    return f"{choices.get('strategy', 'unlearning')} on {choices.get('dataset', 'data')}"


def table(report: Report, footnotes: dict[str, int]) -> Iterator[Row]:
    """The rows of the printed table; reasons for nulls are numbered into `footnotes`."""
    for metric, name, texts in rows(report):
        keys = [f"{column}/{metric}" for column in COLUMNS]
        cells = tuple(_cell(report, key, text, footnotes) for key, text in zip(keys, texts, strict=True))
        yield Row(name.strip(), name.startswith(" "), cells, report["statistics"].get(keys[0], {}).get("n"))


def _cell(report: Report, key: str, text: str, footnotes: dict[str, int]) -> Cell:
    reason = report["notes"].get(key)
    text = text.replace("± ", "±\u00a0")  # on a telephone the spread goes below the mean, in one piece
    if text and reason:
        return Cell(text, footnotes.setdefault(reason, len(footnotes) + 1), reason)
    return Cell(text, behind=_behind(report["statistics"].get(key, {})) if text else "")


def _behind(statistics: dict[str, Any]) -> str:
    """Every reading with its own uncertainty, a line each; of a gap its interval."""
    lines = [
        f"seed {reading['seed']}: {reading['value']:.4f}{_uncertainty(reading)}, n {reading['n']}"
        for reading in statistics.get("readings", [])
        if reading["value"] is not None
    ]
    if statistics.get("interval"):
        low, high = statistics["interval"]
        lines.append(f"95 % over {statistics.get('over', 'the same samples')}: {low:.4f} to {high:.4f}")
    return "\n".join(lines)


def _uncertainty(reading: dict[str, Any]) -> str:
    if reading["interval"]:
        low, high = reading["interval"]
        return f" (95 % {low:.3f} to {high:.3f})"
    error = reading["standard_error"]
    return "" if error is None else f" (standard error {error:.4f})"


def compared(report: Report) -> Iterator[tuple[str, str]]:
    """Name and chart of each criterion: three models, intervals, and where one more retrained model would lie."""
    for each in criteria(report, report["judged_by"]):
        rows = [
            _dot("original", each.original, each.untouched, each.retrained),
            Dot("retrained", each.retrained, None, f"{each.retrained:.3f}", "retrained"),
            _dot("unlearned", each.unlearned, each.gap, each.retrained),
        ]
        more = each.gap.one_more
        band = None if more is None else (max(0.0, each.retrained - more), min(1.0, each.retrained + more))
        yield NAMES[each.metric], dots(f"{NAMES[each.metric]} of the three models", rows, band)


def _dot(role: str, value: float, gap: RetrainedGap, retrained: float) -> Dot:
    """With the interval of its difference to the retrained models, from where they are, within 0 and 1."""
    interval = gap.interval() or gap.difference.interval
    low_high = interval and (max(0.0, retrained + interval[0]), min(1.0, retrained + interval[1]))
    return Dot(role, value, low_high, f"{value:.3f}", role)


def accuracies(report: Report) -> Iterator[tuple[str, str]]:
    """Subset and bar chart: accuracy of the three models."""
    names = {f"{subset}_accuracy": subset for subset in SUBSETS}
    names = renamed(names, measured(report)) | {RETAINED["test_accuracy"]: RETAINED_NAMES[RETAINED["test_accuracy"]]}
    room = max(len(cell(report, role, metric)) for role in ROLES for metric in names)
    for metric, subset in names.items():
        shown = [
            svg.Bar(role, value, cell(report, role, metric), role, report["statistics"][f"{role}/{metric}"]["std"])
            for role in ROLES
            if (value := report["metrics"].get(f"{role}/{metric}")) is not None
        ]
        if shown:
            yield subset, svg.bars(f"{subset} accuracy", shown, 1.0, room)


def gaps(report: Report) -> list[svg.Gap]:
    """Every gap of the table with its noise floor; none without a retrained model."""
    return [
        svg.Gap(name.strip(), report["metrics"][f"gap/{metric}"], report["metrics"][f"noise_floor/{metric}"], text)
        for metric, name, _ in rows(report)
        if metric not in MIRRORED and (text := cell(report, "gap", metric))
    ]


def confidences(report: Report) -> Iterator[tuple[str, str]]:
    """Subset and figure: the true class's confidence under the three models, retrained as the outline."""
    for subset in SUBSETS:
        found = {role: counts[subset] for role, counts in report["confidence"].items() if subset in counts}
        reference = found.get("retrained")
        panels = [
            svg.Histogram(role, found[role], role, None if role == "retrained" or not reference else reference)
            for role in ROLES
            if role in found
        ]
        if panels:
            yield subset, svg.histograms(f"confidence in the true class on {subset}", panels)


def timings(report: Report) -> str:
    """Seconds of every stage, outlined where it was reused."""
    parts = _with_shadows_as_one(report["artifacts"])
    shown = [svg.Bar(name, part["seconds"], f"{part['seconds']:.1f} s", part["status"]) for name, part in parts.items()]
    return svg.bars("seconds by stage", shown, top=max((part["seconds"] for part in parts.values()), default=1.0))


def _with_shadows_as_one(parts: dict[str, Any]) -> dict[str, Any]:
    """Shadow models are many and alike: their seconds are added up, reused where all of them were."""
    shadows = [part for name, part in parts.items() if name.startswith("shadow_")]
    rest = {name: part for name, part in parts.items() if not name.startswith("shadow_")}
    if not shadows:
        return rest
    status = "reused" if all(part["status"] == "reused" for part in shadows) else "built"
    return rest | {
        f"{len(shadows)} shadow models": {"seconds": sum(part["seconds"] for part in shadows), "status": status}
    }


def speed(report: Report) -> str:
    """How unlearning and retraining compare in time, or why they cannot be compared."""
    metrics = report["metrics"]
    mine, theirs, factor = (
        metrics.get(f"{key}") for key in ("unlearned/seconds", "retrained/seconds", "unlearned/speedup")
    )
    if theirs is None:
        return f"Unlearning took {mine:.1f} s. No model was retrained to compare that with."
    told = f"Unlearning took {mine:.1f} s, retraining {cell(report, 'retrained', 'seconds')} s"
    if factor is None:
        return f"{told}. No speed-up is given: {report['notes']['unlearned/speedup']}."
    return f"{told}: {factor:.1f} times as long." if factor >= 1 else f"{told}: only {factor:.2f} times as long."
