"""What the charts of a sweep share: the measures they draw, and the colour, shape and anchor of every row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from unlearn.report.charts.theme import SHAPES, STRATEGIES, ZOOM, Spec, clip, colour, faded, legend_filter
from unlearn.report.retained import renamed
from unlearn.report.sweep.compare import GAP
from unlearn.report.sweep.comparison import ComparisonGroup, Row, Spread
from unlearn.report.table import ROWS
from unlearn.report.user_metrics import titles

REFERENCES = ("original", "retrained")  # drawn with the strategies, on the same scales
TIMES = ("seconds", "speedup")
ONLY: Spec = {"name": "only", "value": None}  # anchors that the page's filter keeps; null keeps all
SELECTIONS = (legend_filter("strategy"), ZOOM)  # of the layer with a mark for every row
IS_KEPT = "only === null || indexof(only, datum.anchor) >= 0"


def kept(opacity: float) -> Spec:
    """A channel that fades marks which the legend or the page's filter leaves out."""
    return faded(IS_KEPT, opacity=opacity)


@dataclass(frozen=True)
class Figure:
    """A chart under its caption; charts that are not `is_main` are folded away."""

    caption: str
    chart: Spec
    is_main: bool = True


@dataclass(frozen=True)
class Measure:
    """A number that is drawn: its name, its key for the unlearned model, its metric, and the ends of its range."""

    name: str
    key: str
    metric: str

    @property
    def limits(self) -> tuple[float | None, float | None]:
        """The smallest and largest possible value, None where there is none."""
        if self.metric.endswith(("_accuracy", "_auc")):
            return 0.0, 1.0
        return (0.0, None) if self.metric in (GAP, *TIMES) else (None, None)

    def ends(self, spread: Spread) -> tuple[float, float]:
        """Mean minus and plus standard deviation, within the range."""
        low, high = (-float("inf") if self.limits[0] is None else 0.0, self.limits[1] or float("inf"))
        deviation = spread.std or 0.0
        return clip(spread.mean - deviation, low, high), clip(spread.mean + deviation, low, high)


def measures(group: ComparisonGroup) -> Iterator[Measure]:
    """The average gap and every metric that has a value."""
    if group.has(GAP):
        yield Measure("average gap", GAP, GAP)
    for metric, name in renamed(ROWS | titles(group.user_metrics), lambda name: group.has(f"unlearned/{name}")).items():
        key = f"unlearned/{metric}"
        if metric != "unlearning_accuracy" and group.has(key) and (metric not in TIMES or group.is_timed):
            yield Measure(name.strip(), key, metric)


@dataclass(frozen=True)
class Marks:
    """The anchor of every row on the page, by the row's id, and the strategies in the order of their colours."""

    anchors: dict[int, str]
    strategies: tuple[str, ...]

    def anchor(self, row: Row) -> str:
        """The id of the row's section."""
        return self.anchors[id(row)]

    def style(self, row: Row) -> int:
        """The number of the strategy's colour."""
        return self.strategies.index(row.strategy) % STRATEGIES

    def fields(self, row: Row) -> Spec:
        """What every mark of a row carries."""
        n = f"{len(row.cells)} run{'s' * (len(row.cells) != 1)}"
        return {"anchor": self.anchor(row), "strategy": row.strategy, "setting": row.label, "n": n}

    def colour(self) -> Spec:
        """A channel that colours marks by strategy."""
        colours = [colour(f"s{number % STRATEGIES}") for number in range(len(self.strategies))]
        return self._by_strategy([*colours, *(colour(role) for role in REFERENCES)])

    def shape(self) -> Spec:
        """A channel that shapes marks by strategy; no two of 42 strategies have both colour and shape in common."""
        shapes = [SHAPES[number % len(SHAPES)] for number in range(len(self.strategies))]
        return self._by_strategy([*shapes, *("stroke" for _ in REFERENCES)])

    def _by_strategy(self, values: Sequence[str | dict[str, str]]) -> Spec:
        scale = {"domain": [*self.strategies, *REFERENCES], "range": list(values)}
        legend = {"title": None, "values": list(self.strategies), "symbolOpacity": 1}
        return {"field": "strategy", "type": "nominal", "scale": scale, "legend": legend}
