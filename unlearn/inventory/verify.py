"""Is everything in the store as it was written?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from unlearn.console import Tick
from unlearn.errors import StoreError
from unlearn.inventory.catalogue import BEGINNING, Catalogue, Item
from unlearn.store import META

THREADS = 4  # hashing leaves the interpreter free, and disks like company


def verify(catalogue: Catalogue, gone: dict[str, str], tick: Tick) -> Iterator[str]:
    """A line for each problem: damaged, missing and extra files, and inputs that are neither there nor in `gone`.

    `tick` is told megabytes.
    """
    items = list(catalogue.items.values())
    done, total = 0, sum(item.bytes for item in items)
    with ThreadPoolExecutor(THREADS) as pool:
        for item, found in zip(items, pool.map(problems, items), strict=True):
            named = f"{item.kind} {item.key[:BEGINNING]} ({item.label})"
            missing = [key for key in item.inputs if key not in catalogue.items and key not in gone]
            yield from (f"{named}: {problem}" for problem in found)
            yield from (f"{named}: its input {key[:BEGINNING]} is missing" for key in missing)
            done += item.bytes
            tick(done // 10**6, total // 10**6)


def purged(catalogue: Catalogue, gone: dict[str, str]) -> dict[str, list[Item]]:
    """What was made from artefacts that were removed on purpose, by how they went: no damage."""
    found: dict[str, list[Item]] = {}
    for item in catalogue.items.values():
        for how in dict.fromkeys(gone[key] for key in item.inputs if key in gone and key not in catalogue.items):
            found.setdefault(how, []).append(item)
    return found


def problems(item: Item) -> list[str]:
    """What is wrong with one artefact: damaged, missing and extra files, a spec that its key was not made of."""
    if not item.meta:
        return [f"a damaged {META} in {item.entry.folder}"]
    wrong = [] if _key(item) == item.key else [f"the spec in {META} is not the one that its key was made of"]
    try:
        expected, there = {META, *item.meta["files"]}, {path.name for path in item.entry.folder.iterdir()}
        wrong += [f"{name}: not one of its files" for name in sorted(there - expected)]
        wrong += [f"{name}: missing" for name in sorted(expected - there)]
        wrong += [told for name in sorted(expected & there - {META}) if (told := _difference(item, name))]
    except OSError as error:
        wrong.append(f"cannot be read: {error}")
    return wrong


def _difference(item: Item, name: str) -> str:
    expected, got = item.meta["files"][name]["bytes"], (item.entry.folder / name).stat().st_size
    if got != expected:
        return f"{name}: {got} bytes instead of {expected}"
    try:
        item.entry.file(name)
    except StoreError:
        return f"{name}: altered, its SHA-256 is another"
    return ""


def _key(item: Item) -> str:
    """As `stages.base.Stage.key` makes it."""
    return hashlib.sha256(json.dumps(item.spec, sort_keys=True).encode()).hexdigest()
