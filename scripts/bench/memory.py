"""How much memory a whole run holds at its peak, beside its limit: twice the model, the data set, and the activations
of one batch.

    MNIST=folder PACKED=cifar10.npz python scripts/bench/memory.py

A run is a process of its own, on one thread, of which the kernel says how much it held before its end (`/usr/bin/time
-v` says the same, and what Python's end touches of its libraries). Most of that is libraries: subtracted is what the
same command holds on a few images of the bundled digits. glibc keeps much of what was freed, and finds no room for
the next aligned tensor, or does, as it happens; `in use` is the same with all larger pieces given back at once.

MNIST is the folder that torchvision reads, PACKED what scripts/gpu/pack.py makes (of 200 images of each class, or
predictions take minutes); without them, their rows are left out, by name.

`model`: parameters and buffers. `data set`: the bytes of all its images, whether they take part or not. `batch`: what
one training step keeps for its backward pass, and its images. Gradients and momenta, which training needs besides, are
twice the model once more.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from table import MB, Row
from table import run as show

REPETITIONS = 3
PACKED = str(Path(__file__).resolve().parents[1] / "gpu")  # where `packed.py` is
GIVING = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
TINY = ("dataset=digits", "dataset.limit=100", "model=cnn", "spd_gan=off", "train.epochs=1")


class Case(NamedTuple):
    """What is run, and the variable of the environment that says where its data are."""

    name: str
    needs: str
    data: tuple[str, ...]
    more: tuple[str, ...]


CIFAR = ("dataset=python", "dataset.factory=packed:cifar10", "dataset.limit=2000", "model=resnet18", "train.epochs=1")
CASES = (
    Case("MNIST 10,000, CNN", "MNIST", ("+experiment=mnist", "train.epochs=2"), ()),
    Case("CIFAR-10 2,000, ResNet-18", "PACKED", CIFAR, ("spd_gan=off", "strategy.recipe.epochs=1")),
)


def rows() -> Iterator[Row]:
    """Two rows a case. This process stays slim: a child's peak is never under its parent's."""
    for case in CASES:
        if case.needs in os.environ:
            yield row(case, {})
            yield row(case._replace(name=f"in use, {case.name}"), GIVING)
        else:
            print(f"{case.name}: left out, {case.needs} is not set")


def row(case: Case, allocator: dict[str, str]) -> Row:
    """Both runs in turn, and the limit."""
    place = (f"dataset.root={os.environ['MNIST']}",) if case.needs == "MNIST" else ()
    arguments = (*case.data, *place, *case.more)
    sides = arguments, (*TINY, *case.more)
    with tempfile.TemporaryDirectory() as folder:
        child("run", folder, *TINY, *case.more)  # leaves bytecode for the others
        peaks = [[child("run", folder, *each, **allocator) for each in sides] for _ in range(REPETITIONS)]
        child("sizes", folder, *arguments)
        model, data, batch = json.loads(Path(folder, "sizes.json").read_text())
    own, limit = median(whole - tiny for whole, tiny in peaks), 2 * model + data + batch
    parts = f"model {model / MB:.2f}, data set {data / MB:.1f}, batch {batch / MB:.1f}"
    found = sorted((whole - tiny) / MB for whole, tiny in peaks)
    note = f"{parts}; {found[0]:.0f} to {found[-1]:.0f}, in all {median(whole for whole, _ in peaks) / MB:.0f}"
    against = "2 models, data set, batch"
    return Row(case.name, against, own / MB, limit / MB, "MB", own / limit, 1.0, True, REPETITIONS, "", note)


def child(what: str, folder: str, *arguments: str, **allocator: str) -> int:
    """Bytes that a process held at its peak; its store and reports are its own."""
    path = os.pathsep.join(filter(None, (PACKED, os.environ.get("PYTHONPATH"))))
    bytecode = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": f"{folder}/bytecode"}
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | bytecode | allocator
    with Path(folder, "told").open("w+") as told, tempfile.TemporaryDirectory() as own:
        paths = f"paths.store={own}/store", f"paths.output={own}/out"
        command = [sys.executable, __file__, what, folder, *arguments, *paths]
        process = subprocess.Popen(command, env=environment, stdout=told, stderr=told)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            told.seek(0)
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{told.read()}")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def command_line(what: str, folder: str, arguments: list[str]) -> None:
    """In a child: a run, or with `sizes` only what a run of this config deals with."""
    from unlearn.cli.run import main
    from unlearn.pipeline import plan as pipeline

    if what == "sizes":
        pipeline.run = lambda config, _: sizes(config, Path(folder, "sizes.json"))  # type: ignore[assignment]
    sys.argv[1:] = arguments
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
    os._exit(0)  # Python's end touches 100 MB more of libraries, which would hide all else


def sizes(config: Any, into: Path) -> None:
    """Bytes of model, data set and batch; nothing is run."""
    import torch
    import torch.nn.functional as F

    dataset = config.dataset
    net = config.model.net(dataset.shape, dataset.classes).train()
    state = {t.data_ptr(): t.nbytes for t in net.state_dict().values()}
    images = torch.rand(config.train.batch_size, *dataset.shape)
    kept = {images.data_ptr(): images.nbytes}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in state:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        F.cross_entropy(net(images), torch.zeros(len(images), dtype=torch.int64))
    data = (dataset.train_size + dataset.test_size) * torch.Size(dataset.shape).numel()
    into.write_text(json.dumps([sum(state.values()), data, sum(kept.values())]))
    raise SystemExit(0)


if __name__ == "__main__":
    if sys.argv[1:]:
        what, folder, *rest = sys.argv[1:]
        command_line(what, folder, rest)
    else:
        show(__file__, rows())
