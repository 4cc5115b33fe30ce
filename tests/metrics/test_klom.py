"""KLoM on made-up margins: by hand, against NumPy and SciPy, and what it makes of models that are alike."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from torch import Tensor

from unlearn.core.types import Predictions, Subset
from unlearn.core.validation import problems
from unlearn.metrics.evidence import Evidence, ModelEvidence
from unlearn.metrics.klom import FEWEST, Klom


def saying(margins: Tensor) -> Predictions:
    """Two-class logits of those margins [n]."""
    return Predictions(torch.stack([margins, torch.zeros_like(margins)], 1), torch.zeros(len(margins)).long(), margins)


def population(margins: Tensor) -> tuple[ModelEvidence, ...]:
    """A model for each row [N, n], the same on all subsets."""
    return tuple(ModelEvidence(dict.fromkeys(Klom.subsets, saying(row))) for row in margins)


def drawn(seed: int, models: int = 8, n: int = 50, shift: float = 0.0) -> Tensor:
    return shift + torch.randn(models, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_divergence_by_hand() -> None:
    """Two bins on 0 to 4: three of four retrained and one of four subjects in the upper; then no subject in it."""
    retrained, subjects = torch.tensor([[0.0, 3, 3, 4], [0, 3, 3, 4]]), torch.tensor([[0.0, 1, 1, 4], [0, 1, 1, 1.5]])
    found = Klom(bins=2, smallest=0.01).divergence(retrained.T.double(), subjects.T.double())
    first = 1 / 4 * math.log((1 / 4) / (3 / 4)) + 3 / 4 * math.log((3 / 4) / (1 / 4))
    second = 1 / 4 * math.log((1 / 4) / (1 / 1.01)) + 3 / 4 * math.log((3 / 4) / (0.01 / 1.01))
    assert found.tolist() == pytest.approx([first, second])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("models", "bins"), [(8, 20), (40, 5)])
def test_the_divergence_is_scipys_of_numpys_histograms(seed: int, models: int, bins: int) -> None:
    retrained, subjects = 60 * drawn(seed, models), 60 * drawn(seed + 100, models, shift=0.5)
    found = Klom(bins=bins).divergence(retrained, subjects)
    for i in range(retrained.shape[1]):
        pair = [each[:, i].clamp(-100, 100).numpy() for each in (retrained, subjects)]
        edges = np.histogram_bin_edges(np.concatenate(pair), bins)
        p, q = (np.histogram(values, edges)[0] / models for values in pair)
        assert found[i].item() == pytest.approx(entropy(p, np.where(p > 0, np.maximum(q, 1e-5), q)))


def test_equal_models_have_no_divergence_and_different_ones_at_most_that_of_the_smallest_probability() -> None:
    one = drawn(0)
    assert Klom().divergence(one, one[torch.randperm(8)]).tolist() == [0.0] * 50
    assert Klom().divergence(one[:1].expand(8, 50), one[:1].expand(8, 50)).tolist() == [0.0] * 50
    far = Klom().divergence(one[:1].expand(8, 50), drawn(1, shift=50))
    assert far.tolist() == pytest.approx([-math.log(1e-5)] * 50, abs=1e-3)
    assert Klom(clip=1.0).divergence(one + 9, one + 70).tolist() == [0.0] * 50


def test_margins_come_from_logits() -> None:
    """Where probabilities have long saturated."""
    measured = Klom().measure(
        Evidence(ModelEvidence(), subjects=population(drawn(1) + 60), retrained_models=population(drawn(0)))
    )
    assert measured["klom_forget"].value == pytest.approx(Klom().divergence(drawn(0), drawn(1) + 60).mean().item())
    assert measured["klom_forget"].value == pytest.approx(-math.log(1e-5), abs=1)


def test_a_mean_and_a_high_percentile() -> None:
    evidence = Evidence(ModelEvidence(), subjects=population(drawn(1)), retrained_models=population(drawn(0)))
    found, values = Klom().measure(evidence), Klom().divergence(drawn(0), drawn(1)).numpy()
    ends = ("", "_p95", "_reverse", "_reverse_p95")
    assert list(found) == [f"klom_{subset}{end}" for subset in Klom.subsets for end in ends]
    for subset in (Subset.FORGET, Subset.RETAIN, Subset.TEST):
        mean, high = found[f"klom_{subset}"], found[f"klom_{subset}_p95"]
        assert (mean.value, high.value) == pytest.approx((values.mean(), np.quantile(values, 0.95)))
        assert mean.standard_error == pytest.approx(values.std(ddof=1) / math.sqrt(50))


def test_both_directions_by_hand() -> None:
    """Two bins on 0 to 3: of four models each, one retrained and two subjects are in the upper one."""
    retrained = torch.tensor([[0.0], [0.0], [0.0], [3.0]]).double()
    half = torch.tensor([[0.0], [0.0], [3.0], [3.0]]).double()
    evidence = Evidence(ModelEvidence(), subjects=population(half), retrained_models=population(retrained))
    found = {name: each.value for name, each in Klom(bins=2).measure(evidence).items()}
    forward = 3 / 4 * math.log((3 / 4) / (1 / 2)) + 1 / 4 * math.log((1 / 4) / (1 / 2))
    backward = 1 / 2 * math.log((1 / 2) / (3 / 4)) + 1 / 2 * math.log((1 / 2) / (1 / 4))
    assert (found["klom_test"], found["klom_test_reverse"]) == (pytest.approx(forward), pytest.approx(backward))
    assert found["klom_test_reverse_p95"] == pytest.approx(backward)
    assert abs(forward - backward) > 0.01


def test_few_models_lift_it_and_coarse_bins_less() -> None:
    """Of two populations of one law: 0 in the limit."""
    means = [
        Klom(bins=bins).divergence(drawn(0, models), drawn(1, models)).mean().item()
        for models, bins in ((8, 20), (8, 5), (4000, 20))
    ]
    assert means[0] > 2 * means[1] > 20 * means[2]


@pytest.mark.parametrize(("models", "bins"), [(8, 2), (10, 2), (16, 3), (32, 6), (64, 12), (100, 20), (500, 20)])
def test_bins_follow_the_number_of_models(models: int, bins: int) -> None:
    """One for every five: the authors' 20 for 100."""
    assert Klom().bin_count(models) == bins
    assert Klom(bins=7).bin_count(models) == 7


def simulated(klom: Klom, models: int, shift: float) -> float:
    """The mean over 2,000 samples whose margins are normal, shifted by so many standard deviations."""
    return klom.divergence(drawn(0, models, 2000), drawn(1, models, 2000, shift)).mean().item()


@pytest.mark.parametrize("models", [8, 12, 16, 24, 32, 50, 64, 100])
def test_equal_laws_score_clearly_lower_than_shifted_ones(models: int) -> None:
    """By a factor of 1.5 for half a standard deviation, at every N that is accepted; the 20 bins of 100 models do not
    show that shift at N = 8."""
    equal, shifted = (simulated(Klom(), models, shift) for shift in (0.0, 0.5))
    assert shifted > 1.5 * equal
    assert simulated(Klom(), models, 1.0) > 1.5 * shifted
    if models == FEWEST:
        assert simulated(Klom(bins=20), models, 0.5) < 1.05 * simulated(Klom(bins=20), models, 0.0)


def test_without_a_second_half_of_retrained_models_the_floor_is_a_reason() -> None:
    found = Klom().measure(Evidence(ModelEvidence(), retrained_models=population(drawn(0))))
    assert {each.value for each in found.values()} == {None}
    assert {each.reason for each in found.values()} == {
        "its floor needs 16 or more baseline.seeds: 8 models besides the first 8"
    }


@pytest.mark.parametrize("seeds", [[], [0], list(range(7)), [0] * 8, [*range(8), 3]])
def test_too_few_seeds_are_refused(seeds: list[int]) -> None:
    (problem,) = problems(Klom(unlearn_seeds=seeds), "metrics.klom")
    assert str(problem).startswith("metrics.klom.unlearn_seeds: expected 8 or more different seeds")
    assert str(seeds) in str(problem)
    assert not list(problems(Klom(), "metrics.klom"))
