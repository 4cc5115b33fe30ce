"""KLoM: the divergence of margins over models of many seeds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unlearn.core.errors import Problem
from unlearn.core.types import Measurement, Subset
from unlearn.core.validation import at_least, positive
from unlearn.functional.estimates import mean
from unlearn.functional.logit_margin import logit_margin
from unlearn.metrics.evidence import Evidence, Metric, ModelEvidence

FEWEST = 8  # models of either kind: a histogram of fewer is not informative [ours]
MODELS_PER_BIN, MAX_BINS = 5, 20  # the authors' 20 bins for 100 models
HIGH_QUANTILE = 0.95


@dataclass(frozen=True)
class Klom(Metric):
    """KL divergence between the margins of unlearned and of retrained models, over many seeds: the mean over samples.

    For each sample the margin phi = z_y - logsumexp over j != y of z_j is computed by N retrained models and by N
    models like the subject, clipped, and binned over the range of all models. `klom_SUBSET` is KL(retrained || theta)
    of the two histograms, in nats, and `klom_SUBSET_reverse` is KL(theta || retrained). N is the number of
    `unlearn_seeds`, at least 8. An original is trained and unlearned for each seed, so this metric runs only if it is
    requested by name.

    There is one bin for every 5 models, 2 to 20, the authors' ratio. In simulations (normal margins, 1,000 samples)
    equal distributions score 0.21, 0.21, 0.30 and 0.35 at N = 8, 16, 32 and 100, and distributions that differ by half
    a standard deviation 0.38, 0.45, 0.56 and 0.58; 20 bins at N = 8 give 6.46 and 6.48.

    Numbers: `klom_forget`, `klom_retain`, `klom_test`, each with `..._p95`, the 95th percentile over samples, and
        `..._reverse` and `..._reverse_p95`, the other direction.
    Range: 0 to about -ln `smallest`; 0 like retrained.
    Direction: low is good.
    Reference: the retrained value, that of N further retrained models against the first N, which needs 2 N
        `baseline.seeds`; the original's value is that without unlearning.
    Trap: with few models bins stay empty, which raises every value above 0, for equal distributions too. Compare with
        the reference, and compare only values with the same N and `bins`.
    Source: Georgiev et al. 2024, "Attribute-to-Delete"; clipping, `smallest` and 20 bins for 100 models are those of
        the authors' code, which computes the reverse direction [C]; fewer bins for fewer models are ours.
    """

    subsets = (Subset.FORGET, Subset.RETAIN, Subset.TEST)

    unlearn_seeds: list[int] = field(default_factory=lambda: list(range(FEWEST)))  # seeds of training and unlearning
    bins: int | None = at_least(2, None)  # bins of a histogram; null: one for every 5 models, 2 to 20
    clip: float = positive(100.0)  # phi is clipped to plus or minus this
    smallest: float = positive(1e-5)  # probability of a bin that only the second distribution leaves empty

    def problems(self, key: str) -> Iterator[Problem]:
        """Yield a problem unless there are enough different seeds."""
        if len(set(self.unlearn_seeds)) < max(FEWEST, len(self.unlearn_seeds)):
            expected = f"{FEWEST} or more different seeds (those of baseline.seeds unless set)"
            yield Problem(f"{key}.unlearn_seeds", expected, self.unlearn_seeds)

    @property
    def replica_seeds(self) -> tuple[int, ...]:
        """The seeds; each gives one model of each role."""
        return tuple(self.unlearn_seeds)

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        return {
            name: measurement
            for subset in self.subsets
            for name, measurement in self._compare(subset, evidence.retrained_models, evidence.subjects).items()
        }

    def _compare(
        self, subset: Subset, retrained: tuple[ModelEvidence, ...], subjects: tuple[ModelEvidence, ...]
    ) -> dict[str, Measurement]:
        name = f"klom_{subset}"
        reference = torch.stack([logit_margin(model[subset]) for model in retrained])
        n, models = reference.shape[1], len(retrained)
        if not subjects:
            reason = f"its floor needs {2 * models} or more baseline.seeds: {models} models besides the first {models}"
            names = [name + direction + end for direction in ("", "_reverse") for end in ("", "_p95")]
            return dict.fromkeys(names, Measurement(None, n, reason=reason))
        margins = torch.stack([logit_margin(model[subset]) for model in subjects])
        values = {name: self.divergence(reference, margins), f"{name}_reverse": self.divergence(margins, reference)}
        return {
            key: measurement
            for direction, divergences in values.items()
            for key, measurement in (
                (direction, mean(divergences)),
                (f"{direction}_p95", Measurement(divergences.quantile(HIGH_QUANTILE).item(), n)),
            )
        }

    def bin_count(self, models: int) -> int:
        """Return `bins`, or the default for a number of models of either kind."""
        return self.bins or min(max(models // MODELS_PER_BIN, 2), MAX_BINS)

    def divergence(self, first: Tensor, second: Tensor) -> Tensor:
        """Return KL(first || second) of each sample, float64 [n], from margins [N, n] and [M, n]."""
        bins = self.bin_count(min(len(first), len(second)))
        first, second = (margins.clamp(-self.clip, self.clip).T.contiguous() for margins in (first, second))
        low, high = torch.cat([first, second], 1).aminmax(dim=1, keepdim=True)
        edges = low + (high - low) * torch.linspace(0, 1, bins + 1, dtype=low.dtype)[1:-1]  # the inner ones
        p, q = (_frequencies(margins, edges) for margins in (first, second))
        q = torch.where(p > 0, q.clamp(min=self.smallest), q)
        q = q / q.sum(1, keepdim=True)
        return torch.where(p > 0, p * (p / q).log(), 0.0).sum(1).clamp(min=0)  # rounding alone could make it negative


def _frequencies(values: Tensor, edges: Tensor) -> Tensor:
    """Return the relative frequencies [n, b] of values [n, N], row by row, in bins with inner edges [n, b - 1].

    Equal values are in one bin.
    """
    bins = torch.searchsorted(edges.contiguous(), values, right=True)
    return torch.nn.functional.one_hot(bins, edges.shape[1] + 1).double().mean(1)
