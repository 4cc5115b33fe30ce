"""The image that was recovered from two models, beside the one that was forgotten, where they may be shown."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn.core.types import Measurement, Role
from unlearn.pipeline.config import RunConfig
from unlearn.pipeline.evaluations import Evaluation
from unlearn.pipeline.plan import Outcome
from unlearn.report.pictures import data_uri, withheld

MODELS = (Role.UNLEARNED, Role.RETRAINED)


@dataclass(frozen=True)
class Picture:
    """One image as a PNG data URI, and what stands beneath it."""

    image: str
    name: str
    told: str = ""


@dataclass(frozen=True)
class Recovery:
    """What the page shows of a recovery, or why it shows nothing; both empty where none was tried."""

    label: int | None = None  # of the forgotten image
    index: int | None = None  # in the data set
    shown: tuple[Picture, ...] = ()
    why: str = ""


def recovery(config: RunConfig, outcome: Outcome) -> Recovery:
    """The forgotten image, what each kind of model gives away of it, and what knowing its class would.

    The first retrained model stands for all of them. The images leave the store as those of `pictures.examples` do.
    """
    tried: dict[Role, tuple[Evaluation, dict[str, Measurement]]] = {}
    for reading, measured in outcome.measurements:
        if reading.stage.subject.recovered is not None:
            tried.setdefault(reading.role, (reading, measured))
    if not tried:
        return Recovery()
    if why := withheld(config.dataset, config.report.images):
        return Recovery(why=why)
    reading, measured = tried[Role.UNLEARNED]
    assert reading.stage.subject.recovered is not None
    forgotten = reading.stage.subject.recovered.forgotten
    truth = forgotten.load(outcome.context)
    known = {"class_mean": ("mean of its class", truth.mean), "nearest": ("nearest of its class", truth.nearest)}
    pictures = [
        Picture(_uri(truth.image), "the forgotten image"),
        *(_recovered(outcome, role, *tried[role]) for role in MODELS if role in tried),
        *(
            Picture(_uri(image), name, _told(measured, f"{key}_"))
            for key, (name, image) in known.items()
            if image is not None
        ),
    ]
    shown = tuple(each for each in pictures if each.image)
    return Recovery(truth.label, forgotten.index(outcome.context), shown)


def _recovered(outcome: Outcome, role: Role, reading: Evaluation, measured: dict[str, Measurement]) -> Picture:
    """By that model; without an image where its weights are the original's."""
    assert reading.stage.subject.recovered is not None
    guesses, _ = reading.stage.subject.recovered.load(outcome.context)
    if not len(guesses.cost):
        return Picture("", "")
    told = f"as class {guesses.best}, cosine {guesses.cosine[guesses.best]:.2f}, {_told(measured, '')}"
    return Picture(_uri(guesses.images[guesses.best]), f"by the {role} model", told)


def _told(measured: dict[str, Measurement], which: str) -> str:
    """Root mean squared error and SSIM; `which` begins the names of a control's."""
    mse, ssim = (measured[f"feature_recovery_{which}{name}"].value or 0.0 for name in ("mse", "ssim"))
    return f"error {mse**0.5:.2f}, SSIM {ssim:.2f}"


def _uri(image: Tensor) -> str:
    """Of float32 [c, h, w] in [0, 1]."""
    return data_uri((255 * image).round().to(torch.uint8))
