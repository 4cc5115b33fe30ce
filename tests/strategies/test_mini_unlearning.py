"""Replaying a training: from its initialisation as a loop written by hand does it, without anyone as it was."""

from __future__ import annotations

import copy
from math import inf

import pytest
import torch
import torch.nn.functional as F
from conftest import Compose, Finished, Run
from torch import Tensor, nn

from unlearn.config import instantiate
from unlearn.core.errors import ConfigError
from unlearn.core.random_streams import stream
from unlearn.core.types import Images, Subset
from unlearn.data.loaders import ExcludedSamples
from unlearn.stages.history import History
from unlearn.stages.samples import make_augmentation
from unlearn.stages.train import Train
from unlearn.strategies.base import Context, Edit
from unlearn.strategies.mini_unlearning import MiniUnlearning
from unlearn.training.partial import Partial
from unlearn.training.unlearner import UnlearnerModule, build_replay_loader

EPOCHS = 5


@pytest.fixture(scope="module")
def replayed(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """All epochs of the training, and a second cell of the last two."""
    store = tmp_path_factory.mktemp("store")
    options = ("strategy=mini_unlearning", "spd_gan=off", "train.schedule=cosine", "dataset.crop_padding=1")
    run(store, *options, "strategy.replayed=2")
    return run(store, *options, f"strategy.replayed={EPOCHS}")


def bits(model: nn.Module) -> list[bytes]:
    return [tensor.numpy().tobytes() for tensor in model.state_dict().values()]


def original(finished: Finished) -> Train:
    found = finished.outcome.plan.original
    assert isinstance(found, Train)
    return found


def chunks(n: int, size: int, epoch: int) -> list[Tensor]:
    """Batches of an epoch; a last one of a single sample joins the one before."""
    order = torch.randperm(n, generator=stream(0, "order", "original", epoch))
    parts = list(order.split(size))
    return parts if len(parts[-1]) > 1 else [*parts[:-2], torch.cat(parts[-2:])]


def test_all_epochs_are_training_from_its_initialisation_without_the_forgotten(replayed: Finished) -> None:
    stage, build_context = original(replayed), replayed.context
    data, forget = stage.samples.load(build_context), replayed.outcome.plan.unlearned.forget.load(build_context)
    assert isinstance(data, Images)
    lost = torch.isin(data.index, forget.index)
    assert lost.sum() == len(forget) > 5
    model, recipe = stage.initial(build_context).train(), stage.recipe
    optimizer = torch.optim.SGD(model.parameters(), recipe.lr, momentum=0.9, weight_decay=recipe.weight_decay)
    for epoch in range(EPOCHS):
        draws = stream(0, "augment", "original", epoch)
        parts = chunks(len(data), recipe.batch_size, epoch)
        for step, chunk in enumerate(parts):
            optimizer.param_groups[0]["lr"] = recipe.lr * recipe.lr_factor(epoch + step / len(parts))
            places = torch.randint(0, 3, (2, len(chunk)), generator=draws)
            padded = F.pad(data.images[chunk], (1, 1, 1, 1))
            moved = [image[:, r : r + 8, c : c + 8] for image, r, c in zip(padded, *places.tolist(), strict=True)]
            kept = ~lost[chunk]
            images = torch.stack(moved)[kept].float() / 255
            losses = F.cross_entropy(model(images), data.labels[chunk][kept], reduction="none")
            loss = losses.mean() if kept.all() else losses @ torch.full((len(losses),), 1 / len(chunk))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    found = replayed.outcome.plan.unlearned.load(build_context)
    assert bits(found) == bits(model)


@pytest.mark.parametrize("replays", [2, EPOCHS])
def test_without_anyone_forgotten_it_ends_as_the_original(replayed: Finished, replays: int) -> None:
    """So the history holds weights, optimizer and schedule of the very training, and changes none of it."""
    stage, build_context = original(replayed), replayed.context
    history, data = History(stage, EPOCHS - replays), stage.samples.load(build_context)
    model = copy.deepcopy(history.load(build_context)).requires_grad_(True)
    assert bits(model) != bits(stage.load(build_context))
    context = Context(model, lambda: model, {}, {Subset.TRAIN: data}, 0)
    (phase,) = MiniUnlearning(recipe=stage.recipe, replayed=replays).phases(context, Edit({}))
    nobody = data.take(torch.empty(0, dtype=torch.int64))
    loader = build_replay_loader(phase, nobody, stage.seed, stage.role, make_augmentation(replayed.config.dataset))
    kept = history.checkpoint(build_context)
    module = UnlearnerModule(model, phase, loader, stage.seed, {}, stage.role)
    module.run(build_context.hardware, None, None, None if kept is None else Partial(kept, inf))
    assert bits(model) == bits(stage.load(build_context))


def test_rows_of_the_forgotten_leave_and_losses_stay_divided_by_the_whole_batch() -> None:
    rows = ExcludedSamples(torch.tensor([False, True, False, False, True]))
    kept, weights = rows.select(torch.tensor([4, 2, 1, 0]))
    assert torch.arange(4)[kept].tolist() == [1, 3]
    assert weights is not None
    assert weights.tolist() == [0.25, 0.25]
    nothing, weights = rows.select(torch.tensor([1, 4]))
    assert torch.arange(2)[nothing].tolist() == []
    assert rows.select(torch.tensor([3, 0])) == (slice(None), None)


def test_its_history_is_no_cost_of_unlearning(replayed: Finished) -> None:
    assert not any(isinstance(stage, History) for stage in replayed.outcome.plan.unlearning_stages)


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("strategy.replayed=6", "strategy.replayed"),
        ("strategy.recipe.lr=0.3", "strategy.recipe"),
        ("train.patience=2", "train.patience"),
        ("trainer=ddp", "trainer.devices"),
    ],
)
def test_a_training_that_cannot_be_replayed_is_refused(composed: Compose, override: str, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{key}: expected"):
        instantiate(composed("strategy=mini_unlearning", f"train.epochs={EPOCHS}", override))
