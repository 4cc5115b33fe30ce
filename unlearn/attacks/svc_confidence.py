"""The membership inference attack of the SalUn tables."""

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
    """Fraction of the forget set that a support vector machine on the true class's probability judges non-members.

    The machine (RBF, C = 3, gamma = 1) is fitted for each model to equally many samples of retain and test. Test
    samples of classes that the request removes altogether are left out, as in the tables.

    Numbers: `mia_svc_confidence`; its standard error takes the fitted machine as given.
    Range: 0 to 1; published tables give it in percent and call it MIA.
    Reference: the retrained model's value.
    Trap: it reads test, as the tables do, so nothing may be selected by it.
    Source: the tables of SalUn (Fan et al. 2024).
    """

    subsets = (Subset.FORGET, Subset.RETAIN, Subset.TEST)
    members = "retain samples, to which forget samples are compared"
    non_members = "test samples of the retained classes"
    direction = "the higher the fraction, the fewer forget samples look like members"
    invalid_for = ("membership_loss",)

    most: int = at_least(4, 10_000)  # samples of retain and of test to fit to, at most; the time grows with the square

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        from sklearn.svm import SVC

        forget, retain = (sort_by_index(evidence.subject[subset]) for subset in (Subset.FORGET, Subset.RETAIN))
        test = sort_by_index(keep_retained_classes(evidence.subject, Subset.TEST) or evidence.subject[Subset.TEST])
        reason = too_few_reason(retain.labels, test.labels)
        if reason:
            return {"mia_svc_confidence": Measurement(None, len(forget.labels), reason=reason)}
        size = min(self.most, len(retain.labels), len(test.labels))
        draws = stream(evidence.seed, "svc_confidence")
        sample = torch.cat([_draw(confidence(predictions), size, draws) for predictions in (retain, test)])
        machine = SVC(C=3, gamma="auto").fit(sample[:, None].numpy(), torch.arange(2 * size) < size)
        member = torch.from_numpy(machine.predict(confidence(forget)[:, None].numpy()))
        return {"mia_svc_confidence": mean(1 - member.double())}


def _draw(values: Tensor, size: int, draws: torch.Generator) -> Tensor:
    """Draw `size` of values [n] without replacement."""
    return values[torch.randperm(len(values), generator=draws)[:size]]
