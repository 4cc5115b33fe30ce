"""Parses a command line as Hydra does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from unlearn.config.private_hooks import hydra_parser
from unlearn.core.errors import ConfigError, Problem


@dataclass(frozen=True)
class CommandLine:
    """The parts of a command line that Hydra reads."""

    overrides: list[str]
    multirun: bool
    config_dir: str | None

    @classmethod
    def parse(cls, arguments: list[str]) -> CommandLine:
        """Parse arguments with Hydra's own parser.

        Raises:
            ConfigError: A flag is unknown or lacks its value, `--config-dir` is given twice, or another primary config
                is named.
        """
        parser = hydra_parser()
        parser.error = _refuse_arguments  # type: ignore[method-assign]  # Hydra's would print its usage and exit
        parsed = parser.parse_args(arguments)
        for flag, value in (("--config-name", parsed.config_name), ("--config-path", parsed.config_path)):
            if value is not None:
                raise ConfigError(
                    [Problem(flag, "--config-dir=DIR with +experiment=NAME, for options of your own", value)]
                )
        folders = sum(word.startswith(("--config-d", "-cd")) for word in arguments)
        if folders > 1:
            raise ConfigError([f"--config-dir: expected one folder, got {folders}, of which only the last is read"])
        return cls(parsed.overrides, parsed.multirun, parsed.config_dir)


def _refuse_arguments(message: str) -> NoReturn:
    words = message.removeprefix("unrecognized arguments: ")
    if words == message:
        raise ConfigError([message])
    raise ConfigError([_describe_unknown_word(word) for word in words.split()])


def _describe_unknown_word(word: str) -> str:
    bare = word.lstrip("-")
    if word.startswith("-") and "=" in bare:
        return f"{word}: expected a setting without dashes: {bare}"
    return f"{word}: expected a flag of unlearn --help or --hydra-help, or key=value"
