"""What a sweep found, one sentence for each scenario, made from its numbers."""

from __future__ import annotations

from collections import Counter

from unlearn.report.judgement import TIE
from unlearn.report.phrases import listed
from unlearn.report.retained import accuracy_name, graded
from unlearn.report.sweep.compare import FLOOR, GAP, show, within_floor
from unlearn.report.sweep.scenario import Row, Scenario, averaged

NAMED = 3  # settings that a sentence names


def verdict(scenario: Scenario) -> str:
    """Which settings come within the noise floor of retraining, at what cost of retention, or why none can be said to.

    Judged by the mean over seeds of the average gap, against that of the floor.
    """
    rated = [row for row in scenario.rows if row.spread(GAP)]
    if not rated:
        return f"{_settings(scenario.rows)}, and no average gap to a retrained model to judge them by."
    best, near = rated[0], [row for row in rated if within_floor(row)]
    gap, floor = show(best.spread(GAP)), best.spread(FLOOR)
    if floor is None:
        return (
            f"Of {_settings(scenario.rows)}, {best.label} is closest to the retrained model, {gap} away{_kept(best)}"
            f"{_untouched(scenario, 0.0)}; a single retrained model gives no noise floor to judge that by."
        )
    within = f"within the noise floor of retraining ({floor.mean:.3f})"
    if near:
        found = f"{len(near)} of {_settings(scenario.rows)} came {within}: {_named(near)}; the closest is {gap} away"
    else:
        found = f"None of {_settings(scenario.rows)} came {within}: the closest, {best.label}, is {gap} away"
    return f"{found}{_kept(best)}{_untouched(scenario, floor.mean)}."


def _settings(rows: tuple[Row, ...]) -> str:
    strategies = len({row.strategy for row in rows})
    many = f" of {strategies} strategies" if strategies > 1 else ""
    return f"{len(rows)} setting{'s' * (len(rows) > 1)}{many}"


def _named(rows: list[Row]) -> str:
    more = [f"{len(rows) - NAMED} more"] if len(rows) > NAMED else []
    return listed([*(row.label for row in rows[:NAMED]), *more])


def _kept(row: Row) -> str:
    """What it cost: accuracy on retain and test before and after."""
    changes = []
    for metric in graded(("retain_accuracy", "test_accuracy"), lambda name: bool(row.spread(f"unlearned/{name}"))):
        before, after = (row.spread(f"{role}/{metric}") for role in ("original", "unlearned"))
        if before and after:
            changes.append(f"{accuracy_name(metric)} {before.mean:.3f} → {after.mean:.3f}")
    return f" ({', '.join(changes)})" if changes else ""


def _untouched(scenario: Scenario, floor: float) -> str:
    """How far the original is by itself, without which no distance can be judged."""
    found = scenario.untouched()
    if found is None:
        return ""
    if found.mean <= floor + TIE:
        return (
            f"; but the original, untouched, is only {found.mean:.3f} away as well: these metrics cannot tell whether "
            "anything was forgotten"
        )
    nearest = scenario.rows[0].spread(GAP)
    if nearest and nearest.mean >= found.mean - TIE:
        return f"; no setting is closer than the original, untouched, which is {found.mean:.3f} away"
    return f"; the original, untouched, is {found.mean:.3f} away"


def graded_apart(scenario: Scenario) -> str:
    """A note on strategies whose average gap holds another attack than that of most others; empty where none does."""
    over = {row.strategy: tuple(averaged(row.cells[0])) for row in scenario.rows}
    kinds = Counter(found for found in over.values() if found)
    if len(kinds) < 2:
        return ""
    usual = kinds.most_common(1)[0][0]
    told = [
        f"{strategy} by {', '.join(m for m in found if m not in usual) or 'no attack'}"
        for strategy, found in over.items()
        if found and found != usual
    ]
    others = ", ".join(metric for found in kinds for metric in usual if metric not in found)
    return (
        f"Average gaps are not all of one kind: most hold {others}, but {'; '.join(told)} (see the notes). Between "
        "those, neither ranks nor marks are comparisons of like with like."
    )
