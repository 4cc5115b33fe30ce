"""Checks the files in a user's `--config-dir`, where Hydra would give no message, or one that is hard to read."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unlearn.core.errors import ConfigError, first_line

HEADER = "# @package _global_"
GLOBAL_GROUPS = ("experiment", "preset", "sweep")  # their options set keys of several groups
MAX_BYTES = 1 << 20
MAX_VALUES = 100_000  # with aliases written out
SURPRISING_NUMBERS = {  # numbers of YAML 1.1 that mean something else than they look like, and their base
    re.compile(r"[-+]?0[0-7_]+"): "base 8",
    re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"): "base 60",
}


def refuse_primary(folder: Path, our_folder: Path) -> None:
    """Refuse a user's `config.yaml`, which Hydra ignores in favour of ours.

    Raises:
        ConfigError: The folder has such a file, and it is not ours.
    """
    path = folder / "config.yaml"
    if os.path.lexists(path) and path.resolve() != (our_folder / "config.yaml").resolve():
        expected = f"options in folders of their groups, as experiment/NAME.yaml that starts with {HEADER!r}"
        raise ConfigError([f"--config-dir: expected {expected}, got {path}, which no run reads"])


def refuse_misread(folder: Path, groups: list[str]) -> None:
    """Refuse files that Hydra would read forever (pipes, devices, aliases of aliases) or with other numbers.

    Args:
        folder: The user's `--config-dir`.
        groups: The groups to check.

    Raises:
        ConfigError: Lists each such file, or the folder if it cannot be read.
    """
    if problems := [*_check_files(folder, groups, only_misread=True)]:
        raise ConfigError(problems)


def describe_problems(folder: Path, groups: list[str]) -> list[str]:
    """Return everything that is wrong with the files, to explain a composition that failed."""
    return [*_check_files(folder, groups, only_misread=False)]


def _check_files(folder: Path, groups: list[str], only_misread: bool) -> Iterator[str]:
    for group in groups:
        try:
            files = sorted((folder / group).rglob("*.yaml"))
        except OSError as error:
            yield f"--config-dir: expected a folder that can be read, got {folder}: {error.strerror}"
            return
        for path in files:
            name = path.relative_to(folder).as_posix()
            if problem := _check_misread(path) or ("" if only_misread else _check_content(path, group)):
                yield f"--config-dir: {name}: {problem}"


def _check_misread(path: Path) -> str:
    """Return why Hydra would misread a file, or an empty string; malformed files are left to `_check_content`."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            return ""
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
            return "expected a file of YAML of up to 1 MiB, got another kind or size"
        root = yaml.compose(path.read_text(encoding="utf-8"), yaml.CSafeLoader)
    except OSError as error:
        return f"expected a file that can be read, got {first_line(error)}"
    except (ValueError, yaml.YAMLError, RecursionError):
        return ""
    if root is not None and _count_values(root, {}) > MAX_VALUES:
        return "expected values that end, got aliases that contain themselves or one another"
    return next(_surprising_numbers(root), "")


def _surprising_numbers(root: Any) -> Iterator[str]:
    """Yield numbers that YAML 1.1 does not read in base 10: it reads `010` as 8 and `1:30` as 90."""
    nodes, seen = [root], set[int]()
    for node in nodes:  # the loop appends to this list
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.CollectionNode):
            nodes += _children(node)
        elif isinstance(node, yaml.ScalarNode) and node.tag.endswith((":int", ":float")):
            base = next((base for pattern, base in SURPRISING_NUMBERS.items() if pattern.fullmatch(node.value)), None)
            if base is not None:
                line = node.start_mark.line + 1
                got = f"{node.value} on line {line}, which is read in {base}"
                yield f"expected a number in base 10, or text in quotes, got {got}"


def _count_values(node: Any, counts: dict[int, float]) -> float:
    """Count the values below a node, with aliases written out; infinity for a node that contains itself."""
    if id(node) not in counts:
        counts[id(node)] = float("inf")  # what an alias of this node sees until the count is known
        counts[id(node)] = 1 + sum(_count_values(child, counts) for child in _children(node))
    return counts[id(node)]


def _children(node: Any) -> list[Any]:
    """Return the items of a list, or the keys and values of a mapping."""
    items = node.value if isinstance(node, yaml.CollectionNode) else ()
    return [child for item in items for child in (item if isinstance(item, tuple) else (item,))]


def _check_content(path: Path, group: str) -> str:
    """Return why a file is no option of its group, or an empty string."""
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.load(text, Loader=yaml.CSafeLoader)
        if isinstance(content, dict):
            OmegaConf.create(text)  # refuses duplicate keys
    except OSError as error:
        return f"expected a file that can be read, got {first_line(error)}"
    except UnicodeDecodeError:
        return "expected text in UTF-8, got other bytes"
    except (ValueError, yaml.YAMLError, OmegaConfBaseException, RecursionError) as error:
        return f"expected YAML, got {' '.join(str(error).split())}"
    if content is not None and not isinstance(content, dict):
        return f"expected keys with values, got a {type(content).__name__}"
    if group in GLOBAL_GROUPS and "@package" not in text.partition("\n")[0]:
        return f"expected {HEADER!r} as its first line, got none: without it, the run has none of its keys"
    return _check_defaults(content or {}, path, group)


def _check_defaults(content: dict[Any, Any], path: Path, group: str) -> str:
    defaults = content.get("defaults", [])
    if not isinstance(defaults, list):
        return f"expected a list of defaults, got {defaults!r}"
    own_names = {path.stem, f"/{group}/{path.stem}", f"{group}/{path.stem}"}
    included = {name for default in defaults for name in _included_options(default)}
    return "expected defaults that end, got a file that includes itself" if included & own_names else ""


def _included_options(default: Any) -> list[str]:
    """Return the options that an entry of a defaults list includes: `option`, or `group: option`."""
    if not isinstance(default, dict):
        return [default if isinstance(default, str) else f"/{default}"]
    return [option if isinstance(option, str) else f"{group}/{option}" for group, option in default.items()]
