"""Differences between two models in a metric, with intervals from the samples that both were measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unlearn.attacks.base import Attack
from unlearn.attacks.roc import MembershipScores
from unlearn.core.random_streams import stream_seed
from unlearn.core.types import Measurement, Role
from unlearn.functional.estimates import mean, paired_fraction_interval, paired_interval
from unlearn.metrics.base import SampleMean
from unlearn.pipeline.evaluations import Evaluation
from unlearn.pipeline.plan import Outcome
from unlearn.report.ranked import auc_difference

ROLES = {Role.ORIGINAL, Role.RETRAINED, Role.UNLEARNED}


@dataclass(frozen=True)
class SampleEvidence:
    """The values of single samples that one evaluation of a model rests on.

    Args:
        evaluation: the evaluation.
        samples: values [n] by metric; the metric is their mean.
        rankings: membership scores by attack.
    """

    evaluation: Evaluation
    samples: Mapping[str, Tensor]
    rankings: Mapping[str, MembershipScores]


Pair = tuple[SampleEvidence, SampleEvidence]  # of the subject and of its reference


def collect_evidence(outcome: Outcome) -> list[SampleEvidence]:
    """Collect the evidence of all evaluations that rest on single samples.

    Evaluations of one retrained model against another are left out.
    """
    evidence = (
        _read_evidence(outcome, evaluation, measurements)
        for evaluation, measurements in outcome.measurements
        if _is_comparable(evaluation)
    )
    return [item for item in evidence if item.samples or item.rankings]


def _is_comparable(evaluation: Evaluation) -> bool:
    if evaluation.role is Role.RETRAINED:
        return evaluation.reference_seed in (None, evaluation.seed)
    return evaluation.role in ROLES


def _read_evidence(outcome: Outcome, evaluation: Evaluation, measurements: Mapping[str, Measurement]) -> SampleEvidence:
    metric, samples, rankings = evaluation.stage.metric, dict[str, Tensor](), dict[str, MembershipScores]()
    if isinstance(metric, SampleMean):
        samples = metric.sample_values(evaluation.stage.evidence(outcome.context))
    elif isinstance(metric, Attack) and any(
        measurement.value is not None for name, measurement in measurements.items() if "_auc" in name
    ):
        rankings = metric.rankings(evaluation.stage.evidence(outcome.context))
    return SampleEvidence(evaluation, samples, rankings)


def paired_differences(
    evidence: Sequence[SampleEvidence], subject: Role = Role.UNLEARNED, reference: Role = Role.RETRAINED
) -> dict[str, Measurement]:
    """Measure subject minus reference in every metric, with a 95 % interval.

    With several retrained models the reference is their mean: the interval covers the samples and takes these models
    as given; it does not cover other training seeds.

    Args:
        evidence: of all models.
        subject: role of the model.
        reference: role of the model or models to subtract.

    Returns:
        Differences by metric. The interval is Student's for means over samples, one that also holds for few samples
        for fractions (`paired_fraction_interval`), and a percentile bootstrap with common draws for AUCs [ours]. It is
        null for a single sample. Metrics that are none of these are left out.
    """
    differences: dict[str, Measurement] = {}
    for kind in dict.fromkeys(type(item.evaluation.stage.metric) for item in evidence):
        of_kind = [item for item in evidence if type(item.evaluation.stage.metric) is kind]
        pairs = _pair(of_kind, subject, reference)
        differences |= _mean_differences(pairs) | _auc_differences(pairs)
    return differences


def _pair(evidence: Sequence[SampleEvidence], subject: Role, reference: Role) -> list[Pair]:
    """Pair each reference with the subject as compared with it, or with the subject's only evaluation."""
    subjects = {item.evaluation.reference_seed: item for item in evidence if item.evaluation.role is subject}
    references = [item for item in evidence if item.evaluation.role is reference]
    if not subjects:
        return []
    pairs = []
    for item in references:
        seed = item.evaluation.seed if reference is Role.RETRAINED else item.evaluation.reference_seed
        pairs.append((subjects.get(seed) or subjects[None], item))
    return pairs


def _mean_differences(pairs: Sequence[Pair]) -> dict[str, Measurement]:
    return {name: _mean_difference(name, pairs) for name in (pairs[0][0].samples if pairs else ())}


def _mean_difference(name: str, pairs: Sequence[Pair]) -> Measurement:
    samples = [(subject.samples[name], reference.samples[name]) for subject, reference in pairs]
    differences = torch.stack([subject - reference for subject, reference in samples]).mean(0)
    if all(_is_binary(values) for pair in samples for values in pair):
        return replace(mean(differences), interval=paired_fraction_interval(differences))
    interval, metric = paired_interval(differences), pairs[0][0].evaluation.stage.metric
    assert isinstance(metric, SampleMean)
    bounded = interval and (max(-metric.max_difference, interval[0]), min(metric.max_difference, interval[1]))
    return replace(mean(differences), interval=bounded)


def _is_binary(values: Tensor) -> bool:
    return bool(((values == 0) | (values == 1)).all())


def _auc_differences(pairs: Sequence[Pair]) -> dict[str, Measurement]:
    names = pairs[0][0].rankings if pairs else ()
    return {
        f"{name}_auc": auc_difference(
            pairs[0][0].rankings[name],
            [reference.rankings[name] for _, reference in pairs],
            stream_seed(pairs[0][0].evaluation.stage.seed, f"gap/{name}") % 2**32,
        )
        for name in names
        if all(name in reference.rankings for _, reference in pairs)
    }
