"""Intervals of the calibrated unlearning degree over samples and retrained models."""

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
DRAWS, AT_ONCE = 2000, 100  # of the bootstrap: in all, in memory at once
ENOUGH = 5  # retrained models, for which the interval covers 95 %
LEVELS = (0.025, 0.975)
FEW, MANY = "too narrow for 95 % with fewer than 5: docs/spd-gan.md", "95 %"  # measured there
ONE_MODEL = "samples only: the spread of retrained models is unknown (baseline.seeds)"


def add_intervals(figures: Figures, outcome: Outcome) -> None:
    """Add the 95 % `interval` of every defined calibrated degree to the statistics, and what it is `over` in words."""
    for metric, kind in DEGREES.items():
        evaluations: dict[Role, list[Evaluation]] = defaultdict(list)
        for evaluation, _ in outcome.measurements:
            if isinstance(evaluation.stage.metric, kind) and evaluation.role is not Role.RETRAINED:
                evaluations[evaluation.role].append(evaluation)
        for role, of_role in evaluations.items():
            if figures.metrics[f"{role}/{metric}"] is not None:
                ends = degree_interval(*_confidences(of_role, outcome))
                figures.statistics[f"{role}/{metric}"] |= {"interval": [*ends], "over": _sources(len(of_role))}


def _sources(models: int) -> str:
    if models == 1:
        return ONE_MODEL
    return f"samples and {models} retrained models ({MANY if models >= ENOUGH else FEW})"


def _confidences(evaluations: Sequence[Evaluation], outcome: Outcome) -> tuple[Tensor, Tensor, list[Tensor]]:
    """The confidence in the true class, float64 [n]: of the original, of the subject, and of each retrained model."""
    evidence = [evaluation.stage.evidence(outcome.context) for evaluation in evaluations]
    (subset,) = evaluations[0].stage.metric.subsets
    original, subject = (confidence(model[subset]) for model in (evidence[0].original, evidence[0].subject))
    return original, subject, [confidence(item.retrained[subset]) for item in evidence]


def degree_interval(original: Tensor, subject: Tensor, retrained: Sequence[Tensor]) -> tuple[float, float]:
    """Return the 95 % interval of (s_0 - s) / (s_0 - s_r) by the percentile bootstrap [ours].

    Each draw takes n samples with replacement, and one of the retrained models: the unlearned model is compared with a
    single retrained model, not with the mean of several. The interval is [0, 0] for the original itself.

    Args:
        original: confidences s_0 in the true class, float64 [n].
        subject: confidences s.
        retrained: confidences s_r of each retrained model.
    """
    generator = stream(0, "bootstrap", "degree")
    expected = torch.stack([original - confidences for confidences in retrained])
    degrees = torch.cat(list(_draw_degrees(original - subject, expected, generator)))
    low, high = degrees.quantile(torch.tensor(LEVELS, dtype=torch.float64)).tolist()
    return low, high


def _draw_degrees(lost: Tensor, expected: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield chunks of degrees from lost confidence [n] and the loss of each retrained model [k, n]."""
    models, n = expected.shape
    for _ in range(DRAWS // AT_ONCE):
        samples = torch.randint(n, (AT_ONCE, n), generator=generator)
        model = torch.randint(models, (AT_ONCE, 1), generator=generator)
        yield lost[samples].mean(1) / expected[model, samples].mean(1)
