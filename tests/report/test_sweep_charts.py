"""The charts of a sweep: valid specifications, whose points carry their setting and lead to their runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from reports import grid, report, write
from specs import check, ends, layers, rows

from unlearn.report.charts.heat_map import heat_maps
from unlearn.report.charts.parameter import numeric_settings, parameter_charts
from unlearn.report.charts.sweep_marks import Marks
from unlearn.report.charts.time_cost import time_chart
from unlearn.report.charts.tradeoff import tradeoff_charts
from unlearn.report.sweep.comparison import ComparisonGroup, group_cells
from unlearn.report.sweep.read import read

Case = tuple[ComparisonGroup, Marks]


def case(tmp_path: Path, *reports: dict[str, Any]) -> Case:
    (found,), _ = group_cells(read([write(tmp_path, *reports)]).cells)
    strategies = tuple(sorted({row.strategy for row in found.rows}))
    return found, Marks({id(row): f"cell-{n}" for n, row in enumerate(found.rows)}, strategies)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return case(tmp_path_factory.mktemp("sweep"), *grid())


def test_the_first_chart_has_every_setting_over_floor_and_front(sweep: Case) -> None:
    test, retain = tradeoff_charts(*sweep)
    assert [test.caption, retain.caption] == [
        "forgetting gap against test accuracy",
        "forgetting gap against retain accuracy",
    ]
    spec = check(retain.chart)
    points, references = layers(spec, "point")
    assert {row["setting"] for row in rows(points)} == {row.label for row in sweep[0].rows}
    assert len({row["anchor"] for row in rows(points)}) == len(sweep[0].rows)
    assert all(row["seconds"] == 2.0 for row in rows(points))
    assert [row["strategy"] for row in rows(references)] == ["retrained", "original"]
    assert rows(layers(spec, "rect")[0])[0]["to"] == pytest.approx(0.1)  # the noise floor
    assert rows(layers(spec, "line")[0])  # the Pareto front
    assert ends(spec, "y")[1] <= 1.0


def test_whiskers_end_where_the_quantity_does(tmp_path: Path) -> None:
    reports = [report(seed=seed, k=0.1) for seed in (0, 1)]
    for found, value in zip(reports, (1.0, 0.8), strict=True):
        found["metrics"]["unlearned/test_accuracy"] = value
    (first, *_) = tradeoff_charts(*case(tmp_path, *reports))
    (point,) = rows(layers(first.chart, "point")[0])
    assert (point["y"], point["y_high"]) == (pytest.approx(0.9), 1.0)


def test_time_is_not_compared_between_machines(sweep: Case, tmp_path: Path) -> None:
    found = time_chart(*sweep)
    assert found is not None
    check(found.chart)
    slow = report(k=0.5) | {"hardware": {"cpu": "other"}}
    assert time_chart(*case(tmp_path, report(k=0.1), slow)) is None


def test_metrics_over_a_setting_are_a_line_for_each_combination_of_the_others(sweep: Case) -> None:
    assert numeric_settings(sweep[0]) == ["k", "noise_scale"]
    figures = {figure.caption: figure for figure in parameter_charts(*sweep, "k")}
    assert {"average gap", "forget accuracy", "test accuracy"} <= {
        name for name, found in figures.items() if found.is_main
    }
    spec = check(figures["forget accuracy"].chart)
    (line, *_) = layers(spec, "line")
    assert len({(row["strategy"], row["others"]) for row in rows(line)}) == 4
    assert line["encoding"]["x"]["scale"]["type"] == "log"
    assert line["encoding"]["x"]["axis"]["values"] == [0.001, 0.01, 0.1]
    levels = rows(layers(spec, "rule")[0])
    assert [(row["strategy"], row["y"]) for row in levels] == [("retrained", pytest.approx(0.45)), ("original", 1.0)]


def test_two_settings_make_a_heat_map_for_each_strategy(sweep: Case) -> None:
    figures = [figure for figure in heat_maps(*sweep, ("k", "noise_scale")) if figure.caption.startswith("average gap")]
    assert [figure.caption for figure in figures] == ["average gap, random_k", "average gap, top_k"]
    (fields,), (texts,) = layers(check(figures[0].chart), "rect"), layers(figures[0].chart, "text")
    assert len(rows(fields)) == 6
    assert all(row["label"] == f"{row['value']:.3f}" for row in rows(texts))
