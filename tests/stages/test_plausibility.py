"""A checkpoint is measured on its training data before anything is trained."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from unlearn import config
from unlearn.core.artifact_store import ArtifactStore
from unlearn.core.errors import ConfigError, DataError
from unlearn.core.progress import Console
from unlearn.core.types import Predictions, Role
from unlearn.data.datasets.digits import Digits
from unlearn.pipeline.plan import build_shared
from unlearn.report.assemble import assemble
from unlearn.stages.base import BuildContext
from unlearn.stages.own_models import find_source
from unlearn.stages.plausibility import describe, measure_knowledge

if TYPE_CHECKING:
    from conftest import Compose, Finished, Run

CHEAP = ("baseline.seeds=[0]", "strategy=identity", "spd_gan=off", "metrics=spd_gan_off")


def predictions(labels: Tensor, predicted: Tensor, classes: int = 4) -> Predictions:
    logits = torch.nn.functional.one_hot(predicted, classes).float()
    return Predictions(logits, labels, torch.arange(len(labels)))


def about(labels: Tensor, predicted: Tensor, unseen: float = 0.9) -> str | None:
    aside = torch.arange(1000) % 4
    wrong = torch.arange(1000) >= 1000 * unseen
    known = measure_knowledge(predictions(labels, predicted), predictions(aside, (aside + wrong) % 4))
    return describe(known, Digits())


LABELS = torch.arange(400) % 4


def test_a_net_that_knows_its_training_data_is_not_mentioned() -> None:
    assert about(LABELS, LABELS) is None
    assert about(LABELS, torch.where(torch.arange(400) < 40, 0, LABELS)) is None  # 0.925


def test_chance_is_that_of_predictions_independent_of_the_labels() -> None:
    known = measure_knowledge(predictions(LABELS, LABELS.roll(0).flip(0)), predictions(LABELS, LABELS))
    assert known.chance == pytest.approx(0.25 + 1.645 * (0.25 * 0.75 / 400) ** 0.5)
    unequal = torch.tensor([0] * 90 + [1] * 10)
    always = measure_knowledge(predictions(unequal, torch.zeros(100, dtype=torch.int64)), predictions(LABELS, LABELS))
    assert (always.accuracy, always.is_chance) == (0.9, True)  # the largest class, always
    half = torch.tensor([0] * 90 + [1] * 5 + [0] * 5)
    assert not measure_knowledge(predictions(unequal, half), predictions(LABELS, LABELS)).is_chance


def test_another_order_of_the_classes_is_named() -> None:
    text = about(LABELS, (LABELS + 1) % 4)
    assert text is not None
    assert text.startswith("0.000 right of 400 of these, no better than chance; the usual causes: classes in another")
    assert "(1.000 would be right if output 0 is 3, output 1 is 0, output 2 is 1, output 3 is 2)" in text
    assert "dataset.mean=[0.305] and dataset.std=[0.376] of pixels in [0, 1], another image size than 8x8" in text


def test_two_classes_that_changed_places_are_named_although_half_is_right() -> None:
    swapped = torch.tensor([1, 0, 2, 3])[LABELS]
    known = measure_knowledge(predictions(LABELS, swapped), predictions(LABELS, LABELS))
    assert (known.is_chance, known.is_permuted, known.order) == (False, True, (1, 0, 2, 3))
    few = LABELS.clone()
    few[:40] = swapped[:40]  # 0.95 right: a few errors are no order
    assert not measure_knowledge(predictions(LABELS, few), predictions(LABELS, LABELS)).is_permuted


@pytest.mark.parametrize(("right", "unseen", "low"), [(0.49, 0.4, True), (0.51, 0.5, False), (0.7, 0.9, True)])
def test_low_accuracy_is_below_half_or_below_validation(right: float, unseen: float, low: bool) -> None:
    wrong = torch.arange(400) >= 400 * right
    text = about(LABELS, torch.where(wrong, (LABELS + 1 + torch.arange(400) // 4 % 3) % 4, LABELS), unseen)
    assert (text is not None) == low
    assert text is None or f"against {unseen:.3f} of validation" in text


@pytest.fixture(scope="module")
def trained(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A run whose original knows its data."""
    return run(tmp_path_factory.mktemp("store"), *CHEAP)


def saved(trained: Finished, path: Path, shift: int) -> Path:
    """Its original, with its classes numbered otherwise."""
    original = trained.context.get(trained.outcome.plan.original)
    state = load_file(original.file("model.safetensors"))
    for name in [name for name in state if state[name].shape[:1] == (10,)]:
        state[name] = state[name].roll(shift, 0).contiguous()
    save_file(state, path)
    return path


def checkpoint(file: object, *more: str) -> tuple[str, ...]:
    return (*CHEAP, "checkpoint=file", f"checkpoint.file={file}", "checkpoint.trained_on=all", *more)


def test_a_permuted_checkpoint_is_refused_before_training(run: Run, trained: Finished, tmp_path: Path) -> None:
    file, store = saved(trained, tmp_path / "permuted.safetensors", 1), tmp_path / "store"
    with pytest.raises(DataError) as caught:
        run(store, *checkpoint(file))
    text = str(caught.value)
    assert text.startswith("checkpoint: expected a net that knows checkpoint.trained_on, got 0.")
    assert "output 1 is 0" in text
    assert "checkpoint.accept_accuracy=true" in text
    assert not (store / "train").exists()
    accepted = run(store, *checkpoint(file, "checkpoint.accept_accuracy=true"))
    assert "CHECK IT" in accepted.console
    note = assemble(accepted.outcome, config.to_plain_dict(accepted.composed), {})["notes"]["checkpoint_accuracy"]
    assert note.startswith("Check the checkpoint: it should know its own training data, and gets 0.")
    assert "ined models is 0.8" in note  # far below these


def test_build_shared_verifies_the_checkpoint_too(trained: Finished, composed: Compose, tmp_path: Path) -> None:
    file = saved(trained, tmp_path / "permuted.safetensors", 1)
    told = config.instantiate(composed("dataset.limit=300", "model.width=8", "model.hidden=32", *checkpoint(file)))
    with pytest.raises(DataError, match="no better than chance"):
        build_shared(told, BuildContext(ArtifactStore(tmp_path / "store"), told.trainer, Console(io.StringIO())))
    assert not (tmp_path / "store" / "train").exists()


def test_models_of_the_store_are_found_by_key_by_report_and_as_a_file(
    run: Run, trained: Finished, tmp_path: Path
) -> None:
    plan, store = trained.outcome.plan, str(trained.store)
    model = f"{store}/train/{plan.original.key}/model.safetensors"
    unlearned = f"{store}/unlearn/{plan.unlearned.key}/model.safetensors"
    assert str(find_source(plan.original.key, None, store).path) == model
    assert str(find_source(plan.original.key[:12], None, store).path) == model
    assert str(find_source(model, None, store).path) == model
    assert str(find_source(str(Path(model).parent), None, store).path) == model
    report = assemble(trained.outcome, config.to_plain_dict(trained.composed), {})
    (tmp_path / "report.json").write_text(json.dumps(report))
    for file in (tmp_path / "report.json", tmp_path):
        assert str(find_source(str(file), None, store).path) == unlearned
        assert str(find_source(str(file), "original", store).path) == model
    with pytest.raises(DataError, match=r"checkpoint.entry: expected one of original, retrained, unlearned"):
        find_source(str(tmp_path), "fresh", store)
    with pytest.raises(DataError, match=r"got none of '0123456789ab'"):
        find_source("0123456789ab", None, store)
    with pytest.raises(DataError, match="got File name too long"):
        find_source("x" * 300 + ".pt", None, store)
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(DataError, match=r"got .*report\.json: schema_version: expected 1, got nothing"):
        find_source(str(tmp_path), None, store)
    again = run(trained.store, *checkpoint(plan.original.key, f"paths.store={store}"))
    assert again.value(Role.ORIGINAL, "retain_accuracy") == pytest.approx(
        trained.value(Role.ORIGINAL, "retain_accuracy"), abs=0.1
    )
    assert "checkpoint_accuracy" not in assemble(again.outcome, config.to_plain_dict(again.composed), {})["notes"]


def test_records_outside_are_counted_and_those_forgotten_earlier_are_in_no_subset(
    run: Run, trained: Finished, tmp_path: Path
) -> None:
    (tmp_path / "members.txt").write_text("\n".join(map(str, range(200))))
    (tmp_path / "earlier.txt").write_text("\n".join(map(str, range(200, 220))))
    told = (*checkpoint(saved(trained, tmp_path / "same.pt", 0))[:-1], f"checkpoint.trained_on={tmp_path}/members.txt")
    plain = run(trained.store, *told)
    note = assemble(plain.outcome, config.to_plain_dict(plain.composed), {})["notes"]["split"]
    assert note.startswith("30 records of validation and 45 of holdout come from the 100 records of the training part ")
    assert "list these in forget.earlier" in note
    kept = run(trained.store, *told, f"forget.earlier=['{tmp_path / 'earlier.txt'}']")
    drawn, before = (each.config.population.draw() for each in (kept, plain))
    everyone = torch.cat([drawn.member, drawn.validation, drawn.holdout])
    assert not torch.isin(torch.arange(200, 220), everyone).any()
    assert torch.isin(torch.cat([before.validation, before.holdout]), torch.arange(200, 220)).any()
    assert kept.outcome.plan.retrained[0].key != plain.outcome.plan.retrained[0].key  # its validation is another
    note = assemble(kept.outcome, config.to_plain_dict(kept.composed), {})["notes"]["split"]
    assert "without the 20 of earlier requests" in note


def test_the_former_key_of_earlier_requests_is_refused(composed: Compose, trained: Finished, tmp_path: Path) -> None:
    (tmp_path / "earlier.txt").write_text("7\n")
    told = ("dataset.limit=300", "model.width=8", "model.hidden=32", f"paths.store={trained.store}")
    asked = (*told, *checkpoint(trained.outcome.plan.original.key, f"checkpoint.forgotten={tmp_path / 'earlier.txt'}"))
    with pytest.raises(ConfigError, match=r"checkpoint.forgotten: expected null: write forget.earlier="):
        config.instantiate(composed(*asked))
