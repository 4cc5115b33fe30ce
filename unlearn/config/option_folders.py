"""The folders that hold the options of groups: ours, and the user's `--config-dir`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override

from unlearn.config.clusters import check_installed
from unlearn.config.own_options import GLOBAL_GROUPS, describe_problems
from unlearn.config.schema import CONF, GROUPS
from unlearn.config.user_supplied import plugin_options
from unlearn.core.errors import Problem, nearest

TOP_GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir())


class OptionFolders:
    """Which groups and options there are.

    This reads the folders itself: Hydra copies its whole list of sources to answer such a question.
    """

    def __init__(self, users: Path | None) -> None:
        self.users = [users.resolve()] if users else []
        self.all = [CONF, *self.users]
        self.options = cache(self._find_options)

    def _find_options(self, group: str) -> list[str]:
        return sorted({path.stem for folder in self.all for path in (folder / group).glob("*.yaml")})

    def group_names(self) -> list[str]:
        """Return the names of all groups at the top."""
        return [path.name for folder in self.all for path in folder.iterdir() if path.is_dir()]

    def is_group(self, key: str) -> bool:
        """Whether a key is the name of a group rather than of a value."""
        return any(os.path.isdir(folder / key) for folder in self.all)  # noqa: PTH112  # Path's raises for some names

    def has_option(self, group: str, name: str) -> bool:
        """Whether a group has such an option, perhaps in a subfolder; a subfolder with a schema is a group itself."""
        subfolder, _, option = name.rpartition("/")
        inner = f"{group}/{subfolder}".rstrip("/")
        is_known = option in self.options(inner) or option in plugin_options(inner)
        return is_known and not (subfolder and inner in GROUPS)

    def check_choice(self, override: Override) -> Iterator[str]:
        """Yield what is wrong with an override that chooses an option of a group."""
        group, chosen = override.key_or_group, override.value()
        if override.is_delete() or group.startswith("hydra"):
            return
        names: list[Any] = chosen if isinstance(chosen, list) else [chosen]
        if not all(isinstance(name, str) for name in names):
            hint = " (nearest: off)" if chosen is False and self.has_option(group, "off") else ""
            yield str(Problem(group, f"one of {', '.join(self.options(group))}{hint}", chosen))
        elif group in GLOBAL_GROUPS and not (override.is_add() or override.is_force_add()):
            yield f"{group}: expected +{group}=NAME, since no run has one by default, got {override.input_line!r}"
        else:
            for name in names:
                yield from self._check_option(group, name)

    def _check_option(self, group: str, name: str) -> Iterator[str]:
        if not self.has_option(group, name):
            known = [*self.options(group), *plugin_options(group)]
            hint = self._suggest_other_suffix(group, name) or nearest(name, known)
            yield str(Problem(group, f"one of {', '.join(known)}{hint}", name))
        elif group == "cluster":
            yield from check_installed(name)

    def _suggest_other_suffix(self, group: str, name: str) -> str:
        """Suggest to rename NAME.yml, which Hydra ignores."""
        file = f"{name.removesuffix('.yml')}.yml"
        exists = any((folder / group / file).exists() for folder in self.users)
        return f"; rename {file} to {file[:-4]}.yaml, since Hydra reads no .yml" if exists else ""

    def describe_user_files(self) -> list[str]:
        """Return everything that is wrong with the user's files."""
        return [problem for folder in self.users for problem in describe_problems(folder, TOP_GROUPS)]
