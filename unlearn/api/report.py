"""Measure given models, and assemble the part of a report that needs no run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from unlearn.api.evidence import EvidenceCache, GivenModel
from unlearn.attacks.base import Attack
from unlearn.attacks.roc import MembershipScores
from unlearn.core.types import Measurement, Role, Subset
from unlearn.functional.estimates import keep_retained_classes
from unlearn.metrics.base import SampleMean
from unlearn.metrics.evidence import Evidence, Metric
from unlearn.pipeline.evaluations import Evaluation
from unlearn.report.attacks import blind_attack_notes
from unlearn.report.figures import Figures, PairedDifferences, Table, compute_figures
from unlearn.report.paired import SampleEvidence, paired_differences
from unlearn.report.verdict import verdict
from unlearn.stages.evaluate import Evaluate, EvidenceSpec


def build_report(
    models: Sequence[GivenModel], metrics: Sequence[Metric], cache: EvidenceCache, tolerance: float
) -> dict[str, Any]:
    """Measure every metric on every model, and compare the models.

    Args:
        models: the unlearned model, and its references if there are any.
        metrics: metrics and attacks.
        cache: computes what they read.
        tolerance: the difference of accuracy or AUC that the verdict calls equal.

    Returns:
        Plain JSON with the keys of a run's report that do not depend on a run.
    """
    figures = _compute_figures(models, metrics, cache)
    unlearned = next(model for model in models if model.role is Role.UNLEARNED)
    report: dict[str, Any] = {
        "metrics": figures.metrics,
        "statistics": figures.statistics,
        "notes": figures.notes,
        "judged_by": figures.judged_by,
        "chance": _chance_accuracy(unlearned, cache),
        "edited_parameters": None,
        "total_parameters": sum(p.numel() for p in unlearned.classifier.parameters()),
        "given_models": True,  # so that the verdict's advice names arguments instead of settings
        "seeds": {"baseline": [model.seed for model in models if model.role is Role.RETRAINED]},
        "config": {"report": {"tolerance": tolerance}},
    }
    return report | {"verdict": verdict(report)}


def _compute_figures(models: Sequence[GivenModel], metrics: Sequence[Metric], cache: EvidenceCache) -> Figures:
    table: Table = defaultdict(dict)
    samples = list[SampleEvidence]()
    for evaluation, evidence in _plan(models, metrics, cache):
        measurements = evaluation.stage.metric.measure(evidence)
        for name, measurement in measurements.items():
            seeds = (evaluation.seed, evaluation.reference_seed)
            table[evaluation.role, name][seeds] = (measurement, evaluation.stage.model.key)
        if evaluation.role is not Role.RETRAINED or evaluation.reference_seed in (None, evaluation.seed):
            samples.append(_read_samples(evaluation, evidence, measurements))
    differences = PairedDifferences(
        gap=paired_differences(samples),
        original=paired_differences(samples, Role.ORIGINAL),
        change=paired_differences(samples, Role.UNLEARNED, Role.ORIGINAL),
    )
    figures = compute_figures(table, strategy="", invalid=(), differences=differences)
    figures.notes |= blind_attack_notes(differences.original)
    return figures


def _plan(
    models: Sequence[GivenModel], metrics: Sequence[Metric], cache: EvidenceCache
) -> Iterator[tuple[Evaluation, Evidence]]:
    """Yield every metric on every model, once per retrained model if it compares with these."""
    original = next((model for model in models if model.role is Role.ORIGINAL), None)
    retrained = tuple(model for model in models if model.role is Role.RETRAINED)
    for metric in metrics:
        references: tuple[GivenModel | None, ...] = retrained if Role.RETRAINED in metric.references else (None,)
        before = original if Role.ORIGINAL in metric.references else None
        for subject, reference in product(models, references):
            stage = Evaluate(metric, subject, *(EvidenceSpec(),) * 4, seed=cache.seed)
            seed = None if reference is None else reference.seed
            evaluation = Evaluation(subject.role, subject.seed, seed, stage)
            yield evaluation, cache.collect(metric, subject, before, reference)


def _read_samples(evaluation: Evaluation, evidence: Evidence, measurements: dict[str, Measurement]) -> SampleEvidence:
    """Return the values of single images, from which differences between models get their intervals."""
    metric, rankings = evaluation.stage.metric, dict[str, MembershipScores]()
    is_ranked = any(measurement.value is not None for name, measurement in measurements.items() if "_auc" in name)
    if isinstance(metric, Attack) and is_ranked:
        rankings = metric.rankings(evidence)
    return SampleEvidence(
        evaluation, metric.sample_values(evidence) if isinstance(metric, SampleMean) else {}, rankings
    )


def _chance_accuracy(model: GivenModel, cache: EvidenceCache) -> float:
    """Return the accuracy of the best constant answer on the test images, 0 to 1; 0 without test images."""
    if Subset.TEST not in cache.data:
        return 0.0
    predictions = {subset: cache.predict(model, subset) for subset in (Subset.FORGET, Subset.RETAIN, Subset.TEST)}
    labels = (keep_retained_classes(predictions, Subset.TEST) or predictions[Subset.TEST]).labels
    return labels.bincount().max().item() / len(labels)
