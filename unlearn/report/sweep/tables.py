"""The same rows as CSV, as Markdown and on a terminal."""

from __future__ import annotations

import csv
import html
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from unlearn.report.attacks import ATTACK
from unlearn.report.retained import graded, renamed
from unlearn.report.sweep.compare import FLOOR, GAP, Ranking, rank, show
from unlearn.report.sweep.read import Cell, Found
from unlearn.report.sweep.scenario import ComparisonGroup, Row, Spread, frame, own, seed_words, worded
from unlearn.report.sweep.verdict import graded_apart, verdict, word_counts

COLUMNS = {
    "forget_accuracy": "forget",
    "corrected_accuracy": "corrected",
    "retain_accuracy": "retain",
    "test_accuracy": "test",
    "retained_test_accuracy": "test, retained",
    ATTACK: "attack AUC",
    "forgetting_rate": "FR",
    "memory_retention_rate": "MRR",
    "unlearning_degree_calibrated": "degree",
    "js_to_retrained": "JS",
    "seconds": "seconds",
    "speedup": "speed-up",
}
NARROW = ("forget_accuracy", "retain_accuracy", "test_accuracy")  # what fits 80 letters
WIDER = {
    100: (ATTACK,),
    110: ("test_accuracy",),
    130: ("seconds", "speedup"),
}  # and what is added from so many letters on
SHOWN_VERSIONS = ("unlearn", "torch", "pytorch-lightning")


def as_csv(scenarios: Sequence[ComparisonGroup], into: Path) -> str:
    """One line a cell: where it belongs, the options that vary, every metric (empty for null), seeds, keys, origin."""
    settings = [frame(cell) | own(cell) for scenario in scenarios for cell in scenario.cells]
    varied = {key for each in settings for key in each if any(other.get(key) != each[key] for other in settings)}
    lines = [
        _line(number, row, cell, varied) | {"report": link(cell.path, into)}
        for number, scenario in enumerate(scenarios, 1)
        for row in scenario.rows
        for cell in row.cells
    ]
    names = list(dict.fromkeys(name for line in lines for name in line))
    names.sort(key=_section)  # stable: metrics stay together however the cells differ
    file = io.StringIO()
    writer = csv.DictWriter(file, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _no_formula(value) for name, value in line.items()} for line in lines)
    return file.getvalue()


def _no_formula(value: Any) -> Any:
    """A spreadsheet computes what begins so."""
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


SECTIONS = ("scenario", "row", "strategy", "config.", "seed.", "", "key.", "version.", "hardware.", "report", "notes")


def _section(name: str) -> int:
    return next((n for n, start in enumerate(SECTIONS) if start and name.startswith(start)), SECTIONS.index(""))


def _line(number: int, row: Row, cell: Cell, varied: set[str]) -> dict[str, Any]:
    report = cell.report
    settings = {key: worded(value) for key, value in (frame(cell) | own(cell)).items() if key in varied}
    reasons = {key: why for key, why in report["notes"].items() if key in cell.metrics}
    return {
        "scenario": number,
        "row": row.label,
        "strategy": cell.strategy,
        **{f"config.{key}": value for key, value in settings.items()},
        **{f"seed.{name}": json.dumps(seed) for name, seed in report["seeds"].items()},
        **cell.metrics,
        "edited_parameters": report.get("edited_parameters"),
        "total_parameters": report.get("total_parameters"),
        **{f"key.{name}": artifact["key"] for name, artifact in report["artifacts"].items()},
        **{f"version.{name}": version for name, version in report["versions"].items()},
        **{f"hardware.{name}": value for name, value in report["hardware"].items()},
        "notes": "; ".join(f"{key}: {why}" for key, why in reasons.items()),
    }


def link(path: Path, into: Path) -> str:
    """From the folder of the summary where it lies below it, else whole."""
    root = into.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else os.fspath(path)


def as_markdown(found: Found, scenarios: Sequence[ComparisonGroup], notes: Sequence[str]) -> str:
    """For each scenario its verdict, its table (mean ± standard deviation over seeds) and what stands behind it."""
    parts = [part for scenario in scenarios for part in _scenario(scenario, len(scenarios) > 1)]
    failures = [
        f"- cell {each.note.number} {_code(' '.join(each.note.overrides))}: {_plain(each.cause)}"
        for each in found.failures
    ]
    if failures:
        parts += ["Cells that failed:", "\n".join(failures)]
    return "\n\n".join([*parts, *map(_plain, notes)]) + "\n"


def _plain(text: str) -> str:
    """A text that Markdown shows as it is: no HTML, no link, no image, no other cell of a table."""
    return html.escape(text, quote=False).replace("|", "\\|").replace("](", "]\\(").replace("`", "\\`")


def _code(text: str) -> str:
    return "`" + text.replace("`", "'").replace("|", "\\|") + "`"


def _scenario(scenario: ComparisonGroup, several: bool) -> Iterator[str]:
    if several:
        yield f"### {_plain(scenario.title)}"
    yield _plain(verdict(scenario))
    ranking = rank(scenario.rows)
    yield "\n".join(_markdown(scenario, ranking))
    yield _plain(ranking.why)
    yield _plain(footer(scenario))


def _markdown(scenario: ComparisonGroup, ranking: Ranking) -> Iterator[str]:
    metrics = shown(scenario)
    ranked = scenario.has(GAP)
    names = renamed(COLUMNS, has_metric(scenario))
    titles = [names[metric] for metric in metrics] + ["average gap", "noise floor", "verdicts"] * ranked
    yield f"| | n | {' | '.join(titles)} |"
    yield "|---" * (len(titles) + 2) + "|"
    for role, row in (("original", scenario.originals), ("retrained", scenario.retrained)):
        if any(row.spread(f"{role}/{metric}") for metric in metrics):
            gaps = _reference(scenario, role) if ranked else []
            yield _markdown_row(f"*{role}*", role, row, metrics, gaps) + " |" * ranked
    for row in scenario.rows:
        mark = ranking.mark(row)
        setting = row.label.removeprefix(row.strategy).strip()
        name = f"{_code(row.strategy)} {_plain(setting)}".strip() + f" (**{mark}**)" * bool(mark)
        own_gap = [row.spread(GAP), row.spread(FLOOR)] if ranked else []
        yield _markdown_row(name, "unlearned", row, metrics, own_gap) + f" {word_counts(row.cells)} |" * ranked


def _markdown_row(name: str, role: str, row: Row, metrics: Sequence[str], gaps: Sequence[Spread | None]) -> str:
    cells = [text(row.spread(f"{role}/{metric}"), metric, len(row.cells)) for metric in metrics]
    cells += [text(found, GAP, len(row.cells)) for found in gaps]
    return f"| {name} | {len(row.cells)} | {' | '.join(cells)} |"


def _reference(scenario: ComparisonGroup, role: str) -> list[Spread | None]:
    """Average gap and floor of a reference: of retrained models both are their distance from each other."""
    floor = scenario.retrained.spread(FLOOR)
    return [scenario.untouched(), None] if role == "original" else [None, floor]


def text(found: Spread | None, metric: str, cells: int) -> str:
    """A table's cell, which says so where not every seed had a value."""
    missing = f" (n = {found.n})" if found and found.n < cells else ""
    return show(found, metric).replace(" ± ", "\u00a0±\u00a0") + missing


def has_metric(scenario: ComparisonGroup) -> Callable[[str], bool]:
    """Whether some unlearned model has a value of a metric."""
    return lambda metric: scenario.has(f"unlearned/{metric}")


def shown(scenario: ComparisonGroup) -> list[str]:
    """The columns that have anything to show."""
    return [metric for metric in COLUMNS if scenario.has(f"unlearned/{metric}")]


def footer(scenario: ComparisonGroup) -> str:
    """What stands behind a table: what does not compare, seeds, retrained models, versions, hardware."""
    cells = scenario.cells
    retrained = sorted({str(cell.report["seeds"].get("baseline", [])) for cell in cells})
    versions = {f"{name} {cell.report['versions'].get(name)}" for cell in cells for name in SHOWN_VERSIONS}
    hardware = {_hardware(cell) for cell in cells}
    told = (
        f"Mean ± standard deviation over n runs; seeds {seed_words(cells)}; seeds of retrained models per run "
        f"{' or '.join(retrained)}; {', '.join(sorted(versions))}; {' or '.join(sorted(hardware))}."
    )
    return f"{apart} {told}" if (apart := graded_apart(scenario)) else told


def _hardware(cell: Cell) -> str:
    told = cell.report["hardware"]
    device = told.get("gpu") or told.get("cpu")
    return f"{device}, {told.get('threads')} thread{'s' * (told.get('threads') != 1)}"


def print_table(found: Found, scenarios: Sequence[ComparisonGroup], notes: Sequence[str], stream: TextIO) -> None:
    """For each scenario its verdict and table; as wide as the terminal, or 80 letters where there is none."""
    from rich.console import Console

    console = Console(file=stream, highlight=False, markup=False, width=None if stream.isatty() else 80)
    for scenario in scenarios:
        ranking = rank(scenario.rows)
        if len(scenarios) > 1:
            console.print(scenario.title, style="bold")
        console.print(verdict(scenario))
        console.print(_terminal(scenario, ranking, console.width))
        console.print(ranking.why)
        console.print(footer(scenario))
    for failure in found.failures:
        console.print(f"cell {failure.note.number} failed ({' '.join(failure.note.overrides)}): {failure.cause}")
    for note in notes:
        console.print(note)


def _terminal(scenario: ComparisonGroup, ranking: Ranking, width: int) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    narrow, names = graded(NARROW, has_metric(scenario)), renamed(COLUMNS, has_metric(scenario))
    wider = [metric for least, more in WIDER.items() if width >= least for metric in more]
    metrics = [metric for metric in dict.fromkeys([*narrow, *wider]) if metric in shown(scenario)]
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("", overflow="fold")
    for title in ("n", *(names[metric] for metric in metrics), "average gap"):
        table.add_column(title, justify="right", no_wrap=True)
    for role, row in (("original", scenario.originals), ("retrained", scenario.retrained)):
        gap, floor = _reference(scenario, role)
        table.add_row(role, *_values(role, row, metrics), f"floor {show(floor)[:5]}" if floor else _tight(gap, GAP))
    for row in scenario.rows:
        mark = ranking.mark(row)
        name = row.label + f" ({mark})" * bool(mark)
        table.add_row(name, *_values("unlearned", row, metrics), _tight(row.spread(GAP), GAP))
    return table


def _values(role: str, row: Row, metrics: Sequence[str]) -> list[str]:
    return [str(len(row.cells)), *(_tight(row.spread(f"{role}/{metric}"), metric) for metric in metrics)]


def _tight(found: Spread | None, metric: str) -> str:
    return show(found, metric).replace(" ", "")
