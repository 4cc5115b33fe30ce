"""Parses and quotes the words of a command line by Hydra's grammar."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import grammar_parser
from omegaconf.errors import OmegaConfBaseException

from unlearn.core.errors import ConfigError

PLAIN = re.compile(r"[A-Za-z_/.][A-Za-z0-9_./~-]*|(['\"]).*\1")  # Hydra reads it as is, or it is quoted already
PATHS = (
    *("paths.store", "paths.output", "paths.data", "dataset.root", "forget.file"),
    *("checkpoint.file", "report.ledger", "requests.path"),
)
KEY = re.compile(r"(?:~|\+{0,2})[A-Za-z_][\w./@-]*")
FUNCTIONS = ("choice", "range", "interval", "glob", "sort", "shuffle", "tag")  # of Hydra's grammar


def parse_overrides(words: Sequence[str], loader: ConfigLoader | None = None) -> list[Override]:
    """Parse each word as an override.

    Args:
        words: The words, as the shell passes them on.
        loader: Needed to evaluate `glob(...)`.

    Raises:
        ConfigError: Lists every word that is not an override, with quotes where they would make it one.
    """
    parser, overrides, problems = OverridesParser.create(config_loader=loader), list[Override](), list[str]()
    for word in words:
        try:
            (override,) = parser.parse_overrides([word])
        except (HydraException, ValueError, RecursionError) as error:
            problems.append(_describe_unparsable(word, error))
            continue
        if not override.key_or_group:
            problems.append(f"override: expected key=value, got {word!r}")
        elif not _has_closed_references(word):
            problems.append(_describe_unclosed(word))
        else:
            overrides.append(override)
    if problems:
        raise ConfigError(problems)
    return overrides


def is_text(word: str) -> bool:
    """Whether Hydra reads the value of an override as a string, or as the values of a sweep."""
    try:
        (override,) = OverridesParser.create().parse_overrides([word])
    except (HydraException, ValueError, RecursionError):
        return False
    return override.is_sweep_override() or isinstance(override.value(), str)


def quote(value: str) -> str:
    """Quote a value, where necessary, so that Hydra reads exactly these characters."""
    if PLAIN.fullmatch(value):
        return value
    return "'" + re.sub(r"(\\*)('|\Z)", r"\1\1\2", value).replace("'", "\\'") + "'"


def _has_closed_references(text: str) -> bool:
    """Whether OmegaConf can parse every `${`, also in words that Hydra keeps in its own settings."""
    try:
        if "${" in text:
            grammar_parser.parse(text)
    except OmegaConfBaseException:
        return False
    return True


def _describe_unclosed(word: str) -> str:
    key, _, value = word.partition("=")
    return f"{key}: expected a reference that is closed, ${{KEY}} or ${{FUNCTION:…}}, got {value!r}"


def _describe_unparsable(word: str, error: Exception) -> str:
    key, equals, value = word.partition("=")
    if not equals or not KEY.fullmatch(key):
        return f"override: expected key=value, got {word!r}"
    if re.search(r"\s[\w.+~/]+=", value):
        return f"{key}: expected one setting in a word, got {word!r}: write each without the quotes around both"
    if not _has_closed_references(word):
        return _describe_unclosed(word)
    function = re.fullmatch(r"(\w+)\(.*\)", value)
    if function and function[1] in FUNCTIONS:
        message = [line for line in str(error).splitlines() if line.strip()]
        reason = message[min(1, len(message) - 1)]
        return f"{key}: expected arguments that {function[1]} takes, got {value!r}: {reason}"
    text = f"{key}={quote(value)}"
    hint = f"; in quotes it is a text: {shlex.quote(text)}" if is_text(text) else ""
    return f"{key}: expected a value that Hydra can read, got {value!r}{hint}"
