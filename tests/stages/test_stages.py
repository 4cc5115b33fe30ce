"""The stages of a small run: training data, what is stored, and what is rebuilt."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from unlearn import config
from unlearn.core.artifact_store import ArtifactStore
from unlearn.core.errors import DivergenceError, StoreError
from unlearn.core.progress import Console
from unlearn.core.types import Images, Role, Subset
from unlearn.data.datasets.digits import Digits
from unlearn.data.requests.rules import Random
from unlearn.report.assemble import assemble
from unlearn.stages import samples
from unlearn.stages.base import BuildContext, Stage
from unlearn.stages.files import read_predictions, read_tensors, write_json, write_tensors
from unlearn.stages.predict import Predict
from unlearn.training.prediction import predict
from unlearn.training.trainer import TrainerSettings

if TYPE_CHECKING:
    from conftest import Finished, Run

ALONE = ("spd_gan=off", "metrics=without_baseline", "attacks=none", "baseline=none", "strategy=identity")


def test_a_stage_that_trains_nothing_or_is_not_built_has_no_curve(finished: Finished, tmp_path: Path) -> None:
    plan = finished.outcome.plan
    assert finished.context.peek(plan.split) is not None
    assert plan.split.curve(finished.context) == []
    assert plan.original.curve(finished.context) != []
    assert plan.original.curve(BuildContext(ArtifactStore(tmp_path), TrainerSettings(), Console())) == []


@dataclasses.dataclass(frozen=True)
class Toy(Stage):
    """Takes its time."""

    seconds: float
    needs: Stage | None = None

    def build(self, folder: Path, context: BuildContext, tick: Any) -> None:
        if self.needs:
            context.get(self.needs)
        time.sleep(self.seconds)
        write_json(folder / "value.json", self.seconds)


@dataclasses.dataclass(frozen=True)
class Prepared(Toy):
    """Has something to import first."""

    def prepare(self, context: BuildContext) -> None:
        time.sleep(0.5)


def build_context_at(root: Path) -> BuildContext:
    return BuildContext(ArtifactStore(root), TrainerSettings("cpu"), Console(io.StringIO()))


def tensors(run: Finished, stage: Stage) -> dict[str, torch.Tensor]:
    return read_tensors(run.context.get(stage), "model.safetensors")


def contents(run: Finished) -> dict[str, Any]:
    """Hashes of all files of all artifacts, by key."""
    return {key: entry.meta["files"] for key, entry in run.context.entries.items()}


def built(run: Finished) -> set[str]:
    return {key for key, entry in run.context.entries.items() if not entry.reused}


# Who is trained on what


def test_retrained_models_share_no_weight_with_the_original(finished: Finished) -> None:
    plan = finished.outcome.plan
    assert plan.spd_gan is not None
    assert plan.spd_gan.guide is not None
    models = [tensors(finished, stage) for stage in (plan.original, *plan.retrained, plan.spd_gan.guide)]
    names = [name for name, _ in plan.original.load(finished.context).named_parameters()]
    assert len(names) > 4
    for name in names:
        assert models[0][name].is_floating_point()
        for i, one in enumerate(models):
            assert not any(torch.equal(one[name], other[name]) for other in models[i + 1 :]), name


def test_retrained_models_share_the_recipe_with_the_original(finished: Finished) -> None:
    original, *retrained = finished.outcome.plan.original, *finished.outcome.plan.retrained
    assert len(retrained) == 2
    for model in retrained:
        same = {"role": Role.ORIGINAL, "samples": original.samples, "seed": original.seed}
        assert dataclasses.replace(model, **same) == original


def test_retrained_models_never_see_the_forget_set(finished: Finished) -> None:
    plan, context = finished.outcome.plan, finished.context
    retain, forget = plan.retrained[0].samples.load(context), plan.unlearned.forget.load(context)
    trained = plan.original.samples.load(context)
    assert len(forget) == 22  # a tenth of the 225 in D
    assert not torch.isin(retain.index, forget.index).any()
    assert torch.cat([retain.index, forget.index]).sort().values.equal(trained.index)
    assert plan.spd_gan is not None
    for aside in (plan.original.validation, plan.spd_gan.holdout):
        assert not torch.isin(aside.load(context).index, trained.index).any()


def test_under_the_marker_the_original_sees_the_marked_images(finished: Finished) -> None:
    plan, context = finished.outcome.plan, finished.context
    assert plan.spd_gan is not None
    marked = read_tensors(context.get(plan.spd_gan), "moved.safetensors")
    clean = dataclasses.replace(plan.original.samples, perturbed_by=None).load(context)
    seen = plan.original.samples.load(context)
    assert plan.original.samples.subset is Subset.TRAIN
    assert torch.equal(seen.index, clean.index)
    assert torch.equal(seen.labels, clean.labels)
    chosen = torch.isin(clean.index, marked["forget_index"])
    assert torch.equal(seen.images[chosen], marked["forget"])
    assert torch.equal(seen.images[~chosen], clean.images[~chosen])
    assert not torch.equal(seen.images[chosen], clean.images[chosen])
    assert torch.equal(plan.unlearned.forget.load(context).images, marked["forget"])


@pytest.mark.parametrize("name", ["forget", "holdout", "noisy_forget"])
def test_marked_images_are_within_epsilon(finished: Finished, name: str) -> None:
    mark = finished.outcome.plan.spd_gan
    assert mark is not None
    moved = read_tensors(finished.context.get(mark), "moved.safetensors")[name]
    clean = (mark.holdout if name == "holdout" else mark.forget).load(finished.context).images
    change = (moved.int() - clean.int()).abs()
    assert moved.dtype == torch.uint8
    assert 0 < change.max() <= mark.settings.bound(1) * 255


# What a model is asked


def test_predictions_are_one_per_sample_in_order(finished: Finished) -> None:
    plan, context = finished.outcome.plan, finished.context
    found = read_predictions(context.get(Predict(plan.original, plan.unlearned.retain)))
    data = plan.unlearned.retain.load(context)
    assert (found.logits.dtype, found.labels.dtype, found.index.dtype) == (torch.float32, torch.int64, torch.int64)
    assert found.logits.shape == (len(data), 10)
    assert torch.equal(found.index, data.index)
    assert torch.equal(found.labels, data.labels)


def test_evaluation_does_not_change_a_model() -> None:
    net = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, 10)).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    data = Images(torch.randint(0, 256, (600, 1, 8, 8), dtype=torch.uint8), torch.zeros(600).long(), torch.arange(600))
    found = predict(net, data)
    assert all(module.training for module in net.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert torch.equal(found.logits, predict(net.eval(), data).logits)
    assert not net.training


def test_evaluation_keeps_frozen_parts_of_a_training_model_frozen() -> None:
    net = nn.Sequential(nn.BatchNorm2d(1).eval(), nn.Flatten(), nn.Linear(64, 10))
    predict(net, Images(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.zeros(2).long(), torch.arange(2)))
    assert not net[0].training


def test_scores_are_computed_on_the_original_and_the_named_samples(finished: Finished, run: Run) -> None:
    sensitivity = "strategy.selection.sensitivity"
    cell = run(finished.store, f"{sensitivity}.score=ratio", f"{sensitivity}.retain_samples=7")
    plan, context = cell.outcome.plan, cell.context
    forget, retain = plan.unlearned.scores
    assert (forget.samples, retain.samples) == (plan.unlearned.forget, plan.unlearned.retain)
    data = plan.unlearned.retain.load(context)
    chosen = torch.tensor([i * len(data) // 7 for i in range(7)])
    model = plan.original.load(context).requires_grad_(True)
    expected = retain.need.statistic.compute(model, [(data.images[chosen].float() / 255, data.labels[chosen])])
    found = read_tensors(context.get(retain), "scores.safetensors")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
    assert {"scores", "scores_retain"} <= set(
        assemble(cell.outcome, config.to_plain_dict(cell.composed), {})["artifacts"]
    )


def test_identity_has_every_number_of_the_original(finished: Finished, run: Run) -> None:
    idle = run(finished.store, "strategy=identity")
    plan = idle.outcome.plan
    assert plan.original.key == finished.outcome.plan.original.key
    same, other = tensors(idle, plan.original), tensors(idle, plan.unlearned)
    assert all(torch.equal(same[name], other[name]) for name in same)
    assert idle.value(Role.UNLEARNED, "forgetting_rate") == 0
    assert idle.value(Role.UNLEARNED, "memory_retention_rate") == 1
    assert idle.value(Role.UNLEARNED, "memory_retention_rate_test") == 1
    assert idle.value(Role.UNLEARNED, "unlearning_degree") == 0
    for metric in ("forget_accuracy", "test_accuracy", "forget_loss", "js_to_retrained", "mia_logistic_auc"):
        assert idle.value(Role.UNLEARNED, metric) == idle.value(Role.ORIGINAL, metric)


# When training fails


def test_a_nan_stops_the_run_and_stores_nothing(run: Run, tmp_path: Path) -> None:
    with pytest.raises(DivergenceError) as caught:
        run(tmp_path, *ALONE, "train.lr=1e6", "train.epochs=3")
    assert all(word in str(caught.value) for word in ("original", "step ", "learning rate 1e+06"))
    assert not (tmp_path / "train").exists()
    assert list((tmp_path / "building").iterdir()) == []


def test_a_nan_in_the_last_step_stops_the_run_too(run: Run, tmp_path: Path) -> None:
    with pytest.raises(DivergenceError):
        run(tmp_path, *ALONE, "train.lr=1e15", "train.batch_size=1000", "train.epochs=1")


def test_unwritable_tensors_raise_oserror(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        write_tensors(tmp_path / "nowhere" / "x.safetensors", {"a": torch.zeros(2)})


# What is built again


def test_the_same_plan_in_a_fresh_store_gives_the_same_bits(finished: Finished, run: Run, tmp_path: Path) -> None:
    again = run(tmp_path)
    assert built(again) == set(again.context.entries)
    assert contents(again) == contents(finished)
    measured = [[values for _, values in each.outcome.measurements] for each in (finished, again)]
    assert measured[0] == measured[1]


def test_a_rerun_reuses_everything_and_needs_no_data(
    finished: Finished, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("read the data")

    monkeypatch.setattr(samples, "load_dataset", refuse)
    again = run(finished.store)
    assert built(again) == set()
    assert [m for _, m in again.outcome.measurements] == [m for _, m in finished.outcome.measurements]
    assert "built" not in again.console


@pytest.mark.parametrize("lost", ["original", "unlearned", "reading"])
def test_only_deleted_artifacts_are_rebuilt(finished: Finished, run: Run, tmp_path: Path, lost: str) -> None:
    plan = finished.outcome.plan
    stage = plan.evaluations[0].stage if lost == "reading" else getattr(plan, lost)
    shutil.copytree(finished.store, tmp_path / "store")
    shutil.rmtree(tmp_path / "store" / stage.kind / stage.key)
    again = run(tmp_path / "store")
    assert built(again) == {stage.key}
    assert again.context.entries[stage.key].meta["files"] == contents(finished)[stage.key]


def test_damage_stops_a_run_unless_rebuild_damaged_is_set(finished: Finished, run: Run, tmp_path: Path) -> None:
    original, store = finished.outcome.plan.original, tmp_path / "store"
    shutil.copytree(finished.store, store)
    model = store / original.kind / original.key / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-4])
    with pytest.raises(StoreError, match=original.key):
        run(store)
    assert built(run(store, "rebuild_damaged=true")) == {original.key}
    assert hashlib.sha256(model.read_bytes()).hexdigest() == contents(finished)[original.key][model.name]["sha256"]


def test_meta_records_how_an_artifact_was_built(finished: Finished) -> None:
    original = finished.outcome.plan.original
    meta = finished.context.get(original).meta
    assert meta["spec"] == json.loads(json.dumps(original.spec))
    assert hashlib.sha256(json.dumps(meta["spec"], sort_keys=True).encode()).hexdigest() == original.key
    assert set(meta["versions"]) >= {"python", "torch", "pytorch-lightning", "commit"}
    assert set(meta["hardware"]) == {"device", "cpu", "cores", "threads", "devices", "system"}


def test_seconds_exclude_inputs_and_preparation(tmp_path: Path) -> None:
    context = build_context_at(tmp_path)
    inner = Toy(0.5)
    entry = context.get(Prepared(0.01, inner))
    assert context.get(inner).seconds >= 0.5
    assert 0.01 <= entry.seconds < 0.5


def test_a_stage_is_built_once(tmp_path: Path) -> None:
    context = build_context_at(tmp_path)
    first = context.get(Toy(0.0))
    assert context.get(Toy(0.0)) is first
    assert not first.reused
    assert build_context_at(tmp_path).get(Toy(0.0)).reused


def test_a_store_refuses_other_data_under_the_same_name(tmp_path: Path) -> None:
    context = build_context_at(tmp_path)
    context.store.pin("digits", "another release")
    with pytest.raises(StoreError, match="dataset digits"):
        samples.load_dataset(Digits(limit=100), context)


def test_one_store_serves_a_data_set_at_several_limits(tmp_path: Path) -> None:
    """What is held reaches as far as any limit so far, and is the same however far that is."""
    context = build_context_at(tmp_path)
    samples._contents_cache.clear()
    lengths, forgotten = [], []
    for limit in (100, 200, None, 100):
        data = samples.DataView(Digits(limit=limit), Random(), seed=0)
        forgotten.append(data[Subset.FORGET].load(context))
        lengths.append(len(samples.load_dataset(data.dataset, context).train))
    assert lengths == [100, 200, 1437, 1437]
    for alone, among in zip(vars(forgotten[0]).values(), vars(forgotten[-1]).values(), strict=True):
        assert torch.equal(alone, among)


def test_records_beyond_the_limit_are_not_cached() -> None:
    whole = Digits().load()
    labelled = dataclasses.replace(whole, subclass=whole.train.labels * 2)
    first = labelled.first(100)
    assert isinstance(first.train, Images)
    assert isinstance(whole.train, Images)
    for held, every in zip(vars(first.train).values(), vars(whole.train).values(), strict=True):
        assert torch.equal(held, every[:100])
    assert first.subclass is not None
    assert torch.equal(first.subclass, whole.train.labels[:100] * 2)
    assert first.test is whole.test
    assert labelled.first(1437) is labelled
