"""SSD's factor by hand and at its edges; Top-K that dampens instead of adding noise."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from unlearn.core.errors import UnlearnError
from unlearn.core.types import Subset
from unlearn.core.validation import problems
from unlearn.functional.parameter_scores import Need, Scores
from unlearn.strategies.base import Context
from unlearn.strategies.dampening import NEEDS, compute_importances, dampening_factor
from unlearn.strategies.random_k import RandomK
from unlearn.strategies.top_k import TopK

EVERYONE, FORGET = NEEDS


def four_weights() -> nn.Linear:
    """A weight of four entries and no bias."""
    layer = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -2.0, 3.0, -4.0]]))
    return layer


def scores(everyone: list[float], forget: list[float]) -> dict[Need, Scores]:
    return {EVERYONE: {"weight": torch.tensor([everyone])}, FORGET: {"weight": torch.tensor([forget])}}


def wide(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_factor_by_hand() -> None:
    found = dampening_factor(wide([1.0, 3.0, 1.0, 2.0]), wide([4.0, 4.0, 0.5, 2.0]), 1.0)
    assert found.tolist() == [0.25, 0.75, 1.0, 1.0]
    assert dampening_factor(wide([1.0, 3.0]), wide([4.0, 4.0]), 0.5).tolist() == [0.125, 0.375]


def test_the_factor_where_an_importance_is_nothing() -> None:
    """Nothing to all but something to the forgotten: 0. Nothing to the forgotten: untouched, 0 / 0 as well."""
    assert dampening_factor(wide([0.0, 1.0, 0.0]), wide([1e-300, 0.0, 0.0]), 1.0).tolist() == [0.0, 1.0, 1.0]


def test_the_importances_are_mean_squares_on_all_and_on_the_forgotten() -> None:
    assert [(need.statistic.name, need.subset, need.samples) for need in NEEDS] == [
        ("mean_square", Subset.TRAIN, None),
        ("mean_square", Subset.FORGET, None),
    ]
    everyone, forget = compute_importances(four_weights(), scores([1, 2, 3, 4], [5, 6, 7, 8]))["weight"]
    assert (everyone.tolist(), forget.tolist()) == ([[1, 2, 3, 4]], [[5, 6, 7, 8]])
    assert everyone.dtype == torch.float64


@pytest.mark.parametrize("missing", NEEDS)
def test_a_parameter_without_importance_is_named(missing: Need) -> None:
    found = scores([1, 2, 3, 4], [5, 6, 7, 8]) | {missing: {}}
    with pytest.raises(UnlearnError, match="weight"):
        compute_importances(four_weights(), found)


def test_only_dampening_asks_for_importances() -> None:
    assert RandomK().needs() == ()
    assert RandomK(mode="dampen").needs() == NEEDS
    assert TopK(mode="dampen").needs() == (*TopK().needs(), *NEEDS)


def test_top_k_dampens_only_selected_entries() -> None:
    """Of four entries the two most sensitive, the last ones; the factor of the third is 1 / 4, of the last 1."""
    strategy, original = TopK(k=2, mode="dampen"), four_weights()
    (sensitivity,) = TopK().needs()
    ranked = {sensitivity: {"weight": torch.tensor([[1.0, 2.0, 3.0, 4.0]])}}
    model = copy.deepcopy(original)
    at_hand = Context(original, four_weights, scores([1, 1, 1, 1], [4, 4, 4, 0.5]) | ranked, {}, 0)
    edit = strategy.edit(model, at_hand)
    assert model.weight.tolist() == [[1.0, -2.0, 0.75, -4.0]]
    assert edit.masks["weight"].tolist() == [[False, False, True, True]]


def test_the_dampening_scales_the_factor() -> None:
    model = four_weights()
    RandomK(k=1.0, mode="dampen", dampening=0.5).edit(
        model, Context(four_weights(), four_weights, scores([1] * 4, [2] * 4), {}, 0)
    )
    assert model.weight.tolist() == [[0.25, -0.5, 0.75, -1.0]]
    assert [problem.key for problem in problems(RandomK(dampening=-1), "strategy")] == ["strategy.dampening"]
