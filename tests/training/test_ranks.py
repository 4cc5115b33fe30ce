"""Several processes that train one model: as one process would, alike on all of them, and gone afterwards."""

from __future__ import annotations

import os
import signal
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unlearn.core.errors import DivergenceError, UnlearnError
from unlearn.core.progress import DetailedTick
from unlearn.core.recipe import Recipe
from unlearn.core.types import Images
from unlearn.data.augmentation import Augmentation
from unlearn.data.loaders import Loader, PairedLoader, RankShard
from unlearn.models.base import Classifier
from unlearn.training.classifier import ClassifierModule
from unlearn.training.partial import Partial
from unlearn.training.ranks import rank, run_ranks, world_size
from unlearn.training.trainer import TrainerSettings

TOLERANCE = 1e-5  # as conf/trainer/ddp.yaml says
RECIPE = Recipe(4, 16, lr=0.1, schedule="cosine", warmup=1, clip=1.0, label_smoothing=0.1, patience=2)
N = 53  # batches of 16, 16, 16 and 5: the last is not shared evenly, nor would 5 be by 3


def data(n: int, seed: int) -> Images:
    draws = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (n,), generator=draws)
    images = torch.randint(0, 200, (n, 1, 6, 6), generator=draws) + 20 * labels[:, None, None, None]
    return Images(images.to(torch.uint8), labels, torch.arange(n))


def module(drawing: bool, recipe: Recipe = RECIPE) -> ClassifierModule:
    """A small net, perhaps with batch normalisation and dropout."""
    torch.manual_seed(0)
    extra = [nn.BatchNorm2d(4), nn.Dropout(0.3)] if drawing else []
    net = nn.Sequential(nn.Conv2d(1, 4, 3), *extra, nn.Tanh(), nn.Flatten(), nn.Linear(64, 3))
    share = RankShard(rank(), world_size()) if world_size() > 1 else None
    loader = Loader(data(N, 0), recipe.batch_size, 0, "original", Augmentation(1, True), share)
    return ClassifierModule(Classifier(net, (0.5,), (0.5,)), recipe, PairedLoader({"train": loader}), 0, "original")


def trained(drawing: bool, partial: Partial | None = None) -> dict[str, Tensor]:
    """All weights, buffers and the curve, after training."""
    trained_module = module(drawing)
    curve = trained_module.run(TrainerSettings("cpu"), data(30, 1), partial=partial)
    rows = torch.tensor([list(row.values()) for row in curve], dtype=torch.float64)
    return dict(trained_module.model.state_dict()) | {"curve": rows}


def run_both_nets(folder: Path, tick: DetailedTick) -> None:
    """The work of each process: train both nets, the one with dropout twice."""
    torch.set_num_threads(1)
    plain = trained(False, Partial(folder / "last.ckpt", 3600))  # kept at the end, however short it was
    states = {"plain": plain, "drawing": trained(True), "again": trained(True)}
    assert torch.get_num_threads() == 1
    tick(rank(), world_size(), values={"loss": 0.5})
    for name, state in states.items():
        save_file({key: value.clone() for key, value in state.items()}, folder / f"{name}-{rank()}.safetensors")


@pytest.mark.slow
def test_ranks_agree_repeat_and_do_what_one_process_does(tmp_path: Path) -> None:
    ticks: list[tuple[float, int, dict[str, Any]]] = []
    run_ranks(
        partial(run_both_nets, tmp_path), 2, "cpu", lambda *progress, **details: ticks.append((*progress, details))
    )
    assert ticks == [(0, 2, {"values": {"loss": 0.5}})]
    states = {path.stem: load_file(path) for path in tmp_path.glob("*.safetensors")}
    for name in ("plain", "drawing", "again"):
        assert all(torch.equal(value, states[f"{name}-1"][key]) for key, value in states[f"{name}-0"].items()), name
    assert all(torch.equal(value, states["again-0"][key]) for key, value in states["drawing-0"].items())
    alone, drawing = trained(False), trained(True)
    torch.testing.assert_close(states["plain-0"], alone, rtol=TOLERANCE, atol=TOLERANCE)
    assert not torch.allclose(
        states["drawing-0"]["curve"], drawing["curve"], rtol=TOLERANCE
    )  # ranks draw their own dropout
    trained_module = module(False)  # how the parent gets at the weights
    trained_module.run(TrainerSettings("cpu"), data(30, 1), partial=Partial(tmp_path / "last.ckpt", 0))
    assert all(torch.equal(value, states["plain-0"][key]) for key, value in trained_module.model.state_dict().items())


@given(n=st.integers(1, 40), world=st.integers(2, 9))
def test_shares_are_the_batch(n: int, world: int) -> None:
    shares = [RankShard(number, world).select(torch.arange(n)) for number in range(world)]
    parts = [positions[weights > 0].tolist() for positions, weights in shares]
    assert list(chain.from_iterable(parts)) == list(range(n))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert all(len(positions) >= min(2, n) for positions, _ in shares)
    assert all(one >= other for one, other in pairwise(map(len, parts)))
    numbers = torch.arange(n).double() ** 2
    mean = sum((numbers[positions] * weights).sum() for positions, weights in shares) / world
    torch.testing.assert_close(mean, numbers.mean(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("n", [7, 8, 9])
def test_shares_are_moved_as_the_batch_is(n: int) -> None:
    def batches(share: RankShard | None) -> list[tuple[Tensor, ...]]:
        return list(Loader(data(n, 0), 4, 0, "train", Augmentation(2, True), share).batches(3))

    whole = batches(None)
    shares = [batches(RankShard(number, 3)) for number in range(3)]
    for step, batch in enumerate(whole):
        for part in (0, 1):
            parts = [share[step][part][share[step][2] > 0] for share in shares]
            assert torch.equal(torch.cat(parts), batch[part])


def diverge(tick: DetailedTick) -> None:
    raise DivergenceError(f"rank {rank()} of {world_size()}: the loss was nan")


def die(tick: DetailedTick) -> None:
    if rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    torch.distributed.barrier()


@pytest.mark.slow
def test_an_error_of_a_rank_is_raised() -> None:
    with pytest.raises(DivergenceError, match="of 2: the loss was nan"):
        run_ranks(diverge, 2, "cpu", lambda *_: None)


@pytest.mark.slow
def test_a_rank_that_is_killed_ends_the_others(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises((UnlearnError, RuntimeError), match=r"ended with status -9|closed by peer"):
        run_ranks(die, 2, "cpu", lambda *_: None)
