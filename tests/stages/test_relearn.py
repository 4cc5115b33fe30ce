"""Relearning in a small run: which models train, on what, and what is kept."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from builders import plan_of
from conftest import Compose, Finished, Run
from test_keys import reached
from torch import nn

from unlearn.core.random_streams import stream
from unlearn.core.types import Images, Role, Subset
from unlearn.data.loaders import Loader, PairedLoader
from unlearn.functional.estimates import is_correct
from unlearn.inventory.catalogue import Catalogue
from unlearn.metrics.relearn_time import RelearnTime
from unlearn.stages.files import read_predictions
from unlearn.stages.relearn import Relearn
from unlearn.training.relearner import RelearnerModule
from unlearn.training.trainer import TrainerSettings

AGAIN = ("metrics=[accuracy,relearn_time]", "attacks=none", "metrics.relearn_time.lr=0.02")


@pytest.fixture(scope="module")
def relearned(finished: Finished, run: Run) -> Finished:
    """Under the marker, where retrained models know little of the forget set."""
    return run(finished.store, *AGAIN, "metrics.relearn_time.steps=60")


def of(run: Finished, role: Role) -> Relearn:
    """The first model's of that role."""
    reading = next(
        r for r in run.outcome.plan.evaluations if r.role is role and isinstance(r.stage.metric, RelearnTime)
    )
    assert reading.stage.subject.relearned is not None
    return reading.stage.subject.relearned


def test_curves_start_at_the_forget_accuracy_and_end_at_that_of_the_original(relearned: Finished) -> None:
    before = relearned.value(Role.ORIGINAL, "forget_accuracy")
    assert before is not None
    for role in (Role.ORIGINAL, Role.RETRAINED, Role.UNLEARNED):
        curve = of(relearned, role).load(relearned.context)
        assert curve[0] == relearned.value(role, "forget_accuracy")
        assert list(curve) == list(range(len(curve)))
        *early, last = curve.values()
        assert last >= before - 0.01 - 1e-9
        assert all(each < before - 0.01 for each in early)
        assert relearned.value(role, "relearn_steps") == len(early)
    assert relearned.value(Role.ORIGINAL, "relearn_steps") == 0
    assert relearned.value(Role.RETRAINED, "ain") == 1
    assert relearned.value(Role.RETRAINED, "relearn_steps") > 5  # type: ignore[operator]


def test_the_curve_matches_a_plain_loop(relearned: Finished) -> None:
    """SGD with momentum and decay on the forget set's batches, written out."""
    stage, context = of(relearned, Role.RETRAINED), relearned.context
    model, data = stage.model.load(context).requires_grad_(True), stage.forget.load(context)
    (pixels,) = data.batches([torch.arange(len(data))])
    images, optimizer = pixels.float() / 255, torch.optim.SGD(model.parameters(), 0.002, 0.9, weight_decay=5e-4)
    curve = [(model(images).argmax(1) == data.labels).double().mean().item()]
    for epoch in range(60):
        order = torch.randperm(len(data), generator=stream(0, "order", "relearned", epoch))
        batches = list(order.split(16))
        if len(batches[-1]) == 1:
            batches[-2:] = [torch.cat(batches[-2:])]
        for batch in batches:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[batch]), data.labels[batch]).backward()
            optimizer.step()
            curve.append((model(images).argmax(1) == data.labels).double().mean().item())
    found = list(stage.load(context).values())
    assert found == curve[: len(found)]


def test_fewer_steps_give_the_start_of_the_same_curve(relearned: Finished, run: Run) -> None:
    seldom = run(relearned.store, *AGAIN, "metrics.relearn_time.steps=7")
    often, found = (of(each, Role.RETRAINED).load(each.context) for each in (relearned, seldom))
    assert found == {step: often[step] for step in range(8)}
    assert seldom.value(Role.RETRAINED, "relearn_steps") is None
    assert seldom.value(Role.RETRAINED, "ain") is None


def test_steps_are_evaluated_at_least_every_sixteenth() -> None:
    how = RelearnTime(steps=500).relearning
    looks = [step for step in range(1, 501) if how.is_due(step)]
    assert looks[:33] == [*range(1, 33), 34]
    assert looks[-1] == 500
    assert max(after / before for before, after in pairwise(looks[16:])) <= 1 + 1 / 16
    assert len(looks) < 100


def test_relearning_does_not_change_the_model(relearned: Finished) -> None:
    stage = of(relearned, Role.RETRAINED)
    again = is_correct(read_predictions(relearned.context.get(stage.original)))
    assert again.mean().item() == relearned.value(Role.ORIGINAL, "forget_accuracy")
    assert {path.name for path in relearned.context.get(stage).folder.iterdir()} == {"meta.json", "curve.json"}


@pytest.mark.parametrize("strategy", ["top_k", "identity"])
def test_models_shared_by_strategies_are_relearned_once(composed: Compose, strategy: str) -> None:
    here, there = (
        plan_of(composed("metrics=relearn_time", f"strategy={each}", "spd_gan=off")) for each in ("finetune", strategy)
    )
    curves = [
        {k for k, s in reached(*(r.stage for r in p.evaluations)).items() if isinstance(s, Relearn)}
        for p in (here, there)
    ]
    assert [len(each) for each in curves] == [3, 3]
    assert len(curves[0] & curves[1]) == 2


def test_a_forget_set_of_one_image_passes_batch_normalisation() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2)).eval()
    image = torch.full((1, 1, 2, 2), 200, dtype=torch.uint8)
    label = 1 - net(image / 255).argmax(1)
    data = Images(image, label, torch.zeros(1, dtype=torch.int64))
    loader = PairedLoader({Subset.FORGET: Loader(data, 16, 0, "relearned")})
    how = RelearnTime(lr=0.1, slower=1.0, momentum=0.0, steps=50).relearning
    curve = RelearnerModule(net, how, loader, 0, data).relearn(
        TrainerSettings(accelerator="cpu"), bool, lambda *_: None
    )
    assert [row["forget_accuracy"] for row in curve] == [0.0] * (len(curve) - 1) + [1.0]
    assert len(curve) > 1


def test_a_purge_keeps_curves(relearned: Finished) -> None:
    from unlearn.inventory.members import Members
    from unlearn.inventory.purge import Fate, PurgePolicy

    catalogue = Catalogue.read(relearned.store)
    members = Members(catalogue, relearned.config.dataset, torch.arange(300))
    told = {
        PurgePolicy(catalogue, members).of(item.key).fate for item in catalogue.items.values() if item.kind == "relearn"
    }
    assert told == {Fate.STAYS}


def test_another_seed_gives_another_order(relearned: Finished) -> None:
    stage = of(relearned, Role.RETRAINED)
    other = replace(stage, seed=1)
    assert other.key != stage.key
    assert other.load(relearned.context) != stage.load(relearned.context)
