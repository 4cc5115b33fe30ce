"""Suggests a key of the config for one that does not exist."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import Any

from omegaconf import DictConfig, OmegaConf

from unlearn.core.errors import nearest
from unlearn.core.plugins import find_options

Groups = Mapping[str, tuple[str, type]]  # for each group, the package of its options and their base class


def dotted_keys(node: Any, prefix: str = "") -> Iterator[str]:
    """Yield all keys of a config with dots, those of groups and of values."""
    for name in map(str, node) if isinstance(node, DictConfig) else ():
        key = prefix + name
        yield key
        if not OmegaConf.is_missing(node, name) and not OmegaConf.is_interpolation(node, name):
            yield from dotted_keys(node[name], f"{key}.")


def suggest_key(key: str, known: Sequence[str], group_names: Iterable[str], groups: Groups) -> str:
    """Suggest what `key` may have meant.

    Args:
        key: A dotted key that the config does not have.
        known: The keys of the config.
        group_names: The names of all groups, some of which are not in the config.
        groups: The groups with a schema.

    Returns:
        ` (nearest: KEY)`, or the options of the group that have such a key, or an empty string.
    """
    group, _, name = key.rpartition(".")
    suggestion = _find_in_same_group(key, known) or ("" if group else _find_same_ending(key, known))
    if not suggestion and (names := _options_with_field(groups.get(group.replace(".", "/") or "strategy"), name)):
        return f", which {group or 'strategy'}={' or '.join(names)} has"
    suggestion = suggestion or _find_anywhere(key, known)
    return f" (nearest: {suggestion})" if suggestion else nearest(key, group_names)


def nearest_key_hint(key: str, known: Sequence[str]) -> str:
    """Return ` (nearest: KEY)` or an empty string.

    Keys of the same group come first, then keys with the same last part, then keys with a similar spelling.
    """
    suggestion = _find_in_same_group(key, known) or _find_anywhere(key, known)
    return f" (nearest: {suggestion})" if suggestion else ""


def _find_in_same_group(key: str, known: Sequence[str]) -> str:
    siblings = _keys_of_same_group(key, known)
    return _find_same_ending(key, siblings) or _find_similar_ending(key, siblings)


def _find_anywhere(key: str, known: Sequence[str]) -> str:
    return (
        _find_same_ending(key, known)
        or _find_similar(key, _keys_of_same_group(key, known))
        or _find_similar(key, known)
    )


def _keys_of_same_group(key: str, known: Sequence[str]) -> list[str]:
    """Return the keys of the same group; none if `key` names no group."""
    group, dot, _ = key.partition(".")
    return [candidate for candidate in known if dot and candidate.startswith(f"{group}.")]


def _find_same_ending(key: str, keys: Iterable[str]) -> str:
    """Find a key with the same last part: the one with the fewest parts, those of the strategy first."""
    candidates = [candidate for candidate in keys if candidate.rpartition(".")[2] == key.rpartition(".")[2]]
    return min(candidates, key=lambda c: (c.count("."), not c.startswith("strategy."), c), default="")


def _find_similar_ending(key: str, keys: Iterable[str]) -> str:
    """Find a key with a similar last part. Whole keys of one group would all be similar."""
    by_name = {candidate.rpartition(".")[2]: candidate for candidate in keys}
    return next((by_name[name] for name in get_close_matches(key.rpartition(".")[2], by_name, n=1, cutoff=0.7)), "")


def _find_similar(key: str, keys: Sequence[str]) -> str:
    return next(iter(get_close_matches(key, keys, n=1, cutoff=0.5)), "")


def _options_with_field(group: tuple[str, type] | None, field: str) -> list[str]:
    """Return up to four options of a group that have such a field."""
    if group is None:
        return []
    kinds = find_options(*group).items()
    return [name for name, kind in kinds if is_dataclass(kind) and field in {f.name for f in fields(kind)}][:4]
