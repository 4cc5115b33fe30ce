"""Intervals of gaps from the same samples under both models."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Finished
from scipy import stats

from unlearn import config
from unlearn.core.types import Predictions, Role, Subset
from unlearn.functional.estimates import paired_fraction_interval, paired_interval
from unlearn.metrics.accuracy import Accuracy
from unlearn.metrics.js_to_retrained import JsToRetrained
from unlearn.pipeline.evaluations import Evaluation
from unlearn.report.assemble import assemble
from unlearn.report.paired import collect_evidence, paired_differences
from unlearn.stages.files import read_predictions


def evaluations(run: Finished, kind: type, role: Role) -> list[Evaluation]:
    return [e for e, _ in run.outcome.measurements if type(e.stage.metric) is kind and e.role is role]


def predictions(run: Finished, evaluation: Evaluation, subset: Subset) -> Predictions:
    return read_predictions(run.context.get(evaluation.stage.subject.predictions[subset]))


def test_a_gap_of_accuracies_by_hand(finished: Finished) -> None:
    """Unlearned minus the mean of two retrained models, image by image, as in a paired t test."""

    def right(evaluation: Evaluation) -> np.ndarray:
        outputs = predictions(finished, evaluation, Subset.TEST)
        return (outputs.logits.argmax(1) == outputs.labels).double().numpy()

    (unlearned,) = evaluations(finished, Accuracy, Role.UNLEARNED)
    one, two = evaluations(finished, Accuracy, Role.RETRAINED)
    retrained = (right(one) + right(two)) / 2
    gap = paired_differences(collect_evidence(finished.outcome))["test_accuracy"]
    assert gap.value == pytest.approx((right(unlearned) - retrained).mean())
    assert gap.value == pytest.approx(finished_report(finished)["metrics"]["gap/test_accuracy"])
    assert gap.standard_error == pytest.approx(stats.sem(right(unlearned) - retrained))
    statistic = stats.ttest_rel(right(unlearned), retrained).statistic
    assert (gap.value or 0) / (gap.standard_error or 0) == pytest.approx(statistic)
    more = np.append(right(unlearned) - retrained, [-1.0, 1.0])
    assert gap.interval == pytest.approx(stats.t.interval(0.95, len(more) - 1, more.mean(), stats.sem(more)))


def finished_report(run: Finished) -> dict[str, Any]:
    return assemble(run.outcome, config.to_plain_dict(run.composed), {})


def test_a_distance_to_the_retrained_model_is_its_own_gap(finished: Finished) -> None:
    """A retrained model has distance 0 from itself, and is not compared with the other retrained model here."""
    unlearned = evaluations(finished, JsToRetrained, Role.UNLEARNED)
    distances = [evaluation.stage.load(finished.context)["js_to_retrained"] for evaluation in unlearned]
    gap = paired_differences(collect_evidence(finished.outcome))["js_to_retrained"]
    assert gap.value == pytest.approx(np.mean([distance.value for distance in distances]))
    assert gap.n == distances[0].n


def test_every_interval_contains_its_gap_and_is_in_the_report(finished: Finished) -> None:
    report = finished_report(finished)
    differences = paired_differences(collect_evidence(finished.outcome))
    assert {"forget_accuracy", "retain_loss", "unlearning_degree", "noisy_forget_accuracy"} <= set(differences)
    assert "mia_logistic_auc" in differences
    assert not {"mia_logistic_balanced_accuracy", "forgetting_rate", "unlearning_degree_calibrated"} & set(differences)
    for metric, difference in differences.items():
        gap, interval = report["metrics"][f"gap/{metric}"], report["statistics"][f"gap/{metric}"]["interval"]
        assert interval == list(difference.interval)
        assert interval[0] <= gap <= interval[1]
    assert "interval" not in report["statistics"]["gap/forgetting_rate"]


def test_gap_of_the_original_and_change_by_unlearning_add_up_to_the_gap(finished: Finished) -> None:
    report = finished_report(finished)
    for metric in ("forget_accuracy", "test_loss", "mia_logistic_auc", "js_to_retrained"):
        original = report["statistics"][f"gap/{metric}"]["original"]
        change = report["statistics"][f"unlearned/{metric}"]["change"]
        assert original["value"] + change["value"] == pytest.approx(report["metrics"][f"gap/{metric}"])
        low, high = change["interval"]
        assert low <= change["value"] <= high


def test_identical_models_have_no_difference(finished: Finished) -> None:
    """A retrained model in place of the unlearned model, against itself."""
    (first, *_) = evaluations(finished, Accuracy, Role.RETRAINED)
    twice = tuple((replace(first, role=role), {}) for role in (Role.UNLEARNED, Role.RETRAINED))
    for difference in paired_differences(collect_evidence(replace(finished.outcome, measurements=twice))).values():
        assert (difference.value, difference.standard_error) == (0.0, 0.0)
        low, high = difference.interval or (0, 0)
        assert low == pytest.approx(-high)


def test_without_a_retrained_model_there_is_no_gap(finished: Finished) -> None:
    kept = tuple(
        (evaluation, values) for evaluation, values in finished.outcome.measurements if evaluation.role != "retrained"
    )
    assert paired_differences(collect_evidence(replace(finished.outcome, measurements=kept))) == {}


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
def test_the_interval_of_fractions_covers_the_truth(
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
def test_the_interval_of_fractions_stays_in_its_range(values: list[float]) -> None:
    low, high = paired_fraction_interval(torch.tensor(values)) or (9, 9)
    assert -1 <= low < high <= 1
