"""Assemble the report of a run from its evaluations: figures, cost, notes and provenance."""

from __future__ import annotations

import shlex
import sys
from collections import defaultdict
from typing import Any

from unlearn.attacks.roc import MembershipScores
from unlearn.core.errors import UnlearnError, nearest
from unlearn.core.plugins import snake_case
from unlearn.core.types import Role, Subset
from unlearn.functional.estimates import confidence, keep_retained_classes
from unlearn.pipeline.plan import Outcome, Plan
from unlearn.report.attacks import blind, descended, described
from unlearn.report.charts.generator import moved_by
from unlearn.report.degree import add_intervals
from unlearn.report.figures import Figures, Paired, Table, figures_of
from unlearn.report.notes import general_notes, hardware_note, selection_note
from unlearn.report.paired import SampleEvidence, look, paired
from unlearn.report.ranked import as_curves
from unlearn.report.verdict import verdict
from unlearn.stages.base import BuildContext, Stage, inputs
from unlearn.stages.blend import Blended
from unlearn.stages.checkpoint import Checkpoint
from unlearn.stages.files import read_predictions
from unlearn.stages.machine import describe_machine, installed_versions
from unlearn.stages.predict import Predict
from unlearn.stages.score import Score

SCHEMA_VERSION = 1
BINS = 20  # of the true class's confidence, on 0-1

TIMES = ("/seconds", "/speedup")  # what ends so was timed, not read off a model


def assemble(outcome: Outcome, config: dict[str, Any], choices: dict[str, str]) -> dict[str, Any]:
    """The report as plain JSON; nothing in it is cached. `choices` names the option taken in each group."""
    table: Table = defaultdict(dict)
    for reading, measured in outcome.measurements:
        for metric, value in measured.items():
            table[reading.role, metric][reading.seed, reading.reference_seed] = (value, reading.stage.key)
    strategy = snake_case(type(outcome.plan.unlearned.strategy).__name__)
    looks = look(outcome)
    differences = Paired(
        gap=paired(looks),
        original=paired(looks, Role.ORIGINAL),
        change=paired(looks, Role.UNLEARNED, Role.ORIGINAL),
    )
    figures = figures_of(table, strategy, descended(strategy, config["attacks"]), differences)
    add_intervals(figures, outcome)
    _times(figures, outcome)
    figures.notes |= blind(differences.original)
    edited = outcome.context.get(outcome.plan.unlearned).json("edited.json")
    chosen = {"objective": selection_note(config["objective"])} if config["objective"] else {}
    report = {
        "schema_version": SCHEMA_VERSION,
        "metrics": figures.metrics,
        "statistics": figures.statistics,
        "notes": general_notes(outcome) | hardware_note(outcome) | edited.pop("notes", {}) | chosen | figures.notes,
        **edited,
        **_retain(outcome),
        **_blend(outcome),
        **_copies(outcome),
        "judged_by": figures.judged_by,
        "chance": _chance(outcome),
        **moved_by(outcome),
        "attacks": described(outcome),
        "curves": _curves(looks),
        "confidence": _confidence(outcome),
        "artifacts": {
            name: {
                "key": entry.key,
                "status": "reused" if entry.reused else "built",
                "seconds": entry.seconds,
                "hardware": entry.meta["hardware"],
            }
            for name, stage in (stages(outcome.plan) | others(outcome.plan)).items()
            if (entry := outcome.context.peek(stage))
        },
        "choices": choices,
        "config": config,
        "seeds": config["seeds"] | {"baseline": config["baseline"]["seeds"]},
        "versions": installed_versions(),
        "hardware": describe_machine(outcome.context.hardware),
        "command": shlex.join(["unlearn", *sys.argv[1:]]),
    }
    return report | {"verdict": verdict(report)}


def objective(report: dict[str, Any], key: str) -> float:
    """The number by which a search judges a run.

    Raises:
        UnlearnError: the report has no such number, or it is undefined.
    """
    known = report["metrics"]
    if known.get(key) is None:
        got = report["notes"].get(key, "null") if key in known else "none" + nearest(key, known)
        raise UnlearnError(f"objective: expected a number {key} in the report, got {got}")
    return float(known[key])


def stages(plan: Plan) -> dict[str, Stage]:
    """The stages that make models and data, by their name in the report."""
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
    condensed = {"condensed": plan.unlearned.condensed} if plan.unlearned.condensed else {}
    history = {"history": plan.unlearned.history} if plan.unlearned.history else {}
    blended = {"blended": plan.final_model} if isinstance(plan.final_model, Blended) else {}
    return named | _named_scores(plan.unlearned.scores) | condensed | history | {"unlearned": plan.unlearned} | blended


def others(plan: Plan) -> dict[str, Stage]:
    """Models that metrics and attacks asked for, as they were trained and as they were unlearned."""
    pairs = [("shadow", each.trained, each.unlearned) for each in plan.shadows]
    pairs += [("sibling", each.original, each.unlearned) for each in plan.seed_replicas]
    named: dict[str, Stage] = {f"{kind}_{trained.seed}": trained for kind, trained, _ in pairs}
    return named | {f"{kind}_{trained.seed}_unlearned": made for kind, trained, made in pairs if made is not None}


def _named_scores(scores: tuple[Score, ...]) -> dict[str, Stage]:
    """`scores`, then `scores_SUBSET`, with its number where that is taken."""
    named: dict[str, Stage] = {}
    for number, score in enumerate(scores, start=1):
        name = f"scores_{score.need.subset}" if named else "scores"
        named[f"{name}_{number}" if name in named else name] = score
    return named


def _retain(outcome: Outcome) -> dict[str, Any]:
    """How many images strategies read in place of the retain set, and how many of them are mixtures."""
    condensed = outcome.plan.unlearned.condensed
    return {"retain": outcome.context.get(condensed).json("counts.json")} if condensed else {}


def _blend(outcome: Outcome) -> dict[str, Any]:
    judged = outcome.plan.final_model
    return {"blend": outcome.context.get(judged).json("blend.json")} if isinstance(judged, Blended) else {}


def _copies(outcome: Outcome) -> dict[str, Any]:
    """Which identical copies of forgotten images remain, by name."""
    copies = outcome.plan.copies
    return {"copies": outcome.context.get(copies).json("copies.json")} if copies else {}


def _times(figures: Figures, outcome: Outcome) -> None:
    """Seconds of each model's own making, and the speed-up over retraining where both can be compared."""
    plan, get = outcome.plan, outcome.context.get
    cost = [get(stage) for stage in plan.unlearning_stages]
    retrained = [get(model) for model in plan.retrained]
    original, seconds = get(plan.original), sum(entry.seconds for entry in cost)
    trained = [] if isinstance(plan.original, Checkpoint) else [original.seconds]
    figures.add("original/seconds", trained, "the original was trained elsewhere", keys=[original.key])
    figures.add("unlearned/seconds", [seconds], "", keys=[entry.key for entry in cost])
    if not retrained:
        return
    theirs = [entry.key for entry in retrained]
    figures.add("retrained/seconds", [entry.seconds for entry in retrained], "", keys=theirs)
    same = len({str(entry.meta["hardware"]) for entry in [*cost, *retrained]}) == 1
    speedup = [entry.seconds / seconds for entry in retrained] if same and seconds > 0 else []
    reason = "unlearning and retraining were timed on different hardware or threads"
    figures.add("unlearned/speedup", speedup, reason, keys=[entry.key for entry in cost] + theirs)


def _chance(outcome: Outcome) -> float:
    """Accuracy of the best constant answer on the test images, 0 to 1; 0 if no metric reads them.

    Where a request removes classes altogether, on the images of the others, as test accuracy is judged.
    """
    for reading, _ in outcome.measurements:
        stages = reading.stage.subject.predictions
        if {Subset.FORGET, Subset.RETAIN, Subset.TEST} <= stages.keys():
            found = {subset: read_predictions(outcome.context.get(stage)) for subset, stage in stages.items()}
            labels = (keep_retained_classes(found, Subset.TEST) or found[Subset.TEST]).labels
            return labels.bincount().max().item() / len(labels)
    return 0.0


def _curves(looks: list[SampleEvidence]) -> dict[str, Any]:
    """The ROC curves of every model, by the name that their AUC has without `_auc`."""
    found: dict[str, list[tuple[str, int, MembershipScores]]] = defaultdict(list)
    for each in looks:
        for name, ranked in each.rankings.items():
            found[name].append((each.reading.role, each.reading.seed, ranked))
    return {name: as_curves(rankings) for name, rankings in found.items()}


def _confidence(outcome: Outcome) -> dict[Role, dict[Subset, list[int]]]:
    """How many images have their true class's probability in each of `BINS` equal bins, by role and subset.

    The first retrained model stands for all of them; subsets that no metric reads are left out.
    """
    found: dict[Role, dict[Subset, list[int]]] = defaultdict(dict)
    for reading, _ in outcome.measurements:
        for subset in (Subset.FORGET, Subset.RETAIN, Subset.TEST):
            if subset in reading.stage.subject.predictions and subset not in found[reading.role]:
                found[reading.role][subset] = _counts(reading.stage.subject.predictions[subset], outcome.context)
    return dict(found)


def _counts(stage: Predict, context: BuildContext) -> list[int]:
    found = confidence(read_predictions(context.get(stage)))
    return [int(count) for count in found.histc(BINS, 0, 1)]
