"""Every option composes; bad command lines are refused with key, expected value and nearest name."""

from __future__ import annotations

import copy
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from unlearn import config
from unlearn.attacks.base import Attack
from unlearn.cli.help import help_text
from unlearn.config import CommandLine, preflight
from unlearn.config.schema import part_of
from unlearn.config.user_supplied import build_user_supplied
from unlearn.core.errors import ConfigError
from unlearn.core.plugins import find_options
from unlearn.core.recipe import Recipe
from unlearn.core.types import Subset
from unlearn.metrics.evidence import Metric
from unlearn.pipeline.config import RunConfig
from unlearn.pipeline.plan import make_plan
from unlearn.spd_gan.options import SpdGan
from unlearn.strategies.base import Budget, Strategy
from unlearn.strategies.finetune import Finetune

config.register()
GROUPS = sorted({path.parent.relative_to(config.CONF).as_posix() for path in config.CONF.rglob("*/*.yaml")})
OPTIONS = [(group, path.stem) for group in GROUPS for path in sorted((config.CONF / group).glob("*.yaml"))]
LISTED = {  # options of which several may be chosen: composed together, since each config takes half a second
    "metrics": [*find_options("unlearn.metrics", Metric), "python"],
    "attacks": [*find_options("unlearn.attacks", Attack), "python"],
}
CASES = [  # other tests compose each strategy
    (group, option) for group, option in OPTIONS if option not in LISTED.get(group, ()) and group != "strategy"
]
CASES += [(group, f"[{','.join(options)}]") for group, options in LISTED.items()]
PREFIX = {"experiment": "+", "preset": "+", "sweep": "+"}
# tests/stages/test_keys.py composes the options of the other groups; `make test-all` plans them here too.
QUICK = {"dataset", "model", "strategy/published", "strategy/recipe", "strategy/selection", *PREFIX, *LISTED}
CASES = [pytest.param(*case, marks=() if case[0] in QUICK else pytest.mark.slow) for case in CASES]
RELABEL = ["forget=relabel", "dataset.label_noise=0.1", "strategy=identity"]
SISA = ["train=sisa", "strategy=sisa"]
EXTRA = {
    ("forget", "indices"): ["forget.file=none.txt"],
    ("forget", "subclass"): ["forget.subclass=0"],
    ("checkpoint", "file"): ["checkpoint.file=none.pt", "checkpoint.trained_on=all"],
    ("requests", "listed"): ["requests.path=none"],
    ("dataset", "python"): ["dataset.factory=own_data:digits"],
    ("baseline", "none"): ["metrics=without_baseline"],
    ("model", "python"): ["model.factory=own_net:build"],
    ("strategy", "sisa"): ["train=sisa"],
    CASES[-2].values: ["metrics.python.factory=unlearn.metrics.loss:Loss", "spd_gan=noise"],
    CASES[-1].values: ["attacks.python.factory=unlearn.attacks.logistic:Logistic"],
}
PUBLISHED = {  # epochs and learning rate
    "boundary_shrink": (10, 0.01),
    "finetune": (10, 0.01),
    "gradient_ascent": (5, 0.0001),
    "l1_sparse": (10, 0.01),
    "random_label": (10, 0.01),
    "salun": (10, 0.013),
}


def composed(*overrides: str) -> RunConfig:
    """Compose the typed config, without the checks of `instantiate`."""
    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        run = OmegaConf.to_object(compose("config", list(overrides)))
    assert isinstance(run, RunConfig)
    return run


def refusal(*overrides: str, multirun: bool = False) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        preflight(CommandLine(list(overrides), multirun, None))
    return caught.value.problems


@pytest.mark.parametrize(("group", "option"), CASES)
def test_every_option_composes(group: str, option: str) -> None:
    chosen = f"strategy=published/{option}" if group == "strategy/published" else f"{group}={option}"  # no group itself
    run = composed(PREFIX.get(group, "") + chosen, *EXTRA.get((group, option), []))
    need_files = {("forget", "indices"), ("checkpoint", "file"), ("dataset", "image_folder")}
    if (group, option) not in need_files:
        assert make_plan(build_user_supplied(run)[0]).evaluations


@pytest.mark.parametrize(("group", "where"), [(g, w) for g, w in config.GROUPS.items() if g not in ("", "baseline")])
def test_every_class_has_a_yaml_and_every_yaml_a_class(group: str, where: tuple[str, type]) -> None:
    schemas = find_options(*where)
    texts = [path.read_text() for path in (config.CONF / group).glob("*.yaml")]
    used = [name for name in schemas if any(f"/schema/{group}/{name}@" in text for text in texts)]
    assert used == list(schemas)


@pytest.mark.parametrize("metrics", [[], ["metrics=without_baseline"], ["metrics=[accuracy,corrected_accuracy]"]])
def test_a_request_to_correct_labels_adds_its_metric(metrics: list[str]) -> None:
    preflight(CommandLine([*RELABEL, *metrics], False, None))
    assert "corrected_accuracy" in composed(*RELABEL, *metrics).metrics
    assert "corrected_accuracy" not in composed().metrics


@pytest.mark.parametrize(
    "spd_gan",
    [
        pytest.param(name, marks=() if name in {"off", "probe"} else pytest.mark.slow)
        for name in find_options("unlearn.spd_gan", SpdGan)
    ],
)
def test_metrics_full_has_all_metrics_that_the_option_of_spd_gan_allows(spd_gan: str) -> None:
    plain, full = (list(composed(f"spd_gan={spd_gan}", *more).metrics) for more in ((), ("metrics=full",)))
    kinds = find_options("unlearn.metrics", Metric)
    barred = {name for name, kind in kinds.items() if kind.needs_spd_gan} if spd_gan == "off" else set()
    assert full[: len(plain)] == plain
    assert set(full) == set(kinds) - barred - {"corrected_accuracy", "klom", "earlier_accuracy"}
    preflight(CommandLine([f"spd_gan={spd_gan}", "metrics=full"], False, None))


@pytest.mark.parametrize("spd_gan", ["off", "probe"])
def test_metrics_full_works_with_requests_that_correct_labels(spd_gan: str) -> None:
    preflight(CommandLine([*RELABEL, f"spd_gan={spd_gan}", "metrics=full"], False, None))
    assert "corrected_accuracy" in composed(*RELABEL, f"spd_gan={spd_gan}", "metrics=full").metrics


def test_the_metric_for_corrections_can_be_left_out() -> None:
    preflight(CommandLine([*RELABEL, "~metrics.corrected_accuracy"], False, None))
    preflight(CommandLine([*RELABEL[1:], "forget=random,relabel"], True, None))


def test_a_strategy_for_whole_classes_refuses_other_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Finetune, "class_wise_only", True)
    (problem,) = refusal("strategy=finetune")
    assert problem == "forget: expected a request for a whole class with strategy=finetune: class_wise, got 'random'"
    preflight(CommandLine(["strategy=finetune", "forget=class_wise"], False, None))


def test_seeds_follow_seed_unless_set() -> None:
    run = composed("seed=7", "seeds.unlearn=3")
    assert (run.seeds.split, run.seeds.train, run.seeds.unlearn, run.seeds.evaluate) == (7, 7, 3, 7)
    assert run.baseline.seeds == [7]


def test_strategy_recipe_follows_the_training_recipe() -> None:
    """It is shorter and annealed; all other fields are those of training."""
    changed = {"batch_size": 16, "optimizer": "sgd", "momentum": 0.8, "weight_decay": 0.001, "nesterov": True}
    changed |= {"decay_norms": False, "norm_bias_lr": 8.0, "clip": 1.5, "label_smoothing": 0.1}
    overrides = [f"train.{name}={value}" for name, value in changed.items()]
    for strategy in ("top_k", "random_k", "weight_noise", "finetune", "exact_k", "catastrophic_k"):
        recipe = composed(f"strategy={strategy}", "train.lr=0.02", "train.epochs=40", *overrides).strategy.recipe
        assert recipe == Recipe(epochs=6, lr=pytest.approx(0.014), schedule="cosine", **changed)


@pytest.mark.slow
def test_defaults_are_those_of_the_dataclasses() -> None:
    for name, kind in find_options("unlearn.strategies", Strategy).items():
        from_class, from_conf = kind(), composed(f"strategy={name}").strategy
        names = [field.name for field in fields(kind) if field.name not in ("recipe",)]
        assert {field: getattr(from_conf, field) for field in names} == {
            field: getattr(from_class, field) for field in names
        }


def test_selection_is_a_separate_group() -> None:
    run = composed("strategy=random_k", "strategy/selection=top_k", "strategy.selection.scope=per_layer")
    assert type(run.strategy.selection).__name__ == "TopKSelection"
    assert run.strategy.selection.scope == "per_layer"


@pytest.mark.parametrize(("strategy", "k"), [("neg_grad_plus", 0.5), ("finetune", 0.3)])
def test_selection_and_objective_are_chosen_independently(strategy: str, k: float) -> None:
    command = [f"strategy={strategy}", "strategy/selection=saliency", f"strategy.k={k}"]
    preflight(CommandLine(command, False, None))
    run = composed(*command)
    assert (type(run.strategy.selection).__name__, run.strategy.k) == ("Saliency", k)
    assert [score.need.subset for score in make_plan(run).unlearned.scores] == [Subset.FORGET]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["strategy=topk"], ["strategy", "one of", "nearest: top_k", "'topk'"]),
        (["strategy.kk=0.1"], ["strategy.kk", "nearest: strategy.k"]),
        (["+strategy.kk=0.1"], ["strategy.kk", "nearest: strategy.k"]),
        (["strategy.k=2.5"], ["strategy.k", "a fraction in [0.0, 1.0]", "2.5"]),
        (["strategy.k=1"], ["strategy.k", "write 1.0", "got 1"]),
        (["strategy.k=100000000"], ["strategy.k", "eligible parameters", "100000000"]),
        (["strategy.noise_scale=much"], ["strategy.noise_scale", "float", "much"]),
        (["strategy.noise_scale=nan"], ["strategy.noise_scale", "nan"]),
        (["strategy.js_form=mix"], ["strategy.js_form", "nearest: mixture"]),
        (["strategy/selection=top_k", "strategy.selection.exclude=[nothing*]"], ["selection.exclude", "nothing*"]),
        (["blend=mixed"], ["blend", "one of", "nearest: mix"]),
        (["blend=mix", "blend.target=95"], ["blend.target", "an accuracy in (0, 1]", "95"]),
        (["blend.drop=0.02"], ["blend.drop"]),
        (["train.lr=-1"], ["train.lr", "> 0", "-1.0"]),
        (["train.schedule=multistep"], ["train.milestones"]),
        (["seed=-1"], ["seed", ">= 0"]),
        (["baseline.seeds=[0,-1]"], ["baseline.seeds", "integers >= 0", "[0, -1]"]),
        (["train.milestones=[5,3]"], ["train.milestones", "each later than the one before", "[5, 3]"]),
        (["train.milestones=[3,3]"], ["train.milestones", "each later than the one before"]),
        (["train.milestones=[0]"], ["train.milestones", "epochs >= 1"]),
        (["train.warmup=20.5"], ["train.warmup", "at most the 20 epochs", "20.5"]),
        (["strategy.recipe.warmup=100"], ["strategy.recipe.warmup", "at most"]),
        (["dataset.flip=1"], ["dataset.flip", "bool", "not true or false"]),
        (["dataset.flip=0"], ["dataset.flip", "bool", "not true or false"]),
        (["report.images=1"], ["report.images", "bool", "not true or false"]),
        (["train.epochs=true"], ["train.epochs", "int", "True"]),
        (["strategy.noise_scale=true"], ["strategy.noise_scale", "float", "True"]),
        (["baseline.seeds=[true]"], ["baseline.seeds", "True"]),
        (["strategy.k=true"], ["strategy.k", "True"]),
        (["dataset.crop_padding=8"], ["dataset.crop_padding", "at most 7 pixels", "8"]),
        (["forget=class_wise", "forget.class_index=cat"], ["forget.class_index", "a class from 0 to 9", "'cat'"]),
        (["forget=class_wise", "forget.class_index=-1"], ["forget.class_index", "a number >= 0", "-1"]),
        (["forget.share=1.5"], ["forget.share", "1.5"]),
        (["forget.count=5000"], ["forget.count", "fewer than"]),
        (["forget=class_wise", "forget.class_index=12"], ["forget.class_index", "0 to 9", "12"]),
        (["forget=indices"], ["forget.file", "a value"]),
        (["forget=indices", "forget.file=/nowhere/request.txt"], ["forget.file", "readable", "/nowhere/request.txt"]),
        (["dataset.limit=3"], ["dataset.limit", "3"]),
        (["dataset.flip_alternates=true"], ["dataset.flip_alternates", "false, or dataset.flip=true"]),
        (["dataset.crop_fill=reflect", "dataset.crop_padding=8"], ["dataset.crop_padding", "at most 7 pixels", "8"]),
        (["dataset.crop_fill=reflection"], ["dataset.crop_fill", "nearest: reflect"]),
        (["model=whitened_cnn", "model.widths=[]"], ["model.widths", "integers >= 1", "[]"]),
        (["baseline=none"], ["metrics.js_to_retrained", "baseline=retrain", "metrics=without_baseline"]),
        (["spd_gan=off", "metrics=spd_gan_marker"], ["metrics.unlearning_degree", "spd_gan=probe"]),
        (["baseline.seeds=[1,1]"], ["baseline.seeds", "each seed once"]),
        (["metrics=[accuracy,los]"], ["metrics", "nearest: loss"]),
        (["objective=average_gap"], ["objective", "neither test nor holdout", "selection/average_gap"]),
        (["objective=unlearned/mia_logistic_auc"], ["objective", "neither test nor holdout"]),
        (["objective=gap/test_accuracy"], ["objective", "neither test nor holdout"]),
        (["objective=unlearned/tug_of_war"], ["objective", "neither test nor holdout"]),
        (["objective=unlearned/aus"], ["objective", "neither test nor holdout"]),
        (["objective=unlearned/nomus"], ["objective", "neither test nor holdout"]),
        (["objective=selection/average_gap"], ["objective", "attacks=[default,selection]"]),
        (["+sweep=search", "objective=null"], ["objective", "to search by"]),
        (["+sweep=search", "strategy.k=interval(0.1,7.0)"], ["strategy.k", "7.0"]),
        (["=1"], ["override", "key=value", "'=1'"]),
        (["strategy=1"], ["strategy", "one of", "top_k", "got 1"]),
        (["model=[1]"], ["model", "got"]),
        (["~seed"], ["seed", "cannot be left out", "~seed"]),
        (["~train.epochs"], ["train.epochs", "cannot be left out"]),
        (["until=baselin"], ["until", "nearest: baseline"]),
        (["report.images=some"], ["report.images", "bool", "some"]),
        (["report.pictures=true"], ["report.pictures", "nearest"]),
        (["retain=condense"], ["retain", "nearest: condensed"]),
        (["retain=condensed", "retain.clusters=0"], ["retain.clusters", ">= 1"]),
        (["retain.clusters=5"], ["retain.clusters"]),
        (
            ["retain=condensed", "model=python", "model.factory=own_net:headless", "spd_gan=off"],
            ["model", "retain=full"],
        ),
        (["spd_gan.epsilon=0"], ["spd_gan.epsilon", "(0, 1]"]),
        (["strategy=random_k,top_k"], ["strategy", "-m"]),
        (["trainer.precision=16-mixed"], ["trainer.precision", "CUDA", "16-mixed"]),
        (["trainer.precision=bf16"], ["trainer.precision", "nearest: bf16-mixed"]),
        (["strategy=identity", "+preset=kdd2026"], ["preset/kdd2026", "Identity"]),
        (["strategy=sisa"], ["train: expected sisa with strategy=sisa"]),
        ([*SISA, "strategy=top_k"], ["strategy: expected sisa, or identity", "got 'top_k'"]),
        (
            [*SISA, "blend=mix", "retain=condensed"],
            ["blend: expected none with", "retain: expected full with train=sisa"],
        ),
        ([*SISA, "spd_gan=marker"], ["spd_gan: expected probe or off with train=sisa"]),
        ([*SISA, "train.patience=3"], ["train.patience: expected null with train=sisa"]),
        ([*SISA, "train.shards=500"], ["train.shards: ", "1,077 records", "500 * 3 = 1,500"]),
        ([*RELABEL, "strategy=top_k"], ["strategy: ", "forget=relabel: ", "identity", "got 'top_k'"]),
        ([*RELABEL, "spd_gan=marker"], ["spd_gan: ", "probe or off with forget=relabel", "got 'marker'"]),
        ([*RELABEL, "spd_gan=noise"], ["spd_gan: ", "probe or off with forget=relabel", "got 'noise'"]),
        ([*RELABEL, "dataset.label_noise=0"], ["dataset.label_noise", "forget.file"]),
        ([*RELABEL, "forget.file=/nowhere/fix.csv"], ["forget.file", "readable", "/nowhere/fix.csv"]),
        (["metrics=[accuracy,corrected_accuracy]"], ["metrics.corrected_accuracy", "relabel", "forget=random"]),
    ],
)
def test_refusals(overrides: list[str], words: list[str]) -> None:
    text = "\n".join(refusal(*overrides))
    assert all(word in text for word in words), text


@pytest.mark.parametrize("strategy", ["random_k", "top_k"])
def test_presets_set_only_the_fields_that_they_list(strategy: str) -> None:
    plain, kdd2026, away = (
        composed(f"strategy={strategy}", *more).strategy for more in ((), ("+preset=kdd2026",), ("+preset=away",))
    )
    theirs = {"js_from": "original", "js_while": "always"}  # the term of the paper, at every step
    noise = {"k": 0.01, "mode": "add", "noise": "absolute", "noise_scale": 0.1}
    assert kdd2026 == replace(plain, **noise, **theirs, js_weight=0.1, js_form="mean_kl", js_batch=1.0)
    assert away == replace(plain, **theirs, js_weight=-0.1, js_form="mixture")


@pytest.mark.parametrize("sweep", ["k_noise_grid", "search"])
def test_sweeps_over_noise_use_the_mode_add(sweep: str) -> None:
    """In the default mode, `noise_scale` has no effect."""
    assert composed(f"+sweep={sweep}", "strategy=top_k").strategy.mode == "add"


def test_the_papers_sweep_has_the_papers_term() -> None:
    for strategy in ("finetune", "random_k", "top_k"):
        paper = composed("+sweep=paper", f"strategy={strategy}").strategy
        assert (paper.js_from, paper.js_while) == ("original", "always")


@pytest.mark.parametrize(
    ("epochs", "expected"), [(0, 0), (1, 1), (8, 1), (13, 1), (14, 2), (20, 3), (60, 9), (100, 15), (182, 27)]
)
def test_part_of_rounds_down_but_to_at_least_one_epoch(epochs: int, expected: int) -> None:
    assert part_of(epochs, 0.15) == expected
    config.register()
    assert OmegaConf.create({"n": epochs, "part": "${part_of:${n},0.15}"}).part == expected


def test_scaled_multiplies() -> None:
    assert OmegaConf.create({"lr": 0.1, "less": "${scaled:${lr},0.7}"}).less == pytest.approx(0.07)


def test_published_strategies_have_the_authors_settings() -> None:
    """The defaults are ours: they anneal, relabel in some epochs, and stop the ascent."""
    strategies = {name: composed(f"strategy=published/{name}").strategy for name in PUBLISHED}
    assert {strategy.recipe.schedule for strategy in strategies.values()} == {"constant"}
    assert {name: (s.recipe.epochs, s.recipe.lr) for name, s in strategies.items()} == PUBLISHED
    assert all(strategies[name].forget_while == "always" for name in ("random_label", "salun"))
    ascent, training = strategies["gradient_ascent"], composed().train
    assert ascent.budget == Budget()
    assert ascent.recipe.clip is None
    assert (ascent.recipe.momentum, ascent.recipe.weight_decay) == (training.momentum, training.weight_decay)
    assert strategies["finetune"].js_weight == 0


@pytest.mark.slow
@pytest.mark.parametrize("sweep", ["strategies", "strategies_class_wise"])
def test_the_sweeps_over_strategies_pass_the_checks(sweep: str) -> None:
    cells = preflight(CommandLine([f"+sweep={sweep}", "spd_gan=off", "seed=1", "metrics=accuracy"], True, None))
    assert cells


def test_a_quick_run_is_the_beginning_of_a_full_one() -> None:
    """A baseline, metrics and attacks that are added later reuse all that the quick run built."""
    later = ("baseline=retrain", "metrics=default", "attacks=default")
    quick, full = (make_plan(composed("+preset=quick", *more)) for more in ((), later))
    assert (quick.retrained, quick.spd_gan, quick.shadows) == ((), None, ())
    quick_keys = [stage.key for stage in (*quick.shared_stages, *quick.unlearning_stages)]
    assert set(quick_keys) < {stage.key for stage in (*full.shared_stages, *full.unlearning_stages)}
    assert {e.stage.key for e in quick.evaluations} < {e.stage.key for e in full.evaluations}
    assert len(full.retrained) == 1


def test_the_published_sweep_has_every_published_option() -> None:
    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        params = compose("config", ["+sweep=published"], return_hydra_config=True).hydra.sweeper.params
    named = params.strategy.split(",")
    assert {name for name in named if name.startswith("published/")} == {f"published/{name}" for name in PUBLISHED}


@pytest.mark.parametrize("preset", ["cifar_fast", "cifar_94"])
def test_presets_of_the_speed_runs_have_the_published_recipe(preset: str) -> None:
    """The authors sum the loss over the batch, and give rates for 1,024 examples of constant gradient."""
    run = composed("dataset=cifar10", f"+preset={preset}")
    recipe, dataset = run.train, run.dataset
    per_example = 11.5 / (1024 * (1 + 1 / (1 - recipe.momentum)))
    assert recipe.lr == pytest.approx(per_example * recipe.batch_size, rel=1e-3)
    assert recipe.weight_decay == pytest.approx(0.0153 / 11.5, rel=1e-3)
    assert (recipe.momentum, recipe.nesterov, recipe.norm_bias_lr, recipe.label_smoothing) == (0.85, True, 64, 0.2)
    assert (recipe.schedule, recipe.rise, recipe.start, recipe.end) == ("one_cycle", 0.23, 0.2, 0.07)
    assert (dataset.crop_padding, dataset.crop_fill, dataset.flip, dataset.flip_alternates) == (
        2,
        "reflect",
        True,
        True,
    )
    assert run.model.widths[1:] == ([256, 256] if preset == "cifar_94" else [run.model.widths[1]] * 2)


def test_the_command_line_overrides_a_preset_and_a_grid_can_use_presets() -> None:
    assert composed("+preset=kdd2026", "strategy.k=0.2").strategy.k == 0.2
    preflight(CommandLine(["strategy=random_k,top_k", "+preset=kdd2026,away", "seed=0,1"], True, None))


def test_help_marks_groups_that_need_a_plus() -> None:
    assert "  +preset: away, cifar_94, cifar_fast, kdd2026, quick\n" in help_text()
    assert "  strategy: " in help_text()


def test_all_problems_are_listed_at_once() -> None:
    text = "\n".join(refusal("strategy.kk=1", "train.lr=0", "forget.share=2", "seed=x"))
    assert all(key in text for key in ("strategy.kk", "train.lr", "forget.share", "seed"))


def test_every_cell_is_checked_before_the_first_runs() -> None:
    (problem,) = refusal("strategy=random_k,top_k", "strategy.k=0.1,7.5", "seed=0,1", multirun=True)
    assert problem.startswith("cell 2 (strategy=random_k strategy.k=7.5 seed=0): strategy.k")


def test_a_sweep_option_is_checked_too() -> None:
    (problem,) = refusal("+sweep=k_noise_grid", "strategy.recipe.epochs=-1")
    assert "cell 0" in problem
    assert "strategy.recipe.epochs" in problem


def test_a_good_grid_passes() -> None:
    preflight(CommandLine(["strategy=random_k,top_k", "strategy.k=0.1,0.5"], True, None))


def test_options_can_come_from_a_users_folder(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nseed: 5\n")
    preflight(CommandLine(["+experiment=mine"], False, str(tmp_path)))


@pytest.mark.parametrize(
    "spelled", ["model.arguments={width:5}", "model.arguments.width=5", "+model.arguments.width=5"]
)
def test_user_supplied_functions_take_any_argument(spelled: str) -> None:
    words = ["model=python", "model.factory=own_net:build", spelled]
    preflight(CommandLine(words, False, None))
    assert composed(*words).model.arguments == {"width": 5}


def test_an_unknown_argument_of_a_user_supplied_function_is_refused() -> None:
    (problem,) = refusal("model=python", "model.factory=own_net:build", "model.arguments.wide=5")
    assert "unexpected keyword argument 'wide'" in problem


def test_a_missing_folder_of_options_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--config-dir: expected a folder"):
        preflight(CommandLine([], False, str(tmp_path / "nowhere")))


def test_arguments_must_be_finite() -> None:
    (problem,) = refusal("model=python", "model.factory=own_net:build", "model.arguments={width:nan}")
    assert problem.startswith("model.arguments: expected finite numbers")


def test_the_store_of_schemas_is_shared_and_loaded_schemas_are_copies() -> None:
    config.register()
    store = ConfigStore.instance()
    assert copy.deepcopy(store) is store
    name = "schema/model/cnn.yaml"
    store.load(name).node.width = 7
    assert store.load(name).node.width == 16
