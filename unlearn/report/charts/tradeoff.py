"""The chart that a sweep is run for: how far forgetting is from retraining, against the accuracy that is kept."""

from __future__ import annotations

from collections.abc import Iterator

from unlearn.report.charts.scatter import Point, Side, scatter_chart
from unlearn.report.charts.sweep_marks import Figure, Marks, Measure
from unlearn.report.retained import accuracy_name, graded
from unlearn.report.sweep.compare import format_spread
from unlearn.report.sweep.comparison import ComparisonGroup, Spread

FORGETTING = Measure("forgetting gap", "", "forget_accuracy")  # its range is that of an accuracy
AXIS = "forgetting gap: |forget accuracy − retrained|"


def tradeoff_charts(group: ComparisonGroup, marks: Marks) -> Iterator[Figure]:
    """Forgetting gap against test, then against retain accuracy; seconds of unlearning as size."""
    for metric in graded(("test_accuracy", "retain_accuracy"), lambda name: group.has(f"unlearned/{name}")):
        points = list(_points(group, metric, marks))
        if points:
            name = accuracy_name(metric)
            floor = group.retrained.spread("noise_floor/forget_accuracy")
            sides = (Side(AXIS, 0.0, 1.0, True, floor.mean if floor else None), Side(name, 0.0, 1.0))
            spec = scatter_chart(
                f"forgetting against {name}", sides, points, list(_references(group, metric, floor)), marks
            )
            yield Figure(f"forgetting gap against {name}", spec)


def _points(group: ComparisonGroup, metric: str, marks: Marks) -> Iterator[Point]:
    for row in group.rows:
        gap, kept = row.distance("forget_accuracy"), row.spread(f"unlearned/{metric}")
        seconds = row.spread("unlearned/seconds") if group.is_timed else None
        if gap and kept:
            time = {"seconds": seconds.mean, "seconds_text": format_spread(seconds, "seconds")} if seconds else {}
            short = row.label.removeprefix(row.strategy).strip() or row.strategy
            yield _point(gap, kept, metric, marks.fields(row) | time | {"short": short})


def _references(group: ComparisonGroup, metric: str, floor: Spread | None) -> Iterator[Point]:
    """Retrained models at their distance from each other, and the original."""
    models = (
        ("retrained", group.retrained, floor or Spread(0.0, None, 1)),
        ("original", group.originals, group.original_gap("forget_accuracy")),
    )
    for role, row, gap in models:
        kept = row.spread(f"{role}/{metric}")
        if kept and gap:
            yield _point(gap, kept, metric, {"strategy": role, "n": str(kept.n)})


def _point(gap: Spread, kept: Spread, metric: str, fields: dict[str, object]) -> Point:
    (x_low, x_high), (y_low, y_high) = FORGETTING.ends(gap), Measure("", "", metric).ends(kept)
    texts = {"x_text": format_spread(gap), "y_text": format_spread(kept)}
    return Point((x_low, gap.mean, x_high), (y_low, kept.mean, y_high), fields | texts)
