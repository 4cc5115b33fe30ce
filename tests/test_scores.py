"""Sensitivities against the obvious loop: one sample, one backward pass."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.models.base import Classifier
from unlearn.models.cnn import Cnn
from unlearn.scores import Sensitivity

SCORES = ("mean_gradient", "sum_absolute", "mean_square")
N = 7


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return Classifier(Cnn(width=2, hidden=4).net((1, 5, 5), 3), (0.4,), (0.3,)).double().eval()


@pytest.fixture
def samples() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(N, 1, 5, 5, generator=generator, dtype=torch.float64)
    return images, torch.randint(0, 3, (N,), generator=generator)


def loop(score: str, of: str, model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """The reference."""
    model = copy.deepcopy(model)
    gradients: dict[str, list[Tensor]] = {name: [] for name, _ in model.named_parameters()}
    for i in range(len(labels)):
        model.zero_grad()
        logits = model(images[i : i + 1])[0]
        value = logits.norm() ** 2 / 2 if of == "output" else -torch.log(logits.exp()[labels[i]] / logits.exp().sum())
        value.backward()
        for name, p in model.named_parameters():
            assert p.grad is not None
            gradients[name].append(p.grad.clone())
    stacked = {name: torch.stack(rows) for name, rows in gradients.items()}
    how = {
        "mean_gradient": lambda g: g.mean(0).abs(),
        "sum_absolute": lambda g: g.abs().sum(0),
        "mean_square": lambda g: (g**2).mean(0),
    }[score]
    return {name: how(g) for name, g in stacked.items()}


def close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("of", ["loss", "output"])
@pytest.mark.parametrize("score", SCORES)
def test_score_is_that_of_the_loop(score: str, of: str, model: nn.Module, samples: tuple[Tensor, Tensor]) -> None:
    found = Sensitivity(score, of).compute(model, [samples])
    close(found, loop(score, of, model, *samples))
    assert all(value.min() >= 0 and value.max() > 0 for value in found.values())


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("size", [1, 3])
def test_batch_size_does_not_matter(score: str, size: int, model: nn.Module, samples: tuple[Tensor, Tensor]) -> None:
    images, labels = samples
    batches = list(zip(images.split(size), labels.split(size), strict=True))
    close(Sensitivity(score).compute(model, batches), Sensitivity(score).compute(model, [samples]))


def test_train_mode_is_refused(model: nn.Module, samples: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(ValueError, match="eval mode"):
        Sensitivity().compute(model.train(), [samples])


@pytest.mark.parametrize("score", SCORES)
def test_the_model_stays_as_it_was(score: str, model: nn.Module, samples: tuple[Tensor, Tensor]) -> None:
    before = copy.deepcopy(model.state_dict())
    found = Sensitivity(score).compute(model, [samples])
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not any(value.requires_grad for value in found.values())
    assert not model.training


def test_a_frozen_parameter_has_no_score(model: nn.Module, samples: tuple[Tensor, Tensor]) -> None:
    name, first = next(iter(model.named_parameters()))
    first.requires_grad_(False)
    found = Sensitivity().compute(model, [samples])
    assert set(found) == {other for other, _ in model.named_parameters()} - {name}


def test_mean_square_is_not_the_square_of_the_mean(model: nn.Module, samples: tuple[Tensor, Tensor]) -> None:
    squares = Sensitivity("mean_square").compute(model, [samples])
    means = Sensitivity("mean_gradient").compute(model, [samples])
    assert all((squares[name] >= means[name] ** 2 - 1e-15).all() for name in squares)
    assert any((squares[name] > 1.5 * means[name] ** 2).any() for name in squares)


def test_loss_is_cross_entropy_of_the_given_label(model: nn.Module, samples: tuple[Tensor, Tensor]) -> None:
    images, labels = samples
    bias = "net.10.bias"  # its gradient is p - one_hot(y)
    expected = (model(images).softmax(1) - F.one_hot(labels, 3)).mean(0).abs()
    torch.testing.assert_close(Sensitivity().compute(model, [samples])[bias], expected, rtol=1e-12, atol=1e-12)
