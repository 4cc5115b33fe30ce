"""Intervals of the calibrated unlearning degree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from unlearn import config
from unlearn.report.assemble import assemble
from unlearn.report.degree import degree_interval
from unlearn.report.table import footer

if TYPE_CHECKING:
    from conftest import Finished, Run


def confidences(mean: float, n: int = 400, spread: float = 0.1, seed: int = 0) -> Tensor:
    return mean + spread * torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


BEFORE = confidences(0.95, spread=0.01)


def test_the_degree_is_0_for_the_original_and_1_for_its_only_reference() -> None:
    retrained = confidences(0.4)
    assert degree_interval(BEFORE, BEFORE, [retrained, confidences(0.5, seed=1)]) == (0, 0)
    assert degree_interval(BEFORE, retrained, [retrained]) == (1, 1)


def test_over_samples_the_interval_is_that_of_the_delta_method() -> None:
    """Compared with the normal interval of a ratio of paired means."""
    subject, retrained = confidences(0.6, seed=1), confidences(0.4, seed=2)
    lost, expected = BEFORE - subject, BEFORE - retrained
    value = (lost.mean() / expected.mean()).item()
    error = ((lost - value * expected).std() / 400**0.5 / expected.mean()).item()
    low, high = degree_interval(BEFORE, subject, [retrained])
    assert (low, high) == pytest.approx((value - 1.96 * error, value + 1.96 * error), abs=0.15 * error)


def test_the_interval_reaches_from_one_retrained_model_to_the_other() -> None:
    subject, retrained = confidences(0.55, seed=1), [confidences(0.4, seed=2), confidences(0.7, seed=3)]
    low, high = degree_interval(BEFORE, subject, retrained)
    degrees = [((BEFORE - subject).mean() / (BEFORE - reference).mean()).item() for reference in retrained]
    assert low < degrees[0] < degrees[1] < high
    assert degree_interval(BEFORE, subject, retrained) == (low, high)  # it has its own random stream


def test_the_report_prints_the_interval_next_to_its_control(finished: Finished) -> None:
    """In the small run; an undefined degree has no interval."""
    report = assemble(finished.outcome, config.to_plain_dict(finished.composed), {})
    for metric in ("unlearning_degree_calibrated", "unlearning_degree_holdout"):
        for role in ("original", "unlearned"):
            statistics, value = report["statistics"][f"{role}/{metric}"], report["metrics"][f"{role}/{metric}"]
            assert ("interval" in statistics) is (value is not None)
        lines = [line for line in footer(report) if "over samples and 2 retrained models" in line]
        assert len(lines) == sum(
            report["metrics"][f"unlearned/unlearning_degree_{name}"] is not None for name in ("calibrated", "holdout")
        )
    for value, name in ((0.7, "calibrated"), (0.2, "holdout")):  # defined, whether or not they are in the small run
        report["metrics"][f"unlearned/unlearning_degree_{name}"] = value
        report["statistics"][f"unlearned/unlearning_degree_{name}"] |= {"interval": [0.1, 0.9], "over": "a test"}
    text = "\n".join(footer(report))
    assert "calibrated degree 0.700, 0.100 to 0.900 over a test" in text
    assert "the same on the perturbed holdout 0.200, 0.100 to 0.900 over a test" in text


@pytest.mark.slow
def test_another_retraining_on_digits_is_like_retrained(run: Run, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Identity 0, the reference 1, and a retraining by a fresh seed has 1 in its interval over three others."""
    from unlearn.core.types import Role, Subset
    from unlearn.functional.estimates import confidence
    from unlearn.stages.files import read_predictions

    full = ("dataset.limit=null", "model.width=16", "model.hidden=64", "train.epochs=20", "train.batch_size=64")
    overrides = (*full, "spd_gan.steps=240", "strategy=identity", "attacks=none", "baseline.seeds=[0,1,2,3]")
    finished = run(tmp_path_factory.mktemp("store"), *overrides)
    stages = {
        (evaluation.role, evaluation.seed): evaluation.stage.subject.predictions[Subset.PERTURBED_FORGET]
        for evaluation in finished.outcome.plan.evaluations
        if Subset.PERTURBED_FORGET in evaluation.stage.subject.predictions
    }
    known = {at: confidence(read_predictions(finished.context.get(stage))) for at, stage in stages.items()}
    before, (fresh, *others) = known[Role.ORIGINAL, 0], [known[Role.RETRAINED, seed] for seed in (3, 0, 1, 2)]
    low, high = degree_interval(before, fresh, others)
    assert low < 1 < high
    assert degree_interval(before, known[Role.UNLEARNED, 0], others) == (0, 0)
    assert finished.value("unlearned", "unlearning_degree_calibrated") == 0
    assert finished.value("retrained", "unlearning_degree_calibrated") == 1
