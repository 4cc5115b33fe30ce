"""Measures the hot paths on a GPU against their rivals: checks for equal results, then times both sides in turn.

    python scripts/gpu/rows.py cifar10.npz [training] [importance] [stacked] [selection]

Without names, it measures all rows. A row that fails is reported and does not stop the others; the exit status is then
1. DEVICE=cuda (the default) or cpu. TOY=1: sizes for a minute on a CPU. Times are medians of wall times over
interleaved repetitions after a warm-up, with the device synchronised. Results are compared with TF32 off.
"""

from __future__ import annotations

import copy
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.core.batch import iter_batches
from unlearn.core.progress import ignore_tick
from unlearn.core.recipe import Recipe
from unlearn.core.types import Images
from unlearn.data.loaders import Augmentation, Loader, PairedLoader
from unlearn.functional.parameter_scores import GradientStatistic
from unlearn.functional.top_k import top_k_mask
from unlearn.models.base import Classifier
from unlearn.models.cnn import Cnn
from unlearn.models.resnet18 import Resnet18
from unlearn.stages.machine import describe_machine, installed_versions
from unlearn.training.classifier import ClassifierModule
from unlearn.training.stacked import fit_stacked
from unlearn.training.trainer import TrainerSettings

DEVICE, TOY = os.environ.get("DEVICE", "cuda"), os.environ.get("TOY", "") not in ("", "0")
SETTINGS = TrainerSettings(accelerator="cpu" if DEVICE == "cpu" else "gpu", deterministic=False)
REPETITIONS = 1 if TOY else 5
TRAINED, ONE_BY_ONE, SCORED, STACKED = (32, 2, 4, 64) if TOY else (20_000, 64, 2048, 6400)  # images
MODELS, ENTRIES = (4, 10**6) if TOY else (32, 10**8)
EPOCHS = 4  # for training in turn: enough steps that the fixed cost of a training does not matter
COMPARED = 3  # steps after which stacked models are compared: each step amplifies the difference from rounding
NORMALISATION = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


def main(path: str, *names: str) -> int:
    """Print the rows with these names, or all; returns the exit status."""
    SETTINGS.apply()
    torch.set_num_threads(1)  # one thread feeds a GPU, and toy sizes need no more
    with np.load(path) as packed:
        images, labels = torch.from_numpy(packed["train"]), torch.from_numpy(packed["train_labels"])
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    data = Images(images, labels, torch.arange(len(labels))).take(order)
    hardware, packages = describe_machine(SETTINGS), installed_versions()
    print(f"{datetime.now(UTC):%Y-%m-%d}; {hardware['device']}; {hardware['cpu']}, {hardware['cores']} cores; ", end="")
    print(", ".join(f"{name} {packages[name]}" for name in ("torch", "pytorch-lightning", "python", "commit")))
    print(f"CIFAR-10 from {Path(path).name}, n = {REPETITIONS}" + "; TOY, a small CNN for ResNet-18: no figures" * TOY)
    failed = [name for name in names or ROWS if not run_row(name, data)]
    print(f"failed: {', '.join(failed)}" if failed else "all rows")
    return 1 if failed else 0


def run_row(name: str, data: Images) -> bool:
    """Print one row; returns False, and prints the error, if it fails."""
    try:
        ROWS[name](data)
    except Exception as error:  # the other rows do not depend on this one
        traceback.print_exc()
        print(f"{name}: failed: {type(error).__name__}: {error}", flush=True)
        return False
    return True


def row(name: str, unit: str, ours: Callable[[], float], rivals: Mapping[str, Callable[[], float]]) -> None:
    """Print units of work per second, and the ratio. Each side returns seconds per unit of work."""
    sides = (ours, *rivals.values())
    for side in () if TOY else sides:
        side()
    rounds = [[side() for side in sides] for _ in range(REPETITIONS)]
    mine = median(times[0] for times in rounds)
    print(f"{name:46} {1 / mine:12.1f} {unit}", flush=True)
    for column, rival in enumerate(rivals, start=1):
        theirs, ratio = median(times[column] for times in rounds), median(times[column] / times[0] for times in rounds)
        print(f"{'  against ' + rival:46} {1 / theirs:12.1f} {unit}   ratio {ratio:.2f}", flush=True)


def seconds(work: Callable[[], Any]) -> float:
    """Return the seconds until the device has finished the work."""
    if DEVICE != "cpu":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if DEVICE != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def resnet18() -> Classifier:
    """Return a ResNet-18 with the same initial weights every time; at toy size, a small CNN."""
    torch.manual_seed(0)
    return Classifier((Cnn() if TOY else Resnet18()).net((3, 32, 32), 10), *NORMALISATION)


def training(data: Images) -> None:
    """Measure one epoch of ResNet-18, batch 256, random crop and flip."""
    data = data.take(torch.arange(min(TRAINED, len(data))))
    recipe = Recipe(epochs=1, batch_size=16 if TOY else 256, lr=0.01)
    resident = data.to(DEVICE)

    def ours(precision: str, tf32: bool = False) -> float:
        loader = Loader(resident, recipe.batch_size, 0, "bench", Augmentation(crop_padding=4, flip=True))
        module = ClassifierModule(resnet18().to(DEVICE), recipe, PairedLoader({"train": loader}), 0, "bench")
        settings = replace(SETTINGS, precision=precision, tf32=tf32)
        return seconds(lambda: module.run(settings)) / len(data)

    from usual import fit, loader_of  # the rival

    for workers in (0, min(16, os.cpu_count() or 1)):
        batches = loader_of(data, recipe.batch_size, workers)
        name = f"PIL, DataLoader({workers}), Lightning"

        def rival(batches: Any = batches) -> float:
            model = resnet18()
            return seconds(lambda: fit(model, batches, recipe, DEVICE)) / len(data)

        row("ResNet-18, float32, data on the device", "images/s", lambda: ours("32"), {name: rival})
    others = {"float32": lambda: ours("32"), "float32 with TF32": lambda: ours("32", tf32=True)}
    row("ResNet-18, bf16-mixed", "images/s", lambda: ours("bf16-mixed"), others)


def importance(data: Images) -> None:
    """Measure mean squared gradients of ResNet-18, as the score stage computes them."""
    model = resnet18().eval().to(DEVICE)
    statistic = GradientStatistic("mean_square")

    def ours(n: int) -> dict[str, Tensor]:
        subset = data.take(torch.arange(n)).to(DEVICE)
        return statistic.compute(model, ((b.images, b.labels) for b in iter_batches(subset, 256)))

    def rival(n: int) -> dict[str, Tensor]:
        subset = data.take(torch.arange(n)).to(DEVICE)
        total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
        for batch in iter_batches(subset, 1):
            grads = torch.autograd.grad(F.cross_entropy(model(batch.images), batch.labels), list(model.parameters()))
            for sum_, grad in zip(total.values(), grads, strict=True):
                sum_.addcmul_(grad, grad, value=1 / n)
        return total

    mine, theirs = ours(ONE_BY_ONE), rival(ONE_BY_ONE)
    difference = max(float((mine[name] - score).norm() / score.norm()) for name, score in theirs.items())
    # 2e-4 on a CPU: rounding changes the sign of a few ReLU inputs between passes
    name = f"importance (equal to {format_difference(difference, 1e-2)})"
    slow = {"batches of one": lambda: seconds(lambda: rival(ONE_BY_ONE)) / ONE_BY_ONE}
    row(name, "images/s", lambda: seconds(lambda: ours(SCORED)) / SCORED, slow)


def stacked(data: Images) -> None:
    """Measure training small CNNs, each on other images; in turn, two of them stand for all."""
    recipe = Recipe(epochs=1, batch_size=64, lr=0.01)
    parts = [data.take((torch.arange(STACKED) + 97 * seed) % len(data)).to(DEVICE) for seed in range(MODELS)]
    loaders = [Loader(part, recipe.batch_size, seed, "bench") for seed, part in enumerate(parts)]
    few = parts[0].take(torch.arange(16, device=DEVICE))
    fresh: list[nn.Module] = []
    for seed in range(MODELS):
        torch.manual_seed(seed)
        fresh.append(Classifier(Cnn().net((3, 32, 32), 10), *NORMALISATION).to(DEVICE))

    def at_once(batches: Sequence[Loader] = loaders) -> list[nn.Module]:
        models = copy.deepcopy(fresh)
        fit_stacked(models, batches, recipe, few, ignore_tick)
        return models

    def in_turn(batches: Sequence[Loader] = loaders, epochs: int = EPOCHS) -> list[nn.Module]:
        models = copy.deepcopy(fresh[:2])
        for model, loader in zip(models, batches, strict=False):
            longer = replace(recipe, epochs=epochs)
            module = ClassifierModule(model, longer, PairedLoader({"train": loader}), loader.seed, loader.role)
            module.run(SETTINGS, few)
        return models

    first = torch.arange(min(STACKED, COMPARED * recipe.batch_size), device=DEVICE)
    short = [Loader(part.take(first), recipe.batch_size, seed, "bench") for seed, part in enumerate(parts)]
    pairs = zip(at_once(short), in_turn(short, 1), strict=False)
    states = [zip(a.state_dict().values(), b.state_dict().values(), strict=True) for a, b in pairs]
    difference = max(float((a - b).abs().max()) for pair in states for a, b in pair)
    name = (
        f"{MODELS} CNNs stacked, batch 64 (equal to {format_difference(difference, 1e-3)} after {len(short[0])} steps)"
    )
    slow = {"one after another": lambda: seconds(in_turn) / 2 / EPOCHS}
    row(name, "models/s", lambda: seconds(at_once) / MODELS, slow)


def format_difference(difference: float, limit: float) -> str:
    """Format the difference of two sides.

    Raises:
        AssertionError: The difference exceeds the limit.
    """
    if not difference <= limit:
        raise AssertionError(f"the sides differ by {difference:.1e}, expected at most {limit:.0e}")
    return f"{difference:.0e}"


def selection(_: Images) -> None:
    """Measure the selection of exactly K entries from 62 tensors on the device."""
    for fraction in (0.01, 0.1, 0.5):
        select(fraction)


def select(fraction: float) -> None:
    """Measure the selection of the largest fraction of all entries."""
    draws = torch.Generator(DEVICE).manual_seed(0)
    values = torch.randn(ENTRIES, generator=draws, device=DEVICE).abs()
    scores = {str(number): part for number, part in enumerate(values.tensor_split(62))}
    count = round(fraction * ENTRIES)

    def topk() -> Tensor:
        mask = torch.zeros(ENTRIES, dtype=torch.bool, device=DEVICE)
        mask[torch.cat(list(scores.values())).topk(count, sorted=False).indices] = True
        return mask

    copied = {name: score.cpu() for name, score in scores.items()}
    mine, expected = top_k_mask(scores, count), top_k_mask(copied, count)
    if not all(torch.equal(mine[name].cpu(), mask) for name, mask in expected.items()):
        raise AssertionError("largest: another selection on the device than on the CPU")
    rivals = {
        "torch.topk of the concatenation": lambda: seconds(topk),
        "largest on the CPU, copies included": lambda: seconds(on_cpu),
    }

    def on_cpu() -> None:
        masks = top_k_mask({name: score.cpu() for name, score in scores.items()}, count)
        for mask in masks.values():
            mask.to(DEVICE)

    row(
        f"the largest {fraction:.0%} of {ENTRIES:.0e}",
        "times/s",
        lambda: seconds(lambda: top_k_mask(scores, count)),
        rivals,
    )


ROWS: dict[str, Callable[[Images], None]] = {
    "training": training,
    "importance": importance,
    "stacked": stacked,
    "selection": selection,
}

if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
