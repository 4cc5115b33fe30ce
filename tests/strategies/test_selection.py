"""Exactly K parameters: counts, ties, allocation, patterns, and how random the random rule is."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor, nn

from unlearn.core.recipe import norm_parameters
from unlearn.functional.parameter_scores import Need, Scores, Sensitivity
from unlearn.strategies.base import Context, Masks
from unlearn.strategies.selection import (
    All,
    RandomSelection,
    Saliency,
    Selection,
    TopKSelection,
    allocate,
    check_trainable,
    exact_count,
)


def net() -> nn.Sequential:
    """21 parameters in four tensors."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1), nn.Flatten())


def context(scores: dict[Need, Scores] | None = None, seed: int = 0) -> Context:
    return Context(net(), net, scores or {}, {}, seed)


(PLAIN,) = Sensitivity().needs()


def flat(masks: Masks) -> Tensor:
    return torch.cat([mask.flatten() for mask in masks.values()])


def sizes() -> dict[str, int]:
    return {name: p.numel() for name, p in net().named_parameters()}


def no_net() -> nn.Module:
    raise AssertionError("no net needs to be built")


@pytest.mark.parametrize(
    ("k", "n", "expected"),
    [
        (0.0, 10, 0),
        (1e-9, 10, 1),
        (0.04, 10, 1),
        (0.14, 10, 1),
        (0.15, 10, 2),
        (0.25, 10, 3),
        (0.5, 9, 5),
        (0.99, 10, 10),
        (1.0, 10, 10),
        (0, 10, 0),
        (2, 10, 2),
        (10, 10, 10),
    ],
)
def test_exact_count(k: float | int, n: int, expected: int) -> None:
    assert exact_count(k, n) == expected


@settings(deadline=None)
@given(st.lists(st.integers(1, 1000), min_size=1, max_size=12), st.floats(0, 1))
def test_allocation_sums_up_and_is_proportional(parts: list[int], k: float) -> None:
    named = {str(i): size for i, size in enumerate(parts)}
    n = sum(parts)
    count = exact_count(k, n)
    found = allocate(count, named)
    assert sum(found.values()) == count
    assert all(0 <= found[name] <= size for name, size in named.items())
    assert all(abs(found[name] - count * size / n) < 1 for name, size in named.items())


@pytest.mark.parametrize("k", [0.0, 0.01, 0.3, 1.0, 5, 21])
@pytest.mark.parametrize("scope", ["global", "per_layer"])
@pytest.mark.parametrize("kind", [RandomSelection, TopKSelection])
def test_a_selection_takes_exactly_k(kind: type[Selection], scope: str, k: float | int) -> None:
    scores = {PLAIN: {name: torch.zeros_like(p) for name, p in net().named_parameters()}}
    masks = kind(scope=scope).select(net(), k, context(scores))
    assert int(flat(masks).sum()) == exact_count(k, 21)
    assert {name: mask.shape for name, mask in masks.items()} == {n: p.shape for n, p in net().named_parameters()}


def test_global_ranks_all_and_per_layer_each_tensor_alone() -> None:
    scores = {name: torch.arange(float(p.numel())).view(p.shape) for name, p in net().named_parameters()}
    scores["0.weight"] += 100
    at_hand = context({PLAIN: scores})
    everywhere = TopKSelection().select(net(), 0.5, at_hand)
    assert int(everywhere["0.weight"].sum()) == 11
    layered = TopKSelection(scope="per_layer").select(net(), 0.5, at_hand)
    assert {name: int(mask.sum()) for name, mask in layered.items()} == allocate(11, sizes())
    for mask in layered.values():  # the scores rise with the index: the last ones are chosen
        chosen = mask.flatten()
        assert chosen.tolist() == sorted(chosen.tolist())


def test_top_k_asks_for_its_scores_and_reads_them() -> None:
    sensitivity = Sensitivity("mean_square", "output")
    (wanted,) = sensitivity.needs()
    high = {name: torch.full_like(p, float(name == "2.bias")) for name, p in net().named_parameters()}
    low = {name: torch.full_like(p, float(name == "0.bias")) for name, p in net().named_parameters()}
    selection = TopKSelection(sensitivity=sensitivity)
    assert selection.needs() == (wanted,)
    assert selection.select(net(), 0.01, context({wanted: high, PLAIN: low}))["2.bias"].all()


@pytest.mark.parametrize(("scope", "count", "idle"), [("global", 5, 0), ("global", 8, 3), ("per_layer", 21, 16)])
def test_selected_scores_of_zero_are_noted(scope: str, count: int, idle: int) -> None:
    scores = {name: torch.zeros_like(p) for name, p in net().named_parameters()}
    scores["0.weight"].view(-1)[3:8] = torch.arange(1.0, 6)
    there = context({PLAIN: scores})
    TopKSelection(scope=scope).select(there.original, count, there)
    told = there.notes.get("selection", "0 of the selected weights have a score of 0")
    assert told.startswith(f"{idle} of the selected weights have a score of 0")
    assert set(there.notes) == ({"selection"} if idle else set())


def test_top_k_by_ratio_selects_entries_that_only_the_forget_set_needs() -> None:
    """The largest on D_f matter as much on D_r; those of 2.bias matter to the forgotten alone."""
    selection = TopKSelection(sensitivity=Sensitivity("ratio"))
    forget, retain = selection.needs()
    high = {name: torch.ones_like(p) for name, p in net().named_parameters()}
    low = {name: torch.full_like(p, float(name != "2.bias")) for name, p in net().named_parameters()}
    high["2.bias"] *= 0.5
    assert not selection.select(net(), 0.01, context({forget: high, retain: high}))["2.bias"].any()
    assert selection.select(net(), 0.01, context({forget: high, retain: low}))["2.bias"].all()


def test_random_sets_are_nested() -> None:
    found = [flat(RandomSelection().select(net(), count / 21, context())) for count in range(22)]
    assert [int(mask.sum()) for mask in found] == list(range(22))
    assert all((smaller <= larger).all() for smaller, larger in pairwise(found))


def test_the_seed_decides_the_random_set() -> None:
    found = [flat(RandomSelection().select(net(), 0.5, context(seed=seed))).tolist() for seed in range(20)]
    again = [flat(RandomSelection().select(net(), 0.5, context(seed=seed))).tolist() for seed in range(20)]
    assert found == again
    assert len({tuple(mask) for mask in found}) == 20


def test_a_random_draw_leaves_the_global_generator_alone() -> None:
    model, at_hand = net(), context()
    before = torch.get_rng_state()
    RandomSelection().select(model, 0.5, at_hand)
    assert torch.equal(before, torch.get_rng_state())


def test_every_random_set_is_equally_likely() -> None:
    small = nn.Linear(2, 2)  # six entries: 15 pairs
    pairs: Counter[tuple[int, ...]] = Counter()
    for seed in range(1500):
        mask = flat(RandomSelection().select(small, 2, Context(small, net, {}, {}, seed)))
        pairs[tuple(mask.nonzero()[:, 0].tolist())] += 1
    assert chisquare([pairs[pair] for pair in combinations(range(6), 2)]).pvalue > 1e-3


def test_all_takes_every_eligible_entry_whatever_k() -> None:
    masks = All(exclude=["*.bias"]).select(net(), 0.1, context())
    assert set(masks) == {"0.weight", "2.weight"}
    assert flat(masks).all()


@pytest.mark.parametrize("kind", [RandomSelection, TopKSelection, Saliency, All])
def test_parameters_without_a_matching_pattern_are_left_out(kind: type[Selection]) -> None:
    model = net().requires_grad_(False)  # a strategy may ask for masks of the frozen original
    scores = {PLAIN: {name: torch.ones_like(p) for name, p in model.named_parameters()}}
    masks = kind(include=["0.*"], exclude=["*.bias"]).select(model, 1.0, context(scores))
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {"0.weight": 12}


def normed() -> nn.Sequential:
    """51 parameters outside its normalisation layers, 30 inside."""
    layers = [nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3), nn.GroupNorm(1, 3), nn.InstanceNorm2d(3, affine=True)]
    return nn.Sequential(
        *layers, nn.Sequential(nn.LayerNorm([3, 1, 1])), nn.Flatten(), nn.Linear(3, 6), nn.LayerNorm(3)
    )


@pytest.mark.parametrize("scope", ["global", "per_layer"])
@pytest.mark.parametrize("k", [0.3, 1.0, 20, 51])
@pytest.mark.parametrize("kind", [RandomSelection, TopKSelection])
def test_normalisation_layers_are_left_out_and_k_stays_exact(kind: type[Selection], k: float | int, scope: str) -> None:
    model = normed()
    scores = {PLAIN: {name: torch.ones_like(p) for name, p in model.named_parameters()}}
    masks = kind(scope=scope).select(model, k, Context(model, normed, scores, {}, 0))
    assert set(masks) == {"0.weight", "0.bias", "6.weight", "6.bias"}
    assert int(flat(masks).sum()) == exact_count(k, 51)
    everywhere = kind(scope=scope, layers="all").select(model, k, Context(model, normed, scores, {}, 0))
    assert set(everywhere) == {name for name, _ in model.named_parameters()}
    assert int(flat(everywhere).sum()) == exact_count(k, 81)


def test_all_means_normalisation_layers_too() -> None:
    assert set(All().select(normed(), 1.0, context())) == {name for name, _ in normed().named_parameters()}
    assert int(flat(All(layers="no_norm").select(normed(), 1.0, context())).sum()) == 51


@pytest.mark.parametrize("kind", [RandomSelection, TopKSelection])
def test_a_net_without_normalisation_is_selected_from_as_ever(kind: type[Selection]) -> None:
    at_hand = context({PLAIN: {name: torch.rand_like(p) for name, p in net().named_parameters()}})
    assert torch.equal(*(flat(kind(layers=layers).select(net(), 0.3, at_hand)) for layers in ("no_norm", "all")))


def test_a_bare_normalisation_layer_is_recognised() -> None:
    assert norm_parameters(nn.BatchNorm2d(3)) == {"weight", "bias"}
    assert norm_parameters(nn.BatchNorm2d(3, affine=False)) == set()


def test_a_count_is_checked_against_the_eligible_entries() -> None:
    assert [problem.key for problem in RandomSelection().check(52, normed)] == ["strategy.k"]
    assert list(RandomSelection().check(51, normed)) == []
    assert list(RandomSelection(layers="all").check(81, normed)) == []


def test_k_is_a_share_of_the_eligible() -> None:
    assert int(flat(RandomSelection(include=["2.*"]).select(net(), 0.5, context())).sum()) == 3  # of 5


@pytest.mark.parametrize(("selection", "k"), [(RandomSelection(), 0.5), (TopKSelection(), 0.5), (All(), 1.0)])
def test_a_share_of_all_fits_every_net(selection: Selection, k: float) -> None:
    assert list(selection.check(k, no_net)) == []


@pytest.mark.parametrize(
    ("selection", "k", "fits"),
    [
        (RandomSelection(), 0, False),
        (All(), 0, False),
        (RandomSelection(), 1.0, False),
        (All(), 1.0, True),
        (RandomSelection(), 0.5, True),
    ],
)
def test_nothing_and_everything_need_no_ranking(selection: Selection, k: float, fits: bool) -> None:
    assert (list(check_trainable(selection, k, net)) == []) is fits


def test_all_takes_no_part() -> None:
    assert [problem.key for problem in All().check(0.5, no_net)] == ["strategy.k"]


@pytest.mark.parametrize(
    ("selection", "k", "key"),
    [
        (RandomSelection(include=["convolution*"]), 0.5, "strategy.selection.include"),
        (RandomSelection(exclude=["0.*", "norm*"]), 0.5, "strategy.selection.exclude"),
        (RandomSelection(exclude=["*"]), 0.5, "strategy.selection.exclude"),
        (RandomSelection(), 22, "strategy.k"),
        (TopKSelection(include=["2.*"]), 6, "strategy.k"),
    ],
)
def test_settings_that_do_not_fit_the_net_are_named(selection: Selection, k: float | int, key: str) -> None:
    assert key in [problem.key for problem in selection.check(k, net)]


@pytest.mark.parametrize(
    ("selection", "k"),
    [(RandomSelection(), 21), (TopKSelection(include=["2.*"]), 5), (RandomSelection(exclude=["0*"]), 0.1)],
)
def test_settings_that_fit_the_net_pass(selection: Selection, k: float | int) -> None:
    assert list(selection.check(k, net)) == []
