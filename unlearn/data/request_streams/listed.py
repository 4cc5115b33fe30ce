"""A stream of requests that are listed: a folder of lists, or a file with rules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unlearn.core.errors import ConfigError, DataError, Problem, first_line, nearest
from unlearn.core.plugins import find_options
from unlearn.core.validation import problems as validate
from unlearn.core.validation import runtime
from unlearn.data.request_streams.base import RequestRule, RequestStream
from unlearn.data.requests.base import Forget
from unlearn.data.requests.listed import Indices

KEY = "requests.path"
SUFFIXES = (".yaml", ".yml", ".json")
MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class ListedRequests(RequestStream):
    """Requests in a given order.

    The path is a folder with one list of records for each request, in the order of their names (2 before 10), in the
    formats of `forget.file`; or a YAML or JSON file with one entry for each request, as on the command line: `forget:
    class_wise` and its settings, `class_index: 4`. Files in it are relative to its folder.
    """

    path: str = runtime(MISSING)  # a folder of lists, or a YAML or JSON file

    def rules(self) -> tuple[RequestRule, ...]:
        path = Path(self.path)
        try:
            if path.is_dir():
                return tuple(_read_folder(path))
            if path.is_file() and path.suffix.lower() in SUFFIXES:
                return tuple(_read_file(path))
        except OSError as error:
            raise DataError(f"{KEY}: expected readable files, got {path}: {error.strerror or error}") from error
        got = "another kind of file" if path.exists() else "no such path"
        expected = "a folder with a list for each request, or a YAML or JSON file with the requests"
        raise DataError(f"{KEY}: expected {expected}, got {got}, {self.path!r}")


def _read_folder(folder: Path) -> Iterator[RequestRule]:
    files = sorted((file for file in folder.iterdir() if file.is_file() and file.name[0] != "."), key=_natural_order)
    if not files:
        raise DataError(f"{KEY}: expected a folder with a list for each request, got an empty one, {folder}")
    return (RequestRule(file.name, Indices(file=str(file))) for file in files)


def _natural_order(path: Path) -> list[tuple[int, str]]:
    """A sort key that puts `request2` before `request10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _read_file(path: Path) -> Iterator[RequestRule]:
    import yaml

    if path.stat().st_size > MAX_BYTES:
        raise DataError(f"{KEY}: expected a file of at most 1 MiB, got a larger one, {path}")
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise DataError(f"{KEY}: expected YAML or JSON in {path}, got {' '.join(str(error).split())}") from error
    if not isinstance(entries, list) or not entries:
        raise DataError(f"{KEY}: expected a list with one entry for each request in {path}, got {entries!r}")
    for number, entry in enumerate(entries, start=1):
        yield RequestRule(f"request {number}", _read_entry(entry, f"request {number} of {path.name}", path.parent))


@cache
def _kinds() -> dict[str, type]:
    """The rules that need neither the losses of a proxy model nor other labels, by name."""
    options = find_options("unlearn.data.requests", Forget)
    return {name: kind for name, kind in options.items() if not (kind.ranks or kind.relabels)}  # type: ignore[attr-defined]


def _read_entry(entry: Any, place: str, folder: Path) -> Forget:
    """Read `{"forget": NAME, SETTING: VALUE, ...}`."""
    settings = dict(entry) if isinstance(entry, dict) else {}
    name, kinds = settings.pop("forget", None), _kinds()
    if name not in kinds:
        expected = f"forget: one of {', '.join(kinds)}{nearest(str(name), kinds)}"
        raise DataError(f"{KEY}: {place}: expected {expected}, got {entry!r}")
    kind = kinds[name]
    known = [spec.name for spec in fields(kind) if spec.name != "earlier"]
    unknown = next((setting for setting in settings if setting not in known), None)
    if unknown is not None:
        expected = f"settings of forget={name}: {', '.join(known) or 'none'}"
        raise DataError(f"{KEY}: {place}: expected {expected}, got {unknown!r}")
    try:
        rule = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kind), settings))
    except OmegaConfBaseException as error:
        expected = f"values that forget={name} takes"
        raise DataError(f"{KEY}: {place}: expected {expected}, got {settings}: {first_line(error)}") from error
    assert isinstance(rule, Forget)
    if wrong := [Problem(f"{KEY}: {place}: {problem.key}", *problem[1:]) for problem in validate(rule)]:
        raise ConfigError(wrong)
    return replace(rule, file=str(folder / rule.file)) if isinstance(rule, Indices) else rule
