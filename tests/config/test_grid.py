"""Cells of a grid have the numbers that Hydra gives them, and parts of a grid have command lines."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import pytest
from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from unlearn import config
from unlearn.config import CommandLine, Grid, preflight
from unlearn.config.grid import Axis
from unlearn.core.errors import ConfigError

config.register()
GRID = Grid(
    (Axis("train.epochs", ("2",)), Axis("strategy", ("random_k", "top_k")), Axis("seed", ("0", "1", "2"))), True
)
TYPED = ["-m", "train.epochs=2", "strategy=random_k,top_k", "seed=0,1,2"]


def checked(*overrides: str) -> tuple[Grid, Grid]:
    command = preflight(CommandLine(list(overrides), True, None))
    return command.full_grid, command.grid


def test_cells_have_the_numbers_that_hydra_gives_them() -> None:
    params = ["strategy=random_k,top_k", "strategy.k=0.001,0.01,0.1", "strategy.noise_scale=0.5,1", "seed=0,1,2"]
    typed = ["train.epochs=3", "strategy.k=0.2,0.3", "baseline.seeds=[0,1],[2]"]
    parsed = OverridesParser.create().parse_overrides([*params, *typed])
    theirs = BasicSweeper.split_arguments(parsed, None)[0]
    grid, _ = checked("+sweep=k_noise_grid", *typed)
    mine = [[word for word in cell if not word.startswith("+sweep")] for cell in grid.cells]
    assert mine == theirs
    assert len(grid) == 48


def launched(master: DictConfig, loader: ConfigLoader, overrides: Sequence[str]) -> str:
    return OmegaConf.to_yaml(loader.load_sweep_config(master, list(overrides)), sort_keys=True)


@pytest.mark.parametrize(
    "typed",
    [
        ["strategy=random_k,top_k", "strategy.k=0.01,0.1", "hydra.sweep.subdir=${hydra.job.override_dirname}"],
        pytest.param(
            ["+sweep=k_noise_grid", "strategy.noise_scale=0.5", "strategy.k=0.1,2", "seed=0", "~metrics.loss"],
            marks=pytest.mark.slow,
        ),
        ["metrics=accuracy,[accuracy,loss]", "baseline.seeds=[0,1]", "+experiment=mnist"],
    ],
)
def test_launchers_get_the_configs_that_hydra_would_compose(typed: list[str]) -> None:
    checked_command, hydras_own = preflight(CommandLine(typed, True, None)), ConfigLoaderImpl.load_sweep_config
    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        mode = ["hydra.mode=MULTIRUN"]
        master = loader.load_configuration("config", [*typed, *mode], RunMode.MULTIRUN)
        slow = {cell: launched(master, loader, cell) for cell in checked_command.full_grid.cells_by_launch_overrides}
        elsewhere = ["strategy=random_k", "strategy.k=0.3"]
        with config.launch_with(checked_command.compose):
            assert {
                cell: launched(master, loader, cell) for cell in checked_command.full_grid.cells_by_launch_overrides
            } == slow
            assert "k: 0.3" in launched(master, loader, elsewhere)
    assert ConfigLoaderImpl.load_sweep_config is hydras_own
    assert checked_command.compose(elsewhere) is None


@pytest.mark.slow
def test_a_sweep_option_equals_the_same_grid_on_the_command_line() -> None:
    whole, _ = checked(
        "strategy=random_k,top_k", "strategy.k=0.001,0.01,0.1", "strategy.noise_scale=0.5,1", "seed=0,1,2"
    )
    ready, _ = checked("+sweep=k_noise_grid")
    assert [cell[1:] for cell in sorted(ready.cells)] != []
    assert {frozenset(cell) - {"+sweep=k_noise_grid"} for cell in ready.cells} == {frozenset(c) for c in whole.cells}


@pytest.mark.parametrize("values", ["shuffle(0,1,2)", "shuffle(range(0,3))"])
def test_an_order_that_hydra_draws_again_each_time_is_refused(values: str) -> None:
    """Cell numbers would change, and the list of failed cells would name other cells."""
    with pytest.raises(ConfigError, match="seed: expected an order that repeats"):
        checked(f"seed={values}")


@pytest.mark.parametrize("count", range(1, 7))
def test_blocks_have_exactly_the_requested_cells(count: int) -> None:
    for numbers in combinations(range(6), count):
        cells = [cell for block in GRID.split_into_blocks(numbers) for cell in block.cells]
        assert sorted(cells) == sorted(GRID.cells[number] for number in numbers)


@given(st.sets(st.integers(0, 23), min_size=1))
def test_blocks_of_larger_grids_have_exactly_the_requested_cells(numbers: set[int]) -> None:
    grid = Grid(tuple(Axis(name, tuple("abcd"[:n])) for name, n in (("x", 4), ("y", 3), ("z", 2))), True)
    cells = [cell for block in grid.split_into_blocks(numbers) for cell in block.cells]
    assert sorted(cells) == sorted(grid.cells[number] for number in numbers)


def test_neighbouring_cells_share_a_block() -> None:
    assert [block.arguments(GRID, TYPED) for block in GRID.split_into_blocks([1, 2, 4, 5])] == [
        ["-m", "train.epochs=2", "strategy=random_k,top_k", "seed=1,2"]
    ]
    assert [block.arguments(GRID, TYPED) for block in GRID.split_into_blocks([0, 5])] == [
        ["-m", "train.epochs=2", "strategy=random_k", "seed=0"],
        ["-m", "train.epochs=2", "strategy=top_k", "seed=2"],
    ]


def test_a_narrowed_grid_keeps_the_axes_that_matter() -> None:
    fewer = GRID.narrow([cell[-1] for cell in GRID.cells])
    assert fewer.arguments(GRID, TYPED) == ["-m", "train.epochs=2", "seed=0,1,2", "strategy=random_k"]


def test_until_baseline_runs_one_cell_for_all_that_share_their_stages() -> None:
    shared = ("until=baseline", "strategy=random_k,top_k", "strategy.k=0.1,0.2", "metrics=accuracy,loss", "seed=0,1")
    whole, grid = checked(*shared)
    assert (len(whole), len(grid)) == (16, 2)
    assert {axis.key: axis.values for axis in grid.axes}["seed"] == ("0", "1")
    _, grid = checked(*shared, "baseline.seeds=[0],[0,1]", "spd_gan=probe,off")
    assert len(grid) == 8
