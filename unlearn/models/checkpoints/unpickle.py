"""Reads a pickle as data: globals become names, and calls are recorded and not made.

It uses the Python unpickler of the standard library. The opcodes that import, call or change anything are replaced, and
only the opcodes in `PURE` are kept; a pickle with any other opcode counts as damaged.
"""

from __future__ import annotations

import pickle  # noqa: TID251 - only opcodes that neither import nor call anything
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO, ClassVar

LIMIT = 8 * 2**20  # bytes of opcodes: a state dict with its optimizer takes less than one MiB
BULK = 4096  # bytes; a longer string is data, which does not count as opcodes
MAX_KEY = 2**60  # larger integers are not accepted as keys: they can be chosen to have the same hash


@dataclass(frozen=True, eq=False)
class Global:
    """The name of a class or function, which is not imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(frozen=True, eq=False)
class Persistent:
    """A reference to a storage in the file around the pickle."""

    identifier: Any


@dataclass(eq=False)
class Instance:
    """A recorded call, and the state and items of the object that it would have created."""

    kind: Any  # a Global, except in a forged file
    arguments: Any
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)
    elements: list[Any] = field(default_factory=list)


class Bounded:
    """A file that is read up to its end, with at most `LIMIT` bytes of opcodes."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file = file
        self.left = size - file.tell()
        self.budget = LIMIT

    def read(self, count: int) -> bytes:
        """Read at most `count` bytes."""
        return self._count(self.file.read(min(count, self.left)))

    def readline(self) -> bytes:
        """Read to the end of the line, or of the file."""
        return self._count(self.file.readline(self.left))

    def _count(self, data: bytes) -> bytes:
        self.left -= len(data)
        self.budget -= len(data) if len(data) < BULK else 0
        if self.budget < 0:
            raise pickle.UnpicklingError(f"more than {LIMIT // 2**20} MiB of pickled objects")
        return data


PURE = (  # opcodes that push, copy or drop plain values
    *("PROTO", "STOP", "MARK", "POP", "POP_MARK", "DUP", "NONE", "NEWTRUE", "NEWFALSE"),
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("TUPLE", "EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "LIST", "EMPTY_LIST", "EMPTY_DICT"),
    *("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET"),
    *("GLOBAL", "STACK_GLOBAL", "PERSID", "BINPERSID"),  # by `find_class` and `persistent_load` below
)


class InertUnpickler(pickle._Unpickler):
    """Reads one pickle from a `Bounded` file.

    Dicts keep keys that are strings, numbers, bytes or None; sets become lists.
    """

    stack: list[Any]  # since the last mark
    read: Callable[[int], bytes]
    readline: Callable[[], bytes]
    pop_mark: Callable[[], list[Any]]

    dispatch: ClassVar[dict[int, Any]] = {
        code: pickle._Unpickler.dispatch[code] for code in (getattr(pickle, name)[0] for name in PURE)
    }

    def __init__(self, file: Bounded, persistent: list[Persistent]) -> None:
        super().__init__(file, encoding="latin1")
        self.persistent = persistent

    def find_class(self, module: str, name: str) -> Global:
        return Global(module, name)

    def persistent_load(self, pid: Any) -> Persistent:
        self.persistent.append(Persistent(pid))
        return self.persistent[-1]

    def push(self, value: Any) -> None:
        """Push a value onto the stack."""
        self.stack.append(value)

    def load_reduce(self) -> None:
        """Record a call."""
        arguments, kind = self.stack.pop(), self.stack.pop()
        self.push(Instance(kind, arguments))

    def load_newobj_ex(self) -> None:
        """Record a call without its keywords."""
        self.stack.pop()
        self.load_reduce()

    def load_inst(self) -> None:
        """Record a call of a class by name, with the arguments above the mark."""
        module, name = (self.readline()[:-1].decode("ascii") for _ in range(2))
        self.push(Instance(Global(module, name), tuple(self.pop_mark())))

    def load_obj(self) -> None:
        """Record a call of a class on the stack, with the arguments above it."""
        kind, *arguments = self.pop_mark()
        self.push(Instance(kind, tuple(arguments)))

    def load_build(self) -> None:
        """Set the state of a recorded call; drop it for other values."""
        state = self.stack.pop()
        if isinstance(self.stack[-1], Instance):
            self.stack[-1].state = state

    def load_setitem(self) -> None:
        """Set one item of a dict."""
        value, key = self.stack.pop(), self.stack.pop()
        self._put([key, value])

    def load_setitems(self) -> None:
        """Set the items above the mark."""
        self._put(self.pop_mark())

    def load_dict(self) -> None:
        """Push a dict of the items above the mark."""
        items = self.pop_mark()
        self.push({})
        self._put(items)

    def _put(self, items: list[Any]) -> None:
        target = self.stack[-1]
        into = target.items if isinstance(target, Instance) else target
        if not isinstance(into, dict):
            raise pickle.UnpicklingError("items without a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if _is_key(key):
                into[key] = value

    def load_append(self) -> None:
        """Append one element to a list."""
        self._extend([self.stack.pop()])

    def load_appends(self) -> None:
        """Append the elements above the mark."""
        self._extend(self.pop_mark())

    def _extend(self, elements: list[Any]) -> None:
        target = self.stack[-1]
        into = target.elements if isinstance(target, Instance) else target
        if not isinstance(into, list):
            raise pickle.UnpicklingError("elements without a list")
        into.extend(elements)

    def load_empty_set(self) -> None:
        """Push a list instead of a set, so that nothing is hashed."""
        self.push([])

    def load_frozenset(self) -> None:
        """Push a list of the elements above the mark."""
        self.push(self.pop_mark())

    def load_bytearray8(self) -> None:
        """Push bytes, without reserving memory for more than the file has."""
        count = int.from_bytes(self.read(8), "little")
        self.push(self.read(count))

    def load_frame(self) -> None:
        """Skip the length of a frame: it is not read at once, so that all opcodes count against the limit."""
        self.read(8)

    dispatch |= {
        getattr(pickle, name)[0]: load
        for name, load in {
            "REDUCE": load_reduce,
            "NEWOBJ": load_reduce,
            "NEWOBJ_EX": load_newobj_ex,
            "INST": load_inst,
            "OBJ": load_obj,
            "BUILD": load_build,
            "SETITEM": load_setitem,
            "SETITEMS": load_setitems,
            "DICT": load_dict,
            "APPEND": load_append,
            "APPENDS": load_appends,
            "ADDITEMS": load_appends,
            "EMPTY_SET": load_empty_set,
            "FROZENSET": load_frozenset,
            "BYTEARRAY8": load_bytearray8,
            "FRAME": load_frame,
        }.items()
    }


def _is_key(key: Any) -> bool:
    """Whether a key is accepted: hashing a deep tuple would crash the process."""
    return (isinstance(key, int) and abs(key) < MAX_KEY) or key is None or isinstance(key, str | bytes | float)


def unpickle(file: Bounded, persistent: list[Persistent] | None = None) -> Any:
    """Read the next pickle in a file.

    Args:
        file: the file.
        persistent: a list to which references to storages are appended.

    Raises:
        Exception: the pickle is damaged.
    """
    return InertUnpickler(file, [] if persistent is None else persistent).load()
