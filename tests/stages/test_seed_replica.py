"""Seed replicas equal the models of runs with those seeds, and KLoM compares them."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import plan_of
from conftest import Compose, Finished, Run

from unlearn import config
from unlearn.core.errors import ConfigError
from unlearn.core.types import Role
from unlearn.metrics.klom import Klom
from unlearn.stages.train import Train

EIGHT = "[0,1,2,3,4,5,6,7]"
SIXTEEN = "[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15]"
MANY = ("metrics=[accuracy,klom]", "attacks=none")
SEEDS = (f"baseline.seeds={SIXTEEN}", f"metrics.klom.unlearn_seeds={EIGHT}")
BRIEF = ("spd_gan=off", "train.epochs=1", "strategy=finetune", "strategy.recipe.epochs=1")


@pytest.fixture(scope="module")
def many(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return run(tmp_path_factory.mktemp("siblings"), *MANY, *SEEDS, *BRIEF)


@pytest.mark.parametrize(
    ("strategy", "more"), [("finetune", ("blend=mix",)), ("ssd", ()), ("top_k", ("spd_gan=probe",))]
)
def test_replicas_are_the_models_of_runs_with_their_seeds(
    composed: Compose, strategy: str, more: tuple[str, ...]
) -> None:
    plan = plan_of(composed(*MANY, f"baseline.seeds={EIGHT}", "spd_gan=off", f"strategy={strategy}", *more))
    for seed in (0, 5):
        own = plan_of(
            composed("spd_gan=off", f"strategy={strategy}", f"seeds.train={seed}", f"seeds.unlearn={seed}", *more)
        )
        sibling = plan.seed_replicas[seed]
        assert sibling.original.key == own.original.key
        assert sibling.unlearned.key == own.final_model.key
        assert plan.retrained[seed].key == own.retrained[0].key
    assert plan.seed_replicas[0].unlearned.key == plan.final_model.key


def test_under_the_marker_replicas_learn_the_marked_images_of_the_run(composed: Compose) -> None:
    plan = plan_of(composed(*MANY, f"baseline.seeds={EIGHT}", "spd_gan=marker"))
    assert isinstance(plan.original, Train)
    for seed, sibling in enumerate(plan.seed_replicas):
        assert sibling.original.samples == plan.original.samples
        assert (sibling.original.key == plan.original.key) == (seed == 0)
    assert len({sibling.unlearned.key for sibling in plan.seed_replicas}) == 8


def test_strategies_share_the_originals_of_replicas(composed: Compose) -> None:
    here, there = (plan_of(composed(*MANY, f"baseline.seeds={EIGHT}", f"strategy={s}")) for s in ("top_k", "finetune"))
    originals = [{sibling.original.key for sibling in plan.seed_replicas} for plan in (here, there)]
    assert originals[0] == originals[1] <= {stage.key for stage in here.shared_stages}
    assert len(originals[0]) == 8


def test_without_a_metric_on_groups_there_are_no_replicas(composed: Compose) -> None:
    assert plan_of(composed("metrics=full", f"baseline.seeds={EIGHT}")).seed_replicas == ()


def test_each_role_is_one_evaluation_of_a_group_of_models(many: Finished) -> None:
    plan = many.outcome.plan
    found = {reading.role: reading.stage for reading in plan.evaluations if isinstance(reading.stage.metric, Klom)}
    assert list(found) == [Role.ORIGINAL, Role.RETRAINED, Role.UNLEARNED]

    def models(role: Role, field: str) -> list[str]:
        (forget, *_), views = Klom.subsets, getattr(found[role], field)
        return [view.predictions[forget].model.key for view in views]

    first, second = ([model.key for model in plan.retrained[part]] for part in (slice(8), slice(8, 16)))
    assert [models(role, "retrained_models") for role in found] == [first] * 3
    assert models(Role.ORIGINAL, "subjects") == [sibling.original.key for sibling in plan.seed_replicas]
    assert models(Role.RETRAINED, "subjects") == second
    assert models(Role.UNLEARNED, "subjects") == [sibling.unlearned.key for sibling in plan.seed_replicas]
    for role in found:
        for name in ("klom_forget", "klom_retain", "klom_test"):
            assert 0 < many.value(role, name) < 12  # type: ignore[operator]


def test_an_unchanged_model_has_the_value_of_the_original_and_more_seeds_change_only_the_floor(
    many: Finished, run: Run
) -> None:
    found = run(many.store, *MANY, *BRIEF[:2], "strategy=identity", f"baseline.seeds={EIGHT}")
    for name in ("klom_forget", "klom_test_p95"):
        assert found.value(Role.UNLEARNED, name) == found.value(Role.ORIGINAL, name) == many.value(Role.ORIGINAL, name)
        assert found.value(Role.RETRAINED, name) is None


def test_the_cost_of_replicas_is_printed_first(many: Finished, run: Run) -> None:
    told = [line for line in many.console.splitlines() if "to come" in line]
    assert "models of other seeds        7 trainings to come, about" in told[0]  # and the run's own original
    assert "7 unlearnings to come, about" in told[1]
    again = run(many.store, *MANY, *SEEDS, *BRIEF[:-1], "strategy.recipe.epochs=2").console
    assert "7 unlearnings to come, about" in again
    assert "trainings to come" not in again
    assert "to come" not in run(many.store, *MANY, *SEEDS, *BRIEF).console


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ((), "metrics.klom.unlearn_seeds: expected 8 or more different seeds"),
        (("baseline.seeds=[0,1,2,3,4,5,6]",), "got [0, 1, 2, 3, 4, 5, 6]"),
        ((f"metrics.klom.unlearn_seeds={EIGHT}",), "baseline.seeds: expected 8 or more, as many as metrics.klom has"),
        ((f"metrics.klom.unlearn_seeds={EIGHT}", "baseline=none"), "baseline.seeds: expected 8 or more"),
        ((f"baseline.seeds={EIGHT}", "metrics.klom.unlearn_seeds=[3]"), "metrics.klom.unlearn_seeds: expected 8"),
        (
            (f"baseline.seeds={EIGHT}", "checkpoint=file", "checkpoint.file=a.pt"),
            "checkpoint: expected none with metrics.klom",
        ),
    ],
)
def test_settings_without_enough_seeds_are_refused(composed: Compose, overrides: tuple[str, ...], words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config.instantiate(composed("metrics=klom", "spd_gan=off", *overrides))
    assert words in str(refused.value)


def test_an_audit_measures_klom_again(many: Finished, tmp_path: Path) -> None:
    from unlearn.audit.remeasure import remeasure
    from unlearn.core.artifact_store import Entry

    entries = many.context.entries

    def find(key: str) -> Entry:
        return entries[key]

    evaluations = [(r, m) for r, m in many.outcome.measurements if isinstance(r.stage.metric, Klom)]
    assert [remeasure(reading.stage.spec, find) for reading, _ in evaluations] == [
        measured for _, measured in evaluations
    ]
