"""Images that were perturbed, as data URIs, if they may be shown."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unlearn.data.datasets.base import Dataset
from unlearn.pipeline.config import RunConfig
from unlearn.pipeline.plan import Outcome
from unlearn.report.charts.generator import caption, described
from unlearn.stages.files import read_tensors

PICTURES = "pictures.json"  # in the folder of the report, for the pages of the run and of its sweep
TENSORS = ("clean", "moved", "labels", "index")  # in the artifact, for each set of examples
LONGEST = 96  # pixels of a side, so that the page stays small


@dataclass(frozen=True)
class Example:
    """One image before and after, and its change amplified around mid grey: PNG data URIs."""

    label: int
    index: int  # in the data set
    clean: str
    moved: str
    change: str


@dataclass(frozen=True)
class Examples:
    """The perturbed images of a page, or the reason for showing none; empty if no image was perturbed.

    Args:
        shown: images of the forget set.
        factor: what changes are multiplied with, the same for all.
        why: why no images are shown.
        control: images of the holdout set; artifacts of earlier versions have none.
        caption: what moved the images, and how far.
    """

    shown: tuple[Example, ...] = ()
    factor: float = 1.0
    why: str = ""
    control: tuple[Example, ...] = ()
    caption: str = ""


def may_show(dataset: Dataset, setting: bool | None) -> bool:
    """Whether forgotten images and single records may leave the store: by the setting, else if the data are public."""
    return dataset.public if setting is None else setting


def explain_absence(dataset: Dataset, setting: bool | None) -> str:
    """Return why no forgotten images are shown, as a sentence for the page; empty if they may be shown."""
    if setting is False:
        return "Pictures are switched off; report.images=null shows those of public data sets."
    if may_show(dataset, setting):
        return ""
    return (
        "Pictures are left out: the forgotten images are not from a public data set. report.images=true shows them, "
        "and this file then holds them."
    )


def examples(config: RunConfig, outcome: Outcome) -> Examples:
    """Read up to eight perturbed images of a run, if they may be shown."""
    stage = outcome.plan.spd_gan
    if stage is None:
        return Examples()
    if reason := explain_absence(config.dataset, config.report.images):
        return Examples(why=reason)
    tensors = read_tensors(outcome.context.get(stage), "examples.safetensors")
    return replace(build_examples(tensors), caption=caption(described(stage)))


def build_examples(tensors: Mapping[str, Tensor]) -> Examples:
    """Build the examples of an artifact.

    Args:
        tensors: `clean` and `moved`, uint8 [m, c, h, w], `labels` and `index`, int64 [m]; likewise with the prefix
            `holdout_`, which artifacts of earlier versions lack.
    """
    sets = [
        [tensors[f"{prefix}{name}"] for name in TENSORS if f"{prefix}{name}" in tensors] for prefix in ("", "holdout_")
    ]
    changes = [moved.float() - clean.float() for clean, moved, *_ in filter(None, sets)]
    factor = 127 / max(*(float(change.abs().max()) for change in changes), 1.0)
    shown, control = (tuple(_amplify(factor, *images)) if images else () for images in sets)
    return Examples(shown, factor, control=control)


def _amplify(factor: float, clean: Tensor, moved: Tensor, labels: Tensor, index: Tensor) -> Iterator[Example]:
    amplified = (128 + factor * (moved.float() - clean.float())).round().clamp(0, 255).to(torch.uint8)
    for label, position, *images in zip(labels, index, clean, moved, amplified, strict=True):
        yield Example(int(label), int(position), *(data_uri(image) for image in images))


def data_uri(image: Tensor) -> str:
    """Encode an image, uint8 [c, h, w], as a PNG; one channel is grey, three are colour, others are averaged."""
    from PIL import Image

    if len(image) not in (1, 3):
        image = image.float().mean(0, keepdim=True).round().to(torch.uint8)
    pixels = image.permute(1, 2, 0).contiguous().numpy()
    picture = Image.fromarray(pixels[..., 0] if len(image) == 1 else pixels)
    picture.thumbnail((LONGEST, LONGEST))
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
