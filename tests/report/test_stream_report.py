"""The report of a stream of requests as lines, charts, table and CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from specs import check, ends, layers, on_page, rows

from unlearn.report.charts.over_requests import request_chart
from unlearn.report.stream.lines import DISTANCE, EARLIER, GAP, SECONDS, TEST, StreamLine, read_lines
from unlearn.report.stream.page import render_stream
from unlearn.report.stream.table import as_csv, print_stream

POLICIES = {"unlearn_each": 1, "unlearn_every": 2, "retrain_each": 1}
STEPS = 3


def entry(step: int, value: float, seconds: float | None = None, **more: Any) -> dict[str, Any]:
    metrics = {"forget_accuracy": value, "test_accuracy": 0.9, "layer_distance_to_retrained": 0.0}
    earlier = {"earlier_forget_accuracy": value} if step else {}
    so_far = {"metrics": metrics, "gaps": {}, "average_gap": value / 10}
    times = {} if seconds is None else {"seconds": seconds, "total_seconds": seconds * (step + 1)}
    return {"key": "0" * 64, "so_far": so_far, "request": {"metrics": metrics | earlier}} | times | more


def report(seed: int = 0, lr: float = 0.1, every: int = 2, strategy: str = "finetune") -> dict[str, Any]:
    """Invented numbers of three requests."""
    floor = {"average_noise_floor": 0.04, "noise_floor": {"layer_distance_to_retrained": 1.4}}
    steps = []
    for step in range(STEPS):
        retrained = entry(step, 0.8, 10.0)
        retrained["so_far"] |= floor
        models = {"original": entry(step, 1.0)}
        models |= {name: entry(step, 0.7 + seed / 10, 0.5, waiting=step % n) for name, n in POLICIES.items()}
        steps.append({"request": step + 1, "models": models, "retrained": retrained})
    return {
        "members": 1000,
        "policies": POLICIES | {"unlearn_every": every},
        "requests": [{"number": step + 1, "name": "=1+1", "records": 5} for step in range(STEPS)],
        "steps": steps,
        "notes": ["A note."],
        "choices": {"strategy": strategy, "dataset": "digits", "model": "cnn"},
        "config": {"strategy": {"recipe": {"lr": lr}}, "requests": {"every": every}, "paths": {"output": str(seed)}},
        "seeds": {"train": seed, "baseline": [0, 1]},
        "versions": {"torch": "2"},
        "hardware": {"threads": 1},
        "command": "unlearn",
    }


def line(reports: list[dict[str, Any]], label: str) -> StreamLine:
    return next(line for line in read_lines(reports) if line.label == label)


def test_runs_of_other_seeds_are_one_line_and_other_settings_another() -> None:
    reports = [report(seed, lr, every) for seed in (0, 1) for lr in (0.1, 0.2) for every in (2, 3)]
    labels = [line.label for line in read_lines(reports)]
    each = [f"unlearn_each finetune lr={lr}" for lr in (0.1, 0.2)]
    together = [f"unlearn_every finetune lr={lr} every={every}" for lr in (0.1, 0.2) for every in (2, 3)]
    assert sorted(labels) == sorted(["original", "retrained", "retrain_each", *each, *together])
    spread = line(reports, each[0]).spread(EARLIER)
    assert spread is not None
    assert (spread.mean, spread.n) == (pytest.approx(0.75), 2)


def test_a_run_that_is_repeated_counts_once() -> None:
    spread = line([report(), report()], "unlearn_each finetune").spread(GAP)
    assert spread is not None
    assert spread.n == 1


def test_retrained_models_are_drawn_at_their_noise_floor() -> None:
    retrained = line([report()], "retrained")
    assert [retrained.spread(measure).mean for measure in (GAP, DISTANCE)] == [0.04, 1.4]  # type: ignore[union-attr]
    spec = check(request_chart(GAP, read_lines([report()])) or {})
    policies, references = (rows(layer) for layer in layers(spec, "line"))
    assert {row["y"] for row in references if row["line"] == "retrained"} == {0.04}
    assert [row["x"] for row in policies if row["line"] == "retrain_each"] == [1, 2, 3]
    assert ends(spec, "y")[0] >= 0


def test_a_measure_without_a_value_at_some_request_has_no_point_there() -> None:
    spec = check(request_chart(EARLIER, read_lines([report()])) or {})
    assert {row["x"] for row in rows(layers(spec, "point")[0])} == {2, 3}
    assert request_chart(TEST, []) is None


def test_seconds_get_a_logarithmic_axis_and_seeds_a_band_within_the_range() -> None:
    policies = [line for line in read_lines([report()]) if line.label != "original"]
    spec = check(request_chart(SECONDS, policies, may_be_log=True) or {})
    assert layers(spec, "point")[0]["encoding"]["y"]["scale"]["type"] == "log"
    both = [report(), report(seed=3)]  # accuracies of 0.7 and 1
    bands = rows(layers(check(request_chart(EARLIER, read_lines(both)) or {}), "area")[0])
    assert {row["high"] for row in bands} == {1.0}


def test_page_table_and_csv_show_every_policy() -> None:
    reports = [report(), report(strategy="top_k")]
    lines = read_lines(reports)
    page = render_stream(reports, lines)
    assert {"average gap over requests", "seconds over requests"} <= {
        check(spec)["description"] for spec in on_page(page)
    }
    assert "3 requests for 15 of 1,000 images of digits from cnn, with finetune and top_k, 2 runs" in page
    assert "unlearn_each top_k: average gap 0.070" in page
    console = io.StringIO()
    print_stream(reports[0], read_lines(reports[:1]), console)
    assert console.getvalue().startswith("After 3 requests for 15 of 1,000 images:")
    table = list(csv.DictReader(io.StringIO(as_csv(reports))))
    assert len(table) == 2 * STEPS * 5
    assert [row["records"] for row in table[::5]] == ["5", "10", "15"] * 2
    assert float(table[-1]["so_far.average_gap"]) == pytest.approx(0.07)
