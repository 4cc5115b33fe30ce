"""From a command line to typed configs. Only this package and `cli` import Hydra."""

from unlearn.config.command_line import CommandLine
from unlearn.config.environment_checks import check_surroundings
from unlearn.config.grid import Grid
from unlearn.config.interpolations import resolve
from unlearn.config.path_arguments import quote_paths
from unlearn.config.preflight import CheckedCommand, cell_configs, preflight
from unlearn.config.private_hooks import launch_with
from unlearn.config.schema import (
    CONF,
    GROUPS,
    chosen_options,
    instantiate,
    instantiate_resolved,
    register,
    run_group,
    to_plain_dict,
)
from unlearn.config.single_run import run_composed

__all__ = [
    "CONF",
    "GROUPS",
    "CheckedCommand",
    "CommandLine",
    "Grid",
    "cell_configs",
    "check_surroundings",
    "chosen_options",
    "instantiate",
    "instantiate_resolved",
    "launch_with",
    "preflight",
    "quote_paths",
    "register",
    "resolve",
    "run_composed",
    "run_group",
    "to_plain_dict",
]
