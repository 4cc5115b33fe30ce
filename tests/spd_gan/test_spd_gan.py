"""Generator, stored bytes, loss terms and the training loop of SPD-GAN."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from builders import uniform
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from torch import Tensor, nn

from unlearn.core.random_streams import stream
from unlearn.core.types import Curve, Images
from unlearn.data.datasets.digits import Digits
from unlearn.data.loaders import Loader, StepLoader
from unlearn.models.base import Classifier
from unlearn.spd_gan.losses import TERMS, Guide
from unlearn.spd_gan.networks import Discriminator, Generator
from unlearn.spd_gan.options import Marker, add_noise, add_noise_like, quantise, rms
from unlearn.training.prediction import features
from unlearn.training.spd_gan import train_spd_gan
from unlearn.training.trainer import TrainerSettings

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (1, 4, 4), (3, 5, 7)]
every_shape = pytest.mark.parametrize("shape", SHAPES)


def saturated_images(*shape: int) -> Tensor:
    """Five in [0, 1], with many pixels at either end."""
    return (3 * uniform(5, *shape) - 1).clamp(0, 1)


def shaken(channels: int, epsilon: float, size: float) -> Generator:
    """A generator whose last layer has been given random weights."""
    torch.manual_seed(0)
    generator = Generator(channels, epsilon)
    nn.init.normal_(generator.leave.weight, std=size)
    return generator


@every_shape
def test_the_generator_starts_as_the_identity(shape: tuple[int, int, int]) -> None:
    assert torch.equal(Generator(shape[0], 0.2)(saturated_images(*shape)), saturated_images(*shape))


@every_shape
@pytest.mark.parametrize("epsilon", [8 / 255, 0.2, 1.0])
@pytest.mark.parametrize("size", [0.1, 10.0])
def test_moved_images_stay_near_and_are_images(shape: tuple[int, int, int], epsilon: float, size: float) -> None:
    x = saturated_images(*shape)
    moved = shaken(shape[0], epsilon, size)(x)
    assert moved.shape == x.shape
    assert (moved - x).abs().max() <= epsilon + 1e-6
    assert moved.min() >= 0
    assert moved.max() <= 1
    assert not torch.equal(moved, x)


def test_the_shift_is_not_one_of_brightness() -> None:
    """Before tanh it has no spatial mean, so a constant cannot survive."""
    delta = shaken(1, 0.2, 0.1).delta(saturated_images(1, 8, 8))
    assert delta.atanh().mean((2, 3)).abs().max() < 1e-4
    assert delta.abs().max() > 0.01


def test_the_gradient_passes_the_clip() -> None:
    x = torch.ones(1, 1, 8, 8)
    x[..., :4] = 0.5
    generator = shaken(1, 0.2, 0.1)
    moved = generator(x)
    moved.retain_grad()
    assert (x + 0.2 * generator.delta(x) > 1).any()
    moved.sum().backward()
    unclipped = Generator(1, 0.2)
    unclipped.load_state_dict(generator.state_dict())
    (x + 0.2 * unclipped.delta(x)).sum().backward()
    for p, q in zip(generator.parameters(), unclipped.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)


@every_shape
def test_the_discriminator_gives_one_number_an_image(shape: tuple[int, int, int]) -> None:
    assert Discriminator(shape[0])(saturated_images(*shape)).shape == (5,)


def test_the_generator_is_small() -> None:
    assert 45_000 < sum(p.numel() for p in Generator(1, 0.2).parameters()) < 49_000


@settings(deadline=None)
@given(st.floats(1e-3, 1))
def test_no_byte_exceeds_epsilon(epsilon: float) -> None:
    """For all 256 values, moved up and down as far as is allowed."""
    clean = torch.arange(256).to(torch.uint8)
    for sign in (-1, 1):
        moved = quantise(clean, (clean.float() / 255 + sign * epsilon).clamp(0, 1)).int() - clean.int()
        assert moved.abs().max() <= 255 * (epsilon + 1e-6)
        assert (sign * moved >= 0).all()
        room = (255 - clean.int()) if sign > 0 else clean.int()
        assert (moved.abs() >= torch.minimum(room, torch.tensor(math.floor(255 * epsilon))) - 1).all()


def test_unmoved_bytes_stay() -> None:
    clean = torch.arange(256).to(torch.uint8)
    assert torch.equal(quantise(clean, clean.float() / 255), clean)


@settings(deadline=None)
@given(st.integers(0, 255), st.floats(0, 1, width=32))
def test_bytes_are_rounded_towards_the_clean_image(clean: int, moved: float) -> None:
    found = quantise(torch.tensor([clean], dtype=torch.uint8), torch.tensor([moved])).item()
    exact = 255 * moved
    assert min(clean, exact) - 1e-3 <= found <= max(clean, exact) + 1e-3
    assert abs(found - exact) < 1 + 1e-3


def test_rms_by_hand() -> None:
    clean = torch.zeros(2, 1, 2, 2, dtype=torch.uint8)
    moved = clean.clone()
    moved[0, 0, 0, 0], moved[1] = 102, 51
    torch.testing.assert_close(rms(clean, moved), torch.tensor([0.2, 0.2]))


def test_noise_is_of_the_given_size_in_either_direction() -> None:
    clean = torch.full((2, 1, 40, 40), 128, dtype=torch.uint8)
    change = add_noise(clean, torch.tensor([0.1, 0.05]), stream(0, "noise")).int() - 128
    assert set(change[0].unique().tolist()) == {-25, 25}  # 25.5 and 12.75, rounded towards the clean image
    assert set(change[1].unique().tolist()) == {-12, 12}
    assert (change > 0).float().mean().item() == pytest.approx(0.5, abs=0.04)


def test_noise_is_drawn_from_its_generator_and_clipped() -> None:
    clean = torch.randint(0, 256, (3, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    size = torch.full((3,), 0.2)
    first, again, other = (add_noise(clean, size, stream(seed, "noise")) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert (first.int() - clean.int()).abs().max() <= 51


def test_the_noise_control_is_as_large_as_the_mark() -> None:
    clean = digits().images
    with torch.no_grad():
        moved = quantise(clean, shaken(1, 0.2, 10.0)(clean.float() / 255))
    mark = rms(clean, moved)
    noise = rms(clean, add_noise_like(clean, moved, stream(0, "noise")))
    assert (noise / mark).mean().item() == pytest.approx(1, abs=0.05)


def by_hand() -> tuple[Guide, Tensor, Tensor]:
    """A linear guide on 2 x 2 images: its features are the pixels."""
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    with torch.no_grad():
        net[1].weight.copy_(4 * torch.randn(3, 4, generator=generator))
        net[1].bias.copy_(torch.randn(3, generator=generator))
    guide = Guide(Classifier(net, (0.0,), (1.0,)).eval(), torch.rand(3, 4, generator=generator), torch.tensor(0.15))
    return guide, torch.rand(6, 1, 2, 2, generator=generator), torch.tensor([0, 1, 2, 0, 1, 2])


def parts() -> tuple[Guide, Tensor, Tensor, np.ndarray, np.ndarray, np.ndarray]:
    guide, moved, labels = by_hand()
    weight, bias = (p.detach().double().numpy() for p in guide.classifier.net[1].parameters())
    pixels = moved.flatten(1).double().numpy()
    return guide, moved, labels, pixels, pixels @ weight.T + bias, labels.numpy()


def test_shift_term_by_hand() -> None:
    guide, moved, labels, pixels, _, y = parts()
    distance = np.sqrt((((pixels - guide.class_means.numpy()[y]) / 0.15) ** 2).mean(1))
    assert (distance < 3).any()
    assert (distance > 3).any()
    assert TERMS["shift"](moved, labels, guide).item() == pytest.approx(-np.minimum(3, distance).mean(), abs=1e-5)


def test_attack_term_by_hand() -> None:
    guide, moved, labels, _, z, y = parts()
    rows = [z[i, y[i]] - max(z[i, j] for j in range(3) if j != y[i]) + 3 for i in range(6)]
    assert min(rows) < 0 < max(rows)
    assert TERMS["attack"](moved, labels, guide).item() == pytest.approx(np.maximum(0, rows).mean(), abs=1e-5)


def test_target_term_by_hand() -> None:
    guide, moved, labels, _, z, y = parts()
    expected = -log_softmax(z, 1)[np.arange(6), [1, 2, 0, 1, 2, 0]].mean()
    assert y.tolist() == [0, 1, 2, 0, 1, 2]
    assert TERMS["target"](moved, labels, guide).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("term", TERMS)
def test_terms_have_finite_gradients_at_a_class_mean(term: str) -> None:
    guide, _, labels = by_hand()
    moved = guide.class_means[labels].view(6, 1, 2, 2).clone().requires_grad_(True)
    TERMS[term](moved, labels, guide).backward()
    assert moved.grad is not None
    assert moved.grad.isfinite().all()


def test_a_guide_knows_its_class_means_and_spread() -> None:
    known, labels = torch.tensor([[0.0, 2.0], [4.0, 6.0], [1.0, 5.0]]), torch.tensor([0, 0, 2])
    guide = Guide.of(by_hand()[0].classifier, known, labels, 4)
    assert guide.class_means.tolist() == [[2, 4], [0, 0], [1, 5], [0, 0]]
    assert guide.spread.item() == pytest.approx(np.std([0, 2, 4, 6, 1, 5]))


def digits() -> Images:
    train = Digits().load().train
    return Images(train.images[:40], train.labels[:40], train.index[:40])


def guided(data: Images) -> Guide:
    """By an untrained net with batch norm and dropout, left in train mode as carelessly as can be."""
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(288, 10)
    classifier = Classifier(nn.Sequential(*layers), *Digits.normalisation).eval()
    guide = Guide.of(classifier, features(classifier, data), data.labels, 10)
    classifier.train()
    return guide


def trained(guide: Guide, data: Images, seed: int = 0, **changes: object) -> tuple[Generator, Curve]:
    marker = Marker(**{"steps": 8, "batch_size": 16, "width": 8, **changes})  # type: ignore[arg-type]
    return train_spd_gan(marker, guide, data, seed, TrainerSettings(accelerator="cpu"), lambda done, total: None)


@pytest.mark.parametrize("term", TERMS)
def test_training_leaves_the_guide_bitwise_alone_and_moves_the_images(term: str) -> None:
    data = digits()
    guide = guided(data)
    before = {name: tensor.numpy().tobytes() for name, tensor in guide.classifier.state_dict().items()}
    generator, curve = trained(guide, data, term=term)
    assert {name: tensor.numpy().tobytes() for name, tensor in guide.classifier.state_dict().items()} == before
    assert all(p.grad is None for p in guide.classifier.parameters())
    assert not any(module._forward_pre_hooks for module in guide.classifier.modules())
    x = data.images.float() / 255
    moved = generator(x)
    assert not torch.equal(moved, x)
    assert (moved - x).abs().max() <= 0.2 + 1e-6
    assert not generator.training
    assert [row["step"] for row in curve] == list(range(8))


def test_the_seed_decides_every_image() -> None:
    data, x = digits(), digits().images.float() / 255
    first, again, other = (trained(guided(data), data, seed)[0](x) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_first_step_sees_unmoved_images() -> None:
    """So its losses are those of the identity: discriminator (E[(D-1)²] + E[D²]) / 2, and the term on clean images."""
    data = digits()
    guide = guided(data)
    batch = next(iter(StepLoader(Loader(data, 16, 0, "spd_gan"), 1)))
    _, curve = trained(guide, data, term="attack")
    assert curve[0]["term"] == pytest.approx(TERMS["attack"](batch.images, batch.labels, guide).item(), abs=1e-5)
    assert curve[0]["discriminator_loss"] == pytest.approx(0.5, abs=0.3)
    assert curve[0]["generator_loss"] == pytest.approx(0.5, abs=0.3)


def test_training_lowers_its_term() -> None:
    data = digits()
    guide = guided(data)
    _, curve = trained(guide, data, term="attack", steps=40)
    assert curve[-1]["term"] < curve[0]["term"] - 0.1


@pytest.mark.parametrize("n", [1, 17])
def test_any_number_of_forgotten_samples(n: int) -> None:
    data = digits()
    few = Images(data.images[:n], data.labels[:n], data.index[:n])
    generator, curve = trained(guided(data), few)
    assert len(curve) == 8
    assert generator(few.images.float() / 255).isfinite().all()
