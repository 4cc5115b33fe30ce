"""The state dicts in a checkpoint, wherever they lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearn.core.errors import abbreviate
from unlearn.models.checkpoints.containers import Content, read_content
from unlearn.models.checkpoints.content import CONVERT, expected
from unlearn.models.checkpoints.tensors import Storages, StoredTensor, as_stored_tensor
from unlearn.models.checkpoints.unpickle import Global, Instance

DEEPEST = 8  # containers within containers
MODULE = ("_parameters", "_buffers", "_modules")  # of a pickled nn.Module's state
DEEPEST_MODULE = 40
MOST = 100_000  # modules
SHOWN = 3  # tensors in a message


@dataclass(frozen=True)
class StateDict:
    """Tensors by name, and the keys under which they lie in the file."""

    path: tuple[str, ...]
    tensors: dict[str, StoredTensor]

    def __str__(self) -> str:
        """`122 tensors under state_dict (conv1.weight [64, 3, 7, 7], …)`."""
        where = f" under {'/'.join(self.path)}" if self.path else ""
        shown = abbreviate([f"{name} {list(t.shape)}" for name, t in [*self.tensors.items()][:SHOWN]])
        more = ", ..." if len(self.tensors) > SHOWN else ""
        return f"{len(self.tensors)} tensors{where} ({shown}{more})"


def read_state_dicts(path: Path) -> list[StateDict]:
    """All state dicts of a checkpoint in the order of the file; nothing in it is run.

    A pickled `nn.Module`, or a TorchScript program, is read as its state dict.

    Raises:
        DataError: the file is missing, damaged or of another kind, or holds no tensors.
    """
    return find_state_dicts(read_content(path), path)


def find_state_dicts(content: Content, path: Path) -> list[StateDict]:
    """The same of a file that is read already.

    Raises:
        DataError: it holds no tensors.
    """
    found = [each for each in _walk(content) if each.tensors]
    if not found:
        raise expected("weights", path, f"{_described(content.payload)}; where it was made, save {CONVERT}")
    return found


def _walk(content: Content) -> Iterator[StateDict]:
    """Breadth first."""
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
        if len(path) < DEEPEST:
            waiting += [((*path, str(name)), item) for name, item in items if _holds(item)]


def _holds(value: Any) -> bool:
    """Whether tensors may lie in it."""
    return isinstance(value, dict | list | tuple | Instance)


def list_items(value: Any) -> list[tuple[Any, Any]]:
    """What a container of a file holds, by key or number; nothing of what is none."""
    if isinstance(value, Instance):
        attributes = value.state if isinstance(value.state, dict) and not _is_module(value) else {}
        return [*value.items.items(), *attributes.items(), *enumerate(value.elements)]
    if isinstance(value, dict):
        return [*value.items()]
    return [*enumerate(value)] if isinstance(value, list | tuple) else []


def _is_module(value: Instance) -> bool:
    return isinstance(value.state, dict) and all(name in value.state for name in MODULE)


def _of_module(module: Instance, storages: Storages) -> Iterator[tuple[str, StoredTensor]]:
    """Names and tensors of a pickled module and of those in it, as its `state_dict` would give them."""
    waiting, visited = [("", module)], 0
    while waiting and visited < MOST:
        prefix, each = waiting.pop()
        visited += 1
        groups = [each.state[name] for name in MODULE] if _is_module(each) else [each.state]
        for name, value in (item for group in groups for item in list_items(group)):
            tensor = as_stored_tensor(value, storages)
            if tensor is not None:
                yield f"{prefix}{name}", tensor
            elif isinstance(value, Instance) and isinstance(value.state, dict) and prefix.count(".") < DEEPEST_MODULE:
                waiting.append((f"{prefix}{name}.", value))


def _described(payload: Any) -> str:
    """What holds no tensors."""
    if isinstance(payload, Instance | Global):
        return f"no tensors, but objects or code ({_named(payload)}), which is not run"
    names = [str(name) for name, _ in list_items(payload)]
    objects = [_named(item) for _, item in list_items(payload) if isinstance(item, Instance | Global)]
    code = f"; its objects or code ({abbreviate(list(dict.fromkeys(objects)))}) are not run" if objects else ""
    if isinstance(payload, dict):
        return f"no tensors, only {abbreviate(names) if names else 'nothing'}{code}"
    return f"no tensors, but a {type(payload).__name__}{code}"


def _named(value: Instance | Global) -> str:
    """The class or function that an object mentions."""
    while isinstance(value, Instance):
        value = value.kind
    return str(value)[:80] if isinstance(value, Global) else "of another kind"
