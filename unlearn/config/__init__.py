"""Between Hydra and the pipeline; with cli/ the only place that imports Hydra."""

from unlearn.config.command_line import CommandLine
from unlearn.config.grid import Grid
from unlearn.config.launched import handed_over
from unlearn.config.preflight import cells, preflight
from unlearn.config.schema import CONF, GROUPS, choices, group, instantiate, plain, register
from unlearn.config.single import run_composed
from unlearn.config.surroundings import check_surroundings

__all__ = [
    "CONF",
    "GROUPS",
    "CommandLine",
    "Grid",
    "cells",
    "check_surroundings",
    "choices",
    "group",
    "handed_over",
    "instantiate",
    "plain",
    "preflight",
    "register",
    "run_composed",
]
