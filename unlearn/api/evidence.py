"""Compute what metrics and attacks read of given models, each thing once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from unlearn.api.forget import compute_score
from unlearn.api.images import join
from unlearn.api.models import reinitialise
from unlearn.core.errors import DivergenceError
from unlearn.core.types import Images, Predictions, Role, Subset
from unlearn.functional.parameter_scores import Need, Scores
from unlearn.metrics.evidence import Evidence, Metric, ModelEvidence
from unlearn.models.base import Classifier


@dataclass(frozen=True)
class GivenModel:
    """A user's model in its role; `seed` numbers the models of one role."""

    role: Role
    seed: int
    classifier: Classifier

    @property
    def key(self) -> str:
        """Its role and number: given models have no artifact."""
        return f"{self.role} {self.seed}"

    def load(self, context: Any) -> Classifier:
        """Return the model."""
        del context
        return self.classifier


@dataclass
class EvidenceCache:
    """The evidence of all models, computed when it is first read.

    Args:
        data: images by subset.
        seed: the seed of attacks that draw at random, and of untrained models.
    """

    data: Mapping[Subset, Images]
    seed: int
    _predictions: dict[tuple[str, Subset], Predictions] = field(default_factory=dict)
    _scores: dict[tuple[str, Need], Scores] = field(default_factory=dict)

    def collect(
        self, metric: Metric, subject: GivenModel, original: GivenModel | None, retrained: GivenModel | None
    ) -> Evidence:
        """Return what `metric` reads of a model and of its references; None: a reference that it does not read."""
        is_untrained_read = Role.UNTRAINED in metric.references
        untrained = self._make_untrained(original or subject) if is_untrained_read else None
        return Evidence(
            subject=self._read(metric, subject),
            original=self._read(metric, original),
            retrained=self._read(metric, retrained),
            untrained=self._read(metric, untrained),
            seed=self.seed,
        )

    def predict(self, model: GivenModel, subset: Subset) -> Predictions:
        """Return the predictions of a model on a subset, on the CPU.

        Raises:
            DivergenceError: an output is not finite.
        """
        from unlearn.training.prediction import predict

        key = (model.key, subset)
        if key not in self._predictions:
            predictions = predict(model.classifier, self.data[subset])
            if not predictions.logits.isfinite().all():
                raise DivergenceError(f"{model.role}: expected finite outputs on {subset}, got infinities or NaN")
            self._predictions[key] = predictions
        return self._predictions[key]

    def _read(self, metric: Metric, model: GivenModel | None) -> ModelEvidence:
        if model is None:
            return ModelEvidence()
        weights: dict[str, Tensor] = dict(model.classifier.named_parameters()) if metric.weights else {}
        return ModelEvidence(
            predictions={subset: self.predict(model, subset) for subset in metric.subsets},
            scores={need: self._score(model, need) for need in metric.needs()},
            weights=weights,
        )

    def _score(self, model: GivenModel, need: Need) -> Scores:
        key = (model.key, need)
        if key not in self._scores:
            is_joint = need.subset is Subset.TRAIN
            images = join(self.data[Subset.FORGET], self.data[Subset.RETAIN]) if is_joint else self.data[need.subset]
            self._scores[key] = compute_score(need, model.classifier, images)
        return self._scores[key]

    def _make_untrained(self, model: GivenModel) -> GivenModel:
        return GivenModel(Role.UNTRAINED, self.seed, reinitialise(model.classifier, self.seed, "init/untrained"))
