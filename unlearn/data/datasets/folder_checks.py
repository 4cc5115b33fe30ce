"""Folders of the parts of an image folder that hold too much, or the same images twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations

from unlearn.core.errors import Problem, abbreviate
from unlearn.data.datasets.folder import Listing, describe_system_folder


def find_wide_folders(places: Mapping[str, str], asked: Mapping[str, str | None]) -> Iterator[Problem]:
    """Folders that hold more than a part; nothing in them is listed.

    Args:
        places: real path of each part's folder.
        asked: the setting of each part; None if its folder follows from `dataset.root`.
    """
    for part, place in places.items():
        key = "dataset.root" if asked[part] is None else f"dataset.{part}"
        inner = next((other for other, path in places.items() if is_inside(path, place)), None)
        if whole := describe_system_folder(place):
            yield Problem(key, f"a folder of images for the {part} part", f"{place}, which is {whole}")
        elif inner is not None:
            expected = f"a folder of other images than dataset.{inner}"
            yield Problem(key, expected, f"{place}, which holds {places[inner]}")


def linked(listed: Iterable[tuple[str, Listing]]) -> Iterator[Problem]:
    """Links by which images would count twice.

    Args:
        listed: folder and content of each part.
    """
    for folder, found in listed:
        if found.loops:
            loops = abbreviate([f"{folder}/{loop}" for loop in found.loops])
            yield Problem("dataset.root", "no link to a folder that it lies in", loops)
        elif found.repeated:
            twice = abbreviate([f"{folder}/{name}, which is {first}" for name, first in found.repeated])
            yield Problem("dataset.root", "no folder twice, as by links", twice)


def find_misplaced_folders(parts: Mapping[str, tuple[str, Listing]]) -> Iterator[Problem]:
    """Classes that only the test knows, and folders that are two parts.

    Args:
        parts: folder and content of each part.
    """
    trained, known = parts["train"][0], parts["train"][1].classes
    for part, (_, found) in parts.items():
        strange = sorted(set(found.classes) - set(known))
        if part != "train" and strange:
            alike = (name for other in strange for name in known if name.casefold() == other.casefold())
            near = "".join(dict.fromkeys(f" (nearest: {name})" for name in alike))
            expected = f"{part} classes among those of {trained}: {abbreviate(known)}{near}"
            yield Problem("dataset.root", expected, abbreviate(strange))
    for (one, (first, mine)), (other, (second, theirs)) in combinations(parts.items(), 2):
        if mine.folders & theirs.folders:
            shared = min(mine.folders & theirs.folders)
            got = f"{second!r}, which shares {shared} with dataset.{one} ({first!r})"
            yield Problem(f"dataset.{other}", f"a folder of other images than dataset.{one}", got)


def is_inside(path: str, folder: str) -> bool:
    """Whether a real path lies somewhere below a folder."""
    return path != folder and path.startswith(f"{folder.rstrip('/')}/")
