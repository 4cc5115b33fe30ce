"""What lies in the folder of one part of an image folder, numbered as torchvision numbers it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import torch

from unlearn.core.random_streams import stream

MOST_OTHERS = 100_000  # files that are no images: where there are more, and few images, no data set lies
SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # what torchvision takes


@dataclass(frozen=True)
class Listing:
    """Class folders and image files of one part; all paths are relative to its folder.

    `classes` and `files` are in torchvision's order: classes by name, then folder by folder, then files by name.
    """

    classes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()  # image files that torchvision counts: their name, or a folder's, starts with a dot
    others: tuple[str, ...] = ()  # files that are no images by their suffix, and files outside of class folders
    loops: tuple[str, ...] = ()  # links to a folder that they lie in; not followed
    repeated: tuple[tuple[str, str], ...] = ()  # folders met twice, by both their names; read once
    closed: tuple[str, ...] = ()  # folders that cannot be read
    folders: frozenset[str] = frozenset()  # their real paths
    is_whole: bool = True  # False: it holds so many other files that it was not read to its end

    @property
    def empty(self) -> tuple[str, ...]:
        """Classes without an image."""
        sizes = self.sizes
        return tuple(name for name in self.classes if not sizes[name])

    @property
    def sizes(self) -> Counter[str]:
        """Images of each class."""
        return Counter(name.partition("/")[0] for name in self.files)

    @property
    def hidden_classes(self) -> tuple[str, ...]:
        """Hidden folders that torchvision counts as classes."""
        return tuple(sorted({name.partition("/")[0] for name in self.hidden} - set(self.classes)))

    def describe_skipped_files(self) -> str:
        """How many files are passed over, without their names; empty if none are."""
        kinds = Counter(os.path.splitext(name)[1].lower() or "no suffix" for name in self.others)  # noqa: PTH122
        shown = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(5))
        hidden = [f"{len(self.hidden)} hidden images"] if self.hidden else []
        return ", ".join([*hidden, *([f"{len(self.others)} other files ({shown})"] if self.others else [])])

    def parted(self, fraction: float, seed: int) -> tuple[Listing, Listing]:
        """A training and a test part, drawn class by class; a class of two or more images is in both."""
        places: dict[str, list[int]] = {}
        for place, file in enumerate(self.files):
            places.setdefault(file.partition("/")[0], []).append(place)
        chosen: set[int] = set()
        for name, own in places.items():
            order = torch.randperm(len(own), generator=stream(seed, "test part", os.fsencode(name).hex()))
            count = min(len(own) - 1, max(1, round(fraction * len(own))))
            chosen.update(own[i] for i in order[:count].tolist())
        train, test = (
            tuple(file for place, file in enumerate(self.files) if (place in chosen) is drawn)
            for drawn in (False, True)
        )
        return replace(self, files=train), Listing(self.classes, test)


@cache
def listing(folder: str) -> Listing:
    """What lies in the folder of one part; hidden folders and files of other kinds are passed over."""
    if not os.path.isdir(folder):  # noqa: PTH112  # asked for each name: a Path is slow
        return Listing()
    if describe_system_folder(folder):
        return Listing(is_whole=False)
    walk = _Walk(folder)
    places = sorted(walk.places(), key=lambda place: (_class(place[0]), place[0]))  # by class, as torchvision
    classes = sorted(name for name in walk.top if not name.startswith("."))
    files: list[str] = []
    hidden: list[str] = []
    others: list[str] = []
    for place, names in places:
        concealed = any(part.startswith(".") for part in place.split("/"))
        for name in sorted(names):
            path = f"{place}/{name}" if place else name
            if not place or not name.lower().endswith(SUFFIXES):
                others.append(path)
            else:
                (hidden if concealed or name.startswith(".") else files).append(path)
    passed = tuple(hidden), tuple(others), tuple(walk.loops), _shortest_first(walk.repeated), tuple(walk.closed)
    return Listing(tuple(classes), tuple(files), *passed, frozenset(walk.folders), walk.is_whole)


def describe_system_folder(folder: str) -> str:
    """`the disk` or `the home folder`, if that is what a folder is: more than a data set, and slow to list."""
    places = {os.path.realpath("/"): "the disk", os.path.realpath(Path.home()): "the home folder"}
    return places.get(os.path.realpath(folder), "")


@cache
def is_flat_root(folder: str) -> bool:
    """Whether a folder holds class folders with images directly in them."""
    found = listing(folder)
    direct = {name.partition("/")[0] for name in found.files if name.count("/") == 1}
    return len(found.classes) > 1 and direct == set(found.classes)


def find_nested_root(root: Path, train: str) -> Path | None:
    """The only folder in `root` that holds a folder `train`, as an unpacked archive leaves it."""
    inner = [path for path in root.iterdir() if path.is_dir() and (path / train).is_dir()] if root.is_dir() else []
    return inner[0] if len(inner) == 1 else None


def _shortest_first(repeated: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(repeated, key=lambda names: (names[0].count("/"), names)))


def _class(place: str) -> str:
    return place.partition("/")[0]


@dataclass
class _Walk:
    """`os.walk` with links followed, but for those that lead back to where they lie; each folder is read once, since
    links that lead to links would multiply it."""

    root: str
    top: list[str] = field(default_factory=list)  # folders in the root
    loops: list[str] = field(default_factory=list)
    repeated: list[tuple[str, str]] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    folders: dict[str, str] = field(default_factory=dict)  # real paths -> the name under which each was read
    is_whole: bool = True

    def places(self) -> Iterator[tuple[str, Sequence[str]]]:
        """Each folder, relative to the root, and the names of its files."""
        images = others = 0
        trails: dict[str, tuple[str, ...]] = {
            self.root: (os.path.realpath(self.root),)
        }  # real paths of the folders that lead to a folder
        for folder, inner, names in os.walk(self.root, followlinks=True, onerror=self._refused):
            trail = trails.pop(folder)
            if trail[-1] in self.folders:
                self.repeated.append((self._relative(folder), self.folders[trail[-1]]))
                inner.clear()
                continue
            self.folders[trail[-1]] = self._relative(folder)
            inner.sort()
            for name in list(inner):
                path = f"{folder.rstrip('/')}/{name}"
                real = os.path.realpath(path) if os.path.islink(path) else f"{trail[-1].rstrip('/')}/{name}"  # noqa: PTH114
                if any(f"{each}/".startswith(f"{real.rstrip('/')}/") for each in trail):
                    self.loops.append(self._relative(path))
                    inner.remove(name)
                else:
                    trails[path] = (*trail, real)
            if folder == self.root:
                self.top = list(inner)
            yield self._relative(folder), names
            here = sum(name.lower().endswith(SUFFIXES) for name in names)
            images, others = images + here, others + len(names) - here
            if others > max(MOST_OTHERS, 10 * images):
                self.is_whole = False
                return

    def _relative(self, path: str) -> str:
        return path[len(self.root) :].lstrip("/")

    def _refused(self, error: OSError) -> None:
        self.closed.append(self._relative(os.fspath(error.filename)) or ".")
