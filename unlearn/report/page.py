"""The page of a run: `report.html`, made from the report's JSON and a few pictures, and from nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from unlearn.report.charts.accuracies import accuracy_chart
from unlearn.report.charts.bundle import page_script, policy, vega
from unlearn.report.charts.confidence import confidence_charts
from unlearn.report.charts.criteria import verdict_chart
from unlearn.report.charts.gaps import LARGEST, gap_chart
from unlearn.report.charts.generator import caption, training_charts
from unlearn.report.charts.roc_curves import roc_charts
from unlearn.report.charts.theme import COLOURS
from unlearn.report.charts.timings import timing_chart
from unlearn.report.glossary import WORDS, glossary
from unlearn.report.inversion import RecoveredPictures
from unlearn.report.notes import place
from unlearn.report.pictures import Examples
from unlearn.report.provenance import describe_request
from unlearn.report.table import COLUMNS, cell, footer, rows
from unlearn.report.user_metrics import meaning
from unlearn.report.verdict import verdict

Report = dict[str, Any]
FOOTED = {"attack", "blind_attacks"}  # notes that stand below the table


@dataclass(frozen=True)
class TableCell:
    """A cell of the table: its text, the number of its footnote, and what a tooltip adds."""

    text: str
    note: int | None = None
    tooltip: str = ""


@dataclass(frozen=True)
class TableRow:
    """A row of the table; `n` is the number of images measured, None if there were none."""

    name: str
    meaning: str
    indented: bool
    cells: tuple[TableCell, ...]
    n: int | None


def render(report: Report, examples: Examples, recovery: RecoveredPictures | None = None) -> str:
    """Build the page of a run: HTML that needs no other file and no network.

    Args:
        report: a report's JSON.
        examples: images that were perturbed.
        recovery: the image that a privacy attack recovered.
    """
    footnotes: dict[str, int] = {}
    notes = [text for key, text in report["notes"].items() if key not in report["metrics"] and key not in FOOTED]
    spd_gan = report.get("spd_gan")
    page: str = template("page.html.j2").render(
        title=title(report),
        choices=report["choices"],
        verdict=verdict(report),
        verdict_chart=verdict_chart(report),
        rocs=list(roc_charts(report)),
        notes=notes,
        columns=list(COLUMNS.values()),
        words=WORDS | {"floor": WORDS["noise floor"]},
        rows=list(table(report, footnotes)),
        glossary=glossary({metric: name for metric, name, _ in rows(report)}, define=partial(meaning, report)),
        footnotes=footnotes,
        footer=[line for line in footer(report) if line not in notes],
        accuracies=accuracy_chart(report),
        gaps=gap_chart(report),
        has_floor=report["metrics"].get("average_noise_floor") is not None,
        largest=LARGEST,
        confidences=list(confidence_charts(report)),
        examples=examples,
        recovery=recovery or RecoveredPictures(),
        moved_by=spd_gan["by"] if spd_gan else "SPD-GAN",
        moved=caption(spd_gan) if spd_gan else "",
        moves=list(training_charts(spd_gan)) if spd_gan else [],
        timings=timing_chart(report),
        speed=speed(report),
        request=describe_request(report),
        report=report,
        place=place,
        config=json.dumps(report["config"], indent=2, ensure_ascii=False),
    )
    return page


def template(name: str) -> Any:
    """Load a Jinja2 template of this folder; it escapes everything that is not our own script."""
    return _environment().get_template(name)


@cache
def _environment() -> Any:
    """One for all pages of a process: compiling a template takes longer than filling it in."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"colours": COLOURS, "vega": vega(), "script": page_script(), "policy": policy()}
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return environment


def title(report: Report) -> str:
    """`Forgetting 50 of 2,000 images of digits from cnn with top_k`"""
    choices = report["choices"]
    forget, retain = (report["statistics"].get(f"original/{of}_accuracy", {}).get("n") for of in ("forget", "retain"))
    images = f"{forget:,} of {forget + retain:,} images" if forget and retain else "images"
    model = f" from {choices['model']}" if "model" in choices else ""
    return (
        f"Forgetting {images} of {choices.get('dataset', 'data')}{model} with {choices.get('strategy', 'unlearning')}"
    )


def table(report: Report, footnotes: dict[str, int]) -> Iterator[TableRow]:
    """The rows of the printed table; reasons for nulls are numbered into `footnotes`."""
    for metric, name, texts in rows(report):
        keys = [f"{column}/{metric}" for column in COLUMNS]
        cells = tuple(_cell(report, key, text, footnotes) for key, text in zip(keys, texts, strict=True))
        n = report["statistics"].get(keys[0], {}).get("n")
        yield TableRow(name.strip(), meaning(report, metric), name.startswith(" "), cells, n)


def _cell(report: Report, key: str, text: str, footnotes: dict[str, int]) -> TableCell:
    reason = report["notes"].get(key)
    text = text.replace("± ", "±\u00a0")  # on a narrow screen the spread goes below the mean in one piece
    if text and reason:
        return TableCell(text, footnotes.setdefault(reason, len(footnotes) + 1), reason)
    return TableCell(text, tooltip=_evaluations(report["statistics"].get(key, {})) if text else "")


def _evaluations(statistics: dict[str, Any]) -> str:
    """Every evaluation with its own uncertainty, one per line; the interval of a gap."""
    lines = [
        f"seed {entry['seed']}: {entry['value']:.4f}{_uncertainty(entry)}, n {entry['n']}"
        for entry in statistics.get("readings", [])
        if entry["value"] is not None
    ]
    if statistics.get("interval"):
        low, high = statistics["interval"]
        lines.append(f"95 % over {statistics.get('over', 'the same samples')}: {low:.4f} to {high:.4f}")
    return "\n".join(lines)


def _uncertainty(entry: dict[str, Any]) -> str:
    if entry["interval"]:
        low, high = entry["interval"]
        return f" (95 % {low:.3f} to {high:.3f})"
    error = entry["standard_error"]
    return "" if error is None else f" (standard error {error:.4f})"


def speed(report: Report) -> str:
    """How unlearning and retraining compare in time, or why they cannot be compared."""
    metrics = report["metrics"]
    unlearning, retraining, factor = (
        metrics.get(f"{key}") for key in ("unlearned/seconds", "retrained/seconds", "unlearned/speedup")
    )
    if retraining is None:
        return f"Unlearning took {unlearning:.1f} s. No model was retrained to compare that with."
    seconds = f"Unlearning took {unlearning:.1f} s, retraining {cell(report, 'retrained', 'seconds')} s"
    if factor is None:
        return f"{seconds}. No speed-up is given: {report['notes']['unlearned/speedup']}."
    return f"{seconds}: {factor:.1f} times as long." if factor >= 1 else f"{seconds}: only {factor:.2f} times as long."
