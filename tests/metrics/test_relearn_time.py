"""Relearn time on made-up curves: which step counts, and when the index is undefined."""

from __future__ import annotations

import pytest
import torch

from unlearn.core.types import Measurement, Predictions, Subset
from unlearn.metrics.evidence import Evidence, ModelEvidence
from unlearn.metrics.relearn_time import RelearnTime

Curve = dict[int, float]


def seen(curve: Curve) -> ModelEvidence:
    """A model of 100 samples, right on the share that its curve begins with."""
    right = torch.arange(100) < round(100 * curve[0])
    logits = torch.stack([right.double(), 1 - right.double()], 1)
    return ModelEvidence(
        {Subset.FORGET: Predictions(logits, torch.zeros(100).long(), torch.arange(100))}, relearned=curve
    )


def measured(subject: Curve, retrained: Curve, original: Curve | None = None) -> dict[str, Measurement]:
    return RelearnTime(margin=0.05, steps=9).measure(
        Evidence(seen(subject), seen(original or {0: 1.0}), seen(retrained))
    )


def values(subject: Curve, retrained: Curve, original: Curve | None = None) -> tuple[float | None, float | None]:
    found = measured(subject, retrained, original)
    assert {each.n for each in found.values()} == {100}
    return found["relearn_steps"].value, found["ain"].value


def test_the_first_look_within_the_margin_counts() -> None:
    assert values({0: 0.6, 1: 0.94, 2: 0.95}, {0: 0.5, 4: 0.9, 8: 0.97}) == (2, 0.25)
    assert values({0: 0.6, 1: 0.8, 2: 0.85}, {0: 0.5, 4: 0.85}, original={0: 0.9}) == (2, 0.5)


def test_the_retrained_model_has_index_one() -> None:
    assert values({0: 0.5, 7: 1.0}, {0: 0.5, 7: 1.0}) == (7, 1.0)


@pytest.mark.parametrize(
    ("subject", "retrained", "steps", "reason"),
    [
        ({0: 1.0}, {0: 0.5, 3: 1.0}, 0, "the model is within the margin before any step"),
        ({0: 0.5, 3: 1.0}, {0: 0.95}, 3, "the retrained model is within the margin before any step"),
        ({0: 0.5, 9: 0.9}, {0: 0.5, 3: 1.0}, None, "the model takes more than 9 steps"),
        ({0: 0.5, 3: 1.0}, {0: 0.5, 9: 0.9}, 3, "the retrained model takes more than 9 steps"),
    ],
)
def test_an_undefined_index_says_why(subject: Curve, retrained: Curve, steps: int | None, reason: str) -> None:
    found = measured(subject, retrained)
    assert (found["relearn_steps"].value, found["ain"].value, found["ain"].reason) == (steps, None, reason)
    assert found["relearn_steps"].reason == (None if steps is not None else "more than 9 steps")
