"""A folder of images, one folder a class."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unlearn.core.errors import Problem, abbreviate, nearest, pluralize
from unlearn.core.types import Images
from unlearn.core.validation import at_least, fraction, runtime
from unlearn.data.datasets.base import Contents
from unlearn.data.datasets.fingerprint import digests, fingerprint
from unlearn.data.datasets.folder import MOST_OTHERS, Listing, is_flat_root, listing, find_nested_root
from unlearn.data.datasets.folder_checks import is_inside, linked, find_misplaced_folders, find_wide_folders
from unlearn.data.datasets.own import UserDataset
from unlearn.data.datasets.pictures import Decode, unreadable
from unlearn.data.stream import Stream

DRAWN = 0.2  # of a folder without a test part becomes one


@dataclass(frozen=True)
class ImageFolder(UserDataset):
    """`root/train/<class>/<image>` and `root/test/<class>/<image>`, as torchvision's ImageFolder reads them.

    Classes are numbered in the order of their names, and records as torchvision numbers them. Hidden files and folders
    are passed over; where torchvision counts some of them, requests by index are refused. Images may lie deeper: where
    all of them are in `<class>/<subclass>/`, `forget=subclass` can choose among those.
    """

    root: str = runtime("data")
    train: str | None = runtime(None)  # folder of the training part, in `root`; null: train, or a flat root itself
    test: str | None = runtime(None)  # folder of the test part; null: test, or val, or a part drawn from a flat root
    val: str | None = runtime(None)  # folder of a validation split of its own; null: validation is drawn from train
    test_fraction: float | None = runtime(
        fraction(None, zero=False)
    )  # of each class is drawn for the test; null: test is
    test_seed: int = runtime(at_least(0, 0))  # of that draw

    @property
    def classes(self) -> int:
        return len(self._train.classes)

    @property
    def train_size(self) -> int:
        return len(self._train.files)

    @property
    def test_size(self) -> int:
        return len(self._test.files)

    @property
    def validation_size(self) -> int | None:
        return None if self.val is None else len(listing(self._place(self.val)).files)

    @property
    def subclasses(self) -> tuple[str, ...]:
        return tuple(sorted({_folder(name) for name in self._train.files})) if self._nested else ()

    @property
    def pin(self) -> None:
        return None  # the key holds a fingerprint

    # Which folder is which part

    @property
    def train_folder(self) -> str:
        """In `root`; a root of class folders alone is one itself."""
        if self.train is not None:
            return self.train
        return "." if not self._holds("train") and is_flat_root(self._place(".")) else "train"

    @property
    def test_folder(self) -> str:
        """In `root`; that of the training part, where the test part is drawn from it."""
        if self.test is not None:
            return self.test
        if self._drawn_fraction is not None:
            return self.train_folder
        return "val" if self.val is None and self._holds("val") and not self._holds("test") else "test"

    @property
    def _drawn_fraction(self) -> float | None:
        """What is drawn for the test; None where it has a folder."""
        if self.test_fraction is not None or self.test is not None:
            return self.test_fraction
        return DRAWN if self.train_folder == "." and is_flat_root(self._place(".")) else None

    @property
    def _train(self) -> Listing:
        return self._parts[0]

    @property
    def _test(self) -> Listing:
        return self._parts[1]

    @property
    def _parts(self) -> tuple[Listing, Listing]:
        return _listings(*self._told)

    @property
    def _told(self) -> tuple[str, str, float | None, int]:
        """What decides which files are in the two parts."""
        folders = self._place(self.train_folder), self._place(self.test_folder)
        return *folders, self._drawn_fraction, self.test_seed

    @property
    def _places(self) -> dict[str, str]:
        """Real path of each part's folder; nothing in it is listed."""
        names = {"train": self.train_folder, "test": self.test_folder} | ({} if self.val is None else {"val": self.val})
        return {part: os.path.realpath(self._place(name)) for part, name in names.items()}

    @property
    def _listed(self) -> list[tuple[str, Listing]]:
        """Folder and content of each part."""
        return [(self._place(name), found) for name, found in self._folders.values()]

    @property
    def _folders(self) -> dict[str, tuple[str, Listing]]:
        """Folder and content of each part."""
        parts = {"train": (self.train_folder, self._train), "test": (self.test_folder, self._test)}
        own = {} if self.val is None else {"val": (self.val, listing(self._place(self.val)))}
        return parts | own

    def _place(self, part: str) -> str:
        return os.path.abspath(os.path.join(self.root, part))  # noqa: PTH100, PTH118  # without a look at the disk

    def _holds(self, part: str) -> bool:
        return os.path.isdir(self._place(part))  # noqa: PTH112  # asked for each name

    @property
    def _nested(self) -> bool:
        return all(name.count("/") == 2 for name in self._train.files)

    def identity(self) -> dict[str, Any]:
        """What the key holds: names and contents of the files, wherever they lie."""
        return {part: fingerprint(self._place(name), found.files) for part, (name, found) in self._folders.items()}

    # What is wrong

    def check(self) -> Iterator[Problem | str]:
        found = list(find_wide_folders(self._places, {"train": self.train, "test": self.test, "val": self.val}))
        found = found or list(linked(self._listed)) or list(self._missing())
        found = found or list(find_misplaced_folders(self._folders)) or list(self._unreadable())
        yield from found
        if not found:
            yield from super().check()

    def _missing(self) -> Iterator[Problem]:
        names = self.train_folder, self.test_folder
        layout = "a folder with {}/<class>/<image> and {}/<class>/<image>".format(*names)
        inner = None if self._holds(names[0]) else find_nested_root(Path(self.root), names[0])
        if inner is not None:
            got = f"{self.root} without {names[0]}, which lies deeper: dataset.root={inner}"
            yield Problem("dataset.root", layout, got)
            return
        for part, (name, found) in self._folders.items():
            folder = self._place(name)
            if not found.is_whole:
                got = f"{folder}, with more than {MOST_OTHERS:,} other files"
                yield Problem(f"dataset.{part if getattr(self, part) else 'root'}", "a folder of images", got)
            elif found.closed:
                yield Problem(
                    "dataset.root", "folders that can be read", abbreviate([f"{folder}/{e}" for e in found.closed])
                )
            elif not self._holds(name):
                yield Problem(f"dataset.{'val' if part == 'val' else 'root'}", layout, self._instead(name))
            elif not found.classes:
                yield Problem("dataset.root", layout, f"no class folder in {folder}")
            elif part == "train" and found.empty:
                yield Problem("dataset.root", "an image in every class folder", f"none in {folder}/{found.empty[0]}")
            elif part == "train" and len(found.classes) == 1:
                yield Problem("dataset.root", f"two or more classes in {folder}", f"{found.classes[0]} alone")
            elif not found.files:
                yield Problem("dataset.root", layout, f"no image in {folder}")
        if self.test_fraction is not None and (self.test is not None or self._holds("test")):
            yield Problem(
                "dataset.test_fraction", f"null, since there is a folder {self.test or 'test'}", self.test_fraction
            )

    def _instead(self, name: str) -> str:
        """What is there instead of a part's folder, and which setting reads it."""
        root = Path(self.root)
        if not root.is_dir():
            return f"no folder {self.root}"
        near = nearest(name, sorted(path.name for path in root.iterdir() if path.is_dir()))
        draw = "" if name == self.train_folder else "; dataset.test_fraction=0.2 draws a test part"
        return f"{self.root} without {name}{near}{draw}"

    def _unreadable(self) -> Iterator[Problem]:
        """Images that cannot be read: decoded where they will be held in memory, by their headers otherwise."""
        count = sum(len(found.files) for _, found in self._folders.values())
        broken = [
            f"{name}/{image}"
            for name, found in self._folders.values()
            for image in unreadable(self._place(name), found.files, self.size_px, whole=self.fits(count))
        ]
        if broken:
            yield Problem(
                "dataset.root",
                "readable images",
                f"{len(broken)} of {pluralize(count, 'file')} unreadable: {abbreviate(broken)}",
            )

    # What is there

    @property
    def index_ambiguity(self) -> str | None:
        if self._drawn_fraction is not None:
            return "the test part is drawn from the same folder"
        hidden = self._train.hidden
        return f"torchvision counts {pluralize(len(hidden), 'hidden image')} ({abbreviate(hidden)})" if hidden else None

    @property
    def class_ambiguity(self) -> str | None:
        hidden = self._train.hidden_classes
        return f"torchvision counts the hidden folder {hidden[0]!r} as a class" if hidden else None

    def remarks(self) -> Iterator[str]:
        if self._drawn_fraction is not None:
            drawn = f"{self._drawn_fraction:g} of each class, seed {self.test_seed}"
            yield f"the test part is drawn from {self.train_folder} ({drawn}): there is no folder for it"
        elif self.test is None and self.test_folder != "test":
            yield f"the test part is the folder {self.test_folder}"
        for part, (_, found) in self._folders.items():
            without = [name for name in self._train.classes if not found.sizes[name]]
            if without:
                yield f"no image in the {part} part of {pluralize(len(without), 'class', 'classes')}: {abbreviate(without)}"
            if passed := found.describe_skipped_files():
                yield f"passed over in the {part} part: {passed}"
        if self.index_ambiguity:
            yield "records are numbered otherwise than by torchvision: requests name files"

    @property
    def class_names(self) -> tuple[str, ...]:
        return self._train.classes

    def names(self, part: str) -> Sequence[str]:
        return self._folders[part][1].files if part in self._folders else ()

    def folder(self, part: str) -> str:
        return self._folders[part][0]

    def find_part(self, path: str) -> str:
        real = os.path.realpath(path)
        around = (p for p, (_, found) in self._folders.items() if any(is_inside(real, each) for each in found.folders))
        return next(around, "")

    def digests(self, part: str) -> Sequence[bytes]:
        name, found = self._folders[part]
        return digests(self._place(name), found.files)

    def prefixes(self, part: str) -> Sequence[str]:
        return _prefixes(self.root, self._folders[part][0], str(Path.cwd()))

    def find(self, name: str) -> int | None:
        known = _positions(*self._told)
        places = (name.removeprefix(prefix) for prefix in self.prefixes("train") if name.startswith(prefix))
        return next((known[place] for place in places if place in known), None)

    def load(self) -> Contents:
        contents = super().load()
        if self.val is None:
            return contents
        own = self._part(self.val, listing(self._place(self.val)))
        held = isinstance(contents.train, Images)
        return replace(contents, validation=own.resident() if held else own)

    def parts(self) -> tuple[Stream, Stream]:
        return self._part(self.train_folder, self._train), self._part(self.test_folder, self._test)

    def _part(self, folder: str, found: Listing) -> Stream:
        number = {name: label for label, name in enumerate(self._train.classes)}
        labels = torch.tensor([number[name.partition("/")[0]] for name in found.files])
        return self.stream(Decode(Path(self._place(folder)), found.files, self.size_px, self.channels), labels)

    def subclass_labels(self) -> Tensor | None:
        number = {name: label for label, name in enumerate(self.subclasses)}
        return torch.tensor([number[_folder(name)] for name in self._train.files]) if number else None


@lru_cache(maxsize=4)
def _listings(train: str, test: str, fraction: float | None, seed: int) -> tuple[Listing, Listing]:
    return (listing(train), listing(test)) if fraction is None else listing(train).parted(fraction, seed)


@lru_cache(maxsize=2)
def _positions(train: str, test: str, fraction: float | None, seed: int) -> dict[str, int]:
    files = _listings(train, test, fraction, seed)[0].files
    return {name: position for position, name in enumerate(files)}


@cache
def _prefixes(root: str, part: str, here: str) -> tuple[str, ...]:
    """What may stand before the path of a record: nothing, the part, and the root in any of its spellings."""
    spelled = Path(root), Path(here) / root, Path(here, root).resolve()
    roots = dict.fromkeys(path.as_posix() + "/" for path in spelled)
    inner = Path(part).as_posix()
    if inner == ".":
        return ("", *roots)
    return ("", f"{inner}/", *roots, *(f"{each}{inner}/" for each in roots))


def _folder(name: str) -> str:
    return name.rpartition("/")[0]
