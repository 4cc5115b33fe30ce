"""`unlearn.run` does what the command does, and returns its models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from commands import unlearn as command
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from safetensors import safe_open
from safetensors.torch import load_file

import unlearn
from unlearn.attacks.logistic import Logistic
from unlearn.config import CONF
from unlearn.core.errors import ConfigError
from unlearn.core.types import Role, Subset
from unlearn.models.base import Classifier

SMALL = (
    "dataset.limit=300",
    "model.width=8",
    "model.hidden=32",
    "train.epochs=3",
    "strategy=top_k",
    "strategy.recipe.epochs=1",
    "spd_gan=off",
    "baseline.seeds=[0,1]",
    "attacks.logistic.splits=2",
    "attacks.logistic.bootstrap=100",
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("library") / "store"


@pytest.fixture(scope="module")
def result(store: Path) -> unlearn.Result:
    return unlearn.run(*SMALL, f"paths.store={store}", seed=1)


def test_the_command_reuses_its_artifacts_and_reports_the_same(result: unlearn.Result, store: Path) -> None:
    folder = store.parent / "command"
    done = command(*SMALL, "seed=1", f"paths.store={store}", f"paths.output={folder}", cwd=store.parent)
    assert done.returncode == 0, done.stderr
    assert "built" not in done.stderr
    report = json.loads((folder / "report.json").read_text())
    assert report["metrics"] == result.metrics
    assert report["verdict"] == result.report["verdict"]
    assert report["choices"] == result.report["choices"]
    assert result.table().strip() in done.stdout


def test_the_result_holds_plain_values(result: unlearn.Result) -> None:
    accuracy = result.metrics["unlearned/test_accuracy"]
    assert isinstance(accuracy, float)
    assert 0 < accuracy < 1
    assert result.gaps["test_accuracy"] == result.metrics["gap/test_accuracy"]
    assert set(result.verdict) == {"forgotten", "utility", "cost", "sure"}


def test_the_exported_weights_fit_the_bare_net_and_predict_the_same(result: unlearn.Result, tmp_path: Path) -> None:
    path = result.export(tmp_path / "unlearned.safetensors")
    dataset, images = result.config.dataset, torch.rand(8, *result.config.dataset.shape)
    net = result.config.model.net(dataset.shape, dataset.classes)
    net.load_state_dict(load_file(path), strict=True)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    mean, std = (torch.tensor(json.loads(metadata[name])).view(1, -1, 1, 1) for name in ("mean", "std"))
    model = result.model("unlearned")
    assert torch.equal(net.eval()((images - mean) / std), model(images))
    assert not model.training


def test_models_are_found_by_role_and_seed(result: unlearn.Result) -> None:
    first, second = (result.model("retrained", seed=seed) for seed in (0, 1))
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    with pytest.raises(ConfigError, match="role: expected one of unlearned, original, retrained, got 'teacher'"):
        result.model("teacher")
    with pytest.raises(ConfigError, match=r"seed: expected one of the run's retrained models \(0, 1\), got 7"):
        result.model("retrained", seed=7)


def test_forget_gives_the_weights_that_the_run_gives(result: unlearn.Result) -> None:
    """The same strategy, on the same model, images and seed."""
    plan, context = result.outcome.plan, result.outcome.context
    sources = plan.unlearned.subset_sources
    data = {str(subset): sources[subset].load(context) for subset in (Subset.FORGET, Subset.RETAIN, Subset.VALIDATION)}
    pairs = {name: (part.images, part.labels) for name, part in data.items()}
    forgotten = unlearn.forget(
        result.model(Role.ORIGINAL), strategy=plan.unlearned.strategy, seed=plan.unlearned.seed, **pairs
    )
    expected = result.model("unlearned").state_dict()
    assert isinstance(forgotten, Classifier)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in forgotten.state_dict().items())


def test_evaluate_measures_what_the_run_measures(result: unlearn.Result) -> None:
    plan, context = result.outcome.plan, result.outcome.context
    stages = {
        subset: stage
        for evaluation in plan.evaluations
        for subset, stage in evaluation.stage.subject.predictions.items()
    }
    names = (Subset.FORGET, Subset.RETAIN, Subset.TEST, Subset.HOLDOUT)
    data = {str(name): stages[name].samples.load(context) for name in names}
    pairs = {name: (part.images, part.labels) for name, part in data.items()}
    scores = unlearn.evaluate(
        result.model("unlearned"),
        original=result.model("original"),
        retrained=[result.model("retrained", seed) for seed in (0, 1)],
        metrics=["accuracy", "loss", "js_to_retrained"],
        attacks=[Logistic(splits=2, bootstrap=100)],
        seed=1,
        **pairs,
    )
    assert "gap/mia_logistic_auc" in scores.metrics
    for key, value in scores.metrics.items():
        assert value == pytest.approx(result.metrics[key], abs=1e-6), key


def test_the_report_is_written_where_it_is_asked_for(result: unlearn.Result, tmp_path: Path) -> None:
    result.save(tmp_path / "page")
    assert json.loads((tmp_path / "page/report.json").read_text()) == result.report
    assert "<html" in (tmp_path / "page/report.html").read_text()


def test_a_hydra_application_may_call_the_library() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        with pytest.raises(ConfigError, match=r"train\.lr"):
            unlearn.run("train.lr=-1")
        assert GlobalHydra.instance().is_initialized()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("strategy=topk",), "strategy"),
        (("train.lr=-1",), r"train.lr: expected a number > 0, got -1"),
        (("-m", "seed=0,1"), "expected one run, got a grid"),
        (("seed=0,1",), "seed: expected one value, got several"),
        (("until=baseline",), "until: expected end"),
        (("checkpoint=nowhere/net.pt", "checkpoint.trained_on=all"), r"checkpoint: expected a file in nowhere/net\.pt"),
        ((3,), "overrides: expected texts such as 'strategy=top_k', got 3"),
        (("logger=wandb_offline",), "output: expected a folder with logger=wandb_offline, got None"),
    ],
)
def test_bad_overrides_are_refused_by_name(overrides: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        unlearn.run(*overrides, f"paths.store={tmp_path}")
    assert list(tmp_path.iterdir()) == []
