"""Unlearning inversion, mostly on softmax regression, whose gradient is (p - y) x^T."""

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


def build_linear(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES)).eval().requires_grad_(False)


def build_normalised() -> nn.Sequential:
    """A net with batch normalisation and pooling, in eval mode."""
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


def ascent_change(model: nn.Module, x: Tensor, label: int, lr: float = 0.1) -> dict[str, Tensor]:
    """The change of the weights by one step that ascends the loss."""
    trained = copy.deepcopy(model).requires_grad_(True)
    F.cross_entropy(trained(x[None]), torch.tensor([label])).backward()
    return {name: lr * p.grad for name, p in trained.named_parameters() if p.grad is not None}


def reconstruct(
    settings: Recovery, model: nn.Module, change: dict[str, Tensor], seed: int = 0
) -> inversion.Reconstructions:
    return settings.reconstruct(model, change, SHAPE, CLASSES, seed, lambda *_: None)


@pytest.mark.parametrize("label", [0, 3])
def test_one_ascent_step_of_a_linear_model_reveals_the_image_and_its_class(label: int) -> None:
    """The change is (p - y) x^T for the weights and p - y for the bias: a row divided by its bias is x itself."""
    model, x = build_linear(), image()
    change = ascent_change(model, x, label)
    by_hand = change["1.weight"] / change["1.bias"][:, None]
    torch.testing.assert_close(by_hand, x.flatten().expand(CLASSES, -1))
    assert [int(tensor) for tensor in (change["1.bias"] < 0).nonzero()] == [label]
    result = reconstruct(QUICK, model, change)
    assert result.best == label
    assert result.cosine[label] > 0.999
    assert (result.images[label] - x).square().mean() < 1e-3


def test_a_change_in_the_direction_of_training_has_a_negative_cosine() -> None:
    """No image of the class explains a step that descends its loss."""
    model, x = build_linear(), image()
    up = ascent_change(model, x, 2)
    down = {name: -tensor for name, tensor in up.items()}
    assert reconstruct(QUICK, model, down).cosine[2] < 0


@pytest.mark.parametrize("net", [build_linear, build_normalised])
def test_the_cosine_equals_that_of_explicit_gradients(net: type) -> None:
    model = net()
    images = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(0))
    change = ascent_change(model, image(), 1)
    labels = torch.tensor([1, 0, 3])
    buffers = {name: tensor.clone() for name, tensor in model.named_buffers()}
    cosine = gradient_cosine(model, change, labels)
    expected = [
        F.cosine_similarity(flat(ascent_change(model, x, int(y))), flat(change), dim=0)
        for x, y in zip(images, labels, strict=True)
    ]
    torch.testing.assert_close(cosine(images), torch.stack(expected))
    assert cosine(image()[None].expand(3, -1, -1, -1))[0].item() == pytest.approx(1, abs=1e-5)
    assert all(torch.equal(tensor, buffers[name]) for name, tensor in model.named_buffers())


def flat(tensors: dict[str, Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors.values()])


def test_the_length_of_the_change_does_not_matter() -> None:
    model = build_normalised()
    images, labels = torch.rand(2, *SHAPE), torch.tensor([1, 2])
    short, long = (gradient_cosine(model, ascent_change(model, image(), 1, lr), labels)(images) for lr in (1e-6, 10.0))
    torch.testing.assert_close(short, long)


def test_the_number_of_images_optimised_at_a_time_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_normalised()
    brief = Recovery(restarts=2, steps=10, lr=0.05, tv=0.01)
    change = ascent_change(model, image(), 1)
    together = reconstruct(brief, model, change)
    monkeypatch.setattr(inversion, "MAX_GRADIENT_ENTRIES", 3 * sum(tensor.numel() for tensor in change.values()))
    ticks: list[tuple[int, int]] = []
    apart = brief.reconstruct(model, change, SHAPE, CLASSES, 0, lambda done, total: ticks.append((done, total)))
    torch.testing.assert_close(apart.images, together.images, atol=1e-3, rtol=0)
    torch.testing.assert_close(apart.cosine, together.cosine, atol=1e-3, rtol=0)
    assert ticks == [(step, 30) for step in range(30)]


def test_the_seed_determines_every_pixel_and_all_are_in_range() -> None:
    model = build_normalised()
    brief = Recovery(restarts=1, steps=5, lr=0.5, tv=0.01)
    change = ascent_change(model, image(), 1)
    first, again, other = (reconstruct(brief, model, change, seed) for seed in (0, 0, 1))
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
    assert first.images.min() >= 0
    assert first.images.max() <= 1
    assert first.images.shape == (CLASSES, *SHAPE)


def test_without_a_changed_weight_the_result_is_empty() -> None:
    model = build_linear()
    result = reconstruct(QUICK, model, {name: torch.zeros_like(p) for name, p in model.named_parameters()})
    assert len(result.images) == len(result.cosine) == len(result.cost) == 0


def test_a_vanishing_gradient_has_cosine_0() -> None:
    """A saturated model: its gradient has no direction, and the result no NaN."""
    model = build_linear()
    model[1].bias[0] = 1e4  # type: ignore[index,operator]
    change = ascent_change(build_linear(), image(), 1)
    result = reconstruct(Recovery(1, 3, 0.1, 0.01), model, change)
    assert result.images.isfinite().all()
    assert result.cosine[0] == 0


def test_total_variation_by_hand() -> None:
    """Differences across 1, 0 and 2, 3; down 1 and 2 in tensor column: means 1.5 and 4 / 3."""
    x = torch.tensor([[0.0, 1.0, 1.0], [1.0, 3.0, 0.0]])
    assert total_variation(x[None, None]).item() == pytest.approx((1 + 0 + 2 + 3) / 4 + (1 + 2 + 1) / 3)


def test_the_model_is_confident_of_the_class_of_each_probe() -> None:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, CLASSES)).eval()
    model[1].weight.data *= 4
    images, labels = PROBING.generate(model.requires_grad_(False), SHAPE, CLASSES, 0)
    assert images.shape == (12, *SHAPE)
    assert images.dtype == torch.uint8
    assert labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    p = model(images.float() / 255).softmax(1).gather(1, labels[:, None])[:, 0]
    assert (p > 0.8).all()
    assert (p < 0.99).all()
    assert torch.equal(images, PROBING.generate(model, SHAPE, CLASSES, 0)[0])
    assert not torch.equal(images, PROBING.generate(model, SHAPE, CLASSES, 1)[0])


def test_mean_and_nearest_of_the_peers_do_not_depend_on_the_batches() -> None:
    x = torch.full((1, 2, 2), 0.5)
    peers = torch.stack([x + 0.4, x - 0.1, x + 0.2])
    for batches in (peers.split(1), peers.split(3)):
        forgotten = describe_forgotten(x, 3, iter(batches))
        torch.testing.assert_close(forgotten.mean, x + 0.5 / 3)
        assert torch.equal(forgotten.nearest, peers[1])  # type: ignore[arg-type]
        assert (forgotten.peers, forgotten.label) == (3, 3)
    alone = describe_forgotten(x, 3, iter(()))
    assert (alone.mean, alone.nearest, alone.peers) == (None, None, 0)
