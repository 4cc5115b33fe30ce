"""Formats the output of `unlearn-store`: tables on a terminal, aligned lines in a pipe."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from unlearn.core.terminal import escape_control
from unlearn.inventory.catalogue import BEGINNING, Catalogue, Item
from unlearn.inventory.specs import leaves, references

if TYPE_CHECKING:
    from unlearn.inventory.why import Answer

RIGHT = ("size", "age", "used", "seconds", "count")
MAX_DRAWN_ROWS = 500  # a longer table takes too long to draw
AGES = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def format_size(count: float) -> str:
    """Format a number of bytes in decimal units, as `12.3 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def format_age(then: float) -> str:
    """Format the time since `then`, in seconds since 1970, as `3 d`."""
    seconds = max(time.time() - then, 0)
    length, unit = next((age for age in AGES if seconds >= age[0]), AGES[-1])
    return f"{seconds / length:.0f} {unit}"


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]], right: Iterable[str] = ()) -> None:
    """Print a table.

    Args:
        titles: The titles of the columns.
        rows: The cells of each row.
        right: Titles of the columns to align on the right.
    """
    is_right = [title in set(right) for title in titles]
    rows = [[escape_control(cell) for cell in row] for row in rows]
    if sys.stdout.isatty() and len(rows) <= MAX_DRAWN_ROWS:
        _draw_table(titles, rows, is_right)
        return
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    for row in (titles, *rows):
        cells = [f"{c:>{w}}" if f else f"{c:<{w}}" for c, w, f in zip(row, widths, is_right, strict=True)]
        print("  ".join(cells).rstrip())


def _draw_table(titles: Sequence[str], rows: Sequence[Sequence[str]], is_right: Sequence[bool]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD)
    for title, right in zip(titles, is_right, strict=True):
        table.add_column(title, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, markup=False).print(table)


def as_json(catalogue: Catalogue, items: Sequence[Item]) -> dict[str, Any]:
    """Return artifacts and leftovers for JSON, with bytes, seconds to build, and times in seconds since 1970."""
    artifacts = [
        {"kind": item.kind, "key": item.key, "label": item.label, "bytes": item.bytes}
        | {"created": item.created, "used": item.used, "seconds": item.meta.get("seconds")}
        for item in items
    ]
    left_over = [
        {"kind": leftover.kind, "key": leftover.key, "bytes": leftover.bytes, "used": leftover.used}
        for leftover in catalogue.leftovers
    ]
    return {"artifacts": artifacts, "left_over": left_over}


def print_listing(items: Sequence[Item]) -> None:
    """Print a table of artifacts, and their totals by kind."""
    print_table(("kind", "label", "key", "size", "age", "used", "seconds"), [_row(item) for item in items], RIGHT)
    by_kind: dict[str, list[Item]] = {}
    for item in items:
        by_kind.setdefault(item.kind, []).append(item)
    totals = [[kind, str(len(group)), _format_total(group)] for kind, group in by_kind.items()]
    print()
    print_table(("kind", "count", "size"), [*totals, ["all", str(len(items)), _format_total(items)]], RIGHT)


def _row(item: Item) -> list[str]:
    seconds = f"{item.entry.seconds:.1f}" if "seconds" in item.meta else "–"
    return [
        item.kind,
        item.label,
        item.key[:BEGINNING],
        format_size(item.bytes),
        format_age(item.created),
        format_age(item.used),
        seconds,
    ]


def _format_total(items: Iterable[Item]) -> str:
    return format_size(sum(item.bytes for item in items))


def describe_artifact(catalogue: Catalogue, item: Item, gone: dict[str, str]) -> Iterator[str]:
    """Yield lines with everything that the store knows about an artifact.

    Args:
        catalogue: The store.
        item: The artifact.
        gone: How other artifacts were removed, by key.
    """
    yield f"{item.label}  {item.kind}/{item.key}"
    times = f"built {format_age(item.created)} ago in {item.entry.seconds:.1f} s, used {format_age(item.used)} ago"
    yield f"  {times}, {format_size(item.bytes)}"
    yield from _section("spec", ((place, str(value)) for place, value in leaves(item.spec)))
    yield from _section(
        "inputs", ((place, _describe_input(catalogue, key, gone)) for place, key in references(item.spec))
    )
    dependants = Counter(dependant.label for dependant in catalogue.dependants.get(item.key, []))
    yield from _section(
        "needed by", ((label, f"{count} ×" if count > 1 else "") for label, count in dependants.items())
    )
    yield from _section(
        "files", ((name, format_size(file["bytes"])) for name, file in sorted(item.meta["files"].items()))
    )
    for part in ("versions", "hardware"):
        yield from _section(part, ((name, str(value)) for name, value in (item.meta.get(part) or {}).items()))


def _describe_input(catalogue: Catalogue, key: str, gone: dict[str, str]) -> str:
    known = catalogue.items.get(key)
    where = f"is there ({known.label})" if known else gone.get(key, "") and f"removed: {gone[key]}"
    return f"{key[:BEGINNING]} {where or 'is missing'}"


def _section(title: str, pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    lines = list(pairs)
    width = max((len(name) for name, _ in lines), default=0)
    yield from ((title,) if lines else ())
    yield from (escape_control(f"  {name:<{width}}  {value}").rstrip() for name, value in lines)


def describe_answers(answers: Iterable[Answer]) -> Iterator[str]:
    """Yield the hits and misses in the order of the run.

    Predictions and measurements that are a hit or a miss for the same reason share a line.
    """
    groups: dict[tuple[object, ...], list[Answer]] = {}
    for answer in answers:
        alone = answer.stage.key if answer.stage.is_announced else bool(answer.missing)
        groups.setdefault((answer.stage.kind, answer.there, answer.because, alone), []).append(answer)
    for group in groups.values():
        yield from _describe_group(group)


def _describe_group(answers: list[Answer]) -> Iterator[str]:
    first = answers[0]
    line = f"{'hit ' if first.there else 'miss'}  "
    if len(answers) == 1:
        line += f"{first.stage.label:<30}  {first.stage.key[:BEGINNING]}"
        near = first.nearest
        line += f"  nearest: {near.key[:BEGINNING]}, {format_age(near.created)} old" if near and first.because else ""
    else:
        line += f"{len(answers)} × {first.stage.kind}"
    yield line
    yield from (escape_control(f"        {reason}") for reason in first.because)
    missing = dict.fromkeys(label for answer in answers for label in answer.missing)
    if missing:
        yield f"        {'and' if first.because else 'only'} because of {', '.join(missing)}"
