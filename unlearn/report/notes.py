"""Notes that a reader needs before the numbers of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from unlearn.core.types import Role
from unlearn.data.population import Population
from unlearn.pipeline.plan import Outcome
from unlearn.report.requests import request_notes
from unlearn.report.sisa import sisa_notes
from unlearn.spd_gan.direct import Direct
from unlearn.spd_gan.options import Noise, Perturbing
from unlearn.stages.lineage import lineage_of
from unlearn.stages.plausibility import PlausibilityCheck
from unlearn.strategies.base import Budget
from unlearn.strategies.iterative import Iterative

RETAIN = "retain_accuracy"
RETAIN_FREE = "The strategy read no retain data: it can run where only the forget set is left."
LOW_ACCURACY = 0.2  # below the retain accuracy of retrained models: warn about the checkpoint [ours]


def selection_note(objective: str) -> str:
    """Return the note of a run with a setting that a search proposed."""
    return (
        f"A search proposed this setting; it optimises {objective}. It reads neither test nor holdout images, but "
        "perhaps retrained models, which are not available in practice. Evaluate the best setting on new seeds."
    )


def perturbation_name(settings: Perturbing) -> str:
    """Name what changes the images: SPD-GAN, a direct method, or random noise."""
    if isinstance(settings, Noise):
        return "random noise"
    return settings.title if isinstance(settings, Direct) else "SPD-GAN"


def _budget_note(strategy: Iterative, outcome: Outcome) -> str:
    entry = outcome.context.get(outcome.plan.unlearned)
    ended = [field for field in entry.json("ended.json") if field]
    epochs = f"{len(entry.json('curve.json'))} of {strategy.recipe.epochs} epochs"
    if ended:
        return f"strategy.budget.{ended[0]} stopped fine-tuning within {epochs}."
    budget = ", ".join(name for name, value in vars(strategy.budget).items() if value not in (None, False))
    return f"Fine-tuning ran all of its {strategy.recipe.epochs} epochs and did not reach its budget ({budget})."


def _checkpoint_notes(own_data: PlausibilityCheck, outcome: Outcome) -> dict[str, str]:
    original, context = own_data.original, outcome.context
    lineage = lineage_of(context.get(original))
    about = (
        f"The original is a checkpoint ({Path(original.file).name}) that was trained elsewhere. "
        if lineage is None
        else f"The original is the unlearned model {lineage.key[:12]} of an earlier run. "
    ) + (
        "The retrained models were trained with this run's recipe, so the gaps also include the difference between "
        "the recipes."
    )
    warnings = [warning for warning in (own_data.warning(context), _warn_of_low_accuracy(outcome)) if warning]
    accuracy = {"checkpoint_accuracy": " ".join(warnings)} if warnings else {}
    split = {"split": _split_note(original.samples.population)}
    return accuracy | {"checkpoint": " ".join([about, *original.notes(context)])} | split


def _split_note(population: Population) -> str:
    """Say where validation and holdout come from for a checkpoint."""
    drawn = population.draw()
    if drawn.test is not None:
        return (
            "Validation and holdout come from the test part, since the checkpoint was trained on all other images. "
            "Test accuracy is measured on the remaining test images."
        )
    kept_out = len(population.kept_out)
    outside = population.dataset.size - len(drawn.member)
    known = f", without the {kept_out:,} of earlier requests" if kept_out else ""
    return (
        f"{len(drawn.validation):,} records of validation and {len(drawn.holdout):,} of holdout come from the "
        f"{outside:,} records of the training part outside checkpoint.trained_on{known}. The checkpoint must never "
        "have been trained on them: if earlier requests removed records from that list, list these in "
        "forget.earlier, which keeps them out of all subsets."
    )


def _warn_of_low_accuracy(outcome: Outcome) -> str | None:
    """Warn if the checkpoint has a much lower retain accuracy than the retrained models."""
    accuracies = [
        (evaluation.role, measurements[RETAIN].value)
        for evaluation, measurements in outcome.measurements
        if RETAIN in measurements
    ]
    original = [accuracy for role, accuracy in accuracies if role is Role.ORIGINAL and accuracy is not None]
    retrained = [accuracy for role, accuracy in accuracies if role is Role.RETRAINED and accuracy is not None]
    if not original or not retrained or original[0] >= fmean(retrained) - LOW_ACCURACY:
        return None
    return (
        f"Check the checkpoint: its accuracy on the retain set is {original[0]:.3f}, although it was trained on it; "
        f"that of the retrained models is {fmean(retrained):.3f}. The usual causes are another order of the classes, "
        "another normalisation, or another image size."
    )


def place(hardware: Mapping[str, Any]) -> str:
    """Name the GPU or CPU that computed an artifact, from its `hardware`: `2 x NVIDIA H200`."""
    name = hardware["cpu"] if hardware["device"] == "cpu" else hardware["device"]
    return f"{hardware['devices']} x {name}" if hardware.get("devices", 1) > 1 else str(name)


def hardware_note(outcome: Outcome) -> dict[str, str]:
    """Return a note if original, retrained and unlearned models were computed on different processors."""
    plan = outcome.plan
    stages = {"original": plan.original, "retrained": plan.retrained, "unlearned": plan.final_model}
    places: dict[str, set[str]] = {}
    for role, models in stages.items():
        for stage in models if isinstance(models, tuple) else (models,):
            places.setdefault(role, set()).add(place(outcome.context.get(stage).meta["hardware"]))
    if len(set().union(*places.values())) < 2:
        return {}
    processors = "; ".join(f"{role} on {' and '.join(sorted(names))}" for role, names in places.items())
    return {"hardware": f"The models were computed on different processors, which round differently: {processors}."}


def general_notes(outcome: Outcome) -> dict[str, str]:
    """Return the notes by their key in the report, in reading order."""
    plan, notes = outcome.plan, dict[str, str]()
    if remarks := list(plan.split.forget.population.dataset.remarks()):
        notes["dataset"] = f"Data set: {'; '.join(remarks)}."
    if plan.plausibility_check is not None:
        notes |= _checkpoint_notes(plan.plausibility_check, outcome)
    notes |= request_notes(outcome) | sisa_notes(outcome)
    if (request := plan.split.forget.forget) is not None and request.relabels:
        notes["relabel"] = (
            "The request corrects labels. Forget accuracy counts the wrong labels that the original was trained on, "
            "corrected accuracy the right labels that the retrained models were trained on."
        )
    if plan.unlearned.condensed is not None:
        counts = outcome.context.get(plan.unlearned.condensed).json("counts.json")
        notes["retain"] = (
            "The strategy read {images:,} images in place of the {of:,} of the retain set; {condensed:,} of them are "
            "mixtures. Retain accuracy is measured on the whole retain set: compare it with test accuracy."
        ).format(**counts)
    strategy = plan.unlearned.strategy
    if plan.unlearned.is_retain_free and (strategy.edits or strategy.trains):
        notes["retain_free"] = RETAIN_FREE
    if isinstance(strategy, Iterative) and strategy.budget != Budget():
        notes["budget"] = _budget_note(strategy, outcome)
    if plan.spd_gan is not None and plan.spd_gan.settings.marks:
        notes["spd_gan"] = (
            f"The forget set was marked by {perturbation_name(plan.spd_gan.settings)} before training. Forget "
            "accuracy, gaps and attacks are measured on marked data and are not comparable with runs without a marker."
        )
    elif plan.spd_gan is not None:
        notes["spd_gan"] = (
            "SPD-GAN probed the models after training, guided by the original. Compare the unlearning degree with its "
            "controls: the generator was trained on the original, which changes its number more than memory does."
        )
    return notes
