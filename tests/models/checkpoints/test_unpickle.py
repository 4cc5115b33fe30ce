"""Pickles that would run code, change torch or exhaust the machine: they are data, and nothing else happens."""

from __future__ import annotations

import builtins
import collections
import functools
import io
import os
import pickle  # noqa: TID251 - hostile pickles are made here
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from unlearn.core.errors import DataError
from unlearn.models.checkpoints.state_dicts import read_state_dicts
from unlearn.models.checkpoints.unpickle import PURE, Bounded, Global, InertUnpickler, Instance, unpickle
from unlearn.models.checkpoints.weights import read_weights

STATE = {"weight": torch.arange(6.0).view(2, 3), "bias": torch.ones(2)}


class Calls:
    """Pickled as a call of `function`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def read(data: bytes) -> Any:
    return unpickle(Bounded(io.BytesIO(data), len(data)))


def payloads(trace: Path) -> dict[str, Any]:
    """Each would write `trace` when it is unpickled carelessly."""
    code = f"open({str(trace)!r}, 'w').close()"
    opened = Calls(open, str(trace), "w")
    return {
        "os.system": Calls(os.system, f"touch {trace}"),
        "eval": Calls(builtins.eval, code),
        "exec": Calls(builtins.exec, code),
        "called partial": Calls(map, functools.partial(open, mode="w"), [str(trace)]),
        "in a list": [[[opened]]],
        "as an argument": Calls(collections.OrderedDict, [("a", opened)]),
        "as a parameter": Calls(torch._utils._rebuild_parameter, opened, True, collections.OrderedDict()),
        "as a subclass": Calls(torch._tensor._rebuild_from_type_v2, open, torch.Tensor, (str(trace), "w"), {}),
    }


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", payloads(Path("trace")))
def test_nothing_is_run_and_the_weights_beside_it_are_read(tmp_path: Path, name: str, zipped: bool) -> None:
    trace, path = tmp_path / "trace", tmp_path / "evil.pt"
    evil = payloads(trace)[name]
    torch.save({"evil": evil, "state_dict": STATE, "later": evil}, path, _use_new_zipfile_serialization=zipped)
    before = set(sys.modules)
    weights = read_weights(path, nn.Linear(3, 2), None)
    assert torch.equal(weights.state["weight"], STATE["weight"])
    assert weights.entry == "state_dict"
    assert not trace.exists()
    assert {module for module in set(sys.modules) - before if not module.startswith(("torch", "numpy"))} == set()


def test_the_payloads_are_able_to_run(tmp_path: Path) -> None:
    for name in ("os.system", "eval", "exec"):
        pickle.loads(pickle.dumps(payloads(tmp_path / name)[name]))
        assert (tmp_path / name).exists()


def test_a_file_of_a_payload_alone_is_refused_by_its_name(tmp_path: Path) -> None:
    torch.save(Calls(os.system, f"touch {tmp_path / 'trace'}"), tmp_path / "evil.pt")
    with pytest.raises(DataError, match=r"no tensors, but objects or code \(posix\.system\), which is not run"):
        read_state_dicts(tmp_path / "evil.pt")
    assert not (tmp_path / "trace").exists()


def test_globals_are_names_and_modules_are_not_imported() -> None:
    found = read(b"cantigravity\nfly\n.")
    assert found.module == "antigravity"
    assert "antigravity" not in sys.modules
    assert str(read(b"\x80\x04\x8c\x02os\x8c\x06system\x93.")) == "os.system"  # STACK_GLOBAL


@pytest.mark.parametrize(
    "code",
    [
        b"cos\nsystem\n(S'true'\ntR.",  # REDUCE
        b"(ios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'true'\no.",  # OBJ
        b"\x80\x02cos\nsystem\n)\x81.",  # NEWOBJ
        b"\x80\x04cos\nsystem\n)}\x92.",  # NEWOBJ_EX
    ],
)
def test_every_opcode_that_calls_only_notes_the_call(code: bytes) -> None:
    found = read(code)
    assert isinstance(found, Instance)
    assert str(found.kind) == "os.system"


def test_a_call_of_what_a_call_gave_is_noted_too() -> None:
    found = read(b"cfunctools\npartial\n(cos\nsystem\ntR(S'true'\ntR.")  # partial(os.system)('true')
    assert isinstance(found.kind, Instance)
    assert str(found.kind.kind) == "functools.partial"


def test_a_state_is_set_on_nothing_that_exists() -> None:
    """BUILD with a second dict sets attributes: on a class of torch it would change it for all."""
    found = read(b"ctorch\nTensor\n(N}S'add'\nS'changed'\nstb.")
    assert isinstance(found, Global)
    assert torch.Tensor.add is not None
    assert not isinstance(torch.Tensor.add, str)
    assert read(b"]}S'x'\nI1\nsb.") == []
    assert read(b"ccollections\nOrderedDict\n)R}S'x'\nI1\nsb.").state == {"x": 1}


def test_memo_and_copies_keep_one_object() -> None:
    found = read(b"cos\nsystem\np0\n0(g0\ng0\n2t.")
    assert found[0] is found[1] is found[2]


def test_what_only_a_writer_knows_is_refused() -> None:
    for code in (b"\x80\x02\x82\x01.", b"\x80\x05\x97."):  # an extension by number, a buffer out of band
        with pytest.raises(KeyError):
            read(code)


def test_no_opcode_is_left_to_the_standard_library_by_accident() -> None:
    replaced = {"REDUCE", "NEWOBJ", "NEWOBJ_EX", "INST", "OBJ", "BUILD", "SETITEM", "SETITEMS", "DICT", "APPEND"}
    replaced |= {"APPENDS", "ADDITEMS", "EMPTY_SET", "FROZENSET", "BYTEARRAY8", "FRAME"}
    assert not replaced & set(PURE)
    kept = {getattr(pickle, name)[0] for name in PURE}
    standard = pickle._Unpickler.dispatch  # type: ignore[attr-defined]
    assert all((load is standard[code]) == (code in kept) for code, load in InertUnpickler.dispatch.items())
    assert len(InertUnpickler.dispatch) == len(kept) + len(replaced)


@pytest.mark.parametrize("code", [b"\x8e", b"\x96", b"\x95", b"\x8d"])  # bytes, bytearray, frame, text: 2**62 long
def test_lengths_that_lie_reserve_nothing(code: bytes) -> None:
    with pytest.raises((EOFError, IndexError, pickle.UnpicklingError)):
        read(b"\x80\x05" + code + (2**62).to_bytes(8, "little") + b"abc")


def test_deep_tuples_are_no_keys() -> None:
    """Hashing one would recurse until the process ends."""
    assert read(b"}" + b")" + b"\x85" * 100_000 + b"I1\ns.") == {}
    assert read(b"(" + b")" + b"\x85" * 100_000 + b"\x91.")[0] is not None  # a frozenset, as a list


def test_large_integers_are_no_keys() -> None:
    assert read(b"}L1152921504606846976L\nI1\nsI7\nI1\ns.") == {7: 1}


def test_there_is_a_limit_to_opcodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unlearn.models.checkpoints.unpickle.LIMIT", 10_000)
    with pytest.raises(pickle.UnpicklingError, match="of pickled objects"):
        read(b"N0" * 5_000 + b"N.")
    assert read(b"N0" * 4_999 + b"N.") is None
    assert read(b"B" + (20_000).to_bytes(4, "little") + bytes(20_000) + b".") == bytes(20_000)  # data


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_come_through(protocol: int) -> None:
    value = {"a": [1, 2.5, None, True, (b"x", "ü", 2**70)], 3: {"b": ()}, "long": ["x"] * 2000}
    assert read(pickle.dumps(value, protocol)) == value or protocol < 3  # bytes are a call before protocol 3
    assert read(pickle.dumps(value["long"], protocol)) == value["long"]
    assert read(pickle.dumps(value[3], protocol)) == value[3]
