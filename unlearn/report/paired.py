"""How sure a difference between two models is, from the same samples under both."""

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
from unlearn.report.ranked import area_difference

ROLES = {Role.ORIGINAL, Role.RETRAINED, Role.UNLEARNED}


@dataclass(frozen=True)
class SampleEvidence:
    """What one reading of a model rests on, sample by sample: values whose means are metrics, scores that attacks rank
    by. Both by name."""

    reading: Evaluation
    samples: Mapping[str, Tensor]
    rankings: Mapping[str, MembershipScores]


def look(outcome: Outcome) -> list[SampleEvidence]:
    """Every reading that rests on single samples; those of retrained models against one another are left out."""
    found = (_look(outcome, reading, measured) for reading, measured in outcome.measurements if _own(reading))
    return [each for each in found if each.samples or each.rankings]


def _own(reading: Evaluation) -> bool:
    if reading.role is Role.RETRAINED:
        return reading.reference_seed in (None, reading.seed)
    return reading.role in ROLES


def _look(outcome: Outcome, reading: Evaluation, measured: Mapping[str, Measurement]) -> SampleEvidence:
    metric, samples, rankings = reading.stage.metric, dict[str, Tensor](), dict[str, MembershipScores]()
    if isinstance(metric, SampleMean):
        samples = metric.sample_values(reading.stage.evidence(outcome.context))
    elif isinstance(metric, Attack) and any(measured[name].value is not None for name in measured if "_auc" in name):
        rankings = metric.rankings(reading.stage.evidence(outcome.context))
    return SampleEvidence(reading, samples, rankings)


def paired(
    looks: Sequence[SampleEvidence], subject: Role = Role.UNLEARNED, reference: Role = Role.RETRAINED
) -> dict[str, Measurement]:
    """By metric: subject minus reference, with its 95 % interval.

    Of means over samples the interval is Student's, of shares one that holds with few samples too
    (`paired_fraction_interval`), of AUCs a percentile bootstrap in which all models share each draw of members and
    non-members [ours]; other metrics have none. Of several retrained models the mean is taken: the interval speaks of
    samples and of just these models, not of other training seeds. It is null for a single sample.
    """
    found: dict[str, Measurement] = {}
    for kind in dict.fromkeys(type(each.reading.stage.metric) for each in looks):
        own = [each for each in looks if type(each.reading.stage.metric) is kind]
        pairs = _pairs(own, subject, reference)
        found |= _means(pairs) | _areas(pairs)
    return found


def _pairs(
    looks: Sequence[SampleEvidence], subject: Role, reference: Role
) -> list[tuple[SampleEvidence, SampleEvidence]]:
    """The subject as it was held against each retrained model, or alone, beside each reference."""
    mine = {each.reading.reference_seed: each for each in looks if each.reading.role is subject}
    theirs = [each for each in looks if each.reading.role is reference]
    seeds = [each.reading.seed if reference is Role.RETRAINED else each.reading.reference_seed for each in theirs]
    return [(mine.get(seed) or mine[None], other) for seed, other in zip(seeds, theirs, strict=True) if mine]


def _means(pairs: Sequence[tuple[SampleEvidence, SampleEvidence]]) -> dict[str, Measurement]:
    return {name: _mean(name, pairs) for name in (pairs[0][0].samples if pairs else ())}


def _mean(name: str, pairs: Sequence[tuple[SampleEvidence, SampleEvidence]]) -> Measurement:
    samples = [(ours.samples[name], theirs.samples[name]) for ours, theirs in pairs]
    differences = torch.stack([ours - theirs for ours, theirs in samples]).mean(0)
    if all(_right_or_wrong(values) for pair in samples for values in pair):
        return replace(mean(differences), interval=paired_fraction_interval(differences))
    found, metric = paired_interval(differences), pairs[0][0].reading.stage.metric
    assert isinstance(metric, SampleMean)
    cut = found and (max(-metric.max_difference, found[0]), min(metric.max_difference, found[1]))
    return replace(mean(differences), interval=cut)


def _right_or_wrong(values: Tensor) -> bool:
    return bool(((values == 0) | (values == 1)).all())


def _areas(pairs: Sequence[tuple[SampleEvidence, SampleEvidence]]) -> dict[str, Measurement]:
    names = pairs[0][0].rankings if pairs else ()
    return {
        f"{name}_auc": area_difference(
            pairs[0][0].rankings[name],
            [theirs.rankings[name] for _, theirs in pairs],
            stream_seed(pairs[0][0].reading.stage.seed, f"gap/{name}") % 2**32,
        )
        for name in names
        if all(name in theirs.rankings for _, theirs in pairs)
    }
