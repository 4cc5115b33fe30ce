"""The image that an attack recovered from two models, next to the forgotten one, if they may be shown."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn.core.types import Measurement, Role
from unlearn.pipeline.config import RunConfig
from unlearn.pipeline.evaluations import Evaluation
from unlearn.pipeline.plan import Outcome
from unlearn.report.pictures import data_uri, explain_absence

MODELS = (Role.UNLEARNED, Role.RETRAINED)


@dataclass(frozen=True)
class Picture:
    """One image as a PNG data URI, its name, and the numbers below it."""

    image: str
    name: str
    numbers: str = ""


@dataclass(frozen=True)
class RecoveredPictures:
    """The images of a recovery, or the reason for showing none; both are empty if none was tried.

    Args:
        label: class of the forgotten image.
        index: its position in the data set.
        shown: the images.
        why: why none are shown.
    """

    label: int | None = None
    index: int | None = None
    shown: tuple[Picture, ...] = ()
    why: str = ""


def recovery(config: RunConfig, outcome: Outcome) -> RecoveredPictures:
    """Read the forgotten image, what each kind of model gives away of it, and what knowing its class would.

    The first retrained model stands for all of them.
    """
    tried: dict[Role, tuple[Evaluation, dict[str, Measurement]]] = {}
    for evaluation, measurements in outcome.measurements:
        if evaluation.stage.subject.recovered is not None:
            tried.setdefault(evaluation.role, (evaluation, measurements))
    if not tried:
        return RecoveredPictures()
    if reason := explain_absence(config.dataset, config.report.images):
        return RecoveredPictures(why=reason)
    evaluation, measurements = tried[Role.UNLEARNED]
    assert evaluation.stage.subject.recovered is not None
    forgotten = evaluation.stage.subject.recovered.forgotten
    truth = forgotten.load(outcome.context)
    controls = {"class_mean": ("mean of its class", truth.mean), "nearest": ("nearest of its class", truth.nearest)}
    pictures = [
        Picture(_encode(truth.image), "the forgotten image"),
        *(_recovered(outcome, role, *tried[role]) for role in MODELS if role in tried),
        *(
            Picture(_encode(image), name, _errors(measurements, f"{key}_"))
            for key, (name, image) in controls.items()
            if image is not None
        ),
    ]
    shown = tuple(picture for picture in pictures if picture.image)
    return RecoveredPictures(truth.label, forgotten.index(outcome.context), shown)


def _recovered(outcome: Outcome, role: Role, evaluation: Evaluation, measurements: dict[str, Measurement]) -> Picture:
    """The image recovered from one model; empty if its weights are the original's."""
    assert evaluation.stage.subject.recovered is not None
    guesses, _ = evaluation.stage.subject.recovered.load(outcome.context)
    if not len(guesses.cost):
        return Picture("", "")
    numbers = f"as class {guesses.best}, cosine {guesses.cosine[guesses.best]:.2f}, {_errors(measurements, '')}"
    return Picture(_encode(guesses.images[guesses.best]), f"by the {role} model", numbers)


def _errors(measurements: dict[str, Measurement], control: str) -> str:
    """Root mean squared error and SSIM of the recovery, or of a control by its prefix."""
    mse, ssim = (measurements[f"feature_recovery_{control}{name}"].value or 0.0 for name in ("mse", "ssim"))
    return f"error {mse**0.5:.2f}, SSIM {ssim:.2f}"


def _encode(image: Tensor) -> str:
    """Encode float32 [c, h, w] in [0, 1]."""
    return data_uri((255 * image).round().to(torch.uint8))
