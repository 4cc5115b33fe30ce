"""Decides which folder of an image folder holds which part, and draws a test part if there is none."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from unlearn.data.datasets.folder import Listing, is_flat_root, list_folder

DEFAULT_TEST_FRACTION = 0.2  # of a folder without a test part


@dataclass(frozen=True)
class FolderLayout:
    """The folders of the parts; the fields are the settings of `ImageFolder`."""

    root: str
    train: str | None
    test: str | None
    val: str | None
    test_fraction: float | None
    test_seed: int

    @property
    def train_folder(self) -> str:
        """The folder of the training part in `root`; `.` if the root consists of class folders."""
        if self.train is not None:
            return self.train
        return "." if not self.has_folder("train") and is_flat_root(self.path(".")) else "train"

    @property
    def test_folder(self) -> str:
        """The folder of the test part in `root`; that of the training part if the test part is drawn from it."""
        if self.test is not None:
            return self.test
        if self.drawn_fraction is not None:
            return self.train_folder
        return "val" if self.val is None and self.has_folder("val") and not self.has_folder("test") else "test"

    @property
    def drawn_fraction(self) -> float | None:
        """The fraction of each class that is drawn for the test part; None if the test part has a folder."""
        if self.test_fraction is not None or self.test is not None:
            return self.test_fraction
        return DEFAULT_TEST_FRACTION if self.train_folder == "." and is_flat_root(self.path(".")) else None

    @property
    def train_listing(self) -> Listing:
        """Content of the training part."""
        return _list_parts(*self._cache_key)[0]

    @property
    def test_listing(self) -> Listing:
        """Content of the test part."""
        return _list_parts(*self._cache_key)[1]

    @property
    def _cache_key(self) -> tuple[str, str, float | None, int]:
        """All that decides which files are in the training and the test part."""
        return self.path(self.train_folder), self.path(self.test_folder), self.drawn_fraction, self.test_seed

    @property
    def folders(self) -> dict[str, str]:
        """The folder of each part, in `root`."""
        validation = {} if self.val is None else {"val": self.val}
        return {"train": self.train_folder, "test": self.test_folder} | validation

    @property
    def real_paths(self) -> dict[str, str]:
        """The real path of the folder of each part; the folders are not listed."""
        return {part: os.path.realpath(self.path(folder)) for part, folder in self.folders.items()}

    @property
    def parts(self) -> dict[str, tuple[str, Listing]]:
        """Folder and content of each part."""
        parts = {"train": (self.train_folder, self.train_listing), "test": (self.test_folder, self.test_listing)}
        return parts if self.val is None else parts | {"val": (self.val, list_folder(self.path(self.val)))}

    def path(self, folder: str) -> str:
        """The absolute path of a folder in `root`."""
        return os.path.abspath(os.path.join(self.root, folder))  # noqa: PTH100, PTH118  # does not access the disk

    def has_folder(self, folder: str) -> bool:
        """Whether a folder in `root` exists."""
        return os.path.isdir(self.path(folder))  # noqa: PTH112  # called for each name: a Path is slow

    def prefixes(self, part: str) -> Sequence[str]:
        """Prefixes that a request may put before the path of a record."""
        return _prefixes(self.root, self.folders[part], str(Path.cwd()))

    def find(self, name: str) -> int | None:
        """The index of the record of the training part with a path; None if there is none."""
        positions = _positions(*self._cache_key)
        paths = (name.removeprefix(prefix) for prefix in self.prefixes("train") if name.startswith(prefix))
        return next((positions[path] for path in paths if path in positions), None)


@lru_cache(maxsize=4)
def _list_parts(train: str, test: str, fraction: float | None, seed: int) -> tuple[Listing, Listing]:
    return (list_folder(train), list_folder(test)) if fraction is None else list_folder(train).split(fraction, seed)


@lru_cache(maxsize=2)
def _positions(train: str, test: str, fraction: float | None, seed: int) -> dict[str, int]:
    files = _list_parts(train, test, fraction, seed)[0].files
    return {name: position for position, name in enumerate(files)}


@cache
def _prefixes(root: str, folder: str, working_directory: str) -> tuple[str, ...]:
    """Nothing, the folder of the part, and the root in any of its spellings, with and without that folder."""
    spellings = Path(root), Path(working_directory) / root, Path(working_directory, root).resolve()
    roots = dict.fromkeys(path.as_posix() + "/" for path in spellings)
    inner = Path(folder).as_posix()
    if inner == ".":
        return ("", *roots)
    return ("", f"{inner}/", *roots, *(f"{spelling}{inner}/" for spelling in roots))
