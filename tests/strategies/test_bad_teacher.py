"""The bad teacher's loss against NumPy, who teaches what, and which part of the retain set it reads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import batch_of, mlp, only_phase, random_images, random_subsets
from scipy.special import softmax
from torch import Tensor, nn

from unlearn.core.recipe import Recipe
from unlearn.core.types import Subset
from unlearn.core.validation import problems
from unlearn.strategies.bad_teacher import BadTeacher
from unlearn.strategies.base import Context
from unlearn.training.trainer import TrainerSettings
from unlearn.training.unlearner import UnlearnerModule, build_loader


def net(seed: int, trained: bool = False) -> nn.Module:
    """With batch normalisation, whose running statistics are its initial ones unless trained; in train mode."""
    model = mlp(16, 8, 4, seed=seed, norm=True)
    for _ in range(20 if trained else 0):
        model(torch.rand(32, 1, 4, 4))
    return model


def context(seed: int = 0) -> Context:
    data = random_subsets(forget=5, retain=40, validation=8)
    return Context(net(0, trained=True).eval().requires_grad_(False), lambda: net(1), {}, data, seed)


def divergences(teacher: nn.Module, student: nn.Module, x: Tensor, temperature: float) -> np.ndarray:
    with torch.no_grad():
        p, q = (softmax(model(x).double().numpy() / temperature, 1) for model in (teacher.eval(), student))
    return np.sum(p * np.log(p / q), 1)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_a_step_has_the_formulas_loss(temperature: float) -> None:
    """12 of 40 retained samples and 5 forgotten ones: the means are weighted as in their union."""
    student = net(2, trained=True).eval()
    kept, lost = batch_of(random_images(7, seed=4)), batch_of(random_images(3, seed=5))
    phase = only_phase(BadTeacher(retain_share=0.3, temperature=temperature), context())
    loss = phase.loss(student, {Subset.RETAIN: kept, Subset.FORGET: lost}, 0)
    good = divergences(net(0, trained=True), student, kept.images, temperature).mean()
    bad = divergences(net(1), student, lost.images, temperature).mean()
    assert loss.item() == pytest.approx((12 * good + 5 * bad) / 17, rel=1e-5)
    assert abs(good - bad) > 0.1 * good  # so that the weights and who teaches what matter


def test_whole_sets_as_batches_give_the_mean_over_the_union() -> None:
    student = net(2, trained=True).eval()
    phase = only_phase(BadTeacher(retain_share=0.3), context())
    batches = {subset: batch_of(data) for subset, data in phase.data.items()}  # type: ignore[arg-type]
    teachers = {Subset.RETAIN: net(0, trained=True), Subset.FORGET: net(1)}
    each = [divergences(teachers[subset], student, batch.images, 1.0) for subset, batch in batches.items()]
    assert phase.loss(student, batches, 0).item() == pytest.approx(np.concatenate(each).mean(), rel=1e-5)


def test_forget_batches_leave_running_statistics_to_the_retain_set() -> None:
    student, phase = net(2, trained=True), only_phase(BadTeacher(retain_share=0.3), context())
    kept, lost = batch_of(random_images(7, seed=4)), batch_of(random_images(3, seed=5))
    expected = net(2, trained=True)
    expected(kept.images)
    phase.loss(student, {Subset.RETAIN: kept, Subset.FORGET: lost}, 0)
    assert torch.equal(student[2].running_mean, expected[2].running_mean)


def test_a_condensed_retain_set_counts_for_all_of_it() -> None:
    whole, few = context(), replace(context(), condensed_from=400)
    batches = {Subset.RETAIN: batch_of(random_images(7, seed=4)), Subset.FORGET: batch_of(random_images(3, seed=5))}
    student = net(2, trained=True).eval()
    losses = [only_phase(BadTeacher(retain_share=0.3), at).loss(student, batches, 0).item() for at in (whole, few)]
    good, bad = (
        divergences(teacher, student, batches[subset].images, 1.0).mean()
        for teacher, subset in ((net(0, trained=True), Subset.RETAIN), (net(1), Subset.FORGET))
    )
    assert losses == pytest.approx([(12 * good + 5 * bad) / 17, (120 * good + 5 * bad) / 125], rel=1e-5)


def test_labels_are_not_smoothed() -> None:
    strategy = BadTeacher(retain_share=0.3, recipe=Recipe(label_smoothing=0.1))
    assert [p.key for p in strategy.check(lambda: net(0))] == ["strategy.recipe.label_smoothing"]


def test_labels_do_not_matter() -> None:
    student, phase = net(2).eval(), only_phase(BadTeacher(retain_share=0.3), context())
    batches = {subset: batch_of(random_images(4, seed=6)) for subset in (Subset.RETAIN, Subset.FORGET)}
    others = {subset: batch._replace(labels=(batch.labels + 1) % 4) for subset, batch in batches.items()}
    assert phase.loss(student, batches, 0).item() == phase.loss(student, others, 0).item()


@pytest.mark.parametrize(("share", "n"), [(0.3, 12), (1.0, 40), (1, 40), (0.001, 1)])
def test_it_reads_a_share_of_the_retain_set_and_all_of_the_forget_set(share: float, n: int) -> None:
    data = only_phase(BadTeacher(retain_share=share), context()).data
    assert list(data) == [Subset.RETAIN, Subset.FORGET]
    assert len(data[Subset.RETAIN].index.unique()) == len(data[Subset.RETAIN]) == n
    assert len(data[Subset.FORGET]) == 5


def test_the_share_is_drawn_by_the_seed_alone() -> None:
    def drawn(seed: int) -> list[int]:
        return only_phase(BadTeacher(retain_share=0.3), context(seed)).data[Subset.RETAIN].index.tolist()

    first = drawn(0)
    torch.manual_seed(12345)
    assert drawn(0) == first
    assert len({tuple(drawn(seed)) for seed in range(8)}) == 8


def test_the_student_comes_nearer_the_bad_teacher_on_the_forget_set() -> None:
    student = net(0, trained=True).train()
    strategy = BadTeacher(retain_share=1.0, recipe=Recipe(epochs=15, batch_size=8, lr=0.05))
    phase = only_phase(strategy, context())
    lost = batch_of(random_images(5, seed=1)).images
    before = divergences(net(1), net(0, trained=True).eval(), lost, 1.0).mean()
    UnlearnerModule(student, phase, build_loader(phase, 0, 0), 0, {}).run(TrainerSettings("cpu"))
    assert divergences(net(1), student, lost, 1.0).mean() < 0.7 * before


@pytest.mark.parametrize("bad", [{"retain_share": 0.0}, {"retain_share": 1.1}, {"temperature": 0.0}])
def test_impossible_values_are_refused(bad: dict[str, float]) -> None:
    (key,) = bad
    assert [problem.key for problem in problems(replace(BadTeacher(retain_share=0.3), **bad), "strategy")] == [
        f"strategy.{key}"
    ]
