"""Rewrites the paths of a command line, which Hydra's grammar would misread."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from unlearn.config.override_parser import PATHS, PLAIN, is_text, quote


def quote_paths(arguments: Iterable[str]) -> list[str]:
    """Quote paths that contain characters of Hydra's grammar, expand `~/`, and replace `checkpoint=FILE`.

    `checkpoint` is a group and FILE none of its options, so `checkpoint=FILE` becomes `checkpoint=file
    checkpoint.file=FILE`. The commas of a sweep stay.
    """
    key, words = "checkpoint=", list[str]()
    for argument in arguments:
        values = argument.removeprefix(key).split(",")
        if argument.startswith(key) and all(map(is_checkpoint_source, values)):
            words += ["checkpoint=file", "checkpoint.file=" + ",".join(quote(_expand_home(value)) for value in values)]
        else:
            words.append(_quote_path(argument))
    return words


def is_checkpoint_source(value: str) -> bool:
    """Whether a value is a file, a report or a key of the store, rather than an option of the group `checkpoint`.

    A file has a suffix, lies in a folder or exists; a key of the store is hexadecimal.
    """
    return bool(Path(value).suffix or "/" in value or re.fullmatch(r"[0-9a-f]{8,64}", value) or Path(value).is_file())


def _quote_path(argument: str) -> str:
    """Quote the value of an override if it is a path that Hydra would read as something else than this text."""
    key, _, value = argument.partition("=")
    if key.lstrip("+") not in PATHS or not value or value == "null":
        return argument
    value = _expand_home(value)
    if PLAIN.fullmatch(value) or is_text(f"{key}={value}"):
        return f"{key}={value}"
    return f"{key}={quote(value)}"


def _expand_home(value: str) -> str:
    """Replace a leading `~/`, which a shell does not expand after an equals sign."""
    return os.path.expanduser(value) if value.startswith("~/") else value  # noqa: PTH111  # the result is a string
