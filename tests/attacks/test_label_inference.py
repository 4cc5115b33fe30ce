"""Label inference on made-up confidences: by hand, and null where there is nothing to infer."""

from __future__ import annotations

import pytest
import torch

from unlearn.attacks.label_inference import NAMES, LabelInference
from unlearn.core.types import Measurement, Predictions, Subset
from unlearn.metrics.evidence import Evidence, ModelEvidence

FORGET, PROBES = Subset.FORGET, Subset.PROBES
BEFORE = [[0.9, 0.9], [0.95, 0.95], [0.8, 0.8]]


def probes(confidences: list[list[float]]) -> Predictions:
    """Predictions that give each class's images the probability of that class, the rest shared by the others."""
    p, classes = torch.tensor(confidences).flatten(), len(confidences)
    labels = torch.arange(classes).repeat_interleave(len(confidences[0]))
    rows = ((1 - p) / (classes - 1))[:, None].expand(-1, classes)
    return Predictions(rows.scatter(1, labels[:, None], p[:, None]).log(), labels, torch.arange(len(p)))


def attacked(
    after: list[list[float]], forgotten: list[int], before: list[list[float]] = BEFORE
) -> dict[str, Measurement]:
    members = Predictions(torch.zeros(len(forgotten), 3), torch.tensor(forgotten), torch.arange(len(forgotten)))
    original, subject = (ModelEvidence({FORGET: members, PROBES: probes(each)}) for each in (before, after))
    found = LabelInference().measure(Evidence(subject, original))
    assert list(found) == [f"label_inference_{name}" for name in NAMES]
    return {name: found[f"label_inference_{name}"] for name in NAMES}


def values(found: dict[str, Measurement]) -> list[float | None]:
    return [found[name].value for name in NAMES]


def test_by_hand() -> None:
    """Falls: 0 and 0.1, 0.3 and 0.5, 0.1 twice. Class 1 fell by 0.4, the next by 0.1."""
    found = attacked([[0.9, 0.8], [0.65, 0.45], [0.7, 0.7]], [1])
    assert values(found) == pytest.approx([1, 1, 0.4, 0.3])
    assert found["drop"].standard_error == pytest.approx(0.1)
    assert found["margin"].standard_error == pytest.approx(0.1)  # all images of the other class fell alike
    assert [found[name].n for name in NAMES] == [3, 3, 2, 4]


@pytest.mark.parametrize(("forgotten", "expected"), [([0], [0, 3, 0.05, -0.35]), ([2, 2], [0, 2, 0.1, -0.3])])
def test_the_wrong_class_is_inferred(forgotten: list[int], expected: list[float]) -> None:
    assert values(attacked([[0.9, 0.8], [0.65, 0.45], [0.7, 0.7]], forgotten)) == pytest.approx(expected)


def test_one_of_several_forgotten_classes_is_enough() -> None:
    assert values(attacked([[0.9, 0.8], [0.65, 0.45], [0.7, 0.7]], [0, 1]))[:2] == [1, 1]


def test_a_tie_speaks_against_the_attacker() -> None:
    half = [[0.5, 0.5]] * 3
    assert values(attacked([[0.25, 0.25], [0.25, 0.25], [0.5, 0.5]], [0], half)) == pytest.approx([0, 2, 0.25, 0])


def test_a_class_that_the_model_is_surer_of_is_not_inferred() -> None:
    """The kept class fell, the forgotten one rose."""
    assert values(attacked([[0.99, 0.99], [0.9, 0.9], [0.8, 0.8]], [0])) == pytest.approx([0, 3, -0.09, -0.14])


@pytest.mark.parametrize(
    ("after", "forgotten", "words"),
    [
        (BEFORE, [1], "lost confidence from the original"),
        ([[0.95, 0.95], [0.97, 0.97], [0.9, 0.9]], [1], "lost confidence from the original"),
        ([[0.1, 0.1]] * 3, [0, 1, 2], "samples of all 3 classes are forgotten"),
    ],
)
def test_where_nothing_can_be_inferred_it_says_why(after: list[list[float]], forgotten: list[int], words: str) -> None:
    found = attacked(after, forgotten)
    assert values(found) == [None] * 4
    assert all(words in (each.reason or "") for each in found.values())


def test_a_single_image_of_each_class_has_no_standard_error() -> None:
    found = attacked([[0.5], [0.9], [0.8]], [0], [[0.9], [0.9], [0.9]])
    assert values(found) == pytest.approx([1, 1, 0.4, 0.3])
    assert found["drop"].standard_error is None
    assert found["margin"].standard_error is None
