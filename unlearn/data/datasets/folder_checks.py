"""Checks of the folders of an image folder: missing, empty, too large, or counted twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path

from unlearn.core.errors import Problem, abbreviate, nearest
from unlearn.data.datasets.folder import MAX_OTHERS, Listing, describe_system_folder, find_nested_root
from unlearn.data.datasets.folder_layout import FolderLayout


def find_folder_problems(layout: FolderLayout) -> Iterator[Problem]:
    """Find the problems of all parts, the first kind of problem only."""
    problems = list(_find_too_wide(layout))
    problems = problems or list(_find_repeated(layout))
    problems = problems or list(_find_missing(layout))
    yield from problems or _find_misplaced(layout.parts)


def is_inside(path: str, folder: str) -> bool:
    """Whether a real path lies somewhere below a folder."""
    return path != folder and path.startswith(f"{folder.rstrip('/')}/")


def _find_too_wide(layout: FolderLayout) -> Iterator[Problem]:
    """Folders that contain more than a part; they are not listed."""
    paths = layout.real_paths
    for part, path in paths.items():
        key = "dataset.root" if getattr(layout, part) is None else f"dataset.{part}"
        inner = next((other for other, other_path in paths.items() if is_inside(other_path, path)), None)
        if name := describe_system_folder(path):
            yield Problem(key, f"a folder of images for the {part} part", f"{path}, which is {name}")
        elif inner is not None:
            expected = f"a folder of other images than dataset.{inner}"
            yield Problem(key, expected, f"{path}, which contains {paths[inner]}")


def _find_repeated(layout: FolderLayout) -> Iterator[Problem]:
    """Links that would count images twice."""
    for name, listing in layout.parts.values():
        folder = layout.path(name)
        if listing.loops:
            loops = abbreviate([f"{folder}/{loop}" for loop in listing.loops])
            yield Problem("dataset.root", "no link to a folder that contains the link", loops)
        elif listing.repeated:
            repeated = abbreviate([f"{folder}/{path}, which is {first}" for path, first in listing.repeated])
            yield Problem("dataset.root", "no folder twice, as by links", repeated)


def _find_missing(layout: FolderLayout) -> Iterator[Problem]:
    """Folders that are missing, unreadable, or without images."""
    train, test = layout.train_folder, layout.test_folder
    expected = f"a folder with {train}/<class>/<image> and {test}/<class>/<image>"
    inner = None if layout.has_folder(train) else find_nested_root(Path(layout.root), train)
    if inner is not None:
        got = f"{layout.root} without {train}, which is one level deeper: set dataset.root={inner}"
        yield Problem("dataset.root", expected, got)
        return
    for part, (name, listing) in layout.parts.items():
        yield from _check_listing(layout, part, name, listing, expected)
    if layout.test_fraction is not None and (layout.test is not None or layout.has_folder("test")):
        expected = f"null, since there is a folder {layout.test or 'test'}"
        yield Problem("dataset.test_fraction", expected, layout.test_fraction)


def _check_listing(layout: FolderLayout, part: str, name: str, listing: Listing, expected: str) -> Iterator[Problem]:
    folder, key = layout.path(name), "dataset.root"
    if not listing.is_whole:
        got = f"{folder}, with more than {MAX_OTHERS:,} other files"
        yield Problem(f"dataset.{part}" if getattr(layout, part) else key, "a folder of images", got)
    elif listing.closed:
        yield Problem(key, "folders that can be read", abbreviate([f"{folder}/{path}" for path in listing.closed]))
    elif not layout.has_folder(name):
        yield Problem("dataset.val" if part == "val" else key, expected, _describe_root(layout, name))
    elif not listing.classes:
        yield Problem(key, expected, f"no class folder in {folder}")
    elif part == "train" and listing.empty:
        yield Problem(key, "an image in every class folder", f"none in {folder}/{listing.empty[0]}")
    elif part == "train" and len(listing.classes) == 1:
        yield Problem(key, f"two or more classes in {folder}", f"only {listing.classes[0]}")
    elif not listing.files:
        yield Problem(key, expected, f"no image in {folder}")


def _describe_root(layout: FolderLayout, name: str) -> str:
    """Describe the root without the folder of a part, and the setting that would help."""
    root = Path(layout.root)
    if not root.is_dir():
        return f"no folder {layout.root}"
    near = nearest(name, sorted(path.name for path in root.iterdir() if path.is_dir()))
    hint = "" if name == layout.train_folder else "; dataset.test_fraction=0.2 draws a test part"
    return f"{layout.root} without {name}{near}{hint}"


def _find_misplaced(parts: Mapping[str, tuple[str, Listing]]) -> Iterator[Problem]:
    """Classes that the training part lacks, and folders that belong to two parts."""
    train, classes = parts["train"][0], parts["train"][1].classes
    for part, (_, listing) in parts.items():
        unknown = sorted(set(listing.classes) - set(classes))
        if part != "train" and unknown:
            similar = (name for other in unknown for name in classes if name.casefold() == other.casefold())
            near = "".join(dict.fromkeys(f" (nearest: {name})" for name in similar))
            expected = f"{part} classes among those of {train}: {abbreviate(classes)}{near}"
            yield Problem("dataset.root", expected, abbreviate(unknown))
    for (one, (first, listing)), (other, (second, other_listing)) in combinations(parts.items(), 2):
        if shared := listing.folders & other_listing.folders:
            got = f"{second!r}, which shares {min(shared)} with dataset.{one} ({first!r})"
            yield Problem(f"dataset.{other}", f"a folder of other images than dataset.{one}", got)
