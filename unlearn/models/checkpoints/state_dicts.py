"""Finds all state dicts in a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearn.core.errors import abbreviate
from unlearn.models.checkpoints.containers import Content, read_content
from unlearn.models.checkpoints.content import CONVERT, unexpected
from unlearn.models.checkpoints.tensors import Storages, StoredTensor, as_stored_tensor
from unlearn.models.checkpoints.unpickle import Global, Instance

MAX_DEPTH = 8  # of nested containers
MODULE = ("_parameters", "_buffers", "_modules")  # in the state of a pickled nn.Module
MAX_MODULE_DEPTH = 40
MAX_MODULES = 100_000
MAX_SHOWN = 3  # tensors in a message


@dataclass(frozen=True)
class StateDict:
    """Tensors by name, and the keys of their location in the file."""

    path: tuple[str, ...]
    tensors: dict[str, StoredTensor]

    def __str__(self) -> str:
        """`122 tensors under state_dict (conv1.weight [64, 3, 7, 7], …)`."""
        where = f" under {'/'.join(self.path)}" if self.path else ""
        shown = abbreviate([f"{name} {list(t.shape)}" for name, t in [*self.tensors.items()][:MAX_SHOWN]])
        more = ", ..." if len(self.tensors) > MAX_SHOWN else ""
        return f"{len(self.tensors)} tensors{where} ({shown}{more})"


def read_state_dicts(path: Path) -> list[StateDict]:
    """Read all state dicts of a checkpoint in the order of the file, without running its code.

    A pickled `nn.Module`, or a TorchScript program, is read as its state dict.

    Raises:
        DataError: the file is missing, damaged or of another format, or holds no tensors.
    """
    return find_state_dicts(read_content(path), path)


def find_state_dicts(content: Content, path: Path) -> list[StateDict]:
    """Find all state dicts in the content of a file.

    Raises:
        DataError: the file holds no tensors.
    """
    state_dicts = [state_dict for state_dict in _walk(content) if state_dict.tensors]
    if not state_dicts:
        raise unexpected("weights", path, f"{_describe(content.payload)}; where it was made, save {CONVERT}")
    return state_dicts


def _walk(content: Content) -> Iterator[StateDict]:
    """Yield the tensors of each container, breadth first."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), content.payload)]
    seen = set()
    for path, value in waiting:  # grows
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Instance) and isinstance(value.state, dict):
            yield StateDict(path, dict(_of_module(value, content.storages)))
        items = list_items(value)
        tensors = {str(name): as_stored_tensor(item, content.storages) for name, item in items}
        yield StateDict(path, {name: tensor for name, tensor in tensors.items() if tensor is not None})
        if len(path) < MAX_DEPTH:
            waiting += [((*path, str(name)), item) for name, item in items if _is_container(item)]


def _is_container(value: Any) -> bool:
    """Whether a value may contain tensors."""
    return isinstance(value, dict | list | tuple | Instance)


def list_items(value: Any) -> list[tuple[Any, Any]]:
    """List the items of a container, by key or number; empty if the value is no container."""
    if isinstance(value, Instance):
        attributes = value.state if isinstance(value.state, dict) and not _is_module(value) else {}
        return [*value.items.items(), *attributes.items(), *enumerate(value.elements)]
    if isinstance(value, dict):
        return [*value.items()]
    return [*enumerate(value)] if isinstance(value, list | tuple) else []


def _is_module(value: Instance) -> bool:
    return isinstance(value.state, dict) and all(name in value.state for name in MODULE)


def _of_module(root: Instance, storages: Storages) -> Iterator[tuple[str, StoredTensor]]:
    """Yield names and tensors of a pickled module and its submodules, as its `state_dict` would."""
    waiting, visited = [("", root)], 0
    while waiting and visited < MAX_MODULES:
        prefix, module = waiting.pop()
        visited += 1
        groups = [module.state[name] for name in MODULE] if _is_module(module) else [module.state]
        for name, value in (item for group in groups for item in list_items(group)):
            tensor = as_stored_tensor(value, storages)
            if tensor is not None:
                yield f"{prefix}{name}", tensor
            elif isinstance(value, Instance) and isinstance(value.state, dict) and prefix.count(".") < MAX_MODULE_DEPTH:
                waiting.append((f"{prefix}{name}.", value))


def _describe(payload: Any) -> str:
    """Describe a payload without tensors."""
    if isinstance(payload, Instance | Global):
        return f"no tensors, but objects or code ({_class_name(payload)}), which is not run"
    names = [str(name) for name, _ in list_items(payload)]
    objects = [_class_name(item) for _, item in list_items(payload) if isinstance(item, Instance | Global)]
    code = f"; its objects or code ({abbreviate(list(dict.fromkeys(objects)))}) are not run" if objects else ""
    if isinstance(payload, dict):
        return f"no tensors, only {abbreviate(names) if names else 'nothing'}{code}"
    return f"no tensors, but a {type(payload).__name__}{code}"


def _class_name(value: Instance | Global) -> str:
    """The class or function of an object."""
    while isinstance(value, Instance):
        value = value.kind
    return str(value)[:80] if isinstance(value, Global) else "of another kind"
