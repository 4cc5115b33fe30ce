"""A strategy that reads no retain data gets none; a budget or a selection that needs some brings it back."""

from __future__ import annotations

from typing import Any

import pytest
from builders import plan_of
from conftest import Compose

from unlearn.core.types import Subset

OFF = ("dataset=digits", "spd_gan=off", "baseline=none", "attacks=none", "metrics=accuracy")


def unlearning(composed: Compose, *overrides: str) -> Any:
    return plan_of(composed(*OFF, *overrides)).unlearned


@pytest.mark.parametrize("strategy", ["delete", "mu_mis", "jit", "boundary_shrink", "lrp_path"])
def test_no_retain_set_reaches_a_strategy_that_declares_it(composed: Compose, strategy: str) -> None:
    stage = unlearning(composed, f"strategy={strategy}", "forget=class_wise")
    assert stage.is_retain_free
    assert set(stage.subset_sources) == {Subset.FORGET, Subset.VALIDATION}


@pytest.mark.parametrize(
    "overrides",
    [
        ("strategy=finetune",),
        ("strategy=ssd",),  # its scores are of D
        ("strategy=mini_unlearning",),  # it repeats the training
        ("strategy=delete", "strategy.budget.like_unseen=true"),
        ("strategy=delete", "strategy/selection=top_k", "strategy.selection.sensitivity.score=ratio", "strategy.k=0.1"),
        ("strategy=amun",),
    ],
)
def test_everything_else_reads_some(composed: Compose, overrides: tuple[str, ...]) -> None:
    stage = unlearning(composed, *overrides)
    assert not stage.is_retain_free
    assert Subset.RETAIN in stage.subset_sources


def test_amun_can_do_without(composed: Compose) -> None:
    assert unlearning(composed, "strategy=amun", "strategy.reads_retain_set=false").is_retain_free


def test_losses_that_processes_cannot_share_stay_on_one_device(composed: Compose) -> None:
    devices = {name: unlearning(composed, f"strategy={name}", "trainer.devices=2").devices for name in ("sfron", "jit")}
    assert devices == {"sfron": 1, "jit": 1}
    assert unlearning(composed, "strategy=surgery", "trainer.devices=2").devices == 2
