"""The split, over all kinds of requests: disjoint, complete, nobody empty, the same for the same seed."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from unlearn.core.errors import DataError
from unlearn.data.datasets.digits import Digits
from unlearn.data.population import Population
from unlearn.data.requests.base import Forget
from unlearn.data.requests.listed import Indices
from unlearn.data.requests.rules import ClassWise, Mislabelled, Random
from unlearn.data.splits import ForgetSplit
from unlearn.data.trained_on import TrainedOn

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
    assert (len(split.validation), len(split.holdout)) == dataset.held_out_sizes
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
    most = min(dataset.size - sum(dataset.held_out_sizes) - 1, 40)
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
    with naming(list(range(100 - sum(dataset.held_out_sizes) - 1))) as forget:
        assert len(draw(dataset, forget, 0).retain) == 1


@pytest.mark.parametrize("forget", [Random(count=5), ClassWise(3)])
def test_nothing_to_forget_or_to_retain_is_refused(forget: Forget) -> None:
    dataset = Digits(limit=100)
    labels = torch.full((100,), 3) if isinstance(forget, ClassWise) else LABELS[:100]
    split = Population.of(dataset, 0, forget)
    everything = Random(count=100) if isinstance(forget, Random) else forget
    with pytest.raises(DataError, match="some but not all training images, got 75 of 75"):
        ForgetSplit.draw(split, everything, labels)
    with pytest.raises(DataError, match="got 0 of 75"):
        ForgetSplit.draw(split, ClassWise(9), torch.zeros(100, dtype=torch.int64))


def test_a_request_for_foreign_records_is_refused() -> None:
    dataset = Digits(limit=100)
    with naming([5000]) as forget, pytest.raises(DataError, match="got 0 of 75"):
        ForgetSplit.draw(Population.of(dataset, 0, forget), forget, LABELS[:100])


# An original that was trained elsewhere


@contextmanager
def trained(indices: list[int]) -> Iterator[TrainedOn]:
    with naming(indices) as listed:
        yield TrainedOn(listed.file)


@quickly
@given(data_sets(), SEEDS, st.data())
def test_a_checkpoints_records_are_d(dataset: Digits, seed: int, data: st.DataObject) -> None:
    members = sorted(data.draw(st.sets(st.integers(0, dataset.size - 1), min_size=2)))
    with trained(members) as trained_on:
        drawn = Population(dataset, seed, trained_on=trained_on).draw()
    assert drawn.member.tolist() == members
    aside = torch.cat([drawn.validation, drawn.holdout])
    if dataset.size - len(members) >= sum(dataset.held_out_sizes):  # the rest of the training part is enough
        assert drawn.test is None
        assert (len(drawn.validation), len(drawn.holdout)) == dataset.held_out_sizes
        assert not torch.isin(aside, drawn.member).any()
    else:
        assert drawn.test is not None
        everyone = torch.cat([aside, drawn.test]).sort().values
        assert everyone.tolist() == list(range(dataset.test_size))  # disjoint and complete
    assert len(aside.unique()) == len(aside)


def test_a_checkpoint_trained_on_all_takes_validation_and_holdout_from_the_test_part() -> None:
    dataset = Digits(limit=200)
    drawn = Population(dataset, 0, trained_on=TrainedOn("all")).draw()
    assert drawn.member.tolist() == list(range(200))
    assert (len(drawn.validation), len(drawn.holdout)) == (36, 54)  # 10 and 15 % of 360
    assert drawn.test is not None
    assert len(drawn.test) == 270


@pytest.mark.parametrize(("missing", "from_training"), [(0, True), (1, False)])
def test_validation_and_holdout_are_drawn_from_the_training_part_as_long_as_it_has_enough(
    missing: int, from_training: bool
) -> None:
    dataset = Digits(limit=200)
    aside = sum(dataset.held_out_sizes)
    with trained(list(range(200 - aside + missing))) as seen:
        drawn = Population.of(dataset, 0, Random(share=0.1), seen).draw()
    assert (drawn.test is None) is from_training
    if from_training:
        assert torch.cat([drawn.validation, drawn.holdout]).sort().values.tolist() == list(range(200 - aside, 200))


def digest(indices: list[int]) -> str:
    return hashlib.sha256(torch.tensor(indices).numpy()).hexdigest()  # type: ignore[arg-type]


def test_the_identity_of_a_population_is_who_is_meant(tmp_path: Path) -> None:
    assert Population.of(Digits(), 0, Random(share=0.1)).identity() == {"reserved": None, "trained_on": None}
    (tmp_path / "earlier.txt").write_text("8\n2\n")
    with naming([5, 3]) as request, trained([3, 4, 5]) as seen:
        found = Population.of(Digits(), 0, request, seen).identity()
        assert found == {"reserved": digest([3, 5]), "trained_on": digest([3, 4, 5])}
        again = replace(request, earlier=[str(tmp_path / "earlier.txt")])
        later = Population.of(Digits(), 0, again, TrainedOn(seen.listed))
        assert later.identity() == found | {"kept_out": digest([2, 8])}


def test_another_seed_draws_others_around_a_checkpoint() -> None:
    one, other = (Population(Digits(), seed, trained_on=TrainedOn("all")).draw() for seed in (0, 1))
    assert not torch.equal(one.holdout, other.holdout)
    assert torch.equal(one.member, other.member)


def test_equal_populations_are_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with naming([5, 3]) as request:
        first = Population.of(Digits(validation=0.07), 11, request).draw()
        monkeypatch.setattr(torch, "randperm", lambda *_, **__: pytest.fail("drawn again"))
        assert Population.of(Digits(validation=0.07), 11, request).draw() is first


def test_a_list_that_changes_on_disk_is_drawn_again(tmp_path: Path) -> None:
    path = tmp_path / "members.txt"
    draws = []
    for number, text in enumerate(("3\n4\n5\n", "3\n4\n6\n", "3\n4\n5\n")):
        path.write_text(text)
        os.utime(path, ns=(0, number))  # the same size: only the time tells one content from the next
        draws.append(Population(Digits(), 12, trained_on=TrainedOn(str(path))).draw())
    assert [draw.member.tolist() for draw in draws] == [[3, 4, 5], [3, 4, 6], [3, 4, 5]]
    assert draws[2] is draws[0]


def test_each_setting_of_a_population_changes_its_draw() -> None:
    plain = Population(Digits(), 13).draw()
    for dataset, seed in ((Digits(), 14), (Digits(limit=500), 13), (Digits(holdout=0.2), 13)):
        assert not torch.equal(Population(dataset, seed).draw().member, plain.member)


# Wrong labels


@quickly
@given(st.floats(0.01, 0.9), SEEDS)
def test_label_noise_hits_a_share_with_other_labels(share: float, seed: int) -> None:
    dataset = Digits(label_noise=share, limit=500)
    noisy = Population(dataset, seed).labels(LABELS)
    hit = noisy != LABELS
    assert int(hit.sum()) == round(share * 500)
    assert not hit[500:].any()
    assert noisy.min() >= 0
    assert noisy.max() < dataset.classes
    assert torch.equal(noisy, Population(dataset, seed).labels(LABELS))


def test_wrong_labels_are_uniform_among_the_others() -> None:
    labels = torch.zeros(Digits.train_size, dtype=torch.int64)
    noisy = Population(Digits(label_noise=0.9), 0).labels(labels)
    counts = torch.bincount(noisy, minlength=10)[1:].double()
    expected = counts.sum() / 9
    assert ((counts - expected) ** 2 / expected).sum() < 26.1  # chi-square with 8 degrees of freedom, p = 0.001


def test_without_noise_labels_stay() -> None:
    assert torch.equal(Population(Digits(), 3).labels(LABELS), LABELS)


def test_mislabelled_takes_just_the_wrong_ones_in_d() -> None:
    dataset = Digits(label_noise=0.2)
    population = Population.of(dataset, 0, Mislabelled())
    split = ForgetSplit.draw(population, Mislabelled(), LABELS)
    wrong = (population.labels(LABELS) != LABELS).nonzero()[:, 0]
    member = population.draw().member
    assert split.forget.tolist() == wrong[torch.isin(wrong, member)].tolist()
    assert torch.isin(wrong, torch.cat([split.validation, split.holdout])).any()  # annotators err there as well
