"""Is everything in the store as it was written?"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from unlearn.core.artifact_meta import META, find_file_problems
from unlearn.core.progress import Tick
from unlearn.inventory.catalogue import BEGINNING, Catalogue, Item

THREADS = 4  # hashing leaves the interpreter free, and disks like company


def find_store_problems(catalogue: Catalogue, gone: dict[str, str], tick: Tick) -> Iterator[str]:
    """A line for each problem: damaged, missing and extra files, and inputs that are neither there nor in `gone`.

    `tick` is told megabytes.
    """
    items = [*catalogue.items.values(), *catalogue.misplaced]
    done, total = 0, sum(item.bytes for item in items)
    with ThreadPoolExecutor(THREADS) as pool:
        for item, found in zip(items, pool.map(find_problems, items), strict=True):
            named = f"{item.kind} {item.key[:BEGINNING]} ({item.label})"
            missing = [key for key in item.inputs if key not in catalogue.items and key not in gone]
            yield from (f"{named}: {problem}" for problem in found)
            yield from (f"{named}: its input {key[:BEGINNING]} is missing" for key in missing)
            done += item.bytes
            tick(done // 10**6, total // 10**6)


def find_purged_inputs(catalogue: Catalogue, gone: dict[str, str]) -> dict[str, list[Item]]:
    """What was made from artefacts that were removed on purpose, by how they went: no damage."""
    found: dict[str, list[Item]] = {}
    for item in catalogue.items.values():
        for how in dict.fromkeys(gone[key] for key in item.inputs if key in gone and key not in catalogue.items):
            found.setdefault(how, []).append(item)
    return found


def find_problems(item: Item) -> list[str]:
    """What is wrong with one artefact: a damaged `meta.json`, damaged, missing and extra files.

    The store rebuilds for the same reasons.
    """
    if not item.meta:
        return [f"a damaged {META} in {item.entry.folder}: {item.damage}"]
    try:
        return list(find_file_problems(item.entry.folder, item.meta, contents=True))
    except OSError as error:
        return [f"cannot be read: {error}"]
