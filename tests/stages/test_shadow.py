"""Shadow models: what each learns, what runs share, and a small attacked run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from builders import plan_of
from conftest import Compose, Finished, Run
from test_keys import reached
from torch import Tensor

from unlearn import config
from unlearn.core.errors import ConfigError
from unlearn.core.types import Images, Role, Subset
from unlearn.data.stream import Stream, concatenate
from unlearn.pipeline.plan import Plan
from unlearn.stages.evaluate import Evaluate
from unlearn.stages.shadow import ShadowTrainSet, draw_half_mask
from unlearn.stages.shadow_model import collect_trained_models, collect_unlearned_models
from unlearn.stages.train import Train

SHADOWED = ("attacks=[lira,rmia,u_lira]", "attacks.lira.models=4", "attacks.rmia.models=4", "attacks.u_lira.models=4")
SHADOWED += tuple(f"attacks.{name}.bootstrap=100" for name in ("lira", "rmia", "u_lira"))
BRIEF = ("spd_gan=off", "metrics=[accuracy]", "strategy=finetune", "strategy.recipe.epochs=1", "baseline=retrain")
CLASSES = ("forget=class_wise", "forget.class_index=3")


@pytest.fixture(scope="module")
def shadowed(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return run(tmp_path_factory.mktemp("shadows"), *BRIEF, *SHADOWED)


@pytest.mark.parametrize("n", [2, 7, 301])
def test_exactly_half_of_the_models_learn_each_sample(n: int) -> None:
    models = torch.stack([draw_half_mask(n, number, seed=3) for number in range(8)])
    assert models.sum(0).tolist() == [4] * n
    assert set(models.sum(1).tolist()) <= {n // 2, n - n // 2}
    if n > 100:
        assert len({tuple(row.tolist()) for row in models}) == 8
        assert not torch.equal(models[0], draw_half_mask(n, 0, seed=4))


def test_only_shadow_models_learn_holdout_and_no_other_model_depends_on_them(shadowed: Finished) -> None:
    """Attacks alone read holdout, and what their shadow models learnt of it goes nowhere else."""
    plan = shadowed.outcome.plan
    subjects = {reading.stage.model.key for reading in plan.evaluations}
    models = reached(*(reading.stage for reading in plan.evaluations)).values()
    trained = [stage for stage in models if isinstance(stage, Train)]
    assert {stage.role for stage in trained if isinstance(stage.samples, ShadowTrainSet)} == {Role.SHADOW}
    assert {stage.role for stage in trained if not isinstance(stage.samples, ShadowTrainSet)} == {
        Role.ORIGINAL,
        Role.RETRAINED,
    }
    shadows = {stage.key for stage in trained if stage.role is Role.SHADOW}
    assert len(shadows) == 4
    for reading in plan.evaluations:
        assert not shadows & set(reached(reading.stage.model))  # type: ignore[arg-type]
        if reading.stage.metric.shadows is None:
            assert not shadows & set(reached(reading.stage))
    assert not shadows & subjects
    assert {reading.role for reading in plan.evaluations} == {Role.ORIGINAL, Role.RETRAINED, Role.UNLEARNED}


def test_original_retrained_and_unlearned_get_the_same_attacks(shadowed: Finished) -> None:
    for name in ("lira", "rmia", "u_lira"):
        for role in (Role.ORIGINAL, Role.RETRAINED, Role.UNLEARNED):
            value = shadowed.value(role, f"mia_{name}_auc")
            assert value is not None
            assert 0 <= value <= 1


def test_attacks_see_what_a_shadow_model_learned_and_forgot(shadowed: Finished) -> None:
    """By the images themselves: `learnt` and `forgot` against what the stages load."""
    plan, context = shadowed.outcome.plan, shadowed.context
    (stage,) = (r.stage for r in plan.evaluations if r.role is Role.UNLEARNED and "ULira" in r.stage.label)
    assert isinstance(stage, Evaluate)
    shadows = [view.load(context) for view in stage.shadows]
    models = [each for each in plan.shadows if each.unlearned is not None]
    assert len(shadows) == len(models) == 4
    for shadow, model in zip(shadows, models, strict=True):
        everything = model.trained.samples.load(context).index
        gone, kept = (model.data[subset].load(context).index for subset in (Subset.FORGET, Subset.RETAIN))
        assert torch.equal(torch.cat([gone, kept]).sort().values, everything)
        assert torch.equal(everything.sort().values, everything)  # strategies look records up by index
        for subset in (Subset.FORGET, Subset.HOLDOUT):
            index = shadow.predictions[subset].index
            assert torch.equal(shadow.learnt[subset], torch.isin(index, everything))
            assert torch.equal(shadow.forgot[subset], torch.isin(index, gone))
        asked = torch.cat([shadow.predictions[subset].index for subset in (Subset.FORGET, Subset.HOLDOUT)])
        assert torch.isin(gone, asked).all()
    times = sum(torch.cat([shadow.forgot[s].long() for s in (Subset.FORGET, Subset.HOLDOUT)]) for shadow in shadows)
    assert isinstance(times, Tensor)
    found = [shadows[0].predictions[subset].labels for subset in (Subset.FORGET, Subset.HOLDOUT)]
    peers = torch.isin(torch.cat(found), found[0])
    assert set(times[peers].tolist()) == {2}  # of four models: as few as will do
    assert set(times[~peers].tolist()) <= {0}


def test_the_pool_has_the_labels_that_the_original_learns(composed: Compose, shadowed: Finished) -> None:
    plan = plan_of(composed(*BRIEF, *SHADOWED, "dataset.limit=300", "dataset.label_noise=0.3"))
    original = plan.original.samples.load(shadowed.context)
    learnt = plan.shadows[0].trained.samples.load(shadowed.context)
    shared = torch.isin(learnt.index, original.index)
    at = torch.searchsorted(original.index, learnt.index[shared])
    assert 0 < shared.sum() < len(learnt)
    assert torch.equal(learnt.labels[shared], original.labels[at])
    positions = shared.nonzero()[:, 0]
    assert torch.equal(next(iter(learnt.batches([positions]))), next(iter(original.batches([at]))))


def test_a_shadow_model_forgets_all_of_a_forgotten_class(composed: Compose, shadowed: Finished) -> None:
    plan = plan_of(composed(*BRIEF, *SHADOWED, *CLASSES, "dataset.limit=300"))
    model = next(each for each in plan.shadows if each.unlearned is not None)
    gone, kept = (model.data[subset].load(shadowed.context) for subset in (Subset.FORGET, Subset.RETAIN))
    assert set(gone.labels.tolist()) == {3}
    assert 3 not in kept.labels.tolist()


def test_a_shadow_model_forgets_as_large_a_fraction_as_the_original(composed: Compose, shadowed: Finished) -> None:
    plan = plan_of(composed(*BRIEF, "attacks=u_lira"))
    sizes = [
        [len(each.data[subset].load(shadowed.context)) for subset in (Subset.FORGET, Subset.RETAIN)]
        for each in plan.shadows[:6]
    ]
    assert sum(gone / (gone + kept) for gone, kept in sizes) / 6 == pytest.approx(0.1, abs=0.02)


def test_under_the_marker_shadow_models_learn_marked_images(run: Run, finished: Finished) -> None:
    """D_f' and the holdout set moved alike, as the original and its attackers see them."""
    marked = run(finished.store, "attacks=lira", "attacks.lira.models=4", "attacks.lira.bootstrap=100")
    model, context = marked.outcome.plan.shadows[0], marked.context
    learnt = model.trained.samples.load(context)
    clean = marked.config.dataset.load().train.images
    for subset in (Subset.FORGET, Subset.HOLDOUT):
        moved = model.data.run_data[subset].load(context)
        (mine,) = (torch.isin(learnt.index, moved.index).nonzero()[:, 0],)
        at = torch.searchsorted(moved.index, learnt.index[mine])
        (here,), (there,) = learnt.batches([mine]), moved.batches([at])
        assert len(mine)
        assert torch.equal(here, there)
        assert not torch.equal(here, clean[learnt.index[mine]])


def keys(plan: Plan) -> list[str]:
    return [stage.key for stage in collect_trained_models(plan.shadows)]


@pytest.mark.parametrize(
    "overrides",
    [
        ("strategy=top_k",),
        ("forget.share=0.3",),
        CLASSES,
        ("seeds.train=5",),
        ("seeds.evaluate=5",),
        ("seeds.unlearn=5",),
        ("spd_gan=probe",),
        ("attacks.lira.bootstrap=200",),
    ],
)
def test_cells_share_shadow_models(composed: Compose, overrides: tuple[str, ...]) -> None:
    here, there = (plan_of(composed("attacks=[lira,rmia]", "spd_gan=off", *more)) for more in ((), overrides))
    assert keys(here) == keys(there)
    assert len(keys(here)) == 16  # of both attacks
    assert set(keys(here)) <= {stage.key for stage in here.shared_stages}


@pytest.mark.parametrize("override", ["seeds.split=5", "train.epochs=3", "model.width=5", "dataset.label_noise=0.1"])
def test_other_data_and_training_settings_get_other_shadow_models(composed: Compose, override: str) -> None:
    here, there = (plan_of(composed("attacks=lira", "spd_gan=off", *more)) for more in ((), (override,)))
    assert not set(keys(here)) & set(keys(there))


def test_a_larger_count_only_adds_models(composed: Compose) -> None:
    few, many = (plan_of(composed("attacks=lira", f"attacks.lira.models={count}")) for count in (4, 16))
    assert keys(many)[:4] == keys(few)


def test_under_the_marker_shadow_models_depend_on_the_request(composed: Compose) -> None:
    here, there = (plan_of(composed("attacks=lira", "spd_gan=marker", f"forget.share={s}")) for s in (0.1, 0.2))
    assert not set(keys(here)) & set(keys(there))


def test_shadow_models_are_unlearned_by_the_strategy_under_test(composed: Compose) -> None:
    here, there = (plan_of(composed("attacks=u_lira", f"strategy.k={k}")) for k in (0.1, 0.2))
    assert keys(here) == keys(there)
    unlearned = [{stage.key for stage in collect_unlearned_models(each.shadows)} for each in (here, there)]
    assert [len(each) for each in unlearned] == [16, 16]
    assert not unlearned[0] & unlearned[1]
    assert not unlearned[0] & {stage.key for stage in here.shared_stages}


def test_the_cost_of_shadow_models_is_printed_first(shadowed: Finished, run: Run, tmp_path: Path) -> None:
    lines = shadowed.console.splitlines()
    said = [number for number, line in enumerate(lines) if "to come" in line]
    assert "4 trainings to come, about" in lines[said[0]]
    assert "4 unlearnings to come, about" in lines[said[1]]
    assert not any("shadow (" in line for line in lines[: said[0]])
    run(tmp_path, *BRIEF, "attacks=none")
    assert "4 trainings to come, about" in run(tmp_path, *BRIEF, *SHADOWED).console
    assert "to come" not in run(tmp_path, *BRIEF, *SHADOWED).console


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("attacks.lira.models=3",), "attacks.lira.models: expected an even number >= 4, got 3"),
        (("attacks.rmia.gamma=0",), "attacks.rmia.gamma: expected a number > 0"),
        (
            ("dataset.label_noise=0.1", "forget=relabel", "strategy=identity"),
            "attacks.u_lira: expected a request that removes its records",
        ),
    ],
)
def test_invalid_shadow_requests_are_refused(composed: Compose, overrides: tuple[str, ...], words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config.instantiate(composed("attacks=[lira,rmia,u_lira]", "spd_gan=off", *overrides))
    assert words in str(refused.value)


def source(first: int, n: int, stream: bool) -> Images | Stream:
    """Images that say their own number."""
    pixels = torch.arange(first, first + n, dtype=torch.uint8)[:, None, None, None].expand(n, 1, 2, 2).clone()
    labels, index = torch.arange(n) % 3, torch.arange(n)
    if not stream:
        return Images(pixels, labels, index)
    return Stream(lambda i: pixels[i], labels, index, (1, 2, 2), workers=0)


@pytest.mark.parametrize("stream", [False, True])
def test_parts_of_two_places_are_joined(stream: bool) -> None:
    """As where a checkpoint was trained on all of the training part, and holdout is of the test part."""
    first, second = source(0, 6, stream).take(torch.tensor([1, 4])), source(100, 5, stream).take(torch.tensor([0, 3]))
    moved = second.replaced(torch.tensor([3]), torch.full((1, 1, 2, 2), 250, dtype=torch.uint8))
    both = concatenate(first, moved, 6)
    assert both.index.tolist() == [1, 4, 6, 9]
    assert both.labels.tolist() == [1, 1, 0, 0]
    (pixels,) = both.take(torch.tensor([3, 0, 2])).batches([torch.arange(3)])
    assert pixels[:, 0, 0, 0].tolist() == [250, 1, 100]


@pytest.mark.parametrize("stream", [False, True])
def test_parts_of_one_place_are_joined(stream: bool) -> None:
    whole = source(0, 6, stream)
    white = torch.full((1, 1, 2, 2), 255, dtype=torch.uint8)
    first = whole.take(torch.tensor([1, 4])).replaced(torch.tensor([4]), white)
    second = whole.take(torch.tensor([0, 3])).replaced(torch.tensor([3]), white - 1)
    (pixels,) = concatenate(first, second, 0).batches([torch.arange(4)])
    assert pixels[:, 0, 0, 0].tolist() == [1, 255, 0, 254]
