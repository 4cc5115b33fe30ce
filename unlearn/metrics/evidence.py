"""What a metric is, and what it may look at."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from unlearn.core.recipe import Recipe
from unlearn.core.types import Measurement, Predictions, Role, Subset
from unlearn.functional.gradient_inversion import Guesses, Probing, Recovery, Truth
from unlearn.functional.parameter_scores import Need, Scores

ROUNDING = 1e-9  # of a difference of two shares


@dataclass(frozen=True)
class ModelEvidence(Mapping[Subset, Predictions]):
    """What a metric sees of one model, which is what it asked for: predictions by subset, and the rest."""

    predictions: Mapping[Subset, Predictions] = field(default_factory=dict)
    scores: Mapping[Need, Scores] = field(default_factory=dict)
    weights: Mapping[str, Tensor] = field(default_factory=dict)  # parameters by name, without buffers
    recovered: tuple[Guesses, Truth] | None = None  # from the original and this model
    relearned: Mapping[int, float] = field(default_factory=dict)  # forget accuracy by steps of relearning, from 0 on

    def __getitem__(self, subset: Subset) -> Predictions:
        return self.predictions[subset]

    def __iter__(self) -> Iterator[Subset]:
        return iter(self.predictions)

    def __len__(self) -> int:
        return len(self.predictions)


@dataclass(frozen=True)
class ShadowRequest:
    """The shadow models that an attack asks for: how many, an even number, and whether the strategy under test has
    made each forget part of what it learnt."""

    count: int
    unlearned: bool = False


@dataclass(frozen=True)
class Shadow:
    """What one shadow model says of each subset, and of which of its samples, bool [n], it was trained on (`learnt`);
    `forgot` are those that it was then made to forget, if any."""

    predictions: Mapping[Subset, Predictions]
    learnt: Mapping[Subset, Tensor]
    forgot: Mapping[Subset, Tensor]


LOOKS = 16  # at a model that relearns, at least, while its steps double


@dataclass(frozen=True)
class Relearning:
    """How a model is taught the forget set again: by a recipe, until its accuracy on it is back within `margin` of the
    original's, or `steps` are over."""

    recipe: Recipe
    steps: int
    margin: float

    def due(self, step: int) -> bool:
        """Whether to look at it after so many steps: after each, later after each sixteenth of them [ours]."""
        return step >= self.steps or step % max(1, (1 << step.bit_length() - 1) // LOOKS) == 0

    def back(self, accuracy: float, original: float) -> bool:
        """Whether that forget accuracy is as good as the original's, less the margin."""
        return accuracy >= original - self.margin - ROUNDING


@dataclass(frozen=True)
class Evidence:
    """What a metric may look at: the subject, and the references it asked for."""

    subject: ModelEvidence
    original: ModelEvidence = field(default_factory=ModelEvidence)
    retrained: ModelEvidence = field(default_factory=ModelEvidence)
    untrained: ModelEvidence = field(default_factory=ModelEvidence)  # random weights
    seed: int = 0  # for attacks that draw at random
    shadows: tuple[Shadow, ...] = ()
    subjects: tuple[ModelEvidence, ...] = ()  # models such as the subject, one from each seed of `siblings`
    retrained_models: tuple[ModelEvidence, ...] = ()  # as many, and none of them among `subjects`


@dataclass(frozen=True)
class Metric(ABC):
    """A number about one model, the subject, possibly held against reference models.

    Metrics and attacks are frozen dataclasses: their fields are their config. Adding one is a `.py` beside the
    others and a `.yaml` under `conf/metrics` or `conf/attacks`. They never run a model: what they say they read, of
    the subject and of every reference, is made by stages and shared.
    """

    subsets: ClassVar[tuple[Subset, ...]] = ()  # predictions on these
    weights: ClassVar[bool] = False
    references: ClassVar[tuple[Role, ...]] = ()  # of original, retrained and untrained
    needs_spd_gan: ClassVar[bool] = False
    needs_relabel: ClassVar[bool] = False  # a request that corrects labels
    needs_one_sample: ClassVar[bool] = False  # a request that removes a single one

    def needs(self) -> tuple[Need, ...]:
        """Statistics of its gradients."""
        return ()

    @property
    def shadows(self) -> ShadowRequest | None:
        """Shadow models, whose predictions on `subsets`, of forget, retain and holdout, are to stand beside."""
        return None

    @property
    def probing(self) -> Probing | None:
        """How the images of `Subset.PROBES` are made, where that is among `subsets`."""
        return None

    @property
    def recovery(self) -> Recovery | None:
        """How the one image that was forgotten is sought, for a metric that judges what is found."""
        return None

    @property
    def relearning(self) -> Relearning | None:
        """How the subject, and every reference, is to be taught the forget set again."""
        return None

    @property
    def siblings(self) -> tuple[int, ...]:
        """Seeds of training and unlearning from which models are to be made like the original, like the unlearned model
        and, by as many of the baseline's seeds, like the retrained one; their predictions on `subsets` are then all
        that it sees."""
        return ()

    @abstractmethod
    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        """Values by name, without the role."""
