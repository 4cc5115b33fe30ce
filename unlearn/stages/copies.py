"""The stage that looks for copies of forgotten images in other subsets."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from unlearn.core.progress import Tick
from unlearn.core.types import Images
from unlearn.data.datasets.base import Contents, Dataset
from unlearn.stages.base import BuildContext, Stage
from unlearn.stages.files import read_tensors, write_json
from unlearn.stages.samples import Samples, Split, load_dataset

NO_SUBSETS = {"mislabelled", "earlier"}  # of a split: labels of other subsets' records, and records in no subset
PARTS = {"_of_test": "test", "_of_val": "val"}  # part of the data set, by the suffix of a subset's name in a split


@dataclass(frozen=True)
class Copies(Stage):
    """Identical copies of forgotten images that remain in other subsets.

    File: `copies.json` with how images were `compared`, how many `forgotten` images have a remaining copy, and, under
    `remain`, the names of the copies by subset. Images in memory are compared by the pixels that models read, streamed
    images by their files' content [ours]; `compared` is null where there are no files.
    """

    forget: Samples

    is_announced = False

    def build(self, folder: Path, context: BuildContext, tick: Tick) -> None:
        dataset = self.forget.population.dataset
        contents = load_dataset(dataset, context)
        compared, hashes = _hashes(dataset, contents)
        split = read_tensors(context.get(Split(self.forget)), "split.safetensors")
        forgotten = [hashes["train"][i] for i in split.pop("forget").tolist()] if compared else []
        forgotten_set, copied = set(forgotten), set[bytes]()
        remain: dict[str, list[str]] = {}
        for name, indices in split.items() if compared else ():
            if name in NO_SUBSETS:
                continue
            subset, part = _split_name(name)
            copies = [i for i in indices.tolist() if hashes[part][i] in forgotten_set]
            copied.update(hashes[part][i] for i in copies)
            remain |= {subset: [dataset.record_name(part, i) for i in copies]} if copies else {}
        count = sum(digest in copied for digest in forgotten)
        write_json(folder / "copies.json", {"compared": compared, "forgotten": count, "remain": remain})


def _split_name(name: str) -> tuple[str, str]:
    """Return the subset that a split's entry names, and the part of the data set that its indices point into."""
    for ending, part in PARTS.items():
        if name.endswith(ending):
            return name.removesuffix(ending), part
    return name, "test" if name == "test" else "train"


def _hashes(dataset: Dataset, contents: Contents) -> tuple[str | None, dict[str, Sequence[bytes]]]:
    """Return how images are compared (`pixels`, `files` or None), and a hash of every image by part."""
    parts = {"train": contents.train, "test": contents.test, "val": contents.validation}
    sources = {name: source for name, source in parts.items() if source is not None}
    if all(isinstance(source, Images) for source in sources.values()):
        return "pixels", {
            name: _hash_pixels(source.images) for name, source in sources.items() if isinstance(source, Images)
        }
    if not dataset.digests("train"):
        return None, {}
    return "files", {name: dataset.digests(name) for name in sources}


def _hash_pixels(images: torch.Tensor) -> list[bytes]:
    """Hash each image of uint8 [n, c, h, w]."""
    return [hashlib.sha256(image).digest() for image in images.cpu().numpy()]
