"""Normalised machine unlearning score."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.attacks.base import Attack
from unlearn.attacks.logistic import Logistic
from unlearn.core.types import Measurement, Subset
from unlearn.core.validation import at_least, fraction
from unlearn.functional.estimates import is_correct
from unlearn.metrics.evidence import Evidence


@dataclass(frozen=True)
class Nomus(Attack):
    """NoMUS = A_test / 2 + (1 - 2 |a - 1/2|) / 2: accuracy, and an attack that only guesses, weighed alike.

    a is `mia_logistic_balanced_accuracy`, on forget and holdout, as `Logistic` says with the same `splits` and
    `test_share`.

    Numbers: `nomus`.
    Range: 0 to 1.
    Reference: the retrained model's value.
    Trap: where forgotten images are harder than unseen ones, an attack finds them in a retrained model too.
    Source: Choi and Na 2023, "Towards machine unlearning benchmarks", where a is the accuracy of a classifier of losses
        that tells forgotten from unseen samples; which classifier is our choice.
    """

    subsets = (Subset.FORGET, Subset.HOLDOUT, Subset.TEST)
    direction = "the higher, the more accurate the model and the nearer to a guess the attack"
    invalid_for = Logistic.invalid_for

    splits: int = at_least(1, 10)
    test_share: float = fraction(0.5, zero=False)  # of the samples, scored in each split

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        known = is_correct(evidence.subject[Subset.TEST])
        attack = Logistic(self.splits, self.test_share, bootstrap=100).measure(evidence)[
            "mia_logistic_balanced_accuracy"
        ]
        n = len(known) + attack.n
        if attack.value is None:
            return {"nomus": Measurement(None, n, reason=attack.reason)}
        return {"nomus": Measurement(nomus(known.mean().item(), attack.value), n)}


def nomus(accuracy: float, attack: float) -> float:
    """From accuracy on test and the attack's, both 0-1."""
    return accuracy / 2 + (1 - 2 * abs(attack - 0.5)) / 2
