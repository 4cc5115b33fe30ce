"""Masks of the K largest entries, against a stable sort."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unlearn.functional import top_k as module
from unlearn.functional.top_k import SAMPLE, top_k_mask

SCORES = {
    "random": st.floats(0, 1e6, width=32),
    "tied": st.sampled_from([0.0, 0.5, 1.0]),
    "tiny": st.floats(0, 2**-120, width=32),
    "skewed": st.one_of(*[st.just(0.0)] * 9, st.floats(0, 1, width=32)),
    "integers": st.integers(0, 5),
}


@pytest.mark.parametrize("kind", SCORES)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_the_mask_equals_that_of_a_stable_sort(kind: str, data: st.DataObject) -> None:
    values = data.draw(st.lists(SCORES[kind], min_size=1, max_size=60))
    cut = data.draw(st.integers(0, len(values)))
    count = data.draw(st.integers(0, len(values)))
    scores = torch.tensor(values)
    masks = top_k_mask({"a": scores[:cut].view(1, -1), "b": scores[cut:]}, count)
    order = sorted(range(len(values)), key=lambda i: (-scores[i].item(), i))
    assert torch.cat([mask.flatten() for mask in masks.values()]).nonzero()[:, 0].tolist() == sorted(order[:count])
    assert {name: (mask.shape, mask.dtype) for name, mask in masks.items()} == {
        "a": ((1, cut), torch.bool),
        "b": ((len(values) - cut,), torch.bool),
    }


@pytest.mark.parametrize("bad", [float("nan"), -float("nan")])
def test_a_nan_score_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="NaN"):
        top_k_mask({"a": torch.tensor([1.0, bad, 0.0])}, 1)


def test_infinite_scores_come_first() -> None:
    assert top_k_mask({"a": torch.tensor([1.0, float("inf"), 2.0])}, 1)["a"].tolist() == [False, True, False]


def test_a_count_above_the_number_of_entries_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 3 entries, got 4"):
        top_k_mask({"a": torch.zeros(3)}, 4)


def mask_by_sorting(scores: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    """The mask by a stable sort of all entries."""
    entries = torch.cat([tensor.flatten() for tensor in scores.values()])
    mask = torch.zeros(len(entries), dtype=torch.bool)
    mask[entries.argsort(descending=True, stable=True)[:count]] = True
    parts = mask.split([tensor.numel() for tensor in scores.values()])
    return {name: part.view(tensor.shape) for part, (name, tensor) in zip(parts, scores.items(), strict=True)}


def many_scores(kind: str) -> dict[str, Tensor]:
    """More entries than the sample, in tensors of uneven sizes, one of them empty."""
    draws = torch.Generator().manual_seed(0)
    values = torch.randn(4 * SAMPLE, generator=draws)
    zero = torch.rand(len(values), generator=draws)
    values = {
        "distinct": values,
        "mostly zero": values.abs() * (zero > 0.62),
        "tied in the middle": torch.where(zero < 0.3, 0.5, values),
        "few levels": (values * 2).round(),
        "all equal": torch.ones_like(values),
        "infinite": torch.where(zero < 0.2, torch.inf, values),
        "double": values.double() + 1e-12 * zero.double(),
        "half": values.bfloat16(),
    }[kind]
    a, b, c, d = values.split([SAMPLE, 1, 0, len(values) - SAMPLE - 1])
    return {"a": a.view(64, -1).t(), "b": b, "c": c, "d": d}  # the first is not contiguous


KINDS = ("distinct", "mostly zero", "tied in the middle", "few levels", "all equal", "infinite", "double", "half")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fraction", [0.0, 1e-5, 0.01, 0.1, 0.37, 0.5, 0.62, 0.9, 1.0])
def test_the_mask_of_many_entries_equals_that_of_a_stable_sort(kind: str, fraction: float) -> None:
    scores = many_scores(kind)
    count = round(fraction * 4 * SAMPLE)
    expected = mask_by_sorting(scores, count)
    masks = top_k_mask(scores, count)
    assert all(torch.equal(masks[name], expected[name]) for name in scores)


@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_a_bracket_that_misses_costs_only_time(fraction: float, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = many_scores("distinct")
    count = round(fraction * 4 * SAMPLE)
    brackets = {"above": (2.9, 3.0), "below": (-3.0, -2.9)}
    for low, high in brackets.values():
        monkeypatch.setattr(module, "_bracket", lambda *_, low=low, high=high: (low, high))
        expected = mask_by_sorting(scores, count)
        assert all(torch.equal(mask, expected[name]) for name, mask in top_k_mask(scores, count).items())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fraction", [0.0, 1e-5, 0.1, 0.37, 0.5, 0.62, 1.0])
def test_the_gpu_method_gives_the_same_mask(kind: str, fraction: float) -> None:
    """The GPU method also runs on a CPU, only slower."""
    scores = many_scores(kind)
    count = round(fraction * 4 * SAMPLE)
    expected = mask_by_sorting(scores, count)
    masks = module._top_k_mask_on_device(scores, 4 * SAMPLE, count)
    assert all(torch.equal(masks[name], expected[name]) for name in scores)


@pytest.mark.parametrize(("low", "high"), [(2.9, 3.0), (-3.0, -2.9)])
def test_a_bracket_of_the_gpu_method_that_misses_costs_only_time(
    low: float, high: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = many_scores("distinct")
    monkeypatch.setattr(module, "_bracket_on_device", lambda *_: (low, high))
    expected = mask_by_sorting(scores, SAMPLE)
    assert all(
        torch.equal(mask, expected[name])
        for name, mask in module._top_k_mask_on_device(scores, 4 * SAMPLE, SAMPLE).items()
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_the_mask_on_a_gpu_equals_that_on_a_cpu(kind: str) -> None:
    scores = many_scores(kind)
    expected = top_k_mask(scores, SAMPLE)
    masks = top_k_mask({name: tensor.cuda() for name, tensor in scores.items()}, SAMPLE)
    assert all(mask.is_cuda and torch.equal(mask.cpu(), expected[name]) for name, mask in masks.items())


def test_a_nan_among_many_scores_is_refused() -> None:
    scores = many_scores("distinct")
    scores["d"][-1] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        top_k_mask(scores, 5)
    with pytest.raises(ValueError, match="NaN"):
        module._top_k_mask_on_device(scores, 4 * SAMPLE, 5)
