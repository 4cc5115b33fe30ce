"""NegGrad+'s two terms by hand, and what its bound does to a small net."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from builders import batch_of, fit_batches, mlp, only_phase
from torch import Tensor, nn

from unlearn.core.batch import Batch
from unlearn.core.recipe import Recipe
from unlearn.core.types import Images, Subset
from unlearn.core.validation import problems
from unlearn.strategies.base import Context, Phase
from unlearn.strategies.neg_grad_plus import NegGradPlus
from unlearn.training.trainer import TrainerSettings
from unlearn.training.unlearner import UnlearnerModule, build_loader


class Given(nn.Module):
    """Of two classes, the first one's probability is the image's only pixel."""

    def forward(self, images: Tensor) -> Tensor:
        p = images.flatten(1)
        return torch.cat([p.log(), (1 - p).log()], dim=1)


def batch(probabilities: list[float], weights: list[float] | None = None) -> Batch:
    p = torch.tensor(probabilities, dtype=torch.float64).view(-1, 1, 1, 1)
    labels = torch.zeros(len(p), dtype=torch.int64)
    return Batch(p, labels, None if weights is None else torch.tensor(weights))


def blobs(label: int, n: int, centre: int, seed: int) -> Images:
    """Images around one shade, of one class."""
    noise = torch.randint(-30, 31, (n, 1, 2, 2), generator=torch.Generator().manual_seed(seed))
    return Images((noise + centre).to(torch.uint8), torch.full((n,), label), torch.arange(n))


def data() -> dict[Subset, Images]:
    """A class to forget between two that are retained."""
    low, high = blobs(0, 30, 40, 1), blobs(2, 30, 215, 2)
    retain = Images(torch.cat([low.images, high.images]), torch.cat([low.labels, high.labels]), torch.arange(60))
    return {Subset.RETAIN: retain, Subset.FORGET: blobs(1, 15, 128, 3), Subset.VALIDATION: blobs(1, 4, 128, 4)}


def ungated_phase(strategy: NegGradPlus, model: nn.Module) -> Phase:
    return only_phase(replace(strategy, forget_while="always"), Context(model, lambda: model, {}, data(), 0))


def loss_of(strategy: NegGradPlus, retain: Batch, forget: Batch) -> float:
    model = nn.Sequential(Given())
    loss = ungated_phase(strategy, nn.Linear(1, 1)).loss(model, {Subset.RETAIN: retain, Subset.FORGET: forget}, 0)
    return loss.item()


def test_loss_is_the_weighted_difference() -> None:
    loss = loss_of(NegGradPlus(alpha=0.7), batch([0.9, 0.5]), batch([0.8, 0.6]))
    kept, lost = -(math.log(0.9) + math.log(0.5)) / 2, -(math.log(0.8) + math.log(0.6)) / 2
    assert loss == pytest.approx(0.7 * kept - 0.3 * lost, abs=1e-12)


@pytest.mark.parametrize(("cap", "counting"), [(None, [0.6]), (2.0, [0.6, 0.2]), (1e9, [0.6, 0.2, 0.01])])
def test_only_the_forget_set_is_bounded(cap: float | None, counting: list[float]) -> None:
    """By a uniform guess, ln 2 = 0.69, unless set; the losses are 0.51, 1.61 and 4.61."""
    loss = loss_of(NegGradPlus(alpha=0.7, loss_cap=cap), batch([0.01]), batch([0.6, 0.2, 0.01]))
    lost = -sum(math.log(p) for p in counting) / 3
    assert loss == pytest.approx(-0.7 * math.log(0.01) - 0.3 * lost, abs=1e-12)


def test_shares_of_a_batch_add_up() -> None:
    """Two processes' mean is the whole batch's loss."""
    strategy, retain, forget = NegGradPlus(alpha=0.7), [0.9, 0.5, 0.4], [0.8, 0.6, 0.3]
    shares = [
        loss_of(strategy, batch(retain[:2], [2 / 3] * 2), batch(forget[:2], [2 / 3] * 2)),
        loss_of(strategy, batch(retain[2:], [2 / 3]), batch(forget[2:], [2 / 3])),
    ]
    assert sum(shares) / 2 == pytest.approx(loss_of(strategy, batch(retain), batch(forget)), abs=1e-7)


def test_an_epoch_is_a_pass_over_the_retain_set() -> None:
    assert list(ungated_phase(NegGradPlus(), nn.Linear(1, 1)).data) == [Subset.RETAIN, Subset.FORGET]


@pytest.mark.parametrize("bad", [0.0, 1.0, -0.5, float("nan")])
def test_an_alpha_that_leaves_out_a_term_is_refused(bad: float) -> None:
    assert [problem.key for problem in problems(NegGradPlus(alpha=bad), "strategy")] == ["strategy.alpha"]


def test_running_statistics_are_the_retain_sets() -> None:
    """Forget batches neither move them nor are normalised by their own."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 3)).train()
    expected, batches = copy.deepcopy(model), {s: batch_of(images) for s, images in data().items()}
    kept = F.cross_entropy(expected(batches[Subset.RETAIN].images), batches[Subset.RETAIN].labels)
    lost = F.cross_entropy(expected.eval()(batches[Subset.FORGET].images), batches[Subset.FORGET].labels)
    strategy = NegGradPlus(alpha=0.7, loss_cap=1e9)
    loss = ungated_phase(strategy, model).loss(model, batches, 0)
    assert loss.item() == pytest.approx((0.7 * kept - 0.3 * lost).item())
    assert torch.equal(model[1].running_mean, expected[1].running_mean)
    assert model[1].training


def trained() -> nn.Module:
    subsets = data()
    known = (batch_of(subsets[subset]) for subset in (Subset.RETAIN, Subset.FORGET))
    return fit_batches(mlp(4, 32, 3), *known, steps=150)


def accuracy(model: nn.Module, images: Images) -> float:
    found = batch_of(images)
    return (model(found.images).argmax(1) == found.labels).double().mean().item()


@pytest.mark.parametrize("bounded", [True, False])
def test_it_forgets_the_class_and_its_bound_holds_it_back_and_keeps_the_rest(bounded: bool) -> None:
    model, everything = trained(), data()
    assert {accuracy(model, images) for images in everything.values()} == {1.0}
    recipe = Recipe(epochs=10, batch_size=8, lr=0.1, momentum=0)
    phase = ungated_phase(NegGradPlus(recipe, alpha=0.7, loss_cap=None if bounded else 1e9), model)
    UnlearnerModule(model, phase, build_loader(phase, 0, 0), 0, everything).run(TrainerSettings("cpu"))
    forget = batch_of(everything[Subset.FORGET])
    loss = F.cross_entropy(model(forget.images), forget.labels).item()
    assert accuracy(model, everything[Subset.FORGET]) == 0
    assert (loss < 10) == bounded
    assert (accuracy(model, everything[Subset.RETAIN]) == 1) == bounded
