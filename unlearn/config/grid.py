"""The cells of a multirun as a product of axes, and the command lines that name some of them."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import compress, product
from typing import NamedTuple

Cell = tuple[str, ...]  # its overrides, `key=value` each
Box = tuple[tuple[str, ...], ...]  # some values of each axis


class Axis(NamedTuple):
    """One key and all its values, in the order of the command line; a fixed key has one value."""

    key: str
    values: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.key}={','.join(self.values)}"


@dataclass(frozen=True)
class Grid:
    """The product of `axes`, the last one running fastest; a cell's number is its place in it, as it is Hydra's.

    A sampler of its own (`trials`) proposes cells instead: the axes then hold what can be known beforehand, and stand
    in no product.
    """

    axes: tuple[Axis, ...]
    multirun: bool = False
    trials: int | None = None

    @cached_property
    def cells(self) -> list[Cell]:
        """The overrides of every cell."""
        return list(product(*([f"{axis.key}={value}" for value in axis.values] for axis in self.axes)))

    @cached_property
    def launched(self) -> dict[Cell, Cell]:
        """Every cell by the overrides that Hydra's launchers are given: those that speak to Hydra itself are not."""
        mine = [not axis.key.lstrip("+~").startswith(("hydra.", "hydra/")) for axis in self.axes]
        return {tuple(compress(cell, mine)): cell for cell in self.cells}

    def varied(self, number: int) -> list[str]:
        """The overrides of a cell that not all cells have."""
        return [word for axis, word in zip(self.axes, self.cells[number], strict=True) if len(axis.values) > 1]

    def __len__(self) -> int:
        return self.trials or len(self.cells)

    def narrowed(self, marks: Sequence[Hashable]) -> Grid:
        """The smallest grid, axis by axis, in which every one of the cells' `marks` still has a cell."""
        grid, mark = self, dict(zip(self.cells, marks, strict=True))
        for number, axis in enumerate(self.axes):
            fewer = grid._with(number, axis.values[:1])
            if {mark[cell] for cell in fewer.cells} == set(marks):
                grid = fewer
        return grid

    def blocks(self, numbers: Collection[int]) -> Iterator[Grid]:
        """Grids that together have exactly the cells of these numbers: cells merged along one axis after the other."""
        every = list(product(*(axis.values for axis in self.axes)))
        boxes: list[Box] = [tuple((value,) for value in every[number]) for number in sorted(numbers)]
        for place, axis in enumerate(self.axes):
            together: dict[tuple[Box, Box], set[str]] = {}
            for box in boxes:
                together.setdefault((box[:place], box[place + 1 :]), set()).update(box[place])
            boxes = [
                (*before, tuple(value for value in axis.values if value in found), *after)
                for (before, after), found in together.items()
            ]
        for box in boxes:
            yield replace(self, axes=tuple(map(Axis, (axis.key for axis in self.axes), box)))

    def _with(self, number: int, values: tuple[str, ...]) -> Grid:
        axes = list(self.axes)
        axes[number] = axes[number]._replace(values=values)
        return replace(self, axes=tuple(axes))

    def arguments(self, whole: Grid, typed: Sequence[str]) -> list[str]:
        """The command line of this part of a `whole` grid, from the one that was `typed` for that."""
        changed = [mine for mine, axis in zip(self.axes, whole.axes, strict=True) if mine != axis]
        keys = {axis.key for axis in changed}
        return [word for word in typed if word.partition("=")[0] not in keys] + [str(axis) for axis in changed]
