"""Fine-tuning ends with its epochs or its budget, whatever comes first; passes and frozen norms go as a phase says."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from builders import mlp, random_images
from torch import Tensor, nn

from unlearn.core.recipe import Recipe
from unlearn.core.types import Images, Subset
from unlearn.core.validation import problems
from unlearn.strategies.base import Batches, Budget, Phase
from unlearn.training.trainer import TrainerSettings
from unlearn.training.unlearner import UnlearnerModule, build_loader

HARDWARE = TrainerSettings("cpu")
FORGET, RETAIN, VALIDATION = Subset.FORGET, Subset.RETAIN, Subset.VALIDATION


def images(n: int) -> Images:
    """The labels 0, 1 and 2 in turn."""
    return random_images(n, seed=n, shape=(1, 2, 2)).relabelled(torch.arange(n) % 3)


WITHOUT_2 = images(30).take((torch.arange(30) % 3 != 2).nonzero()[:, 0])
DATA = {FORGET: images(12), RETAIN: WITHOUT_2, VALIDATION: images(9)}


def net() -> nn.Module:
    return mlp(4, 5, 3, norm=True, activation=None).eval()


class ModelEvidence:
    """Cross-entropy that records its batches."""

    def __init__(self, pause: float = 0.0) -> None:
        self.steps: list[tuple[int, tuple[Subset, ...]]] = []
        self.pause = pause

    def __call__(self, model: nn.Module, batches: Batches, epoch: int) -> Tensor:
        self.steps.append((epoch, tuple(batches)))
        time.sleep(self.pause)
        losses = [batch.cross_entropy(model(batch.images)) for batch in batches.values()]
        return torch.stack(losses).sum()


def run(phase: Phase, model: nn.Module | None = None) -> list[dict[str, float]]:
    return UnlearnerModule(model or net(), phase, build_loader(phase, 0, 0), 0, DATA).run(HARDWARE)


def phase(seen: ModelEvidence, budget: Budget | None = None, epochs: int = 4, lr: float = 0.01) -> Phase:
    return Phase({RETAIN: DATA[RETAIN]}, seen, Recipe(epochs=epochs, batch_size=5, lr=lr), budget=budget or Budget())


def test_without_a_budget_all_epochs_are_run() -> None:
    seen = ModelEvidence()
    assert len(run(phase(seen))) == 4
    assert [epoch for epoch, _ in seen.steps] == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4


@pytest.mark.parametrize(("steps", "epochs"), [(1, 1), (3, 1), (4, 1), (6, 2), (100, 4)])
def test_steps_are_counted_over_epochs_and_the_last_epoch_is_noted(steps: int, epochs: int) -> None:
    seen = ModelEvidence()
    assert len(run(phase(seen, Budget(steps=steps)))) == epochs
    assert len(seen.steps) == min(steps, 16)


def test_time_ends_a_phase_in_the_middle_of_an_epoch() -> None:
    seen = ModelEvidence(pause=0.05)
    run(phase(seen, Budget(seconds=0.12)))
    assert 1 <= len(seen.steps) <= 3


ACCURATE = {FORGET: 1.0, VALIDATION: 0.8}


@pytest.mark.parametrize(
    ("budget", "forget", "validation", "over"),
    [
        (Budget(), 0.0, 0.0, None),
        (Budget(like_unseen=True), 0.9, 0.8, None),
        (Budget(like_unseen=True), 0.8, 0.0, "like_unseen"),  # what falls along is no target
        (Budget(forget_accuracy=0.2), 0.5, 0.8, None),
        (Budget(forget_accuracy=0.2), 0.2, 0.1, "forget_accuracy"),
        (Budget(forget_accuracy=0.0), 0.1, 0.9, None),
        (Budget(forget_accuracy=0.2, like_unseen=True), 0.7, 0.8, "like_unseen"),
        (Budget(validation_drop=0.1), 0.0, 0.75, None),
        (Budget(validation_drop=0.1), 1.0, 0.65, "validation_drop"),
    ],
)
def test_accuracies_end_a_phase_at_their_limits(
    budget: Budget, forget: float, validation: float, over: str | None
) -> None:
    assert budget.reached_limit(ACCURATE, {FORGET: forget, VALIDATION: validation}, 1.0) == over


@pytest.mark.parametrize(("forget", "over"), [(0.3, None), (0.2, "like_unseen")])
def test_of_classes_that_are_not_retained_unseen_data_score_nothing(forget: float, over: str | None) -> None:
    now = {FORGET: forget, VALIDATION: 0.8}
    assert Budget(like_unseen=True).reached_limit(ACCURATE, now, retained_fraction=0.25) == over


def test_accuracies_are_those_of_the_model_in_eval_mode_before_the_first_and_after_each_epoch() -> None:
    calls: list[tuple[Mapping[Subset, float], Mapping[Subset, float]]] = []

    class Third(Budget):
        def reached_limit(
            self, before: Mapping[Subset, float], now: Mapping[Subset, float], retained_fraction: float
        ) -> str | None:
            assert retained_fraction == pytest.approx(2 / 3)
            calls.append((before, now))
            return "like_unseen" if len(calls) == 3 else None

    def right(subset: Subset) -> float:
        data = DATA[subset]
        return (model(data.images.float() / 255).argmax(1) == data.labels).double().mean().item()

    model = net()
    start = {subset: right(subset) for subset in (FORGET, VALIDATION)}
    curve = run(phase(ModelEvidence(), Third(like_unseen=True), lr=0.5), model)
    assert len(curve) == len(calls) == 3
    for before, now in calls:
        assert {subset: before[subset] for subset in start} == start
        assert set(now) >= set(start)
    assert all(calls[-1][1][subset] == right(subset) for subset in start)


@pytest.mark.parametrize("name", ["forget_accuracy", "validation_drop", "seconds", "steps"])
def test_an_impossible_budget_is_refused(name: str) -> None:
    assert [problem.key for problem in problems(Budget(**{name: -1}), "strategy.budget")] == [f"strategy.budget.{name}"]


def test_side_by_side_an_epoch_is_a_pass_over_the_first_subset() -> None:
    seen = ModelEvidence()
    run(replace(phase(seen, epochs=1), data={FORGET: DATA[FORGET], RETAIN: DATA[RETAIN]}))
    assert seen.steps == [(0, (FORGET, RETAIN))] * 3  # 12 images by 5, the last two join no other


def test_passes_go_one_after_another_as_each_epoch_says() -> None:
    seen = ModelEvidence()
    passes = {0: (FORGET, RETAIN), 1: (RETAIN,), 2: (RETAIN, FORGET)}
    curve = run(replace(phase(seen, epochs=3), data=DATA, passes=passes.__getitem__))
    turns = [(0, FORGET, 3), (0, RETAIN, 4), (1, RETAIN, 4), (2, RETAIN, 4), (2, FORGET, 3)]
    assert seen.steps == [(epoch, (subset,)) for epoch, subset, steps in turns for _ in range(steps)]
    assert len(curve) == 3


def test_frozen_norms_keep_their_running_statistics() -> None:
    for moves, kept in ((False, True), (True, False)):
        model = net()
        before = model[2].running_mean.clone()
        masks = {
            n: torch.full_like(p, moves or not n.startswith("2."), dtype=bool) for n, p in model.named_parameters()
        }
        run(replace(phase(ModelEvidence()), trainable_mask=masks), model)
        assert torch.equal(model[2].running_mean, before) == kept


def test_each_phase_has_its_own_order() -> None:
    example = phase(ModelEvidence())
    orders = [[b[RETAIN].labels.tolist() for b in build_loader(example, number, 0)] for number in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
