"""Small runs with a checkpoint, with hard and mislabelled records, and with SPD-GAN's probe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import own_net
import pytest
import torch
from builders import plan_of
from conftest import write_images
from omegaconf import DictConfig
from safetensors.torch import save_file

from unlearn import config
from unlearn.core.errors import ConfigError, StoreError
from unlearn.core.types import Role, Subset
from unlearn.data.datasets.python import _call_factory
from unlearn.functional.estimates import cross_entropy
from unlearn.report.assemble import assemble
from unlearn.spd_gan.options import Noise
from unlearn.stages import samples
from unlearn.stages.checkpoint import Checkpoint
from unlearn.stages.files import read_predictions, read_tensors

if TYPE_CHECKING:
    from conftest import Finished, Run

OWN = (
    "model=python",
    "model.factory=own_net:build",
    "spd_gan.steps=5",
    "checkpoint=file",
    "checkpoint.accept_accuracy=true",
)
CHEAP = ("baseline.seeds=[0]", "strategy=finetune", "strategy.recipe.epochs=1", "train.epochs=2")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net and the file of its weights, saved as torch does."""
    torch.manual_seed(7)
    file = tmp_path_factory.mktemp("elsewhere") / "net.pt"
    torch.save(own_net.build((1, 8, 8), 10).state_dict(), file)
    return file


@pytest.fixture(scope="module")
def brought(run: Run, elsewhere: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A run with it, the probe and its fresh control."""
    told = (*OWN, f"checkpoint.file={elsewhere}", "checkpoint.trained_on=all", "spd_gan=probe", "spd_gan.fresh=true")
    return run(tmp_path_factory.mktemp("store"), *told, *CHEAP)


def weights(run: Finished, stage: Checkpoint) -> dict[str, torch.Tensor]:
    return read_tensors(run.context.get(stage), "model.safetensors")


def test_the_original_is_the_checkpoint_behind_the_normalisation(brought: Finished, elsewhere: Path) -> None:
    original = brought.outcome.plan.original
    assert isinstance(original, Checkpoint)
    saved = torch.load(elsewhere, weights_only=True)  # noqa: TID251  # what the user's torch saved
    found = weights(brought, original)
    assert {name: tensor for name, tensor in found.items() if name not in ("mean", "std")}.keys() == {
        f"net.{name}" for name in saved
    }
    assert all(torch.equal(found[f"net.{name}"], tensor) for name, tensor in saved.items())
    images = torch.rand(3, 1, 8, 8)
    net = own_net.build((1, 8, 8), 10)
    net.load_state_dict(saved)
    mean, std = brought.config.dataset.normalisation
    expected = net((images - mean[0]) / std[0])
    assert torch.allclose(original.load(brought.context)(images), expected, atol=1e-6)


def test_subsets_do_not_overlap_when_the_checkpoint_was_trained_on_all_data(brought: Finished) -> None:
    found, context = brought.outcome.plan, brought.context
    forget, retain = (found.unlearned.forget.load(context), found.unlearned.retain.load(context))
    assert torch.cat([forget.index, retain.index]).sort().values.tolist() == list(range(300))
    assert found.spd_gan is not None
    test = next(
        r.stage.subject.predictions[Subset.TEST]
        for r in found.evaluations
        if Subset.TEST in r.stage.subject.predictions
    )
    aside = [found.unlearned.validation, found.spd_gan.holdout, test.samples]
    indices = torch.cat([samples.load(context).index for samples in aside])
    assert indices.sort().values.tolist() == list(range(360))  # all of the test part, each once


def test_the_report_names_the_checkpoint_and_the_recipe(brought: Finished) -> None:
    report = assemble(brought.outcome, config.to_plain_dict(brought.composed), {})
    assert "a checkpoint (net.pt) that was trained elsewhere" in report["notes"]["checkpoint"]
    assert "this run's recipe" in report["notes"]["checkpoint"]
    assert report["metrics"]["original/seconds"] is None
    assert "trained elsewhere" in report["notes"]["original/seconds"]
    assert report["metrics"]["unlearned/speedup"] is not None
    assert report["metrics"]["fresh/perturbed_forget_accuracy"] is not None
    assert {"fresh", "split"} <= set(report["artifacts"])


Compose = Callable[..., DictConfig]


def key(composed: Compose, file: Path, trained_on: str = "all") -> str:
    told = composed(*OWN, f"checkpoint.file={file}", f"checkpoint.trained_on={trained_on}")
    return plan_of(told).unlearned.key


def test_the_key_holds_the_files_content_and_the_records(composed: Compose, elsewhere: Path, tmp_path: Path) -> None:
    copy, other = tmp_path / "copy.pt", tmp_path / "other.safetensors"
    copy.write_bytes(elsewhere.read_bytes())
    save_file(own_net.build((1, 8, 8), 10).state_dict(), other)
    members = tmp_path / "members.txt"
    members.write_text("\n".join(map(str, range(1000))))
    assert key(composed, copy) == key(composed, elsewhere)
    assert len({key(composed, file) for file in (elsewhere, other)}) == 2
    assert key(composed, elsewhere, str(members)) != key(composed, elsewhere)
    members.write_text("\n".join(map(str, range(1437))))
    assert key(composed, elsewhere, str(members)) == key(composed, elsewhere)


@pytest.mark.parametrize("same", ["seeds.train=5", "dataset.flip=true", "forget.share=0.2"])
def test_the_key_of_a_checkpoint_does_not_depend_on_its_use(composed: Compose, elsewhere: Path, same: str) -> None:
    told = (*OWN, f"checkpoint.file={elsewhere}", "checkpoint.trained_on=all")
    here, there = (plan_of(composed(*told, *more)) for more in ((), (same,)))
    assert here.original.key == there.original.key
    assert here.unlearned.original.spec["samples"] == [[1, 8, 8], 10, [0.305], [0.376]]


def test_the_split_names_the_part_that_it_indexes(brought: Finished, probed: Finished) -> None:
    own, elsewhere = (
        read_tensors(found.context.get(found.outcome.plan.split), "split.safetensors") for found in (probed, brought)
    )
    both = {"forget", "retain", "test", "mislabelled"}
    assert set(own) == both | {"validation", "holdout"}
    assert set(elsewhere) == both | {"validation_of_test", "holdout_of_test"}
    of_test = torch.cat([elsewhere[name] for name in ("validation_of_test", "holdout_of_test", "test")])
    assert of_test.sort().values.tolist() == list(range(360))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["spd_gan=marker"], ["spd_gan", "probe or off with a checkpoint", "'marker'"]),
        (["dataset.label_noise=0.1"], ["dataset.label_noise", "0 with a checkpoint", "0.1"]),
        (["checkpoint.file=nowhere.pt"], ["checkpoint", "nowhere.pt", "none there"]),
        (["model.factory=own_net:other"], ["checkpoint", "expected the tensors of this net", "1.weight"]),
        (["checkpoint.trained_on=nowhere.txt"], ["checkpoint.trained_on", "readable text file", "nowhere.txt"]),
    ],
)
def test_settings_that_conflict_with_a_checkpoint_are_refused(
    composed: Compose, elsewhere: Path, overrides: list[str], words: list[str]
) -> None:
    told = (*OWN, f"checkpoint.file={elsewhere}", "checkpoint.trained_on=all", *overrides)
    with pytest.raises(ConfigError) as caught:
        config.instantiate(composed(*told))
    (line,) = caught.value.problems
    assert all(word in line for word in words), line
    assert "\n" not in line


def test_another_number_of_classes_is_reported(composed: Compose, elsewhere: Path, tmp_path: Path) -> None:
    folder = ("dataset=image_folder", f"dataset.root={write_images(tmp_path)}", "dataset.channels=1")
    told = (*folder, "dataset.size_px=8", *OWN, f"checkpoint.file={elsewhere}", "checkpoint.trained_on=all")
    with pytest.raises(ConfigError, match="the checkpoint has 10 classes, the data set 3"):
        config.instantiate(composed(*told))


def test_hard_records_are_those_a_proxy_gets_wrong(run: Run, tmp_path: Path) -> None:
    found = run(tmp_path, "forget=hard", "forget.count=9", "spd_gan=off", *CHEAP)
    forget = found.outcome.plan.unlearned.forget
    assert forget.ranking is not None
    ranked = read_predictions(found.context.get(forget.ranking))
    hardest = ranked.index[cross_entropy(ranked).argsort(descending=True)[:9]]
    assert forget.load(found.context).index.tolist() == hardest.sort().values.tolist()
    proxy = forget.ranking.model  # type: ignore[attr-defined]
    assert proxy.role is Role.PROXY
    assert proxy.key not in {found.outcome.plan.original.key, *(m.key for m in found.outcome.plan.retrained)}


def test_models_are_trained_on_the_wrong_labels_and_tested_on_the_right_ones(run: Run, tmp_path: Path) -> None:
    noisy = ("dataset.limit=300", "dataset.label_noise=0.3", "forget=mislabelled", "spd_gan=off", *CHEAP)
    found = run(tmp_path, *noisy)
    context, outcome = found.context, found.outcome
    clean = replace(found.config.dataset, label_noise=0.0).load()
    forget, trained = outcome.plan.unlearned.forget.load(context), outcome.plan.original.samples.load(context)
    assert (forget.labels != clean.train.labels[forget.index]).all()
    assert torch.isin(forget.index, trained.index).all()
    retain = outcome.plan.unlearned.retain.load(context)
    assert torch.equal(retain.labels, clean.train.labels[retain.index])
    split = read_tensors(context.get(outcome.plan.split), "split.safetensors")
    assert len(split["mislabelled"]) == 90
    assert torch.isin(split["forget"], split["mislabelled"]).all()
    test = next(
        r.stage.subject.predictions[Subset.TEST]
        for r in outcome.plan.evaluations
        if Subset.TEST in r.stage.subject.predictions
    )
    assert torch.equal(read_predictions(context.get(test)).labels, clean.test.labels)


# The probe


@pytest.fixture(scope="module")
def probed(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return run(tmp_path_factory.mktemp("store"), "spd_gan=probe", "strategy=identity", "baseline.seeds=[0]")


def test_under_the_probe_everything_is_trained_on_clean_data(probed: Finished, run: Run) -> None:
    clean = run(probed.store, "spd_gan=off", "strategy=identity", "baseline.seeds=[0]", "metrics=spd_gan_off")
    here, there = probed.outcome.plan, clean.outcome.plan
    assert here.original.key == there.original.key
    assert here.unlearned.key == there.unlearned.key
    assert here.retrained[0].key == there.retrained[0].key
    for metric in ("forget_accuracy", "mia_logistic_auc"):
        assert probed.value(Role.ORIGINAL, metric) == clean.value(Role.ORIGINAL, metric)


def test_the_probe_is_guided_by_the_original_and_changes_nothing(probed: Finished) -> None:
    found = probed.outcome.plan
    assert found.spd_gan is not None
    assert found.spd_gan.guide == found.original
    assert probed.value(Role.UNLEARNED, "unlearning_degree") == 0


def test_the_probe_reads_perturbed_images(probed: Finished) -> None:
    found, context = probed.outcome.plan, probed.context
    stage = next(r.stage for r in found.evaluations if Subset.PERTURBED_HOLDOUT in r.stage.subject.predictions)
    moved = read_tensors(context.get(found.spd_gan), "moved.safetensors")  # type: ignore[arg-type]
    for subset, name in (("perturbed_forget", "forget"), ("perturbed_holdout", "holdout"), ("noisy_forget",) * 2):
        images = stage.subject.predictions[Subset(subset)].samples.load(context)
        assert torch.equal(images.images, moved[name])  # type: ignore[attr-defined]
    clean = stage.subject.predictions[Subset.CLEAN_FORGET].samples.load(context)
    assert torch.equal(clean.index, moved["forget_index"])
    assert not torch.equal(clean.images, moved["forget"])  # type: ignore[attr-defined]


def test_a_fresh_original_is_a_control_of_only_the_probe(probed: Finished, run: Run) -> None:
    fresh = run(probed.store, "spd_gan=probe", "spd_gan.fresh=true", "strategy=identity", "baseline.seeds=[0]")
    assert fresh.outcome.plan.spd_gan.key == probed.outcome.plan.spd_gan.key  # type: ignore[union-attr]
    model = fresh.outcome.plan.fresh
    assert model is not None
    assert model.samples == probed.outcome.plan.original.samples
    assert model.key != probed.outcome.plan.original.key
    read = {r.stage.metric.__class__.__name__ for r in fresh.outcome.plan.evaluations if r.role is Role.FRESH}
    assert read == {"UnlearningDegree", "UnlearningDegreeCalibrated", "UnlearningDegreeHoldout", "SpdGanControls"}


@pytest.mark.parametrize(("channels", "expected"), [(1, 0.2), (3, 8 / 255)])
def test_the_default_bound_is_smaller_for_colour(channels: int, expected: float) -> None:
    assert Noise().bound(channels) == expected
    assert Noise(epsilon=0.1).bound(channels) == 0.1


@pytest.mark.parametrize(("size", "channels"), [(8, 3), pytest.param(64, 3, marks=pytest.mark.slow), (28, 1)])
def test_the_probe_works_in_colour_and_grey_at_any_size(run: Run, tmp_path: Path, size: int, channels: int) -> None:
    images = write_images(tmp_path / "images", n=20)
    data = ("dataset=image_folder", f"dataset.root={images}", f"dataset.size_px={size}", f"dataset.channels={channels}")
    own = ("model=cnn", "model.width=2", "model.hidden=8", "spd_gan=probe", "spd_gan.steps=2", *CHEAP)
    found = run(tmp_path / "store", *data, "dataset.workers=0", *own)
    moved = read_tensors(found.context.get(found.outcome.plan.spd_gan), "moved.safetensors")  # type: ignore[arg-type]
    assert moved["forget"].shape[1:] == (channels, size, size)
    assert found.value(Role.ORIGINAL, "perturbed_holdout_accuracy") is not None


@pytest.mark.slow
def test_a_whole_run_is_the_same_from_memory_and_from_disk(run: Run, tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", n=20)
    data = ("dataset=image_folder", f"dataset.root={images}", "dataset.size_px=8", "dataset.crop_padding=1")
    data += ("dataset.workers=0",)  # workers start again for each epoch: seconds for nothing here
    cells = [
        run(tmp_path / limit, *data, f"dataset.memory_limit={limit}", "model.dropout=0.2", "spd_gan=marker", *CHEAP)
        for limit in ("4096", "0")
    ]
    held, streamed = ([m for _, m in cell.outcome.measurements] for cell in cells)
    assert held == streamed
    assert cells[0].outcome.plan.unlearned.key == cells[1].outcome.plan.unlearned.key


def test_streamed_images_that_changed_are_refused(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = """
from pathlib import Path
import numpy as np
def make():
    shade = int((Path(__file__).parent / "shade.txt").read_text())
    images = np.full((60, 8, 8), shade, "uint8")
    images[:, 0, 0] = np.arange(60)
    return (images, [i % 2 for i in range(60)]), (images, [i % 2 for i in range(60)])
"""
    (tmp_path / "shaded.py").write_text(source)
    (tmp_path / "shade.txt").write_text("10")
    monkeypatch.syspath_prepend(str(tmp_path))
    data = ("dataset=python", "dataset.factory=shaded:make", "dataset.channels=1", "dataset.memory_limit=0")
    small = ("dataset.size_px=8", "dataset.workers=0", "spd_gan=off", "baseline.seeds=[0]", "train.epochs=1")
    run(tmp_path / "store", *data, *small, "strategy=identity")
    samples._contents_cache.clear()
    run(tmp_path / "store", *data[:-1], *small, "strategy=finetune", "strategy.recipe.epochs=0")  # held: the same data
    (tmp_path / "shade.txt").write_text("200")
    _call_factory.cache_clear()
    samples._contents_cache.clear()
    with pytest.raises(StoreError, match="expected the data that"):
        run(tmp_path / "store", *data, *small, "strategy=finetune", "strategy.recipe.epochs=1")


@pytest.mark.parametrize(("overrides", "kept"), [((), False), (("strategy.refresh_bn=false",), True)])
@pytest.mark.slow
def test_an_edit_refreshes_running_statistics(run: Run, tmp_path: Path, overrides: tuple[str, ...], kept: bool) -> None:
    """And an edit that changes nothing leaves them as they are."""
    norm = (
        "model=resnet18",
        "train.epochs=1",
        "spd_gan=off",
        "baseline.seeds=[0]",
        "strategy=random_k",
        "strategy.mode=add",
    )
    cells = [
        run(tmp_path, *norm, "strategy.recipe.epochs=0", f"strategy.noise_scale={scale}", *overrides)
        for scale in ("0.5", "0")
    ]
    original = weights(cells[0], cells[0].outcome.plan.original)  # type: ignore[arg-type]
    edited, untouched = (weights(cell, cell.outcome.plan.unlearned) for cell in cells)  # type: ignore[arg-type]
    statistics = [name for name in original if name.endswith("running_var")]
    assert all(torch.equal(edited[name], original[name]) == kept for name in statistics)
    assert all(torch.equal(untouched[name], original[name]) for name in original)
