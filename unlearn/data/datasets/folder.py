"""Lists the folder of one part of an image folder, in the order in which torchvision numbers the images."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import torch

from unlearn.core.random_streams import stream

MAX_OTHERS = 100_000  # files that are not images: a folder with more of them, and few images, is not a data set
SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # those of torchvision


@dataclass(frozen=True)
class Listing:
    """The class folders and files of one part; all paths are relative to its folder.

    `classes` and `files` are in the order of torchvision: classes by name, then folder by folder, then files by name.
    """

    classes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()  # image files that torchvision counts, although a part of their path starts with a dot
    others: tuple[str, ...] = ()  # files without the suffix of an image, and files outside class folders
    loops: tuple[str, ...] = ()  # links to a folder that contains them; not followed
    repeated: tuple[tuple[str, str], ...] = ()  # folders with two paths, as by a link; listed once
    closed: tuple[str, ...] = ()  # folders that cannot be read
    folders: frozenset[str] = frozenset()  # real paths of all folders
    is_whole: bool = True  # False: listing stopped early, because there are too many other files

    @property
    def empty(self) -> tuple[str, ...]:
        """Classes without images."""
        sizes = self.sizes
        return tuple(name for name in self.classes if not sizes[name])

    @property
    def sizes(self) -> Counter[str]:
        """Number of images of each class."""
        return Counter(_class(name) for name in self.files)

    @property
    def hidden_classes(self) -> tuple[str, ...]:
        """Hidden folders that torchvision counts as classes."""
        return tuple(sorted({_class(name) for name in self.hidden} - set(self.classes)))

    def describe_skipped_files(self) -> str:
        """Count the files that are skipped, without their names; empty if there are none."""
        kinds = Counter(os.path.splitext(name)[1].lower() or "no suffix" for name in self.others)  # noqa: PTH122
        shown = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(5))
        hidden = [f"{len(self.hidden)} hidden images"] if self.hidden else []
        return ", ".join([*hidden, *([f"{len(self.others)} other files ({shown})"] if self.others else [])])

    def split(self, fraction: float, seed: int) -> tuple[Listing, Listing]:
        """Draw a test part, class by class; a class with two or more images is in both parts.

        Args:
            fraction: the fraction of each class in the test part.
            seed: the seed of the draw.

        Returns:
            The training and the test part.
        """
        positions: dict[str, list[int]] = {}
        for position, file in enumerate(self.files):
            positions.setdefault(_class(file), []).append(position)
        in_test: set[int] = set()
        for name, members in positions.items():
            order = torch.randperm(len(members), generator=stream(seed, "test part", os.fsencode(name).hex()))
            count = min(len(members) - 1, max(1, round(fraction * len(members))))
            in_test.update(members[i] for i in order[:count].tolist())
        train = tuple(file for position, file in enumerate(self.files) if position not in in_test)
        test = tuple(file for position, file in enumerate(self.files) if position in in_test)
        return replace(self, files=train), Listing(self.classes, test)


@cache
def list_folder(folder: str) -> Listing:
    """List the folder of one part; hidden folders and files of other kinds are skipped."""
    if not os.path.isdir(folder):  # noqa: PTH112  # called for each name: a Path is slow
        return Listing()
    if describe_system_folder(folder):
        return Listing(is_whole=False)
    walk = _Walk(folder)
    contents = sorted(walk.walk(), key=lambda item: (_class(item[0]), item[0]))  # by class, as torchvision
    classes = sorted(name for name in walk.top if not name.startswith("."))
    files: list[str] = []
    hidden: list[str] = []
    others: list[str] = []
    for inner, names in contents:
        is_hidden = any(part.startswith(".") for part in inner.split("/"))
        for name in sorted(names):
            path = f"{inner}/{name}" if inner else name
            if not inner or not name.lower().endswith(SUFFIXES):
                others.append(path)
            else:
                (hidden if is_hidden or name.startswith(".") else files).append(path)
    skipped = tuple(hidden), tuple(others), tuple(walk.loops), _shortest_first(walk.repeated), tuple(walk.closed)
    return Listing(tuple(classes), tuple(files), *skipped, frozenset(walk.folders), walk.is_whole)


def describe_system_folder(folder: str) -> str:
    """Return `the disk` or `the home folder` if the folder is one of them, which are slow to list; empty otherwise."""
    system = {os.path.realpath("/"): "the disk", os.path.realpath(Path.home()): "the home folder"}
    return system.get(os.path.realpath(folder), "")


@cache
def is_flat_root(folder: str) -> bool:
    """Whether a folder contains two or more class folders, each with images directly in it."""
    listing = list_folder(folder)
    direct = {_class(name) for name in listing.files if name.count("/") == 1}
    return len(listing.classes) > 1 and direct == set(listing.classes)


def find_nested_root(root: Path, train: str) -> Path | None:
    """The only folder in `root` that contains a folder `train`, as after unpacking an archive; None otherwise."""
    inner = [path for path in root.iterdir() if path.is_dir() and (path / train).is_dir()] if root.is_dir() else []
    return inner[0] if len(inner) == 1 else None


def _shortest_first(repeated: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(repeated, key=lambda names: (names[0].count("/"), names)))


def _class(path: str) -> str:
    return path.partition("/")[0]


@dataclass
class _Walk:
    """`os.walk` that follows links, except to a folder that contains them, and lists each folder once.

    Otherwise links to links would multiply the folders.
    """

    root: str
    top: list[str] = field(default_factory=list)  # folders in the root
    loops: list[str] = field(default_factory=list)
    repeated: list[tuple[str, str]] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    folders: dict[str, str] = field(default_factory=dict)  # real path -> the path under which it was listed
    is_whole: bool = True

    def walk(self) -> Iterator[tuple[str, Sequence[str]]]:
        """Yield the path of each folder, relative to the root, and the names of its files."""
        images = others = 0
        # Path -> real paths of the folder and of those around it.
        trails: dict[str, tuple[str, ...]] = {self.root: (os.path.realpath(self.root),)}
        for folder, inner, names in os.walk(self.root, followlinks=True, onerror=self._note_closed):
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
                if any(f"{outer}/".startswith(f"{real.rstrip('/')}/") for outer in trail):
                    self.loops.append(self._relative(path))
                    inner.remove(name)
                else:
                    trails[path] = (*trail, real)
            if folder == self.root:
                self.top = list(inner)
            yield self._relative(folder), names
            count = sum(name.lower().endswith(SUFFIXES) for name in names)
            images, others = images + count, others + len(names) - count
            if others > max(MAX_OTHERS, 10 * images):
                self.is_whole = False
                return

    def _relative(self, path: str) -> str:
        return path[len(self.root) :].lstrip("/")

    def _note_closed(self, error: OSError) -> None:
        self.closed.append(self._relative(os.fspath(error.filename)) or ".")
