"""Steps of `first_day.sh` that do not run the command: `python scripts/gpu/day_torch.py STEP FOLDER`.

A step prints its measurements. It fails if a result is wrong, never because something is slow.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
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
from unlearn.core.types import Curve, Images
from unlearn.data.augmentation import Augmentation
from unlearn.data.datasets.digits import Digits
from unlearn.data.loaders import Loader, PairedLoader
from unlearn.functional.parameter_scores import GradientStatistic
from unlearn.models.base import Classifier
from unlearn.models.cnn import Cnn
from unlearn.models.resnet18 import Resnet18
from unlearn.stages.machine import describe_machine, installed_versions
from unlearn.training import trainer
from unlearn.training.classifier import ClassifierModule
from unlearn.training.layout import channels_last, lay_out_weights
from unlearn.training.partial import Partial
from unlearn.training.stacked import fit_stacked
from unlearn.training.trainer import TrainerSettings

DEVICE, TOY = os.environ.get("DEVICE", "cuda"), os.environ.get("TOY", "") not in ("", "0")
SETTINGS = TrainerSettings("cpu" if DEVICE == "cpu" else "gpu")
REPETITIONS = 2 if TOY else 20  # steps that are timed
BATCH, MODELS, SCORED = (8, 4, 8) if TOY else (256, 32, 1024)
NORMALISATION = ((0.5,) * 3, (0.25,) * 3)


class Killed(BaseException):
    """Ends a training in a way that no handler catches."""


def versions_step(_: Path) -> None:
    """Print hardware and versions."""
    hardware, packages = describe_machine(SETTINGS), installed_versions()
    print("; ".join(f"{name} {value}" for name, value in (hardware | packages).items()))
    if DEVICE != "cpu":
        free, total = torch.cuda.mem_get_info()
        print(f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}, {free / 2**30:.0f} GiB free", end="")
        print(f" of {total / 2**30:.0f}; capability {torch.cuda.get_device_capability()}")


def digits() -> Images:
    """Return training images of digits on the device."""
    return Digits().load().train.take(torch.arange(64 if TOY else 1000)).to(DEVICE)


def train(settings: TrainerSettings, epochs: int, kept: Partial | None = None, stop: int = 0) -> tuple[Any, Curve]:
    """Train a small net with dropout; returns weights and curve. `stop` interrupts it after this number of epochs."""
    torch.manual_seed(0)
    model = Classifier(Cnn(width=8, hidden=32, dropout=0.2).net(Digits.shape, 10), *Digits.normalisation).to(DEVICE)
    recipe = Recipe(epochs=epochs, batch_size=32)
    loader = PairedLoader({"train": Loader(digits(), 32, 0, "original", Augmentation(1, True))})

    def tick(done: int, _: int) -> None:
        if done == stop:
            raise Killed

    curve = ClassifierModule(model, recipe, loader, 0, "original").run(settings, digits(), tick, kept)
    return model.state_dict(), curve


def resume_step(folder: Path) -> None:
    """Train twice, and once more with an interruption; expects equal bits."""
    once, again = train(SETTINGS, 4), train(SETTINGS, 4)
    kept = Partial(folder / "resume" / "last.ckpt", 0)
    kept.drop()
    try:
        train(SETTINGS, 4, kept, stop=3)
    except Killed:
        print(f"interrupted, {kept.read().epochs} epochs are kept")
    for name, other in (("trained again", again), ("interrupted and resumed", train(SETTINGS, 4, kept))):
        differ = [key for key, value in once[0].items() if not torch.equal(value, other[0][key])]
        if differ or once[1] != other[1]:
            raise SystemExit(f"{name}: expected the same bits, got others in {differ or 'the curve'}")
        print(f"{name}: the same bits")


def precisions_step(_: Path) -> None:
    """Print validation loss and accuracy of a small net in each precision."""
    for precision in ("32", "bf16-mixed", "16-mixed") if DEVICE != "cpu" else ("32", "bf16-mixed"):
        _, curve = train(replace(SETTINGS, precision=precision), 2 if TOY else 8)
        print(f"{precision:12} accuracy {curve[-1]['validation_accuracy']:.4f} loss {curve[-1]['validation_loss']:.4f}")


def net() -> Classifier:
    """Return a ResNet-18 with the stem for CIFAR; at toy size, a small CNN."""
    torch.manual_seed(0)
    return Classifier((Cnn(width=4, hidden=8) if TOY else Resnet18()).net((3, 32, 32), 10), *NORMALISATION).to(DEVICE)


def images(n: int) -> Images:
    """Return random images of CIFAR's shape on the device."""
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (n, 3, 32, 32), generator=draws).to(torch.uint8)
    return Images(pixels, torch.randint(0, 10, (n,), generator=draws), torch.arange(n)).to(DEVICE)


def wait() -> None:
    """Wait until the device has finished its work."""
    if DEVICE != "cpu":
        torch.cuda.synchronize()


def seconds(work: Callable[[], Any], repetitions: int = 1) -> float:
    """Return the median of seconds."""
    times = []
    for _ in range(repetitions):
        wait()
        start = time.perf_counter()
        work()
        wait()
        times.append(time.perf_counter() - start)
    return median(times)


def profile_step(_: Path) -> None:
    """Print milliseconds and images per second of a training step under different settings."""
    plain = {"tf32": False, "bf16": False, "last": False, "fill": False, "deterministic": True}
    changes: dict[str, dict[str, bool]] = {
        "float32, deterministic": {},
        "with uninitialised memory filled": {"fill": True},
        "TF32": {"tf32": True},
        "bf16": {"bf16": True},
        "channels last": {"last": True},
        "TF32, channels last": {"tf32": True, "last": True},
        "bf16, channels last": {"bf16": True, "last": True},
        "bf16, channels last, not deterministic": {"bf16": True, "last": True, "deterministic": False},
    }
    for name, change in changes.items():
        took = seconds_of_step(**(plain | change))
        print(f"{name:42} {1000 * took:8.2f} ms {BATCH / took:10.0f} images/s", flush=True)


def seconds_of_step(tf32: bool, bf16: bool, last: bool, fill: bool, deterministic: bool) -> float:
    """Measure forward, backward and update on one batch."""
    trainer.FILL_UNINITIALISED = fill
    replace(SETTINGS, deterministic=deterministic).apply()
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
    model, data = net().train(), images(BATCH)
    pixels = data.images.float() / 255
    if last:
        lay_out_weights(model)
        pixels = channels_last(pixels)
    optimizer = Recipe(lr=0.01).make_optimizer(model)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(DEVICE, torch.bfloat16, enabled=bf16):
            loss = F.cross_entropy(model(pixels), data.labels)
        loss.backward()
        optimizer.step()

    seconds(step, 3)
    return seconds(step, REPETITIONS)


def room_step(_: Path) -> None:
    """Print images per second for squared gradients of each sample, by batch size."""
    model, data, statistic = net().eval(), images(SCORED), GradientStatistic("mean_square")
    for size in (1, 8, 64, 256, 1024):
        n = min(SCORED, 16 * size)
        subset = data.take(torch.arange(n, device=data.labels.device))

        def work(subset: Images = subset, size: int = size) -> dict[str, Tensor]:
            return statistic.compute(model, ((b.images, b.labels) for b in iter_batches(subset, size)))

        work()
        print(f"batches of {size:5} {n / seconds(work):10.1f} images/s", flush=True)


def stacked_step(_: Path) -> None:
    """Compare training small CNNs at once with single trainings: weights after a few steps, and speed."""
    SETTINGS.apply()
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    data, recipe = images(4 * 64), Recipe(epochs=1, batch_size=64, lr=0.01)
    loaders = [Loader(data, 64, seed, "shadow") for seed in range(MODELS)]

    def fresh(count: int) -> list[nn.Module]:
        models: list[nn.Module] = []
        for seed in range(count):
            torch.manual_seed(seed)
            models.append(Classifier(Cnn(width=4 if TOY else 32).net((3, 32, 32), 10), *NORMALISATION).to(DEVICE))
        return models

    def at_once() -> list[nn.Module]:
        models = fresh(MODELS)
        fit_stacked(models, loaders, recipe, data.take(torch.arange(16, device=DEVICE)), ignore_tick)
        return models

    def in_turn() -> list[nn.Module]:
        models = fresh(2)
        for model, loader in zip(models, loaders, strict=False):
            ClassifierModule(model, recipe, PairedLoader({"train": loader}), loader.seed, loader.role).run(SETTINGS)
        return models

    pairs = zip(at_once(), in_turn(), strict=False)
    states = [zip(a.state_dict().values(), b.state_dict().values(), strict=True) for a, b in pairs]
    difference = max(float((a - b).abs().max()) for pair in states for a, b in pair)
    print(f"after {len(loaders[0])} steps weights differ by {difference:.1e}")
    stacked, single = seconds(at_once, 3) / MODELS, seconds(in_turn, 3) / 2
    print(f"{MODELS} at once {1000 * stacked:.1f} ms a model, alone {1000 * single:.1f}: {single / stacked:.1f} times")
    if difference > 1e-4:
        raise SystemExit(f"stacked: expected weights within 1e-4, got {difference:.1e}")


def toy_step(_: Path) -> None:
    """Write a few images in place of CIFAR-10."""
    draws, labels = np.random.default_rng(0), np.arange(200) % 10
    pixels = draws.integers(0, 256, (200, 3, 32, 32)).astype(np.uint8)
    parts = {"train": pixels, "train_labels": labels, "test": pixels[:100], "test_labels": labels[:100]}
    np.savez(os.environ["PACKED"], **parts)


if __name__ == "__main__":
    SETTINGS.apply()
    globals()[f"{sys.argv[1]}_step"](Path(sys.argv[2]))
