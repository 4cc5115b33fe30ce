"""Keys hold everything that determines a result, and nothing else."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import plan_of
from conftest import write_images
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save_file

from unlearn import config
from unlearn.core.errors import ConfigError
from unlearn.core.plugins import find_options
from unlearn.core.sisa_recipe import SisaRecipe
from unlearn.core.types import Subset
from unlearn.core.validation import ADDED
from unlearn.data.datasets.image_folder import ImageFolder
from unlearn.pipeline import plan as pipeline
from unlearn.pipeline.config import RunConfig
from unlearn.pipeline.plan import Plan
from unlearn.stages import keys
from unlearn.stages.base import Stage, inputs
from unlearn.stages.keys import canonicalize, code_hash
from unlearn.strategies.bad_teacher import BadTeacher
from unlearn.strategies.selection import All

Compose = Callable[..., DictConfig]
RUNTIME = ("dataset.root", "dataset.download", "forget.file", "paths.", "logger", "cluster", "report.")
RUNTIME += ("rebuild_damaged", "until", "objective")
RUNTIME += ("train.single_model",)
RUNTIME += ("dataset.memory_limit", "dataset.workers", "dataset.train", "dataset.test")
RUNTIME += ("trainer.accelerator", "trainer.detect_anomaly", "trainer.checkpoint_every")

# What else an option needs to be valid.
EXTRA: dict[tuple[str, str], tuple[str, ...]] = {
    ("strategy/selection", "all"): ("strategy.k=1.0",),
    ("strategy", "lrp_path"): ("forget=class_wise",),
    ("train", "sisa"): ("strategy=sisa", "spd_gan=off", "metrics=accuracy", "attacks=none"),
    ("forget", "indices"): ("forget.file={request}",),
    ("forget", "subclass"): ("dataset=image_folder", "dataset.root={nested}", "forget.subclass=0"),
    ("forget", "mislabelled"): ("dataset.label_noise=0.1",),
    ("forget", "relabel"): ("forget.file={corrections}", "strategy=identity"),
    ("attacks", "feature_recovery"): ("forget.count=1",),
    ("attacks", "earlier_logistic"): ("forget.earlier=['{request}']",),
    ("metrics", "earlier_accuracy"): ("forget.earlier=['{request}']",),
    ("metrics", "klom"): ("baseline.seeds=[0,1,2,3,4,5,6,7]",),
    ("dataset", "image_folder"): ("dataset.root={images}",),
    ("dataset", "python"): ("dataset.factory=own_data:digits",),
    ("model", "python"): ("model.factory=own_net:build",),
}
# Valid values of leaves that know theirs by looking elsewhere.
ANOTHER = {
    "dataset.channels": 1,
    "trainer.threads": 2,
    "trainer.callbacks": ["pytorch_lightning.callbacks:Timer"],
    "metrics.klom.unlearn_seeds": [1, 2, 3, 4, 5, 6, 7, 8],
    **{f"attacks.{name}.models": 18 for name in ("lira", "rmia", "u_lira")},
    "dataset.factory": "own_data:pairs",
    "model.name": "resnet34",
    "model.weights": "DEFAULT",
    "model.factory": "own_net:other",
    "objective": "unlearned/forget_accuracy",
}
# Every option that has fields, one at a time; whatever is added later is found here too.
OPTIONS = [
    (group, option)
    for group, where in config.GROUPS.items()
    if group not in {"logger", "cluster", "requests"}  # in no key: tested below; a stream has a plan of its own
    for option, kind in find_options(*where).items()
    if fields(kind) and (config.CONF / group / f"{option}.yaml").is_file()
]

# The others of these groups have the same kinds of fields; `make test-all` runs them.
QUICK = {"strategy": "top_k", "attacks": "lira", "metrics": "", "dataset": "image_folder", "model": "cnn"}
OPTION_CASES = [
    pytest.param(group, option, marks=() if QUICK.get(group, option) == option else pytest.mark.slow)
    for group, option in OPTIONS
]


def stages(plan: Plan) -> dict[str, Stage]:
    """All of a plan by key, inputs included."""
    return reached(plan.original, *plan.retrained, plan.unlearned, *(reading.stage for reading in plan.evaluations))


def reached(*stages: Stage) -> dict[str, Stage]:
    """These by key, inputs included."""
    found: dict[str, Stage] = {}
    todo = list(stages)
    while todo:
        stage = todo.pop()
        if stage.key not in found:
            found[stage.key] = stage
            todo += inputs(stage)
    return found


def keys_of(composed: DictConfig) -> set[str]:
    return set(stages(plan_of(composed)))


def has_new_key(settings: RunConfig, known: set[str]) -> bool:
    """Whether a plan has a stage whose key is not among these; the likeliest ones are asked first."""
    plan = pipeline.make_plan(settings)
    stages = (plan.unlearned, plan.original, *plan.retrained, *(evaluation.stage for evaluation in plan.evaluations))
    return any(stage.key not in known for stage in stages)


def leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any, tuple[str, ...]]]:
    """Dotted name, value and allowed names of every leaf of a config."""
    for spec in fields(value):
        item, name = getattr(value, spec.name), prefix + spec.name
        if is_dataclass(item):
            yield from leaves(item, f"{name}.")
        elif isinstance(item, dict):
            for option, settings in item.items():
                yield from leaves(settings, f"{name}.{option}.")
        else:
            check = spec.metadata.get("check")
            yield name, item, check.names if check else ()


def others(value: Any, names: tuple[str, ...]) -> Iterator[Any]:
    """Values to put in the place of `value`; not all of them need be valid."""
    if names:
        yield from (name for name in names if name != value)
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield from (other for other in (value + 1, value / 2, value - 1, value + 0.1) if other != value)
    elif isinstance(value, list):
        yield from ([*value, 7], [*value, "*bias"])
    elif value is None:
        yield from (100, 1000, 10, 0.5, [0.1, 0.2, 0.3], True)
    else:
        yield from (f"{value}x", "1")


def changed(composed: DictConfig, leaf: str, value: Any, names: tuple[str, ...]) -> RunConfig:
    """The same config with another valid value in one leaf."""
    for other in (ANOTHER[leaf],) if leaf in ANOTHER else others(value, names):
        trial = copy.deepcopy(composed)
        try:
            OmegaConf.update(trial, leaf, other)
            return config.instantiate(trial)
        except (ConfigError, ValueError):
            continue
    raise AssertionError(f"{leaf}: no valid value but {value!r}")


def flipping(composed: DictConfig, under: str) -> dict[str, bool]:
    """For every leaf of that part of the config: does it change the keys?"""
    before, found = keys_of(composed), config.instantiate(composed)
    aside = {"forget.file", "forget.earlier"}  # another file may be the same request: tested below
    if isinstance(found.dataset, ImageFolder):
        # there are no others: tested with the fingerprint
        aside |= {f"dataset.{name}" for name in ("root", "train", "test", "val", "test_fraction", "test_seed")}
    if not found.dataset.flip:
        aside.add("dataset.flip_alternates")  # false is its only value
    if isinstance(getattr(found.strategy, "selection", None), All):
        aside.add("strategy.k")  # 1.0 is its only value
    if isinstance(found.strategy, BadTeacher):
        aside.add("strategy.recipe.label_smoothing")  # 0 is its only value
    recipe = getattr(found.strategy, "recipe", None)
    if recipe is not None and (recipe.momentum == 0 or recipe.optimizer not in ("sgd", "muon")):
        aside.add("strategy.recipe.nesterov")  # false is its only value
    if getattr(found.strategy, "js_from", None) == "labels":
        aside.add("strategy.js_form")  # mixture is its only value
    if isinstance(found.train, SisaRecipe):
        aside.add("train.patience")  # null is its only value
    if found.strategy.history is not None:
        aside |= {leaf for leaf, _, _ in leaves(found) if leaf.startswith("strategy.recipe.")}  # the training's own
    return {
        leaf: has_new_key(changed(composed, leaf, value, names), before)
        for leaf, value, names in leaves(found)
        if leaf.startswith(under) and leaf not in aside
    }


def test_every_leaf_flips_the_keys(composed: Compose) -> None:
    found = flipping(composed(), under="")
    assert {leaf for leaf, flips in found.items() if flips} == {leaf for leaf in found if not leaf.startswith(RUNTIME)}
    assert len(found) > 50


@pytest.mark.parametrize(("group", "option"), OPTION_CASES)
def test_every_leaf_of_every_option_flips_the_keys(composed: Compose, tmp_path: Path, group: str, option: str) -> None:
    request = tmp_path / "request.txt"
    request.write_text("3\n5\n")
    corrections = tmp_path / "corrections.csv"
    corrections.write_text("index,wrong,right\n3,3,5\n")
    images, nested = write_images(tmp_path / "images"), write_images(tmp_path / "nested", nested=True)
    places = {"request": request, "corrections": corrections, "images": images, "nested": nested}
    extra = [each.format(**places) for each in EXTRA.get((group, option), ())]
    found = flipping(composed(f"{group}={option}", *extra), group.replace("/", "."))
    assert {leaf for leaf, flips in found.items() if flips} == {leaf for leaf in found if not leaf.startswith(RUNTIME)}


def test_earlier_requests_are_in_the_keys_by_their_records(composed: Compose, tmp_path: Path) -> None:
    for name, text in (("one.txt", "3\n5\n"), ("same.json", "[5, 3]"), ("other.txt", "3\n6\n")):
        (tmp_path / name).write_text(text)
    one, same, other = (
        plan_of(composed(f"forget.earlier=['{tmp_path / name}']")) for name in ("one.txt", "same.json", "other.txt")
    )
    assert one.unlearned.key == same.unlearned.key
    keys = {plan.retrained[0].key for plan in (one, other, plan_of(composed()))}
    assert len(keys) == 3
    assert not torch.isin(torch.tensor([3, 5]), one.split.forget.population.draw().member).any()


HOW = ("trainer.accelerator=auto", "trainer=debug", "logger=none", "logger=wandb_offline", "paths.store=elsewhere")
HOW += ("cluster=joblib", "cluster=slurm", "cluster=ray", "until=baseline", "objective=unlearned/forget_accuracy")
FITTED = ("trainer.precision=bf16-mixed", "trainer.channels_last=true", "trainer.tf32=true")


@pytest.mark.parametrize("override", HOW)
def test_how_it_is_run_is_not_in_the_keys(composed: Compose, override: str) -> None:
    assert keys_of(composed(override)) == keys_of(composed())


@pytest.mark.parametrize("override", FITTED)
def test_precision_is_only_in_keys_of_fitted_models(composed: Compose, override: str) -> None:
    here, there = plan_of(composed()), plan_of(composed(override))
    assert here.original.key != there.original.key
    assert here.unlearned.key != there.unlearned.key
    noise = [plan_of(composed("spd_gan=noise", *more)).spd_gan for more in ((), (override,))]
    assert noise[0].key == noise[1].key  # type: ignore[union-attr]


def test_default_numerics_do_not_change_keys(composed: Compose) -> None:
    numerics = plan_of(composed()).original.spec["numerics"]
    assert numerics == {"class": "Numerics", "deterministic": True, "precision": "32", "devices": 1}


def test_a_gpu_is_in_every_key_whose_digits_depend_on_it(composed: Compose, tmp_path: Path) -> None:
    """Also of what is made of a checkpoint, which is the same on both: predictions, scores, unlearned models."""
    here, there = (stages(plan_of(composed(*more))) for more in ((), ("trainer=gpu",)))
    assert not set(here) & set(there)
    assert {stage.spec["numerics"].get("device") for stage in there.values() if "numerics" in stage.spec} == {"cuda"}
    file = tmp_path / "model.pt"
    torch.save(config.instantiate(composed()).model.net((1, 8, 8), 10).state_dict(), file)
    words = ("checkpoint=file", f"checkpoint.file={file}", "checkpoint.trained_on=all", "spd_gan=off")
    here, there = (stages(plan_of(composed(*words, *more))) for more in ((), ("trainer=gpu",)))
    assert not set(here) & set(there)


def test_world_size_is_only_in_keys_of_trained_models(composed: Compose) -> None:
    one, two = plan_of(composed("spd_gan=noise")), plan_of(composed("spd_gan=noise", "trainer=ddp"))
    assert one.original.key != two.original.key
    assert one.spd_gan.key == two.spd_gan.key  # type: ignore[union-attr]
    assert two.original.devices == two.unlearned.devices == 2
    assert plan_of(composed("spd_gan=noise", "trainer=ddp", "strategy=identity")).unlearned.devices == 1  # no phases


@pytest.mark.parametrize("more", [(), ("retain=condensed",), ("attacks=full",), ("spd_gan=noise",)])
def test_threads_are_in_every_key_that_depends_on_sums(composed: Compose, more: tuple[str, ...]) -> None:
    one, two = (plan_of(composed(f"trainer.threads={threads}", *more)) for threads in (1, 2))
    shared = set(stages(one)) & set(stages(two))
    assert {stages(one)[key].kind for key in shared} <= {"split"}


def test_threads_are_in_the_keys_of_all_results_of_a_checkpoint(composed: Compose, tmp_path: Path) -> None:
    """It was not trained here, so that nothing but the threads differs."""
    file = tmp_path / "mine.safetensors"
    save_file(plan_of(composed()).original.fresh("init/elsewhere", 0).net.state_dict(), file)
    words = ("checkpoint=file", f"checkpoint.file={file}", "checkpoint.trained_on=all", "spd_gan=off")
    one, two = (plan_of(composed(*words, "metrics=spd_gan_off", f"trainer.threads={n}")) for n in (1, 2))
    assert {stages(one)[key].kind for key in set(stages(one)) & set(stages(two))} <= {"split"}
    assert "threads" not in one.original.spec


def test_one_thread_does_not_change_keys(composed: Compose) -> None:
    plan = plan_of(composed("trainer.threads=1"))
    assert plan.original.spec["numerics"].keys() == {"class", "deterministic", "precision", "devices"}
    assert keys_of(composed("trainer.threads=1")) == keys_of(composed())  # a small net


@pytest.mark.parametrize(("options", "threads"), [(("model=resnet18",), 8), (("model=cnn",), 1), (("model=mlp",), 1)])
def test_the_default_number_of_threads_depends_on_the_net(
    composed: Compose, options: tuple[str, ...], threads: int
) -> None:
    assert config.instantiate(composed(*options)).trainer.threads == threads
    assert config.instantiate(composed(*options, "trainer=gpu")).trainer.threads == 1
    assert config.instantiate(composed(*options, "trainer.threads=3")).trainer.threads == 3


@pytest.mark.parametrize("threads", [0, 257, 100_000])
def test_more_threads_than_torch_supports_are_refused(composed: Compose, threads: int) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.threads: expected a number from 1 to 256"):
        config.instantiate(composed(f"trainer.threads={threads}"))


def test_the_same_command_line_has_the_same_keys(composed: Compose) -> None:
    assert keys_of(composed()) == keys_of(composed())


def test_more_baseline_seeds_only_add(composed: Compose) -> None:
    one, two = (stages(plan_of(composed(f"baseline.seeds={seeds}"))) for seeds in ("[0]", "[0,1]"))
    assert set(one) < set(two)
    assert {type(stage).__name__ for key, stage in two.items() if key not in one} == {"Train", "Predict", "Evaluate"}


@pytest.mark.parametrize(
    "overrides",
    [("strategy=top_k",), ("strategy=finetune",), ("strategy.k=0.01",), ("strategy.noise_scale=1",)],
)
def test_cells_share_all_but_the_unlearned_model(composed: Compose, overrides: tuple[str, ...]) -> None:
    here, there = plan_of(composed()), plan_of(composed(*overrides))
    assert here.original.key == there.original.key
    assert here.spd_gan is not None
    assert here.spd_gan.key == there.spd_gan.key  # type: ignore[union-attr]
    assert [model.key for model in here.retrained] == [model.key for model in there.retrained]
    assert here.unlearned.key != there.unlearned.key


def test_scores_are_shared_between_cells(composed: Compose) -> None:
    cells = [plan_of(composed("strategy=top_k", cell)) for cell in ("strategy.k=0.01", "strategy.noise_scale=1")]
    first, second = (cell.unlearned.scores for cell in cells)
    assert len(first) == 1
    assert [score.key for score in first] == [score.key for score in second]


def test_a_ratio_shares_each_of_its_statistics(composed: Compose) -> None:
    def scores(*overrides: str) -> list[str]:
        cell = composed("strategy=top_k", *(f"strategy.selection.sensitivity.{each}" for each in overrides))
        return [score.key for score in plan_of(cell).unlearned.scores]

    ratio, (square,) = scores("score=ratio"), scores("score=mean_square")
    assert len(set(ratio)) == 2
    assert ratio[0] == square
    assert scores("score=ratio", "damping=0.5") == ratio
    fewer = scores("score=ratio", "retain_samples=10")
    assert fewer[0] == ratio[0]
    assert fewer[1] != ratio[1]


def test_a_statistic_that_is_needed_twice_is_one_stage(composed: Compose) -> None:
    """Top-K may rank by the importance that it dampens by: its seconds count once."""
    cell = composed("strategy=top_k", "strategy.mode=dampen", "strategy.selection.sensitivity.score=mean_square")
    scores = plan_of(cell).unlearned.scores
    assert [(score.need.statistic.name, score.need.subset) for score in scores] == [
        ("mean_square", Subset.FORGET),
        ("mean_square", Subset.TRAIN),
    ]


def test_ssd_shares_its_importances_whatever_alpha(composed: Compose) -> None:
    cells = [plan_of(composed("strategy=ssd", f"strategy.alpha={alpha}")).unlearned for alpha in (2, 5)]
    assert cells[0].key != cells[1].key
    assert [score.key for score in cells[0].scores] == [score.key for score in cells[1].scores]
    assert len({score.key for score in cells[0].scores}) == 2


OFF = ("spd_gan=off",)


@pytest.mark.parametrize("overrides", [("forget.share=0.2",), ("forget.count=5",), ("forget=class_wise",)])
def test_without_spd_gan_the_original_does_not_depend_on_the_request(
    composed: Compose, overrides: tuple[str, ...]
) -> None:
    here, there = plan_of(composed(*OFF)), plan_of(composed(*OFF, *overrides))
    assert here.original.key == there.original.key
    assert here.retrained[0].key != there.retrained[0].key
    marked, marked_else = (plan_of(composed("spd_gan=marker", *more)) for more in ((), overrides))
    assert marked.original.key != marked_else.original.key


def test_roles_never_share_a_model(composed: Compose) -> None:
    plan = plan_of(composed("spd_gan=marker", "baseline.seeds=[0,1]"))
    assert plan.spd_gan is not None
    assert plan.spd_gan.guide is not None
    assert len({plan.original.key, plan.spd_gan.guide.key, *(model.key for model in plan.retrained)}) == 4


def test_the_evaluation_seed_only_changes_keys_of_evaluations(composed: Compose) -> None:
    here, there = (stages(plan_of(composed(f"seeds.evaluate={seed}"))) for seed in (0, 1))
    assert {type(stage).__name__ for key, stage in there.items() if key not in here} == {"Evaluate"}


def test_a_request_is_keyed_by_the_records_it_names(composed: Compose, tmp_path: Path) -> None:
    texts = {"a.txt": "3\n5\n", "b.csv": "who,index\nx,5\ny,3\n", "c.json": "[5, 3]", "other.txt": "3\n6\n"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    found = {name: keys_of(composed("forget=indices", f"forget.file={tmp_path / name}")) for name in texts}
    assert found["a.txt"] == found["b.csv"] == found["c.json"]
    assert not found["a.txt"] & found["other.txt"]  # whom it names is kept out of validation and holdout as well


RELABEL = ("forget=relabel", "strategy=identity", "spd_gan=off")


def test_corrections_are_keyed_by_records_and_labels_and_not_by_their_file(composed: Compose, tmp_path: Path) -> None:
    texts = {
        "a.csv": "index,wrong,right\n3,1,5\n4,2,6\n",
        "b.txt": "who,right,wrong,index\nx,6,2,4\ny,5,1,3\n",
        "right.csv": "index,wrong,right\n3,1,5\n4,2,7\n",
        "wrong.csv": "index,wrong,right\n3,1,5\n4,0,6\n",
        "records.csv": "index,wrong,right\n3,1,5\n5,2,6\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    plans = {name: plan_of(composed(*RELABEL, f"forget.file={tmp_path / name}")) for name in texts}
    found = {name: set(stages(each)) for name, each in plans.items()}
    assert found["a.csv"] == found["b.txt"]
    models = {name: [each.original.key, each.retrained[0].key, each.split.key] for name, each in plans.items()}
    for name, same in (("right.csv", 1), ("wrong.csv", 1), ("records.csv", 0)):  # the original never saw `right`
        assert sum(here == there for here, there in zip(models["a.csv"], models[name], strict=True)) == same, name
        assert (models[name][0] == models["a.csv"][0]) is bool(same)


def test_undoing_label_noise_does_not_change_the_original(composed: Compose) -> None:
    noise = ("dataset.label_noise=0.1", "strategy=identity", "spd_gan=off")
    here, there = (plan_of(composed(*noise, f"forget={forget}")) for forget in ("relabel", "mislabelled"))
    assert here.original.key == there.original.key
    assert here.retrained[0].key != there.retrained[0].key
    assert here.retrained[0].samples.subset == "corrected"
    assert there.retrained[0].samples.subset == "retain"


@dataclass(frozen=True)
class Toy(Stage):
    value: Any

    def build(self, folder: Path, context: Any, tick: Any) -> None:
        raise NotImplementedError


class Color(StrEnum):
    RED = "red"


def test_a_stage_enters_a_key_by_its_own_key() -> None:
    inner = Toy(1)
    assert canonicalize(inner) == {"stage": inner.key}
    assert Toy(inner).spec == {"kind": "toy", "version": 1, "value": {"stage": inner.key}}
    assert Toy(inner).key != Toy(Toy(2)).key


@dataclass(frozen=True)
class Grown(Toy):
    more: int | None = field(default=None, metadata=ADDED)

    kind = "toy"


def test_a_later_field_at_its_default_does_not_change_keys() -> None:
    assert Grown(1).key == Toy(1).key
    assert Grown(1, more=2).spec == Toy(1).spec | {"more": 2}


def test_a_version_flips_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Toy(1).key
    monkeypatch.setattr(Toy, "version", 2)
    assert Toy(1).key != before


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Color.RED, "red"),
        ({Color.RED: (1, 2.0)}, {"red": [1, 2.0]}),
        ([None, True, "a"], [None, True, "a"]),
    ],
)
def test_plain_values_become_json(value: Any, plain: Any) -> None:
    assert canonicalize(value) == plain


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), (1, True), (0, None), ("1", 1), ([], None), ([1, 2], [2, 1])])
def test_values_that_differ_have_different_keys(one: Any, other: Any) -> None:
    assert Toy(one).key != Toy(other).key


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", 1j, lambda: None])
def test_a_value_without_a_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="no canonical form"):
        canonicalize(value)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """`hashed(a=source, b=source)`: the hash of module `unlearn.a` in a package of these modules."""

    def make(**sources: str) -> str:
        forget()
        monkeypatch.setattr(
            keys, "_read_source", {f"unlearn.{name}": text for name, text in sources.items()}.__getitem__
        )
        return code_hash("unlearn.a")

    yield make
    forget()


def forget() -> None:
    for cached in (code_hash, keys._parse_module):
        cached.cache_clear()


PLAIN = 'class A:\n    """One."""\n\n    def f(self, x):\n        """Two."""\n        return x + 1\n'


@pytest.mark.parametrize(
    "same",
    [
        PLAIN.replace("Two", "Another docstring"),
        "# a comment\n" + PLAIN,
        PLAIN.replace("x + 1", "(x  +  1)  # a comment"),
        PLAIN.replace("\n\n", "\n\n\n"),
    ],
)
def test_code_hash_ignores_comments_and_layout(hashed: Callable[..., str], same: str) -> None:
    assert same != PLAIN
    assert hashed(a=same) == hashed(a=PLAIN)


def test_code_hash_ignores_a_new_docstring(hashed: Callable[..., str]) -> None:
    assert hashed(a=PLAIN.replace('        """Two."""\n', "")) == hashed(a=PLAIN)


@pytest.mark.parametrize("other", [PLAIN.replace("1", "2"), PLAIN.replace("x", "y"), PLAIN + "\nB = 3\n"])
def test_code_hash_sees_code(hashed: Callable[..., str], other: str) -> None:
    assert hashed(a=other) != hashed(a=PLAIN)


def test_code_hash_follows_our_imports(hashed: Callable[..., str]) -> None:
    a, b, c = "from unlearn.b import f\n", "from unlearn.c import g\n", "def g(): return {}\n"
    before = hashed(a=a, b=b, c=c.format(1))
    assert hashed(a=a, b=b, c=c.format(2)) != before
    assert hashed(a=a, b=b, c=c.format(1) + "# a comment\n") == before


def test_code_hash_ignores_shared_modules_and_other_packages(hashed: Callable[..., str]) -> None:
    imports = "import torch\nfrom unlearn.core.types import Role\nfrom unlearn.data.splits import x\n"
    assert hashed(a=imports)


@pytest.mark.parametrize("option", ["model", "strategy", "spd_gan", "train"])
def test_options_carry_their_code(composed: Compose, option: str) -> None:
    value = getattr(config.instantiate(composed()), option)
    assert canonicalize(value)["code"] == code_hash(type(value).__module__)


def test_keys_do_not_depend_on_the_code_that_runs_stages() -> None:
    """A wider column on the console must not retrain a model: stages are covered by their version."""
    for room in ("core.progress", "core.artifact_store", "stages.base", "stages.samples", "training.trainer"):
        assert f"unlearn.{room}".startswith(keys.NOT_HASHED)
