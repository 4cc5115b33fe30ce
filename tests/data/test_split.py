"""The split, over all kinds of requests: disjoint, complete, nobody empty, the same for the same seed."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from unlearn.data.datasets.digits import Digits
from unlearn.data.forget import ClassWise, Forget, Indices, Random
from unlearn.data.split import ForgetSplit, Population
from unlearn.errors import DataError

LABELS = torch.arange(Digits.train_size) * 7919 % 1013 % 10  # stand-ins, all classes mixed
SEEDS = st.integers(0, 2**31)
RULES = st.one_of(
    st.builds(Random, share=st.floats(0.001, 0.9)),
    st.builds(Random, count=st.integers(1, 50)),
    st.builds(ClassWise, st.integers(0, 9)),
)
quickly = settings(max_examples=60, deadline=None)


@st.composite
def data_sets(draw: st.DrawFn) -> Digits:
    aside = st.floats(0.01, 0.4)
    return Digits(limit=draw(st.none() | st.integers(100, 1437)), validation=draw(aside), holdout=draw(aside))


@contextmanager
def naming(indices: list[int]) -> Iterator[Indices]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "request.json"
        path.write_text(json.dumps(indices))
        yield Indices(str(path))


def parts(split: ForgetSplit) -> tuple[Tensor, ...]:
    return split.forget, split.retain, split.validation, split.holdout


def draw(dataset: Digits, forget: Forget, seed: int) -> ForgetSplit:
    """A split that obeys what must hold of all of them."""
    split = ForgetSplit.draw(Population.of(dataset, seed, forget), forget, LABELS[: dataset.size])
    assert torch.cat(parts(split)).sort().values.tolist() == list(range(dataset.size))  # disjoint and complete
    assert all(len(part) and part.dtype == torch.int64 for part in parts(split))
    assert all(torch.equal(part, part.sort().values) for part in parts(split))
    assert (len(split.validation), len(split.holdout)) == dataset.aside
    again = ForgetSplit.draw(Population.of(dataset, seed, forget), forget, LABELS[: dataset.size])
    assert all(map(torch.equal, parts(split), parts(again)))
    return split


@quickly
@given(data_sets(), RULES, SEEDS)
def test_rules_split_the_training_part(dataset: Digits, forget: Forget, seed: int) -> None:
    assume(not [*dataset.check(), *forget.check(Population.of(dataset, seed, forget))])
    try:
        draw(dataset, forget, seed)
    except DataError:  # a rare class may have no image left in D
        assert isinstance(forget, ClassWise)


@quickly
@given(data_sets(), SEEDS, st.data())
def test_requests_split_the_training_part(dataset: Digits, seed: int, data: st.DataObject) -> None:
    most = min(dataset.size - sum(dataset.aside) - 1, 40)
    indices = data.draw(st.lists(st.integers(0, dataset.size - 1), min_size=1, max_size=most, unique=True))
    with naming(indices) as forget:
        split = draw(dataset, forget, seed)
    assert split.forget.tolist() == sorted(indices)  # all of them in D, none in validation or holdout


@quickly
@given(data_sets(), RULES, SEEDS)
def test_who_is_trained_on_does_not_depend_on_the_rule(dataset: Digits, forget: Forget, seed: int) -> None:
    by_rule, plain = (Population.of(dataset, seed, rule) for rule in (forget, Random(0.5)))
    assert by_rule == plain
    assert all(map(torch.equal, by_rule.draw()[:3], plain.draw()[:3]))


@quickly
@given(SEEDS)
def test_another_seed_is_another_split(seed: int) -> None:
    first, other = (draw(Digits(limit=300), Random(0.2), s) for s in (seed, seed + 1))
    assert not torch.equal(first.holdout, other.holdout)
    assert not torch.equal(first.forget, other.forget)


def test_a_request_may_take_all_but_one() -> None:
    dataset = Digits(limit=100)
    with naming(list(range(100 - sum(dataset.aside) - 1))) as forget:
        assert len(draw(dataset, forget, 0).retain) == 1


@pytest.mark.parametrize("forget", [Random(count=5), ClassWise(3)])
def test_nothing_to_forget_or_to_retain_is_refused(forget: Forget) -> None:
    dataset = Digits(limit=100)
    labels = torch.full((100,), 3) if isinstance(forget, ClassWise) else LABELS[:100]
    split = Population.of(dataset, 0, forget)
    everything = Random(count=100) if isinstance(forget, Random) else forget
    with pytest.raises(DataError, match="some but not all training images, came 75 of 75"):
        ForgetSplit.draw(split, everything, labels)
    with pytest.raises(DataError, match="came 0 of 75"):
        ForgetSplit.draw(split, ClassWise(9), torch.zeros(100, dtype=torch.int64))


def test_a_request_for_foreign_records_is_refused() -> None:
    dataset = Digits(limit=100)
    with naming([5000]) as forget, pytest.raises(DataError, match="came 0 of 75"):
        ForgetSplit.draw(Population.of(dataset, 0, forget), forget, LABELS[:100])
