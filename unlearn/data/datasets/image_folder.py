"""Images in a folder, with one folder for each class."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unlearn.core.errors import Problem, abbreviate, pluralize
from unlearn.core.types import Images
from unlearn.core.validation import at_least, fraction, runtime
from unlearn.data.datasets.base import Contents
from unlearn.data.datasets.fingerprint import digests, fingerprint
from unlearn.data.datasets.folder import Listing
from unlearn.data.datasets.folder_checks import find_folder_problems, is_inside
from unlearn.data.datasets.folder_layout import FolderLayout
from unlearn.data.datasets.own import UserDataset
from unlearn.data.datasets.pictures import DecodePicture, find_unreadable
from unlearn.data.stream import Stream


@dataclass(frozen=True)
class ImageFolder(UserDataset):
    """`root/train/<class>/<image>` and `root/test/<class>/<image>`, as torchvision's ImageFolder reads them.

    Classes are numbered in the order of their names, and records as torchvision numbers them. Hidden files and folders
    are skipped; if torchvision counts some of them, requests by index are refused. Images may lie deeper: if all of
    them are in `<class>/<subclass>/`, `forget=subclass` picks one of those folders.
    """

    root: str = runtime("data")  # folder of the images
    train: str | None = runtime(None)  # folder of the training part, in `root`; null: train, or a flat root itself
    test: str | None = runtime(None)  # folder of the test part; null: test, or val, or a part drawn from a flat root
    val: str | None = runtime(None)  # folder of a validation split; null: validation is drawn from train
    test_fraction: float | None = runtime(fraction(None, zero=False))  # of each class, drawn as the test part
    test_seed: int = runtime(at_least(0, 0))  # of that draw

    @property
    def classes(self) -> int:
        return len(self._train.classes)

    @property
    def train_size(self) -> int:
        return len(self._train.files)

    @property
    def test_size(self) -> int:
        return len(self._layout.test_listing.files)

    @property
    def validation_size(self) -> int | None:
        return None if self.val is None else len(self._layout.parts["val"][1].files)

    @property
    def subclasses(self) -> tuple[str, ...]:
        is_nested = all(name.count("/") == 2 for name in self._train.files)
        return tuple(sorted({_parent(name) for name in self._train.files})) if is_nested else ()

    @property
    def pin(self) -> None:
        return None  # keys hold a fingerprint

    @property
    def _layout(self) -> FolderLayout:
        return FolderLayout(self.root, self.train, self.test, self.val, self.test_fraction, self.test_seed)

    @property
    def _train(self) -> Listing:
        return self._layout.train_listing

    def identity(self) -> dict[str, Any]:
        """Hashes of names and contents of the files for the key; they do not depend on where the folder is."""
        layout = self._layout
        return {part: fingerprint(layout.path(name), listing.files) for part, (name, listing) in layout.parts.items()}

    def check(self) -> Iterator[Problem | str]:
        problems = list(find_folder_problems(self._layout)) or list(self._find_unreadable())
        yield from problems
        if not problems:
            yield from super().check()

    def _find_unreadable(self) -> Iterator[Problem]:
        """Images that cannot be read: decoded if they fit into memory, otherwise only the headers are read."""
        layout = self._layout
        count = sum(len(listing.files) for _, listing in layout.parts.values())
        unreadable = [
            f"{name}/{image}"
            for name, listing in layout.parts.values()
            for image in find_unreadable(layout.path(name), listing.files, self.size_px, whole=self.fits(count))
        ]
        if unreadable:
            got = f"{len(unreadable)} of {pluralize(count, 'file')} unreadable: {abbreviate(unreadable)}"
            yield Problem("dataset.root", "readable images", got)

    @property
    def index_ambiguity(self) -> str | None:
        if self._layout.drawn_fraction is not None:
            return "the test part is drawn from the same folder"
        hidden = self._train.hidden
        return f"torchvision counts {pluralize(len(hidden), 'hidden image')} ({abbreviate(hidden)})" if hidden else None

    @property
    def class_ambiguity(self) -> str | None:
        hidden = self._train.hidden_classes
        return f"torchvision counts the hidden folder {hidden[0]!r} as a class" if hidden else None

    def remarks(self) -> Iterator[str]:
        layout = self._layout
        if layout.drawn_fraction is not None:
            drawn = f"{layout.drawn_fraction:g} of each class, seed {self.test_seed}"
            yield f"the test part is drawn from {layout.train_folder} ({drawn}): there is no folder for it"
        elif self.test is None and layout.test_folder != "test":
            yield f"the test part is the folder {layout.test_folder}"
        for part, (_, listing) in layout.parts.items():
            empty = [name for name in self._train.classes if not listing.sizes[name]]
            if empty:
                yield f"no image in the {part} part of {pluralize(len(empty), 'class', 'classes')}: {abbreviate(empty)}"
            if skipped := listing.describe_skipped_files():
                yield f"skipped in the {part} part: {skipped}"
        if self.index_ambiguity:
            yield "indices of records differ from those of torchvision: requests name files"

    @property
    def class_names(self) -> tuple[str, ...]:
        return self._train.classes

    def names(self, part: str) -> Sequence[str]:
        parts = self._layout.parts
        return parts[part][1].files if part in parts else ()

    def folder(self, part: str) -> str:
        return self._layout.folders[part]

    def find_part(self, path: str) -> str:
        real = os.path.realpath(path)
        for part, (_, listing) in self._layout.parts.items():
            if any(is_inside(real, folder) for folder in listing.folders):
                return part
        return ""

    def digests(self, part: str) -> Sequence[bytes]:
        name, listing = self._layout.parts[part]
        return digests(self._layout.path(name), listing.files)

    def prefixes(self, part: str) -> Sequence[str]:
        return self._layout.prefixes(part)

    def find(self, name: str) -> int | None:
        return self._layout.find(name)

    def load(self) -> Contents:
        contents = super().load()
        if self.val is None:
            return contents
        validation = self._part("val")
        is_held = isinstance(contents.train, Images)
        return replace(contents, validation=validation.load() if is_held else validation)

    def parts(self) -> tuple[Stream, Stream]:
        return self._part("train"), self._part("test")

    def _part(self, part: str) -> Stream:
        folder, listing = self._layout.parts[part]
        number = {name: label for label, name in enumerate(self._train.classes)}
        labels = torch.tensor([number[name.partition("/")[0]] for name in listing.files])
        files = DecodePicture(Path(self._layout.path(folder)), listing.files, self.size_px, self.channels)
        return self.stream(files, labels)

    def subclass_labels(self) -> Tensor | None:
        number = {name: label for label, name in enumerate(self.subclasses)}
        return torch.tensor([number[_parent(name)] for name in self._train.files]) if number else None


def _parent(name: str) -> str:
    return name.rpartition("/")[0]
