"""Perturbations without a generator: bounds, direction, what they may learn from, and the pipeline around them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
import torch.nn.functional as F
from builders import fit_batches
from torch import Tensor, nn

from unlearn.core.batch import Batch
from unlearn.core.errors import DivergenceError
from unlearn.core.plugins import find_options
from unlearn.core.recipe import Recipe
from unlearn.data.datasets.digits import Digits
from unlearn.models.base import Classifier
from unlearn.spd_gan.direct import Direct, PixelTask
from unlearn.spd_gan.error_minimising import ErrorMinimising
from unlearn.spd_gan.pgd import Pgd
from unlearn.stages.files import read_tensors

if TYPE_CHECKING:
    from conftest import Run

KINDS = find_options("unlearn.spd_gan", Direct)
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
SEEN, ALL = 30, 50  # D_f, and what is moved alike


def small_classifier() -> Classifier:
    torch.manual_seed(1)
    layers = nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 10)
    return Classifier(nn.Sequential(*layers), *Digits.normalisation)


@pytest.fixture(scope="module")
def scene() -> PixelTask:
    """Real digits, and a guide that knows two hundred others."""
    train = Digits().load().train
    known, labels = train.images[100:300].float() / 255, train.labels[100:300]  # type: ignore[attr-defined]
    guide = fit_batches(small_classifier(), Batch(known, labels), steps=40)
    clean, own = train.images[:ALL], train.labels[:ALL]  # type: ignore[attr-defined]

    def batches(marked: Tensor, epoch: int) -> Iterator[Batch]:
        assert marked.dtype == torch.uint8
        images, truth = torch.cat([known, marked.float() / 255]), torch.cat([labels, own[:SEEN]])
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(epoch))
        for chunk in order.split(46):
            yield Batch(images[chunk], truth[chunk])

    return PixelTask(
        clean=clean,
        labels=own,
        forgotten=SEEN,
        epsilon=0.1,
        guide=guide.requires_grad_(False),
        fresh=small_classifier,
        recipe=Recipe(epochs=8, lr=0.05),
        batches=batches,
        steps=1,
        seed=0,
        draws=torch.Generator(),
        tick=lambda done, total: None,
    )


def moved(kind: type[Direct], scene: PixelTask, **changes: object) -> Tensor:
    return kind(**changes).perturb(replace(scene, draws=torch.Generator().manual_seed(0)))[0]  # type: ignore[arg-type]


@every_kind
@pytest.mark.parametrize("epsilon", [8 / 255, 0.2])
def test_images_stay_near_and_are_images(kind: type[Direct], scene: PixelTask, epsilon: float) -> None:
    found = moved(kind, replace(scene, epsilon=epsilon), step_size=0.5)
    assert found.shape == scene.clean.shape
    assert (found - scene.pixels).abs().max() <= epsilon + 1e-6
    assert (found - scene.pixels).abs().max() > 0.9 * epsilon
    assert found.min() >= 0
    assert found.max() <= 1


@every_kind
def test_the_seed_decides_every_image_and_the_guide_stays_as_it_is(kind: type[Direct], scene: PixelTask) -> None:
    before = {name: tensor.clone() for name, tensor in scene.guide.state_dict().items()}
    assert torch.equal(moved(kind, scene), moved(kind, scene))
    assert all(torch.equal(tensor, before[name]) for name, tensor in scene.guide.state_dict().items())


@every_kind
def test_control_images_are_perturbed_alike_and_no_net_is_trained_on_them(kind: type[Direct], scene: PixelTask) -> None:
    """Other labels of theirs leave D_f' as it is."""
    labels = scene.labels.clone()
    labels[SEEN:] = (labels[SEEN:] + 1) % 10
    found, again = moved(kind, scene), moved(kind, replace(scene, labels=labels))
    assert torch.equal(found[:SEEN], again[:SEEN])
    assert not torch.equal(found[SEEN:], again[SEEN:])


@every_kind
def test_the_curve_holds_the_shift_of_the_forget_set(kind: type[Direct], scene: PixelTask) -> None:
    found, curve = kind().perturb(replace(scene, draws=torch.Generator().manual_seed(0)))
    change = (found - scene.pixels)[:SEEN].abs()
    right = (scene.guide(found[:SEEN]).argmax(1) == scene.labels[:SEEN]).double().mean().item()
    assert [row["step"] for row in curve] == list(range(len(curve)))
    assert (curve[-1]["mean_shift"], curve[-1]["max_shift"]) == pytest.approx(
        (change.mean().item(), change.max().item())
    )
    assert curve[-1]["guide_accuracy"] == pytest.approx(right)


def test_one_step_by_hand(scene: PixelTask) -> None:
    """A linear net's gradient is the same everywhere: up by sign(w_wrong - w_true), where the pixel has room."""
    linear = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        linear[1].weight.copy_(torch.tensor([[1.0, -1.0], [0.0, 0.0]]))
    clean = torch.tensor([[100, 0], [100, 250]], dtype=torch.uint8).view(2, 1, 1, 2)
    small = replace(scene, clean=clean, labels=torch.tensor([0, 1]), epsilon=0.1)
    up = Pgd(step_size=0.5).sign_step(linear, small.pixels, small).view(2, 2)
    assert torch.allclose(255 * up, torch.tensor([[100 - 12.75, 12.75], [100 + 12.75, 250 - 12.75]]))
    down = Pgd(step_size=3.0).sign_step(linear, small.pixels, small, sign=-1).view(2, 2)
    assert torch.allclose(255 * down, torch.tensor([[100 + 25.5, 0], [100 - 25.5, 255]]))


def test_pgd_climbs_the_guides_loss(scene: PixelTask) -> None:
    """Further than it started from, and than random signs of the same size."""
    signs = torch.randint(0, 2, scene.clean.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    noise = (scene.pixels + scene.epsilon * signs).clamp(0, 1)
    loss = [F.cross_entropy(scene.guide(x), scene.labels).item() for x in (scene.pixels, noise, moved(Pgd, scene))]
    assert loss[2] > loss[1] + 1
    assert loss[2] > loss[0] + 1


def test_error_minimising_noise_makes_images_easy_to_fit(scene: PixelTask) -> None:
    """Its own net is soon right on D_f', sooner than on clean images, and the guide finds them easier too."""
    found, curve = ErrorMinimising().perturb(scene)
    clean, easy = (F.cross_entropy(scene.guide(x[:SEEN]), scene.labels[:SEEN]) for x in (scene.pixels, found))
    assert curve[-1]["net_error"] < 0.01
    assert len(curve) < 8
    assert easy < clean


def test_error_minimising_stops_on_a_net_that_diverges(scene: PixelTask) -> None:
    with pytest.raises(DivergenceError, match="epoch 0"):
        ErrorMinimising().perturb(replace(scene, recipe=Recipe(lr=1e30)))


@every_kind
def test_a_run_is_marked_by_it(kind: type[Direct], run: Run, tmp_path: Path) -> None:
    """The original learns D_f' as it is stored, within epsilon in bytes; holdout is moved too; the report says how."""
    from unlearn.report.charts.generator import caption, moved_by
    from unlearn.report.notes import general_notes

    name = next(each for each, found in KINDS.items() if found is kind)
    small = ("strategy=identity", "baseline.seeds=[0]", "train.epochs=2", "attacks=none", "metrics=[spd_gan_controls]")
    finished = run(tmp_path, f"spd_gan={name}", "spd_gan.epsilon=0.1", *small)
    plan, context = finished.outcome.plan, finished.context
    assert plan.spd_gan is not None
    kept = read_tensors(context.get(plan.spd_gan), "moved.safetensors")
    trained = plan.original.samples.load(context)
    at = torch.searchsorted(trained.index, kept["forget_index"])
    assert torch.equal(trained.images[at], kept["forget"])  # type: ignore[attr-defined]
    for part in ("forget", "holdout"):
        clean = getattr(plan.spd_gan, part).load(context).images
        change = (kept[part].int() - clean.int()).abs()
        assert 20 <= change.max() <= 25  # of 25.5
    told = moved_by(finished.outcome)["spd_gan"]
    assert caption(told) == f"{kind.title}, ε = 0.1"
    assert f"marked by {kind.title}" in general_notes(finished.outcome)["spd_gan"]
    assert len(told["curve"]) > 1
