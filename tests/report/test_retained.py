"""A request that removes a class: both test accuracies wherever a user looks, the one over retained classes graded."""

from __future__ import annotations

import io
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import pytest
import reports

from unlearn import config
from unlearn.core.types import Role, Subset
from unlearn.functional.estimates import is_correct
from unlearn.report.assemble import assemble
from unlearn.report.charts.accuracies import accuracy_chart
from unlearn.report.page import render
from unlearn.report.pictures import Examples
from unlearn.report.sweep.summary import summarise
from unlearn.report.table import line, rows, show
from unlearn.report.verdict import verdict

if TYPE_CHECKING:
    from conftest import Finished, Run

Report = dict[str, Any]
CLASS_WISE = ("forget=class_wise", "forget.class_index=3", "spd_gan=off", "attacks=[default,selection,svc_confidence]")
BOTH = {"test_accuracy": "test, all classes", "retained_test_accuracy": "test, retained"}
BOTH |= {"validation_accuracy": "validation, all", "retained_validation_accuracy": "validation, retained"}


@pytest.fixture(scope="module")
def class_wise(run: Run, finished: Finished) -> Finished:
    return run(finished.store, *CLASS_WISE)


@pytest.fixture(scope="module")
def report(class_wise: Finished) -> Report:
    return assemble(
        class_wise.outcome, config.to_plain_dict(class_wise.composed), {"strategy": "top_k", "dataset": "digits"}
    )


def test_the_second_accuracy_is_that_of_the_other_classes(class_wise: Finished, report: Report) -> None:
    reading, _ = next(
        (reading, m)
        for reading, m in class_wise.outcome.measurements
        if reading.role == Role.UNLEARNED and "test_accuracy" in m
    )
    test = reading.stage.evidence(class_wise.context).subject[Subset.TEST]
    others = is_correct(test)[test.labels != 3]
    assert 0 < len(others) < len(test.labels)
    assert report["metrics"]["unlearned/retained_test_accuracy"] == pytest.approx(others.mean().item())
    assert report["metrics"]["unlearned/test_accuracy"] == pytest.approx(is_correct(test).mean().item())


@pytest.mark.parametrize(
    ("average", "over"),
    [
        ("average_gap", ("forget_accuracy", "retain_accuracy", "retained_test_accuracy", "mia_logistic_auc")),
        (
            "selection/average_gap",
            ("forget_accuracy", "retain_accuracy", "retained_validation_accuracy", "selection_auc"),
        ),
    ],
)
def test_the_average_gap_holds_the_retained_classes(report: Report, average: str, over: tuple[str, ...]) -> None:
    assert report["statistics"][average]["over"] == [f"gap/{metric}" for metric in over]
    gaps = [report["statistics"][f"gap/{metric}"]["mean_absolute"] for metric in over]
    if average == "average_gap":
        assert report["metrics"][average] == pytest.approx(fmean(gaps))
    else:  # so small a run has too few validation samples of the class for an attack
        assert report["metrics"][average] is None
        assert None not in gaps[:-1]


def test_console_and_page_name_both(report: Report) -> None:
    names = {metric: name for metric, name, _ in rows(report)}
    assert {metric: names[metric] for metric in BOTH} == BOTH
    console = io.StringIO()
    show(report, console)
    assert all(name in console.getvalue() for name in BOTH.values())
    assert "test, retained: without the images" in " ".join(console.getvalue().split())
    assert max(map(len, console.getvalue().splitlines())) <= 80
    chart = accuracy_chart(report) or {}
    subsets = dict.fromkeys(row["subset"] for row in chart["layer"][0]["data"]["values"])
    assert list(subsets) == ["forget", "retain", "test, all classes", "test, retained"]
    page = render(report, Examples((), ()))
    assert all(name in page for name in BOTH.values())
    assert "test, retained" in line(report)
    assert any("Test accuracy on retained classes" in line for line in verdict(report)["utility"]["lines"])


def test_no_other_request_has_a_second_accuracy(finished: Finished) -> None:
    other = assemble(finished.outcome, config.to_plain_dict(finished.composed), {"strategy": "top_k"})
    assert not [key for key in other["metrics"] if "retained_" in key]
    names = {metric: name for metric, name, _ in rows(other)}
    assert names["test_accuracy"] == "test accuracy"


def test_a_sweeps_summary_names_both(tmp_path: Path) -> None:
    """In its files, in its sentence, and in as many columns of the terminal as it has."""
    cells = [reports.report(seed=seed) for seed in (0, 1)]
    for cell in cells:
        cell["metrics"] |= {f"{role}/retained_test_accuracy": 0.8765 for role in reports.ROLES}
    printed = io.StringIO()
    table, markdown, page = (
        path.read_text() for path in summarise([reports.write(tmp_path, *cells)], tmp_path, printed)
    )
    assert "unlearned/retained_test_accuracy" in table
    for text in (markdown, page):
        assert "test, all classes" in text
        assert "test, retained" in text
    assert "test, retained" in printed.getvalue()
    assert max(map(len, printed.getvalue().splitlines())) <= 80


def test_a_sweep_without_such_a_request_has_one_column(tmp_path: Path) -> None:
    printed = io.StringIO()
    texts = [path.read_text() for path in summarise([reports.write(tmp_path, reports.report())], tmp_path, printed)]
    assert not [text for text in (*texts, printed.getvalue()) if "retained classes" in text or "test, " in text]
