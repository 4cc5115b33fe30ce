"""Checks that the run builds everything that its metrics, attacks and objective read."""

from __future__ import annotations

import re
from collections.abc import Iterator

from unlearn.core.errors import Problem
from unlearn.core.plugins import option_name
from unlearn.core.types import Role
from unlearn.data.requests.base import Forget
from unlearn.data.trained_on import CheckpointFile
from unlearn.metrics.evidence import Metric
from unlearn.pipeline.checks import options_with
from unlearn.pipeline.config import RunConfig
from unlearn.spd_gan.options import Off

UNSEEN = re.compile(
    r"test|holdout|recovery|mia_|membership|nomus|tug_of_war|/aus$|^average_"
)  # names of numbers that a search must not optimise: test or holdout data enter them


def check_metrics(config: RunConfig) -> Iterator[Problem]:
    """Find metrics and attacks that read what is switched off, and an objective that must not be optimised."""
    yield from _check_objective(config)
    for group, metrics in (("metrics", config.metrics), ("attacks", config.attacks)):
        for name, metric in metrics.items():
            yield from _check_references(config, f"{group}.{name}", metric)
            yield from _check_request_kind(config, f"{group}.{name}", metric)


def _check_objective(config: RunConfig) -> Iterator[Problem]:
    if config.objective is None:
        return
    if UNSEEN.search(config.objective):
        expected = "a number that neither test nor holdout enters: selection/average_gap"
        yield Problem("objective", expected, config.objective)
    if config.objective.startswith("selection/") and "selection" not in config.attacks:
        yield Problem("objective", "attacks=[default,selection], which measures it", config.objective)


def _check_references(config: RunConfig, key: str, metric: Metric) -> Iterator[Problem]:
    """Check that the models and images that a metric compares with are part of the run."""
    if Role.RETRAINED in metric.references and not config.baseline.seeds:
        yield Problem(key, "a retrained model: baseline=retrain, or metrics=without_baseline", "baseline.seeds=[]")
    if metric.needs_earlier and not config.forget.has_earlier:
        yield Problem(key, "forget.earlier, or a checkpoint of ours that has forgotten records", "forget.earlier=[]")
    if metric.needs_spd_gan and isinstance(config.spd_gan, Off):
        yield Problem(key, "perturbed data: spd_gan=probe or marker, or metrics=spd_gan_off", "spd_gan=off")
    count = len(metric.replica_seeds)
    if len(config.baseline.seeds) < count:
        expected = f"{count} or more, as many as {key} has models of each other kind"
        yield Problem("baseline.seeds", expected, config.baseline.seeds)
    if count and isinstance(config.checkpoint, CheckpointFile):
        yield Problem("checkpoint", f"none with {key}: originals of other seeds must be trained here", "file")


def _check_request_kind(config: RunConfig, key: str, metric: Metric) -> Iterator[Problem]:
    """Check that a metric supports the kind of request: records are removed, or labels corrected."""
    got = f"forget={option_name(type(config.forget))}"
    if metric.shadows and metric.shadows.unlearned and config.forget.relabels:
        yield Problem(key, "a request that removes its records: shadow models are not taught other labels", got)
    if metric.needs_relabel and not config.forget.relabels:
        names = options_with("unlearn.data.requests", Forget, "relabels")
        yield Problem(key, f"a request that corrects labels: {names}", got)
