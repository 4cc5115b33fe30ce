"""What must be said of a run before any of its numbers is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from unlearn.core.types import Role
from unlearn.data.population import Population
from unlearn.pipeline.plan import Outcome
from unlearn.spd_gan.direct import Direct
from unlearn.spd_gan.options import Noise, Perturbing
from unlearn.stages.plausibility import PlausibilityCheck
from unlearn.strategies.base import Budget
from unlearn.strategies.iterative import Iterative

RETAIN = "retain_accuracy"
FAR = 0.2  # below the retrained models' accuracy on the retain set [ours]


def selection_note(objective: str) -> str:
    """Of a cell that a search proposed."""
    return (
        f"A search chose by {objective}: neither test nor holdout entered it, but the retrained models' figures may "
        "have, which nobody has who cannot retrain. Judge the best setting on seeds that the search has not seen."
    )


def mover(settings: Perturbing) -> str:
    """What moves the images, in words."""
    if isinstance(settings, Noise):
        return "random noise"
    return settings.title if isinstance(settings, Direct) else "SPD-GAN"


def _budget_note(strategy: Iterative, outcome: Outcome) -> str:
    entry = outcome.context.get(outcome.plan.unlearned)
    ended = [field for field in entry.json("ended.json") if field]
    epochs = f"{len(entry.json('curve.json'))} of {strategy.recipe.epochs} epochs"
    if ended:
        return f"strategy.budget.{ended[0]} ended fine-tuning in {epochs}."
    asked = ", ".join(name for name, value in vars(strategy.budget).items() if value not in (None, False))
    return f"Fine-tuning went through all of its {strategy.recipe.epochs} epochs; its budget ({asked}) was not reached."


def _checkpoint_notes(own_data: PlausibilityCheck, outcome: Outcome) -> dict[str, str]:
    original, context = own_data.original, outcome.context
    about = (
        f"The original is a checkpoint, {Path(original.file).name}, trained elsewhere; the retrained models "
        "were trained by this run's recipe, so gaps hold the difference of the recipes too."
    )
    warnings = [each for each in (own_data.warning(context), _far_below(outcome)) if each]
    accuracy = {"checkpoint_accuracy": " ".join(warnings)} if warnings else {}
    split = {"split": _aside_note(original.samples.population)}
    return accuracy | {"checkpoint": " ".join([about, *original.notes(context)])} | split


def _aside_note(population: Population) -> str:
    """Where validation and holdout of a checkpoint come from."""
    drawn = population.draw()
    if drawn.test is not None:
        return (
            "Validation and holdout come from the test part, since the checkpoint was trained on the rest: test "
            "accuracy is that of the images left."
        )
    outside, kept_out = population.dataset.size - len(drawn.member), len(population.kept_out)
    known = f", without the {kept_out:,} of checkpoint.forgotten" if kept_out else ""
    return (
        f"{len(drawn.validation):,} records of validation and {len(drawn.holdout):,} of holdout come from the "
        f"{outside:,} records of the training part outside checkpoint.trained_on{known}. They must never have been "
        "trained on: if earlier requests removed records from that list, name these in checkpoint.forgotten, which "
        "keeps them out of all subsets."
    )


def _far_below(outcome: Outcome) -> str | None:
    """A checkpoint that knows much less of what it learnt than the retrained models do."""
    known = [(reading.role, measured[RETAIN].value) for reading, measured in outcome.measurements if RETAIN in measured]
    own = [value for role, value in known if role is Role.ORIGINAL and value is not None]
    theirs = [value for role, value in known if role is Role.RETRAINED and value is not None]
    if not own or not theirs or own[0] >= fmean(theirs) - FAR:
        return None
    return (
        f"Check the checkpoint: it gets {own[0]:.3f} right of the retain set, which it was trained on, and the "
        f"retrained models {fmean(theirs):.3f}. The usual causes: classes in another order, another normalisation, "
        "another image size."
    )


def place(hardware: Mapping[str, Any]) -> str:
    """Where something was computed, as an artefact's `hardware` has it: the GPU's name, or the processor's."""
    name = hardware["cpu"] if hardware["device"] == "cpu" else hardware["device"]
    return f"{hardware['devices']} x {name}" if hardware.get("devices", 1) > 1 else str(name)


def hardware_note(outcome: Outcome) -> dict[str, str]:
    """Where the models were computed that are judged, if that is not one kind of processor."""
    plan = outcome.plan
    stages = {"original": plan.original, "retrained": plan.retrained, "unlearned": plan.final_model}
    places: dict[str, set[str]] = {}
    for role, made in stages.items():
        for stage in made if isinstance(made, tuple) else (made,):
            places.setdefault(role, set()).add(place(outcome.context.get(stage).meta["hardware"]))
    if len(set().union(*places.values())) < 2:
        return {}
    named = "; ".join(f"{role} on {' and '.join(sorted(names))}" for role, names in places.items())
    return {"hardware": f"The models were computed on different processors, which round differently: {named}."}


def general_notes(outcome: Outcome) -> dict[str, str]:
    """Notes by their key in the report, in the order to read them."""
    plan, notes = outcome.plan, dict[str, str]()
    if remarks := list(plan.split.forget.population.dataset.remarks()):
        notes["dataset"] = f"Data set: {'; '.join(remarks)}."
    if plan.own_data is not None:
        notes |= _checkpoint_notes(plan.own_data, outcome)
    if (request := plan.split.forget.forget) is not None and request.relabels:
        notes["relabel"] = (
            "The request corrects labels: forget accuracy is that of its images under the wrong labels that the "
            "original was trained on, corrected accuracy that under the right ones, which the retrained models learnt."
        )
    if plan.unlearned.condensed is not None:
        counts = outcome.context.get(plan.unlearned.condensed).json("counts.json")
        notes["retain"] = (
            "What the strategy read of the retain set was condensed to {images:,} images of {of:,}, {condensed:,} of "
            "them mixtures: read retain accuracy, which is that of all of it, beside test accuracy."
        ).format(**counts)
    strategy = plan.unlearned.strategy
    if isinstance(strategy, Iterative) and strategy.budget != Budget():
        notes["budget"] = _budget_note(strategy, outcome)
    if plan.spd_gan is not None and plan.spd_gan.settings.marks:
        notes["spd_gan"] = (
            f"The forget set was marked by {mover(plan.spd_gan.settings)} before training: forget accuracy, gaps and "
            "attacks speak of marked data and are not comparable with unmarked runs."
        )
    elif plan.spd_gan is not None:
        notes["spd_gan"] = (
            "SPD-GAN probed the models after training, guided by the original: read the unlearning degree beside its "
            "controls, since being in the generator's loop moves the original's number more than memory does."
        )
    return notes
