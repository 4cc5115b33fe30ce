"""Fisher forgetting: the noise, recovered from its stream, has the stated size."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor, nn

from unlearn.core.errors import UnlearnError
from unlearn.core.types import Images, Subset
from unlearn.functional.parameter_scores import GradientStatistic, Need, Scores
from unlearn.strategies.base import Context, Edit
from unlearn.strategies.fisher import Fisher, last_layer


def net() -> nn.Sequential:
    """Two layers with weights, and a normalisation behind the last one."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), nn.BatchNorm1d(2)).double()


def information(model: nn.Module) -> Scores:
    """From 0 over far below the caps' 1e-3 and 1e-2 to far above."""
    values = torch.tensor([0.0, 1e-6, 5e-3, 2.0, 1e4], dtype=torch.float64)
    return {n: values.repeat(p.numel())[: p.numel()].view(p.shape) for n, p in model.named_parameters()}


def request(forget: list[int], retain: list[int]) -> dict[Subset, Images]:
    """Images of those labels."""
    parts = {Subset.FORGET: torch.tensor(forget), Subset.RETAIN: torch.tensor(retain)}
    return {
        k: Images(torch.zeros(len(y), 1, 1, 1, dtype=torch.uint8), y, torch.arange(len(y))) for k, y in parts.items()
    }


def moved(
    strategy: Fisher,
    seed: int = 0,
    scores: Scores | None = None,
    forget: list[int] = [0, 1],  # noqa: B006
    retain: list[int] = [0, 1],  # noqa: B006
) -> tuple[dict[str, Tensor], Edit]:
    original, model = net(), net()
    (need,) = strategy.needs()
    found = information(model) if scores is None else scores
    edit = strategy.edit(model, Context(original, net, {need: found}, request(forget, retain), seed))
    before = dict(original.named_parameters())
    return {name: (p - before[name]).detach() for name, p in model.named_parameters()}, edit


def eps(seed: int = 0) -> dict[str, Tensor]:
    generator = Context(net(), net, {}, {}, seed).generator("noise")
    return {name: torch.randn(p.shape, generator=generator).double() for name, p in net().named_parameters()}


def test_per_weight_noise_is_a_standard_normal_draw_times_the_stated_deviation() -> None:
    """alpha / F up to alpha * 1e3, in the last layer up to alpha * 1e2."""
    found, _ = moved(Fisher(form="per_weight"))
    for name, drawn in eps().items():
        cap = 1e2 if name.startswith("2.") else 1e3
        std = [math.sqrt(3e-6 * (min(1 / f, cap) if f else cap)) for f in information(net())[name].flatten().tolist()]
        wanted = torch.tensor(std, dtype=torch.float64).view(drawn.shape) * drawn
        torch.testing.assert_close(found[name], wanted, rtol=1e-9, atol=1e-15)


def tables_variance(p: Tensor, f: Tensor, classes: int, gone: list[int]) -> tuple[Tensor, Tensor]:
    """The common implementation's mean and variance of a parameter, from its definition, entry by entry.

    var = alpha min(1 / (F + 1e-8), 1e3), or 1e2 where the first dimension is the number of classes; the mean over
    dimension 1; the forgotten class's row: mean 0, var 1e-4; then 10 var in the last layer and for vectors.
    """
    last = len(p) == classes
    v = torch.tensor([3e-6 * min(1 / (x + 1e-8), 1e2 if last else 1e3) for x in f.flatten().tolist()])
    v = v.double().view(p.shape)
    if p.dim() == 2:
        v = torch.stack([row.sum() / len(row) * torch.ones(len(row), dtype=torch.float64) for row in v])
    mu = p.detach().clone()
    for row in gone if last else []:
        mu[row], v[row] = 0.0, 1e-4
    return mu, 10 * v if last or p.dim() == 1 else v


@pytest.mark.parametrize("gone", [[], [1]])
def test_the_tables_form_is_the_common_implementations(gone: list[int]) -> None:
    """Four hidden units, two classes; of the normalisation behind, only vectors of two entries."""
    torch.manual_seed(0)
    original = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    model, strategy = copy.deepcopy(original), Fisher()
    scores, data = information(original), request(gone or [0, 1], [0, 0] if gone else [0, 1])
    context = Context(original, net, {strategy.needs()[0]: scores}, data, 0)
    strategy.edit(model, context)
    generator = context.generator("noise")
    for name, p in original.named_parameters():
        mu, v = tables_variance(p, scores[name], 2, gone)
        wanted = mu + v.sqrt() * torch.randn(p.shape, generator=generator).double()
        torch.testing.assert_close(model.get_parameter(name).detach(), wanted, rtol=1e-5, atol=1e-9)


def test_a_convolution_is_averaged_over_its_input_channels() -> None:
    """Every position of the kernel keeps a variance of its own: 1 / F of 2 and 4 give 3, of 1 and 9 give 5."""
    f = 1 / torch.tensor([[[[2.0, 1.0]], [[4.0, 9.0]]]], dtype=torch.float64)
    assert Fisher(alpha=1)._variance(f, last=False).tolist() == [[[[3.0, 5.0]], [[3.0, 5.0]]]]
    assert Fisher(alpha=1, form="per_weight")._variance(f, last=False).tolist() == [[[[2.0, 1.0]], [[4.0, 9.0]]]]


def test_only_a_class_that_vanishes_loses_its_row() -> None:
    """A class is retained as soon as one sample of it is; per weight none is set to zero."""
    before = net().get_parameter("2.weight").detach()
    alike = [
        moved(Fisher(), forget=[1, 1], retain=[0, 1])[0],
        moved(Fisher(form="per_weight"), forget=[1], retain=[0])[0],
    ]
    for found in alike:
        assert (found["2.weight"] + before)[1].abs().max() > 0.1
    lost = moved(Fisher(alpha=0), forget=[1], retain=[0])[0]
    assert (lost["2.weight"] + before)[1].abs().max() < 4 * 0.001**0.5
    assert (lost["2.weight"][0] == 0).all()
    assert (lost["0.weight"] == 0).all()


@pytest.mark.parametrize(("f", "caps"), [(2.0, (50.0, 20.0)), (0.01, (50.0, 20.0)), (0.0, (7.0, 200.0))])
def test_over_many_draws_the_variance_is_the_stated_one(f: float, caps: tuple[float, float]) -> None:
    """The sum of squares over the variance is chi-squared; a factor of 1.05 in the variance would fail."""
    torch.manual_seed(0)
    original = nn.Sequential(nn.Linear(200, 200), nn.Linear(200, 200)).double()
    model = copy.deepcopy(original)
    strategy = Fisher(alpha=0.1, cap=caps[0], last_layer_cap=caps[1], form="per_weight")
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


def test_information_is_exact_unless_labels_are_sampled() -> None:
    exact, sampled = Fisher(samples=7).needs()[0], Fisher(samples=7, labels="sampled").needs()[0]
    assert exact == Need(GradientStatistic("mean_square", "expected"), Subset.RETAIN, 7)
    assert sampled == Need(GradientStatistic("mean_square", "sampled"), Subset.RETAIN, 7)


def test_a_parameter_that_no_output_depends_on_is_an_error() -> None:
    part = {name: value for name, value in information(net()).items() if name != "0.bias"}
    with pytest.raises(UnlearnError, match=r"0\.bias"):
        moved(Fisher(), scores=part)
