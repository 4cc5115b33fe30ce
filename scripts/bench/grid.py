"""A grid of 24 cells, strategy x k x noise scale on 10,000 images of MNIST, against every cell computed whole; and the
same command again against the first.

    MNIST=folder python scripts/bench/grid.py

Each side is what a user types, in a process of its own with an empty store; again, with what the first left there.
Whole is what a few cells take as commands of their own, times 24; their numbers, keys and unlearned weights are those
of the grid. MNIST is the folder that torchvision reads; without it images are made here, of which the note tells.

Training and unlearning are the same work on both sides, so the grid cannot win more than the limit leaves: the seconds
of training both models once and of unlearning and predicting in every cell, as its artefacts have them. Fine-tuning
after the edit is most of a cell; `edit alone` is the same grid without it. Artefacts know how long they took, not how
much of a processor they had: their seconds are multiplied by the share that the whole command had.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

import numpy as np
from startup import spent
from table import Row
from table import run as show

STRATEGIES, K, SCALES = ("top_k", "random_k"), ("0.001", "0.01", "0.05", "0.1"), ("0.5", "1", "2")
CELLS = list(product(STRATEGIES, K, SCALES))  # in the order of Hydra's numbers
WHOLE = (4, 19)  # cells that are computed whole: one of each strategy
AGAIN = 3
GOAL, AGAIN_GOAL = 12.0, 20.0
CASES: dict[str, list[str]] = {"edit and fine-tuning": [], "edit alone": ["strategy.recipe.epochs=0"]}


class Place(NamedTuple):
    """Where a command keeps its artefacts and its reports."""

    store: Path
    output: Path

    @classmethod
    def under(cls, folder: Path, name: str) -> Place:
        """Both in a folder of that name."""
        return cls(folder / name / "store", folder / name / "out")


def rows() -> Iterator[Row]:
    """The grid, and the grid again, with and without fine-tuning."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = os.environ.get("MNIST")
        data = f"dataset.root={root or made(folder / 'data')}"
        source = "MNIST" if root else "images made here"
        for number, (case, more) in enumerate(CASES.items()):
            yield from compared(folder / str(number), case, [data, *more], source)


def compared(folder: Path, case: str, told: list[str], source: str) -> Iterator[Row]:
    """Whole cells before and after the grid, by turns, so that what the machine does meanwhile meets both."""
    folder.mkdir()
    grid = Place.under(folder, "grid")
    first, *others = WHOLE
    whole = [alone(folder, told, first)]
    began = time.perf_counter()
    ours = command(["-m", *swept(), *told], grid, folder)
    limit = least(grid.store) * ours / (time.perf_counter() - began)
    whole += [alone(folder, told, number) for number in others]
    for number in WHOLE:
        check(grid, number, Place.under(folder, f"cell-{number}"))
    started = median(alone(folder, told, first) for _ in range(AGAIN))  # all is there by now
    rival = len(CELLS) * mean(whole)
    known = f"{started / mean(whole):.0%} of each is start-up and report"
    note = f"limit {rival / limit:.1f}x: training, unlearning, predicting; {source}; n: cells computed whole, {known}"
    words = "each whole", ours, rival, "s", rival / ours, GOAL
    yield Row(f"24 cells, {case}", *words, n=len(WHOLE), clock="cpu", note=note, limit=limit)
    again = median(command(["-m", *swept(), *told], grid, folder) for _ in range(AGAIN))
    words = "the first time", again, ours, "s", ours / again, AGAIN_GOAL
    note = f"{source}; {again / len(CELLS):.2f} s a cell"
    yield Row(f"24 cells again, {case}", *words, n=AGAIN, clock="cpu", note=note)


def swept() -> list[str]:
    """The axes of the grid."""
    axes = {"strategy": STRATEGIES, "strategy.mode": ["add"], "strategy.k": K, "strategy.noise_scale": SCALES}
    return [f"{key}={','.join(values)}" for key, values in axes.items()]


def alone(folder: Path, told: list[str], number: int) -> float:
    """Processor seconds of one cell as a command of its own, with what it had left there before."""
    strategy, k, scale = CELLS[number]
    cell = [f"strategy={strategy}", "strategy.mode=add", f"strategy.k={k}", f"strategy.noise_scale={scale}"]
    return command([*cell, *told], Place.under(folder, f"cell-{number}"), folder)


def command(arguments: list[str], place: Place, folder: Path) -> float:
    """Processor seconds of `python -m unlearn` with these arguments."""
    paths = [f"paths.store={place.store}", f"paths.output={place.output}"]
    return spent(["-m", "unlearn", *arguments, "+experiment=mnist", *paths], str(folder), 0)


def check(grid: Place, number: int, cell: Place) -> None:
    """A cell of the grid is the single run: equal numbers, equal keys, the same bits of the unlearned model.

    Raises:
        AssertionError: it is not.
    """
    ours, theirs = (json.loads((out / "report.json").read_text()) for out in (grid.output / str(number), cell.output))
    assert numbers(ours) == numbers(theirs), f"cell {number}: other numbers"
    mine, whole = (keys(report) for report in (ours, theirs))
    assert mine == whole, f"cell {number}: other keys"
    models = [store / "unlearn" / mine["unlearned"] / "model.safetensors" for store in (grid.store, cell.store)]
    assert models[0].read_bytes() == models[1].read_bytes(), f"cell {number}: another model"


def numbers(report: dict[str, Any]) -> dict[str, Any]:
    """All metrics that are not times."""
    return {key: value for key, value in report["metrics"].items() if not key.endswith(("/seconds", "/speedup"))}


def keys(report: dict[str, Any]) -> dict[str, str]:
    """Of the artefacts, by name."""
    return {name: part["key"] for name, part in report["artifacts"].items()}


def least(store: Path) -> float:
    """Seconds that training, unlearning and predicting took, of all that the grid built."""
    kinds = ("train", "unlearn", "predict")
    metas = (path for kind in kinds for path in (store / kind).glob("*/meta.json"))
    return sum(json.loads(path.read_text())["seconds"] for path in metas)


def made(folder: Path) -> Path:
    """Files as torchvision reads MNIST: about as dark, ten patterns of which each image lacks some and has others."""
    raw, draws = folder / "MNIST" / "raw", np.random.default_rng(0)
    raw.mkdir(parents=True)
    patterns = draws.random((10, 7, 7)) < 0.15
    for name, n in (("train", 60_000), ("t10k", 10_000)):
        labels = draws.integers(0, 10, n, dtype=np.uint8)
        blocks = patterns[labels] ^ (draws.random((n, 7, 7), dtype=np.float32) < 0.1)
        images = (blocks * draws.integers(100, 256, (n, 7, 7))).astype(np.uint8).repeat(4, 1).repeat(4, 2)
        write(raw / f"{name}-images-idx3-ubyte", images)
        write(raw / f"{name}-labels-idx1-ubyte", labels)
    return folder


def write(path: Path, values: np.ndarray) -> None:
    """An IDX file of bytes: its type, its dimensions, and their sizes, then the values."""
    head = np.array([0x0800 + values.ndim, *values.shape], ">u4")
    path.write_bytes(head.tobytes() + values.tobytes())


if __name__ == "__main__":
    show(__file__, rows())
