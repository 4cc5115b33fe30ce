"""The images that SPD-GAN moved, as data URIs, where they may be shown."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from unlearn.data.datasets.base import Dataset
from unlearn.pipeline.config import RunConfig
from unlearn.pipeline.plan import Outcome
from unlearn.report.charts.generator import caption, described
from unlearn.report.write import write_text
from unlearn.stages.files import read_tensors

PICTURES = "pictures.json"  # beside the report, for the page of a sweep
KEPT = ("clean", "moved", "labels", "index")  # in the artefact, of each set of examples
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
    """What the page shows of moved images, or why it shows none; all empty where no image was moved."""

    shown: tuple[Example, ...] = ()
    factor: float = 1.0  # by which changes are amplified, the same for all
    why: str = ""
    control: tuple[Example, ...] = ()  # of holdout; artefacts of earlier versions keep none
    caption: str = ""  # what moved them, and how far


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
    kept = read_tensors(outcome.context.get(moved), "examples.safetensors")
    return replace(pictured(kept), caption=caption(described(moved)))


def write_pictures(found: Examples, folder: Path) -> None:
    """What a run may show, for the page of its sweep; where it may show none, none of an earlier run stays.

    Raises:
        UnlearnError: the folder cannot be written.
    """
    if found.shown:
        write_text(json.dumps(asdict(found)), folder / PICTURES)
    else:
        (folder / PICTURES).unlink(missing_ok=True)


def pictured(kept: Mapping[str, Tensor]) -> Examples:
    """From what the artefact keeps: uint8 [m, c, h, w] before and after, labels and indices int64 [m]; of holdout too,
    under names that begin so, unless it is of an earlier version."""
    sets = [[kept[f"{of}{name}"] for name in KEPT if f"{of}{name}" in kept] for of in ("", "holdout_")]
    changes = [moved.float() - clean.float() for clean, moved, *_ in filter(None, sets)]
    factor = 127 / max(*(float(change.abs().max()) for change in changes), 1.0)
    shown, control = (tuple(_examples(factor, *found)) if found else () for found in sets)
    return Examples(shown, factor, control=control)


def _examples(factor: float, clean: Tensor, moved: Tensor, labels: Tensor, index: Tensor) -> Iterator[Example]:
    amplified = (128 + factor * (moved.float() - clean.float())).round().clamp(0, 255).to(torch.uint8)
    for label, at, *images in zip(labels, index, clean, moved, amplified, strict=True):
        yield Example(int(label), int(at), *(data_uri(image) for image in images))


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
