"""Finds records of a data set by name: the path of a file, a part of the path, a folder or a pattern."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cache
from pathlib import PurePosixPath
from unicodedata import normalize

from unlearn.core.errors import abbreviate
from unlearn.data.datasets.base import Dataset

WILD = "*?["
MAX_COMPARED = 10_000  # names that are compared with a misspelled one


class Names:
    """Finds the records of the training part that a name identifies.

    Paths are compared in Unicode's composed form (NFC), with case. Backslashes separate folders unless a file has them
    in its name.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.paths = [normalize("NFC", name) for name in dataset.names("train")]
        self.by_path = _positions(self.paths)
        self.in_test = {normalize("NFC", name) for name in dataset.names("test")}
        # Whether the test part is drawn from the folder of the training part.
        self.is_drawn = bool(self.paths) and dataset.folder("train") == dataset.folder("test")
        self.by_ending = cache(self._by_ending)
        self.by_stem = cache(self._by_stem)

    def find(self, text: str) -> list[int]:
        """Find the records of a name: one file, or all files in a folder or of a pattern.

        A name without its folder, or without its suffix, identifies a file if only that one matches. The name of a
        folder ends with a slash.

        Returns:
            Indices in the training part.

        Raises:
            LookupError: no file matches, or several do; the message is empty if no file has a similar name.
        """
        for spelling in dict.fromkeys((text, text.replace("\\", "/"))):
            if indices := self._find_exact(spelling) or self._find_several(spelling) or self._find_by_ending(spelling):
                return indices
        if self._is_in_test(text):
            raise LookupError("files of the test part")
        raise LookupError("" if self.paths else "the records of this data set have no names")

    def _is_in_test(self, text: str) -> bool:
        """Whether a folder or a pattern matches files of the test part."""
        path = normalize("NFC", PurePosixPath(text.replace("\\", "/")).as_posix())
        candidates = [candidate for candidate in self._strip_prefixes(path, "test") if candidate != path]
        return any(
            _matches(name.split("/")[: candidate.count("/") + 1], candidate.split("/"))
            for candidate in candidates
            for name in self.in_test
        )

    def is_path(self, text: str) -> bool:
        """Whether a text is the path of a record."""
        return bool(self._find_exact(text))

    def find_numbered(self, text: str, index: int) -> str:
        """The only file with the number `index` as its name without suffix; empty if none, or if it has that index."""
        names = {name for stem in {text, str(index)} for name in self.by_stem().get(stem, ())}
        return names.pop() if len(names) == 1 and names != {self.describe(index)} else ""

    def describe(self, index: int) -> str:
        """The path of the file with an index, or `no file`."""
        return self.paths[index] if 0 <= index < len(self.paths) else "no file"

    def _by_stem(self) -> dict[str, list[str]]:
        names = [*self.paths, *(self.in_test if self.is_drawn else ())]
        stems = _positions([PurePosixPath(name).stem for name in names])
        return {stem: [names[i] for i in positions] for stem, positions in stems.items()}

    def nearest(self, text: str) -> str:
        """The name of a record that is similar to an unknown name; empty if there is none."""
        path = normalize("NFC", PurePosixPath(text.replace("\\", "/")).as_posix())
        shortest = min(self._strip_prefixes(path, "train"), key=len)
        folder = shortest.rpartition("/")[0]
        pool = [name for name in self.paths if name.rpartition("/")[0] == folder] or self.paths
        same = [name for name in pool if name.casefold() == shortest.casefold()]
        return next(iter(same or get_close_matches(shortest, pool[:MAX_COMPARED], cutoff=0.5)), "")

    def _find_exact(self, text: str) -> list[int]:
        path = PurePosixPath(text).as_posix()
        if not text or text.endswith("/"):
            return []
        index = self.dataset.find(path)
        if index is not None:
            return [index]
        paths = self._strip_prefixes(normalize("NFC", path), "train")
        return self._require_one([i for path in paths for i in self.by_path.get(path, ())])

    def _find_several(self, text: str) -> list[int]:
        """Find the records in a folder, or of a pattern.

        Raises:
            LookupError: the name also matches a file, or files of a test part that is drawn from the same folder.
        """
        indices = self._find_within(text, "train", self.paths)
        is_folder = indices and not text.endswith("/") and not any(sign in text for sign in WILD)
        if is_folder and self._find_by_ending(text):
            raise LookupError("both a folder, which ends with a slash, and a file without its suffix")
        drawn = sorted(self.in_test) if self.is_drawn else []
        in_test = [drawn[i] for i in self._find_within(text, "test", drawn)]
        if in_test:
            total = len(in_test) + len(indices)
            raise LookupError(f"{len(in_test)} of its {total} files are in the test part: {abbreviate(in_test)}")
        return indices

    def _find_within(self, text: str, part: str, names: Sequence[str]) -> list[int]:
        """Positions of the names that lie in a folder, or match a pattern."""
        path = normalize("NFC", PurePosixPath(text).as_posix())
        if any(sign in path for sign in WILD):
            patterns = [pattern.split("/") for pattern in self._strip_prefixes(path, part)]
            return [i for i, name in enumerate(names) if any(_matches(name.split("/"), p) for p in patterns)]
        if "/" not in text:
            return []
        folders = tuple(self._strip_prefixes(path + "/", part))
        return [i for i, name in enumerate(names) if name.startswith(folders)]

    def _find_by_ending(self, text: str) -> list[int]:
        """Find the only record whose path ends with a text, with or without its suffix."""
        path = normalize("NFC", PurePosixPath(text).as_posix())
        if text.endswith("/"):
            return []
        if any(candidate in self.in_test for candidate in self._strip_prefixes(path, "test")):
            raise LookupError("a file of the test part")
        whole = [candidate for candidate in self._strip_prefixes(path, "train") if candidate != path]
        indices = {i for name in whole for i in self._ending_with(name) if self.paths[i].count("/") == name.count("/")}
        return self._require_one(sorted(indices | set(self._ending_with(path))))

    def _ending_with(self, path: str) -> Sequence[int]:
        return self.by_ending(path.count("/")).get(path, ())

    def _by_ending(self, slashes: int) -> dict[str, list[int]]:
        """Positions by the last `slashes` folders and the name, with and without its suffix."""
        endings = ["/".join(name.rsplit("/", slashes + 1)[-slashes - 1 :]) for name in self.paths]
        positions = _positions(endings)
        for position, ending in enumerate(endings):
            positions[ending.rpartition(".")[0]].append(position)
        return positions

    def _strip_prefixes(self, path: str, part: str) -> list[str]:
        """The paths within a part of the data set that a path can mean: without each prefix that it has."""
        prefixes = (normalize("NFC", prefix) for prefix in self.dataset.prefixes(part))
        return list(dict.fromkeys(path.removeprefix(prefix) for prefix in prefixes if path.startswith(prefix)))

    def _require_one(self, indices: Sequence[int]) -> list[int]:
        if len(indices) > 1:
            raise LookupError(f"it matches {len(indices)} files: {abbreviate([self.paths[i] for i in indices])}")
        return list(indices)


def _positions(names: Sequence[str]) -> dict[str, list[int]]:
    positions = defaultdict(list)
    for position, name in enumerate(names):
        positions[name].append(position)
    return positions


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a path matches a pattern, folder by folder; `**` matches any number of folders."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[start:], pattern[1:]) for start in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])
