"""How close a setting comes to retraining, against the time it takes."""

from __future__ import annotations

from unlearn.report.charts.scatter import Point, Side, scatter_chart
from unlearn.report.charts.sweep_marks import Figure, Marks, Measure
from unlearn.report.sweep.compare import FLOOR, GAP, format_spread
from unlearn.report.sweep.comparison import ComparisonGroup, Spread

SECONDS, DISTANCE = Measure("seconds of unlearning", "unlearned/seconds", "seconds"), Measure("average gap", GAP, GAP)


def time_chart(group: ComparisonGroup, marks: Marks) -> Figure | None:
    """Average gap against seconds of unlearning; None if runs were timed on different hardware, or have no gap."""
    points = [
        _point(seconds, gap, marks.fields(row) | {"short": row.label.removeprefix(row.strategy).strip()})
        for row in group.rows
        if (seconds := row.spread(SECONDS.key)) and (gap := row.spread(GAP))
    ]
    if not points or not group.is_timed:
        return None
    floor, retraining = group.retrained.spread(FLOOR), group.retrained.spread("retrained/seconds")
    distance = floor or Spread(0.0, None, 1)
    known = [_point(retraining, distance, {"strategy": "retrained", "n": str(retraining.n)})] if retraining else []
    sides = (
        Side(SECONDS.name, 0.0, None, True, may_be_log=True),
        Side(DISTANCE.name, 0.0, None, True, floor.mean if floor else None),
    )
    return Figure("average gap against time", scatter_chart("average gap against time", sides, points, known, marks))


def _point(seconds: Spread, gap: Spread, fields: dict[str, object]) -> Point:
    (x_low, x_high), (y_low, y_high) = SECONDS.ends(seconds), DISTANCE.ends(gap)
    texts = {"x_text": format_spread(seconds, "seconds"), "y_text": format_spread(gap)}
    return Point((x_low, seconds.mean, x_high), (y_low, gap.mean, y_high), fields | texts)
