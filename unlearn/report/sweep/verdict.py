"""Summarise a comparison group in a few sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from unlearn.report.judgement import Forgetting, Utility, judge
from unlearn.report.phrases import join_words
from unlearn.report.retained import accuracy_name, graded
from unlearn.report.sweep.compare import GAP, format_spread
from unlearn.report.sweep.comparison import ComparisonGroup, Row, averaged_metrics
from unlearn.report.sweep.read import Cell


def verdict(group: ComparisonGroup) -> str:
    """Say which setting is closest to retraining, which accuracy it keeps, and how many runs got each verdict."""
    ranked = [row for row in group.rows if row.spread(GAP)]
    if not ranked:
        return f"{_count_settings(group.rows)}; without an average gap to retrained models they cannot be compared."
    best = ranked[0]
    rank = f", closest to retrained models of {_count_settings(group.rows)}" if len(group.rows) > 1 else ""
    gap = format_spread(best.spread(GAP))
    closest = f"{best.label}{rank}: average gap {gap}{_describe_accuracy(best)}{_compare_with_original(group)}."
    counts = count_verdicts(group.cells)
    return f"{closest} Of {len(group.cells)} runs: {counts}." if counts else closest


def count_verdicts(cells: Sequence[Cell]) -> str:
    """Count the verdicts of runs: `3 forgotten, 2 inconclusive; utility 5 kept`.

    The verdicts are computed from the numbers; the words in the report files are ignored.
    """
    verdicts = [judge(cell.report) for cell in cells if "judged_by" in cell.report]
    forgetting = _count([verdict.forgetting for verdict in verdicts], list(Forgetting))
    utility = _count([verdict.utility for verdict in verdicts], list(Utility))
    return "; ".join(part for part in (forgetting, f"utility {utility}" if utility else "") if part)


def _count(values: Sequence[str], words: Sequence[str]) -> str:
    counts = Counter(values)
    return ", ".join(f"{counts[word]} {word.replace('_', ' ')}" for word in words if counts[word])


def _count_settings(rows: tuple[Row, ...]) -> str:
    strategies = len({row.strategy for row in rows})
    of_strategies = f" of {strategies} strategies" if strategies > 1 else ""
    return f"{len(rows)} setting{'s' * (len(rows) > 1)}{of_strategies}"


def _describe_accuracy(row: Row) -> str:
    """Describe retain and test accuracy, of the original and of the unlearned model."""
    changes = []
    for metric in graded(("retain_accuracy", "test_accuracy"), lambda name: bool(row.spread(f"unlearned/{name}"))):
        before, after = (row.spread(f"{role}/{metric}") for role in ("original", "unlearned"))
        if before and after:
            changes.append(f"{accuracy_name(metric)} {before.mean:.3f} → {after.mean:.3f}")
    return f" ({', '.join(changes)})" if changes else ""


def _compare_with_original(group: ComparisonGroup) -> str:
    """Describe the gap of the original model, the reference for all other gaps."""
    gap = group.original_gap()
    if gap is None:
        return ""
    smallest = group.rows[0].spread(GAP)
    if smallest and smallest.mean >= gap.mean:
        return f"; no setting is closer than the original model, which has a gap of {gap.mean:.3f}"
    return f"; the original model has {gap.mean:.3f}"


def describe_grading(group: ComparisonGroup) -> str:
    """Warn about strategies whose average gap contains another attack than most; empty if there are none."""
    metrics = {row.strategy: tuple(averaged_metrics(row.cells[0])) for row in group.rows}
    kinds = Counter(names for names in metrics.values() if names)
    if len(kinds) < 2:
        return ""
    usual = kinds.most_common(1)[0][0]
    exceptions = [
        f"that of {strategy} {', '.join(name for name in names if name not in usual) or 'no attack'}"
        for strategy, names in metrics.items()
        if names and names != usual
    ]
    replaced = join_words(list(dict.fromkeys(name for names in kinds for name in usual if name not in names)))
    return (
        f"Average gaps contain different metrics: most contain {replaced}, but {'; '.join(exceptions)} (see the "
        "notes). Ranks and marks do not compare these strategies."
    )
