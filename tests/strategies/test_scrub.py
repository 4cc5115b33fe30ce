"""SCRUB's two passes against the formulas in NumPy, and what an epoch goes through."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import batch_of, mlp, only_phase, random_images
from scipy.special import log_softmax
from torch import nn

from unlearn.core.batch import Batch
from unlearn.core.recipe import Recipe
from unlearn.core.types import Images, Subset
from unlearn.core.validation import problems
from unlearn.data.loaders import SerialLoader
from unlearn.strategies.base import Context, Phase
from unlearn.strategies.gradient_phase import DualOptim, GradientPhase
from unlearn.strategies.scrub import Scrub
from unlearn.training.unlearner import build_loader

SCRUB = Scrub(temperature=3.0, alpha=0.25, gamma=0.7, msteps=2, recipe=Recipe(batch_size=4))


def images(n: int) -> Images:
    return random_images(n, seed=n, shape=(1, 3, 3))


def net(seed: int) -> nn.Module:
    return mlp(9, 4, seed=seed).eval()


def phase_of(strategy: Scrub) -> Phase:
    data = {subset: images(n) for subset, n in ((Subset.FORGET, 6), (Subset.RETAIN, 11), (Subset.VALIDATION, 5))}
    original = net(0).requires_grad_(False)
    return only_phase(strategy, Context(original, lambda: net(1), {}, data, 0))


def expected(student: nn.Module, batch: Batch, subset: Subset) -> float:
    """In float64 from the logits of teacher and student, term by term."""
    t = SCRUB.temperature
    teacher_logits, logits = (model(batch.images).detach().double().numpy() for model in (net(0), student))
    p, q = log_softmax(teacher_logits / t, 1), log_softmax(logits / t, 1)
    distance = t**2 * np.mean(np.sum(np.exp(p) * (p - q), 1))
    ce = -np.mean(log_softmax(logits, 1)[np.arange(len(logits)), batch.labels.numpy()])
    return float(-distance if subset == Subset.FORGET else SCRUB.alpha * distance + SCRUB.gamma * ce)


@pytest.mark.parametrize("subset", [Subset.FORGET, Subset.RETAIN])
@pytest.mark.parametrize("seed", [0, 2])  # 0 is the teacher itself
def test_a_step_of_either_pass_has_the_formulas_loss(subset: Subset, seed: int) -> None:
    phase, student = phase_of(SCRUB), net(seed)
    batch = batch_of(images(6))
    loss = phase.loss(student, {subset: batch}, 0)
    assert loss.item() == pytest.approx(expected(student, batch, subset), rel=1e-6, abs=1e-9)


def test_the_pass_over_the_forget_set_leaves_running_statistics_alone() -> None:
    torch.manual_seed(0)
    student = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(9), nn.Linear(9, 4))
    for subset, moves in ((Subset.FORGET, False), (Subset.RETAIN, True)):
        before = student[1].running_mean.clone()
        phase_of(SCRUB).loss(student, {subset: batch_of(images(6))}, 0)
        assert torch.equal(student[1].running_mean, before) != moves


def test_the_passes_pull_in_opposite_directions() -> None:
    """One small step of either changes the distance from the teacher as it should."""
    batch, phase = batch_of(images(6)), phase_of(Scrub(gamma=0.0, temperature=SCRUB.temperature))
    distances = []
    for subset in (Subset.FORGET, Subset.RETAIN):
        student = net(2)
        phase.loss(student, {subset: batch}, 0).backward()
        torch.optim.SGD(student.parameters(), 0.01).step()
        distances.append(-expected(student, batch, Subset.FORGET))
    before = -expected(net(2), batch, Subset.FORGET)
    assert distances[0] > before > distances[1]


def test_forgetting_comes_first_and_ends_after_msteps() -> None:
    passes = phase_of(SCRUB).passes
    assert passes is not None
    both = (Subset.FORGET, Subset.RETAIN)
    assert [passes(epoch) for epoch in range(4)] == [both, both, (Subset.RETAIN,), (Subset.RETAIN,)]


def test_an_epoch_goes_through_all_of_the_forget_set_and_then_the_retain_set() -> None:
    phase = phase_of(SCRUB)
    loader = build_loader(phase, 0, 0)
    assert isinstance(loader, SerialLoader)
    seen = []
    for loader.epoch in range(3):
        steps = [(name, len(batch.labels)) for found in loader for name, batch in found.items()]
        seen.append(steps)
    retain = [("retain", 4), ("retain", 4), ("retain", 3)]
    assert seen == [[("forget", 4), ("forget", 2), *retain]] * 2 + [retain]


@pytest.mark.parametrize("field", ["temperature", "alpha", "gamma", "msteps"])
def test_impossible_values_are_refused(field: str) -> None:
    assert [problem.key for problem in problems(Scrub(**{field: -1}), "strategy")] == [f"strategy.{field}"]


def test_dual_optim_gives_the_passes_over_the_forget_set_an_optimizer_of_their_own() -> None:
    phase = phase_of(replace(SCRUB, dual_optim=DualOptim("adamw", lr=1e-3)))
    assert isinstance(phase, GradientPhase)
    assert phase.forget_optimizer is not None
    assert (phase.forget_optimizer.optimizer, phase.forget_optimizer.lr) == ("adamw", 1e-3)
    assert phase.passes is not None
    assert phase.passes(0) == (Subset.FORGET, Subset.RETAIN)
