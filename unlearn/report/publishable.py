"""What of a config, a report or an error may leave the machine."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PRIVATE = ("paths", "cluster", "hydra")  # where and on what it ran: they name people and machines, and no result
START = r"(?:file://|~[\w.-]*|[A-Za-z]:|\\)?[/\\]"  # of a path that is not relative
QUOTED = re.compile(rf"(['\"]){START}(?:[^'\"]*[/\\])?([^'\"/\\]+)\1")  # may hold blanks
ABSOLUTE = re.compile(rf"(?<![^\s='\"(\[,:]){START}(?:[^\s/\\'\",:)\]]+[/\\])*(?=[^\s/\\])")


def publishable(value: Any) -> Any:
    """Plain JSON in which no text names a place on this machine: of an absolute path its last name is kept."""
    if isinstance(value, Mapping):
        return {name: publishable(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [publishable(item) for item in value]
    return _without_places(value) if isinstance(value, str) else value


def publishable_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A run's resolved config without the groups that say only where it ran."""
    return {group: publishable(value) for group, value in config.items() if group not in PRIVATE}


def publishable_report(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report whose config and command say what was computed, and not where."""
    words = [word for word in shlex.split(report["command"]) if re.split(r"[./=]", word.lstrip("+~"))[0] not in PRIVATE]
    told: dict[str, Any] = {
        "config": publishable_config(report["config"]),
        "command": shlex.join(map(_without_places, words)),
    }
    told |= {"copies": None} if "copies" in report else {}  # names of records
    return {**publishable(report), **told}


def _without_places(text: str) -> str:
    key, equals, value = text.rpartition("=")  # a word of a command line, or a value alone
    if Path(value).is_absolute():
        return f"{key}{equals}…/{Path(value).name}"
    for place in (Path.cwd(), Path.home()):  # these may hold blanks, which end a path in running text
        text = text.replace(f"{place}/", "…/")
    return ABSOLUTE.sub("…/", QUOTED.sub(r"\1…/\2\1", text))
