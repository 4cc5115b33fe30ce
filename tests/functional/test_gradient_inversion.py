"""Inversion on a model of which all is known: softmax regression, whose gradient is (p - y) x^T."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.functional import gradient_inversion as inversion
from unlearn.functional.gradient_inversion import (
    Probing,
    Recovery,
    describe_forgotten,
    gradient_cosine,
    total_variation,
)

SHAPE, CLASSES = (1, 8, 8), 4
PROBING = Probing(per_class=3, steps=200, lr=0.02, sure=0.9)
QUICK = Recovery(restarts=2, steps=300, lr=0.1, tv=0.0)


def linear(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES)).eval().requires_grad_(False)


def normalised() -> nn.Sequential:
    """With batch normalisation and pooling, as in eval mode."""
    torch.manual_seed(1)
    layers = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, CLASSES)
    net = nn.Sequential(*layers)
    net(torch.rand(50, *SHAPE))
    return net.eval().requires_grad_(False)


def image(seed: int = 0) -> Tensor:
    """A bright square on black."""
    x = torch.zeros(SHAPE)
    x[0, 2:6, 3 + seed : 6] = 0.9
    x[0, 1, 1] = 0.4
    return x


def ascended(model: nn.Module, x: Tensor, label: int, lr: float = 0.1) -> dict[str, Tensor]:
    """What one step up the loss changes."""
    trained = copy.deepcopy(model).requires_grad_(True)
    F.cross_entropy(trained(x[None]), torch.tensor([label])).backward()
    return {name: lr * p.grad for name, p in trained.named_parameters() if p.grad is not None}


def recovered(settings: Recovery, model: nn.Module, change: dict[str, Tensor], seed: int = 0) -> inversion.Guesses:
    return settings.guesses(model, change, SHAPE, CLASSES, seed, lambda *_: None)


@pytest.mark.parametrize("label", [0, 3])
def test_one_step_up_the_loss_of_a_linear_model_shows_the_image_and_its_class(label: int) -> None:
    """The change is (p - y) x^T, and p - y in the bias: of one row, divided by its bias, it is x itself."""
    model, x = linear(), image()
    change = ascended(model, x, label)
    by_hand = change["1.weight"] / change["1.bias"][:, None]
    torch.testing.assert_close(by_hand, x.flatten().expand(CLASSES, -1))
    assert [int(each) for each in (change["1.bias"] < 0).nonzero()] == [label]
    found = recovered(QUICK, model, change)
    assert found.best == label
    assert found.cosine[label] > 0.999
    assert (found.images[label] - x).square().mean() < 1e-3


def test_the_sign_is_that_of_unlearning() -> None:
    """A step down the loss, as in training, is explained by no image of that class."""
    model, x = linear(), image()
    up = ascended(model, x, 2)
    down = {name: -each for name, each in up.items()}
    assert recovered(QUICK, model, down).cosine[2] < 0


@pytest.mark.parametrize("net", [linear, normalised])
def test_the_cosine_is_that_of_the_gradients(net: type) -> None:
    model = net()
    images = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(0))
    change = ascended(model, image(), 1)
    labels = torch.tensor([1, 0, 3])
    buffers = {name: each.clone() for name, each in model.named_buffers()}
    match = gradient_cosine(model, change, labels)
    expected = [
        F.cosine_similarity(flat(ascended(model, x, int(y))), flat(change), dim=0)
        for x, y in zip(images, labels, strict=True)
    ]
    torch.testing.assert_close(match(images), torch.stack(expected))
    assert match(image()[None].expand(3, -1, -1, -1))[0].item() == pytest.approx(1, abs=1e-5)
    assert all(torch.equal(each, buffers[name]) for name, each in model.named_buffers())


def flat(tensors: dict[str, Tensor]) -> Tensor:
    return torch.cat([each.flatten() for each in tensors.values()])


def test_how_long_the_step_was_plays_no_part() -> None:
    model = normalised()
    images, labels = torch.rand(2, *SHAPE), torch.tensor([1, 2])
    short, long = (gradient_cosine(model, ascended(model, image(), 1, lr), labels)(images) for lr in (1e-6, 10.0))
    torch.testing.assert_close(short, long)


def test_how_many_images_are_optimised_at_a_time_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = normalised()
    brief = Recovery(restarts=2, steps=10, lr=0.05, tv=0.01)
    change = ascended(model, image(), 1)
    together = recovered(brief, model, change)
    monkeypatch.setattr(inversion, "TOGETHER", 3 * sum(each.numel() for each in change.values()))
    ticks: list[tuple[int, int]] = []
    apart = brief.guesses(model, change, SHAPE, CLASSES, 0, lambda done, total: ticks.append((done, total)))
    torch.testing.assert_close(apart.images, together.images, atol=1e-3, rtol=0)
    torch.testing.assert_close(apart.cosine, together.cosine, atol=1e-3, rtol=0)
    assert ticks == [(step, 30) for step in range(30)]


def test_the_seed_decides_every_pixel_and_all_are_in_range() -> None:
    model = normalised()
    brief = Recovery(restarts=1, steps=5, lr=0.5, tv=0.01)
    change = ascended(model, image(), 1)
    first, again, other = (recovered(brief, model, change, seed) for seed in (0, 0, 1))
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
    assert first.images.min() >= 0
    assert first.images.max() <= 1
    assert first.images.shape == (CLASSES, *SHAPE)


def test_where_no_weight_changed_nothing_is_sought() -> None:
    model = linear()
    found = recovered(QUICK, model, {name: torch.zeros_like(p) for name, p in model.named_parameters()})
    assert len(found.images) == len(found.cosine) == len(found.cost) == 0


def test_a_gradient_that_vanishes_is_no_number_but_0() -> None:
    """A model that is sure to the last bit: no direction, and no nan."""
    model = linear()
    model[1].bias[0] = 1e4  # type: ignore[index,operator]
    change = ascended(linear(), image(), 1)
    found = recovered(Recovery(1, 3, 0.1, 0.01), model, change)
    assert found.images.isfinite().all()
    assert found.cosine[0] == 0


def test_total_variation_by_hand() -> None:
    """Differences across 1, 0 and 2, 3; down 1 and 2 in each column: means 1.5 and 4 / 3."""
    x = torch.tensor([[0.0, 1.0, 1.0], [1.0, 3.0, 0.0]])
    assert total_variation(x[None, None]).item() == pytest.approx((1 + 0 + 2 + 3) / 4 + (1 + 2 + 1) / 3)


def test_probes_are_images_of_whose_class_the_model_is_sure_enough() -> None:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, CLASSES)).eval()
    model[1].weight.data *= 4
    images, labels = PROBING.images(model.requires_grad_(False), SHAPE, CLASSES, 0)
    assert images.shape == (12, *SHAPE)
    assert images.dtype == torch.uint8
    assert labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    p = model(images.float() / 255).softmax(1).gather(1, labels[:, None])[:, 0]
    assert (p > 0.8).all()
    assert (p < 0.99).all()
    assert torch.equal(images, PROBING.images(model, SHAPE, CLASSES, 0)[0])
    assert not torch.equal(images, PROBING.images(model, SHAPE, CLASSES, 1)[0])


def test_of_the_peers_mean_and_nearest_are_kept_however_they_are_cut() -> None:
    x = torch.full((1, 2, 2), 0.5)
    peers = torch.stack([x + 0.4, x - 0.1, x + 0.2])
    for batches in (peers.split(1), peers.split(3)):
        found = describe_forgotten(x, 3, iter(batches))
        torch.testing.assert_close(found.mean, x + 0.5 / 3)
        assert torch.equal(found.nearest, peers[1])  # type: ignore[arg-type]
        assert (found.peers, found.label) == (3, 3)
    alone = describe_forgotten(x, 3, iter(()))
    assert (alone.mean, alone.nearest, alone.peers) == (None, None, 0)
