"""The charts of a run: valid specifications of the report's numbers, on axes that end where the quantity does."""

from __future__ import annotations

from typing import Any

import pytest
from specs import check, ends, layers, rows
from verdicts import add, report

from unlearn.report.charts.accuracies import accuracy_chart
from unlearn.report.charts.confidence import confidence_charts
from unlearn.report.charts.criteria import verdict_chart
from unlearn.report.charts.gaps import gap_chart
from unlearn.report.charts.roc_curves import roc_chart
from unlearn.report.charts.theme import COLOURS, ROLES, domain, spans
from unlearn.report.charts.timings import timing_chart


def test_the_verdict_chart_shows_all_models_and_where_one_more_would_lie() -> None:
    spec = check(
        verdict_chart(add(report(0.99, [0.96, 0.99, 1.0], 0.5), 0.6, [0.5, 0.52], 0.55, "mia_logistic_auc")) or {}
    )
    (points,), (band,) = layers(spec, "point"), layers(spec, "rect")
    values = [(row["role"], row["value"]) for row in rows(points) if row["criterion"] == "forget accuracy"]
    assert values == [("original", 0.99), *(("retrained", value) for value in (0.96, 0.99, 1.0)), ("unlearned", 0.5)]
    assert max(row["high"] for layer in spec["layer"] for row in rows(layer)) == 1.0  # cut: no accuracy is larger
    assert 0 <= ends(spec, "x")[0] < 0.5
    assert ends(spec, "x")[1] == 1.0
    assert len(rows(band)) == 2


def test_one_retrained_model_has_no_band() -> None:
    spec = check(verdict_chart(report(0.9, [0.6], 0.7)) or {})
    assert rows(layers(spec, "rect")[0]) == []


def test_without_a_retrained_model_there_is_no_verdict_chart() -> None:
    assert verdict_chart(report(0.9, [], 0.7)) is None
    assert gap_chart(report(0.9, [], 0.7)) is None


def test_accuracies_are_bars_from_0_to_1() -> None:
    found = report(0.99, [0.95, 0.99], 0.9)
    found["statistics"]["retrained/forget_accuracy"]["std"] = 0.2
    spec = check(accuracy_chart(found) or {})
    (bars,), (whiskers,) = layers(spec, "bar"), layers(spec, "rule")
    assert [(row["role"], row["value"]) for row in rows(bars)] == [
        ("original", 0.99),
        ("retrained", 0.97),
        ("unlearned", 0.9),
    ]
    assert [(row["low"], row["high"]) for row in rows(whiskers)] == [(pytest.approx(0.77), 1.0)]
    assert ends(spec, "x") == [0, 1]


def test_gaps_stand_over_their_noise_floor_and_large_ones_are_arrows() -> None:
    spec = check(gap_chart(add(report(1.0, [0.4, 0.5], 0.7), 10.0, [9.0, 9.2], 2.0, "relearn_steps")) or {})
    (points,), (bands,) = layers(spec, "point"), layers(spec, "bar")
    shown = {row["metric"]: (row["shown"], row["shape"]) for row in rows(points)}
    assert shown == {"forget accuracy": (pytest.approx(0.25), "circle"), "relearn steps": (-1.0, "triangle-left")}
    assert [row["gap"] for row in rows(points)] == ["0.250", "-7.1"]  # the tooltip has the number
    assert (rows(bands)[0]["low"], rows(bands)[0]["high"]) == (pytest.approx(-0.1), pytest.approx(0.1))
    assert ends(spec, "x") == [-1, 1]


def test_histograms_count_every_image() -> None:
    counts = {role: {"forget": [1, 0, 3], "test": [0, 0, 0]} for role in ROLES}
    charts = dict(confidence_charts({"confidence": counts}))
    assert list(charts) == ["forget", "test"]
    (bars,) = layers(check(charts["forget"]), "bar")
    assert [row["fraction"] for row in rows(bars) if row["role"] == "original"] == [0.25, 0, 0.75]
    assert rows(bars)[2]["text"] == "3 of 4 (75.0%)"
    (lines,) = layers(charts["forget"], "line")
    assert max(row["low"] for row in rows(lines)) == 1.0  # the last step ends at the axis


def test_roc_curves_shade_what_cannot_be_read() -> None:
    models = [{"role": role, "seed": 0, "tpr": [0.0, 0.5, 1.0]} for role in ROLES]
    spec = check(roc_chart("roc", {"members": 50, "non_members": 100, "fpr": [0.0, 0.1, 1.0], "models": models}))
    (shade,), (points,) = layers(spec, "rect"), layers(spec, "point")
    assert rows(shade)[0]["end"] == 0.1  # 10 of 100 non-members
    assert {row["model"] for row in rows(points)} == {f"{role}, seed 0" for role in ROLES}
    assert rows(points)[0]["found"] == "0.00%"
    assert 0 < rows(points)[0]["tpr"] == ends(spec, "y")[0]  # a logarithmic axis has no 0
    assert ends(spec, "x")[1] == ends(spec, "y")[1] == 1


def test_timings_add_up_shadow_models() -> None:
    parts = {f"shadow_{n}": {"seconds": 2.0, "status": "reused"} for n in range(3)}
    found = {"artifacts": {"original": {"seconds": 1.5, "status": "built"}} | parts}
    (bars,) = layers(check(timing_chart(found)), "bar")
    assert [(row["stage"], row["seconds"], row["status"]) for row in rows(bars)] == [
        ("original", 1.5, "built"),
        ("3 shadow models", 6.0, "reused"),
    ]


@pytest.mark.parametrize("values", [[], [0.5], [0.0], [-1.0, 1.0], [0.97, 0.99], [2.0, None]])
def test_any_values_have_an_axis(values: list[float | None]) -> None:
    low, high = domain(values)
    assert low < high
    assert all(low <= value <= high for value in values if value is not None)


def test_an_axis_ends_where_its_quantity_does() -> None:
    assert domain([0.99, 1.0], 0.0, 1.0)[1] == 1.0
    assert domain([0.0, 0.5], 0.0, 1.0)[0] == 0.0
    assert (spans([0.001, 0.1]), spans([0.0, 1.0]), spans([0.5, 1.0])) == (True, False, False)


def test_both_schemes_have_the_same_colours() -> None:
    assert set(COLOURS["light"]) == set(COLOURS["dark"])


def test_a_wrong_spec_is_noticed() -> None:
    spec: dict[str, Any] = timing_chart({"artifacts": {}})
    spec["layer"][0]["encoding"]["x"]["type"] = "sometimes"
    with pytest.raises(AssertionError):
        check(spec)
