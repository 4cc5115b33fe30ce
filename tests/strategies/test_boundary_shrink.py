"""Boundary shrink's neighbour labels on a linear model by hand and by autograd on a net, and its fine-tuning."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from builders import mlp, only_phase, random_images
from torch import Tensor, nn

from unlearn.core.recipe import Recipe
from unlearn.core.types import Images, Subset
from unlearn.core.validation import problems
from unlearn.strategies.base import Budget, Context, Phase
from unlearn.strategies.boundary_shrink import BoundaryShrink
from unlearn.training.trainer import TrainerSettings
from unlearn.training.unlearner import UnlearnerModule, build_loader


def phase_of(strategy: BoundaryShrink, original: nn.Module, forget: Images) -> Phase:
    """Of an original as stages hand it over: frozen and in eval mode."""
    frozen = copy.deepcopy(original).eval().requires_grad_(False)
    phase = only_phase(strategy, Context(frozen, lambda: original, {}, {Subset.FORGET: forget}, 0))
    assert all(p.grad is None for p in frozen.parameters())
    return phase


def nearest(strategy: BoundaryShrink, original: nn.Module, forget: Images) -> list[int]:
    return phase_of(strategy, original, forget).data[Subset.FORGET].labels.tolist()


WRONG = BoundaryShrink(neighbour="wrong_class")
CLASSES = 6


def linear(weight: float, bias: float) -> nn.Module:
    """f = (1, 0.3, weight (a + b) + bias) of two pixels a and b."""
    layer = nn.Linear(2, 3)
    layer.load_state_dict(
        {"weight": torch.tensor([[0.0, 0.0], [0.0, 0.0], [weight] * 2]), "bias": torch.tensor([1.0, 0.3, bias])}
    )
    return nn.Sequential(nn.Flatten(), layer)


def shades(values: list[int], label: int = 0) -> Images:
    """Images of two pixels of the same value out of 255."""
    pixels = torch.tensor(values, dtype=torch.uint8).view(-1, 1, 1, 1).repeat(1, 1, 1, 2)
    return Images(pixels, torch.full((len(values),), label), torch.arange(len(values)))


@pytest.mark.parametrize(("step", "expected"), [(0.1, 2), (0.02, 1)])
def test_the_step_decides_the_nearest_class(step: float, expected: int) -> None:
    """At a = b = 0.2, f = (1, 0.3, 0.2); along the gradient's sign f_2 rises by 4 step, past 0.3 from 0.025 on."""
    assert nearest(replace(WRONG, step=step), linear(2, -0.6), shades([51])) == [expected]


def test_the_true_class_is_never_a_wrong_one() -> None:
    """Its logit is the largest before and after the step here; a misclassified sample gets the predicted class."""
    model = linear(2, -0.6)
    assert nearest(WRONG, model, shades([51], label=0)) == [2]
    assert nearest(WRONG, model, shades([51], label=1)) == [0]


@pytest.mark.parametrize(("step", "expected"), [(0.1, 0), (0.19, 0), (0.21, 2)])
def test_over_all_classes_a_sample_that_stays_on_its_side_keeps_its_label(step: float, expected: int) -> None:
    """f_2 = 0.2 + 4 step passes f_0 = 1 from step 0.2 on."""
    assert nearest(BoundaryShrink(step=step), linear(2, -0.6), shades([51])) == [expected]


def test_the_report_notes_how_many_keep_their_label() -> None:
    """From a = b = 0.2 and 0.3 the step leads to f_2 = 0.6 and 1.0002; only the second passes f_0 = 1."""
    frozen = linear(2, -0.6).eval().requires_grad_(False)
    for strategy, kept in ((BoundaryShrink(), ["1 of 2"]), (WRONG, [])):
        context = Context(frozen, lambda: frozen, {}, {Subset.FORGET: shades([51, 77])}, 0)
        phase = only_phase(strategy, context)
        assert phase.data[Subset.FORGET].labels.tolist() == ([0, 2] if kept else [2, 2])
        assert [note[:6] for note in context.notes.values()] == kept


@pytest.mark.parametrize(("weight", "bias", "shade"), [(-2.0, 0.2, 0), (2.0, -3.8, 255)])
def test_images_stay_within_their_range(weight: float, bias: float, shade: int) -> None:
    """f_2 = 0.2 at the end of the range, beyond which it would be 0.6; a step inside reaches that."""
    inside = shade + (26 if shade == 0 else -26)
    assert nearest(WRONG, linear(weight, bias), shades([shade])) == [1]
    shifted = bias + 4 * 26 / 255  # as much as the way back to there costs
    assert nearest(WRONG, linear(weight, shifted), shades([inside])) == [2]


def normed() -> nn.Module:
    """A net with batch normalisation whose running statistics are not those of a batch."""
    net = mlp(16, 32, CLASSES, norm=True, activation=nn.Tanh)
    nn.init.normal_(net[4].weight)
    net.train()(torch.rand(64, 1, 4, 4))
    return net.eval()


def by_hand(model: nn.Module, data: Images, step: float, any_class: bool = False) -> list[int]:
    """One sample at a time, in float64."""
    model, found = copy.deepcopy(model).double(), []
    for pixels, label in zip(data.images, data.labels, strict=True):
        x = (pixels.double() / 255)[None].requires_grad_(True)
        F.cross_entropy(model(x), label[None]).backward()
        assert x.grad is not None
        moved = (x + step * x.grad.sign()).clamp(0, 1)
        order = model(moved)[0].argsort(descending=True).tolist()
        found.append(next(j for j in order if any_class or j != label))
    return found


@pytest.mark.parametrize("batch_size", [1, 7, 64])
@pytest.mark.parametrize("step", [0.1, 0.5])
@pytest.mark.parametrize("neighbour", ["any_class", "wrong_class"])
def test_labels_are_those_of_autograd_by_hand_however_batches_are_cut(
    neighbour: str, step: float, batch_size: int
) -> None:
    model, data, any_class = normed(), random_images(60, seed=1, classes=CLASSES), neighbour == "any_class"
    labels = nearest(BoundaryShrink(Recipe(batch_size=batch_size), step=step, neighbour=neighbour), model, data)
    assert labels == by_hand(model, data, step, any_class)
    assert (labels != by_hand(model, data, step, not any_class)) is (step == 0.1)  # 0.5 carries every sample across
    assert len(set(labels)) > 2
    assert by_hand(model, data, step, any_class) != by_hand(model, data, 1e-6, any_class)  # the step matters here


def test_the_objective_is_cross_entropy_on_them_with_running_statistics() -> None:
    model, data = normed(), random_images(20, seed=1, classes=CLASSES)
    phase = phase_of(BoundaryShrink(), model, data)
    assert list(phase.data) == [Subset.FORGET]
    assert torch.equal(phase.data[Subset.FORGET].index, data.index)
    images, labels = data.images.float() / 255, phase.data[Subset.FORGET].labels
    expected = F.cross_entropy(model(images), labels)
    batch = next(iter(build_loader(phase, 0, 0)))
    loss = phase.loss(model.train(), {Subset.FORGET: batch[Subset.FORGET]}, 0)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_samples_end_in_the_nearest_class_and_running_statistics_stay() -> None:
    model, data = normed(), random_images(20, seed=1, classes=CLASSES)
    before: dict[str, Tensor] = {name: b.clone() for name, b in model.named_buffers()}
    labels = torch.tensor(by_hand(model, data, 0.1))
    phase = phase_of(replace(WRONG, recipe=Recipe(epochs=40, batch_size=8, lr=0.1), budget=Budget()), model, data)
    UnlearnerModule(model, phase, build_loader(phase, 0, 0), 0, {}).run(TrainerSettings("cpu"))
    assert all(torch.equal(b, before[name]) for name, b in model.named_buffers())
    assert (model(data.images.float() / 255).argmax(1) == labels).double().mean() > 0.9


@pytest.mark.parametrize("bad", [0.0, -0.1, float("nan")])
def test_an_impossible_step_is_refused(bad: float) -> None:
    assert [problem.key for problem in problems(BoundaryShrink(step=bad), "strategy")] == ["strategy.step"]
