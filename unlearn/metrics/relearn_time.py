"""Relearn time."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.core.recipe import Recipe
from unlearn.core.types import Measurement, Role, Subset
from unlearn.core.validation import at_least, fraction, one_of, positive
from unlearn.functional.estimates import is_correct
from unlearn.metrics.evidence import Evidence, Metric, ModelEvidence, Relearning


@dataclass(frozen=True)
class RelearnTime(Metric):
    """Training steps on D_f until forget accuracy is back within `margin` of the original's.

    A model that relearns faster than the retrained one still holds information: AIN = steps(theta) / steps(theta_r),
    the anamnesis index.

    Numbers: `relearn_steps`, `ain`.
    Range: whole numbers from 0, the original's value; 0 to infinity, 1 like retrained. Null if `steps` do not suffice;
        `ain` is also null if a model is within the margin before any step.
    Direction: none; well below 1 the model kept information, well above 1 the forgetting itself is visible.
    Reference: the retrained model.
    Trap: steps depend on batch size and learning rate, and if a retrained model is nearly right on D_f there is little
        to relearn; above 32, steps are counted to a precision of a sixteenth.
    Source: Chundawat et al. 2023, "Zero-shot machine unlearning", steps and index. Ours: training on D_f alone, by the
        original's optimizer at a constant rate, with the same batches for all models; a margin as a fraction of D_f
        rather than of the accuracy.
    """

    subsets = (Subset.FORGET,)
    references = (Role.ORIGINAL, Role.RETRAINED)

    margin: float = fraction(0.01)  # how far below the original's accuracy suffices, as a fraction of D_f
    steps: int = at_least(1, 500)  # largest number of steps
    batch_size: int = at_least(1, 64)  # images of a step
    optimizer: str = one_of("sgd", "adam", "adamw")  # optimizer of the relearning
    lr: float = positive(0.05)  # learning rate of the original's training
    slower: float = positive(10.0)  # factor by which relearning is slower; at `lr` one step would not separate models
    momentum: float = fraction(0.9)  # of the relearning
    weight_decay: float = at_least(0, 5e-4)  # of the relearning

    @property
    def relearning(self) -> Relearning:
        """The recipe and limits of relearning."""
        recipe = Recipe(
            epochs=self.steps,  # an epoch has at least one step
            batch_size=self.batch_size,
            optimizer=self.optimizer,
            lr=self.lr / self.slower,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )
        return Relearning(recipe, self.steps, self.margin)

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        before = is_correct(evidence.original[Subset.FORGET])
        models = evidence.subject, evidence.retrained
        subject, retrained = (self._steps(model, before.mean().item()) for model in models)
        n, over = len(before), f"more than {self.steps} steps"
        steps = Measurement(subject, n, reason=None if subject is not None else over)
        if subject and retrained:
            return {"relearn_steps": steps, "ain": Measurement(subject / retrained, n)}
        name, count = ("the model", subject) if not subject else ("the retrained model", retrained)
        why = f"takes {over}" if count is None else "is within the margin before any step"
        return {"relearn_steps": steps, "ain": Measurement(None, n, reason=f"{name} {why}")}

    def _steps(self, model: ModelEvidence, original: float) -> int | None:
        """Return the steps after which forget accuracy is back near `original`; None: it never is."""
        curve, is_done = model.relearned.items(), self.relearning.has_recovered
        return next((step for step, accuracy in curve if is_done(accuracy, original)), None)
