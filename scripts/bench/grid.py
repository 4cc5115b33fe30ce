"""Compares a grid of 24 cells with separate runs of all cells, and the same command again with its first run.

The grid is strategy x k x noise scale on 10,000 images of MNIST.

    MNIST=folder python scripts/bench/grid.py

Each side is a command that a user types, in a process of its own with an empty store; the second run uses the store of
the first. A few cells are run as separate commands, and their time is scaled to 24; their numbers, keys and unlearned
weights equal those of the grid. MNIST is the folder that torchvision reads; without it, this script makes images, and
the note says so.

Training and unlearning are the same work on both sides, so the limit bounds what the grid can gain: the seconds of
training both models once and of unlearning and predicting in every cell, from the artifacts. Fine-tuning after the edit
is most of a cell; `edit alone` is the same grid without it. Artifacts hold wall-clock seconds, which are multiplied by
the fraction of a processor that the whole command had.
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
SEPARATE = (4, 19)  # cells that are run as separate commands: one of each strategy
REPETITIONS = 3
GOAL, AGAIN_GOAL = 12.0, 20.0
CASES: dict[str, list[str]] = {"edit and fine-tuning": [], "edit alone": ["strategy.recipe.epochs=0"]}


class Place(NamedTuple):
    """The folders of a command for artifacts and reports."""

    store: Path
    output: Path

    @classmethod
    def under(cls, folder: Path, name: str) -> Place:
        """Return both folders below `folder/name`."""
        return cls(folder / name / "store", folder / name / "out")


def rows() -> Iterator[Row]:
    """Measure the grid and its repetition, with and without fine-tuning."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = os.environ.get("MNIST")
        data = f"dataset.root={root or make_mnist(folder / 'data')}"
        source = "MNIST" if root else "images made here"
        for number, (case, more) in enumerate(CASES.items()):
            yield from compare_grid(folder / str(number), case, [data, *more], source)


def compare_grid(folder: Path, case: str, settings: list[str], source: str) -> Iterator[Row]:
    """Measure separate cells before and after the grid, so that other load on the machine affects both."""
    folder.mkdir()
    grid = Place.under(folder, "grid")
    first, *others = SEPARATE
    whole = [alone(folder, settings, first)]
    began = time.perf_counter()
    ours = command(["-m", *swept(), *settings], grid, folder)
    limit = work_seconds(grid.store) * ours / (time.perf_counter() - began)
    whole += [alone(folder, settings, number) for number in others]
    for number in SEPARATE:
        check(grid, number, Place.under(folder, f"cell-{number}"))
    started = median(alone(folder, settings, first) for _ in range(REPETITIONS))  # all is there by now
    rival = len(CELLS) * mean(whole)
    known = f"{started / mean(whole):.0%} of each is start-up and report"
    note = f"limit {rival / limit:.1f}x: training, unlearning, predicting; {source}; n: cells computed whole, {known}"
    words = "each whole", ours, rival, "s", rival / ours, GOAL
    yield Row(f"24 cells, {case}", *words, n=len(SEPARATE), clock="cpu", note=note, limit=limit)
    again = median(command(["-m", *swept(), *settings], grid, folder) for _ in range(REPETITIONS))
    words = "the first time", again, ours, "s", ours / again, AGAIN_GOAL
    note = f"{source}; {again / len(CELLS):.2f} s a cell"
    yield Row(f"24 cells again, {case}", *words, n=REPETITIONS, clock="cpu", note=note)


def swept() -> list[str]:
    """Return the overrides for the axes of the grid."""
    axes = {"strategy": STRATEGIES, "strategy.mode": ["add"], "strategy.k": K, "strategy.noise_scale": SCALES}
    return [f"{key}={','.join(values)}" for key, values in axes.items()]


def alone(folder: Path, settings: list[str], number: int) -> float:
    """Run one cell as a separate command, with its store of earlier calls; returns processor seconds."""
    strategy, k, scale = CELLS[number]
    cell = [f"strategy={strategy}", "strategy.mode=add", f"strategy.k={k}", f"strategy.noise_scale={scale}"]
    return command([*cell, *settings], Place.under(folder, f"cell-{number}"), folder)


def command(arguments: list[str], place: Place, folder: Path) -> float:
    """Run `python -m unlearn` with these arguments; returns processor seconds."""
    paths = [f"paths.store={place.store}", f"paths.output={place.output}"]
    return spent(["-m", "unlearn", *arguments, "+experiment=mnist", *paths], str(folder), 0)


def check(grid: Place, number: int, cell: Place) -> None:
    """Check that a cell of the grid equals the single run in numbers, keys and the bits of the unlearned model.

    Raises:
        AssertionError: It does not.
    """
    ours, theirs = (json.loads((out / "report.json").read_text()) for out in (grid.output / str(number), cell.output))
    assert numbers(ours) == numbers(theirs), f"cell {number}: other numbers"
    mine, whole = (keys(report) for report in (ours, theirs))
    assert mine == whole, f"cell {number}: other keys"
    models = [store / "unlearn" / mine["unlearned"] / "model.safetensors" for store in (grid.store, cell.store)]
    assert models[0].read_bytes() == models[1].read_bytes(), f"cell {number}: another model"


def numbers(report: dict[str, Any]) -> dict[str, Any]:
    """Return all metrics except times."""
    return {key: value for key, value in report["metrics"].items() if not key.endswith(("/seconds", "/speedup"))}


def keys(report: dict[str, Any]) -> dict[str, str]:
    """Return the keys of the artifacts by name."""
    return {name: part["key"] for name, part in report["artifacts"].items()}


def work_seconds(store: Path) -> float:
    """Return the seconds that the grid spent on training, unlearning and predicting."""
    kinds = ("train", "unlearn", "predict")
    metas = (path for kind in kinds for path in (store / kind).glob("*/meta.json"))
    return sum(json.loads(path.read_text())["seconds"] for path in metas)


def make_mnist(folder: Path) -> Path:
    """Write files in the format of MNIST: ten patterns with random changes, about as dark as MNIST."""
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
    """Write an IDX file of bytes: its type, its dimensions and their sizes, then the values."""
    head = np.array([0x0800 + values.ndim, *values.shape], ">u4")
    path.write_bytes(head.tobytes() + values.tobytes())


if __name__ == "__main__":
    show(__file__, rows())
