"""Checks whether everything in a store is as it was written."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from unlearn.core.artifact_meta import META, find_file_problems
from unlearn.core.progress import Tick
from unlearn.inventory.catalogue import BEGINNING, Catalogue, Item

THREADS = 4  # hashing releases the interpreter lock, and disks serve parallel reads faster


def find_store_problems(catalogue: Catalogue, removed: dict[str, str], tick: Tick) -> Iterator[str]:
    """Find damaged, missing and extra files, and missing inputs.

    Args:
        catalogue: the store.
        removed: inputs that were removed on purpose, from `read_removals`.
        tick: gets the megabytes done, and of the whole store.

    Yields:
        One line for each problem.
    """
    items = [*catalogue.items.values(), *catalogue.misplaced]
    done, total = 0, sum(item.bytes for item in items)
    with ThreadPoolExecutor(THREADS) as pool:
        for item, problems in zip(items, pool.map(find_problems, items), strict=True):
            name = f"{item.kind} {item.key[:BEGINNING]} ({item.label})"
            missing = [key for key in item.inputs if key not in catalogue.items and key not in removed]
            yield from (f"{name}: {problem}" for problem in problems)
            yield from (f"{name}: its input {key[:BEGINNING]} is missing" for key in missing)
            done += item.bytes
            tick(done // 10**6, total // 10**6)


def find_purged_inputs(catalogue: Catalogue, removed: dict[str, str]) -> dict[str, list[Item]]:
    """Find artifacts with inputs that were removed on purpose, which is no damage; grouped by removal."""
    dependants: dict[str, list[Item]] = {}
    for item in catalogue.items.values():
        missing = (key for key in item.inputs if key in removed and key not in catalogue.items)
        for removal in dict.fromkeys(removed[key] for key in missing):
            dependants.setdefault(removal, []).append(item)
    return dependants


def find_problems(item: Item) -> list[str]:
    """Find the problems of one artifact: a damaged `meta.json`, and damaged, missing and extra files.

    With `rebuild_damaged=true` the store rebuilds an artifact for the same reasons.
    """
    if not item.meta:
        return [f"a damaged {META} in {item.entry.folder}: {item.damage}"]
    try:
        return list(find_file_problems(item.entry.folder, item.meta, contents=True))
    except OSError as error:
        return [f"cannot be read: {error}"]
