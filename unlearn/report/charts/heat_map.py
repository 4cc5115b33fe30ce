"""Metrics over two settings of a sweep as heat maps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from statistics import fmean

from unlearn.report.charts.parameter import is_number, other_settings
from unlearn.report.charts.sweep_marks import IS_KEPT, ONLY, Figure, Marks, Measure, measures
from unlearn.report.charts.theme import Spec, chart, colour, layer, tooltip
from unlearn.report.sweep.compare import GAP, format_spread
from unlearn.report.sweep.comparison import ComparisonGroup, Row, Spread

MAIN = {GAP, "forget_accuracy", "test_accuracy", "retained_test_accuracy"}  # not folded away
SQUARE = 40  # pixels of a field's height


def heat_maps(group: ComparisonGroup, marks: Marks, pair: tuple[str, str]) -> Iterator[Figure]:
    """Every measure over two settings; one map per strategy and combination of other settings, with common shades."""
    maps: dict[str, list[Row]] = defaultdict(list)
    for row in group.rows:
        if all(is_number(row.setting.get(name)) for name in pair):
            maps[f"{row.strategy} {other_settings(row, *pair)}".strip()].append(row)
    maps = {label: rows for label, rows in sorted(maps.items()) if _is_grid(rows, pair)}
    for measure in measures(group):
        known = [spread for rows in maps.values() for row in rows if (spread := row.spread(measure.key))]
        for label, rows in maps.items() if known else ():
            spec = _heat_map(rows, pair, measure, marks, _shades(known))
            yield Figure(f"{measure.name}, {label}", spec, measure.metric in MAIN)


def _is_grid(rows: Sequence[Row], pair: tuple[str, str]) -> bool:
    return all(len({row.setting[name] for row in rows}) > 1 for name in pair)


def _shades(spreads: Sequence[Spread]) -> tuple[float, float]:
    """The values of the faintest and of the strongest shade, so far apart that the spread over seeds stays faint
    [ours]."""
    low, high = min(spread.mean for spread in spreads), max(spread.mean for spread in spreads)
    room = max(0.0, 4 * fmean(spread.std or 0.0 for spread in spreads) - (high - low)) / 2
    return low - room, high + room


def _heat_map(
    rows: Sequence[Row], pair: tuple[str, str], measure: Measure, marks: Marks, shades: tuple[float, float]
) -> Spec:
    fields = [
        marks.fields(row)
        | {"x": row.setting[pair[0]], "y": row.setting[pair[1]], "value": spread.mean}
        | {"label": format_spread(Spread(spread.mean, None, spread.n), measure.metric)}
        | {"text": format_spread(spread, measure.metric)}
        for row in rows
        if (spread := row.spread(measure.key))
    ]
    axis = {"type": "ordinal", "axis": {"labelAngle": 0, "format": "~g", "ticks": False, "domain": False}}
    x, y = ({"field": at, "title": name} | axis for at, name in zip("xy", pair, strict=True))
    scale = {"domain": list(shades), "range": [colour("paper"), colour("unlearned")], "type": "linear"}
    shade = {"field": "value", "type": "quantitative", "scale": scale, "legend": None}
    kept = {"condition": {"test": IS_KEPT, "value": 0.6}, "value": 0.08}
    tips = tooltip("setting", ("text", measure.name), "n")
    y |= {"sort": "descending"}
    return chart(
        f"{measure.name} over {pair[0]} and {pair[1]}",
        [
            layer("rect", fields, x=x, y=y, fill=shade, opacity=kept, tooltip=tips),
            layer("text", fields, x=x, y=y, text={"field": "label"}, tooltip=tips),
        ],
        SQUARE * len({field["y"] for field in fields}),
        [ONLY],
    )
