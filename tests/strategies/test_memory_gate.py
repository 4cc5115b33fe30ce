"""Forget terms act while the forget set is classified correctly more often than unseen images are."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from builders import batch_of, only_phase
from torch import Tensor, nn

from unlearn.core.random_streams import stream_seed
from unlearn.core.recipe import Recipe
from unlearn.core.types import Images, Subset
from unlearn.strategies.base import Context
from unlearn.strategies.finetune import Finetune
from unlearn.strategies.memory_gate import MemoryGate, class_weights, wrong_label_fraction
from unlearn.strategies.neg_grad_plus import NegGradPlus
from unlearn.strategies.random_label import RandomLabel
from unlearn.strategies.salun import Salun

CLASSES = 4


class Reader(nn.Module):
    """Takes the class from the first pixel, which counts classes in fifths of the range."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)  # has a mode that a check must put back

    def forward(self, images: Tensor) -> Tensor:
        seen = (images[:, 0, 0, 0] * 5).round().long().clamp(max=CLASSES - 1)
        return nn.functional.one_hot(seen, CLASSES).float()


def images_read_as(labels: list[int], seen: list[int]) -> Images:
    """`labels`, and what `Reader` takes them for."""
    pixels = torch.tensor(seen, dtype=torch.uint8).view(-1, 1, 1, 1) * 51
    return Images(pixels, torch.tensor(labels), torch.arange(len(labels)))


def right(labels: list[int], correct: int) -> Images:
    """The first `correct` of them are classified correctly."""
    return images_read_as(labels, [y if i < correct else (y + 1) % CLASSES for i, y in enumerate(labels)])


def make_gate(forget: Images, validation: Images, retain: list[int], every: int = 1) -> MemoryGate:
    data = {Subset.FORGET: forget, Subset.VALIDATION: validation, Subset.RETAIN: right(retain, len(retain))}
    return MemoryGate(Context(Reader(), Reader, {}, data, 0), 1, every)


def test_checks_draw_from_the_stream_of_the_gate() -> None:
    """Its name decides which images are checked, so another name would change every gated strategy's numbers."""
    gate = make_gate(right([0], 1), right([0], 1), [0])
    assert gate._draws.initial_seed() == stream_seed(0, "memory gate", "unlearned")


def test_it_is_open_where_more_is_right_than_of_unseen_images() -> None:
    validation = right([0] * 10, 6)
    assert make_gate(right([0] * 10, 7), validation, [0]).opening(Reader()) == pytest.approx(1.0)
    assert make_gate(right([0] * 10, 6), validation, [0]).opening(Reader()) == pytest.approx(0.0)
    assert make_gate(right([0] * 10, 5), validation, [0]).opening(Reader()) == 0.0


def test_it_shuts_in_proportion() -> None:
    assert make_gate(right([0] * 100, 64), right([0] * 100, 60), [0]).opening(Reader()) == pytest.approx(0.4)


def test_checks_are_smoothed() -> None:
    asked = make_gate(right([0] * 100, 64), right([0] * 100, 60), [0])
    first = asked.opening(Reader())
    asked.forget = right([0] * 100, 62)
    assert [first, asked.opening(Reader()), asked.opening(Reader())] == pytest.approx([0.4, 0.3, 0.25])


def test_a_push_that_harms_all_images_shuts_it() -> None:
    """The original was right on all validation images; the model is right on fewer of either set."""
    asked = make_gate(right([0] * 100, 60), right([0] * 100, 50), [0])
    asked._before = 1.0
    assert asked.opening(Reader()) == 0.0


def test_the_original_is_evaluated_once() -> None:
    asked = make_gate(right([0] * 100, 64), right([0] * 100, 60), [0])
    asked.opening(Reader())
    assert asked._before == pytest.approx(0.6)


def test_of_a_class_that_is_not_retained_nothing_would_be_right() -> None:
    validation = right([0, 1] * 5, 10)
    assert make_gate(right([1] * 10, 1), validation, [0]).opening(Reader()) == pytest.approx(1.0)
    assert make_gate(right([1] * 10, 0), validation, [0]).opening(Reader()) == 0.0


def test_unseen_images_count_as_their_classes_are_forgotten() -> None:
    """Validation is right on class 0 alone; of a forget set of nine parts class 1 a tenth would be right."""
    validation = images_read_as([0] * 10 + [1] * 10, [0] * 10 + [2] * 10)
    labels = [0] + [1] * 9
    assert make_gate(right(labels, 1), validation, [0, 1]).opening(Reader()) == pytest.approx(0.0, abs=1e-9)
    assert make_gate(right(labels, 2), validation, [0, 1]).opening(Reader()) == pytest.approx(1.0)


def noisy(n: int, wrong: float, seed: int) -> Images:
    """Four shades under noise, one a class; the first part of the labels is wrong."""
    draws = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (n,), generator=draws)
    pixels = labels[:, None, None, None] * 50 + torch.randint(0, 40, (n, 1, 8, 8), generator=draws)
    amiss = torch.arange(n) < wrong * n
    steps = torch.randint(1, CLASSES, (n,), generator=draws)
    return Images(pixels.to(torch.uint8), torch.where(amiss, (labels + steps) % CLASSES, labels), torch.arange(n))


@pytest.mark.parametrize("wrong", [0.0, 0.5, 1.0])
def test_neighbours_among_the_retained_estimate_how_many_labels_are_wrong(wrong: float) -> None:
    found = wrong_label_fraction(noisy(300, 0.0, 0), noisy(100, 0.0, 1), noisy(200, wrong, 2))
    assert found == pytest.approx(wrong, abs=0.02)


def test_wrong_labels_are_estimated_where_validation_and_retain_labels_are_noisy_too() -> None:
    found = wrong_label_fraction(noisy(600, 0.2, 0), noisy(200, 0.2, 1), noisy(200, 1.0, 2))
    assert found == pytest.approx(1.0, abs=0.1)


def test_a_disagreement_that_chance_explains_makes_no_label_wrong() -> None:
    """Pixels that say nothing of the class."""
    draws = torch.Generator().manual_seed(0)

    def meaningless(n: int) -> Images:
        pixels = torch.randint(0, 256, (n, 1, 8, 8), generator=draws).to(torch.uint8)
        return Images(pixels, torch.randint(0, CLASSES, (n,), generator=draws), torch.arange(n))

    assert [wrong_label_fraction(*map(meaningless, (200, 100, 100))) for _ in range(20)] == [0.0] * 20


def test_unseen_images_score_chance_if_all_labels_are_wrong() -> None:
    data = {
        Subset.FORGET: noisy(120, 1.0, 2),
        Subset.VALIDATION: noisy(120, 0.0, 1),
        Subset.RETAIN: noisy(300, 0.0, 0),
    }
    asked = MemoryGate(Context(Reader(), Reader, {}, data, 0), 1, 1)
    assert asked._unseen(0.91) == pytest.approx(0.03, abs=0.02)  # (1 - 0.91) / 3
    assert asked._unseen(0.25) == pytest.approx(0.25, abs=0.02)


def test_it_checks_at_every_nth_call_and_remembers_between() -> None:
    class Counting(Reader):
        calls = 0

        def forward(self, images: Tensor) -> Tensor:
            self.calls += 1
            return super().forward(images)

    model, asked = Counting(), make_gate(right([0] * 10, 7), right([0] * 10, 6), [0], every=3)
    assert [asked.opening(model) for _ in range(7)] == pytest.approx([1.0] * 7)
    assert model.calls == 2 * 3  # both sets, at calls 0, 3 and 6; the original is another


def test_modes_are_put_back() -> None:
    model = Reader()
    model.train()
    model.dropout.eval()
    make_gate(right([0], 1), right([0], 1), [0]).opening(model)
    assert model.training
    assert not model.dropout.training


def test_class_weights() -> None:
    found = class_weights(torch.tensor([0, 0, 1]), torch.tensor([1, 1, 0, 3]))
    assert found.tolist() == [0.5, 0.5, 2.0]
    assert class_weights(torch.tensor([0, 1]), torch.tensor([2])).tolist() == [1.0, 1.0]


class Learner(Reader):
    """Has weights, which hardly change what it takes an image for."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, images: Tensor) -> Tensor:
        return 3 * super().forward(images) + self.layer(images.flatten(1))


@pytest.mark.parametrize("strategy", [RandomLabel(), Salun(), NegGradPlus()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize(("forget_right", "acts"), [(9, True), (3, False)])
def test_by_default_the_forget_term_acts_only_while_the_forget_set_is_remembered(
    strategy: RandomLabel | Salun | NegGradPlus, forget_right: int, acts: bool
) -> None:
    """Otherwise the loss is the retain term alone."""
    torch.manual_seed(0)
    model = Learner(nn.Linear(1, CLASSES))
    forget, validation, retain = right([0] * 10, forget_right), right([0] * 10, 6), right([0, 1] * 5, 10)
    data = {Subset.FORGET: forget, Subset.VALIDATION: validation, Subset.RETAIN: retain}
    scores = {need: {name: p.detach().abs() for name, p in model.named_parameters()} for need in strategy.needs()}
    gated, plain = (
        only_phase(each, Context(model, Reader, scores, data, 0))
        for each in (strategy, replace(strategy, forget_while="always"))
    )
    batches = {subset: batch_of(images) for subset, images in plain.data.items()}
    retain_term = nn.functional.cross_entropy(model(batches[Subset.RETAIN].images), batches[Subset.RETAIN].labels)
    retain_term *= getattr(strategy, "alpha", 1.0)
    expected = plain.loss(model, batches, 0) if acts else retain_term
    assert plain.loss(model, batches, 0).item() != pytest.approx(retain_term.item(), abs=1e-3)
    assert gated.loss(model, batches, 0).item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize(("forget_right", "acts"), [(9, True), (3, False)])
def test_the_divergence_term_acts_only_while_the_forget_set_is_remembered(forget_right: int, acts: bool) -> None:
    torch.manual_seed(0)
    head, original = nn.Linear(1, CLASSES), nn.Linear(1, CLASSES).requires_grad_(False)
    forget, validation, retain = right([0] * 10, forget_right), right([0] * 10, 6), right([0, 1] * 5, 10)
    data = {Subset.FORGET: forget, Subset.VALIDATION: validation, Subset.RETAIN: retain}
    strategy = Finetune(js_weight=-1.0, js_while="remembered", recipe=Recipe(epochs=1))
    phase = only_phase(strategy, Context(Learner(original), Reader, {}, data, 0))
    assert set(phase.data) == {Subset.RETAIN, Subset.FORGET}
    batches = {name: batch_of(data[name]) for name in phase.data}
    plain = nn.functional.cross_entropy(Learner(head)(batches[Subset.RETAIN].images), batches[Subset.RETAIN].labels)
    found = phase.loss(Learner(head), batches, 0)
    assert (found.item() != pytest.approx(plain.item(), abs=1e-12)) == acts


def test_forget_batches_are_a_fraction_of_the_retain_batches() -> None:
    data = dict.fromkeys((Subset.FORGET, Subset.VALIDATION, Subset.RETAIN), right([0], 1))
    strategy = Finetune(js_weight=-1.0, js_batch=0.25, recipe=Recipe(batch_size=64))
    phase = only_phase(strategy, Context(Reader(), Reader, {}, data, 0))
    assert phase.batch_sizes == {Subset.FORGET: 16}
