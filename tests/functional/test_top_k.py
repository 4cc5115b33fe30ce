"""Exactly K largest entries, against a stable sort."""

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
def test_it_takes_what_a_stable_sort_takes(kind: str, data: st.DataObject) -> None:
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


def test_more_than_all_is_refused() -> None:
    with pytest.raises(ValueError, match="4 of 3"):
        top_k_mask({"a": torch.zeros(3)}, 4)


def by_sorting(scores: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    """The slow, obvious twin."""
    whole = torch.cat([each.flatten() for each in scores.values()])
    mask = torch.zeros(len(whole), dtype=torch.bool)
    mask[whole.argsort(descending=True, stable=True)[:count]] = True
    parts = mask.split([each.numel() for each in scores.values()])
    return {name: part.view(each.shape) for part, (name, each) in zip(parts, scores.items(), strict=True)}


def large(kind: str) -> dict[str, Tensor]:
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
@pytest.mark.parametrize("share", [0.0, 1e-5, 0.01, 0.1, 0.37, 0.5, 0.62, 0.9, 1.0])
def test_many_entries_are_taken_as_by_a_stable_sort(kind: str, share: float) -> None:
    scores = large(kind)
    count = round(share * 4 * SAMPLE)
    expected = by_sorting(scores, count)
    found = top_k_mask(scores, count)
    assert all(torch.equal(found[name], expected[name]) for name in scores)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_sample_that_misleads_costs_time_alone(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = large("distinct")
    count = round(share * 4 * SAMPLE)
    ends = {"above": (2.9, 3.0), "below": (-3.0, -2.9)}
    for low, high in ends.values():
        monkeypatch.setattr(module, "_bracket", lambda *_, low=low, high=high: (low, high))
        expected = by_sorting(scores, count)
        assert all(torch.equal(mask, expected[name]) for name, mask in top_k_mask(scores, count).items())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.0, 1e-5, 0.1, 0.37, 0.5, 0.62, 1.0])
def test_the_way_of_a_gpu_takes_the_same(kind: str, share: float) -> None:
    """It runs on a CPU as well, only slower."""
    scores = large(kind)
    count = round(share * 4 * SAMPLE)
    expected = by_sorting(scores, count)
    found = module._on_device(scores, 4 * SAMPLE, count)
    assert all(torch.equal(found[name], expected[name]) for name in scores)


@pytest.mark.parametrize(("low", "high"), [(2.9, 3.0), (-3.0, -2.9)])
def test_there_too_a_sample_may_mislead(low: float, high: float, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = large("distinct")
    monkeypatch.setattr(module, "_bracket_on_device", lambda *_: (low, high))
    expected = by_sorting(scores, SAMPLE)
    assert all(
        torch.equal(mask, expected[name]) for name, mask in module._on_device(scores, 4 * SAMPLE, SAMPLE).items()
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_on_a_gpu_it_takes_what_it_takes_on_a_cpu(kind: str) -> None:
    scores = large(kind)
    expected = top_k_mask(scores, SAMPLE)
    found = top_k_mask({name: each.cuda() for name, each in scores.items()}, SAMPLE)
    assert all(mask.is_cuda and torch.equal(mask.cpu(), expected[name]) for name, mask in found.items())


def test_a_nan_among_many_is_refused() -> None:
    scores = large("distinct")
    scores["d"][-1] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        top_k_mask(scores, 5)
    with pytest.raises(ValueError, match="NaN"):
        module._on_device(scores, 4 * SAMPLE, 5)
