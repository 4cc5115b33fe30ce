"""l1-sparse: which epoch has which weight, the penalty's value and gradient by hand, and that it makes sparse."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from builders import only_phase, random_images
from torch import nn

from unlearn.core.batch import Batch
from unlearn.core.recipe import Recipe
from unlearn.core.types import Images, Subset
from unlearn.strategies.base import Context, Phase
from unlearn.strategies.l1_sparse import L1Sparse
from unlearn.training.trainer import TrainerSettings
from unlearn.training.unlearner import UnlearnerModule, build_loader

WEIGHT, BIAS = [[0.5, -2.0], [0.25, 1.0]], [-0.5, 0.0]  # ||theta||_1 = 4.25


def linear() -> nn.Module:
    layer = nn.Linear(2, 2).double()
    layer.load_state_dict({"weight": torch.tensor(WEIGHT), "bias": torch.tensor(BIAS)})
    return nn.Sequential(nn.Flatten(), layer)


def brighter_pixel() -> Images:
    """Images of two pixels; those whose first pixel is brighter are of class 1."""
    data = random_images(32, seed=0, shape=(1, 1, 2))
    return data.relabelled((data.images[:, 0, 0, 0] > data.images[:, 0, 0, 1]).long())


def phase_of(strategy: L1Sparse) -> Phase:
    data = {Subset.RETAIN: brighter_pixel(), Subset.FORGET: brighter_pixel()}
    return only_phase(strategy, Context(linear(), linear, {}, data, 0))


def test_gamma_falls_linearly_from_the_first_epoch_to_zero_after_the_last() -> None:
    strategy = L1Sparse(Recipe(epochs=4), gamma=0.8)
    assert [strategy.gamma_in(epoch) for epoch in range(5)] == pytest.approx([0.8, 0.6, 0.4, 0.2, 0.0])
    assert L1Sparse(Recipe(epochs=1), gamma=0.8).gamma_in(0) == 0.8


@pytest.mark.parametrize("epoch", [0, 1, 3])
def test_penalty_counts_every_parameter_and_pulls_towards_zero(epoch: int) -> None:
    model, phase = linear(), phase_of(L1Sparse(Recipe(epochs=4), gamma=0.8))
    batch = Batch(torch.tensor([0.2, 0.6, 0.9, 0.1]).double().view(2, 1, 1, 2), torch.tensor([0, 1]))
    task_loss = F.cross_entropy(model(batch.images), batch.labels)
    plain = torch.autograd.grad(task_loss, list(model.parameters()))
    loss = phase.loss(model, {Subset.RETAIN: batch}, epoch)
    loss.backward()
    gamma = {0: 0.8, 1: 0.6, 3: 0.2}[epoch]
    assert loss.item() == pytest.approx(task_loss.item() + gamma * 4.25, abs=1e-12)
    signs = [torch.tensor([[1.0, -1.0], [1.0, 1.0]]), torch.tensor([-1.0, 0.0])]
    for p, before, sign in zip(model.parameters(), plain, signs, strict=True):
        assert p.grad is not None
        assert torch.allclose(p.grad - before, gamma * sign.double(), atol=1e-12)


def test_it_reads_the_retain_set_alone() -> None:
    assert set(phase_of(L1Sparse()).data) == {Subset.RETAIN}


def test_more_penalty_makes_smaller_weights_and_none_is_fine_tuning() -> None:
    sums = []
    for gamma in (0.0, 0.01, 0.1):
        model = linear().float()
        phase = phase_of(L1Sparse(Recipe(epochs=5, batch_size=8, lr=0.05, weight_decay=0), gamma=gamma))
        UnlearnerModule(model, phase, build_loader(phase, 0, 0), 0, {}).run(TrainerSettings("cpu"))
        sums.append(sum(p.abs().sum().item() for p in model.parameters()))
    assert sums[0] > sums[1] > sums[2]


def test_the_loop_counts_epochs_as_the_schedule_does() -> None:
    seen: list[int] = []
    phase = phase_of(L1Sparse(Recipe(epochs=3, batch_size=32)))

    def noting(model: nn.Module, batches: object, epoch: int) -> torch.Tensor:
        seen.append(epoch)
        return phase.loss(model, batches, epoch)  # type: ignore[arg-type]

    noted = replace(phase, loss=noting)
    UnlearnerModule(linear().float(), noted, build_loader(noted, 0, 0), 0, {}).run(TrainerSettings("cpu"))
    assert seen == [0, 1, 2]
