"""Sensitivities against the obvious loop: one sample, one backward pass."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.core.errors import UnlearnError
from unlearn.core.random_streams import stream
from unlearn.core.types import Subset
from unlearn.functional.parameter_scores import (
    GradientStatistic,
    Need,
    Relevance,
    Scores,
    Sensitivity,
    draw_labels,
    find_last_linear,
    require_complete,
)
from unlearn.models.base import Classifier
from unlearn.models.cnn import Cnn

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
        "mean_gradient": lambda g: g.mean(0),
        "sum_absolute": lambda g: g.abs().sum(0),
        "mean_square": lambda g: (g**2).mean(0),
    }[score]
    return {name: how(g) for name, g in stacked.items()}


def close(scores: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert scores.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(scores[name], value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("of", ["loss", "output"])
@pytest.mark.parametrize("score", SCORES)
def test_score_is_that_of_the_loop(score: str, of: str, model: nn.Module, samples: tuple[Tensor, Tensor]) -> None:
    scores = GradientStatistic(score, of).compute(model, [samples])
    close(scores, loop(score, of, model, *samples))
    assert all(value.abs().max() > 0 and (score == "mean_gradient" or value.min() >= 0) for value in scores.values())


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("size", [1, 3])
def test_batch_size_does_not_matter(score: str, size: int, model: nn.Module, samples: tuple[Tensor, Tensor]) -> None:
    images, labels = samples
    batches = list(zip(images.split(size), labels.split(size), strict=True))
    close(GradientStatistic(score).compute(model, batches), GradientStatistic(score).compute(model, [samples]))


def test_train_mode_is_refused(model: nn.Module, samples: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(ValueError, match="eval mode"):
        GradientStatistic("mean_gradient").compute(model.train(), [samples])


@pytest.mark.parametrize("score", SCORES)
def test_the_model_stays_as_it_was(score: str, model: nn.Module, samples: tuple[Tensor, Tensor]) -> None:
    before = copy.deepcopy(model.state_dict())
    scores = GradientStatistic(score).compute(model, [samples])
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not any(value.requires_grad for value in scores.values())
    assert not model.training


def test_a_frozen_parameter_has_no_score(model: nn.Module, samples: tuple[Tensor, Tensor]) -> None:
    name, first = next(iter(model.named_parameters()))
    first.requires_grad_(False)
    scores = GradientStatistic("mean_gradient").compute(model, [samples])
    assert set(scores) == {other for other, _ in model.named_parameters()} - {name}


@pytest.mark.parametrize("score", SCORES)
def test_a_parameter_that_no_output_depends_on_has_no_score(
    score: str, model: nn.Module, samples: tuple[Tensor, Tensor]
) -> None:
    names = {name for name, _ in model.named_parameters()}
    model.net.idle = nn.Identity()
    model.net.idle.weight = nn.Parameter(torch.ones(2))
    assert set(GradientStatistic(score).compute(model, [samples])) == names


def test_mean_square_is_not_the_square_of_the_mean(model: nn.Module, samples: tuple[Tensor, Tensor]) -> None:
    squares = GradientStatistic("mean_square").compute(model, [samples])
    means = GradientStatistic("mean_gradient").compute(model, [samples])
    assert all((squares[name] >= means[name] ** 2 - 1e-15).all() for name in squares)
    assert any((squares[name] > 1.5 * means[name] ** 2).any() for name in squares)


def test_loss_is_cross_entropy_of_the_given_label(model: nn.Module, samples: tuple[Tensor, Tensor]) -> None:
    images, labels = samples
    bias = "net.10.bias"  # its gradient is p - one_hot(y)
    expected = (model(images).softmax(1) - F.one_hot(labels, 3)).mean(0)
    scores = GradientStatistic("mean_gradient").compute(model, [samples])[bias]
    torch.testing.assert_close(scores, expected, rtol=1e-12, atol=1e-12)


FORGET, RETAIN = Sensitivity("ratio").needs()


def two(a: list[float], b: list[float]) -> Scores:
    return {"a": torch.tensor(a), "b": torch.tensor(b)}


@pytest.mark.parametrize("score", SCORES)
def test_a_plain_score_is_one_statistic_on_the_forget_set(score: str) -> None:
    (need,) = Sensitivity(score, "output").needs()
    assert need == Need(GradientStatistic(score, "output"), Subset.FORGET)
    scores = Sensitivity(score, "output").combine({need: two([1.0, -2.0], [3.0])})
    assert [value.tolist() for value in scores.values()] == [[1.0, 2.0], [3.0]]


def test_ratio_needs_mean_squares_on_both_sets_and_shares_the_forget_sets() -> None:
    forget, retain = Sensitivity("ratio", retain_samples=5).needs()
    assert (forget,) == Sensitivity("mean_square").needs()
    assert retain == Need(GradientStatistic("mean_square"), Subset.RETAIN, 5)


def test_ratio_by_hand() -> None:
    """The retained have 1, 2 and 6, 3 on the mean; half of it is added to each."""
    scores = Sensitivity("ratio", damping=0.5).combine(
        {FORGET: two([5.0, 0.0], [30.0]), RETAIN: two([1.0, 2.0], [6.0])}
    )
    assert scores["a"].tolist() == [2.0, 0.0]
    assert scores["b"].tolist() == [4.0]


def test_ratio_where_there_is_no_gradient() -> None:
    """On the forgotten: 0, whatever the retained; on the retained alone: before everything else."""
    scores = {FORGET: two([0.0, 0.0], [1e-30]), RETAIN: two([0.0, 1.0], [0.0])}
    assert [value.tolist() for value in Sensitivity("ratio", damping=0).combine(scores).values()] == [
        [0.0, 0.0],
        [float("inf")],
    ]
    nothing = {FORGET: two([0.0, 0.0], [1.0]), RETAIN: two([0.0, 0.0], [0.0])}
    assert not any(value.isnan().any() for value in Sensitivity("ratio").combine(nothing).values())


def test_ratio_goes_from_selective_to_mean_square_with_damping() -> None:
    scores = {FORGET: two([8.0, 4.0], [1.0]), RETAIN: two([8.0, 1.0], [0.125])}

    def ranking(damping: float) -> list[int]:
        ratios = Sensitivity("ratio", damping=damping).combine(scores)
        return torch.cat(list(ratios.values())).argsort(descending=True).tolist()

    assert ranking(0.0) == [2, 1, 0]
    assert ranking(1e6) == [0, 1, 2]


def test_ratio_does_not_depend_on_the_scale_of_the_loss() -> None:
    one = {FORGET: two([8.0, 4.0], [1.0]), RETAIN: two([8.0, 1.0], [0.125])}
    scaled = {need: {name: value * 2.0**-60 for name, value in scores.items()} for need, scores in one.items()}
    close(Sensitivity("ratio").combine(scaled), Sensitivity("ratio").combine(one))


@pytest.mark.parametrize("size", [1, 3])
def test_ratio_does_not_depend_on_batch_size(size: int, model: nn.Module, samples: tuple[Tensor, Tensor]) -> None:
    images, labels = samples

    def ratio(cut: int) -> Scores:
        batches = list(zip(images.split(cut), labels.split(cut), strict=True))
        other = [(1 - images, labels) for images, labels in batches]
        parts = ((FORGET, batches), (RETAIN, other))
        return Sensitivity("ratio").combine({need: need.statistic.compute(model, b) for need, b in parts})

    close(ratio(size), ratio(N))


@pytest.mark.parametrize("size", [1, 3, N])
@pytest.mark.parametrize("score", SCORES)
def test_sampled_labels_are_drawn_by_one_stream_in_the_order_of_samples(
    score: str, size: int, model: nn.Module, samples: tuple[Tensor, Tensor]
) -> None:
    """By inverting the distribution function; the given labels, here all wrong or not, do not matter."""
    images, labels = samples
    generator = stream(0, "sampled labels")
    reached = model(images).detach().softmax(1).cumsum(1)
    numbers = [torch.rand(1, generator=generator, dtype=torch.float64).item() for _ in range(N)]
    drawn = torch.tensor([next(c for c in range(3) if row[c] > u) for row, u in zip(reached, numbers, strict=True)])
    assert len(drawn.unique()) > 1
    batches = list(zip(images.split(size), labels.split(size), strict=True))
    close(GradientStatistic(score, "sampled").compute(model, batches), loop(score, "loss", model, images, drawn))


@pytest.mark.parametrize("size", [1, 3, N])
def test_the_expected_square_is_the_sum_over_labels(
    size: int, model: nn.Module, samples: tuple[Tensor, Tensor]
) -> None:
    """The mean over samples of the sum over y of p(y|x) (d log p(y|x) / dw)^2, one label and one sample at a time."""
    images, labels = samples
    expected = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for image in images.split(1):
        for y in range(3):
            log_p = model(image).log_softmax(1)[0, y]
            gradient = torch.autograd.grad(log_p, list(model.parameters()))
            for name, g in zip(expected, gradient, strict=True):
                expected[name] += log_p.exp().detach() * g**2 / N
    batches = zip(images.split(size), labels.split(size), strict=True)
    close(GradientStatistic("mean_square", "expected").compute(model, batches), expected)


def test_the_expected_square_does_not_collapse_on_a_fitted_net() -> None:
    """At p = (1 - 1e-4, 1e-4) and input 1 it is p_0 p_1 = 1e-4 for both weights; the likely label alone gives 1e-8."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False)).double().eval()
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[math.log((1 - 1e-4) / 1e-4)], [0.0]]))
    batch = torch.ones(40, 1, 1, 1, dtype=torch.float64), torch.zeros(40, dtype=torch.int64)
    exact, sampled = (GradientStatistic("mean_square", of).compute(model, [batch]) for of in ("expected", "sampled"))
    torch.testing.assert_close(exact["1.weight"], torch.full((2, 1), 1e-4 * (1 - 1e-4), dtype=torch.float64))
    assert sampled["1.weight"].max() < 1e-3 * exact["1.weight"].min()


@pytest.mark.parametrize("score", ["mean_gradient", "sum_absolute"])
def test_only_squares_have_an_expectation_over_labels(
    score: str, model: nn.Module, samples: tuple[Tensor, Tensor]
) -> None:
    with pytest.raises(ValueError, match="mean_square"):
        GradientStatistic(score, "expected").compute(model, [samples])


def test_drawn_labels_have_the_models_frequencies() -> None:
    p = torch.tensor([0.6, 0.3, 0.1, 0.0])
    drawn = draw_labels(p.log().expand(20000, 4), torch.Generator().manual_seed(0))
    share = drawn.bincount(minlength=4) / 20000
    assert (share - p).abs().max() < 5 * (0.25 / 20000) ** 0.5
    assert share[3] == 0


def test_a_statistic_that_lacks_a_parameter_is_not_complete(model: nn.Module) -> None:
    scores = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    assert require_complete(scores, model) is scores
    del scores["net.0.bias"]
    with pytest.raises(UnlearnError, match=r"net\.0\.bias"):
        require_complete(scores, model)


def test_relevance_is_conserved_up_to_the_bias(model: nn.Module, samples: tuple[Tensor, Tensor]) -> None:
    images, labels = samples
    scores = Relevance().compute(model, [samples])
    z = model(images).detach().gather(1, labels[:, None])[:, 0]
    bias = model.net[10].bias.detach()[labels]
    assert z.abs().min() > 1e-3
    assert bias.abs().min() > 1e-3
    torch.testing.assert_close(scores["relevance"].sum(1), z - bias, rtol=1e-2, atol=0)  # epsilon takes its share
    torch.testing.assert_close(scores["relevance"].sum(1), (z - bias) * z / (z + 1e-6 * z.sign()), rtol=1e-12, atol=0)
    assert torch.equal(scores["labels"], labels)


def test_relevance_by_hand() -> None:
    """a = (2, 3); z of class 0 is 2 * 1 - 3 * 4 + 1 = -9, of class 1 it is 4 + 6 + 2 = 12."""
    head = nn.Linear(2, 2).double()
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, -4.0], [2.0, 2.0]]))
        head.bias.copy_(torch.tensor([1.0, 2.0]))
    images = torch.tensor([[2.0, 3.0], [2.0, 3.0]], dtype=torch.float64)
    scores = Relevance().compute(head.eval(), [(images, torch.tensor([0, 1]))])["relevance"]
    expected = torch.tensor([[2.0, -12.0], [4.0, 6.0]], dtype=torch.float64)
    torch.testing.assert_close(scores, expected, rtol=1e-6, atol=0)


def test_relevance_of_a_logit_of_zero_is_zero() -> None:
    head = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, -1.0], [1.0, 1.0]]))
    scores = Relevance().compute(head.eval(), [(torch.ones(1, 2), torch.tensor([0]))])["relevance"]
    assert scores.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("size", [1, 3])
def test_relevance_does_not_depend_on_batch_size(size: int, model: nn.Module, samples: tuple[Tensor, Tensor]) -> None:
    batches = list(zip(*(part.split(size) for part in samples), strict=True))
    cut, whole = Relevance().compute(model, batches), Relevance().compute(model, [samples])
    close({"relevance": cut["relevance"]}, {"relevance": whole["relevance"]})
    assert torch.equal(cut["labels"], whole["labels"])
    assert not cut["relevance"].requires_grad
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    "net", [nn.Sequential(nn.Linear(4, 3), nn.Tanh()), nn.Sequential(nn.Conv2d(1, 3, 2), nn.Flatten())]
)
def test_relevance_needs_a_linear_layer_that_gives_the_logits(net: nn.Module) -> None:
    images = torch.rand(2, 1, 2, 2) - 0.5
    batch = (images if isinstance(net[0], nn.Conv2d) else images.flatten(1), torch.tensor([0, 1]))
    with pytest.raises(UnlearnError, match=r"nn\.Linear"):
        Relevance().compute(net.eval(), [batch])


def test_the_last_linear_layer_is_found_by_name(model: nn.Module) -> None:
    assert find_last_linear(model) == ("net.10", model.net[10])
    assert find_last_linear(nn.Conv2d(1, 1, 1)) is None
