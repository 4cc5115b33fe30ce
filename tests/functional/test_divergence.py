"""Divergences against SciPy, and at the extremes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr, softmax
from torch import Tensor

from unlearn.functional.divergence import js_mixture, js_to_labels, kl, mean_kl

logit = st.floats(-1e4, 1e4, width=32)
rows = st.lists(st.tuples(logit, logit), min_size=2, max_size=10)  # one class each: the logits of p and q


def draw_logits(scale: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    p, q = scale * torch.randn(2, 50, 10, generator=generator, dtype=torch.float64)
    return p, q


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0, 100.0])
def test_js_is_scipys_squared(scale: float) -> None:
    p, q = draw_logits(scale)
    expected = jensenshannon(softmax(p.numpy(), 1), softmax(q.numpy(), 1), axis=1) ** 2
    np.testing.assert_allclose(js_mixture(p, q), expected, atol=1e-12)


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0, 100.0])
def test_mean_kl_is_scipys_relative_entropy_both_ways(scale: float) -> None:
    p, q = draw_logits(scale)
    a, b = softmax(p.numpy(), 1), softmax(q.numpy(), 1)
    expected = (rel_entr(a, b) + rel_entr(b, a)).sum(1) / 2
    np.testing.assert_allclose(mean_kl(p, q), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0, 50.0])
def test_kl_is_scipys_relative_entropy_of_softened_rows(scale: float, temperature: float) -> None:
    p, q = draw_logits(scale)
    expected = rel_entr(softmax(p.numpy() / temperature, 1), softmax(q.numpy() / temperature, 1)).sum(1)
    np.testing.assert_allclose(kl(p, q, temperature), expected, rtol=1e-10, atol=1e-12)


def test_kl_of_two_coins_by_hand_and_its_direction() -> None:
    fair, biased = torch.zeros(1, 2), torch.tensor([[math.log(3.0), 0.0]])  # 1/2, and 3/4
    assert kl(fair, biased).item() == pytest.approx(0.5 * math.log(2 / 3) + 0.5 * math.log(2))
    assert kl(biased, fair).item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))


def test_kl_has_all_its_digits_where_float32_has_none() -> None:
    """Nearly the same rows: the divergence is e^2 / 8 for coins e apart in their logits."""
    p = torch.tensor([[0.0, 0.0]])
    assert kl(p, torch.tensor([[1e-5, 0.0]])).item() == pytest.approx(1e-10 / 8, rel=1e-4)


@settings(deadline=None, max_examples=50)
@given(rows)
def test_bounds_and_symmetry(pairs: list[tuple[float, float]]) -> None:
    p, q = torch.tensor(pairs).T[:, None]
    js, jeffreys = js_mixture(p, q), mean_kl(p, q)
    assert 0 <= js.item() <= math.log(2) + 1e-12
    assert 0 <= jeffreys.item() < math.inf
    torch.testing.assert_close(js, js_mixture(q, p), rtol=0, atol=1e-12)
    torch.testing.assert_close(jeffreys, mean_kl(q, p), rtol=1e-12, atol=1e-12)


def test_one_hot_rows_are_ln_2_apart() -> None:
    p = torch.tensor([[1e4, 0.0, 0.0]])
    q = torch.tensor([[0.0, 1e4, 0.0]])
    assert js_mixture(p, q).item() == pytest.approx(math.log(2), abs=1e-12)


@pytest.mark.parametrize("divergence", [js_mixture, mean_kl, kl])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_the_divergence_of_p_from_itself_is_0(divergence: Callable[[Tensor, Tensor], Tensor], scale: float) -> None:
    p, _ = draw_logits(scale)
    torch.testing.assert_close(divergence(p, p), torch.zeros(50, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(divergence(p, p + 7), torch.zeros(50, dtype=torch.float64), rtol=0, atol=1e-9)


@pytest.mark.parametrize("divergence", [js_mixture, mean_kl, kl])
def test_gradients_are_finite_at_one_hot_rows(divergence: Callable[[Tensor, Tensor], Tensor]) -> None:
    p = torch.tensor([[1e4, 0.0, 0.0], [3.0, 3.0, 3.0]], requires_grad=True)
    q = torch.tensor([[0.0, 1e4, 0.0], [3.0, 3.0, 3.0]])
    divergence(p, q).sum().backward()
    assert p.grad is not None
    assert p.grad.isfinite().all()


def test_divergence_from_a_label_is_that_from_a_certain_prediction() -> None:
    logits, labels = torch.randn(50, 5, generator=torch.Generator().manual_seed(0)) * 4, torch.arange(50) % 5
    certain = torch.nn.functional.one_hot(labels, 5) * 1e4
    torch.testing.assert_close(js_to_labels(logits, labels), js_mixture(logits, certain), rtol=1e-9, atol=1e-12)


def test_divergence_from_a_label_is_bounded_and_its_gradient_finite() -> None:
    logits = torch.tensor([[1e4, 0.0], [0.0, 1e4]], requires_grad=True)
    divergence = js_to_labels(logits, torch.tensor([0, 0]))
    torch.testing.assert_close(divergence, torch.tensor([0.0, math.log(2)]).double())
    divergence.sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
