"""The contract of a metric, and the evidence that it reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from unlearn.core.recipe import Recipe
from unlearn.core.types import Measurement, Predictions, Role, Subset
from unlearn.functional.gradient_inversion import ForgottenImage, Probing, Reconstructions, Recovery
from unlearn.functional.parameter_scores import Need, Scores

ROUNDING = 1e-9  # tolerance for the rounding of a difference of two fractions
MIN_CHECKS_PER_DOUBLING = 16  # measurements while the number of relearning steps doubles


@dataclass(frozen=True)
class ModelEvidence(Mapping[Subset, Predictions]):
    """What a metric reads about one model: the predictions by subset, and the rest of what it declares."""

    predictions: Mapping[Subset, Predictions] = field(default_factory=dict)
    scores: Mapping[Need, Scores] = field(default_factory=dict)
    weights: Mapping[str, Tensor] = field(default_factory=dict)  # parameters by name, without buffers
    recovered: tuple[Reconstructions, ForgottenImage] | None = None  # if it declares `recovery`
    relearned: Mapping[int, float] = field(default_factory=dict)  # forget accuracy by number of steps, from 0

    def __getitem__(self, subset: Subset) -> Predictions:
        return self.predictions[subset]

    def __iter__(self) -> Iterator[Subset]:
        return iter(self.predictions)

    def __len__(self) -> int:
        return len(self.predictions)


@dataclass(frozen=True)
class ShadowRequest:
    """The shadow models that an attack needs."""

    count: int  # an even number
    unlearned: bool = False  # whether the strategy under test made each forget a part of its training data


@dataclass(frozen=True)
class Shadow:
    """The predictions of one shadow model by subset, and which samples it was trained on."""

    predictions: Mapping[Subset, Predictions]
    learnt: Mapping[Subset, Tensor]  # bool [n]: samples that it was trained on
    forgot: Mapping[Subset, Tensor]  # bool [n]: samples that it was then made to forget, if any


@dataclass(frozen=True)
class Relearning:
    """How a model is trained on the forget set again, until its forget accuracy is back near the original's."""

    recipe: Recipe
    steps: int  # the largest number of steps
    margin: float  # accuracy (0-1) below the original's that suffices

    def is_due(self, step: int) -> bool:
        """Whether forget accuracy is measured after `step` steps: after each, later every sixteenth of them [ours]."""
        return step >= self.steps or step % max(1, (1 << step.bit_length() - 1) // MIN_CHECKS_PER_DOUBLING) == 0

    def has_recovered(self, accuracy: float, original: float) -> bool:
        """Whether a forget accuracy is at least the original's minus the margin; all 0-1."""
        return accuracy >= original - self.margin - ROUNDING


@dataclass(frozen=True)
class Evidence:
    """What a metric may read: the model that is measured (the subject), and the references that it declares."""

    subject: ModelEvidence
    original: ModelEvidence = field(default_factory=ModelEvidence)
    retrained: ModelEvidence = field(default_factory=ModelEvidence)
    untrained: ModelEvidence = field(default_factory=ModelEvidence)  # random weights
    seed: int = 0  # for attacks that draw at random
    shadows: tuple[Shadow, ...] = ()
    subjects: tuple[ModelEvidence, ...] = ()  # models like the subject, one for each seed of `replica_seeds`
    retrained_models: tuple[ModelEvidence, ...] = ()  # as many retrained models, none of them among `subjects`


@dataclass(frozen=True)
class Metric(ABC):
    """One or more numbers about a model, the subject, perhaps in comparison with reference models.

    Metrics and attacks are frozen dataclasses: their fields are their config. A new one is a `.py` in this folder or in
    `attacks` and a `.yaml` in `conf/metrics` or `conf/attacks`. A metric never runs a model: it declares what it reads,
    and stages compute that for the subject and every reference, once for all metrics.
    """

    titles: ClassVar[Mapping[str, str]] = {}  # in tables, by the name of a measurement; default: the name with spaces
    subsets: ClassVar[tuple[Subset, ...]] = ()  # subsets on which it reads predictions
    weights: ClassVar[bool] = False  # whether it reads the parameters
    references: ClassVar[tuple[Role, ...]] = ()  # which of original, retrained and untrained it reads
    needs_spd_gan: ClassVar[bool] = False  # requires that the forget set is perturbed
    needs_relabel: ClassVar[bool] = False  # requires a request that corrects labels
    needs_one_sample: ClassVar[bool] = False  # requires a request that removes a single sample
    needs_earlier: ClassVar[bool] = False  # requires earlier requests; every run that has some measures it

    def needs(self) -> tuple[Need, ...]:
        """Return the statistics of gradients that it reads."""
        return ()

    @property
    def shadows(self) -> ShadowRequest | None:
        """The shadow models that it reads; of them it gets predictions on `subsets` (forget, retain and holdout)."""
        return None

    @property
    def probing(self) -> Probing | None:
        """How the images of `Subset.PROBES` are made, if `subsets` contains it."""
        return None

    @property
    def recovery(self) -> Recovery | None:
        """How the single forgotten image is reconstructed, for a metric that evaluates the reconstruction."""
        return None

    @property
    def relearning(self) -> Relearning | None:
        """How the subject and every reference are trained on the forget set again."""
        return None

    @property
    def replica_seeds(self) -> tuple[int, ...]:
        """Seeds of training and unlearning, for a metric that compares distributions of models.

        For each seed an original and an unlearned model are made, and as many retrained models from the baseline's
        seeds. The metric then reads only the predictions of these models on `subsets`.
        """
        return ()

    @abstractmethod
    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        """Return the measurements by name, without the role of the model."""
