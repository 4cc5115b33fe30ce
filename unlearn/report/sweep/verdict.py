"""What a sweep found, in a few sentences for each scenario."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from unlearn.report.judgement import Forgetting, Utility, judge
from unlearn.report.phrases import listed
from unlearn.report.retained import accuracy_name, graded
from unlearn.report.sweep.compare import GAP, show
from unlearn.report.sweep.read import Cell
from unlearn.report.sweep.scenario import ComparisonGroup, Row, averaged


def verdict(scenario: ComparisonGroup) -> str:
    """Which setting is closest to retraining, what it kept, and how many runs were forgotten."""
    ranked = [row for row in scenario.rows if row.spread(GAP)]
    if not ranked:
        return f"{_settings(scenario.rows)}, and no average gap to a retrained model to compare them by."
    best = ranked[0]
    of = f", closest to retrained models of {_settings(scenario.rows)}" if len(scenario.rows) > 1 else ""
    closest = f"{best.label}{of}: average gap {show(best.spread(GAP))}{_kept(best)}{_untouched(scenario)}."
    counts = word_counts(scenario.cells)
    return f"{closest} Of {len(scenario.cells)} runs: {counts}." if counts else closest


def word_counts(cells: Sequence[Cell]) -> str:
    """`3 forgotten, 2 inconclusive; utility 5 kept`, judged by the numbers of each run."""
    judged = [judge(cell.report) for cell in cells if "judged_by" in cell.report]  # the words in a file are not read
    forgetting = _counts([each.forgetting for each in judged], list(Forgetting))
    utility = _counts([each.utility for each in judged], list(Utility))
    return "; ".join(part for part in (forgetting, f"utility {utility}" if utility else "") if part)


def _counts(found: Sequence[str], words: Sequence[str]) -> str:
    counts = Counter(found)
    return ", ".join(f"{counts[word]} {word.replace('_', ' ')}" for word in words if counts[word])


def _settings(rows: tuple[Row, ...]) -> str:
    strategies = len({row.strategy for row in rows})
    many = f" of {strategies} strategies" if strategies > 1 else ""
    return f"{len(rows)} setting{'s' * (len(rows) > 1)}{many}"


def _kept(row: Row) -> str:
    """Accuracy on retain and test, before and after."""
    changes = []
    for metric in graded(("retain_accuracy", "test_accuracy"), lambda name: bool(row.spread(f"unlearned/{name}"))):
        before, after = (row.spread(f"{role}/{metric}") for role in ("original", "unlearned"))
        if before and after:
            changes.append(f"{accuracy_name(metric)} {before.mean:.3f} → {after.mean:.3f}")
    return f" ({', '.join(changes)})" if changes else ""


def _untouched(scenario: ComparisonGroup) -> str:
    """The gap of the original, without which no other gap can be judged."""
    gap = scenario.untouched()
    if gap is None:
        return ""
    nearest = scenario.rows[0].spread(GAP)
    if nearest and nearest.mean >= gap.mean:
        return f"; no setting is closer than the untouched original, whose gap is {gap.mean:.3f}"
    return f"; that of the untouched original is {gap.mean:.3f}"


def graded_apart(scenario: ComparisonGroup) -> str:
    """A note on strategies whose average gap contains another attack than most; empty if there are none."""
    metrics = {row.strategy: tuple(averaged(row.cells[0])) for row in scenario.rows}
    kinds = Counter(names for names in metrics.values() if names)
    if len(kinds) < 2:
        return ""
    usual = kinds.most_common(1)[0][0]
    exceptions = [
        f"{strategy} by {', '.join(name for name in names if name not in usual) or 'no attack'}"
        for strategy, names in metrics.items()
        if names and names != usual
    ]
    others = listed(list(dict.fromkeys(name for names in kinds for name in usual if name not in names)))
    return (
        f"Average gaps are not all of one kind: most hold {others}, but {'; '.join(exceptions)} (see the notes). "
        "Between those, neither ranks nor marks are comparisons of like with like."
    )
