"""How sure a calibrated unlearning degree is: of samples, and of which model was retrained."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from unlearn.core.random_streams import stream
from unlearn.core.types import Role
from unlearn.functional.estimates import confidence
from unlearn.metrics.unlearning_degree_calibrated import UnlearningDegreeCalibrated
from unlearn.metrics.unlearning_degree_holdout import UnlearningDegreeHoldout
from unlearn.pipeline.evaluations import Evaluation
from unlearn.pipeline.plan import Outcome
from unlearn.report.figures import Figures

DEGREES = {
    "unlearning_degree_calibrated": UnlearningDegreeCalibrated,
    "unlearning_degree_holdout": UnlearningDegreeHoldout,
}
DRAWS, AT_ONCE = 2000, 100  # of the bootstrap
ENOUGH = 5  # retrained models, for which it is as wide as it says
LEVELS = (0.025, 0.975)
FEW, MANY = "at 95 % too narrow with fewer than 5: docs/spd-gan.md", "95 %"  # measured there
ALONE = "samples alone: one retrained model cannot tell how much they differ (baseline.seeds)"


def add_intervals(figures: Figures, outcome: Outcome) -> None:
    """Give every calibrated degree that is defined its 95 % `interval`, and say what it is `over`."""
    for metric, kind in DEGREES.items():
        found: dict[Role, list[Evaluation]] = defaultdict(list)
        for reading, _ in outcome.measurements:
            if isinstance(reading.stage.metric, kind) and reading.role is not Role.RETRAINED:
                found[reading.role].append(reading)
        for role, evaluations in found.items():
            if figures.metrics[f"{role}/{metric}"] is not None:
                over = _over(len(evaluations))
                told = {"interval": [*interval(*_confidences(evaluations, outcome))], "over": over}
                figures.statistics[f"{role}/{metric}"] |= told


def _over(models: int) -> str:
    if models == 1:
        return ALONE
    return f"samples and {models} retrained models ({MANY if models >= ENOUGH else FEW})"


def _confidences(evaluations: Sequence[Evaluation], outcome: Outcome) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Of the true class, float64 [n]: the original's, the subject's, and each retrained model's."""
    seen = [reading.stage.evidence(outcome.context) for reading in evaluations]
    (subset,) = evaluations[0].stage.metric.subsets
    before, subject = (confidence(each[subset]) for each in (seen[0].original, seen[0].subject))
    return before, subject, [confidence(each.retrained[subset]) for each in seen]


def interval(before: Tensor, subject: Tensor, retrained: Sequence[Tensor]) -> tuple[float, float]:
    """95 % of (s_0 - s) / (s_0 - s_r) by the percentile bootstrap, from confidences float64 [n] (our choice).

    Each draw takes n samples with replacement, and one of the retrained models: what a single unlearned model is to be
    like is one of them, not their mean. It is [0, 0] for the original itself.
    """
    draws = stream(0, "bootstrap", "degree")
    values = torch.cat(list(_draws(before - subject, torch.stack([before - each for each in retrained]), draws)))
    low, high = values.quantile(torch.tensor(LEVELS, dtype=torch.float64)).tolist()
    return low, high


def _draws(lost: Tensor, wanted: Tensor, draws: torch.Generator) -> Iterator[Tensor]:
    models, n = wanted.shape
    for _ in range(DRAWS // AT_ONCE):
        samples = torch.randint(n, (AT_ONCE, n), generator=draws)
        model = torch.randint(models, (AT_ONCE, 1), generator=draws)
        yield lost[samples].mean(1) / wanted[model, samples].mean(1)
