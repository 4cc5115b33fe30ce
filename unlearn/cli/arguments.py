"""Reads a user's command line."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unlearn.pipeline.config import RunConfig

Command = Callable[[Namespace, list[str]], int]  # gets the parsed options and the overrides; returns the exit status


def move_flags_first(arguments: list[str]) -> list[str]:
    """Move flags to the front, so that `-m` and `--config-dir` may stand anywhere.

    Hydra's parser takes no overrides on both sides of a flag.
    """
    flags, words, rest = list[str](), list[str](), iter(arguments)
    for word in rest:
        if word in {"--config-dir", "-cd", "--cfg", "-c"}:
            flags += [word, *islice(rest, 1)]
        elif word in {"-m", "--multirun"} or word.startswith("--config-dir="):
            flags.append(word)
        else:
            words.append(word)
    return flags + words


def read_configs(overrides: Sequence[str]) -> list[RunConfig]:
    """Return the config of every cell that the overrides describe, after the checks of `unlearn`.

    Raises:
        ConfigError: With all problems of all cells.
    """
    from unlearn import config

    config.register()
    return config.cell_configs(config.CommandLine.parse(config.quote_paths(overrides)))


def add_commands(parser: ArgumentParser, flag: str, **option: Any) -> Callable[[str, Command, str], ArgumentParser]:
    """Give a parser commands, and an option that may stand before or after the name of a command.

    Args:
        parser: the parser.
        flag: the option, such as `--store`.
        option: its settings, as for `add_argument`.

    Returns:
        A function that adds a command, from its name, the function that runs it, and its help.
    """
    parser.add_argument(flag, **option)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, run: Command, help: str) -> ArgumentParser:
        subparser = commands.add_parser(name, help=help, description=help, allow_abbrev=False)
        subparser.add_argument(flag, default=SUPPRESS, **option)
        subparser.set_defaults(run=run)
        return subparser

    return add
