"""What of a config, a report or an error may leave the machine."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from unlearn.core.errors import DivergenceError, first_line

PRIVATE = ("paths", "cluster", "hydra")  # where and on what it ran: they name people and machines, and no result
LISTS = (("forget", "file"), ("checkpoint", "trained_on"))  # keys of files that list records
CLASSES = (("forget", "class_index"), ("forget", "subclass"))  # keys that hold names of classes
WITHHELD = "(withheld)"
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


def publishable_config(config: Mapping[str, Any], lists: bool = False) -> dict[str, Any]:
    """A run's resolved config without the groups that say only where it ran; `lists`: with the paths of the files that
    list records."""
    told = {group: publishable(value) for group, value in config.items() if group not in PRIVATE}
    for group, name in () if lists else LISTS:
        if isinstance(told.get(group), dict) and _names_a_file(told[group].get(name)):
            told[group] = told[group] | {name: WITHHELD}
    return told


def publishable_report(report: Mapping[str, Any], lists: bool = False) -> dict[str, Any]:
    """A report whose config and command say what was computed, and not where; `lists` as above."""
    words = [word for word in shlex.split(report["command"]) if re.split(r"[./=]", word.lstrip("+~"))[0] not in PRIVATE]
    shown = [word if lists else _without_list(word) for word in map(_without_places, words)]
    copies = {"copies": None} if "copies" in report else {}  # names of records
    config = publishable_config(report["config"], lists)
    return {**publishable(report), "config": config, "command": shlex.join(shown), **copies}


def publishable_error(error: BaseException, records: bool | None, public: bool) -> str:
    """What may be said of a failure: its first line, or its kind and the key that it speaks of.

    Only a divergence never names a record. `records` and `public` as `logger.records` and the data set say.
    """
    line = first_line(error)
    key = re.match(r"[a-z_]+(\.[a-z_]+)*(?=: expected)", line)
    about_a_list = key is not None and tuple(key[0].split(".")) in LISTS
    shown = records or (public and records is None and not about_a_list)
    if shown or isinstance(error, DivergenceError):
        return str(publishable(line))
    return type(error).__name__ + (f": {key[0]}" if key else "")


def without_records(value: Any, names: Collection[str]) -> Any:
    """Plain JSON in which no text holds one of the paths `names`, or the last part of one."""
    if not names:
        return value
    if isinstance(value, Mapping):
        return {name: without_records(item, names) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_records(item, names) for item in value]
    suffixes = {PurePosixPath(name).suffix for name in names}
    if not isinstance(value, str) or not any(suffix in value for suffix in suffixes):
        return value
    for name in sorted(names, key=len, reverse=True):
        for part in (name, name.rpartition("/")[2]):
            value = value.replace(part, WITHHELD)
    return value


def without_classes(report: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """A report whose config, command and notes hold none of the names of classes; numbers of classes stay.

    Args:
        report: as `publishable_report` gives it, or the part of it that is there.
        names: of classes and subclasses; a folder of images may be named after a person.
    """
    told = dict(report)
    if "config" in told:
        told["config"] = config_without_classes(told["config"], names)
    if "command" in told:
        words = shlex.split(told["command"])
        told["command"] = shlex.join(_without_class(word, names) for word in words)
    if "notes" in told:
        spelled = sorted((name for name in names if re.search(r"[^\W\d_]", name)), key=len, reverse=True)
        if spelled:
            any_name = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, spelled))})(?!\w)")
            told["notes"] = {key: any_name.sub(WITHHELD, note) for key, note in told["notes"].items()}
    return told


def config_without_classes(config: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """A run's config in which no setting is the name of a class."""
    told = dict(config)
    for group, name in CLASSES:
        settings = told.get(group)
        if isinstance(settings, Mapping) and str(settings.get(name)) in names:
            told[group] = {**settings, name: WITHHELD}
    return told


def _without_class(word: str, names: Collection[str]) -> str:
    key, _, value = word.partition("=")
    is_class = tuple(key.lstrip("+~").split(".")) in CLASSES and any(
        part.strip("'\" ") in names for part in value.split(",")
    )
    return f"{key}={WITHHELD}" if is_class else word


def _names_a_file(value: object) -> bool:
    return isinstance(value, str) and not re.fullmatch(r"\w*", value)


def _without_list(word: str) -> str:
    key, _, value = word.partition("=")
    return f"{key}={WITHHELD}" if tuple(key.lstrip("+~").split(".")) in LISTS and _names_a_file(value) else word


def _without_places(text: str) -> str:
    key, equals, value = text.rpartition("=")  # a word of a command line, or a value alone
    if Path(value).is_absolute():
        return f"{key}{equals}…/{Path(value).name}"
    for place in (Path.cwd(), Path.home()):  # these may hold blanks, which end a path in running text
        text = text.replace(f"{place}/", "…/")
    return ABSOLUTE.sub("…/", QUOTED.sub(r"\1…/\2\1", text))
