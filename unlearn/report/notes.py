"""What must be said of a run before any of its numbers is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unlearn.pipeline import Outcome
from unlearn.spd_gan.direct import Direct
from unlearn.spd_gan.options import Noise, Perturbing
from unlearn.stages.checkpoint import Checkpoint
from unlearn.strategies.base import Budget
from unlearn.strategies.iterative import Iterative


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
    return settings.said if isinstance(settings, Direct) else "SPD-GAN"


def _budget_note(strategy: Iterative, outcome: Outcome) -> str:
    entry = outcome.workshop.need(outcome.plan.unlearned)
    ended = [field for field in entry.json("ended.json") if field]
    epochs = f"{len(entry.json('curve.json'))} of {strategy.recipe.epochs} epochs"
    if ended:
        return f"strategy.budget.{ended[0]} ended fine-tuning in {epochs}."
    asked = ", ".join(name for name, value in vars(strategy.budget).items() if value not in (None, False))
    return f"Fine-tuning went through all of its {strategy.recipe.epochs} epochs; its budget ({asked}) was not reached."


def place(hardware: Mapping[str, Any]) -> str:
    """Where something was computed, as an artefact's `hardware` has it: the GPU's name, or the processor's."""
    name = hardware["cpu"] if hardware["device"] == "cpu" else hardware["device"]
    return f"{hardware['devices']} x {name}" if hardware.get("devices", 1) > 1 else str(name)


def hardware_note(outcome: Outcome) -> dict[str, str]:
    """Where the models were computed that are judged, if that is not one kind of processor."""
    plan = outcome.plan
    stages = {"original": plan.original, "retrained": plan.retrained, "unlearned": plan.judged}
    places: dict[str, set[str]] = {}
    for role, made in stages.items():
        for stage in made if isinstance(made, tuple) else (made,):
            places.setdefault(role, set()).add(place(outcome.workshop.need(stage).meta["hardware"]))
    if len(set().union(*places.values())) < 2:
        return {}
    named = "; ".join(f"{role} on {' and '.join(sorted(names))}" for role, names in places.items())
    return {"hardware": f"The models were computed on different processors, which round differently: {named}."}


def general_notes(outcome: Outcome) -> dict[str, str]:
    """Notes by their key in the report, in the order to read them."""
    plan, notes = outcome.plan, {}
    if isinstance(plan.original, Checkpoint):
        notes["checkpoint"] = (
            f"The original is a checkpoint, {Path(plan.original.file).name}, trained elsewhere; the retrained models "
            "were trained by this run's recipe, so gaps hold the difference of the recipes too."
        )
        if plan.split.forget.population.draw().test is not None:
            notes["split"] = (
                "Validation and holdout come from the test part, since the checkpoint was trained on the rest: test "
                "accuracy is that of the images left."
            )
    if (request := plan.split.forget.forget) is not None and request.relabels:
        notes["relabel"] = (
            "The request corrects labels: forget accuracy is that of its images under the wrong labels that the "
            "original was trained on, corrected accuracy that under the right ones, which the retrained models learnt."
        )
    if plan.unlearned.condensed is not None:
        counts = outcome.workshop.need(plan.unlearned.condensed).json("counts.json")
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
