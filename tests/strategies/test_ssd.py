"""Selective synaptic dampening against hand-computed cases, and its importances against a loop over samples."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from unlearn.core.errors import UnlearnError
from unlearn.core.validation import problems
from unlearn.functional.parameter_scores import Scores
from unlearn.strategies.base import Context, Edit
from unlearn.strategies.dampening import NEEDS
from unlearn.strategies.ssd import Ssd

EVERYONE, FORGET = NEEDS


def linear() -> nn.Linear:
    layer = nn.Linear(5, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0, -3.0, 4.0, 5.0]]))
        layer.bias.fill_(8.0)
    return layer


def edited(strategy: Ssd, everyone: list[float], forget: list[float]) -> tuple[list[float], Edit]:
    """Weights, then bias, after the edit with these importances."""

    def named(values: list[float]) -> Scores:
        return {"weight": torch.tensor([values[:5]]), "bias": torch.tensor(values[5:])}

    model, original = linear(), linear()
    edit = strategy.edit(model, Context(original, linear, {EVERYONE: named(everyone), FORGET: named(forget)}, {}, 0))
    return [*model.weight.flatten().tolist(), *model.bias.tolist()], edit


def test_dampening_by_hand() -> None:
    """With alpha 2 and lambda 1 only the ratios 4, 8 and 2.5 are above, and become factors of 1/4, 1/8 and 2/5."""
    found, edit = edited(Ssd(alpha=2, dampening=1), [1, 1, 1, 1, 1, 2], [4, 2, 8, 1, 0.5, 5])
    assert found == pytest.approx([0.25, 2.0, -0.375, 4.0, 5.0, 3.2], rel=1e-6)
    assert edit.masks["weight"].tolist() == [[True, False, True, False, False]]
    assert edit.masks["bias"].tolist() == [True]


def test_lambda_scales_selected_weights_but_never_enlarges_them() -> None:
    """lambda 4 asks for factors of 1, 4/8 and 4 * 2/5: the last is cut to 1."""
    found, _ = edited(Ssd(alpha=2, dampening=4), [1, 1, 1, 1, 1, 2], [4, 2, 8, 1, 0.5, 5])
    assert found == pytest.approx([1.0, 2.0, -1.5, 4.0, 5.0, 8.0])
    gone, _ = edited(Ssd(alpha=2, dampening=0), [1, 1, 1, 1, 1, 2], [4, 2, 8, 1, 0.5, 5])
    assert gone == pytest.approx([0.0, 2.0, 0.0, 4.0, 5.0, 0.0])


def test_an_entry_that_only_the_forgotten_need_goes_and_one_they_do_not_need_stays() -> None:
    found, edit = edited(Ssd(), [0, 1, 0, 1e-30, 1, 1], [1e-20, 0, 0, 1e-20, 1, 1])
    assert found == pytest.approx([0.0, 2.0, -3.0, 4e-10, 5.0, 8.0], rel=1e-5)
    assert edit.masks["weight"].tolist() == [[True, False, False, True, False]]


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 4.0, 16.0])
def test_alpha_selects_strictly_above(alpha: float) -> None:
    ratios = [0.5, 1, 2, 4, 16, 32]
    _, edit = edited(Ssd(alpha=alpha), [1] * 6, [float(ratio) for ratio in ratios])
    chosen = [*edit.masks["weight"].flatten().tolist(), *edit.masks["bias"].tolist()]
    assert chosen == [ratio > alpha for ratio in ratios]


def test_with_an_alpha_of_the_ratio_of_sizes_nothing_is_selected() -> None:
    """D holds D_f: of eight samples two are forgotten."""
    squares = torch.rand(8, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    squares[2:, 0] = 0  # the retained do not need this one at all
    everyone, forget = squares.mean(0).tolist(), squares[:2].mean(0).tolist()
    assert not any(mask.any() for mask in edited(Ssd(alpha=4 + 1e-6), everyone, forget)[1].masks.values())
    assert edited(Ssd(alpha=4 - 1e-3), everyone, forget)[1].masks["weight"].tolist() == [[True] + 4 * [False]]


def test_entries_outside_keep_every_bit() -> None:
    original = linear()
    with torch.no_grad():
        original.weight[0, 1] = -0.0
    model = copy.deepcopy(original)
    same = {"weight": torch.tensor([[1.0] * 5]), "bias": torch.tensor([1.0])}
    Ssd().edit(model, Context(original, linear, {EVERYONE: same, FORGET: same}, {}, 0))
    assert torch.equal(model.weight.view(torch.int32), original.weight.view(torch.int32))


@pytest.mark.parametrize("refresh", [True, False])
def test_refresh_bn_requests_new_running_statistics_and_reads_retain_only_then(refresh: bool) -> None:
    strategy = Ssd(refresh_bn=refresh)
    assert edited(strategy, [1.0] * 6, [9.0] * 6)[1].refresh_bn is strategy.reads_retain is refresh


def test_a_parameter_that_no_output_depends_on_is_an_error() -> None:
    whole = {"weight": torch.ones(1, 5), "bias": torch.ones(1)}
    part = {"weight": torch.ones(1, 5)}
    with pytest.raises(UnlearnError, match="bias"):
        Ssd().edit(linear(), Context(linear(), linear, {EVERYONE: whole, FORGET: part}, {}, 0))


def loop(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """One sample, one backward pass; the mean of the squares."""
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for image, label in zip(images, labels, strict=True):
        model.zero_grad()
        (-model(image[None]).log_softmax(1)[0, label]).backward()
        for name, p in model.named_parameters():
            assert p.grad is not None
            total[name] += p.grad**2 / len(labels)
    return total


@pytest.mark.parametrize("size", [1, 4, 9])
def test_importances_are_those_of_a_batch_size_of_one(size: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3)).double().eval()
    images, labels = torch.rand(9, 1, 2, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1, 2, 0, 0, 1])
    batches = list(zip(images.split(size), labels.split(size), strict=True))
    found = [need.statistic.compute(copy.deepcopy(model), batches) for need in Ssd().needs()]
    for name, wanted in loop(model, images, labels).items():
        assert wanted.max() > 0
        for each in found:
            torch.testing.assert_close(each[name], wanted, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("bad", [{"alpha": 0.0}, {"alpha": math.inf}, {"dampening": -0.1}])
def test_what_cannot_be_is_refused(bad: dict[str, float]) -> None:
    assert [problem.key for problem in problems(Ssd(**bad), "strategy")] == [f"strategy.{next(iter(bad))}"]
