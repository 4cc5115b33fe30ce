"""Image recovery in a run: what it reads, shares, refuses and shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from builders import plan_of
from conftest import Finished, Run
from omegaconf import DictConfig

from unlearn import config
from unlearn.core.errors import ConfigError
from unlearn.core.types import Role, Subset
from unlearn.data.datasets.digits import Digits
from unlearn.inventory.catalogue import Catalogue
from unlearn.inventory.members import Members
from unlearn.inventory.purge import Fate, PurgePolicy
from unlearn.pipeline.config import Page
from unlearn.report.assemble import assemble
from unlearn.report.inversion import recovery
from unlearn.report.page import render
from unlearn.report.pictures import Examples
from unlearn.stages.base import inputs
from unlearn.stages.samples import load_dataset
from unlearn.tracking.wandb_report import build_tables

Compose = Callable[..., DictConfig]
BOTH = ("attacks=[label_inference,feature_recovery]", "spd_gan=off", "metrics=[accuracy]", "baseline.seeds=[0]")
ONE = ("forget.count=1", "train.epochs=1", "attacks.feature_recovery.steps=60", "attacks.feature_recovery.restarts=1")
ASCENT = ("strategy=gradient_ascent", "strategy.recipe.epochs=1", "strategy.recipe.lr=0.001", "seed=1")
CHOICES = {"dataset": "digits", "strategy": "gradient_ascent"}
FEATURES, LABELS = ("attacks=feature_recovery", "forget.count=1", "spd_gan=off"), ("attacks=label_inference",)


@pytest.fixture(scope="module")
def inverted(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One sample, forgotten by one step up its loss."""
    return run(tmp_path_factory.mktemp("store"), *BOTH, *ONE, *ASCENT)


def test_one_step_of_gradient_ascent_reveals_the_sample_and_its_class(inverted: Finished) -> None:
    assert inverted.value(Role.UNLEARNED, "feature_recovery_class") == 1
    assert (inverted.value(Role.UNLEARNED, "feature_recovery_cosine") or 0) > 0.8
    mine, theirs = (inverted.value(role, "feature_recovery_ssim") for role in (Role.UNLEARNED, Role.RETRAINED))
    assert (mine or 0) > 0.5 > (theirs or 0)


def test_the_original_reveals_nothing(inverted: Finished) -> None:
    for reading, measured in inverted.outcome.measurements:
        for name, found in measured.items() if reading.role is Role.ORIGINAL else ():
            if name.startswith("label_") or name in {"feature_recovery_ssim", "feature_recovery_advantage"}:
                assert found.value is None
                assert "the original" in (found.reason or "")


def test_recovery_is_scored_against_the_forgotten_image_and_holdout_controls(inverted: Finished) -> None:
    sought = [reading.stage.subject.recovered for reading, _ in inverted.outcome.measurements]
    (view,) = {each.forgotten.key: each.forgotten for each in sought if each}.values()
    truth = view.load(inverted.context)
    forget, holdout = (each.load(inverted.context) for each in (view.forget, view.others))
    assert (view.forget.subset, view.others.subset) == (Subset.FORGET, Subset.HOLDOUT)
    (image,) = forget.batches([torch.arange(1)])
    assert torch.equal(truth.image, image[0].float() / 255)
    assert (truth.label, view.index(inverted.context)) == (int(forget.labels), int(forget.index))
    (others,) = holdout.batches([(holdout.labels == truth.label).nonzero()[:, 0]])
    assert truth.peers == len(others)
    torch.testing.assert_close(truth.mean, others.float().mean(0) / 255)
    errors = (others.float() / 255 - truth.image).square().flatten(1).mean(1)
    assert torch.equal(truth.nearest, others[errors.argmin()].float() / 255)  # type: ignore[arg-type]


def test_probe_images_depend_only_on_the_original_and_are_shared(composed: Compose) -> None:
    plan = plan_of(composed(*LABELS))
    views = [view for reading in plan.evaluations for view in (reading.stage.subject, reading.stage.original)]
    probes = {stage.samples.key: stage.samples for view in views if (stage := view.predictions.get(Subset.PROBES))}
    (made,) = probes.values()
    assert list(inputs(made)) == [plan.original]


def test_recovery_changes_no_other_key(composed: Compose) -> None:
    """What metrics read that do not ask for it has the key it had."""
    stage = next(iter(plan_of(composed("attacks=none")).evaluations)).stage
    assert set(stage.spec["subject"]) == {"class", "predictions", "scores", "weights"}


def test_more_strategies_add_one_recovery_each(composed: Compose) -> None:
    def sought(*overrides: str) -> set[str]:
        plan = plan_of(composed(*FEATURES, *overrides))
        views = (reading.stage.subject.recovered for reading in plan.evaluations)
        return {view.by.key for view in views if view}

    here, there = sought(), sought("strategy=finetune")
    assert len(here) == 3
    assert len(here & there) == 2


@pytest.mark.parametrize(
    ("overrides", "got"),
    [
        ((), "forget=random of 108 samples"),
        (("forget.count=2",), "forget=random of 2 samples"),
        (("forget=class_wise",), "forget=class_wise'"),
    ],
)
def test_only_a_request_of_one_sample_can_be_recovered(composed: Compose, overrides: tuple[str, ...], got: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config.instantiate(composed("attacks=feature_recovery", "spd_gan=off", *overrides))
    assert str(refused.value).startswith("attacks.feature_recovery: expected a request that removes one sample")
    assert got in str(refused.value)


@pytest.mark.parametrize(("listed", "accepted"), [("7\n", True), ("7\n9\n", False)])
def test_a_request_file_must_name_one_sample(composed: Compose, tmp_path: Path, listed: str, accepted: bool) -> None:
    request = tmp_path / "request.txt"
    request.write_text(listed)
    found = composed("attacks=feature_recovery", "spd_gan=off", "forget=indices", f"forget.file={request}")
    if accepted:
        config.instantiate(found)
    else:
        with pytest.raises(ConfigError, match="forget=indices of 2 samples"):
            config.instantiate(found)


class Private(Digits):
    """Somebody's own."""

    public = False


@pytest.mark.parametrize(
    ("public", "asked", "shown"), [(True, None, True), (False, None, False), (False, True, True), (True, False, False)]
)
def test_images_are_shown_for_public_data_or_on_request(
    inverted: Finished, public: bool, asked: bool | None, shown: bool
) -> None:
    dataset = inverted.config.dataset if public else Private()
    found = recovery(replace(inverted.config, dataset=dataset, report=Page(images=asked)), inverted.outcome)
    assert bool(found.shown) == shown
    assert bool(found.why) != shown


def test_the_page_shows_the_image_next_to_the_recovered_one(inverted: Finished) -> None:
    found = recovery(inverted.config, inverted.outcome)
    names = [picture.name for picture in found.shown]
    assert names[:3] == ["the forgotten image", "by the unlearned model", "by the retrained model"]
    assert names[3:] == ["mean of its class", "nearest of its class"]
    page = render(assemble(inverted.outcome, config.to_plain_dict(inverted.composed), CHOICES), Examples(), found)
    assert all(picture.image in page for picture in found.shown)
    assert f"SSIM {inverted.value(Role.UNLEARNED, 'feature_recovery_ssim'):.2f}" in page
    assert "recovered SSIM" in page


def test_wandb_gets_recovered_images_as_a_table(inverted: Finished) -> None:
    found = build_tables(inverted.config, inverted.outcome)["recovery"]
    assert found.columns == ["name", "numbers", "image"]
    assert [row[0] for row in found.data] == [each.name for each in recovery(inverted.config, inverted.outcome).shown]


def test_a_run_without_recovery_shows_no_images(finished: Finished) -> None:
    assert not recovery(finished.config, finished.outcome).shown
    assert not recovery(finished.config, finished.outcome).why


def test_a_purge_removes_images_of_the_record(inverted: Finished) -> None:
    split = inverted.outcome.plan.split
    requested = split.forget.split(load_dataset(inverted.config.dataset, inverted.context), inverted.context).forget
    catalogue = Catalogue.read(inverted.store)
    judge = PurgePolicy(catalogue, Members(catalogue, inverted.config.dataset, requested))
    kinds = ("forgotten", "recover", "probes")
    fates = {(item.kind, judge.of(item.key).fate) for item in catalogue.items.values() if item.kind in kinds}
    assert fates == {(kind, Fate.GOES) for kind in kinds}
