"""Measures how time grows with parameters (selection and edits), forget-set size, cells of a grid, and shadow models.

Each curve has a rival, and some have a limit: a part of the work that every method must do.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from io import StringIO
from statistics import median
from typing import Any

import importance
import numpy as np
import randomk
import stacked
import topk
import torch
from hydra import compose, initialize_config_dir
from table import Row, compare, run, seconds
from torch import nn

from unlearn import config
from unlearn.core.artifact_store import ArtifactStore
from unlearn.core.progress import Console
from unlearn.core.recipe import Recipe
from unlearn.functional.per_sample_gradients import sum_gradients
from unlearn.functional.random_k import random_k_mask
from unlearn.functional.top_k import top_k_mask
from unlearn.pipeline import plan as pipeline
from unlearn.stages.base import BuildContext
from unlearn.strategies.base import Context
from unlearn.strategies.random_k import RandomK

SIZES = (10**5, 10**6, 10**7, 10**8)  # parameters, of which FRACTION is selected
FRACTION = 0.1
SAMPLES = (16, 64, 256, 1024)  # of a forget set
CACHED = 64  # samples per batch, where the limit is lowest
CELLS = (1, 2, 4, 8)
SHADOWS = (2, 4, 8, 16, 32)
CELL = [
    "dataset.limit=600",
    "train.epochs=5",
    "strategy.recipe.epochs=1",
    "spd_gan=off",
    "strategy.mode=add",
    "logger=none",
]
Call = Callable[[], Any]


def rows() -> Iterator[Row]:
    """Measure all curves."""
    for n in SIZES:
        yield from selections(n)
    for n in SAMPLES:
        yield samples(n)
    yield from cells()
    for count in SHADOWS:
        yield shadows(count)


def point(chart: str, at: float, against: str, sides: tuple[Call, Call, Call | None], n: int) -> Row:
    """Measure one point of a curve, for work of one thread: ours, the rival, the limit."""
    ours, rival, least = sides
    pair = compare(ours, rival, n, time.process_time)
    limit = None if least is None else 1e3 * median(seconds(least, time.process_time) for _ in range(n))
    mine, theirs = 1e3 * pair.ours, 1e3 * pair.rival
    return Row("ours", against, mine, theirs, "ms", pair.ratio, n=n, clock="cpu", chart=chart, at=at, limit=limit)


def selections(n: int) -> Iterator[Row]:
    """Measure selection by rank and at random, and an edit of a random selection."""
    count, repetitions = round(FRACTION * n), 3 if n > 10**7 else 5
    scores = topk.make_scores(n, "random")
    flats = [score.numpy() for score in scores.values()]
    passing = partial(_pass, flats)
    ranked = partial(top_k_mask, scores, count), partial(topk.rival, scores, count), passing
    yield point("largest", n, "torch.topk; limit: one pass of compares", ranked, repetitions)
    draws = partial(np.random.PCG64(0).random_raw, n // 4)
    at_random = partial(random_k_mask, scores, count, 0), partial(randomk.rival, scores, count), draws
    yield point("chance", n, "torch.randperm; limit: the random bits", at_random, repetitions)
    net = Bare(scores)
    strategy, context = RandomK(k=FRACTION, noise="absolute"), Context(net, lambda: net, {}, {}, 0)
    edits = partial(strategy.edit, net, context), partial(dense, net, count), partial(_noise, n)
    yield point("edit", n, "a permutation, and noise on all weights; limit: the noise", edits, repetitions)


class Bare(nn.Module):
    """A module that only has parameters."""

    def __init__(self, values: dict[str, torch.Tensor]) -> None:
        super().__init__()
        for name, value in values.items():
            self.register_parameter(f"p{name}", nn.Parameter(value.clone()))


def _pass(flats: list[np.ndarray]) -> None:
    for flat in flats:
        np.count_nonzero(flat > 1.0)


def _noise(n: int) -> None:
    torch.randn(n)


@torch.no_grad()
def dense(net: nn.Module, count: int) -> None:
    """The usual way: theta + M * noise for all weights."""
    masks = randomk.rival(dict(net.named_parameters()), count)
    for name, p in net.named_parameters():
        p.copy_(p + masks[name] * torch.randn_like(p))


def samples(n: int) -> Row:
    """Measure squared gradients of each sample of a forget set, on the MNIST CNN."""
    build, shape, *_ = importance.CASES["MNIST CNN"]
    torch.manual_seed(0)
    net, images, labels = build().eval(), torch.rand(n, *shape), torch.randint(0, 10, (n,))
    parts = net, images, labels
    batches = list(zip(torch.split(images, CACHED), torch.split(labels, CACHED), strict=True))
    least = partial(sum_gradients, net, batches, importance.loss)
    sides = partial(importance.at_once, *parts), partial(importance.one_by_one, *parts), least
    return point("forget set", n, "one by one; limit: their mean gradient", sides, 3)


def cells() -> Iterator[Row]:
    """Measure a grid over noise scales in one store against cells with separate stores."""
    config.register()
    shared, alone = [], []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as store:
            shared.append([cell(store, number) for number in range(max(CELLS))])
        alone.append([_fresh(number) for number in range(max(CELLS))])
    for count in CELLS:
        mine, theirs = ([sum(times[:count]) for times in repetitions] for repetitions in (shared, alone))
        ratio = median(b / a for a, b in zip(mine, theirs, strict=True))
        yield Row("ours", "every cell whole", median(mine), median(theirs), "s", ratio, n=3, chart="cells", at=count)


def _fresh(number: int) -> float:
    with tempfile.TemporaryDirectory() as store:
        return cell(store, number)


def cell(store: str, number: int) -> float:
    """Run a cell; returns seconds, without composing its config."""
    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        run_config = config.instantiate(compose("config", [*CELL, f"strategy.noise_scale={1 + number / 4}"]))
    build_context = BuildContext(ArtifactStore(store), run_config.trainer, Console(StringIO()))
    return seconds(lambda: pipeline.run(run_config, build_context))


def shadows(count: int) -> Row:
    """Measure digits CNNs at batch 16, stacked and in turn, in milliseconds per step of all models."""
    net, shape, batch, _ = next(case for name, case in stacked.CASES if name == "digits CNN")
    models = [stacked.fresh(net, seed) for seed in range(count)]
    loaders = [stacked.Loader(stacked.data(shape, 40 * batch, seed), batch, seed, "bench") for seed in range(count)]
    recipe = Recipe(epochs=1, batch_size=batch, lr=0.01)
    longer = replace(recipe, epochs=stacked.EPOCHS)
    pair = compare(
        lambda: 1e3 * count * stacked.at_once(models, loaders, recipe),
        lambda: 1e3 * count * stacked.in_turn(models, loaders, longer),
        3,
    )
    words = pair.ours, pair.rival, "ms", pair.ratio
    return Row("ours", "one after another", *words, n=3, clock="cpu", chart="shadows", at=count)


if __name__ == "__main__":
    run(__file__, rows())
