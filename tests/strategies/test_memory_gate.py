"""The divergence term acts while the forget set is classified correctly more often than unseen images are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from unlearn.recipe import Recipe
from unlearn.strategies.base import Batches, Context, Edit
from unlearn.strategies.finetune import Finetune
from unlearn.strategies.memory_gate import MemoryGate, class_weights
from unlearn.types import Images, Subset

CLASSES = 4


class Reader(nn.Module):
    """Takes the class from the first pixel, which counts classes in fifths of the range."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)  # has a mode that a check must put back

    def forward(self, images: Tensor) -> Tensor:
        told = (images[:, 0, 0, 0] * 5).round().long()
        return nn.functional.one_hot(told, CLASSES).float()


def images(labels: list[int], seen: list[int]) -> Images:
    """`labels`, and what `Reader` takes them for."""
    pixels = torch.tensor(seen, dtype=torch.uint8).view(-1, 1, 1, 1) * 51
    return Images(pixels, torch.tensor(labels), torch.arange(len(labels)))


def right(labels: list[int], correct: int) -> Images:
    """The first `correct` of them are classified correctly."""
    return images(labels, [y if i < correct else (y + 1) % CLASSES for i, y in enumerate(labels)])


def gate(forget: Images, validation: Images, retain: list[int], every: int = 1) -> MemoryGate:
    data = {Subset.FORGET: forget, Subset.VALIDATION: validation, Subset.RETAIN: right(retain, len(retain))}
    return MemoryGate(Context(Reader(), Reader, {}, data, 0), every)


def test_it_is_open_while_more_is_right_than_of_unseen_images() -> None:
    validation = right([0] * 10, 6)
    assert gate(right([0] * 10, 7), validation, [0]).is_open(Reader())
    assert not gate(right([0] * 10, 6), validation, [0]).is_open(Reader())


def test_of_a_class_that_is_not_retained_nothing_would_be_right() -> None:
    validation = right([0, 1] * 5, 10)
    assert gate(right([1] * 10, 1), validation, [0]).is_open(Reader())
    assert not gate(right([1] * 10, 0), validation, [0]).is_open(Reader())


def test_unseen_images_count_as_their_classes_are_forgotten() -> None:
    """Validation is right on class 0 alone; of a forget set of nine parts class 1 a tenth would be right."""
    validation = images([0] * 10 + [1] * 10, [0] * 10 + [2] * 10)
    labels = [0] + [1] * 9
    assert not gate(right(labels, 1), validation, [0, 1]).is_open(Reader())
    assert gate(right(labels, 2), validation, [0, 1]).is_open(Reader())


def test_it_checks_at_every_nth_call_and_remembers_between() -> None:
    class Counting(Reader):
        calls = 0

        def forward(self, images: Tensor) -> Tensor:
            self.calls += 1
            return super().forward(images)

    model, asked = Counting(), gate(right([0] * 10, 7), right([0] * 10, 6), [0], every=3)
    assert [asked.is_open(model) for _ in range(7)] == [True] * 7
    assert model.calls == 2 * 3  # both sets, at calls 0, 3 and 6


def test_modes_are_put_back() -> None:
    model = Reader()
    model.train()
    model.dropout.eval()
    gate(right([0], 1), right([0], 1), [0]).is_open(model)
    assert model.training
    assert not model.dropout.training


def test_class_weights() -> None:
    found = class_weights(torch.tensor([0, 0, 1]), torch.tensor([1, 1, 0, 3]))
    assert found.tolist() == [0.5, 0.5, 2.0]
    assert class_weights(torch.tensor([0, 1]), torch.tensor([2])).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(("forget_right", "acts"), [(9, True), (3, False)])
def test_the_divergence_term_acts_only_while_the_forget_set_is_remembered(forget_right: int, acts: bool) -> None:
    torch.manual_seed(0)
    head, original = nn.Linear(1, CLASSES), nn.Linear(1, CLASSES).requires_grad_(False)

    class Learner(Reader):
        def __init__(self, layer: nn.Linear) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, images: Tensor) -> Tensor:
            return 3 * super().forward(images) + self.layer(images.flatten(1))

    forget, validation, retain = right([0] * 10, forget_right), right([0] * 10, 6), right([0, 1] * 5, 10)
    data = {Subset.FORGET: forget, Subset.VALIDATION: validation, Subset.RETAIN: retain}
    strategy = Finetune(js_weight=-1.0, js_while="remembered", recipe=Recipe(epochs=1))
    (phase,) = strategy.phases(Context(Learner(original), Reader, {}, data, 0), Edit({}))
    assert set(phase.data) == {Subset.RETAIN, Subset.FORGET}
    batches = {name: as_batch(data[name]) for name in phase.data}
    plain = nn.functional.cross_entropy(Learner(head)(batches[Subset.RETAIN].images), batches[Subset.RETAIN].labels)
    found = phase.loss(Learner(head), batches, 0)
    assert (found.item() != pytest.approx(plain.item(), abs=1e-12)) == acts


def as_batch(data: Images) -> Batches:
    from unlearn.batch import Batch

    return Batch(data.images.float() / 255, data.labels)


def test_forget_batches_are_a_fraction_of_the_retain_batches() -> None:
    data = dict.fromkeys((Subset.FORGET, Subset.VALIDATION, Subset.RETAIN), right([0], 1))
    strategy = Finetune(js_weight=-1.0, js_batch=0.25, recipe=Recipe(batch_size=64))
    (phase,) = strategy.phases(Context(Reader(), Reader, {}, data, 0), Edit({}))
    assert phase.batch_sizes == {Subset.FORGET: 16}
