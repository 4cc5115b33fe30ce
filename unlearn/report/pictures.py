"""The images that SPD-GAN moved, as data URIs, where they may be shown."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from unlearn.data.datasets.base import Dataset
from unlearn.pipeline import Outcome
from unlearn.report.write import write_text
from unlearn.run_config import RunConfig
from unlearn.stages.files import read_tensors

PICTURES = "pictures.json"  # beside the report, for the page of a sweep
LONGEST = 96  # pixels of a side, so that the page stays light


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
    """What the page shows of moved images, or why it shows none; both empty where no image was moved."""

    shown: tuple[Example, ...] = ()
    factor: float = 1.0  # by which changes are amplified, the same for all
    why: str = ""


def may_show(dataset: Dataset, asked: bool | None) -> bool:
    """Whether images of the forgotten, and single records, leave the store: as asked; unasked, of public data only."""
    return dataset.public if asked is None else asked


def withheld(dataset: Dataset, asked: bool | None) -> str:
    """Why no images of the forgotten are shown, in words for the page; nothing where they may be."""
    if asked is False:
        return "Pictures are switched off; report.images=null shows those of public data sets."
    if may_show(dataset, asked):
        return ""
    return (
        "Pictures are left out: the forgotten images are not from a public data set. report.images=true shows them, "
        "and this file then holds them."
    )


def examples(config: RunConfig, outcome: Outcome) -> Examples:
    """Up to eight moved images: images of the forgotten leave the store for public data or on request only."""
    moved = outcome.plan.spd_gan
    if moved is None:
        return Examples()
    if why := withheld(config.dataset, config.report.images):
        return Examples(why=why)
    tensors = read_tensors(outcome.workshop.need(moved), "examples.safetensors")
    return pictured(tensors["clean"], tensors["moved"], tensors["labels"], tensors["index"])


def write_pictures(found: Examples, folder: Path) -> None:
    """What a run may show, for the page of its sweep; where it may show none, none of an earlier run stays.

    Raises:
        UnlearnError: the folder cannot be written.
    """
    if found.shown:
        write_text(json.dumps(asdict(found)), folder / PICTURES)
    else:
        (folder / PICTURES).unlink(missing_ok=True)


def pictured(clean: Tensor, moved: Tensor, labels: Tensor, index: Tensor) -> Examples:
    """From uint8 [m, c, h, w] before and after, labels and indices int64 [m]."""
    change = moved.float() - clean.float()
    factor = 127 / max(float(change.abs().max()), 1.0)
    amplified = (128 + factor * change).round().clamp(0, 255).to(torch.uint8)
    shown = tuple(
        Example(int(label), int(at), *(data_uri(image) for image in images))
        for label, at, *images in zip(labels, index, clean, moved, amplified, strict=True)
    )
    return Examples(shown, factor)


def data_uri(image: Tensor) -> str:
    """A PNG of uint8 [c, h, w] as a data URI; one channel is grey, three are colour, others are averaged to grey."""
    from PIL import Image

    if len(image) not in (1, 3):
        image = image.float().mean(0, keepdim=True).round().to(torch.uint8)
    pixels = image.permute(1, 2, 0).contiguous().numpy()
    picture = Image.fromarray(pixels[..., 0] if len(image) == 1 else pixels)
    picture.thumbnail((LONGEST, LONGEST))
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
