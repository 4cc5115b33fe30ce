"""KLoM."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unlearn.core.errors import Problem
from unlearn.core.types import Measurement, Subset
from unlearn.core.validation import at_least, positive
from unlearn.functional.estimates import mean
from unlearn.functional.logit_margin import margin
from unlearn.metrics.evidence import Evidence, Metric, ModelEvidence

FEWEST = 8  # models of either kind: a histogram of fewer shows nothing (our choice)
MODELS_PER_BIN, MOST_BINS = 5, 20  # the authors' 20 bins for 100 models
HIGH = 0.95


@dataclass(frozen=True)
class Klom(Metric):
    """KL divergence of margins over models of many seeds, in nats, the mean over samples, in both directions.

    For each sample its margin phi = z_y - logsumexp over j != y of z_j is clipped and binned, over the range of all
    models, for N retrained models and for N such as the subject, and the divergence taken: `klom_SUBSET` is
    KL(retrained || theta), `klom_SUBSET_reverse` KL(theta || retrained). N is the number of `unlearn_seeds`, 8 at
    least: from each an original is trained and unlearned, so it must be asked for by name.

    There is one bin for every 5 models, 2 to 20, the authors' ratio. Simulated (normal margins, 1,000 samples), laws
    that are equal score 0.21, 0.21, 0.30 and 0.35 at N = 8, 16, 32 and 100, laws shifted by half a standard deviation
    0.38, 0.45, 0.56 and 0.58; 20 bins at N = 8 give 6.46 and 6.48.

    Numbers: `klom_forget`, `klom_retain`, `klom_test`, each with `..._p95`, the 95th percentile over samples, and
        `..._reverse` and `..._reverse_p95`, the other direction.
    Range: 0 to about -ln `smallest`; 0 like retrained.
    Direction: low is good.
    Reference: the retrained value, of N further retrained models against the first N, which needs 2 N `baseline.seeds`;
        the original's value is that without unlearning.
    Trap: few models leave bins empty, which lifts every value above 0, for equal laws too: compare with the reference,
        and compare values of one N and one `bins` alone.
    Source: Georgiev et al. 2024, "Attribute-to-Delete"; clipping, `smallest` and 20 bins for 100 models are those of
        the authors' code, which gives the reverse direction [C]; fewer bins for fewer models are ours.
    """

    subsets = (Subset.FORGET, Subset.RETAIN, Subset.TEST)

    unlearn_seeds: list[int] = field(default_factory=lambda: list(range(FEWEST)))  # of training and unlearning
    bins: int | None = at_least(2, None)  # null: one for every 5 models, 2 to 20
    clip: float = positive(100.0)  # of |phi|
    smallest: float = positive(1e-5)  # probability of a bin that is empty of the second law's models alone

    def problems(self, key: str) -> Iterator[Problem]:
        """Enough models, no two alike."""
        if len(set(self.unlearn_seeds)) < max(FEWEST, len(self.unlearn_seeds)):
            expected = f"{FEWEST} or more different seeds (those of baseline.seeds unless set)"
            yield Problem(f"{key}.unlearn_seeds", expected, self.unlearn_seeds)

    @property
    def siblings(self) -> tuple[int, ...]:
        """One model of each role from each seed."""
        return tuple(self.unlearn_seeds)

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        return {
            name: found
            for subset in self.subsets
            for name, found in self._of(subset, evidence.retrained_models, evidence.subjects).items()
        }

    def _of(
        self, subset: Subset, retrained: tuple[ModelEvidence, ...], subjects: tuple[ModelEvidence, ...]
    ) -> dict[str, Measurement]:
        name = f"klom_{subset}"
        wanted = torch.stack([margin(seen[subset]) for seen in retrained])
        n, models = wanted.shape[1], len(retrained)
        if not subjects:
            reason = f"its floor needs {2 * models} or more baseline.seeds: {models} models beside the first {models}"
            names = [name + direction + end for direction in ("", "_reverse") for end in ("", "_p95")]
            return dict.fromkeys(names, Measurement(None, n, reason=reason))
        margins = torch.stack([margin(seen[subset]) for seen in subjects])
        values = {name: self.divergence(wanted, margins), f"{name}_reverse": self.divergence(margins, wanted)}
        return {
            key: measurement
            for direction, divergences in values.items()
            for key, measurement in (
                (direction, mean(divergences)),
                (f"{direction}_p95", Measurement(divergences.quantile(HIGH).item(), n)),
            )
        }

    def bin_count(self, models: int) -> int:
        """`bins`, or what follows from the number of models of either kind."""
        return self.bins or min(max(models // MODELS_PER_BIN, 2), MOST_BINS)

    def divergence(self, first: Tensor, second: Tensor) -> Tensor:
        """KL(first || second) of each sample, float64 [n], from margins [N, n] and [M, n]."""
        bins = self.bin_count(min(len(first), len(second)))
        first, second = (margins.clamp(-self.clip, self.clip).T.contiguous() for margins in (first, second))
        low, high = torch.cat([first, second], 1).aminmax(dim=1, keepdim=True)
        edges = low + (high - low) * torch.linspace(0, 1, bins + 1, dtype=low.dtype)[1:-1]  # the inner ones
        p, q = (_frequencies(margins, edges) for margins in (first, second))
        q = torch.where(p > 0, q.clamp(min=self.smallest), q)
        q = q / q.sum(1, keepdim=True)
        return torch.where(p > 0, p * (p / q).log(), 0.0).sum(1).clamp(min=0)  # rounding alone could make it negative


def _frequencies(values: Tensor, edges: Tensor) -> Tensor:
    """Relative frequency of each row's values [n, N] in the bins between inner edges [n, b - 1]: [n, b]; equal values
    are in one bin."""
    bins = torch.searchsorted(edges.contiguous(), values, right=True)
    return torch.nn.functional.one_hot(bins, edges.shape[1] + 1).double().mean(1)
