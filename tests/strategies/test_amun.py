"""AMUN: neighbours of a linear model by hand, one by one and batched; and the loss over all three sets."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from builders import only_phase
from test_contract import original, scenario
from torch import Tensor, nn

from unlearn.core.types import Images, Subset
from unlearn.data.augmentation import Augmentation
from unlearn.strategies.amun import Amun, find_neighbours
from unlearn.strategies.base import Context
from unlearn.training.unlearner import build_loader


def two_classes() -> nn.Module:
    """z = (b - a, a - b) of two pixels a, b: the border is a = b."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    model[1].weight = nn.Parameter(torch.tensor([[-1.0, 1.0], [1.0, -1.0]]))
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize("distance", [0.03, 0.1, 0.3])
def test_a_neighbour_lies_just_behind_the_border_of_a_linear_model(distance: float) -> None:
    """At a distance d the balls 0.04, 0.08, ... grow until one reaches d; the last step is a tenth of its radius."""
    shift = distance / math.sqrt(2)
    image = torch.tensor([0.5 - shift, 0.5 + shift]).view(1, 1, 1, 2)
    (neighbour, label, is_right) = find_neighbours(two_classes(), image, torch.tensor([0]), 0.04, 50)
    ball = 0.04
    while ball < distance:
        ball *= 2
    moved = (neighbour - image).norm().item()
    assert distance < moved <= min(ball, distance + ball / 10) + 1e-6
    assert (label.item(), is_right.item()) == (1, False)


def one_by_one(model: nn.Module, image: Tensor, label: Tensor, radius: float, steps: int) -> tuple[Tensor, int]:
    """The definition, for a single image."""
    x, ball = image.clone(), radius
    while True:
        for _ in range(steps):
            x = x.detach().requires_grad_(True)
            F.cross_entropy(model(x[None]), label[None]).backward()
            assert x.grad is not None
            change = x.detach() + ball / 10 * x.grad / x.grad.norm() - image
            x = (image + change * min(1.0, ball / change.norm().item())).clamp(0, 1)
            if (predicted := int(model(x[None]).argmax())) != label:
                return x, predicted
        ball *= 2


def test_batched_neighbours_are_those_found_one_by_one() -> None:
    model = original("cnn")
    forget = scenario("class")[Subset.FORGET]
    images = forget.images.float() / 255
    found = find_neighbours(model, images, forget.labels, 0.04, 20)
    assert not found.is_right.any()
    for image, label, neighbour, predicted in zip(images, forget.labels, found.images, found.classes, strict=True):
        expected, expected_class = one_by_one(model, image, label, 0.04, 20)
        torch.testing.assert_close(neighbour, expected, atol=1e-4, rtol=0)
        assert predicted == expected_class


def test_a_model_that_nothing_moves_gives_the_next_likely_class_and_a_note() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 3)).eval().requires_grad_(False)
    model[1].weight.zero_()
    model[1].bias.copy_(torch.tensor([3.0, 2.0, 1.0]))
    forget = Images(torch.full((4, 1, 1, 2), 99, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64), torch.arange(4))
    context = Context(model, lambda: model, {}, {Subset.FORGET: forget}, 0)
    phase = only_phase(Amun(reads_retain_set=False), context)
    assert phase.data[Subset.ADVERSARIAL].labels.tolist() == [1] * 4
    assert context.notes["neighbour"].startswith("4 of 4")


@pytest.mark.parametrize("reads_retain", [True, False])
def test_the_loss_is_the_mean_over_all_samples_of_the_sets(reads_retain: bool) -> None:
    data, model = scenario("random"), original("cnn")
    strategy = Amun(reads_retain_set=reads_retain)
    assert strategy.reads_retain is reads_retain
    read = data if reads_retain else {Subset.FORGET: data[Subset.FORGET]}
    phase = only_phase(strategy, Context(model, lambda: model, {}, read, 0))
    whole = replace(phase, batch_sizes=dict.fromkeys(phase.data, 1000))
    (batch,) = build_loader(whole, 0, 0)
    student = copy.deepcopy(model)
    images = torch.cat([part.images for part in batch.values()])
    labels = torch.cat([part.labels for part in batch.values()])
    expected = F.cross_entropy(student(images), labels).item()
    assert phase.loss(student, batch, 0).item() == pytest.approx(expected, rel=1e-5)
    n_forget, n_retain = len(data[Subset.FORGET]), len(data[Subset.RETAIN])
    assert len(images) == 2 * n_forget + reads_retain * n_retain


def test_batches_are_in_proportion_and_neighbours_are_not_augmented() -> None:
    data, model = scenario("class"), original("cnn")
    phase = only_phase(Amun(), Context(model, lambda: model, {}, data, 0))
    expected = round(64 * len(data[Subset.FORGET]) / len(data[Subset.RETAIN]))
    assert phase.batch_sizes == {Subset.FORGET: expected, Subset.ADVERSARIAL: expected}
    loaders = build_loader(phase, 0, 0, Augmentation(2, True)).loaders  # type: ignore[union-attr]
    assert loaders[Subset.ADVERSARIAL].augmentation == Augmentation()
    assert loaders[Subset.FORGET].augmentation == Augmentation(2, True)
