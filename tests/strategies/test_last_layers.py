"""Which layers the last k are, and that everything before them ends as it was."""

from __future__ import annotations

import copy

import pytest
import torch
from builders import only_phase, random_images, random_subsets
from torch import Tensor, nn

from unlearn.core.recipe import Recipe
from unlearn.core.types import Subset
from unlearn.models.resnet18 import Resnet18
from unlearn.strategies.base import Context, Edit
from unlearn.strategies.catastrophic_k import CatastrophicK
from unlearn.strategies.exact_k import ExactK
from unlearn.strategies.last_layers import LastLayers, last_modules
from unlearn.training.trainer import TrainerSettings
from unlearn.training.unlearner import UnlearnerModule, build_loader

RECIPE = Recipe(epochs=3, batch_size=6, lr=0.05, momentum=0.9, weight_decay=0.1)


class Block(nn.Module):
    """A residual block, as in a ResNet."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))).relu()


def residual_net(seed: int = 0) -> nn.Sequential:
    """Six layers: stem, two in each of two blocks, and one that classifies."""
    torch.manual_seed(seed)
    stem = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3))
    return nn.Sequential(stem, Block(3), Block(3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4))


def original() -> nn.Module:
    """With running statistics of its own, frozen and in eval mode."""
    model = residual_net()
    for _ in range(5):
        model(torch.rand(16, 1, 4, 4))
    return model.eval().requires_grad_(False)


def context() -> Context:
    data = random_subsets(forget=5, retain=20, validation=8)
    return Context(original(), lambda: residual_net(1), {}, data, 0)


def edited(strategy: LastLayers) -> tuple[nn.Module, Edit]:
    at_hand = context()
    model = copy.deepcopy(at_hand.original).requires_grad_(True)
    return model, strategy.edit(model, at_hand)


def differing(model: nn.Module, other: nn.Module) -> set[str]:
    """Names of tensors of which a bit differs."""
    theirs = other.state_dict()
    return {n for n, t in model.state_dict().items() if t.numpy().tobytes() != theirs[n].numpy().tobytes()}


def under(*prefixes: str) -> set[str]:
    """Parameters and buffers by the beginning of their names."""
    return {name for name in residual_net().state_dict() if name.startswith(prefixes)}


LAST = {1: ("5.",), 2: ("2.conv2", "2.bn2", "5."), 3: ("2.", "5."), 6: ("",)}


@pytest.mark.parametrize("k", LAST)
def test_the_last_k_layers_and_their_norms_are_trained(k: int) -> None:
    phase = only_phase(CatastrophicK(k=k), context())
    assert phase.trainable_mask is not None
    assert list(phase.trainable_mask) == [name for name, _ in residual_net().named_parameters()]
    assert {n for n, mask in phase.trainable_mask.items() if mask.all()} == under(*LAST[k]) & set(phase.trainable_mask)
    assert all(mask.all() or not mask.any() for mask in phase.trainable_mask.values())
    assert list(phase.data) == [Subset.RETAIN]


@pytest.mark.parametrize("kind", [CatastrophicK, ExactK])
@pytest.mark.parametrize("k", LAST)
def test_frozen_layers_end_bit_identical_with_their_running_statistics(kind: type[LastLayers], k: int) -> None:
    """Under momentum and weight decay; all that is trained moves, running statistics too."""
    strategy = kind(k=k, recipe=RECIPE)
    model, edit = edited(strategy)
    phase = only_phase(strategy, context(), edit)
    UnlearnerModule(model, phase, build_loader(phase, 0, 0), 0, {}).run(TrainerSettings("cpu"))
    assert differing(model, original()) == under(*LAST[k])


@pytest.mark.parametrize("k", LAST)
def test_exact_k_starts_from_a_fresh_models_last_layers(k: int) -> None:
    model, edit = edited(ExactK(k=k))
    assert differing(model, residual_net(1)) & under(*LAST[k]) == set()
    apart = differing(model, original())
    assert apart <= under(*LAST[k])
    layers = {name for name, p in residual_net().named_parameters() if p.dim() >= 2}
    assert apart >= under(*LAST[k]) & layers  # scales and shifts start alike, whatever the seed
    statistics = {name for name, _ in residual_net().named_buffers()}
    assert apart >= under(*LAST[k]) & statistics
    assert set(edit.masks) == under(*LAST[k]) - statistics
    count = sum(int(mask.sum()) for mask in edit.masks.values())
    assert count == sum(p.numel() for name, p in residual_net().named_parameters() if name in under(*LAST[k]))


def test_catastrophic_k_edits_nothing() -> None:
    model, edit = edited(CatastrophicK())
    assert edit.masks == {}
    assert differing(model, original()) == set()


@pytest.mark.parametrize("kind", [CatastrophicK, ExactK])
def test_more_layers_than_the_net_has_are_refused(kind: type[LastLayers]) -> None:
    assert list(kind(k=6).check(residual_net)) == []
    (problem,) = kind(k=7).check(residual_net)
    assert (problem.key, problem.got) == ("strategy.k", 7)
    assert "6 layers" in problem.expected
    with pytest.raises(ValueError, match="at most 6 layers, got 7"):
        last_modules(residual_net(), 7)


def test_norms_are_no_layers_whatever_their_weights_look_like() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.LayerNorm([2, 2, 2]), nn.Flatten(), nn.Linear(8, 2))
    assert set(last_modules(model, 1)) == {"3"}
    assert set(last_modules(model, 2)) == {"0", "1", "2", "3"}


def test_a_weight_shared_with_a_last_layer_is_trained() -> None:
    """An autoencoder's, say: it has one name, that of its first place."""
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    shared = Context(model, lambda: model, {}, {Subset.RETAIN: random_images(4, seed=0)}, 0)
    phase = only_phase(CatastrophicK(k=1), shared)
    assert phase.trainable_mask is not None
    assert {n for n, mask in phase.trainable_mask.items() if mask.all()} == {"0.weight", "2.bias"}


def test_a_resnets_last_two_are_its_head_and_the_last_convolution() -> None:
    with torch.device("meta"):
        resnet = Resnet18().net((3, 32, 32), 10)
    names = set(last_modules(resnet, 2))
    assert {"layer4.1.conv2", "layer4.1.bn2", "fc"} <= names
    assert not any(name.startswith(("layer4.0", "layer4.1.conv1", "layer4.1.bn1")) for name in names)
    (problem,) = CatastrophicK(k=22).check(lambda: resnet)
    assert "21 layers" in problem.expected  # 18, and three shortcuts of their own
