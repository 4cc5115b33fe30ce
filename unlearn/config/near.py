"""Which key somebody meant who wrote one that the config does not have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import Any

from omegaconf import DictConfig, OmegaConf

from unlearn.core.errors import nearest
from unlearn.core.plugins import options

Groups = Mapping[str, tuple[str, type]]  # where the options of a group are found, and what they derive from


def keys(node: Any, prefix: str = "") -> Iterator[str]:
    """All dotted keys."""
    for name in map(str, node) if isinstance(node, DictConfig) else ():
        key = prefix + name
        yield key
        if not OmegaConf.is_missing(node, name) and not OmegaConf.is_interpolation(node, name):
            yield from keys(node[name], f"{key}.")


def hint(key: str, known: Sequence[str], groups: Iterable[str], kinds: Groups) -> str:
    """` (nearest: ...)`, or which options of the key's group have such a key."""
    group, _, name = key.rpartition(".")
    near = _alike(key, known) or ("" if group else _ends(key, known))
    if not near and (having := _having(kinds.get(group.replace(".", "/") or "strategy"), name)):
        return f", which {group or 'strategy'}={' or '.join(having)} has"
    near = near or _nearest(key, known)
    return f" (nearest: {near})" if near else nearest(key, groups)


def nearest_key(key: str, known: Sequence[str]) -> str:
    """` (nearest: ...)`: names of the same group first, then similar endings, then similar spellings."""
    near = _alike(key, known) or _nearest(key, known)
    return f" (nearest: {near})" if near else ""


def _alike(key: str, known: Sequence[str]) -> str:
    own = _own(key, known)
    return _ends(key, own) or _spelled_alike(key, own)


def _nearest(key: str, known: Sequence[str]) -> str:
    return _ends(key, known) or _close(key, _own(key, known)) or _close(key, known)


def _own(key: str, known: Sequence[str]) -> list[str]:
    """Keys of the same group; none for a key that names no group."""
    top, dot, _ = key.partition(".")
    return [each for each in known if dot and each.startswith(f"{top}.")]


def _ends(key: str, keys: Iterable[str]) -> str:
    """The one with the fewest parts that ends with the same name, the strategy's before others."""
    found = [each for each in keys if each.rpartition(".")[2] == key.rpartition(".")[2]]
    return min(found, key=lambda each: (each.count("."), not each.startswith("strategy."), each), default="")


def _spelled_alike(key: str, keys: Iterable[str]) -> str:
    """By the last part of the name alone: a group's name would make all its keys alike."""
    by_name = {each.rpartition(".")[2]: each for each in keys}
    return next((by_name[name] for name in get_close_matches(key.rpartition(".")[2], by_name, n=1, cutoff=0.7)), "")


def _close(key: str, keys: Sequence[str]) -> str:
    return next(iter(get_close_matches(key, keys, n=1, cutoff=0.5)), "")


def _having(kind: tuple[str, type] | None, name: str) -> list[str]:
    """Options of a group that have such a field, a few of them."""
    if kind is None:
        return []
    found = options(*kind).items()
    return [option for option, each in found if is_dataclass(each) and name in {f.name for f in fields(each)}][:4]
