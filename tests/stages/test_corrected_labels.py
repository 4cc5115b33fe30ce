"""A request to correct labels in a small run: which labels each model learns, and what a purge removes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from unlearn.core.types import Role, Subset
from unlearn.inventory.catalogue import Catalogue
from unlearn.inventory.members import PARTS, Members
from unlearn.inventory.purge import plan_purge
from unlearn.stages.files import read_predictions, read_tensors
from unlearn.strategies.finetune import Finetune

if TYPE_CHECKING:
    from conftest import Finished, Run

REQUEST = ("forget=relabel", "strategy=identity", "spd_gan=off", "baseline.seeds=[0]")
NOISY = ("dataset.limit=300", "dataset.label_noise=0.2")
LONGER = ("train.epochs=40", "train.batch_size=16", "train.lr=0.02")


@pytest.fixture(scope="module")
def corrected(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return run(tmp_path_factory.mktemp("store"), *REQUEST, *NOISY, *LONGER)


def test_the_original_learns_the_wrong_labels_and_the_retrained_models_the_right_ones(corrected: Finished) -> None:
    context, found = corrected.context, corrected.outcome.plan
    clean = replace(corrected.config.dataset, label_noise=0.0).load().train.labels
    before, after = (model.samples.load(context) for model in (found.original, found.retrained[0]))
    forget = found.unlearned.forget.load(context)
    assert torch.equal(before.index, after.index)
    assert torch.equal(after.labels, clean[after.index])
    wrong = before.labels != after.labels
    assert before.index[wrong].tolist() == forget.index.tolist()
    assert before.labels[wrong].tolist() == forget.labels.tolist()
    split = read_tensors(context.get(found.split), "split.safetensors")
    assert split["forget"].tolist() == forget.index.tolist()
    assert set(split) == {"forget", "retain", "validation", "holdout", "test", "mislabelled"}  # indices, no label


def test_corrected_accuracy_comes_with_the_request_and_is_taken_under_the_right_labels(corrected: Finished) -> None:
    original, retrained, unlearned = (
        corrected.value(role, "corrected_accuracy") for role in (Role.ORIGINAL, Role.RETRAINED, Role.UNLEARNED)
    )
    assert original is not None
    assert retrained is not None
    assert unlearned == original < 0.6
    assert retrained > 0.95
    (stage,) = [
        reading.stage.subject.predictions[Subset.RELABELLED]
        for reading, measured in corrected.outcome.measurements
        if reading.role is Role.RETRAINED and "corrected_accuracy" in measured
    ]
    seen = read_predictions(corrected.context.get(stage))
    clean = replace(corrected.config.dataset, label_noise=0.0).load().train.labels
    assert torch.equal(seen.labels, clean[seen.index])
    assert (seen.logits.argmax(1) == seen.labels).double().mean().item() == retrained


def judged(found: Finished, record: int) -> tuple[set[str], set[str]]:
    """Labels of what a purge of the record takes, and of what it cannot decide."""
    catalogue = Catalogue.read(found.store)
    told = plan_purge(catalogue, Members(catalogue, found.config.dataset, torch.tensor([record])), False)
    return {each.label for each in told.going}, {item.label for item, _ in told.undecided}


def test_a_purge_knows_every_subset_that_a_model_may_read() -> None:
    # Stored as `forget`; made from weights, by nobody's record; made and used up within a strategy.
    others = {Subset.CLEAN_FORGET, Subset.PROBES, Subset.ADVERSARIAL}
    assert set(PARTS) | others == set(Subset)


@pytest.mark.parametrize("part", ["forget", "retain", "holdout"])
def test_a_purge_removes_models_that_learned_a_record_under_either_label(corrected: Finished, part: str) -> None:
    split = read_tensors(corrected.context.get(corrected.outcome.plan.split), "split.safetensors")
    going, undecided = judged(corrected, int(split[part][0]))
    models = {"train original (seed 0)", "train retrained (seed 0)", "unlearn Identity (seed 0)"}
    assert undecided == set()
    assert {label for label in going if not label.startswith("predict")} == (set() if part == "holdout" else models)
    if part == "forget":
        assert "predict retrained on relabelled" in going


def test_a_model_that_learned_a_record_under_another_label_did_not_forget_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Finetune, "corrects_labels", True, raising=True)  # stands for a strategy that does
    found = run(tmp_path, *REQUEST, "strategy=finetune", *NOISY, "train.epochs=1", "metrics=[accuracy]")
    split = read_tensors(found.context.get(found.outcome.plan.split), "split.safetensors")
    assert "unlearn Finetune (seed 0)" in judged(found, int(split["forget"][0]))[0]
