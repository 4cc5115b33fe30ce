"""Fisher forgetting: the noise, recovered from its stream, has the stated size."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor, nn

from unlearn.errors import UnlearnError
from unlearn.scores import GradientStatistic, Need, Scores
from unlearn.strategies.base import Context, Edit
from unlearn.strategies.fisher import Fisher, last_layer
from unlearn.types import Subset


def net() -> nn.Sequential:
    """Two layers with weights, and a normalisation behind the last one."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), nn.BatchNorm1d(2)).double()


def information(model: nn.Module) -> Scores:
    """From 0 over far below the caps' 1e-3 and 1e-2 to far above."""
    values = torch.tensor([0.0, 1e-6, 5e-3, 2.0, 1e4], dtype=torch.float64)
    return {n: values.repeat(p.numel())[: p.numel()].view(p.shape) for n, p in model.named_parameters()}


def moved(strategy: Fisher, seed: int = 0, scores: Scores | None = None) -> tuple[dict[str, Tensor], Edit]:
    original, model = net(), net()
    (need,) = strategy.needs()
    found = information(model) if scores is None else scores
    edit = strategy.edit(model, Context(original, net, {need: found}, {}, seed))
    before = dict(original.named_parameters())
    return {name: (p - before[name]).detach() for name, p in model.named_parameters()}, edit


def eps(seed: int = 0) -> dict[str, Tensor]:
    generator = Context(net(), net, {}, {}, seed).generator("noise")
    return {name: torch.randn(p.shape, generator=generator).double() for name, p in net().named_parameters()}


def test_the_noise_is_a_standard_normal_draw_times_the_stated_deviation() -> None:
    """alpha / F up to alpha * 1e3, in the last layer up to alpha * 1e2."""
    found, _ = moved(Fisher())
    for name, drawn in eps().items():
        cap = 1e2 if name.startswith("2.") else 1e3
        std = [math.sqrt(3e-6 * (min(1 / f, cap) if f else cap)) for f in information(net())[name].flatten().tolist()]
        wanted = torch.tensor(std, dtype=torch.float64).view(drawn.shape) * drawn
        torch.testing.assert_close(found[name], wanted, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(("f", "caps"), [(2.0, (50.0, 20.0)), (0.01, (50.0, 20.0)), (0.0, (7.0, 200.0))])
def test_over_many_draws_the_variance_is_the_stated_one(f: float, caps: tuple[float, float]) -> None:
    """The sum of squares over the variance is chi-squared; a factor of 1.05 in the variance would fail."""
    torch.manual_seed(0)
    original = nn.Sequential(nn.Linear(200, 200), nn.Linear(200, 200)).double()
    model, strategy = copy.deepcopy(original), Fisher(alpha=0.1, cap=caps[0], last_layer_cap=caps[1])
    scores = {strategy.needs()[0]: {name: torch.full_like(p, f) for name, p in original.named_parameters()}}
    strategy.edit(model, Context(original, net, scores, {}, 0))
    for layer, cap in zip("01", caps, strict=True):
        added = (model.get_parameter(f"{layer}.weight") - original.get_parameter(f"{layer}.weight")).detach()
        stated = 0.1 * min(1 / f if f else math.inf, cap)
        low, high = chi2.ppf([1e-6, 1 - 1e-6], added.numel())
        assert high / low < 1.1
        assert low < float(added.square().sum()) / stated < high


def test_alpha_scales_the_variance_and_nothing_else() -> None:
    once, fourfold = moved(Fisher())[0], moved(Fisher(alpha=1.2e-5))[0]
    for name, value in once.items():
        torch.testing.assert_close(fourfold[name], 2 * value, rtol=1e-6, atol=1e-15)
    assert all((value == 0).all() for value in moved(Fisher(alpha=0))[0].values())


def test_every_entry_gets_noise_and_batch_normalisation_is_refreshed() -> None:
    _, edit = moved(Fisher())
    assert all(mask.all() for mask in edit.masks.values())
    assert edit.masks.keys() == dict(net().named_parameters()).keys()
    assert edit.refresh_bn
    assert not moved(Fisher(refresh_bn=False))[1].refresh_bn


def test_the_last_layer_is_the_last_one_with_weights() -> None:
    assert last_layer(net()) == {"2.weight", "2.bias"}
    assert last_layer(nn.Linear(2, 2)) == {"weight", "bias"}
    assert last_layer(nn.BatchNorm1d(2)) == set()


def test_labels_are_drawn_on_some_of_the_retain_set() -> None:
    assert Fisher(samples=7).needs() == (Need(GradientStatistic("mean_square", "sampled"), Subset.RETAIN, 7),)


def test_a_parameter_that_no_output_depends_on_is_an_error() -> None:
    part = {name: value for name, value in information(net()).items() if name != "0.bias"}
    with pytest.raises(UnlearnError, match=r"0\.bias"):
        moved(Fisher(), scores=part)
