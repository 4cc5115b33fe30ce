"""Remove private information from configs, reports and errors before they are sent to a tracking server."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from unlearn.core.errors import DivergenceError, first_line

PRIVATE = ("paths", "cluster", "hydra")  # config groups that name folders, users and machines, but affect no result
# Keys with the path of a list of records, or with several.
LISTS = (("forget", "file"), ("forget", "earlier"), ("checkpoint", "trained_on"), ("requests", "path"))
CLASSES = (("forget", "class_index"), ("forget", "subclass"))  # keys with the name of a class
WITHHELD = "(withheld)"
PATH_START = r"(?:file://|~[\w.-]*|[A-Za-z]:|\\)?[/\\]"  # of a path that is not relative
QUOTED = re.compile(rf"(['\"]){PATH_START}(?:[^'\"]*[/\\])?([^'\"/\\]+)\1")  # may contain spaces
ABSOLUTE = re.compile(rf"(?<![^\s='\"(\[,:]){PATH_START}(?:[^\s/\\'\",:)\]]+[/\\])*(?=[^\s/\\])")


def publishable(value: Any) -> Any:
    """Return plain JSON without folders of this machine: of an absolute path only the last part is kept."""
    if isinstance(value, Mapping):
        return {name: publishable(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [publishable(item) for item in value]
    return _without_folders(value) if isinstance(value, str) else value


def publishable_config(config: Mapping[str, Any], lists: bool = False) -> dict[str, Any]:
    """Return a resolved config without private groups and folders.

    Args:
        config: the config.
        lists: whether to keep the paths of files that list records.
    """
    public = {group: publishable(value) for group, value in config.items() if group not in PRIVATE}
    for group, name in () if lists else LISTS:
        value = public[group].get(name) if isinstance(public.get(group), dict) else None
        if _is_path(value) or (isinstance(value, list) and value):
            public[group] = public[group] | {name: WITHHELD}
    return public


def publishable_report(report: Mapping[str, Any], lists: bool = False) -> dict[str, Any]:
    """Return a report with a publishable config and command; `lists` as for `publishable_config`."""
    words = [word for word in shlex.split(report["command"]) if re.split(r"[./=]", word.lstrip("+~"))[0] not in PRIVATE]
    words = [word if lists else _without_list(word) for word in map(_without_folders, words)]
    copies = {"copies": None} if "copies" in report else {}  # they name records
    config = publishable_config(report["config"], lists)
    files = {name: None for name in ("weights", "audit") if name in report}  # they stay on this machine
    public = {**publishable(report), "config": config, "command": shlex.join(words), **copies, **files}
    if "request" in public and not lists:
        public["request"] = public["request"] | {"file": None}
    return public


def publishable_error(error: BaseException, records: bool | None, public: bool) -> str:
    """Return the first line of an error, or its type and config key if the message may name a record.

    The message of a divergence never names a record.

    Args:
        error: the error.
        records: `logger.records`, whether names of records may be sent; None: those of public data sets.
        public: whether the data set is public.
    """
    line = first_line(error)
    key = re.match(r"[a-z_]+(\.[a-z_]+)*(?=: expected)", line)
    is_about_list = key is not None and tuple(key[0].split(".")) in LISTS
    may_show = records or (public and records is None and not is_about_list)
    if may_show or isinstance(error, DivergenceError):
        return str(publishable(line))
    return type(error).__name__ + (f": {key[0]}" if key else "")


def without_records(value: Any, names: Collection[str]) -> Any:
    """Return plain JSON without the paths `names` of records, and without their last parts."""
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
    """Return a report without names of classes in config, command and notes; numbers of classes stay.

    Args:
        report: the result of `publishable_report`, or a part of it.
        names: names of classes and subclasses; a folder of images may be named after a person.
    """
    public = dict(report)
    if "config" in public:
        public["config"] = config_without_classes(public["config"], names)
    if "command" in public:
        words = shlex.split(public["command"])
        public["command"] = shlex.join(_without_class(word, names) for word in words)
    if "classes" in public:
        public["classes"] = []
    if "notes" in public:
        with_letters = sorted((name for name in names if re.search(r"[^\W\d_]", name)), key=len, reverse=True)
        if with_letters:
            any_name = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, with_letters))})(?!\w)")
            public["notes"] = {key: any_name.sub(WITHHELD, note) for key, note in public["notes"].items()}
    return public


def config_without_classes(config: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Return a config without names of classes."""
    public = dict(config)
    for group, name in CLASSES:
        settings = public.get(group)
        if isinstance(settings, Mapping) and str(settings.get(name)) in names:
            public[group] = {**settings, name: WITHHELD}
    return public


def _without_class(word: str, names: Collection[str]) -> str:
    key, _, value = word.partition("=")
    is_class = tuple(key.lstrip("+~").split(".")) in CLASSES and any(
        part.strip("'\" ") in names for part in value.split(",")
    )
    return f"{key}={WITHHELD}" if is_class else word


def _is_path(value: object) -> bool:
    return isinstance(value, str) and not re.fullmatch(r"\w*", value)


def _without_list(word: str) -> str:
    key, _, value = word.partition("=")
    return f"{key}={WITHHELD}" if tuple(key.lstrip("+~").split(".")) in LISTS and _is_path(value) else word


def _without_folders(text: str) -> str:
    key, equals, value = text.rpartition("=")  # an override `key=value`, or a value alone
    if Path(value).is_absolute():
        return f"{key}{equals}…/{Path(value).name}"
    for folder in (Path.cwd(), Path.home()):  # these may contain spaces, at which ABSOLUTE would stop
        text = text.replace(f"{folder}/", "…/")
    return ABSOLUTE.sub("…/", QUOTED.sub(r"\1…/\2\1", text))
