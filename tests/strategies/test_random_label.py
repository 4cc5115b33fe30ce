"""Wrong labels: never the true one, each other one as often, drawn once; and the objective by hand."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from builders import mlp, only_phase, random_subsets
from scipy.stats import chisquare
from torch import nn

from unlearn.core.batch import Batch
from unlearn.core.recipe import Recipe
from unlearn.core.types import Images, Subset
from unlearn.core.validation import problems
from unlearn.strategies.base import Context, Phase
from unlearn.strategies.random_label import RandomLabel
from unlearn.strategies.relabelling import draw_wrong_labels
from unlearn.training.unlearner import build_loader

CLASSES = 5


def net() -> nn.Module:
    return mlp(4, 6, CLASSES, norm=True, activation=None)


DATA = random_subsets(CLASSES, shape=(1, 2, 2), retain=40, forget=10)


def ungated_phase(strategy: RandomLabel, seed: int = 0) -> Phase:
    return only_phase(replace(strategy, forget_while="always"), Context(net().eval(), net, {}, DATA, seed))


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_wrong_labels_are_uniform_among_the_others(classes: int) -> None:
    true = torch.arange(classes).repeat_interleave(3000)
    wrong = draw_wrong_labels(true, classes, torch.Generator().manual_seed(0))
    pairs = Counter(zip(true.tolist(), wrong.tolist(), strict=True))
    assert set(pairs) == {(y, j) for y in range(classes) for j in range(classes) if j != y}
    assert chisquare(list(pairs.values())).pvalue > 0.001


def test_labels_are_drawn_once_and_named_by_the_seed() -> None:
    """Every pass shows each image under the same wrong label; images and retain set are as they were."""
    phase = ungated_phase(RandomLabel(Recipe(batch_size=4)))
    forget = phase.data[Subset.FORGET]
    assert isinstance(forget, Images)
    assert torch.equal(forget.images, DATA[Subset.FORGET].images)
    assert (forget.labels != DATA[Subset.FORGET].labels).all()
    assert phase.data[Subset.RETAIN] is DATA[Subset.RETAIN]
    loader, shown = build_loader(phase, 0, 0), Counter[tuple[bytes, int]]()
    for loader.epoch in range(3):
        for batches in loader:
            batch = batches[Subset.FORGET]
            shown.update((x.numpy().tobytes(), int(y)) for x, y in zip(batch.images, batch.labels, strict=True))
    assert len(shown) == len(forget)
    again, other = (ungated_phase(RandomLabel(), seed).data[Subset.FORGET].labels for seed in (0, 1))
    assert torch.equal(again, forget.labels)
    assert not torch.equal(other, forget.labels)


@pytest.mark.parametrize(("weight", "expected"), [(None, 10 / 40), (1.0, 1.0), (0.3, 0.3)])
def test_loss_is_the_weighted_sum_and_running_statistics_are_the_retain_sets(
    weight: float | None, expected: float
) -> None:
    batches = {s: Batch(d.images.double() / 255, d.labels) for s, d in DATA.items()}
    model = net().double().train()
    reference = copy.deepcopy(model)
    retain = F.cross_entropy(reference(batches[Subset.RETAIN].images), batches[Subset.RETAIN].labels)
    forget = F.cross_entropy(reference.eval()(batches[Subset.FORGET].images), batches[Subset.FORGET].labels)
    loss = ungated_phase(RandomLabel(forget_weight=weight)).loss(model, batches, 0)
    assert loss.item() == pytest.approx((retain + expected * forget).item(), abs=1e-12)
    assert torch.equal(model[2].running_mean, reference[2].running_mean)


def test_by_default_it_is_training_on_all_data_under_the_new_labels() -> None:
    """Up to a factor, on whole sets: n / n_r of the mean over D."""
    model, phase = nn.Sequential(nn.Flatten(), nn.Linear(4, CLASSES)).double(), ungated_phase(RandomLabel())
    parts = {s: Batch(DATA[s].images.double() / 255, d.labels) for s, d in phase.data.items()}
    union = Batch(torch.cat([b.images for b in parts.values()]), torch.cat([b.labels for b in parts.values()]))
    mean = F.cross_entropy(model(union.images), union.labels)
    assert phase.loss(model, parts, 0).item() == pytest.approx(50 / 40 * mean.item(), abs=1e-12)


def test_an_epoch_is_a_pass_over_the_retain_set() -> None:
    assert list(ungated_phase(RandomLabel()).data) == [Subset.RETAIN, Subset.FORGET]


@pytest.mark.parametrize("bad", [0.0, -1.0, float("inf")])
def test_an_impossible_weight_is_refused(bad: float) -> None:
    found = problems(RandomLabel(forget_weight=bad), "strategy")
    assert [problem.key for problem in found] == ["strategy.forget_weight"]
