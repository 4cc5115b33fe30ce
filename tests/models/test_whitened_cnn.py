"""The whitening of the stem, the start as the identity, batch norm without a scale, and images of any size."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.core.batch import Batch
from unlearn.core.recipe import Recipe, norm_parameters
from unlearn.core.types import Images
from unlearn.models.base import Classifier
from unlearn.models.whitened_cnn import ShiftedBatchNorm2d, WhitenedCnn, Whitening
from unlearn.training.layout import channels_last
from unlearn.training.prediction import refresh_batch_norm
from unlearn.training.stackable import is_stackable

SMALL = WhitenedCnn(widths=[4, 6])
every_channels = pytest.mark.parametrize("channels", [1, 3])


def smooth(n: int, channels: int, side: int = 8, seed: int = 0) -> Tensor:
    """Images of correlated neighbours and channels, float32 [n, c, side, side]."""
    noise = torch.randn(n, channels, side + 2, side + 2, generator=torch.Generator().manual_seed(seed))
    return F.avg_pool2d(noise, 3, stride=1) + 0.5 * noise[:, :1, 1:-1, 1:-1] + 0.3


def built(model: WhitenedCnn, shape: tuple[int, int, int], classes: int = 10, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return model.net(shape, classes)


def stem(net: nn.Module) -> Whitening:
    return next(layer for layer in net.modules() if isinstance(layer, Whitening))


def covariance(activations: Tensor) -> Tensor:
    """Of channels, over images and positions."""
    return torch.cov(activations.double().transpose(0, 1).flatten(1), correction=0)


@every_channels
def test_whitened_activations_have_the_identity_as_covariance(channels: int) -> None:
    net, images = built(WhitenedCnn([4], whitening_eps=0), (channels, 8, 8)), smooth(300, channels)
    WhitenedCnn([4], whitening_eps=0).initialise_from_data(net, images.split(70))
    activations = stem(net)(images)
    n = 4 * channels
    assert activations.shape == (300, 2 * n, 7, 7)
    torch.testing.assert_close(covariance(activations[:, :n]), torch.eye(n).double(), rtol=0, atol=1e-4)
    assert torch.equal(stem(net).weight[:n], -stem(net).weight[n:])


@every_channels
def test_eps_damps_directions_of_little_variance(channels: int) -> None:
    """Each activation has variance v / (v + eps), of the most to the least."""
    images, eps = smooth(300, channels), 0.05
    patches = images.unfold(2, 2, 1).unfold(3, 2, 1).permute(1, 4, 5, 0, 2, 3).flatten(0, 2).flatten(1)
    variances = torch.linalg.eigvalsh(torch.cov(patches.double(), correction=0)).flip(0)
    layer = Whitening(channels)
    layer.fit([images], eps)
    activations = covariance(layer(images)[:, : len(variances)])
    torch.testing.assert_close(activations, (variances / (variances + eps)).diag(), rtol=0, atol=1e-4)


@every_channels
def test_before_it_sees_data_the_basis_is_orthonormal_and_fixed(channels: int) -> None:
    one, other = Whitening(channels), Whitening(channels)
    basis = one.weight[: 4 * channels].flatten(1)
    torch.testing.assert_close(basis @ basis.t(), torch.eye(len(basis)))
    torch.testing.assert_close(basis[0], torch.full_like(basis[0], len(basis) ** -0.5))
    assert torch.equal(one.weight[len(basis) :], -one.weight[: len(basis)])
    assert torch.equal(one.weight, other.weight)


def test_the_basis_is_the_same_for_the_same_images_in_any_batches() -> None:
    images, bases = smooth(60, 3), []
    for size in (60, 60, 7):
        layer = Whitening(3)
        layer.fit(images.split(size), 5e-4)
        bases.append(layer.weight.clone())
    assert torch.equal(bases[0], bases[1])
    torch.testing.assert_close(bases[0], bases[2], rtol=0, atol=1e-4)


def test_images_without_variance_give_a_finite_basis() -> None:
    layer = Whitening(1)
    layer.fit([torch.ones(5, 1, 4, 4)], 5e-4)
    assert layer.weight.isfinite().all()


def test_a_fresh_net_takes_over_the_basis_and_nothing_else() -> None:
    source, net = built(SMALL, (1, 8, 8), seed=0), built(SMALL, (1, 8, 8), seed=1)
    before = copy.deepcopy(net.state_dict())
    SMALL.initialise_from_data(source, [smooth(20, 1)])
    SMALL.copy_data_dependent(net, source)
    changed = [name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])]
    assert changed == ["0.weight"]
    assert torch.equal(stem(net).weight, stem(source).weight)


def test_training_a_copy_moves_the_bias_of_the_stem_and_not_its_weight() -> None:
    """A strategy asks for the gradient of all parameters of its copy."""
    net = built(SMALL, (1, 8, 8)).requires_grad_(False)
    model, images = copy.deepcopy(net).requires_grad_(True), smooth(16, 1)
    optimizer = Recipe(lr=0.1, momentum=0.9, weight_decay=0.1).make_optimizer(model)
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(model.train()(images), torch.arange(16) % 10).backward()
        optimizer.step()
    assert torch.equal(stem(model).weight, stem(net).weight)
    still = [name for name, p in model.named_parameters() if torch.equal(p, net.get_parameter(name))]
    assert still == []
    assert "0.bias" in dict(model.named_parameters())
    assert "0.weight" not in dict(model.named_parameters())


@pytest.mark.parametrize("widths", [[32, 128, 128], [64, 256, 256], [40, 8], [5]])
def test_convolutions_start_as_the_identity_on_their_first_channels(widths: list[int]) -> None:
    net = built(WhitenedCnn(widths), (3, 16, 16))
    convolutions = [layer for layer in net.modules() if type(layer) is nn.Conv2d]
    expected = [channels for pair in pairwise([24, *widths]) for channels in (pair, (pair[1], pair[1]))]
    assert [(layer.in_channels, layer.out_channels) for layer in convolutions] == expected
    for layer in convolutions:
        same = min(layer.in_channels, layer.out_channels)
        x = torch.randn(2, layer.in_channels, 6, 6)
        y = layer(x)
        torch.testing.assert_close(y[:, :same], x[:, :same])
        assert (layer.weight[same:] != 0).all()
        assert layer.bias is None


def test_the_published_layers_for_cifar() -> None:
    """Three groups of two convolutions each pooled once, and 3 x 3 positions before the last pool."""
    with torch.device("meta"):
        net = built(WhitenedCnn([64, 256, 256]), (3, 32, 32))
    pools = [layer.kernel_size for layer in net.modules() if isinstance(layer, nn.MaxPool2d)]
    assert pools == [2, 2, 2, (3, 3)]
    head = net[-1]
    assert isinstance(head, nn.Linear)
    assert (head.in_features, head.bias) == (256, None)
    convolutions = 24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256
    shifts = 2 * (64 + 256 + 256)
    assert sum(p.numel() for p in net.parameters()) == 24 + 9 * convolutions + shifts + 2560


def test_logits_are_scaled_once() -> None:
    one, ninth = (built(WhitenedCnn([4], logit_scale=scale), (1, 8, 8)).eval() for scale in (1.0, 1 / 9))
    torch.testing.assert_close(ninth(smooth(3, 1)), one(smooth(3, 1)) / 9)


@every_channels
@pytest.mark.parametrize("side", [2, 3, 8, 11, 16, 31, 32, 48, 64])
def test_any_size_trains_in_every_layout_and_precision(channels: int, side: int) -> None:
    images = smooth(4, channels, side)
    plain = built(SMALL, (channels, side, side)).train()
    last = copy.deepcopy(plain)
    logits = plain(images)
    torch.testing.assert_close(last(channels_last(images)), logits, rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = last(channels_last(images))
    F.cross_entropy(rounded.float(), torch.arange(4)).backward()
    assert logits.shape == rounded.shape == (4, 10)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in last.parameters())


def test_the_same_bits_twice_where_only_deterministic_operations_are_allowed() -> None:
    before, gradients = torch.get_deterministic_debug_mode(), []
    torch.set_deterministic_debug_mode("error")
    try:
        for _ in range(2):
            net = built(SMALL, (3, 16, 16))
            F.cross_entropy(net(smooth(8, 3, 16)), torch.arange(8)).backward()
            gradients.append([p.grad for p in net.parameters()])
    finally:
        torch.set_deterministic_debug_mode(before)
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(3, 1, 1), (1, 1, 8)])
def test_images_smaller_than_a_patch_are_refused(shape: tuple[int, int, int]) -> None:
    (problem,) = SMALL.check(shape, 10, features=True)
    assert "2 x 2" in str(problem)
    assert not [*SMALL.check((3, 2, 2), 10, features=True)]


@pytest.mark.parametrize("widths", [[], [8, 0]])
def test_a_group_needs_a_channel(widths: list[int]) -> None:
    (problem,) = WhitenedCnn(widths).problems("model")
    assert str(problem).startswith("model.widths: expected a list of integers >= 1")


def test_a_state_dict_holds_the_basis() -> None:
    net, other, images = built(SMALL, (1, 8, 8)), built(SMALL, (1, 8, 8), seed=1), smooth(20, 1)
    SMALL.initialise_from_data(net, [images])
    net.train()(images)
    other.load_state_dict(net.state_dict())
    assert torch.equal(net.eval()(images), other.eval()(images))


def test_batch_norm_equals_torchs_with_a_scale_of_one() -> None:
    layer, usual, x = ShiftedBatchNorm2d(3), nn.BatchNorm2d(3, momentum=0.4), smooth(5, 3)
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([0.1, -0.2, 0.3]))
    usual.load_state_dict(layer.state_dict() | {"weight": torch.ones(3)})
    for _ in range(2):
        torch.testing.assert_close(layer.train()(x), usual.train()(x))
    torch.testing.assert_close(layer.running_mean, usual.running_mean)
    torch.testing.assert_close(layer.eval()(x), usual.eval()(x))
    assert [name for name, _ in layer.named_parameters()] == ["bias"]
    layer.reset_parameters()
    assert (layer.bias == 0).all()
    assert (layer.running_mean == 0).all()  # type: ignore[operator]


def test_batch_norm_is_found_as_one() -> None:
    net, images = built(SMALL, (1, 8, 8)), (smooth(40, 1).clamp(0, 1) * 255).byte()
    assert norm_parameters(net) == {f"{name}.bias" for name, m in net.named_modules() if type(m) is ShiftedBatchNorm2d}
    norms = [m for m in net.modules() if isinstance(m, ShiftedBatchNorm2d)]
    refresh_batch_norm(net, Images(images, torch.zeros(40, dtype=torch.int64), torch.arange(40)))
    assert all((m.running_mean != 0).any() and m.momentum == 0.4 for m in norms)  # type: ignore[operator]


def test_nets_of_different_bases_can_be_trained_at_once() -> None:
    models, batches = [], []
    for seed in range(3):
        net, images = built(SMALL, (1, 8, 8), seed=seed), smooth(20, 1, seed=seed)
        SMALL.initialise_from_data(net, [images])
        models.append(Classifier(net, (0.0,), (1.0,)))
        batches.append(Batch(images, torch.arange(20) % 10))
    assert is_stackable(models, batches)
