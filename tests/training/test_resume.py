"""A training that was stopped at any epoch ends with the bits of one that never was."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unlearn.core.errors import StoreError
from unlearn.core.progress import DetailedTick
from unlearn.core.recipe import Recipe
from unlearn.core.types import Curve, Images
from unlearn.data.augmentation import Augmentation
from unlearn.data.loaders import Loader, PairedLoader
from unlearn.models.base import Classifier
from unlearn.training import partial as partials
from unlearn.training.classifier import ClassifierModule
from unlearn.training.partial import Partial, Progress
from unlearn.training.trainer import TrainerSettings

EPOCHS = 7
SGD = Recipe(9, 16, lr=0.1, momentum=0.9, schedule="cosine", warmup=2, clip=1.0, patience=2)
ADAM = Recipe(EPOCHS, 16, "adamw", 0.01, schedule="multistep", milestones=[2, 4], label_smoothing=0.1)


class Killed(BaseException):
    """Ends a run as no handler expects it."""


def data(n: int, seed: int) -> Images:
    """Three shades under noise: quickly learned, then learned by heart."""
    draws = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (n,), generator=draws)
    images = torch.randint(0, 200, (n, 1, 6, 6), generator=draws) + 20 * labels[:, None, None, None]
    return Images(images.to(torch.uint8), labels, torch.arange(n))


def module(recipe: Recipe) -> ClassifierModule:
    """Batch normalisation, dropout and augmentation, so that everything that draws is there."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(64, 3)
    )
    augmentation = Augmentation(1, True, flip_alternates=recipe is ADAM)
    loader = Loader(data(50, 0), recipe.batch_size, 0, "original", augmentation)
    return ClassifierModule(Classifier(net, (0.5,), (0.5,)), recipe, PairedLoader({"train": loader}), 0, "original")


def train(recipe: Recipe, precision: str, partial: Partial | None = None, tick: DetailedTick | None = None) -> Result:
    trained = module(recipe)
    curve = trained.run(TrainerSettings("cpu", precision=precision), data(30, 1), tick, partial)
    return trained.model.state_dict(), curve


Result = tuple[dict[str, Tensor], Curve]


def killed_at(epoch: int) -> DetailedTick:
    def tick(done: float, total: int, /, **details: Any) -> None:
        if done == epoch:
            raise Killed

    return tick


def same(one: Result, other: Result) -> bool:
    return one[1] == other[1] and all(torch.equal(tensor, other[0][name]) for name, tensor in one[0].items())


@pytest.mark.parametrize(("recipe", "precision"), [(SGD, "32"), (ADAM, "bf16-mixed")])
def test_resumed_at_any_epoch_it_gives_the_same_bits(tmp_path: Path, recipe: Recipe, precision: str) -> None:
    undisturbed = train(recipe, precision)
    epochs = len(undisturbed[1])
    if recipe is SGD:
        best = min(undisturbed[1], key=lambda row: row["validation_loss"])
        assert 2 < best["epoch"] + 1 < epochs < recipe.epochs  # stopped early, and put back what was best
    for epoch in range(2, epochs + 1):
        partial = Partial(tmp_path / f"{epoch}.ckpt", 0)
        with pytest.raises(Killed):
            train(recipe, precision, partial, killed_at(epoch))
        assert partial.read().epochs == epoch - 1
        assert same(train(recipe, precision, partial), undisturbed)


def test_a_training_can_be_stopped_repeatedly(tmp_path: Path) -> None:
    undisturbed, partial = train(ADAM, "32"), Partial(tmp_path / "last.ckpt", 0)
    seconds = []
    for epoch in range(2, EPOCHS + 1):
        with pytest.raises(Killed):
            train(ADAM, "32", partial, killed_at(epoch))
        seconds.append(partial.read().seconds)
    assert same(train(ADAM, "32", partial), undisturbed)
    assert seconds[0] > 0
    assert seconds == sorted(set(seconds))  # number attempt adds to what was spent before


@pytest.mark.parametrize("recipe", [SGD, ADAM])
def test_a_finished_training_is_not_repeated(tmp_path: Path, recipe: Recipe) -> None:
    partial = Partial(tmp_path / "last.ckpt", 0)
    finished, ticks = train(recipe, "32", partial), []
    assert same(train(recipe, "32", partial, lambda done, total, **details: ticks.append(done)), finished)
    assert ticks == []


def test_nothing_is_written_before_the_interval_is_over(tmp_path: Path) -> None:
    partial = Partial(tmp_path / "last.ckpt", 3600)
    train(ADAM, "32", partial)
    assert list(tmp_path.iterdir()) == []
    assert partial.read() == Progress()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def strange(path: Path) -> None:
    partials.AtomicIO().save_checkpoint({"epoch": 3}, path)


@pytest.mark.parametrize("damage", [cut, flip_a_bit, empty, strange])
def test_damage_is_reported(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    partial = Partial(tmp_path / "last.ckpt", 0)
    train(ADAM, "32", partial)
    damage(partial.path)
    with pytest.raises(StoreError, match="damaged checkpoint") as caught:
        partial.read()
    assert "\n" not in str(caught.value)


def test_other_versions_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    partial = Partial(tmp_path / "last.ckpt", 0)
    train(ADAM, "32", partial)
    monkeypatch.setattr(partials, "library_versions", lambda: {"torch": "99.0"})
    with pytest.raises(StoreError, match=r"other versions .*torch 2.*here torch 99"):
        partial.read()


def test_cluster_variables_are_ignored_and_signal_handlers_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "x", "SLURM_NTASKS": "4", "SLURM_PROCID": "2"}.items():
        monkeypatch.setenv(name, value)
    names, seen = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2), []
    before = {number: signal.signal(number, lambda *_: None) for number in names}
    try:
        ours = [signal.getsignal(number) for number in names]
        train(ADAM, "32", tick=lambda *_, **__: seen.append([signal.getsignal(number) for number in names]))
        assert seen == [ours] * EPOCHS
        assert [signal.getsignal(number) for number in names] == ours
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
