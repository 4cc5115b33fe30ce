"""Where identical copies of forgotten images remain."""

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
from unlearn.stages.samples import Samples, Split, load

PARTS = {"_of_test": "test", "_of_val": "val"}  # by the ending of a subset's name in a split


@dataclass(frozen=True)
class Copies(Stage):
    """Its file: `copies.json`: how images were `compared`, how many `forgotten` ones have a copy that remains, and the
    names of these copies by subset, under `remain`.

    Images in memory are compared by the pixels that the models read, streamed ones by the content of their files
    [ours]; `compared` is null where there are no files.
    """

    forget: Samples

    announced = False

    def build(self, folder: Path, context: BuildContext, tick: Tick) -> None:
        dataset = self.forget.population.dataset
        contents = load(dataset, context)
        compared, hashes = _hashes(dataset, contents)
        split = read_tensors(context.get(Split(self.forget)), "split.safetensors")
        forgotten = [hashes["train"][i] for i in split.pop("forget").tolist()] if compared else []
        wanted, met = set(forgotten), set[bytes]()
        remain: dict[str, list[str]] = {}
        for name, indices in split.items() if compared else ():
            subset, part = _part(name)
            copies = [i for i in indices.tolist() if hashes[part][i] in wanted] if name != "mislabelled" else []
            met.update(hashes[part][i] for i in copies)
            remain |= {subset: [dataset.record_name(part, i) for i in copies]} if copies else {}
        count = sum(each in met for each in forgotten)
        write_json(folder / "copies.json", {"compared": compared, "forgotten": count, "remain": remain})


def _part(name: str) -> tuple[str, str]:
    """Of what a split calls a subset: the subset, and the part of the data set that its indices count in."""
    for ending, part in PARTS.items():
        if name.endswith(ending):
            return name.removesuffix(ending), part
    return name, "test" if name == "test" else "train"


def _hashes(dataset: Dataset, contents: Contents) -> tuple[str | None, dict[str, Sequence[bytes]]]:
    """How images are compared, and a hash of each image of each part."""
    parts = {"train": contents.train, "test": contents.test, "val": contents.validation}
    there = {name: source for name, source in parts.items() if source is not None}
    if all(isinstance(source, Images) for source in there.values()):
        return "pixels", {
            name: _of_pixels(source.images) for name, source in there.items() if isinstance(source, Images)
        }
    if not dataset.digests("train"):
        return None, {}
    return "files", {name: dataset.digests(name) for name in there}


def _of_pixels(images: torch.Tensor) -> list[bytes]:
    """A hash of each of uint8 [n, c, h, w]."""
    return [hashlib.sha256(image).digest() for image in images.cpu().numpy()]
