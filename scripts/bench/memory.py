"""How much memory a whole run holds at its peak, beside its limit: twice the model, the data set, and the activations
of one batch.

    MNIST=folder PACKED=cifar10.npz python scripts/bench/memory.py

A run is a process of its own, of which the kernel says how much it held (`/usr/bin/time -v` says the same). What the
same libraries take when they are only imported is subtracted, but not what they take when they are first used, which
is nearly all that the rows of digits show. MNIST is the folder that torchvision reads, PACKED what scripts/gpu/pack.py
makes (of 200 images of each class, or predictions take minutes); without them, their rows are left out, by name.

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
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from table import MB, Row
from table import run as show

LARGE = 64 * MB
PACKED = str(Path(__file__).resolve().parents[1] / "gpu")  # where `packed.py` is
CIFAR = (
    *("dataset=python", "dataset.factory=packed:cifar10", "dataset.crop_padding=4", "dataset.flip=true"),
    *("dataset.limit=2000", "model=resnet18", "train.epochs=1", "strategy.recipe.epochs=1", "spd_gan=off"),
)


class Case(NamedTuple):
    """What is run, and the variable of the environment that says where its data are."""

    name: str
    needs: str | None
    arguments: tuple[str, ...]


CASES = (
    Case("digits, CNN", None, ("spd_gan=off",)),
    Case("digits, CNN, SPD-GAN", None, ("spd_gan=marker", "spd_gan.steps=50")),
    Case("MNIST 10,000, CNN", "MNIST", ("+experiment=mnist", "train.epochs=2")),
    Case("MNIST 10,000, CNN, 16 shadows", "MNIST", ("+experiment=mnist", "train.epochs=1", "attacks=lira")),
    Case("CIFAR-10 2,000, ResNet-18", "PACKED", CIFAR),
)


def rows() -> Iterator[Row]:
    """Of each case what it held beyond its imports. This process stays slim: a child's peak is never under its
    parent's."""
    for case in CASES:
        if case.needs is None or case.needs in os.environ:
            yield row(case)
        else:
            print(f"{case.name}: left out, {case.needs} is not set")


def row(case: Case) -> Row:
    """Run it, import what it imported, and compute its limit."""
    with tempfile.TemporaryDirectory() as folder:
        place = f"dataset.root={os.environ['MNIST']}" if case.needs == "MNIST" else "seed=0"
        arguments = (*case.arguments, place, f"paths.store={folder}/store", f"paths.output={folder}/out")
        own = child("run", folder, *arguments) - child("import", folder)
        child("sizes", folder, *arguments)
        model, data, batch = json.loads(Path(folder, "sizes.json").read_text())
    limit = 2 * model + data + batch
    parts = f"model {model / MB:.2f}, data set {data / MB:.1f}, batch {batch / MB:.1f}"
    against = "2 models, data set, batch"
    goal = 1.0 if limit > LARGE else None  # what libraries take on first use is more than all of a small run
    return Row(case.name, against, own / MB, limit / MB, "MB", own / limit, goal, True, 1, "", parts)


def child(what: str, folder: str, *arguments: str) -> int:
    """Bytes that a process held at its peak."""
    path = os.pathsep.join(filter(None, (PACKED, os.environ.get("PYTHONPATH"))))
    command = [sys.executable, __file__, f"--{what}", folder, *arguments]
    with Path(folder, "told").open("w+") as told:
        process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path}, stdout=told, stderr=told)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            told.seek(0)
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{told.read()}")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def run(folder: str, arguments: list[str]) -> None:
    """In a child: the command line, and a note of what it imported."""
    from unlearn.cli.run import main as unlearn

    sys.argv[1:] = arguments
    try:
        unlearn()
    finally:
        Path(folder, "modules.json").write_text(json.dumps(sorted(sys.modules)))


def imports(folder: str) -> None:
    """In a child: only import what the run did."""
    for name in json.loads(Path(folder, "modules.json").read_text()):
        try:
            import_module(name)
        except Exception:  # what only exists within another, or once it was set up
            continue


def sizes(folder: str, arguments: list[str]) -> None:
    """In a child: bytes of the model, of all images, and of what one training step keeps; nothing is run."""
    from unlearn import pipeline

    def measure(config: Any, _: Any) -> None:
        Path(folder, "sizes.json").write_text(json.dumps(sizes_of(config)))
        raise SystemExit(0)

    pipeline.run = measure  # type: ignore[assignment]
    run(folder, arguments)


def sizes_of(config: Any) -> tuple[int, int, int]:
    """Bytes of model, data set and batch."""
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
    per_image = torch.Size(dataset.shape).numel()
    data = (dataset.train_size + dataset.test_size) * per_image
    return sum(state.values()), data, sum(kept.values())


if __name__ == "__main__":
    what, *rest = sys.argv[1:] or [""]
    if what == "--run":
        run(rest[0], rest[1:])
    elif what == "--import":
        imports(rest[0])
    elif what == "--sizes":
        sizes(rest[0], rest[1:])
    else:
        show(__file__, rows())
