"""What `unlearn-store` prints: a table on a terminal, aligned lines in a pipe."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from unlearn.core.progress import printable
from unlearn.inventory.catalogue import BEGINNING, Catalogue, Item
from unlearn.inventory.specs import leaves, references

if TYPE_CHECKING:
    from unlearn.inventory.why import Answer

RIGHT = ("size", "age", "used", "seconds", "count")
DRAWN = 500  # rows; a longer table would keep its reader waiting
AGES = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def size(count: float) -> str:
    """Bytes in decimal units: `12.3 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def ago(then: float) -> str:
    """How long since: `3 d`."""
    seconds = max(time.time() - then, 0)
    length, unit = next((each for each in AGES if seconds >= each[0]), AGES[-1])
    return f"{seconds / length:.0f} {unit}"


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], right: Iterable[str] = ()) -> None:
    """Print rows under titles; columns named in `right` are flush right."""
    flush = [title in set(right) for title in titles]
    rows = [[printable(cell) for cell in row] for row in rows]
    if sys.stdout.isatty() and len(rows) <= DRAWN:
        _drawn(titles, rows, flush)
        return
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    for row in (titles, *rows):
        cells = [f"{c:>{w}}" if f else f"{c:<{w}}" for c, w, f in zip(row, widths, flush, strict=True)]
        print("  ".join(cells).rstrip())


def _drawn(titles: Sequence[str], rows: Sequence[Sequence[str]], flush: Sequence[bool]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    drawn = Table(box=SIMPLE_HEAD)
    for title, right in zip(titles, flush, strict=True):
        drawn.add_column(title, justify="right" if right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    Console(highlight=False, markup=False).print(drawn)


def machine_readable(catalogue: Catalogue, items: Sequence[Item]) -> dict[str, Any]:
    """Artefacts and leftovers as JSON: bytes, seconds to build, times in seconds since 1970."""
    artefacts = [
        {"kind": item.kind, "key": item.key, "label": item.label, "bytes": item.bytes}
        | {"created": item.created, "used": item.used, "seconds": item.meta.get("seconds")}
        for item in items
    ]
    left_over = [{"kind": e.kind, "key": e.key, "bytes": e.bytes, "used": e.used} for e in catalogue.leftovers]
    return {"artefacts": artefacts, "left_over": left_over}


def listing(items: Sequence[Item]) -> None:
    """Print a table of artefacts, and their totals by kind."""
    table(("kind", "label", "key", "size", "age", "used", "seconds"), [_row(item) for item in items], RIGHT)
    by_kind: dict[str, list[Item]] = {}
    for item in items:
        by_kind.setdefault(item.kind, []).append(item)
    totals = [[kind, str(len(them)), _whole(them)] for kind, them in by_kind.items()]
    print()
    table(("kind", "count", "size"), [*totals, ["all", str(len(items)), _whole(items)]], RIGHT)


def _row(item: Item) -> list[str]:
    seconds = f"{item.entry.seconds:.1f}" if "seconds" in item.meta else "–"
    return [item.kind, item.label, item.key[:BEGINNING], size(item.bytes), ago(item.created), ago(item.used), seconds]


def _whole(items: Iterable[Item]) -> str:
    return size(sum(item.bytes for item in items))


def shown(catalogue: Catalogue, item: Item, gone: dict[str, str]) -> Iterator[str]:
    """All that is known of one artefact."""
    yield f"{item.label}  {item.kind}/{item.key}"
    times = f"built {ago(item.created)} ago in {item.entry.seconds:.1f} s, used {ago(item.used)} ago"
    yield f"  {times}, {size(item.bytes)}"
    yield from _section("spec", ((place, str(value)) for place, value in leaves(item.spec)))
    yield from _section("inputs", ((place, _whereabouts(catalogue, key, gone)) for place, key in references(item.spec)))
    made = Counter(each.label for each in catalogue.dependants.get(item.key, []))
    yield from _section("needed by", ((label, f"{count} ×" if count > 1 else "") for label, count in made.items()))
    yield from _section("files", ((name, size(file["bytes"])) for name, file in sorted(item.meta["files"].items())))
    for part in ("versions", "hardware"):
        yield from _section(part, ((name, str(value)) for name, value in (item.meta.get(part) or {}).items()))


def _whereabouts(catalogue: Catalogue, key: str, gone: dict[str, str]) -> str:
    known = catalogue.items.get(key)
    where = f"is there ({known.label})" if known else gone.get(key, "") and f"removed: {gone[key]}"
    return f"{key[:BEGINNING]} {where or 'is missing'}"


def _section(title: str, pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    found = list(pairs)
    width = max((len(name) for name, _ in found), default=0)
    yield from ((f"{title}",) if found else ())
    yield from (printable(f"  {name:<{width}}  {value}").rstrip() for name, value in found)


def explained(answers: Iterable[Answer]) -> Iterator[str]:
    """Hits and misses in the order of the run; predictions and measurements of one fate share a line."""
    shared: dict[tuple[object, ...], list[Answer]] = {}
    for answer in answers:
        alone = answer.stage.key if answer.stage.announced else bool(answer.missing)
        shared.setdefault((answer.stage.kind, answer.there, answer.because, alone), []).append(answer)
    for alike in shared.values():
        yield from _fate(alike)


def _fate(alike: list[Answer]) -> Iterator[str]:
    first = alike[0]
    line = f"{'hit ' if first.there else 'miss'}  "
    if len(alike) == 1:
        line += f"{first.stage.label:<30}  {first.stage.key[:BEGINNING]}"
        near = first.nearest
        line += f"  nearest: {near.key[:BEGINNING]}, {ago(near.created)} old" if near and first.because else ""
    else:
        line += f"{len(alike)} × {first.stage.kind}"
    yield line
    yield from (printable(f"        {reason}") for reason in first.because)
    missing = dict.fromkeys(label for answer in alike for label in answer.missing)
    if missing:
        yield f"        {'and' if first.because else 'only'} because of {', '.join(missing)}"
