"""Records of a data set by name: the path of a file, a part of it, a folder or a pattern."""

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
COMPARED = 10_000  # names at most that are compared with a misspelled one


class Names:
    """Finds the records of the training part that a name stands for.

    Paths are compared in Unicode's composed form (NFC); backslashes separate folders where no file has them in its
    name. Upper and lower case differ.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.paths = [normalize("NFC", name) for name in dataset.names("train")]
        self.by_path = _positions(self.paths)
        self.in_test = {normalize("NFC", name) for name in dataset.names("test")}
        self.is_drawn = bool(self.paths) and dataset.folder("train") == dataset.folder("test")  # of one folder, both
        self.by_ending = cache(self._by_ending)
        self.by_stem = cache(self._by_stem)

    def find(self, text: str) -> list[int]:
        """Indices of the records that a name stands for: one, or all in a folder or of a pattern.

        A name without its folder, or without its suffix, stands for the only file that it fits. A folder is written
        with a slash.

        Raises:
            LookupError: it fits no file, or several; the message says why, where there is more to say.
        """
        for spelling in dict.fromkeys((text, text.replace("\\", "/"))):
            if found := self._exact(spelling) or self._several(spelling) or self._by_part(spelling):
                return found
        if self._is_of_test(text):
            raise LookupError("files of the test part")
        raise LookupError("" if self.paths else "the records of this data set have no names")

    def _is_of_test(self, text: str) -> bool:
        """Whether a folder or a pattern holds files of the test part alone."""
        path = normalize("NFC", PurePosixPath(text.replace("\\", "/")).as_posix())
        places = [place for place in self._places(path, "test") if place != path]
        fits = (
            _fits(name.split("/")[: place.count("/") + 1], place.split("/"))
            for place in places
            for name in self.in_test
        )
        return any(fits)

    def exactly(self, text: str) -> bool:
        """Whether it is the path of a record."""
        return bool(self._exact(text))

    def called(self, text: str, index: int) -> str:
        """The only file whose name, less its suffix, is the number `index`; empty if it has that index, or is none."""
        fits = {name for stem in {text, str(index)} for name in self.by_stem().get(stem, ())}
        return fits.pop() if len(fits) == 1 and fits != {self.at(index)} else ""

    def at(self, index: int) -> str:
        """The file that has an index, or `no file`."""
        return self.paths[index] if 0 <= index < len(self.paths) else "no file"

    def _by_stem(self) -> dict[str, list[str]]:
        names = [*self.paths, *(self.in_test if self.is_drawn else ())]
        stems = _positions([PurePosixPath(name).stem for name in names])
        return {stem: [names[i] for i in positions] for stem, positions in stems.items()}

    def nearest(self, text: str) -> str:
        """The name of a record that resembles an unknown one; empty if none does."""
        path = normalize("NFC", PurePosixPath(text.replace("\\", "/")).as_posix())
        place = min(self._places(path, "train"), key=len)
        folder = place.rpartition("/")[0]
        pool = [name for name in self.paths if name.rpartition("/")[0] == folder] or self.paths
        same = [name for name in pool if name.casefold() == place.casefold()]
        return next(iter(same or get_close_matches(place, pool[:COMPARED], cutoff=0.5)), "")

    def _exact(self, text: str) -> list[int]:
        path = PurePosixPath(text).as_posix()
        if not text or text.endswith("/"):
            return []
        index = self.dataset.find(path)
        if index is not None:
            return [index]
        places = self._places(normalize("NFC", path), "train")
        return self._only([i for place in places for i in self.by_path.get(place, ())])

    def _several(self, text: str) -> list[int]:
        """The records in a folder, or of a pattern.

        Raises:
            LookupError: it is a file as well, or holds files of a test part that is drawn from the same folder.
        """
        found = self._within(text, "train", self.paths)
        is_folder = found and not text.endswith("/") and not any(sign in text for sign in WILD)
        if is_folder and self._by_part(text):
            raise LookupError("both a folder, which ends with a slash, and a file without its suffix")
        drawn = sorted(self.in_test) if self.is_drawn else []
        cut = [drawn[i] for i in self._within(text, "test", drawn)]
        if cut:
            raise LookupError(
                f"{len(cut)} of its {len(cut) + len(found)} files are of the test part: {abbreviate(cut)}"
            )
        return found

    def _within(self, text: str, part: str, names: Sequence[str]) -> list[int]:
        """Positions of the names that lie in a folder, or fit a pattern."""
        path = normalize("NFC", PurePosixPath(text).as_posix())
        if any(sign in path for sign in WILD):
            patterns = [place.split("/") for place in self._places(path, part)]
            return [i for i, name in enumerate(names) if any(_fits(name.split("/"), wild) for wild in patterns)]
        if "/" not in text:
            return []
        places = tuple(self._places(path + "/", part))
        return [i for i, name in enumerate(names) if name.startswith(places)]

    def _by_part(self, text: str) -> list[int]:
        """The only record whose path ends like that, with or without its suffix."""
        path = normalize("NFC", PurePosixPath(text).as_posix())
        if text.endswith("/"):
            return []
        if any(place in self.in_test for place in self._places(path, "test")):
            raise LookupError("a file of the test part")
        whole = [place for place in self._places(path, "train") if place != path]
        found = {i for place in whole for i in self._ending(place) if self.paths[i].count("/") == place.count("/")}
        return self._only(sorted(found | set(self._ending(path))))

    def _ending(self, path: str) -> Sequence[int]:
        return self.by_ending(path.count("/")).get(path, ())

    def _by_ending(self, slashes: int) -> dict[str, list[int]]:
        """Positions by the last folders and the name, with and without its suffix."""
        endings = ["/".join(name.rsplit("/", slashes + 1)[-slashes - 1 :]) for name in self.paths]
        positions = _positions(endings)
        for position, ending in enumerate(endings):
            positions[ending.rpartition(".")[0]].append(position)
        return positions

    def _places(self, path: str, part: str) -> list[str]:
        """What the path can be within a part of the data set: less what may stand before it."""
        prefixes = (normalize("NFC", prefix) for prefix in self.dataset.prefixes(part))
        return list(dict.fromkeys(path.removeprefix(prefix) for prefix in prefixes if path.startswith(prefix)))

    def _only(self, found: Sequence[int]) -> list[int]:
        if len(found) > 1:
            raise LookupError(f"it fits {len(found)} files: {abbreviate([self.paths[i] for i in found])}")
        return list(found)


def _positions(names: Sequence[str]) -> dict[str, list[int]]:
    positions = defaultdict(list)
    for position, name in enumerate(names):
        positions[name].append(position)
    return positions


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a path fits a pattern, folder by folder; `**` stands for any number of folders."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_fits(parts[start:], pattern[1:]) for start in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])
