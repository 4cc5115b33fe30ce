"""What the report says about SISA: which part of the training was repeated, and what the ensemble costs in accuracy."""

from __future__ import annotations

from typing import Any

from unlearn.core.types import Role
from unlearn.functional.estimates import is_correct
from unlearn.functional.sharding import expected_images
from unlearn.pipeline.plan import Outcome
from unlearn.stages.files import read_predictions, read_tensors
from unlearn.stages.shards import SliceRecord, TrainShards, retrained_slices

TEST = "test_accuracy"


def describe_sisa(outcome: Outcome) -> dict[str, Any]:
    """Return, under `sisa`, how much was trained again and the accuracies of the ensemble and of a single model.

    `images` are those that an epoch of each slice reads, summed over slices: `images_retrained` by this request,
    `images_expected` by a random request of its size, `images_all` by retraining every slice. Empty for other
    originals.
    """
    original = outcome.plan.original
    if not isinstance(original, TrainShards):
        return {}
    recipe = original.recipe
    layout = {"shards": recipe.shards, "slices": recipe.slices, "epochs": recipe.epochs}
    return {"sisa": layout | _count_retrained(original, outcome) | _compare_accuracy(outcome)}


def sisa_notes(outcome: Outcome) -> dict[str, str]:
    """Return a note with the numbers of `describe_sisa`."""
    numbers = describe_sisa(outcome).get("sisa")
    if numbers is None:
        return {}
    sentences = []
    if "slices_retrained" in numbers:
        sentences.append(
            "SISA trained {slices_retrained} of {slices_all} slices again, which takes {images_retrained:,} images per "
            "epoch (all slices: {images_all:,}; a random request of this size: {images_expected:,.0f}). The result is "
            "the model that the same training makes of the {rest}, bit for bit.".format(
                **numbers, rest="corrected labels" if _is_corrected(outcome) else "remaining records"
            )
        )
    if numbers.get("single_test_accuracy") is not None:
        ensemble = numbers["ensemble_test_accuracy"]
        of_ensemble = "" if ensemble is None else f"{ensemble:.3f} by the {numbers['shards']} shards, "
        sentences.append(
            f"Test accuracy before unlearning: {of_ensemble}{numbers['single_test_accuracy']:.3f} by one model that "
            f"was trained on all records for {numbers['single_epochs']} epochs."
        )
    return {"sisa": " ".join(sentences)} if sentences else {}


def _count_retrained(original: TrainShards, outcome: Outcome) -> dict[str, Any]:
    """Count the slices and images that the request made necessary; nothing if no slice is trained again."""
    rebuilt, context = outcome.plan.unlearned.rebuilt, outcome.context
    if rebuilt is None:
        return {}
    forget = read_tensors(context.get(outcome.plan.split), "split.safetensors")["forget"]
    rows, retrained = rebuilt.slices(context), retrained_slices(original, rebuilt, context)
    sizes = _sizes(original.slices(context))
    return {
        "slices_all": len(rows),
        "slices_retrained": len(retrained),
        "images_all": sum(row.images for row in rows),
        "images_retrained": sum(row.images for row in retrained),
        "images_expected": expected_images(sizes, len(forget), removed=not _is_corrected(outcome)),
    }


def _is_corrected(outcome: Outcome) -> bool:
    """Whether the request corrects labels, so that no record is removed."""
    return outcome.plan.unlearned.relabelled is not None


def _sizes(rows: list[SliceRecord]) -> list[list[int]]:
    """Return the number of records of each slice, shard by shard."""
    shards: dict[int, list[int]] = {}
    for row in rows:
        shards.setdefault(row.shard, []).append(row.records)
    return list(shards.values())


def _compare_accuracy(outcome: Outcome) -> dict[str, Any]:
    """Return the test accuracy of the ensemble, and that of one model on all records if one was trained."""
    single = outcome.plan.single_model
    if single is None:
        return {}
    original = outcome.plan.original
    assert isinstance(original, TrainShards)
    measured = (m[TEST].value for e, m in outcome.measurements if e.role is Role.ORIGINAL and TEST in m)
    return {
        "ensemble_test_accuracy": next(measured, None),
        "single_test_accuracy": is_correct(read_predictions(outcome.context.get(single))).mean().item(),
        "single_epochs": original.recipe.of_single_model.epochs,
    }
