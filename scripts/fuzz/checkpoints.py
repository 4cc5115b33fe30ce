"""Read forged and damaged checkpoints: each is read or refused in one line. Usage: checkpoints.py [CASES] [SEED]

Every case ends in weights or a `DataError`; anything else, or a case of more than `PATIENCE` seconds, is printed and
ends with exit status 1. Nothing that a payload would write may appear.
"""

from __future__ import annotations

import argparse
import builtins
import io
import os
import pickle  # noqa: TID251 - hostile files are made here
import random
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

from unlearn.core.errors import DataError
from unlearn.models.checkpoints.weights import read_weights

PATIENCE = 20.0  # seconds
NORMALISATION = ((0.5,), (0.5,))
CLASSES = ("a", "b", "c")
NEIGHBOURS = ("beside", "mean", "std", "classes", "class_to_idx", "idx_to_class", "config")  # keys next to weights


class Call:
    """An object that is pickled as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def net() -> nn.Module:
    """A small net with every kind of state."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


def saved(payload: Any, zipped: bool = True) -> bytes:
    """Serialise a value with `torch.save`."""
    file = io.BytesIO()
    torch.save(payload, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def payload(draw: random.Random, trace: Path) -> Any:
    """Wrap weights in containers, perhaps with objects and code."""
    state: Any = net().state_dict()
    prefix = draw.choice(["", "module.", "model.", "_orig_mod.", "a.b.", "\ud7ff.", "x" * 300 + "."])
    state = {prefix + name: tensor for name, tensor in state.items()}
    for _ in range(draw.randrange(3)):
        name = draw.choice(list(state))
        state[draw.choice([name, "extra", "normalize.mean", ""])] = draw.choice(odd(trace))
    wrapped: Any = draw.choice([state, OrderedDict(state), [state], (state, state), net(), {0: state, None: 1}])
    for key in draw.sample(["state_dict", "model", "ema", "7", ""], draw.randrange(3)):
        wrapped = {key: wrapped, draw.choice(NEIGHBOURS): draw.choice(odd(trace))}
    return wrapped


def odd(trace: Path) -> list[Any]:
    """Draw a value that does not belong in a state dict."""
    loop: list[Any] = []
    loop.append(loop)
    code = f"open({str(trace)!r}, 'w').close()"
    return [
        Call(os.system, f"touch {trace}"),
        Call(builtins.exec, code),
        Call(torch._utils._rebuild_parameter, Call(builtins.eval, code), True, None),
        Call(torch._utils._rebuild_tensor_v2, "storage", 0, (1,), (1,), False, None),
        Call(np.frombuffer, b"abc"),
        torch.ones(1).expand(2**20, 2**20),
        torch.empty(3, device="meta"),
        torch.full((3,), float("nan")),
        torch.ones(3, dtype=torch.complex64),
        np.ones(3),
        np.array(["a"]),
        argparse.Namespace(a=loop),
        argparse.Namespace(mean=[0.5, "x"], std=float("inf"), classes={"a": loop, "b": 0}),
        {"mean": [], "std": [2**70], "a": "0", "b": 1.0, (): ("a", "a")},
        {0: "b", 1: "a", "2": "c", None: "d"},
        ["c", "b", "\x1b[2J\n"],
        2**70,
        None,
        loop,
    ]


def flipped(draw: random.Random, data: bytes) -> bytes:
    """Change bytes, mostly near the start, where the structure is."""
    changed = bytearray(data)
    for _ in range(draw.choice([1, 3, 30])):
        end = len(data) if draw.random() < 0.5 else min(len(data), 600)
        changed[draw.randrange(end)] = draw.randrange(256)
    return bytes(changed)


def cut(draw: random.Random, data: bytes) -> bytes:
    """Truncate a file."""
    return data[: draw.randrange(len(data))]


def spliced(draw: random.Random, data: bytes) -> bytes:
    """Repeat, remove or move a part."""
    first, last = sorted(draw.randrange(len(data)) for _ in range(2))
    return draw.choice([data[:first] + data[last:], data[:last] + data[first:], data[last:] + data[:first]])


def rezipped(draw: random.Random, data: bytes) -> bytes:
    """Change the pickle of an archive, with correct checksums."""
    if not data.startswith(b"PK"):
        return data
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            change = draw.choice([flipped, cut, spliced]) if name.endswith("data.pkl") or draw.random() < 0.1 else None
            target.writestr(name, change(draw, content) if change and content else content)
    return out.getvalue()


def opcodes(draw: random.Random, _: bytes) -> bytes:
    """Make a pickle of random opcodes."""
    known = [opcode for name in dir(pickle) if isinstance(opcode := getattr(pickle, name), bytes) and len(opcode) == 1]
    parts = [b"\x80\x04"]
    for _ in range(draw.randrange(200)):
        parts.append(draw.choice(known))
        if draw.random() < 0.3:
            parts.append(draw.choice([b"os\nsystem\n", b"\x05", b"7\n", b"\xff" * 8, b"\x03abc", draw.randbytes(4)]))
    return b"".join(parts) + b"."


def made(draw: random.Random, trace: Path) -> tuple[str, bytes]:
    """Make one case: its description and the file."""
    zipped = draw.random() < 0.6
    whole = saved(payload(draw, trace), zipped) if draw.random() < 0.85 else save(net().state_dict())
    ways: list[Callable[[random.Random, bytes], bytes]] = [flipped, cut, spliced, rezipped, opcodes]
    way = draw.choice([None, *ways])
    return ("whole", whole) if way is None else (way.__name__, way(draw, whole))


def outcome(path: Path) -> str:
    """Read a file; returns the outcome."""
    start = time.perf_counter()
    try:
        read_weights(path, net(), NORMALISATION, None, CLASSES)
        ended = "read"
    except DataError as error:
        ended = "refused" if "\n" not in str(error) and "weights_only" not in str(error) else f"bad message: {error}"
    except BaseException:
        ended = traceback.format_exc()
    return ended if time.perf_counter() - start < PATIENCE else f"took {time.perf_counter() - start:.0f} s"


def main(cases: int = 600, seed: int = 0) -> int:
    """Run all cases; returns the exit status."""
    draw, ends, bad = random.Random(seed), Counter[str](), 0
    with tempfile.TemporaryDirectory() as folder:
        trace, path = Path(folder) / "trace", Path(folder) / "weights.pt"
        for number in range(cases):
            way, data = made(draw, trace)
            path.write_bytes(data)
            ended = outcome(path)
            if ended not in ("read", "refused") or trace.exists():
                bad += 1
                print(f"case {number} ({way}), seed {seed}: {ended}", file=sys.stderr)
            ends[ended if ended in ("read", "refused") else "bad"] += 1
    print(f"checkpoints: {cases} cases of seed {seed}: {ends['read']} read, {ends['refused']} refused, {bad} bad")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
