"""Measures the peak memory of a run against a limit: twice the model, the data set, and activations of one batch.

    MNIST=folder PACKED=cifar10.npz python scripts/bench/memory.py

A run is a process of its own with one thread. The kernel reports its peak before it ends; `/usr/bin/time -v` adds what
Python touches of its libraries when it exits. Most of the peak is libraries, so the peak of the same command on a few
images of the bundled digits is subtracted. glibc keeps much of the freed memory and may or may not reuse it for the
next tensor; `in use` is the same measurement with all larger blocks returned at once.

MNIST is the folder that torchvision reads, PACKED a file from scripts/gpu/pack.py (with 200 images per class, else
predictions take minutes). Without them, their rows are left out, with a message.

`model`: parameters and buffers. `data set`: the bytes of all its images, used or not. `batch`: the images of
one training step and what it keeps for its backward pass. Gradients and momenta, which training also needs, are another
twice the model.
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
RETURN_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
TINY = ("dataset=digits", "dataset.limit=100", "model=cnn", "spd_gan=off", "train.epochs=1")


class Case(NamedTuple):
    """A command, and the environment variable that names its data."""

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
    """Measure each case twice. This process must stay small, since a child's peak is at least its parent's memory."""
    for case in CASES:
        if case.needs in os.environ:
            yield row(case, {})
            yield row(case._replace(name=f"in use, {case.name}"), RETURN_MEMORY)
        else:
            print(f"{case.name}: left out, {case.needs} is not set")


def row(case: Case, allocator: dict[str, str]) -> Row:
    """Measure both runs in turn, and compute the limit."""
    root = (f"dataset.root={os.environ['MNIST']}",) if case.needs == "MNIST" else ()
    arguments = (*case.data, *root, *case.more)
    sides = arguments, (*TINY, *case.more)
    with tempfile.TemporaryDirectory() as folder:
        child("run", folder, *TINY, *case.more)  # leaves bytecode for the others
        peaks = [[child("run", folder, *side, **allocator) for side in sides] for _ in range(REPETITIONS)]
        child("sizes", folder, *arguments)
        model, data, batch = json.loads(Path(folder, "sizes.json").read_text())
    extra, limit = median(whole - tiny for whole, tiny in peaks), 2 * model + data + batch
    parts = f"model {model / MB:.2f}, data set {data / MB:.1f}, batch {batch / MB:.1f}"
    extras = sorted((whole - tiny) / MB for whole, tiny in peaks)
    note = f"{parts}; {extras[0]:.0f} to {extras[-1]:.0f}, in all {median(whole for whole, _ in peaks) / MB:.0f}"
    against = "2 models, data set, batch"
    return Row(case.name, against, extra / MB, limit / MB, "MB", extra / limit, 1.0, True, REPETITIONS, "", note)


def child(mode: str, folder: str, *arguments: str, **allocator: str) -> int:
    """Run a process with its own store and reports; returns its peak memory in bytes."""
    path = os.pathsep.join(filter(None, (PACKED, os.environ.get("PYTHONPATH"))))
    bytecode = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": f"{folder}/bytecode"}
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | bytecode | allocator
    with Path(folder, "log").open("w+") as log, tempfile.TemporaryDirectory() as output:
        paths = f"paths.store={output}/store", f"paths.output={output}/out"
        command = [sys.executable, __file__, mode, folder, *arguments, *paths]
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{log.read()}")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def command_line(mode: str, folder: str, arguments: list[str]) -> None:
    """In a child, do a run, or with the mode `sizes` only compute the sizes for the limit."""
    from unlearn.cli.run import main
    from unlearn.pipeline import plan as pipeline

    if mode == "sizes":
        pipeline.run = lambda config, _: sizes(config, Path(folder, "sizes.json"))  # type: ignore[assignment]
    sys.argv[1:] = arguments
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
    os._exit(0)  # Python's exit touches another 100 MB of libraries, which would hide the rest


def sizes(config: Any, into: Path) -> None:
    """Write the bytes of model, data set and batch, without a run."""
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
        mode, folder, *rest = sys.argv[1:]
        command_line(mode, folder, rest)
    else:
        show(__file__, rows())
