"""How sure a calibrated degree is, and that it contains what it must."""

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


def test_the_original_has_none_and_its_only_reference_all_of_it() -> None:
    retrained = confidences(0.4)
    assert degree_interval(BEFORE, BEFORE, [retrained, confidences(0.5, seed=1)]) == (0, 0)
    assert degree_interval(BEFORE, retrained, [retrained]) == (1, 1)


def test_over_samples_it_is_that_of_the_delta_method() -> None:
    """Against the normal degree_interval of a ratio of paired means."""
    subject, retrained = confidences(0.6, seed=1), confidences(0.4, seed=2)
    lost, wanted = BEFORE - subject, BEFORE - retrained
    value = (lost.mean() / wanted.mean()).item()
    error = ((lost - value * wanted).std() / 400**0.5 / wanted.mean()).item()
    low, high = degree_interval(BEFORE, subject, [retrained])
    assert (low, high) == pytest.approx((value - 1.96 * error, value + 1.96 * error), abs=0.15 * error)


def test_it_reaches_from_one_retrained_model_to_the_other() -> None:
    subject, retrained = confidences(0.55, seed=1), [confidences(0.4, seed=2), confidences(0.7, seed=3)]
    low, high = degree_interval(BEFORE, subject, retrained)
    alone = [((BEFORE - subject).mean() / (BEFORE - each).mean()).item() for each in retrained]
    assert low < alone[0] < alone[1] < high
    assert degree_interval(BEFORE, subject, retrained) == (low, high)  # drawn from a stream of its own


def test_the_report_tells_it_beside_its_control(finished: Finished) -> None:
    """The small run; what is undefined there has no degree_interval."""
    report = assemble(finished.outcome, config.to_plain_dict(finished.composed), {})
    for metric in ("unlearning_degree_calibrated", "unlearning_degree_holdout"):
        for role in ("original", "unlearned"):
            behind, value = report["statistics"][f"{role}/{metric}"], report["metrics"][f"{role}/{metric}"]
            assert ("degree_interval" in behind) is (value is not None)
        told = [line for line in footer(report) if "over samples and 2 retrained models" in line]
        assert len(told) == sum(
            report["metrics"][f"unlearned/unlearning_degree_{name}"] is not None for name in ("calibrated", "holdout")
        )
    for value, name in ((0.7, "calibrated"), (0.2, "holdout")):  # whatever is defined in the small run
        report["metrics"][f"unlearned/unlearning_degree_{name}"] = value
        report["statistics"][f"unlearned/unlearning_degree_{name}"] |= {"degree_interval": [0.1, 0.9], "over": "a test"}
    told = "\n".join(footer(report))
    assert "calibrated degree 0.700, 0.100 to 0.900 over a test" in told
    assert "the same on the perturbed holdout 0.200, 0.100 to 0.900 over a test" in told


@pytest.mark.slow
def test_another_retraining_on_digits_is_like_retrained(run: Run, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Identity 0, the reference 1, and a retraining by a fresh seed has 1 in its degree_interval over three others."""
    from unlearn.core.types import Role, Subset
    from unlearn.functional.estimates import confidence
    from unlearn.stages.files import read_predictions

    full = ("dataset.limit=null", "model.width=16", "model.hidden=64", "train.epochs=20", "train.batch_size=64")
    told = (*full, "spd_gan.steps=240", "strategy=identity", "attacks=none", "baseline.seeds=[0,1,2,3]")
    found = run(tmp_path_factory.mktemp("store"), *told)
    stages = {
        (reading.role, reading.seed): reading.stage.subject.predictions[Subset.PERTURBED_FORGET]
        for reading in found.outcome.plan.evaluations
        if Subset.PERTURBED_FORGET in reading.stage.subject.predictions
    }
    known = {at: confidence(read_predictions(found.context.get(stage))) for at, stage in stages.items()}
    before, (fresh, *others) = known[Role.ORIGINAL, 0], [known[Role.RETRAINED, seed] for seed in (3, 0, 1, 2)]
    low, high = degree_interval(before, fresh, others)
    assert low < 1 < high
    assert degree_interval(before, known[Role.UNLEARNED, 0], others) == (0, 0)
    assert found.value("unlearned", "unlearning_degree_calibrated") == 0
    assert found.value("retrained", "unlearning_degree_calibrated") == 1
