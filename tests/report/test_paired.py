"""Intervals of gaps, from the same samples under both models."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Finished
from scipy import stats
from unlearn.report.paired_differences import collect_evidence, paired_differences

from unlearn import config
from unlearn.core.types import Predictions, Role, Subset
from unlearn.functional.estimates import paired_fraction_interval, paired_interval
from unlearn.metrics.accuracy import Accuracy
from unlearn.metrics.js_to_retrained import JsToRetrained
from unlearn.pipeline.evaluations import Evaluation
from unlearn.report.assemble import assemble
from unlearn.stages.files import read_predictions


def evaluations(run: Finished, kind: type, role: Role) -> list[Evaluation]:
    return [r for r, _ in run.outcome.measurements if type(r.stage.metric) is kind and r.role is role]


def predictions(run: Finished, reading: Evaluation, subset: Subset) -> Predictions:
    return read_predictions(run.context.get(reading.stage.subject.predictions[subset]))


def test_a_gap_of_accuracies_by_hand(finished: Finished) -> None:
    """Unlearned minus the mean of two retrained models, image by image, as a paired_differences test has it."""

    def right(reading: Evaluation) -> np.ndarray:
        found = predictions(finished, reading, Subset.TEST)
        return (found.logits.argmax(1) == found.labels).double().numpy()

    (mine,) = evaluations(finished, Accuracy, Role.UNLEARNED)
    one, two = evaluations(finished, Accuracy, Role.RETRAINED)
    theirs = (right(one) + right(two)) / 2
    found = paired_differences(collect_evidence(finished.outcome))["test_accuracy"]
    assert found.value == pytest.approx((right(mine) - theirs).mean())
    assert found.value == pytest.approx(finished_report(finished)["metrics"]["gap/test_accuracy"])
    assert found.standard_error == pytest.approx(stats.sem(right(mine) - theirs))
    statistic = stats.ttest_rel(right(mine), theirs).statistic
    assert (found.value or 0) / (found.standard_error or 0) == pytest.approx(statistic)
    more = np.append(right(mine) - theirs, [-1.0, 1.0])
    assert found.interval == pytest.approx(stats.t.interval(0.95, len(more) - 1, more.mean(), stats.sem(more)))


def finished_report(run: Finished) -> dict[str, Any]:
    return assemble(run.outcome, config.to_plain_dict(run.composed), {})


def test_a_distance_to_the_retrained_model_is_its_own_gap(finished: Finished) -> None:
    """A retrained model is at no distance from itself, and is not held against the other one here."""
    own = evaluations(finished, JsToRetrained, Role.UNLEARNED)
    distances = [reading.stage.load(finished.context)["js_to_retrained"] for reading in own]
    found = paired_differences(collect_evidence(finished.outcome))["js_to_retrained"]
    assert found.value == pytest.approx(np.mean([distance.value for distance in distances]))
    assert found.n == distances[0].n


def test_every_interval_holds_its_gap_and_stands_in_the_report(finished: Finished) -> None:
    report = finished_report(finished)
    found = paired_differences(collect_evidence(finished.outcome))
    assert {"forget_accuracy", "retain_loss", "unlearning_degree", "noisy_forget_accuracy"} <= set(found)
    assert "mia_logistic_auc" in found
    assert not {"mia_logistic_balanced_accuracy", "forgetting_rate", "unlearning_degree_calibrated"} & set(found)
    for metric, difference in found.items():
        gap, behind = report["metrics"][f"gap/{metric}"], report["statistics"][f"gap/{metric}"]
        assert behind["interval"] == list(difference.interval)
        assert behind["interval"][0] <= gap <= behind["interval"][1]
    assert "interval" not in report["statistics"]["gap/forgetting_rate"]


def test_the_original_is_held_against_the_same_models_and_the_unlearned_against_it(finished: Finished) -> None:
    """Gap, the original's own gap and the change between them add up, metric by metric."""
    report = finished_report(finished)
    for metric in ("forget_accuracy", "test_loss", "mia_logistic_auc", "js_to_retrained"):
        behind, change = report["statistics"][f"gap/{metric}"], report["statistics"][f"unlearned/{metric}"]["change"]
        assert behind["original"]["value"] + change["value"] == pytest.approx(report["metrics"][f"gap/{metric}"])
        low, high = change["interval"]
        assert low <= change["value"] <= high


def test_identical_models_differ_by_nothing(finished: Finished) -> None:
    """A retrained model in the unlearned one's place, against itself."""
    (first, *_) = evaluations(finished, Accuracy, Role.RETRAINED)
    twice = tuple((replace(first, role=role), {}) for role in (Role.UNLEARNED, Role.RETRAINED))
    for difference in paired_differences(collect_evidence(replace(finished.outcome, measurements=twice))).values():
        assert (difference.value, difference.standard_error) == (0.0, 0.0)
        low, high = difference.interval or (0, 0)
        assert low == pytest.approx(-high)


def test_without_a_retrained_model_there_is_no_gap(finished: Finished) -> None:
    alone = tuple((reading, found) for reading, found in finished.outcome.measurements if reading.role != "retrained")
    assert paired_differences(collect_evidence(replace(finished.outcome, measurements=alone))) == {}


def test_a_single_sample_has_no_interval() -> None:
    assert paired_interval(torch.ones(1)) is None
    assert paired_fraction_interval(torch.ones(1)) is None


def test_the_interval_of_a_mean_is_student_s() -> None:
    values = torch.randn(12, generator=torch.Generator().manual_seed(0)).double()
    expected = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    assert paired_interval(values) == pytest.approx(tuple(map(float, expected)))


@pytest.mark.parametrize("n", [20, 108, 500])
@pytest.mark.parametrize("models", [1, 3])
@pytest.mark.parametrize(("ours", "theirs", "correlation"), [(0.99, 0.97, 0.95), (0.97, 0.93, 0.97), (0.6, 0.55, 0.5)])
def test_the_interval_of_shares_covers_the_truth(
    n: int, models: int, ours: float, theirs: float, correlation: float
) -> None:
    """Two models of these accuracies, `models` of the second kind, that agree on most images."""
    generator, runs, hits = np.random.default_rng(n + models), 800, 0
    limits = stats.norm.ppf([ours, *[theirs] * models])[:, None]
    for _ in range(runs):
        difficulty, noise = generator.normal(size=n), generator.normal(size=(models + 1, n))
        right = np.sqrt(correlation) * difficulty + np.sqrt(1 - correlation) * noise < limits
        difference = right[0] - right[1:].mean(0)
        low, high = paired_fraction_interval(torch.from_numpy(difference)) or (0, 0)
        hits += low <= ours - theirs <= high
    assert hits / runs >= 0.93


@pytest.mark.parametrize("values", [[1.0, 1.0], [-1.0, -1.0, -1.0], [0.0, 0.0]])
def test_the_interval_of_shares_stays_in_its_range(values: list[float]) -> None:
    low, high = paired_fraction_interval(torch.tensor(values)) or (9, 9)
    assert -1 <= low < high <= 1
