"""Writes docs/evaluation.md from the docstrings and fields of all metrics and attacks: `make docs`."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from unlearn import config
from unlearn.attacks.base import Attack
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
    asked: str  # when it is computed
    settings: tuple[tuple[str, str, str], ...]  # key, default, comment

    @classmethod
    def of(cls, group: str, name: str, kind: type[Metric]) -> Entry:
        """Read off a class.

        Raises:
            ValueError: its docstring lacks one of the labels.
        """
        summary, *rest = inspect.getdoc(kind).split("\n\n")  # type: ignore[union-attr]
        labelled = dict(_labelled(rest[-1])) if rest else {}
        if issubclass(kind, Attack):
            labelled |= {"Members": kind.members, "Non-members": kind.non_members, "Direction": kind.direction}
        if missing := [label for label in LABELS if label not in labelled]:
            raise ValueError(f"{group}.{name}: expected `{missing[0]}: ...` at the end of its docstring")
        details = tuple(_joined(paragraph) for paragraph in rest[:-1])
        return cls(name, group, _joined(summary), details, labelled, _asked(group, name), tuple(_settings(kind)))


def _labelled(paragraph: str) -> Iterator[tuple[str, str]]:
    """`Label: text` by label, each on lines of its own."""
    for part in re.split(rf"^(?=(?:{'|'.join(LABELS)}): )", paragraph, flags=re.MULTILINE):
        label, colon, text = part.partition(": ")
        if colon and label in LABELS:
            yield label, _joined(text)


def _joined(text: str) -> str:
    return " ".join(text.split())


def _settings(kind: type[Metric]) -> Iterator[tuple[str, str, str]]:
    source = inspect.getsource(kind)
    for each in fields(kind):
        comment = re.search(rf"^    {each.name}: .*?  # (.*)$", source, re.MULTILINE)
        default = each.default_factory() if each.default_factory is not MISSING else each.default
        shown = "null" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
        yield each.name, shown, comment[1] if comment else ""


def _asked(group: str, name: str) -> str:
    """When it is computed without being named."""
    found = (when for when, overrides in SETS.items() if name in _composed(overrides)[group])
    return next(found, "by name alone").replace("GROUP", group)


@cache
def _composed(overrides: tuple[str, ...]) -> dict[str, frozenset[str]]:
    """Names of metrics and of attacks that a command line has."""
    config.register()
    base = overrides or ("spd_gan=off",)
    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        found = compose("config", list(base))
    return {group: frozenset(found[group]) for group in ("metrics", "attacks")}


def page() -> str:
    """The page as it should be."""
    groups = {
        group: [Entry.of(group, name, kind) for name, kind in sorted(find_options(f"unlearn.{group}", base).items())]
        for group, base in (("metrics", Metric), ("attacks", Attack))
    }
    folder = FileSystemLoader(Path(__file__).parent)
    words = Environment(loader=folder, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return words.get_template("evaluation.md.j2").render(groups=groups)


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.stdout.write(f"wrote {PAGE.name}\n")
