"""Writes into every option's file in `conf/` what the option is and what its settings mean: `make conf`."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from unlearn.cli.help import option_files
from unlearn.cli.option_help import MEASURES, Option, Setting, insert_block
from unlearn.config import CONF, GROUPS
from unlearn.core.plugins import find_option
from unlearn.pipeline.config import RunConfig

SCHEMA = re.compile(r"/?schema/(?P<name>[^@]+)@(?P<package>.+)")  # an entry of a defaults list
COMMENT = re.compile(r"  # (?!noqa|type:)(.*)$")
TYPES = {"bool": "true or false", "int": "an integer", "float": "a number", "str": "text", "None": "null"}
TYPES |= {
    "list[str]": "a list of texts",
    "list[int]": "a list of integers",
    "list[float]": "a list of numbers",
    "list[Any]": "a list",
}


@dataclass(frozen=True)
class Departures:
    """The class behind an option's file, and what the file and those that it names say otherwise.

    Args:
        kind: the class; None if no schema is named, as in lists of metrics.
        values: values by the names of fields.
        choices: options of subgroups by the names of fields, as `{"selection": "top_k"}`.
    """

    kind: type | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    choices: Mapping[str, str] = field(default_factory=dict)


def read_departures(group: str, path: Path) -> Departures:
    """Read an option's file and the options of the same group that its defaults list names."""
    text = path.read_text(encoding="utf-8")
    content = yaml.safe_load(text) or {}
    kind, values, choices, package = None, dict[str, Any](), dict[str, str](), "_here_"
    for entry in content.pop("defaults", []) if isinstance(content, dict) else []:
        if isinstance(entry, dict):
            choices |= {name: option for name, option in entry.items() if "/" not in name}
        elif match := SCHEMA.fullmatch(entry):
            schema_group, _, option = match["name"].rpartition("/")
            package = match["package"]
            kind = find_option(*GROUPS[schema_group], option)
        elif (path.parent / f"{entry}.yaml").is_file() and group not in MEASURES:
            base = read_departures(group, path.parent / f"{entry}.yaml")
            kind, values, choices = base.kind, {**base.values}, {**base.choices}
    own = content if package == "_here_" else content.get(package, {})
    return Departures(kind, values | own, choices)


def describe(group: str, name: str, departures: Departures) -> Option:
    """Describe an option by its class and its file."""
    kind = departures.kind
    assert kind is not None
    summary = " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())
    return Option(group, name, summary, tuple(_settings(kind, departures)))


def _settings(kind: type, departures: Departures, prefix: str = "") -> Iterator[Setting]:
    for spec in _in_reading_order(kind):
        meaning = find_comment(kind, spec.name)
        default = _default(spec)
        given = departures.values.get(spec.name, default)
        if spec.name in departures.choices:
            group = f"strategy/{spec.name}"
            names = ", ".join(option for of, option, _ in option_files(CONF) if of == group)
            yield Setting(prefix + spec.name, departures.choices[spec.name], meaning, f"{group}={{{names}}}")
            if given is not default:
                yield from _only(given, _settings(type(default), Departures(values=given), f"{prefix}{spec.name}."))
        elif is_dataclass(default):
            values = {f.name: getattr(default, f.name) for f in fields(default)}
            values |= {} if given is default else given
            yield from _settings(type(default), Departures(values=values), f"{prefix}{spec.name}.")
        else:
            yield Setting(prefix + spec.name, _as_yaml(given), meaning, _expected(spec))


def _in_reading_order(kind: type) -> list[Field[Any]]:
    """Return the fields without those that hold a group: the class's own first, and nested settings last."""
    depths = {  # of the class nearest to `kind` that declares the field
        name: depth for depth, base in reversed([*enumerate(kind.__mro__)]) for name in inspect.get_annotations(base)
    }
    own = [spec for spec in fields(kind) if kind is not RunConfig or spec.name not in GROUPS]
    return sorted(own, key=lambda spec: (is_dataclass(_default(spec)), depths[spec.name]))


def _only(names: Iterable[str], settings: Iterable[Setting]) -> list[Setting]:
    return [setting for setting in settings if setting.name.rpartition(".")[2] in names]


def _default(spec: Field[Any]) -> Any:
    if spec.default_factory is not MISSING:
        return spec.default_factory()
    return "???" if spec.default is MISSING else spec.default


def _as_yaml(value: Any) -> str:
    if isinstance(value, str) and value.startswith(("${", "???")):
        return value
    text: str = yaml.safe_dump(value, default_flow_style=True, width=1000)
    return text.removesuffix("\n").removesuffix("\n...")


def _expected(spec: Field[Any]) -> str:
    """Return the valid values in words: those of the field's check, else its type."""
    types = str(spec.type).split(" | ")
    if check := spec.metadata.get("check"):
        return check.expected + ", or null" * ("None" in types)
    words = [TYPES.get(name, "a mapping" if name.startswith("dict") else name) for name in types]
    return " or ".join(words) if "bool" not in types else "true, false or null" if "None" in types else TYPES["bool"]


def find_comment(kind: type, name: str) -> str:
    """Return the comment behind a field or above it, in the class or the nearest base that has one; else nothing."""
    comments = (_comments(base).get(name, "") for base in kind.__mro__ if is_dataclass(base))
    return next(filter(None, comments), "")


@cache
def _comments(kind: type) -> dict[str, str]:
    """Return the comments of the fields that a class declares itself."""
    lines = inspect.getsource(kind).splitlines()
    (tree,) = ast.parse("\n".join(lines)).body
    assert isinstance(tree, ast.ClassDef)
    declared = [node for node in tree.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]
    return {node.target.id: _comment_of(node, lines) for node in declared}  # type: ignore[union-attr]


def _comment_of(node: ast.AnnAssign, lines: list[str]) -> str:
    for line in reversed(lines[node.lineno - 1 : node.end_lineno]):
        if match := COMMENT.search(line):
            return str(match[1])
    above = list[str]()
    for line in reversed(lines[: node.lineno - 1]):
        if not line.startswith("    # "):
            break
        above.insert(0, line.removeprefix("    # "))
    return " ".join(above)


def updated_files() -> dict[Path, str]:
    """Return the text that every file of an option in `conf/` has to have."""
    texts = dict[Path, str]()
    for group, name, path in [("", "unlearn", CONF / "config.yaml"), *option_files(CONF)]:
        departures = read_departures(group, path) if group in GROUPS else Departures()
        if departures.kind is not None:
            texts[path] = insert_block(path.read_text(encoding="utf-8"), describe(group, name, departures).block())
    return texts


if __name__ == "__main__":
    changed = {path: text for path, text in updated_files().items() if path.read_text(encoding="utf-8") != text}
    for path, text in changed.items():
        path.write_text(text, encoding="utf-8")
    sys.stdout.write(f"changed {len(changed)} files of conf/\n")
