"""Mixing with the original: the mixture by hand, the fraction against a search over all fractions."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from unlearn.core.errors import UnlearnError
from unlearn.core.validation import problems
from unlearn.strategies.blend import BlendResult, Mix, interpolate

Curve = Callable[[float], float]
FINE = 4000  # fractions that are tried one after the other


def test_the_mixture_by_hand() -> None:
    original = {"w": torch.tensor([2.0, -4.0]), "variance": torch.tensor([1.0]), "n": torch.tensor(100)}
    unlearned = {"w": torch.tensor([0.0, 4.0]), "variance": torch.tensor([3.0]), "n": torch.tensor(7)}
    mixed = interpolate(original, unlearned, 0.25)
    assert mixed["w"].tolist() == [0.5, 2.0]
    assert mixed["variance"].tolist() == [2.5]
    assert (mixed["n"].item(), mixed["n"].dtype) == (7, torch.int64)  # no mean of two counters
    assert unlearned["w"].tolist() == [0.0, 4.0]


def test_both_ends_and_equal_values_are_kept_to_the_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    before, after = (torch.randn(2000, generator=generator) for _ in range(2))
    after[:1000] = before[:1000]  # what a strategy froze
    for a, end in ((0.0, after), (1.0, before)):
        assert torch.equal(interpolate({"w": before}, {"w": after}, a)["w"], end)
    for a in (0.1, 0.37, 0.9):
        mixed = interpolate({"w": before}, {"w": after}, a)["w"]
        assert torch.equal(mixed[:1000], before[:1000])
        wanted = a * before.double() + (1 - a) * after.double()
        assert torch.allclose(mixed.double(), wanted, rtol=0, atol=1e-6)


def counted(curve: Curve, n: int) -> Curve:
    """Accuracy as `n` images show it."""
    return lambda a: math.floor(curve(a) * n + 1e-9) / n


def smallest(accuracy: Curve, target: float) -> float:
    """The first of `FINE` fractions that reaches the target."""
    return next(i / FINE for i in range(FINE + 1) if accuracy(i / FINE) >= target)


@pytest.mark.parametrize("scan", [1, 7, 20])
@pytest.mark.parametrize("n", [50, 1000, 10**6])
@pytest.mark.parametrize("curve", [lambda a: 0.2 + 0.7 * a, lambda a: 0.9 * a**3, lambda a: 0.5 + 0.4 * math.sqrt(a)])
def test_on_a_rising_curve_it_is_the_smallest_fraction(curve: Curve, n: int, scan: int) -> None:
    accuracy = counted(curve, n)
    mix = Mix(target=0.8, scan=scan)
    found = mix.find_fraction(accuracy)
    first = smallest(accuracy, 0.8)
    assert first - 1 / FINE <= found.a <= first + mix.precision
    assert found == BlendResult(found.a, accuracy(found.a), 0.8)
    assert 0.8 <= found.validation_accuracy <= 0.8 + max(mix.tolerance, 1 / n)


def valley(a: float) -> float:
    """0.8 at 0, 0.9 at 0.1, then down to 0.1 at the half, and up to 1 at the end."""
    return 0.8 + a if a < 0.1 else max(0.1, 0.9 - (a - 0.1) * 2) if a < 0.5 else 0.1 + 0.9 * (a - 0.5) / 0.5


def test_the_scan_finds_a_fraction_before_a_valley_that_bisection_alone_misses() -> None:
    """The curve is that of two models with a worse one between them."""
    found, alone = (Mix(target=0.85, scan=scan).find_fraction(valley) for scan in (20, 1))
    assert found.a == pytest.approx(smallest(valley, 0.85), abs=0.0015)
    assert alone.a == pytest.approx(0.5 + 0.5 * 0.75 / 0.9, abs=0.0015)
    for each in (found, alone):
        assert 0.85 <= each.validation_accuracy <= 0.855


def test_a_finer_tolerance_goes_on_beyond_the_precision() -> None:
    def steep(a: float) -> float:
        return min(1.0, max(0.0, (a - 0.7) * 200))

    coarse = Mix(target=0.5, precision=0.01, tolerance=0.9).find_fraction(steep)
    fine = Mix(target=0.5, precision=0.01, tolerance=0.0001).find_fraction(steep)
    assert coarse.validation_accuracy > 0.6
    assert 0.5 <= fine.validation_accuracy <= 0.5001


def test_where_accuracy_jumps_the_steps_end_it() -> None:
    tried: list[float] = []

    def jump(a: float) -> float:
        tried.append(a)
        return 0.9 if a >= 1 / 3 else 0.2

    mix = Mix(target=0.5, scan=1, steps=12)
    found = mix.find_fraction(jump)
    assert found.validation_accuracy == 0.9
    assert 1 / 3 <= found.a <= 1 / 3 + 2**-12
    assert len(tried) == 2 + 12


def test_a_model_that_reaches_the_target_is_left_alone() -> None:
    tried: list[float] = []

    def good(a: float) -> float:
        tried.append(a)
        return 0.95

    assert Mix(drop=0.0).find_fraction(good) == BlendResult(0.0, 0.95, 0.95)
    assert tried == [1.0, 0.0]


def test_the_target_is_the_original_less_a_drop_unless_it_is_given() -> None:
    assert Mix(drop=0.02).find_fraction(lambda a: 0.5 + 0.4 * a).target == pytest.approx(0.88)
    assert Mix(target=0.6, drop=0.02).find_fraction(lambda a: 0.5 + 0.4 * a).target == 0.6


def test_a_target_that_is_a_difference_counts_as_reached_when_it_is_met() -> None:
    """0.8 - 0.1 is 0.7000000000000001: 70 of 100 images reach it."""
    assert 0.8 - 0.1 > 0.7
    assert Mix(drop=0.1).find_fraction(lambda a: 0.8 if a == 1 else 0.7).a == 0


def test_a_target_above_the_original_is_one_clear_line() -> None:
    words = r"^blend\.target: expected at most the original's validation accuracy, 0\.9000, got 0\.95$"
    with pytest.raises(UnlearnError, match=words):
        Mix(target=0.95).find_fraction(lambda a: 0.9 * a)
    assert Mix(target=0.9).find_fraction(lambda a: 0.9 * a).a > 0.99  # its own is in reach


@pytest.mark.parametrize(
    ("mix", "words"),
    [
        (Mix(target=0.0), "blend.target: expected an accuracy in (0, 1], got 0.0"),
        (Mix(target=float("nan")), "blend.target"),
        (Mix(drop=-0.1), "blend.drop: expected a fraction in [0, 1), got -0.1"),
        (Mix(tolerance=1.0), "blend.tolerance"),
        (Mix(precision=0.0), "blend.precision: expected a fraction in (0, 1), got 0.0"),
        (Mix(scan=0), "blend.scan: expected a number >= 1, got 0"),
        (Mix(steps=0), "blend.steps"),
    ],
)
def test_fields_know_their_range(mix: Mix, words: str) -> None:
    (found,) = problems(mix, "blend")
    assert words in str(found)


def tanh_net() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 3)).double()


@pytest.fixture(scope="module")
def pair() -> tuple[nn.Module, nn.Module, Tensor, Tensor]:
    """A small net that learnt three classes, the same with half of its weights disturbed, and data of 300."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        y = torch.arange(300) % 3
        x = torch.randn(300, 6, dtype=torch.double) + 3 * nn.functional.one_hot(y, 6)
        original, unlearned = tanh_net(), tanh_net()
        for _ in range(60):
            gradients = torch.autograd.grad(nn.functional.cross_entropy(original(x), y), list(original.parameters()))
            for parameter, gradient in zip(original.parameters(), gradients, strict=True):
                parameter.data -= 0.5 * gradient
        unlearned.load_state_dict(original.state_dict())
        for parameter in unlearned.parameters():
            parameter.data += torch.randn_like(parameter) * (torch.rand_like(parameter) < 0.5)
        unlearned(x)  # other running statistics, another counter
    return original.eval(), unlearned.eval(), x, y


@pytest.mark.parametrize("scan", [1, 20])
@pytest.mark.parametrize("target", [None, 0.6, 0.75, 0.85])
def test_a_real_net_reaches_its_target_where_brute_force_crosses_it(
    pair: tuple[nn.Module, nn.Module, Tensor, Tensor], target: float | None, scan: int
) -> None:
    original, unlearned, x, y = pair
    first, last = dict(unlearned.state_dict()), dict(original.state_dict())

    @torch.no_grad()
    def accuracy(a: float) -> float:
        """By weights mixed here, not by `interpolate`."""
        mixed = {k: a * last[k] + (1 - a) * v if v.is_floating_point() else v for k, v in first.items()}
        return (torch.func.functional_call(unlearned, mixed, x).argmax(1) == y).double().mean().item()

    assert accuracy(0) < 0.6
    assert accuracy(1) > 0.85
    mix = Mix(target=target, drop=0.02, tolerance=0.0, scan=scan)
    tried = tanh_net().eval()

    @torch.no_grad()
    def mine(a: float) -> float:
        tried.load_state_dict(interpolate(last, first, a))
        return (tried(x).argmax(1) == y).double().mean().item()

    found = mix.find_fraction(mine)
    assert found.target == (accuracy(1) - 0.02 if target is None else target)
    reaches = [accuracy(i / 1000) >= found.target - 1e-9 for i in range(1001)]
    crossings = [i / 1000 for i in range(1, 1001) if reaches[i] and not reaches[i - 1]]
    assert min(abs(found.a - each) for each in crossings) <= 0.0011 + mix.precision
    assert found.target <= found.validation_accuracy + 1e-9
    assert found.validation_accuracy <= found.target + 1 / 300 + 1e-9  # one image
