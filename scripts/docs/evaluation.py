"""Writes docs/evaluation.md from the docstrings and fields of all metrics and attacks: `make docs`."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from unlearn import config
from unlearn.attacks.base import Attack
from unlearn.cli.option_help import Setting, read_options
from unlearn.core.plugins import find_options
from unlearn.metrics.evidence import Metric

PAGE = Path(__file__).resolve().parents[2] / "docs" / "evaluation.md"
LABELS = ("Numbers", "Range", "Direction", "Reference", "Trap", "Source")
SETS = {
    "by default": (),
    "with `spd_gan=probe` or `marker`": ("spd_gan=marker",),
    "with `forget=relabel`": ("forget=relabel", "forget.file=any", "strategy=finetune"),
    "with `GROUP=full`": ("metrics=full", "attacks=full"),
}


@dataclass(frozen=True)
class Entry:
    """One metric or attack, as the page shows it."""

    name: str
    group: str
    summary: str
    details: tuple[str, ...]
    labelled: dict[str, str]
    computed: str  # when it is computed
    settings: dict[str, Setting]  # by key

    @classmethod
    def of(cls, group: str, name: str, kind: type[Metric]) -> Entry:
        """Read the entry from a class.

        Raises:
            ValueError: The docstring lacks one of the labels.
        """
        summary, *rest = inspect.getdoc(kind).split("\n\n")  # type: ignore[union-attr]
        labelled = dict(_read_labels(rest[-1])) if rest else {}
        if issubclass(kind, Attack):
            labelled |= {"Members": kind.members, "Non-members": kind.non_members, "Direction": kind.direction}
        if missing := [label for label in LABELS if label not in labelled]:
            raise ValueError(f"{group}.{name}: expected `{missing[0]}: ...` at the end of its docstring")
        details = tuple(_join_lines(paragraph) for paragraph in rest[:-1])
        computed = "with `forget.earlier`" if kind.needs_earlier else _when_computed(group, name)
        return cls(name, group, _join_lines(summary), details, labelled, computed, _settings()[f"{group}={name}"])


def _read_labels(paragraph: str) -> Iterator[tuple[str, str]]:
    """Yield label and text of each `Label: text`, which starts on a new line."""
    for part in re.split(rf"^(?=(?:{'|'.join(LABELS)}): )", paragraph, flags=re.MULTILINE):
        label, colon, text = part.partition(": ")
        if colon and label in LABELS:
            yield label, _join_lines(text)


def _join_lines(text: str) -> str:
    """Join the lines of a paragraph, or of each item of a list."""
    return "\n".join(" ".join(item.split()) for item in re.split(r"\n(?=- )", text))


@cache
def _settings() -> dict[str, dict[str, Setting]]:
    """Return the settings of every option by their keys, as `make conf` has written them."""
    return {option.title: option.settings_by_key() for option in read_options()}


def _when_computed(group: str, name: str) -> str:
    """Say when it is computed without being named."""
    conditions = (when for when, overrides in SETS.items() if name in _composed(overrides)[group])
    return next(conditions, "only if named").replace("GROUP", group)


@cache
def _composed(overrides: tuple[str, ...]) -> dict[str, frozenset[str]]:
    """Return the names of the metrics and attacks of a command line."""
    config.register()
    base = overrides or ("spd_gan=off",)
    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        composed = compose("config", list(base))
    return {group: frozenset(composed[group]) for group in ("metrics", "attacks")}


def page() -> str:
    """Return the text of the page."""
    groups = {
        group: [Entry.of(group, name, kind) for name, kind in sorted(find_options(f"unlearn.{group}", base).items())]
        for group, base in (("metrics", Metric), ("attacks", Attack))
    }
    folder = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=folder, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("evaluation.md.j2").render(groups=groups)


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.stdout.write(f"wrote {PAGE.name}\n")
