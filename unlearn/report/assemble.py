"""Assemble the report of a run: figures, times, notes and provenance."""

from __future__ import annotations

import shlex
import sys
from collections import defaultdict
from typing import Any

from unlearn.attacks.roc import MembershipScores
from unlearn.core.errors import UnlearnError, nearest
from unlearn.core.plugins import option_name
from unlearn.core.report_schema import VERSION
from unlearn.core.types import Role, Subset
from unlearn.functional.estimates import confidence, keep_retained_classes
from unlearn.pipeline.plan import Outcome, Plan
from unlearn.report.attacks import blind_attack_notes, describe_attacks, find_invalid_attacks
from unlearn.report.charts.generator import moved_by
from unlearn.report.degree import add_intervals
from unlearn.report.figures import Figures, PairedDifferences, Table, compute_figures
from unlearn.report.notes import general_notes, hardware_note, selection_note
from unlearn.report.paired import SampleEvidence, collect_evidence, paired_differences
from unlearn.report.provenance import describe_provenance
from unlearn.report.ranked import roc_curves
from unlearn.report.requests import count_requests
from unlearn.report.sisa import describe_sisa
from unlearn.report.user_metrics import describe_user_metrics
from unlearn.report.verdict import verdict
from unlearn.stages.base import BuildContext, Stage, inputs
from unlearn.stages.blend import Blended
from unlearn.stages.checkpoint import Checkpoint
from unlearn.stages.files import read_predictions
from unlearn.stages.machine import describe_machine, installed_versions
from unlearn.stages.predict import Predict
from unlearn.stages.score import Score
from unlearn.strategies.guarantee import Guarantee

BINS = 20  # of the histograms of confidence in the true class, 0-1
TIMES = ("/seconds", "/speedup")  # ends of metrics that were timed


def assemble(outcome: Outcome, config: dict[str, Any], choices: dict[str, str]) -> dict[str, Any]:
    """Assemble the report of a run as plain JSON.

    Args:
        outcome: the finished run.
        config: its resolved config as plain JSON.
        choices: name of the selected option of each group.
    """
    if choices.get("strategy") == "python":
        choices = choices | {"strategy": option_name(type(outcome.plan.unlearned.strategy))}
    evidence = collect_evidence(outcome)
    figures = _figures(outcome, config, evidence)
    edited = outcome.context.get(outcome.plan.unlearned).json("edited.json")
    search = {"objective": selection_note(config["objective"])} if config["objective"] else {}
    report = {
        "schema_version": VERSION,
        **describe_provenance(outcome, config, choices.get("forget", "")),
        "metrics": figures.metrics,
        "statistics": figures.statistics,
        "notes": general_notes(outcome) | hardware_note(outcome) | edited.pop("notes", {}) | search | figures.notes,
        **edited,
        **_retain(outcome),
        **_blend(outcome),
        **_certificate(outcome),
        **_copies(outcome),
        **count_requests(outcome),
        **describe_sisa(outcome),
        "judged_by": figures.judged_by,
        "chance": _chance_accuracy(outcome),
        **moved_by(outcome),
        "attacks": describe_attacks(outcome),
        **describe_user_metrics(outcome),
        "curves": _roc_curves(evidence),
        "confidence": _confidence_histograms(outcome),
        "artifacts": _artifacts(outcome),
        "choices": choices,
        "config": config,
        "seeds": config["seeds"] | {"baseline": config["baseline"]["seeds"]},
        "versions": installed_versions(),
        "hardware": describe_machine(outcome.context.hardware),
        "command": shlex.join(["unlearn", *sys.argv[1:]]),
    }
    return report | {"verdict": verdict(report)}


def _figures(outcome: Outcome, config: dict[str, Any], evidence: list[SampleEvidence]) -> Figures:
    table: Table = defaultdict(dict)
    for evaluation, measurements in outcome.measurements:
        for metric, measurement in measurements.items():
            seeds = (evaluation.seed, evaluation.reference_seed)
            table[evaluation.role, metric][seeds] = (measurement, evaluation.stage.key)
    strategy = option_name(type(outcome.plan.unlearned.strategy))
    differences = PairedDifferences(
        gap=paired_differences(evidence),
        original=paired_differences(evidence, Role.ORIGINAL),
        change=paired_differences(evidence, Role.UNLEARNED, Role.ORIGINAL),
    )
    figures = compute_figures(table, strategy, find_invalid_attacks(strategy, config["attacks"]), differences)
    add_intervals(figures, outcome)
    _add_times(figures, outcome)
    figures.notes |= blind_attack_notes(differences.original)
    return figures


def _certificate(outcome: Outcome) -> dict[str, dict[str, Any]]:
    """The bound of a strategy that guarantees one."""
    strategy = outcome.plan.unlearned.strategy
    return {"certificate": strategy.certificate()} if isinstance(strategy, Guarantee) else {}


def _artifacts(outcome: Outcome) -> dict[str, dict[str, Any]]:
    stages = name_stages(outcome.plan) | _name_auxiliary_models(outcome.plan)
    return {
        name: {
            "key": entry.key,
            "status": "reused" if entry.reused else "built",
            "seconds": entry.seconds,
            "hardware": entry.meta["hardware"],
        }
        for name, stage in stages.items()
        if (entry := outcome.context.peek(stage))
    }


def objective(report: dict[str, Any], key: str) -> float:
    """Return the number that a search optimises.

    Raises:
        UnlearnError: the report does not contain it, or it is undefined.
    """
    metrics = report["metrics"]
    if metrics.get(key) is None:
        got = report["notes"].get(key, "null") if key in metrics else "none" + nearest(key, metrics)
        raise UnlearnError(f"objective: expected a number {key} in the report, got {got}")
    return float(metrics[key])


def name_stages(plan: Plan) -> dict[str, Stage]:
    """Return the stages that build models and data, by their name in the report."""
    named: dict[str, Stage] = {"split": plan.split, "original": plan.original}
    named |= {"copies": plan.copies} if plan.copies else {}
    if plan.split.forget.ranking:
        named |= {"proxy": next(inputs(plan.split.forget.ranking))}
    if plan.spd_gan:
        guide = plan.spd_gan.guide
        named |= {"spd_gan": plan.spd_gan} | ({"guide": guide} if guide and guide.role is Role.GUIDE else {})
    if plan.fresh:
        named |= {"fresh": plan.fresh}
    for model in plan.retrained:
        named["retrained" if model is plan.retrained[0] else f"retrained_{model.seed}"] = model
    if plan.single_model:
        named |= {"single": next(inputs(plan.single_model))}
    condensed = {"condensed": plan.unlearned.condensed} if plan.unlearned.condensed else {}
    history = {"history": plan.unlearned.history} if plan.unlearned.history else {}
    rebuilt = {"rebuilt": plan.unlearned.rebuilt} if plan.unlearned.rebuilt else {}
    blended = {"blended": plan.final_model} if isinstance(plan.final_model, Blended) else {}
    before = _named_scores(plan.unlearned.scores) | condensed | history | rebuilt
    return named | before | {"unlearned": plan.unlearned} | blended


def _name_auxiliary_models(plan: Plan) -> dict[str, Stage]:
    """Return the models that only metrics and attacks use, by their name in the report."""
    pairs = [("shadow", shadow.trained, shadow.unlearned) for shadow in plan.shadows]
    pairs += [("sibling", replica.original, replica.unlearned) for replica in plan.seed_replicas]
    named: dict[str, Stage] = {f"{kind}_{trained.seed}": trained for kind, trained, _ in pairs}
    return named | {f"{kind}_{trained.seed}_unlearned": model for kind, trained, model in pairs if model is not None}


def _named_scores(scores: tuple[Score, ...]) -> dict[str, Stage]:
    """Name them `scores`, then `scores_SUBSET`, with a number if that name is used already."""
    named: dict[str, Stage] = {}
    for number, score in enumerate(scores, start=1):
        name = f"scores_{score.need.subset}" if named else "scores"
        named[f"{name}_{number}" if name in named else name] = score
    return named


def _retain(outcome: Outcome) -> dict[str, Any]:
    """How many images the strategy read in place of the retain set, and how many of them are mixtures."""
    condensed = outcome.plan.unlearned.condensed
    return {"retain": outcome.context.get(condensed).json("counts.json")} if condensed else {}


def _blend(outcome: Outcome) -> dict[str, Any]:
    model = outcome.plan.final_model
    return {"blend": outcome.context.get(model).json("blend.json")} if isinstance(model, Blended) else {}


def _copies(outcome: Outcome) -> dict[str, Any]:
    """The identical copies of forgotten images that remain, by name."""
    copies = outcome.plan.copies
    return {"copies": outcome.context.get(copies).json("copies.json")} if copies else {}


def _add_times(figures: Figures, outcome: Outcome) -> None:
    """Add the seconds of each model, and the speed-up over retraining if both ran on the same hardware."""
    plan, get = outcome.plan, outcome.context.get
    cost = [get(stage) for stage in plan.unlearning_stages]
    retrained = [get(model) for model in plan.retrained]
    original, seconds = get(plan.original), sum(entry.seconds for entry in cost)
    trained = [] if isinstance(plan.original, Checkpoint) else [original.seconds]
    figures.add("original/seconds", trained, "the original was trained elsewhere", keys=[original.key])
    figures.add("unlearned/seconds", [seconds], "", keys=[entry.key for entry in cost])
    if not retrained:
        return
    retrained_keys = [entry.key for entry in retrained]
    figures.add("retrained/seconds", [entry.seconds for entry in retrained], "", keys=retrained_keys)
    is_same_hardware = len({str(entry.meta["hardware"]) for entry in [*cost, *retrained]}) == 1
    speedup = [entry.seconds / seconds for entry in retrained] if is_same_hardware and seconds > 0 else []
    reason = "unlearning and retraining were timed on different hardware or threads"
    figures.add("unlearned/speedup", speedup, reason, keys=[entry.key for entry in cost] + retrained_keys)


def _chance_accuracy(outcome: Outcome) -> float:
    """Accuracy of the best constant answer on the test images, 0 to 1; 0 if no metric reads them.

    If a request removes whole classes, only the images of the other classes count, as for test accuracy.
    """
    for evaluation, _ in outcome.measurements:
        stages = evaluation.stage.subject.predictions
        if {Subset.FORGET, Subset.RETAIN, Subset.TEST} <= stages.keys():
            predictions = {subset: read_predictions(outcome.context.get(stage)) for subset, stage in stages.items()}
            labels = (keep_retained_classes(predictions, Subset.TEST) or predictions[Subset.TEST]).labels
            return labels.bincount().max().item() / len(labels)
    return 0.0


def _roc_curves(evidence: list[SampleEvidence]) -> dict[str, Any]:
    """The ROC curves of every model, by the name of the AUC without `_auc`."""
    scores_by_name: dict[str, list[tuple[str, int, MembershipScores]]] = defaultdict(list)
    for item in evidence:
        for name, scores in item.rankings.items():
            scores_by_name[name].append((item.evaluation.role, item.evaluation.seed, scores))
    return {name: roc_curves(scores) for name, scores in scores_by_name.items()}


def _confidence_histograms(outcome: Outcome) -> dict[Role, dict[Subset, list[int]]]:
    """Count the images by confidence in the true class, in `BINS` equal bins, by role and subset.

    Of the retrained models only the first is counted; subsets that no metric reads are left out.
    """
    histograms: dict[Role, dict[Subset, list[int]]] = defaultdict(dict)
    for evaluation, _ in outcome.measurements:
        histogram, stages = histograms[evaluation.role], evaluation.stage.subject.predictions
        for subset in (Subset.FORGET, Subset.RETAIN, Subset.TEST):
            if subset in stages and subset not in histogram:
                histogram[subset] = _count_confidences(stages[subset], outcome.context)
    return {role: histogram for role, histogram in histograms.items() if histogram}


def _count_confidences(stage: Predict, context: BuildContext) -> list[int]:
    confidences = confidence(read_predictions(context.get(stage)))
    return [int(count) for count in confidences.histc(BINS, 0, 1)]
