"""KLoM."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unlearn.checks import at_least, positive
from unlearn.errors import Problem
from unlearn.evidence import Evidence, Metric, Seen
from unlearn.margin import margin
from unlearn.statistics import mean
from unlearn.types import Measurement, Subset

FEWEST = 8  # models on either side: a histogram of fewer says nothing (our choice)
HIGH = 0.95


@dataclass(frozen=True)
class Klom(Metric):
    """KL divergence of margins, KL(retrained || theta) over models of many seeds, in nats, the mean over samples.

    For each sample its margin phi = z_y - logsumexp over j != y of z_j is clipped and binned, over the range of all
    models, for N retrained models and for N such as the subject, and the divergence taken. N is the number of
    `unlearn_seeds`, 8 at least: from each an original is trained and unlearned, so it must be asked for by name.

    Numbers: `klom_forget`, `klom_retain`, `klom_test`, and `..._p95`, the 95th percentiles over samples.
    Range: 0 to about -ln `smallest`; 0 like retrained.
    Direction: low is good.
    Reference: the retrained value, of N further retrained models against the first N, which needs 2 N `baseline.seeds`;
        the original's value is that without unlearning.
    Trap: few models leave most bins empty, which lifts every value: with few, fewer `bins` tell more, and only values
        of one N compare.
    Source: Georgiev et al. 2024, "Attribute-to-Delete"; bins, clipping and `smallest` are those of the authors' code,
        which takes the divergence the other way round.
    """

    subsets = (Subset.FORGET, Subset.RETAIN, Subset.TEST)

    unlearn_seeds: list[int] = field(default_factory=lambda: list(range(FEWEST)))  # of training and unlearning
    bins: int = at_least(2, 20)
    clip: float = positive(100.0)  # of |phi|
    smallest: float = positive(1e-5)  # probability of a bin in which retrained models lie

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

    def _of(self, subset: Subset, retrained: tuple[Seen, ...], subjects: tuple[Seen, ...]) -> dict[str, Measurement]:
        name, high = f"klom_{subset}", f"klom_{subset}_p95"
        wanted = torch.stack([margin(seen[subset]) for seen in retrained])
        n, models = wanted.shape[1], len(retrained)
        if not subjects:
            reason = f"its floor needs {2 * models} or more baseline.seeds: {models} models beside the first {models}"
            return dict.fromkeys((name, high), Measurement(None, n, reason=reason))
        values = self.divergence(wanted, torch.stack([margin(seen[subset]) for seen in subjects]))
        return {name: mean(values), high: Measurement(values.quantile(HIGH).item(), n)}

    def divergence(self, retrained: Tensor, subjects: Tensor) -> Tensor:
        """KL(retrained || subjects) of each sample, float64 [n], from margins [N, n] and [M, n]."""
        retrained, subjects = (each.clamp(-self.clip, self.clip).T.contiguous() for each in (retrained, subjects))
        low, high = torch.cat([retrained, subjects], 1).aminmax(dim=1, keepdim=True)
        edges = low + (high - low) * torch.linspace(0, 1, self.bins + 1, dtype=low.dtype)[1:-1]  # the inner ones
        p, q = (self._shares(each, edges) for each in (retrained, subjects))
        q = torch.where(p > 0, q.clamp(min=self.smallest), q)
        q = q / q.sum(1, keepdim=True)
        return torch.where(p > 0, p * (p / q).log(), 0.0).sum(1).clamp(min=0)  # rounding alone could make it negative

    def _shares(self, values: Tensor, edges: Tensor) -> Tensor:
        """Of each row's values [n, N] in each bin, [n, bins]; alike ones are in one bin."""
        bins = torch.searchsorted(edges.contiguous(), values, right=True)
        return torch.nn.functional.one_hot(bins, self.bins).double().mean(1)
