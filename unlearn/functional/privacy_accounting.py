"""Accounting of Gaussian noise: how much of it an (epsilon, delta) guarantee needs, and what a given noise guarantees.

Two distributions P and Q are (epsilon, delta)-indistinguishable if P(S) <= e^epsilon Q(S) + delta for every set S of
outcomes, and with P and Q exchanged. N(0, 1) and N(mu, 1) are the yardstick: `gaussian_delta` is their smallest delta,
and processes of many steps are reduced to them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

NEGLIGIBLE = 1e-250  # a delta below which e^epsilon / delta leaves the range of floats
HALVINGS = 60  # of an interval; enough for neighbouring floats
EXPONENTS = -60.0, 60.0  # of 2, between which mu is searched


def gaussian_delta(mu: float, epsilon: float) -> float:
    """Return the smallest delta for N(0, 1) against N(mu, 1).

    It is Phi(mu/2 - epsilon/mu) - e^epsilon Phi(-mu/2 - epsilon/mu): Balle and Wang (ICML 2018), theorem 8 [P]. That is
    also the contraction coefficient of Gaussian noise on a domain of diameter mu: Asoodeh et al. (2020) [S].

    Args:
        mu: distance of the means in standard deviations, > 0.
        epsilon: >= 0.

    Returns:
        delta, 0 to 1.
    """
    from scipy.special import log_ndtr

    first = float(log_ndtr(mu / 2 - epsilon / mu))
    second = epsilon + float(log_ndtr(-mu / 2 - epsilon / mu))
    return max(0.0, -math.exp(first) * math.expm1(second - first))


@cache
def gaussian_mu(epsilon: float, delta: float) -> float:
    """Return the largest mu for which N(0, 1) and N(mu, 1) are (epsilon, delta)-indistinguishable.

    Noise of standard deviation s / mu then hides a difference of length s. The classical s sqrt(2 ln(1.25 / delta)) /
    epsilon is larger, and no guarantee for epsilon > 1.

    Args:
        epsilon: >= 0.
        delta: above 0, below 1.
    """
    return _largest_mu(lambda mu: gaussian_delta(mu, epsilon) <= delta)


def noisy_descent_sensitivity(radius: float, gradient_clip: float, lr: float, decay: float, steps: int) -> float:
    """Return the difference that the noise of a noisy gradient descent must hide, whatever the loss.

    The process is theta <- theta - lr (clip(g, C_1) + decay theta) + N(0, sigma^2 I), from a theta of norm at most C_0.
    With the same batches, two runs of it are as hard to tell apart after T steps as N(0, 1) and N(mu, 1), with mu =
    sensitivity / sigma:

        sensitivity = (2 C_0 rho^T + 2 lr C_1 sum_{k<T} rho^k) / sqrt(sum_{k<T} rho^{2k}),   rho = 1 - lr decay

    A step maps two points at a distance z to a distance of at most rho z + 2 lr C_1. Let the noise of step t hide a_t
    of it. The distance after T steps is 0 if sum_t rho^(T-t) a_t is the numerator, and sum a_t^2 is then smallest for
    a_t in proportion to rho^(T-t). Steps that hide a_t, chosen by what has happened, compose to mu^2 = sum a_t^2 /
    sigma^2 (Dong, Roth and Su 2019, corollary 3.3).

    The shift argument is that of privacy amplification by iteration (Feldman et al. 2018), and the same sum of a_t is
    in Koloskova et al. (ICML 2025) [P]. They bound a Renyi divergence and convert it; the reduction to two Gaussians
    loses nothing in between [ours, after Bok, Su and Altschuler 2024].

    Args:
        radius: C_0, > 0.
        gradient_clip: C_1, >= 0.
        lr: > 0.
        decay: from 0 to 1 / lr.
        steps: T, >= 1.
    """
    rho = 1 - lr * decay
    numerator = 2 * radius * rho**steps + 2 * lr * gradient_clip * _geometric_sum(rho, steps)
    return numerator / math.sqrt(_geometric_sum(rho**2, steps))


@cache
def least_noise_steps(radius: float, gradient_clip: float, lr: float, decay: float, most: int) -> int:
    """Return the fewest steps, up to `most`, for which the sensitivity of noisy descent is within 1 % of its minimum.

    The sensitivity falls up to the number of steps T with rho^T = 1 - decay C_0 / C_1 and grows after it; with decay
    C_0 >= C_1 it always falls. Arguments as for `noisy_descent_sensitivity`. The rule is ours; with decay = 0 the
    minimum is at T = C_0 / (lr C_1), which is the paper's choice [P].
    """

    def sensitivity(steps: int) -> float:
        return noisy_descent_sensitivity(radius, gradient_clip, lr, decay, steps)

    best = _bisect_steps(lambda steps: sensitivity(steps + 1) >= sensitivity(steps), most)
    enough = 1.01 * sensitivity(best)
    return _bisect_steps(lambda steps: sensitivity(steps) <= enough, best)


def clipped_chain_delta(mu: float, epsilon: float, steps: int) -> float:
    """Return a delta for a process that in each step clips to a ball and adds Gaussian noise, whatever it does before.

    delta_0 = 1 and delta_t = delta_{t-1} gaussian_delta(mu, epsilon_t) with epsilon_t = ln(1 + (e^epsilon - 1) /
    delta_{t-1}). Two distributions with a given delta_{t-1} share a part; only the rest, of weight delta_{t-1} in the
    first, is still different, and the step contracts it (advanced joint convexity: Balle, Barthe and Gaboardi 2018,
    theorem 2). Koloskova et al. (ICML 2025) use it for model clipping [P].

    Args:
        mu: diameter of the ball in standard deviations of the noise, > 0.
        epsilon: >= 0.
        steps: >= 1.
    """
    delta = 1.0
    for _ in range(steps):
        if delta < NEGLIGIBLE:
            break
        delta *= gaussian_delta(mu, math.log1p(math.expm1(epsilon) / delta))
    return delta


@cache
def clipped_chain_mu(epsilon: float, delta: float, steps: int) -> float:
    """Return the largest mu for which `clipped_chain_delta` is at most `delta`."""
    return _largest_mu(lambda mu: clipped_chain_delta(mu, epsilon, steps) <= delta)


def _geometric_sum(ratio: float, terms: int) -> float:
    """Return the sum of ratio^k for k from 0 to terms - 1; ratio from 0 to 1."""
    if ratio <= 0 or ratio >= 1:
        return float(terms) if ratio >= 1 else 1.0
    return math.expm1(terms * math.log(ratio)) / (ratio - 1)


def _largest_mu(holds: Callable[[float], bool]) -> float:
    """Return the largest mu for which a condition holds that holds below some mu and fails above."""
    low, high = EXPONENTS
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(math.exp2(middle)) else (low, middle)
    return math.exp2(low)


def _bisect_steps(holds: Callable[[int], bool], most: int) -> int:
    """Return the smallest number of steps from 1 on for which a condition holds that holds from some number on."""
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
