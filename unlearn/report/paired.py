"""How sure a gap is, from the same samples under both models."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from unlearn.metrics.base import SampleMean
from unlearn.pipeline import Outcome
from unlearn.readings import Reading
from unlearn.statistics import mean, normal_interval
from unlearn.types import Measurement, Role

Samples = Mapping[str, Tensor]


def paired(outcome: Outcome) -> dict[str, Measurement]:
    """By metric: unlearned minus retrained, the mean over samples, with its 95 % interval (normal; our choice).

    Only of metrics that are means over samples. Of several retrained models each sample's difference is the mean over
    them: the interval speaks of samples and of just these models, not of other training seeds. It is null for a single
    sample, and has no width where the models differ on every sample alike, as two identical ones do.
    """
    readings = [reading for reading, _ in outcome.measurements if isinstance(reading.stage.metric, SampleMean)]
    found: dict[str, Measurement] = {}
    for kind in dict.fromkeys(type(reading.stage.metric) for reading in readings):
        own = [reading for reading in readings if type(reading.stage.metric) is kind]
        found |= _differences(outcome, own)
    return found


def _differences(outcome: Outcome, readings: list[Reading]) -> dict[str, Measurement]:
    """Of one metric."""
    mine = {reading.reference_seed: reading for reading in readings if reading.role is Role.UNLEARNED}
    theirs = {
        reading.seed: reading
        for reading in readings
        if reading.role is Role.RETRAINED and reading.reference_seed in (None, reading.seed)
    }
    if not theirs:
        return {}
    ours = {seed: _samples(outcome, reading) for seed, reading in mine.items()}
    pairs = [(ours.get(seed, ours.get(None, {})), _samples(outcome, reading)) for seed, reading in theirs.items()]
    differences = {
        name: torch.stack([ours[name] - theirs[name] for ours, theirs in pairs]).mean(0) for name in pairs[0][0]
    }
    return {name: normal_interval(mean(each)) for name, each in differences.items()}


def _samples(outcome: Outcome, reading: Reading) -> Samples:
    metric = reading.stage.metric
    assert isinstance(metric, SampleMean)
    return metric.samples(reading.stage.evidence(outcome.workshop))
