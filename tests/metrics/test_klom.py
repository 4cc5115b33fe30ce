"""KLoM on made-up margins: by hand, against NumPy and SciPy, and what it makes of models that are alike."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from torch import Tensor

from unlearn.checks import problems
from unlearn.evidence import Evidence, Seen
from unlearn.metrics.klom import Klom
from unlearn.types import Predictions, Subset


def saying(margins: Tensor) -> Predictions:
    """Two-class logits of those margins [n]."""
    return Predictions(torch.stack([margins, torch.zeros_like(margins)], 1), torch.zeros(len(margins)).long(), margins)


def population(margins: Tensor) -> tuple[Seen, ...]:
    """A model for each row [N, n], the same on all subsets."""
    return tuple(Seen(dict.fromkeys(Klom.subsets, saying(row))) for row in margins)


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


def test_alike_models_diverge_by_nothing_and_strange_ones_by_no_more_than_the_smallest_probability() -> None:
    one = drawn(0)
    assert Klom().divergence(one, one[torch.randperm(8)]).tolist() == [0.0] * 50
    assert Klom().divergence(one[:1].expand(8, 50), one[:1].expand(8, 50)).tolist() == [0.0] * 50
    far = Klom().divergence(one[:1].expand(8, 50), drawn(1, shift=50))
    assert far.tolist() == pytest.approx([-math.log(1e-5)] * 50, abs=1e-3)
    assert Klom(clip=1.0).divergence(one + 9, one + 70).tolist() == [0.0] * 50


def test_margins_come_from_logits() -> None:
    """Where probabilities have long saturated."""
    measured = Klom().measure(
        Evidence(Seen(), subjects=population(drawn(1) + 60), retrained_models=population(drawn(0)))
    )
    assert measured["klom_forget"].value == pytest.approx(Klom().divergence(drawn(0), drawn(1) + 60).mean().item())
    assert measured["klom_forget"].value == pytest.approx(-math.log(1e-5), abs=1)


def test_a_mean_and_a_high_percentile() -> None:
    evidence = Evidence(Seen(), subjects=population(drawn(1)), retrained_models=population(drawn(0)))
    found, values = Klom().measure(evidence), Klom().divergence(drawn(0), drawn(1)).numpy()
    assert list(found) == [f"klom_{subset}{end}" for subset in Klom.subsets for end in ("", "_p95")]
    for subset in (Subset.FORGET, Subset.RETAIN, Subset.TEST):
        mean, high = found[f"klom_{subset}"], found[f"klom_{subset}_p95"]
        assert (mean.value, high.value) == pytest.approx((values.mean(), np.quantile(values, 0.95)))
        assert mean.standard_error == pytest.approx(values.std(ddof=1) / math.sqrt(50))


def test_few_models_lift_it_and_coarse_bins_less() -> None:
    """Of two populations that are alike: 0 in the limit."""
    means = [
        Klom(bins=bins).divergence(drawn(0, models), drawn(1, models)).mean().item()
        for models, bins in ((8, 20), (8, 5), (4000, 20))
    ]
    assert means[0] > 2 * means[1] > 20 * means[2]


def test_without_a_second_half_of_retrained_models_the_floor_is_a_reason() -> None:
    found = Klom().measure(Evidence(Seen(), retrained_models=population(drawn(0))))
    assert {each.value for each in found.values()} == {None}
    assert {each.reason for each in found.values()} == {
        "its floor needs 16 or more baseline.seeds: 8 models beside the first 8"
    }


@pytest.mark.parametrize("seeds", [[], [0], list(range(7)), [0] * 8, [*range(8), 3]])
def test_too_few_seeds_are_refused(seeds: list[int]) -> None:
    (problem,) = problems(Klom(unlearn_seeds=seeds), "metrics.klom")
    assert str(problem).startswith("metrics.klom.unlearn_seeds: expected 8 or more different seeds")
    assert str(seeds) in str(problem)
    assert not list(problems(Klom(), "metrics.klom"))
