"""Relearn time."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.core.recipe import Recipe
from unlearn.core.types import Measurement, Role, Subset
from unlearn.core.validation import at_least, one_of, positive, share
from unlearn.functional.estimates import correct
from unlearn.metrics.evidence import Evidence, Metric, ModelEvidence, Relearning


@dataclass(frozen=True)
class RelearnTime(Metric):
    """Steps of training on D_f until the accuracy on it is back within `margin` of the original's.

    A model that comes back faster than the retrained one kept something: AIN = steps(theta) / steps(theta_r), the
    anamnesis index.

    Numbers: `relearn_steps`, `ain`.
    Range: whole numbers from 0, the original's own; 0 to infinity, 1 like retrained. Null where `steps` did not
        suffice; `ain` also where a model is within the margin to begin with.
    Direction: none; well under 1 something was kept, well over 1 the forgetting shows.
    Reference: the retrained model.
    Trap: steps hang on batch size and learning rate, and where a retrained model is nearly right on D_f there is little
        to relearn; above 32 steps they are counted to a sixteenth.
    Source: Chundawat et al. 2023, "Zero-shot machine unlearning", steps and index. Training on D_f alone, by the
        original's optimizer at a constant rate, from the same batches for all models, and a margin as a share of D_f
        rather than of the accuracy, are ours.
    """

    subsets = (Subset.FORGET,)
    references = (Role.ORIGINAL, Role.RETRAINED)

    margin: float = share(0.01)  # of D_f, below the original's accuracy
    steps: int = at_least(1, 500)  # after these it is given up
    batch_size: int = at_least(1, 64)
    optimizer: str = one_of("sgd", "adam", "adamw")
    lr: float = positive(0.05)  # of the training
    slower: float = positive(10.0)  # times than that: at its pace one step is too much to tell models apart
    momentum: float = share(0.9)
    weight_decay: float = at_least(0, 5e-4)

    @property
    def relearning(self) -> Relearning:
        """An epoch has at least one step."""
        fitted = Recipe(
            epochs=self.steps,
            batch_size=self.batch_size,
            optimizer=self.optimizer,
            lr=self.lr / self.slower,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )
        return Relearning(fitted, self.steps, self.margin)

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        before = correct(evidence.original[Subset.FORGET])
        mine, wanted = (self._steps(seen, before.mean().item()) for seen in (evidence.subject, evidence.retrained))
        n, never = len(before), f"more than {self.steps} steps"
        steps = Measurement(mine, n, reason=None if mine is not None else never)
        if mine and wanted:
            return {"relearn_steps": steps, "ain": Measurement(mine / wanted, n)}
        whose, found = ("the model", mine) if not mine else ("the retrained model", wanted)
        why = f"takes {never}" if found is None else "is within the margin before any step"
        return {"relearn_steps": steps, "ain": Measurement(None, n, reason=f"{whose} {why}")}

    def _steps(self, seen: ModelEvidence, original: float) -> int | None:
        """None: it never came back."""
        return next((step for step, at in seen.relearned.items() if self.relearning.back(at, original)), None)
