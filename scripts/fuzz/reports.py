"""Damage reports, notes of jobs and lists of records: each must be read, or refused with a message.

    python scripts/fuzz/reports.py --cases 500 --seed 0

A valid file is changed in one to three places: a value of JSON is replaced, removed or nested, or bytes are flipped,
cut or repeated. Exit status 1: a case ended in another error or a hang.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import io
import json
import random
import runpy
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from outcome import outcome

from unlearn.data.requests.records.read import read_records
from unlearn.report.sweep.summary import summarise

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 20  # of a case
VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        0,
        -1,
        1e308,
        10**400,
        float("nan"),
        float("inf"),
        "",
        "x",
        "\x1b[2J",
        "<script>",
        "../../x",
        "\ud800",
    ),
    *([], [1], [[]], [None], {}, {"": 1}, {"value": "x"}, "9" * 5000, "a|b](c)`", "[/bold]"),
)


def replaced(tree: Any, draw: random.Random) -> Any:
    """Copy JSON with one value, at any depth, replaced, removed, or deeply nested."""
    made = copy.deepcopy(tree)
    node, parent, name = made, None, None
    while isinstance(node, dict | list) and node and (parent is None or draw.random() < 0.75):
        parent, name = node, draw.choice(list(node) if isinstance(node, dict) else range(len(node)))
        node = node[name]
    if parent is None:
        return draw.choice(VALUES)
    what = draw.random()
    if what < 0.2:
        del parent[name]
    elif what < 0.25:
        parent[name] = json.loads("[" * 200 + "]" * 200)
    else:
        parent[name] = draw.choice(VALUES)
    return made


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Flip, cut, repeat or insert bytes."""
    if not content:
        return b"\x00"
    start = draw.randrange(len(content))
    end = min(len(content), start + draw.randrange(1, 20))
    return draw.choice(
        (
            content[:start],
            content[:start] + bytes(draw.randrange(256) for _ in range(end - start)) + content[end:],
            content[:end] + content[start:],
            content[:start]
            + draw.choice((b'"', b"\x00", b"\xff\xfe", b"[" * 5000, b"\n\n", b",", b"{"))
            + content[start:],
        )
    )


def forged_report(draw: random.Random, folder: Path) -> Callable[[], object]:
    """Run `unlearn-report` over two runs, one of them with a damaged report or note."""
    make = runpy.run_path(str(ROOT / "tests" / "report" / "reports.py"))["report"]
    note = {"schema_version": 1, "number": 0, "overrides": ["seed=0"], "state": draw.choice(("done", "failed"))}
    note |= {"cause": "x", "built": 1, "reused": 0, "seconds": 1.0}
    trees = [make(seed=0, k=0.1), make(seed=1, k=0.1), note]
    victim = draw.choice((0, 0, 0, 1, 2))
    for _ in range(draw.randrange(1, 4)):
        trees[victim] = replaced(trees[victim], draw)
    contents = [json.dumps(tree).encode() for tree in trees]
    if draw.random() < 0.3:
        contents[victim] = damaged(contents[victim], draw)
    for name, content in zip(("0/report.json", "1/report.json", "2/cell.json"), contents, strict=True):
        (folder / name).parent.mkdir()
        (folder / name).write_bytes(content)
    return partial(summarise, [folder], folder / "into", io.StringIO())


def forged_list(draw: random.Random, folder: Path) -> Callable[[], object]:
    """Make a list of records in one of the formats."""
    suffix = draw.choice((".txt", ".csv", ".tsv", ".json", ".jsonl", ".npy", ".pt", ".csv.gz"))
    content = _list(suffix.removesuffix(".gz"))
    for _ in range(draw.randrange(1, 4)):
        content = damaged(content, draw)
    path = folder / f"request{suffix}"
    path.write_bytes(gzip.compress(content) if suffix.endswith(".gz") and draw.random() < 0.5 else content)
    return partial(read_records, path, "forget.file")


def _list(suffix: str) -> bytes:
    names = [f"train/cat/{number:04d}.png" for number in range(5)]
    buffer = io.BytesIO()
    if suffix == ".npy":
        np.save(buffer, np.arange(5))
    elif suffix == ".pt":
        torch.save(torch.arange(5), buffer)
    texts = {
        ".txt": "\n".join(names),
        ".csv": "index,file\n" + "\n".join(f"{number},{name}" for number, name in enumerate(names)),
        ".tsv": "index\tfile\n" + "\n".join(f"{number}\t{name}" for number, name in enumerate(names)),
        ".json": json.dumps({"files": names}),
        ".jsonl": "\n".join(json.dumps({"file": name}) for name in names),
    }
    return texts[suffix].encode() if suffix in texts else buffer.getvalue()


def outcomes(cases: int, seed: int) -> Iterator[str]:
    """Yield the failure of each case; empty if it was read, or refused with a message."""
    for number in range(cases):
        draw = random.Random(f"{seed} {number}")
        make = draw.choice((forged_report, forged_report, forged_list))
        with tempfile.TemporaryDirectory() as folder:
            read = make(draw, Path(folder))
            wrong = outcome(read, SECONDS)
        yield f"case {number} ({make.__name__}): {wrong}" if wrong else ""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    offenders = [wrong for wrong in outcomes(arguments.cases, arguments.seed) if wrong]
    print(*offenders, sep="\n", end="\n" * bool(offenders))
    print(f"reports and lists: {arguments.cases} cases, {len(offenders)} offenders (seed {arguments.seed})")
    sys.exit(bool(offenders))


if __name__ == "__main__":
    main()
