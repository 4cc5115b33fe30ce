"""The words of a command line, as Hydra reads each of them."""

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

PLAIN = re.compile(r"[A-Za-z_/.][A-Za-z0-9_./~-]*|(['\"]).*\1")  # means itself, or is quoted already
PATHS = (
    *("paths.store", "paths.output", "paths.data", "dataset.root", "forget.file"),
    *("checkpoint.file", "checkpoint.forgotten"),
)
KEY = re.compile(r"(?:~|\+{0,2})[A-Za-z_][\w./@-]*")


def parse(words: Sequence[str], loader: ConfigLoader | None = None) -> list[Override]:
    """Each word as an override.

    Raises:
        ConfigError: naming every word that is none, with the quotes that would make it one.
    """
    parser, found, wrong = OverridesParser.create(config_loader=loader), list[Override](), list[str]()
    for word in words:
        try:
            (override,) = parser.parse_overrides([word])
        except (HydraException, ValueError, RecursionError) as error:
            wrong.append(_unreadable(word, error))
            continue
        if not override.key_or_group:
            wrong.append(f"override: expected key=value, got {word!r}")
        elif not _closed(word):
            wrong.append(_open(word))
        else:
            found.append(override)
    if wrong:
        raise ConfigError(wrong)
    return found


def is_text(word: str) -> bool:
    """Whether Hydra reads the value as a text, or as the values of a sweep."""
    try:
        (override,) = OverridesParser.create().parse_overrides([word])
    except (HydraException, ValueError, RecursionError):
        return False
    return override.is_sweep_override() or isinstance(override.value(), str)


def quoted(value: str) -> str:
    """A value as Hydra must read it to get those characters."""
    if PLAIN.fullmatch(value):
        return value
    return "'" + re.sub(r"(\\*)('|\Z)", r"\1\1\2", value).replace("'", "\\'") + "'"


def _closed(text: str) -> bool:
    """Whether OmegaConf can read every `${` in it: of values as of words, which Hydra keeps in its own settings."""
    try:
        if "${" in text:
            grammar_parser.parse(text)
    except OmegaConfBaseException:
        return False
    return True


def _open(word: str) -> str:
    key, _, value = word.partition("=")
    return f"{key}: expected a reference that is closed, ${{KEY}} or ${{FUNCTION:…}}, got {value!r}"


def _unreadable(word: str, error: Exception) -> str:
    key, equals, value = word.partition("=")
    if not equals or not KEY.fullmatch(key):
        return f"override: expected key=value, got {word!r}"
    if re.search(r"\s[\w.+~/]+=", value):
        return f"{key}: expected one setting in a word, got {word!r}: write each without the quotes around both"
    if not _closed(word):
        return _open(word)
    function = re.fullmatch(r"(\w+)\(.*\)", value)
    if function and function[1] in ("choice", "range", "interval", "glob", "sort", "shuffle", "tag"):
        said = [line for line in str(error).splitlines() if line.strip()]
        return f"{key}: expected arguments that {function[1]} takes, got {value!r}: {said[min(1, len(said) - 1)]}"
    text = f"{key}={quoted(value)}"
    hint = f"; in quotes it is a text: {shlex.quote(text)}" if is_text(text) else ""
    return f"{key}: expected a value that Hydra can read, got {value!r}{hint}"
