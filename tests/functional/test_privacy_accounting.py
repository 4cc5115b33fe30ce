"""The accountant against numerical integration, numerical composition on a grid, and published figures."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.stats import norm

from unlearn.functional.privacy_accounting import (
    clipped_chain_delta,
    clipped_chain_mu,
    gaussian_delta,
    gaussian_mu,
    least_noise_steps,
    noisy_descent_sensitivity,
)

Density = NDArray[np.float64]
GRID, WIDTH = np.linspace(-12, 12, 601, retstep=True)
EPSILONS = {0.2: 0.5, 1.0: 0.1}  # and which part of the bound is reached at least


@pytest.mark.parametrize("mu", [0.05, 0.7, 3.0])
@pytest.mark.parametrize("epsilon", [0.0, 0.3, 2.0])
def test_delta_is_the_integral_of_the_excess_density(mu: float, epsilon: float) -> None:
    def excess(x: float) -> float:
        return max(0.0, norm.pdf(x, mu) - math.exp(epsilon) * norm.pdf(x))

    crossing = epsilon / mu + mu / 2  # the densities' ratio is e^epsilon there
    expected = quad(excess, crossing, crossing + 12, epsabs=1e-15)[0]
    assert gaussian_delta(mu, epsilon) == pytest.approx(expected, rel=1e-6, abs=1e-14)


def test_noise_of_the_analytic_gaussian_mechanism() -> None:
    """Balle and Wang's published calibration for epsilon = 1 and delta = 1e-5; the classical one has 4.84."""
    assert 1 / gaussian_mu(1, 1e-5) == pytest.approx(3.730631634816464, rel=1e-9)
    assert 1 / gaussian_mu(1, 1e-5) < math.sqrt(2 * math.log(1.25 / 1e-5))


def test_the_classical_noise_is_no_guarantee_for_a_large_epsilon() -> None:
    classical = math.sqrt(2 * math.log(1.25 / 1e-5)) / 50
    assert gaussian_delta(1 / classical, 50) > 100 * 1e-5


@pytest.mark.parametrize("epsilon", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize("delta", [1e-12, 1e-5, 0.5])
def test_mu_is_the_largest_that_keeps_delta(epsilon: float, delta: float) -> None:
    mu = gaussian_mu(epsilon, delta)
    assert gaussian_delta(mu, epsilon) <= delta < gaussian_delta(mu * (1 + 1e-6), epsilon)
    chained = clipped_chain_mu(epsilon, delta, 7)
    assert clipped_chain_delta(chained, epsilon, 7) <= delta < clipped_chain_delta(chained * (1 + 1e-6), epsilon, 7)


def compose(step: Callable[[Density], Density], sigma: float, start: float, steps: int) -> Density:
    """The density on the grid of x <- step(x) + N(0, sigma^2), after some steps from a point."""
    kernel = norm.pdf(GRID[:, None], step(GRID)[None, :], sigma)
    density = norm.pdf(GRID, step(np.array([start])), sigma)
    for _ in range(steps - 1):
        density = kernel @ density * WIDTH
    return density


def excess(first: Density, second: Density, epsilon: float) -> float:
    return float(np.clip(first - math.exp(epsilon) * second, 0, None).sum() * WIDTH)


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("clip", [0.0, 0.5, 2.0])
def test_noisy_descent_composed_on_a_grid_keeps_the_bound(steps: int, clip: float) -> None:
    """Gradients that push the two starting points apart as far as clipping lets them."""
    radius, lr, decay, sigma = 1.0, 0.2, 1.0, 1.0
    mu = noisy_descent_sensitivity(radius, clip, lr, decay, steps) / sigma

    def step(x: Density) -> Density:
        return x - lr * (-clip * np.sign(x) + decay * x)

    first, second = (compose(step, sigma, start, steps) for start in (radius, -radius))
    for epsilon, tightness in EPSILONS.items():
        delta, bound = excess(first, second, epsilon), gaussian_delta(mu, epsilon)
        if clip == 0 or steps == 1:  # Gaussians, of which the bound is exact
            assert delta == pytest.approx(bound, rel=1e-2)
        else:
            assert tightness * bound < delta <= bound


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_clipped_chains_composed_on_a_grid_keep_the_bound(steps: int) -> None:
    """Steps that lead every point to the nearer end of the interval."""
    radius, sigma = 1.0, 0.8
    first, second = (compose(lambda x: radius * np.sign(x), sigma, start, steps) for start in (radius, -radius))
    for epsilon, tightness in EPSILONS.items():
        delta, bound = excess(first, second, epsilon), clipped_chain_delta(2 * radius / sigma, epsilon, steps)
        if steps == 1:
            assert delta == pytest.approx(bound, rel=1e-2)
        else:
            assert tightness * bound < delta <= bound < clipped_chain_delta(2 * radius / sigma, epsilon, steps - 1)


@pytest.mark.parametrize("decay", [0.0, 0.5, 5.0])
def test_no_other_distribution_over_the_steps_hides_with_less_noise(decay: float) -> None:
    """`a` is what each step hides; its sum, weighted by the later contractions, must be the whole distance."""
    radius, clip, lr, steps = 0.3, 1.0, 0.1, 6
    rho = 1 - lr * decay
    later = rho ** np.arange(steps - 1, -1, -1)
    whole = 2 * radius * rho**steps + 2 * lr * clip * later.sum()
    sensitivity = noisy_descent_sensitivity(radius, clip, lr, decay, steps)
    others = np.random.default_rng(0).uniform(0, 1, (1000, steps))
    others *= whole / (others @ later)[:, None]
    assert np.linalg.norm(others, axis=1).min() >= sensitivity
    assert np.linalg.norm(later * whole / (later @ later)) == pytest.approx(sensitivity)


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 4.0])
def test_less_noise_than_by_way_of_a_renyi_divergence(epsilon: float) -> None:
    """The paper's way: alpha mu^2 / 2 at order alpha, converted to (epsilon, delta) with the best order."""
    delta, orders = 1e-5, 1 + np.geomspace(1e-2, 1e4, 500)

    def converted(mu: float) -> float:
        conversion = -(math.log(delta) + np.log(orders)) / (orders - 1) + np.log1p(-1 / orders)
        return float((orders * mu**2 / 2 + conversion).min())

    mus = np.geomspace(1e-2, 10, 500)
    by_renyi = max(mu for mu in mus if converted(mu) <= epsilon)
    assert by_renyi < gaussian_mu(epsilon, delta) < 1.25 * by_renyi


@pytest.mark.parametrize("process", [(0.1, 10, 1e-3, 50), (0.1, 10, 1e-3, 0), (1, 1, 0.01, 10), (5, 1, 0.01, 1)])
def test_the_fewest_steps_near_the_least_noise(process: tuple[float, float, float, float]) -> None:
    every = [noisy_descent_sensitivity(*process, steps) for steps in range(1, 5000)]
    steps = least_noise_steps(*process, 100_000)
    assert every[steps - 1] <= 1.0101 * min(every) < every[steps - 2] * 1.0001
