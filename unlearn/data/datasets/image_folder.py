"""A folder of images, one folder a class."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from unlearn.checks import runtime
from unlearn.data.datasets.fingerprint import fingerprint
from unlearn.data.datasets.own import Own, fit
from unlearn.data.stream import Stream
from unlearn.errors import DataError, Problem, first_line

SUFFIXES = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"}  # what torchvision takes
SHALLOW = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "La", "CMYK", "YCbCr", "LAB", "HSV"}  # 8 bits


@dataclass(frozen=True)
class ImageFolder(Own):
    """`root/train/<class>/<image>` and `root/test/<class>/<image>`, as torchvision's ImageFolder reads them.

    Classes are numbered in the order of their names, and records as torchvision numbers them; hidden files and folders
    are passed over. Images may lie deeper: where all of them are in `<class>/<subclass>/`, `forget=subclass` can choose
    among those.
    """

    root: str = runtime("data")
    train: str = runtime("train")  # folder of the training part, in `root`
    test: str = runtime("test")  # folder of the test part

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
    def subclasses(self) -> tuple[str, ...]:
        return tuple(sorted({_folder(name) for name in self._train.files})) if self._nested else ()

    @property
    def pin(self) -> None:
        return None  # the key holds a fingerprint

    @property
    def _train(self) -> Listing:
        return listing(self._place(self.train))

    @property
    def _test(self) -> Listing:
        return listing(self._place(self.test))

    def _place(self, part: str) -> str:
        return os.path.abspath(f"{self.root}/{part}")  # noqa: PTH100  # without a look at the disk: asked for each name

    @property
    def _nested(self) -> bool:
        return all(name.count("/") == 2 for name in self._train.files)

    def identity(self) -> dict[str, Any]:
        """What the key holds: names and contents of the files, wherever they lie."""
        parts = {"train": (self.train, self._train), "test": (self.test, self._test)}
        return {part: fingerprint(self._place(name), found.files) for part, (name, found) in parts.items()}

    def check(self) -> Iterator[Problem | str]:
        found = list(self._missing())
        yield from found
        if not found:
            yield from super().check()

    def _missing(self) -> Iterator[Problem]:
        layout = f"a folder with {self.train}/<class>/<image> and {self.test}/<class>/<image>"
        for key, part in (("train", self.train), ("test", self.test)):
            folder = Path(self.root) / part
            found = listing(self._place(part))
            if not folder.is_dir():
                yield Problem("dataset.root", layout, f"{self.root} without {part}")
            elif not found.classes:
                yield Problem("dataset.root", layout, f"no class folder in {folder}")
            elif found.empty:
                yield Problem("dataset.root", "an image in every class folder", f"none in {folder / found.empty[0]}")
            elif key == "train" and len(found.classes) == 1:
                yield Problem("dataset.root", f"two or more classes in {folder}", f"{found.classes[0]} alone")
        strange = sorted(set(self._test.classes) - set(self._train.classes))
        if strange and self._train.classes:
            expected = f"test classes among those of {self.train}: {', '.join(self._train.classes[:10])}"
            yield Problem("dataset.root", expected, ", ".join(strange[:5]))

    @property
    def class_names(self) -> tuple[str, ...]:
        return self._train.classes

    def names(self, part: str) -> Sequence[str]:
        return (self._train if part == "train" else self._test).files

    def prefixes(self, part: str) -> Sequence[str]:
        return _prefixes(self.root, self.train if part == "train" else self.test, str(Path.cwd()))

    def find(self, name: str) -> int | None:
        known = _positions(self._place(self.train))
        places = (name.removeprefix(prefix) for prefix in self.prefixes("train") if name.startswith(prefix))
        return next((known[place] for place in places if place in known), None)

    def parts(self) -> tuple[Stream, Stream]:
        return self._part(self.train, self._train), self._part(self.test, self._test)

    def _part(self, folder: str, found: Listing) -> Stream:
        number = {name: label for label, name in enumerate(self._train.classes)}
        labels = torch.tensor([number[name.partition("/")[0]] for name in found.files])
        return self.stream(Decode(Path(self.root) / folder, found.files, self.size_px, self.channels), labels)

    def subclass_labels(self) -> Tensor | None:
        number = {name: label for label, name in enumerate(self.subclasses)}
        return torch.tensor([number[_folder(name)] for name in self._train.files]) if number else None


@dataclass(frozen=True)
class Decode:
    """Image i of a folder's files: uint8 [channels, size, size]."""

    folder: Path
    files: tuple[str, ...]
    size: int
    channels: int

    def __call__(self, i: int) -> Tensor:
        from PIL import Image

        path = self.folder / self.files[i]
        try:
            with Image.open(path) as image:
                if image.mode not in SHALLOW:
                    raise ValueError(f"pixels of mode {image.mode}, which do not fit into bytes")
                pixels = np.array(image.convert("RGB" if self.channels == 3 else "L"))
            return fit(torch.from_numpy(pixels).view(*pixels.shape[:2], -1).permute(2, 0, 1), self.channels, self.size)
        except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:  # PIL's
            raise DataError(f"dataset.root: expected a readable image, came {path}: {first_line(error)}") from error


class Listing(NamedTuple):
    """Class folders in the order of their names, image files relative to the part's folder, classes without any."""

    classes: tuple[str, ...]
    files: tuple[str, ...]
    empty: tuple[str, ...]


@cache
def listing(folder: str) -> Listing:
    """What lies in the folder of one part; hidden folders and files of other kinds are passed over."""
    root = Path(folder)
    if not root.is_dir():
        return Listing((), (), ())
    classes = sorted(each.name for each in root.iterdir() if each.is_dir() and not each.name.startswith("."))
    images = {name: [file.relative_to(root).as_posix() for file in _images(root / name)] for name in classes}
    files = tuple(file for name in classes for file in images[name])
    return Listing(tuple(classes), files, tuple(name for name in classes if not images[name]))


def _images(folder: Path) -> Iterator[Path]:
    """As torchvision walks: folder by folder in the order of their paths, files in the order of their names."""
    for place, _, names in sorted(os.walk(folder, followlinks=True)):
        hidden = any(part.startswith(".") for part in Path(place).relative_to(folder).parts)
        for name in [] if hidden else sorted(names):
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                yield Path(place) / name


@lru_cache(maxsize=2)
def _positions(folder: str) -> dict[str, int]:
    return {name: position for position, name in enumerate(listing(folder).files)}


@cache
def _prefixes(root: str, part: str, here: str) -> tuple[str, ...]:
    """What may stand before the path of a record: nothing, the part, and the root in any of its spellings."""
    spelled = Path(root), Path(here) / root, Path(here, root).resolve()
    roots = dict.fromkeys(path.as_posix() + "/" for path in spelled)
    return ("", f"{part}/", *roots, *(f"{each}{part}/" for each in roots))


def _folder(name: str) -> str:
    return name.rpartition("/")[0]
