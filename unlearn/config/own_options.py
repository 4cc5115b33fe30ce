"""Files of a user's `--config-dir`: what is wrong with them, which Hydra would not say, or not in words."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf._utils import get_yaml_loader

from unlearn.core.errors import ConfigError, first_line

HEADER = "# @package _global_"
ACROSS = ("experiment", "preset", "sweep")  # whose options set keys of several groups
LARGEST = 1 << 20  # bytes
MOST = 100_000  # values, aliases written out
NUMBERS = {  # of YAML 1.1, which mean something else than they look like -> in what
    re.compile(r"[-+]?0[0-7_]+"): "base 8",
    re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"): "base 60",
}


def refuse_primary(folder: Path, ours: Path) -> None:
    """Refuse a `config.yaml` of the user's own, which Hydra passes over for ours.

    Raises:
        ConfigError: naming it.
    """
    mine = folder / "config.yaml"
    if os.path.lexists(mine) and mine.resolve() != (ours / "config.yaml").resolve():
        expected = f"options in folders of their groups, as experiment/NAME.yaml that starts with {HEADER!r}"
        raise ConfigError([f"--config-dir: expected {expected}, got {mine}, which no run reads"])


def refuse_misread(folder: Path, groups: list[str]) -> None:
    """Refuse what Hydra would read without end (pipes, devices, aliases of aliases) or as another number.

    Raises:
        ConfigError: naming each such file, and folders that cannot be read.
    """
    if found := [*_faults(folder, groups, alone=True)]:
        raise ConfigError(found)


def explained(folder: Path, groups: list[str]) -> list[str]:
    """All that is wrong with the files, for a composition that failed."""
    return [*_faults(folder, groups, alone=False)]


def _faults(folder: Path, groups: list[str], alone: bool) -> Iterator[str]:
    for group in groups:
        try:
            files = sorted((folder / group).rglob("*.yaml"))
        except OSError as error:
            yield f"--config-dir: expected a folder that can be read, got {folder}: {error.strerror}"
            return
        for path in files:
            name = path.relative_to(folder).as_posix()
            if fault := _misread(path) or ("" if alone else _malformed(path, group)):
                yield f"--config-dir: {name}: {fault}"


def _misread(path: Path) -> str:
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            return ""
        if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST:
            return "expected a file of YAML of up to 1 MiB, got another kind or size"
        root = yaml.compose(path.read_text(encoding="utf-8"), yaml.CSafeLoader)
    except OSError as error:
        return f"expected a file that can be read, got {first_line(error)}"
    except (ValueError, yaml.YAMLError, RecursionError):
        return ""  # malformed, which is no danger
    if root is not None and _size(root, {}) > MOST:
        return "expected values that end, got aliases that contain themselves or one another"
    return next(_other_numbers(root), "")


def _other_numbers(root: Any) -> Iterator[str]:
    """Numbers that YAML 1.1 reads otherwise than they are written, `010` as 8 and `1:30` as 90."""
    nodes, seen = [root], set[int]()
    for node in nodes:  # grows
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.CollectionNode):
            nodes += [part for item in node.value for part in (item if isinstance(item, tuple) else (item,))]
        elif isinstance(node, yaml.ScalarNode) and node.tag.endswith((":int", ":float")):
            base = next((base for form, base in NUMBERS.items() if form.fullmatch(node.value)), None)
            if base is not None:
                line = node.start_mark.line + 1
                got = f"{node.value} on line {line}, which is read in {base}"
                yield f"expected a number in base 10, or text in quotes, got {got}"


def _size(node: Any, sizes: dict[int, float]) -> float:
    """Values below a node, as often as aliases repeat them; infinity for one that contains itself."""
    if id(node) not in sizes:
        sizes[id(node)] = float("inf")  # until it is known
        inner = node.value if isinstance(node, yaml.CollectionNode) else ()
        parts = (part for item in inner for part in (item if isinstance(item, tuple) else (item,)))
        sizes[id(node)] = 1 + sum(_size(part, sizes) for part in parts)
    return sizes[id(node)]


def _malformed(path: Path, group: str) -> str:
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.load(text, Loader=get_yaml_loader())  # refuses keys that are there twice
    except OSError as error:
        return f"expected a file that can be read, got {first_line(error)}"
    except UnicodeDecodeError:
        return "expected text in UTF-8, got other bytes"
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        return f"expected YAML, got {' '.join(str(error).split())}"
    if content is not None and not isinstance(content, dict):
        return f"expected keys with values, got a {type(content).__name__}"
    if group in ACROSS and "@package" not in text.partition("\n")[0]:
        return f"expected {HEADER!r} as its first line, got none: without it no key is one of the run's"
    return _including(content or {}, path, group)


def _including(content: dict[Any, Any], path: Path, group: str) -> str:
    defaults = content.get("defaults", [])
    if not isinstance(defaults, list):
        return f"expected a list of defaults, got {defaults!r}"
    mine = {path.stem, f"/{group}/{path.stem}", f"{group}/{path.stem}"}
    named = {option if isinstance(option, str) else f"{key}/{option}" for each in defaults for key, option in _of(each)}
    return "expected defaults that end, got a file that includes itself" if named & mine else ""


def _of(default: Any) -> list[tuple[str, Any]]:
    return [(str(key), value) for key, value in default.items()] if isinstance(default, dict) else [("", default)]
