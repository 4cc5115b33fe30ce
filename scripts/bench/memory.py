"""How much memory a whole run holds at its peak, beside its limit: twice the model, the data set, and the activations
of one batch; and beside a bare loop in plain torch that reads the same data, trains original and retrained, and
predicts.

    MNIST=folder PACKED=cifar10.npz python scripts/bench/memory.py

A run is a process of its own, on one thread, of which the kernel says how much it held before its end (`/usr/bin/time
-v` counts that too). Subtracted is what the same libraries take when they are imported and first used, by one step and
one prediction of a tiny CNN on two images and one fit of two points: pages of their code, and kernels that are
compiled. MNIST is the folder that torchvision reads, PACKED what scripts/gpu/pack.py makes (of 200 images of each
class, or predictions take minutes); without them, their rows are left out, by name.

`libraries`: what their first use takes, of what is subtracted. `model`: parameters and buffers. `data set`: the bytes
of all its images, whether they take part or not. `batch`: what one training step keeps for its backward pass, and its
images. Gradients and momenta, which training needs besides, are twice the model once more.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from table import MB, Row
from table import run as show

LARGE = 64 * MB
PACKED = str(Path(__file__).resolve().parents[1] / "gpu")  # where `packed.py` is
CIFAR = (
    *("dataset=python", "dataset.factory=packed:cifar10", "dataset.crop_padding=4", "dataset.flip=true"),
    *("dataset.limit=2000", "model=resnet18", "train.epochs=1", "strategy.recipe.epochs=1", "spd_gan=off"),
)


class Case(NamedTuple):
    """What is run, the variable of the environment that says where its data are, and whether a bare loop is too."""

    name: str
    needs: str | None
    arguments: tuple[str, ...]
    bare: bool = False


CASES = (
    Case("digits, CNN", None, ("spd_gan=off",)),
    Case("digits, CNN, SPD-GAN", None, ("spd_gan=marker", "spd_gan.steps=50")),
    Case("MNIST 10,000, CNN", "MNIST", ("+experiment=mnist", "train.epochs=2"), bare=True),
    Case("MNIST 10,000, CNN, 16 shadows", "MNIST", ("+experiment=mnist", "train.epochs=1", "attacks=lira")),
    Case("CIFAR-10 2,000, ResNet-18", "PACKED", CIFAR, bare=True),
)


def rows() -> Iterator[Row]:
    """Of each case what it held beyond its libraries. This process stays slim: a child's peak is never under its
    parent's."""
    for case in CASES:
        if case.needs is None or case.needs in os.environ:
            yield from rows_of(case)
        else:
            print(f"{case.name}: left out, {case.needs} is not set")


def rows_of(case: Case) -> Iterator[Row]:
    """Run it, use what it imported, and compute its limit. A small run goes first and leaves bytecode for the others:
    compiling it leaves holes, of any size, in which a run's own things then lie."""
    with tempfile.TemporaryDirectory() as folder:
        place = f"dataset.root={os.environ['MNIST']}" if case.needs == "MNIST" else "seed=0"
        arguments = (*case.arguments, place, f"paths.store={folder}/store", f"paths.output={folder}/out")
        child("run", folder, *arguments, "dataset.limit=200", "train.epochs=1", f"paths.store={folder}/other")
        whole, imported, used = (child(what, folder, *arguments) for what in ("run", "import", "use"))
        child("sizes", folder, *arguments)
        model, data, batch = json.loads(Path(folder, "sizes.json").read_text())
        bare = child("bare", folder, *arguments) - used if case.bare else 0
    own, limit, libraries = whole - used, 2 * model + data + batch, used - imported
    parts = f"model {model / MB:.2f}, data set {data / MB:.1f}, batch {batch / MB:.1f}, libraries {libraries / MB:.0f}"
    against = "2 models, data set, batch"
    goal = 1.0 if limit > LARGE else None  # what a run holds besides is more than all of a small one's limit
    yield Row(case.name, against, own / MB, limit / MB, "MB", own / limit, goal, True, 1, "", parts)
    if bare:
        yield Row(case.name, "a bare loop", own / MB, bare / MB, "MB", own / bare, None, True, 1, "")


def child(what: str, folder: str, *arguments: str) -> int:
    """Bytes that a process held at its peak."""
    path = os.pathsep.join(filter(None, (PACKED, os.environ.get("PYTHONPATH"))))
    command = [sys.executable, __file__, f"--{what}", folder, *arguments]
    bytecode = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": f"{folder}/bytecode"}
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | bytecode
    with Path(folder, "told").open("w+") as told:
        process = subprocess.Popen(command, env=environment, stdout=told, stderr=told)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            told.seek(0)
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{told.read()}")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def leave(what: str, rest: list[str]) -> NoReturn:
    """In a child: do it, and end without tearing the interpreter down, which touches 100 MB more of libraries' pages
    than any stage of a run, or not, as it happens."""
    work = {"--run": run, "--import": imports, "--use": use, "--bare": bare, "--sizes": sizes}[what]
    status: int | str | None = 1
    try:
        work(rest[0], rest[1:])
        status = 0
    except SystemExit as end:
        status = end.code
    except Exception:
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(status if isinstance(status, int) else bool(status))


def run(folder: str, arguments: list[str]) -> None:
    """In a child: the command line, and a note of what it imported."""
    try:
        unlearn(arguments)
    finally:
        Path(folder, "modules.json").write_text(json.dumps(sorted(sys.modules)))


def unlearn(arguments: list[str]) -> None:
    """The command line."""
    from unlearn.cli.run import main

    sys.argv[1:] = arguments
    main()


def imports(folder: str, _: list[str]) -> None:
    """In a child: only import what the run did."""
    for name in json.loads(Path(folder, "modules.json").read_text()):
        try:
            import_module(name)
        except Exception:  # what only exists within another, or once it was set up
            continue


def use(folder: str, _: list[str]) -> None:
    """In a child: import what the run did, and use of it what takes memory when it is first used."""
    imports(folder, [])
    import torch

    layers = torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(256, 2)
    net, images = torch.nn.Sequential(*layers), torch.rand(2, 1, 8, 8)
    step(net, torch.optim.SGD(net.parameters(), 0.1, momentum=0.9), images, torch.tensor([0, 1]))
    with torch.no_grad():
        net(images.to(memory_format=torch.channels_last))
    if "sklearn" in sys.modules:
        from sklearn.linear_model import LogisticRegression

        LogisticRegression().fit([[0.0], [1.0]], [0, 1])


def step(net: Any, optimizer: Any, images: Any, labels: Any) -> None:
    """One of plain training."""
    import torch.nn.functional as F

    optimizer.zero_grad()
    F.cross_entropy(net(images), labels).backward()
    optimizer.step()


def bare(folder: str, arguments: list[str]) -> None:
    """In a child that imports what the run did: a loop in plain torch on the run's data, model and recipe."""
    imports(folder, [])
    instead_of_running(arguments, train_and_predict)


def train_and_predict(config: Any) -> None:
    """Original and retrained, one after the other, and their predictions on all that took part, and on the test set."""
    import torch

    contents, n = config.dataset.load(), config.dataset.size
    (images, labels, _), test = vars(contents.train).values(), contents.test.images
    predicted = []
    for _ in range(2):
        net = config.model.net(config.dataset.shape, config.dataset.classes).train()
        optimizer = config.train.make_optimizer(net.parameters())
        for _ in range(config.train.epochs):
            for chosen in torch.randperm(n).split(config.train.batch_size):
                step(net, optimizer, images[chosen].float().div_(255), labels[chosen])
        with torch.no_grad():
            for part in (images[:n], test):
                predicted += [net.eval()(batch.float().div_(255)) for batch in part.split(128)]


def sizes(folder: str, arguments: list[str]) -> None:
    """In a child: bytes of the model, of all images, and of what one training step keeps; nothing is run."""
    told = Path(folder, "sizes.json")
    instead_of_running(arguments, lambda config: told.write_text(json.dumps(sizes_of(config))))


def instead_of_running(arguments: list[str], work: Callable[[Any], object]) -> None:
    """Do some `work` with a run's config in place of the run."""
    from unlearn import pipeline

    def done(config: Any, _: Any) -> None:
        work(config)
        raise SystemExit(0)

    pipeline.run = done  # type: ignore[assignment]
    unlearn(arguments)


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
    if what:
        leave(what, rest)
    show(__file__, rows())
