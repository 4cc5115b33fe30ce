"""A command line as Hydra reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from unlearn.core.errors import ConfigError, Problem


@dataclass(frozen=True)
class CommandLine:
    """What Hydra will be given."""

    overrides: list[str]
    multirun: bool
    config_dir: str | None

    @classmethod
    def parse(cls, arguments: list[str]) -> CommandLine:
        """From the arguments, as Hydra's own parser reads them.

        Raises:
            ConfigError: a flag that it does not know, one without its value, two folders of options, or another primary
                config than ours.
        """
        parser = get_args_parser()
        parser.error = _refused  # type: ignore[method-assign]  # it would print how to use Hydra, and exit
        found = parser.parse_args(arguments)
        for flag, got in (("--config-name", found.config_name), ("--config-path", found.config_path)):
            if got is not None:
                raise ConfigError(
                    [Problem(flag, "--config-dir=DIR with +experiment=NAME, for options of your own", got)]
                )
        folders = sum(word.startswith(("--config-d", "-cd")) for word in arguments)
        if folders > 1:
            raise ConfigError([f"--config-dir: expected one folder, got {folders}, of which only the last is read"])
        return cls(found.overrides, found.multirun, found.config_dir)


def _refused(message: str) -> NoReturn:
    words = message.removeprefix("unrecognized arguments: ")
    if words == message:
        raise ConfigError([message])
    raise ConfigError([_unknown(word) for word in words.split()])


def _unknown(word: str) -> str:
    bare = word.lstrip("-")
    if word.startswith("-") and "=" in bare:
        return f"{word}: expected a setting without dashes: {bare}"
    return f"{word}: expected a flag of unlearn --help or --hydra-help, or key=value"
