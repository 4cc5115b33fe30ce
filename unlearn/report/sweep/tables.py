"""Show the rows of a sweep as Markdown and on the terminal."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TextIO

from unlearn.report.attacks import ATTACK
from unlearn.report.retained import graded, renamed
from unlearn.report.sweep.compare import FLOOR, GAP, Ranking, format_spread, rank
from unlearn.report.sweep.comparison import ComparisonGroup, Row, Spread, format_seeds
from unlearn.report.sweep.read import Cell, SweepReports
from unlearn.report.sweep.verdict import count_verdicts, describe_grading, verdict
from unlearn.report.user_metrics import titles

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
NARROW = ("forget_accuracy", "retain_accuracy", "test_accuracy")  # columns that fit 80 characters
WIDER = {
    100: (ATTACK,),
    110: ("test_accuracy",),
    130: ("seconds", "speedup"),
}  # further columns by the width that they need
SHOWN_VERSIONS = ("unlearn", "torch", "pytorch-lightning")


def as_markdown(reports: SweepReports, groups: Sequence[ComparisonGroup], notes: Sequence[str]) -> str:
    """Return the Markdown text: for each group its verdict, its table and its footer; then failed runs and notes.

    The table has the mean ± standard deviation over seeds.
    """
    parts = [part for group in groups for part in _group_as_markdown(group, len(groups) > 1)]
    failures = [
        f"- cell {failure.note.number} {_as_code(' '.join(failure.note.overrides))}: {_escape(failure.cause)}"
        for failure in reports.failures
    ]
    if failures:
        parts += ["Cells that failed:", "\n".join(failures)]
    return "\n\n".join([*parts, *map(_escape, notes)]) + "\n"


def _escape(text: str) -> str:
    """Escape HTML, links, images, code and cell borders, so that Markdown shows the text unchanged."""
    return html.escape(text, quote=False).replace("|", "\\|").replace("](", "]\\(").replace("`", "\\`")


def _as_code(text: str) -> str:
    return "`" + text.replace("`", "'").replace("|", "\\|") + "`"


def _group_as_markdown(group: ComparisonGroup, has_title: bool) -> Iterator[str]:
    if has_title:
        yield f"### {_escape(group.title)}"
    yield _escape(verdict(group))
    ranking = rank(group.rows)
    yield "\n".join(_markdown_table(group, ranking))
    yield _escape(ranking.why)
    yield _escape(footer(group))


def _markdown_table(group: ComparisonGroup, ranking: Ranking) -> Iterator[str]:
    metrics = measured_columns(group)
    is_ranked = group.has(GAP)
    names = renamed(_columns(group), has_metric(group))
    headings = [names[metric] for metric in metrics] + ["average gap", "noise floor", "verdicts"] * is_ranked
    yield f"| | n | {' | '.join(map(_escape, headings))} |"
    yield "|---" * (len(headings) + 2) + "|"
    for role, row in (("original", group.originals), ("retrained", group.retrained)):
        if any(row.spread(f"{role}/{metric}") for metric in metrics):
            gaps = _reference_gaps(group, role) if is_ranked else []
            yield _markdown_row(f"*{role}*", role, row, metrics, gaps) + " |" * is_ranked
    for row in group.rows:
        mark = ranking.mark(row)
        setting = row.label.removeprefix(row.strategy).strip()
        name = f"{_as_code(row.strategy)} {_escape(setting)}".strip() + f" (**{mark}**)" * bool(mark)
        gaps = [row.spread(GAP), row.spread(FLOOR)] if is_ranked else []
        yield _markdown_row(name, "unlearned", row, metrics, gaps) + f" {count_verdicts(row.cells)} |" * is_ranked


def _markdown_row(name: str, role: str, row: Row, metrics: Sequence[str], gaps: Sequence[Spread | None]) -> str:
    cells = [_format_cell(row.spread(f"{role}/{metric}"), metric, len(row.cells)) for metric in metrics]
    cells += [_format_cell(gap, GAP, len(row.cells)) for gap in gaps]
    return f"| {name} | {len(row.cells)} | {' | '.join(cells)} |"


def _reference_gaps(group: ComparisonGroup, role: str) -> list[Spread | None]:
    """Return average gap and noise floor of a reference; retrained models have only the floor, the original the gap."""
    return [group.original_gap(), None] if role == "original" else [None, group.retrained.spread(FLOOR)]


def _format_cell(spread: Spread | None, metric: str, runs: int) -> str:
    """Format a table cell, with its n if some runs have no value."""
    missing = f" (n = {spread.n})" if spread and spread.n < runs else ""
    return format_spread(spread, metric).replace(" ± ", "\u00a0±\u00a0") + missing


def has_metric(group: ComparisonGroup) -> Callable[[str], bool]:
    """Return a function that decides whether an unlearned model of the group has a value of a metric."""
    return lambda metric: group.has(f"unlearned/{metric}")


def _columns(group: ComparisonGroup) -> dict[str, str]:
    """Return the titles of all columns by metric, those of user-supplied metrics last."""
    return COLUMNS | titles(group.user_metrics)


def measured_columns(group: ComparisonGroup) -> list[str]:
    """Return the metrics of the columns that have a value."""
    return [metric for metric in _columns(group) if group.has(f"unlearned/{metric}")]


def footer(group: ComparisonGroup) -> str:
    """Return the line below a table: what is not comparable, seeds, retrained models, versions and hardware."""
    cells = group.cells
    baseline = sorted({str(cell.report["seeds"].get("baseline", [])) for cell in cells})
    versions = {f"{name} {cell.report['versions'].get(name)}" for cell in cells for name in SHOWN_VERSIONS}
    hardware = {_describe_hardware(cell) for cell in cells}
    facts = (
        f"Mean ± standard deviation over n runs; seeds {format_seeds(cells)}; seeds of retrained models per run "
        f"{' or '.join(baseline)}; {', '.join(sorted(versions))}; {' or '.join(sorted(hardware))}."
    )
    retain_free = sorted({cell.strategy for cell in cells if "retain_free" in cell.report["notes"]})
    if retain_free:
        facts += f" Read no retain data: {', '.join(retain_free)}."
    return f"{warning} {facts}" if (warning := describe_grading(group)) else facts


def _describe_hardware(cell: Cell) -> str:
    hardware = cell.report["hardware"]
    device, threads = hardware.get("gpu") or hardware.get("cpu"), hardware.get("threads")
    return f"{device}, {threads} thread{'s' * (threads != 1)}"


def print_table(reports: SweepReports, groups: Sequence[ComparisonGroup], notes: Sequence[str], stream: TextIO) -> None:
    """Print verdict and table of each group, as wide as the terminal, or with 80 characters if there is none."""
    from rich.console import Console

    console = Console(file=stream, highlight=False, markup=False, width=None if stream.isatty() else 80)
    for group in groups:
        ranking = rank(group.rows)
        if len(groups) > 1:
            console.print(group.title, style="bold")
        console.print(verdict(group))
        console.print(_terminal_table(group, ranking, console.width))
        console.print(ranking.why)
        console.print(footer(group))
    for failure in reports.failures:
        console.print(f"cell {failure.note.number} failed ({' '.join(failure.note.overrides)}): {failure.cause}")
    for note in notes:
        console.print(note)


def _terminal_table(group: ComparisonGroup, ranking: Ranking, width: int) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    narrow, names = graded(NARROW, has_metric(group)), renamed(_columns(group), has_metric(group))
    wider = [metric for needed, metrics in WIDER.items() if width >= needed for metric in metrics]
    wider += titles(group.user_metrics) if width >= min(WIDER) else ()
    metrics = [metric for metric in dict.fromkeys([*narrow, *wider]) if metric in measured_columns(group)]
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("", overflow="fold")
    for title in ("n", *(names[metric] for metric in metrics), "average gap"):
        table.add_column(title, justify="right", no_wrap=True)
    for role, row in (("original", group.originals), ("retrained", group.retrained)):
        gap, floor = _reference_gaps(group, role)
        last = f"floor {format_spread(floor)[:5]}" if floor else _format_tight(gap, GAP)
        table.add_row(role, *_terminal_cells(role, row, metrics), last)
    for row in group.rows:
        mark = ranking.mark(row)
        name = row.label + f" ({mark})" * bool(mark)
        table.add_row(name, *_terminal_cells("unlearned", row, metrics), _format_tight(row.spread(GAP), GAP))
    return table


def _terminal_cells(role: str, row: Row, metrics: Sequence[str]) -> list[str]:
    return [str(len(row.cells)), *(_format_tight(row.spread(f"{role}/{metric}"), metric) for metric in metrics)]


def _format_tight(spread: Spread | None, metric: str) -> str:
    return format_spread(spread, metric).replace(" ", "")
