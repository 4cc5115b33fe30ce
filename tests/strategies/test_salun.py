"""SalUn moves exactly its share of weights, the salient ones, ties included; all others end bit-identical."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from builders import mlp, only_phase, random_subsets
from torch import nn

from unlearn.core.recipe import Recipe
from unlearn.core.types import Subset
from unlearn.functional.parameter_scores import Scores
from unlearn.strategies.base import Context, Phase
from unlearn.strategies.random_label import RandomLabel
from unlearn.strategies.salun import Salun
from unlearn.strategies.selection import Saliency
from unlearn.training.trainer import TrainerSettings
from unlearn.training.unlearner import UnlearnerModule, build_loader


def net() -> nn.Module:
    """53 parameters, those of batch normalisation among them; in eval mode."""
    model = mlp(4, 5, 3, norm=True)
    for p in model.parameters():
        nn.init.normal_(p)
    return model.eval()


DATA = random_subsets(classes=3, shape=(1, 2, 2), retain=40, forget=12)
RECIPE = Recipe(epochs=3, batch_size=8, lr=0.05, momentum=0.9, weight_decay=0.1)


def ungated_phase(strategy: Salun, model: nn.Module, scores: Scores) -> Phase:
    (need,) = strategy.needs()
    assert need.subset == Subset.FORGET
    return only_phase(replace(strategy, forget_while="always"), Context(model, net, {need: scores}, DATA, 0))


def flat(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([t.flatten() for t in tensors.values()])


@pytest.fixture
def model() -> nn.Module:
    return net()


def test_half_of_the_weights_is_the_default() -> None:
    assert Salun().k == 0.5
    assert isinstance(Salun().selection, Saliency)


def test_the_salient_ones_are_selected(model: nn.Module) -> None:
    """Those with the largest size of the summed gradient of the cross-entropy on D_f under its true labels."""
    forget = DATA[Subset.FORGET]
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for image, label in zip(forget.images.float() / 255, forget.labels, strict=True):
        model.zero_grad()
        F.cross_entropy(model(image[None]), label[None]).backward()
        for name, p in model.named_parameters():
            assert p.grad is not None
            total[name] += p.grad
    model.zero_grad()
    (need,) = Salun().needs()
    found = need.statistic.compute(model, [(forget.images.float() / 255, forget.labels)])
    phase = ungated_phase(Salun(k=0.3), model, found)
    assert phase.trainable_mask is not None
    chosen, saliency = flat(phase.trainable_mask), flat(total).abs()
    assert int(chosen.sum()) == round(0.3 * len(chosen))
    assert saliency[chosen].min() > saliency[~chosen].max()


@pytest.mark.parametrize(("k", "count"), [(0.5, 27), (0.25, 13), (7, 7), (0.001, 1)])
@pytest.mark.parametrize("tied", [True, False])
def test_exactly_its_share_is_selected_ties_included(model: nn.Module, k: float | int, count: int, tied: bool) -> None:
    """Of 53 weights; half up."""
    draws = torch.Generator().manual_seed(0)
    levels = 1 if tied else 3  # three levels are tied as well, at the threshold
    scores = {n: torch.randint(0, levels, p.shape, generator=draws).float() for n, p in model.named_parameters()}
    phase = ungated_phase(Salun(k=k), model, scores)
    assert phase.trainable_mask is not None
    assert len(flat(phase.trainable_mask)) == 53
    assert int(flat(phase.trainable_mask).sum()) == count


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_all_others_end_bit_identical(model: nn.Module, tied: bool, optimizer: str) -> None:
    """Under momentum and weight decay, over 15 steps; all that may move do."""
    draws = torch.Generator().manual_seed(0)
    scores = {
        n: torch.ones_like(p) if tied else torch.rand(p.shape, generator=draws) for n, p in model.named_parameters()
    }
    recipe = Recipe(**{**vars(RECIPE), "optimizer": optimizer})
    phase = ungated_phase(Salun(recipe, k=0.5), model, scores)
    unlearned = copy.deepcopy(model)
    module = UnlearnerModule(unlearned, phase, build_loader(phase, 0, 0), 0, {})
    module.run(TrainerSettings("cpu"))
    assert phase.trainable_mask is not None
    may_move = flat(phase.trainable_mask)
    bits = [flat(dict(m.named_parameters())).detach().view(torch.int32) for m in (model, unlearned)]
    same = bits[0] == bits[1]
    assert same[~may_move].all()
    assert not same[may_move].any()


def test_it_is_random_label_on_fewer_weights(model: nn.Module) -> None:
    """The same draws, the same objective."""
    scores = {name: torch.ones_like(p) for name, p in model.named_parameters()}
    masked = ungated_phase(Salun(), model, scores)
    plain = only_phase(RandomLabel(forget_while="always"), Context(model, net, {}, DATA, 0))
    assert torch.equal(masked.data[Subset.FORGET].labels, plain.data[Subset.FORGET].labels)
    batches = next(iter(build_loader(plain, 0, 0)))
    given = {Subset(name): batch for name, batch in batches.items()}
    assert masked.loss(model, given, 0).item() == plain.loss(model, given, 0).item()
    assert plain.trainable_mask is None
