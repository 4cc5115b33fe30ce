"""Combinations of two gradients by hand in the plane, and by their defining property in many dimensions."""

from __future__ import annotations

import math

import pytest
import torch

from unlearn.strategies.gradient_phase import StepGradients
from unlearn.strategies.scissorhands import Scissorhands
from unlearn.strategies.surgery import dot, nash, rectify, ungrad


def both(retain: list[float], forget: list[float], loss: float = 1.0) -> StepGradients:
    """Of two parameters, one of which has a single entry."""
    parts = [[torch.tensor(g[:1]), torch.tensor(g[1:])] for g in (retain, forget)]
    return StepGradients(*parts, torch.tensor(loss))


def flat(gradient: list[torch.Tensor]) -> list[float]:
    return torch.cat(gradient).tolist()


def test_ungrad_takes_out_of_the_forget_gradient_what_raises_the_retain_loss() -> None:
    assert flat(ungrad(both([2, 0], [-1, 1]))) == pytest.approx([0, 1])
    assert flat(ungrad(both([2, 0], [1, 1]))) == pytest.approx([1, 1])  # no conflict
    assert flat(ungrad(both([2, 0], [-1, 1]), margin=1.0)) == pytest.approx([-0.5, 1])


def test_nash_balances_directions() -> None:
    """Orthogonal: both of length 1. Parallel: the mean of the directions, times sqrt 2. Opposite: no step."""
    assert flat(nash(both([3, 0], [0, 0.1]))) == pytest.approx([1, 1], rel=1e-3)
    assert flat(nash(both([3, 0], [0.5, 0]))) == pytest.approx([math.sqrt(2), 0], rel=1e-3)
    assert flat(nash(both([3, 0], [-0.5, 0]))) == pytest.approx([0, 0], abs=1e-3)
    assert flat(nash(both([3, 4], [0, 0]))) == pytest.approx([3, 4])  # the gate is closed


def test_nash_solves_the_bargain() -> None:
    """Up to xi the weights solve G^T G a = 1 / a (Navon et al. 2022)."""
    torch.manual_seed(0)
    gradients = StepGradients([torch.randn(50)], [torch.randn(50)], torch.tensor(1.0))
    (g,) = nash(gradients)
    matrix = torch.stack([gradients.retain[0], gradients.forget[0]])
    weights = torch.linalg.lstsq(matrix.T, g).solution
    torch.testing.assert_close(matrix @ matrix.T @ weights, 1 / weights, rtol=2e-3, atol=0)


def test_rectify_projects_each_off_the_other_and_turns_to_the_retain_set_while_its_loss_is_high() -> None:
    assert flat(rectify(both([2, 0], [-1, 1], loss=9.0))) == pytest.approx([1, 1])  # g_r off (-1, 1)
    weight = 1 / (1 + math.exp(-2))  # of g_f at a loss of 0; off each other they are (1, 1) and (0, 1)
    assert flat(rectify(both([2, 0], [-1, 1], loss=0.0))) == pytest.approx([1 - weight, 1])
    assert flat(rectify(both([2, 0], [1, 1], loss=0.02))) == pytest.approx([1.5, 0.5])


def test_scissorhands_agrees_with_the_retain_gradient_by_a_margin() -> None:
    """g = g_r + g_f; v is at least 0.5, and more where g would raise the retain loss."""
    combine = Scissorhands()._combine
    assert flat(combine(both([2, 0], [0, 1]))) == pytest.approx([3, 1])
    assert flat(combine(both([2, 0], [-4, 1]))) == pytest.approx([0, 1])  # g = (-2, 1), v = 1
    gradients = both([2, 0], [-4, 1])
    assert dot(combine(gradients), gradients.retain).item() >= 0
