"""Reads a user's command line."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unlearn.pipeline.config import RunConfig


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
