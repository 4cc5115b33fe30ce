"""The cells of a multirun as a product of axes, and the command lines for some of these cells."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import compress, product
from typing import NamedTuple

Cell = tuple[str, ...]  # the overrides of a cell, each `key=value`
Box = tuple[tuple[str, ...], ...]  # for each axis, some of its values


class Axis(NamedTuple):
    """A key and all its values, in the order of the command line; a fixed key has one value."""

    key: str
    values: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.key}={','.join(self.values)}"


@dataclass(frozen=True)
class Grid:
    """The product of `axes`, with the last axis running fastest.

    The number of a cell is its position in the product, as in Hydra. In a search (`trials` is set), a sampler proposes
    the cells: then the axes hold what is known beforehand, and the product means nothing.
    """

    axes: tuple[Axis, ...]
    multirun: bool = False
    trials: int | None = None

    @cached_property
    def cells(self) -> list[Cell]:
        """The overrides of every cell."""
        return list(product(*([f"{axis.key}={value}" for value in axis.values] for axis in self.axes)))

    @cached_property
    def cells_by_launch_overrides(self) -> dict[Cell, Cell]:
        """Every cell by the overrides that Hydra passes to a launcher: those without Hydra's own settings."""
        passed = [not axis.key.lstrip("+~").startswith(("hydra.", "hydra/")) for axis in self.axes]
        return {tuple(compress(cell, passed)): cell for cell in self.cells}

    def varying_overrides(self, number: int) -> list[str]:
        """Return the overrides of a cell whose axis has more than one value."""
        return [word for axis, word in zip(self.axes, self.cells[number], strict=True) if len(axis.values) > 1]

    def __len__(self) -> int:
        return self.trials or len(self.cells)

    def narrow(self, marks: Sequence[Hashable]) -> Grid:
        """Fix as many axes as possible so that every mark still occurs.

        Args:
            marks: A mark for each cell of this grid, in the order of the cells.
        """
        grid, mark = self, dict(zip(self.cells, marks, strict=True))
        for number, axis in enumerate(self.axes):
            smaller = grid._with_values(number, axis.values[:1])
            if {mark[cell] for cell in smaller.cells} == set(marks):
                grid = smaller
        return grid

    def split_into_blocks(self, numbers: Collection[int]) -> Iterator[Grid]:
        """Yield grids that together have exactly the cells with these numbers.

        Cells that differ along one axis only are merged, axis by axis, so that there are few grids.
        """
        values_of_cells = list(product(*(axis.values for axis in self.axes)))
        boxes: list[Box] = [tuple((value,) for value in values_of_cells[number]) for number in sorted(numbers)]
        for position, axis in enumerate(self.axes):
            merged: dict[tuple[Box, Box], set[str]] = {}
            for box in boxes:
                merged.setdefault((box[:position], box[position + 1 :]), set()).update(box[position])
            boxes = [
                (*before, tuple(value for value in axis.values if value in values), *after)
                for (before, after), values in merged.items()
            ]
        for box in boxes:
            yield replace(self, axes=tuple(map(Axis, (axis.key for axis in self.axes), box)))

    def _with_values(self, number: int, values: tuple[str, ...]) -> Grid:
        axes = list(self.axes)
        axes[number] = axes[number]._replace(values=values)
        return replace(self, axes=tuple(axes))

    def arguments(self, full_grid: Grid, full_arguments: Sequence[str]) -> list[str]:
        """Return the command line of this grid.

        Args:
            full_grid: The grid of which this one is a part.
            full_arguments: The command line of the full grid, as the user typed it.
        """
        changed = [axis for axis, full_axis in zip(self.axes, full_grid.axes, strict=True) if axis != full_axis]
        keys = {axis.key for axis in changed}
        return [word for word in full_arguments if word.partition("=")[0] not in keys] + [str(axis) for axis in changed]
