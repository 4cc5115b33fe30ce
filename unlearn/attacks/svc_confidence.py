"""The MIA of the SalUn tables."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn.attacks.base import Attack
from unlearn.attacks.members import sort_by_index, too_few_reason
from unlearn.core.random_streams import stream
from unlearn.core.types import Measurement, Subset
from unlearn.core.validation import at_least
from unlearn.functional.estimates import confidence, keep_retained_classes, mean
from unlearn.metrics.evidence import Evidence


@dataclass(frozen=True)
class SvcConfidence(Attack):
    """The share of the forget set that a support vector machine on the true class's probability judges non-member.

    The machine (RBF, C = 3, gamma = 1) is fitted for each model to equally many samples of retain and test. Test
    samples of classes that the request removes altogether are left out, as in the tables.

    Numbers: `mia_svc_confidence`; its standard error holds the judge fixed.
    Range: 0 to 1; tables in the literature give it in percent and call it MIA.
    Reference: the retrained model's value.
    Trap: it reads test, as the tables do, so nothing may be chosen by it.
    Source: the tables of SalUn (Fan et al. 2024).
    """

    subsets = (Subset.FORGET, Subset.RETAIN, Subset.TEST)
    members = "retain samples, by which forget samples are judged"
    non_members = "test samples of the retained classes"
    direction = "the higher the share, the fewer forget samples look like members"
    invalid_for = ("membership_loss",)

    most: int = at_least(4, 10_000)  # samples of retain, and of test, to fit by: its time grows with their square

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        from sklearn.svm import SVC

        forget, retain = (sort_by_index(evidence.subject[subset]) for subset in (Subset.FORGET, Subset.RETAIN))
        test = sort_by_index(keep_retained_classes(evidence.subject, Subset.TEST) or evidence.subject[Subset.TEST])
        reason = too_few_reason(retain.labels, test.labels)
        if reason:
            return {"mia_svc_confidence": Measurement(None, len(forget.labels), reason=reason)}
        size = min(self.most, len(retain.labels), len(test.labels))
        draws = stream(evidence.seed, "svc_confidence")
        fitted = torch.cat([_some(confidence(each), size, draws) for each in (retain, test)])
        judge = SVC(C=3, gamma="auto").fit(fitted[:, None].numpy(), torch.arange(2 * size) < size)
        member = torch.from_numpy(judge.predict(confidence(forget)[:, None].numpy()))
        return {"mia_svc_confidence": mean(1 - member.double())}


def _some(values: Tensor, size: int, draws: torch.Generator) -> Tensor:
    """`size` of values [n], drawn without replacement."""
    return values[torch.randperm(len(values), generator=draws)[:size]]
