"""The condensed retain set in a small run: its content, its readers, its cost and its purge."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from builders import plan_of
from conftest import write_images
from torch import Tensor

from unlearn import config
from unlearn.core.types import Images, Subset
from unlearn.inventory.catalogue import Catalogue
from unlearn.inventory.members import Members
from unlearn.inventory.purge import plan_purge
from unlearn.report.assemble import assemble
from unlearn.stages.condense import Condense
from unlearn.stages.files import read_tensors
from unlearn.stages.run_strategy import LazySubsets
from unlearn.training.prediction import features

if TYPE_CHECKING:
    from conftest import Compose, Finished, Run


REQUEST = ("retain=condensed", "retain.clusters=60", "strategy=finetune", "strategy.recipe.epochs=1", "spd_gan=off")
REQUEST += ("forget.share=0.05", "baseline.seeds=[0]", "dataset.limit=300")


@pytest.fixture(scope="module")
def condensed(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return run(tmp_path_factory.mktemp("store"), *REQUEST)


def stage_of(found: Finished) -> Condense:
    stage = found.outcome.plan.unlearned.condensed
    assert stage is not None
    return stage


def written(found: Finished) -> dict[str, Tensor]:
    return read_tensors(found.context.get(stage_of(found)), "condensed.safetensors")


def test_the_condensed_set_holds_real_retain_images_and_mixtures(condensed: Finished) -> None:
    said, context = written(condensed), condensed.context
    left, retain = (part.load(context) for part in (stage_of(condensed), condensed.outcome.plan.unlearned.retain))
    mixed = said["condensed"]
    assert (said["images"].dtype, said["index"].dtype) == (torch.uint8, torch.int64)
    assert 0 < mixed.sum() == len(said["images"]) < len(left) < len(retain)
    assert torch.equal(left.index, said["index"])
    assert torch.equal(left.labels, said["labels"])
    assert torch.equal(left.images[mixed], said["images"])  # type: ignore[attr-defined]
    where = torch.searchsorted(retain.index, left.index)
    assert torch.equal(retain.index[where], left.index)  # each stands in for an image of D_r
    assert torch.equal(retain.labels[where], left.labels)
    same = (retain.images[where] == left.images).flatten(1).all(1)  # type: ignore[attr-defined]
    assert same[~mixed].all()
    assert not same[mixed].any()
    assert left.labels.unique().tolist() == retain.labels.unique().tolist()


@pytest.mark.parametrize("part", ["forget", "validation", "holdout"])
def test_condensing_reads_only_the_retain_set(condensed: Finished, part: str) -> None:
    split = read_tensors(condensed.context.get(condensed.outcome.plan.split), "split.safetensors")
    assert len(split[part]) > 10
    assert not torch.isin(written(condensed)["index"], split[part]).any()
    assert torch.isin(written(condensed)["index"], split["retain"]).all()
    stage = stage_of(condensed)
    assert {stage.forget.subset, stage.retain.subset} == {Subset.FORGET, Subset.RETAIN}  # all it can read


def test_clusters_with_a_forget_sample_keep_their_images_and_others_become_one_image(condensed: Finished) -> None:
    stage, context, said = stage_of(condensed), condensed.context, written(condensed)
    retain, forget, model = stage.retain.load(context), stage.forget.load(context), stage.original.load(context)
    known = torch.cat([features(model, retain), features(model, forget)])
    labels, index = (torch.cat([getattr(each, name) for each in (retain, forget)]) for name in ("labels", "index"))
    clusters = stage.settings.assign_clusters(known, labels, stage._clustering_seed)
    assert len(clusters.unique()) == 60
    closer = []
    for number in range(60):
        members = clusters == number
        whole = members.sum() == 1 or torch.isin(index[members], forget.index).any()
        left = torch.isin(said["index"], index[members])
        if whole:
            wanted = index[members & torch.isin(index, retain.index)]
            assert said["index"][left].tolist() == wanted.sort().values.tolist()
            assert not said["condensed"][left].any()
        else:
            assert said["condensed"][left].tolist() == [True]
            mean = known[members].mean(0)
            away = (known - mean).norm(dim=1)
            (nearest,) = said["index"][left]
            assert away[index == nearest] <= away[members].min() + 1e-5  # of two, both are
            pixels = retain.images[torch.isin(retain.index, index[members])] / 255  # type: ignore[attr-defined]
            made = said["images"][torch.isin(said["index"][said["condensed"]], nearest)] / 255
            far = [(model.features(each)[0] - mean).norm() for each in (made, pixels.mean(0, keepdim=True))]
            closer.append(far[1] - far[0])
    gained = torch.stack(closer)
    assert len(gained) > 15
    assert gained.mean() > 0
    assert gained.min() > -0.02  # bytes are rounded


def test_a_mixture_of_one_image_twice_is_that_image(condensed: Finished) -> None:
    """Every byte comes back as itself."""
    stage, context = stage_of(condensed), condensed.context
    model, every = stage.original.load(context), torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8)
    for offset in (0, 64, 128, 192):
        twice = (every + offset).repeat(2, 1, 1, 1)
        images = Images(twice, torch.zeros(2, dtype=torch.long), torch.arange(2))
        (made,) = stage._mix_clusters(model, images, features(model, images), [torch.arange(2)], lambda *_: None)
        assert made.equal(twice[0])


def test_only_the_strategy_reads_the_condensed_set(condensed: Finished, composed: Compose) -> None:
    plan, context = condensed.outcome.plan, condensed.context
    read = LazySubsets(plan.unlearned.subset_sources, context)
    assert torch.equal(read[Subset.RETAIN].index, written(condensed)["index"])
    assert torch.equal(read[Subset.FORGET].index, plan.unlearned.forget.load(context).index)
    for reading in plan.evaluations:
        for subset, stage in reading.stage.subject.predictions.items():
            assert subset is not Subset.RETAIN or stage.samples == plan.unlearned.retain
    ranking = ("strategy=top_k", "strategy.selection.sensitivity.score=ratio", "retain=condensed")
    scored = plan_of(composed(*ranking)).unlearned
    samples = [score.samples for score in scored.scores]
    assert len(samples) == 2
    assert scored.forget in samples
    assert scored.retain in samples


def test_the_report_shows_the_condensed_size_and_its_cost(condensed: Finished) -> None:
    report = assemble(condensed.outcome, config.to_plain_dict(condensed.composed), {})
    said, counts = written(condensed), report["retain"]
    retain = len(condensed.outcome.plan.unlearned.retain.load(condensed.context))
    assert counts == {"images": len(said["index"]), "of": retain, "condensed": int(said["condensed"].sum())}
    assert all(f"{count:,}" in report["notes"]["retain"] for count in counts.values())
    seconds = sum(report["artifacts"][name]["seconds"] for name in ("condensed", "unlearned"))
    assert report["metrics"]["unlearned/seconds"] == pytest.approx(seconds)
    assert stage_of(condensed).key in report["statistics"]["unlearned/seconds"]["keys"]


def test_without_condensing_the_whole_retain_set_is_read(condensed: Finished, run: Run) -> None:
    full = run(condensed.store, "retain=full", *REQUEST[2:])
    assert full.outcome.plan.unlearned.condensed is None
    assert full.outcome.plan.unlearned.subset_sources[Subset.RETAIN] == full.outcome.plan.unlearned.retain
    report = assemble(full.outcome, config.to_plain_dict(full.composed), {})
    assert "retain" not in report
    assert "retain" not in report["notes"]
    assert "condensed" not in report["artifacts"]
    assert full.outcome.plan.unlearned.key != condensed.outcome.plan.unlearned.key


def test_a_class_that_is_forgotten_whole_is_not_in_the_condensed_set(run: Run, condensed: Finished) -> None:
    found = run(condensed.store, *REQUEST[:5], *REQUEST[6:], "forget=class_wise", "forget.class_index=3")
    said = written(found)
    assert said["labels"].unique().tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert 50 < len(said["labels"]) < 60  # one image of each of the others' clusters


def test_condensing_in_a_fresh_store_gives_the_same_bits(condensed: Finished, run: Run, tmp_path: Path) -> None:
    again = run(tmp_path, *REQUEST)
    files = [each.context.get(stage_of(each)).meta["files"] for each in (condensed, again)]
    assert files[0] == files[1]
    unlearned = [each.context.get(each.outcome.plan.unlearned).meta["files"] for each in (condensed, again)]
    assert unlearned[0] == unlearned[1]


def test_images_on_disk_are_condensed_to_the_same_bytes(run: Run, tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", n=20)
    data = ("dataset=image_folder", f"dataset.root={images}", "dataset.size_px=8", "dataset.workers=0")
    small = ("retain.clusters=12", "train.epochs=1", "metrics=[accuracy]", "attacks=none")
    cells = [
        run(tmp_path / limit, *data, f"dataset.memory_limit={limit}", *REQUEST[:-1], *small) for limit in ("4096", "0")
    ]
    held, streamed = (each.context.get(stage_of(each)).meta["files"] for each in cells)
    assert json.loads(cells[1].context.get(stage_of(cells[1])).file("counts.json").read_text())["condensed"] > 0
    assert held == streamed
    assert [m for _, m in cells[0].outcome.measurements] == [m for _, m in cells[1].outcome.measurements]


@pytest.mark.parametrize(("part", "goes"), [("forget", True), ("retain", True), ("holdout", False)])
def test_a_purge_removes_the_condensed_set_with_its_source_images(condensed: Finished, part: str, goes: bool) -> None:
    """The forgotten too: they decided what was mixed."""
    split = read_tensors(condensed.context.get(condensed.outcome.plan.split), "split.safetensors")
    catalogue = Catalogue.read(condensed.store)
    member = Members(catalogue, condensed.config.dataset, split[part][:1])
    told = plan_purge(catalogue, member, False)
    own = stage_of(condensed).key
    found = [removal.why for removal in told.going if removal.target.key == own]
    assert told.undecided == ()
    assert found == ([f"made from their images ({part})"] if goes else [])


def test_strategies_share_one_condensed_set_and_no_other_key_depends_on_it(composed: Compose) -> None:
    full = plan_of(composed("strategy=finetune"))
    tuned, perturbed = (plan_of(composed(f"strategy={name}", "retain=condensed")) for name in ("finetune", "random_k"))
    assert tuned.unlearned.condensed == perturbed.unlearned.condensed is not None
    assert (tuned.original.key, tuned.retrained[0].key) == (full.original.key, full.retrained[0].key)
    assert tuned.unlearned.key != full.unlearned.key
    assert replace(tuned.unlearned, condensed=None).key == full.unlearned.key
    other = plan_of(composed("strategy=finetune", "retain=condensed", "seeds.unlearn=5"))
    assert other.unlearned.condensed != tuned.unlearned.condensed


@pytest.mark.parametrize(
    ("overrides", "condenses"),
    [
        *[((f"strategy={name}",), False) for name in ("identity", "ssd", "boundary_shrink", "mini_unlearning")],
        *[((f"strategy={name}",), True) for name in ("finetune", "influence", "fisher", "scrub")],
        (("strategy=ssd", "strategy.refresh_bn=true"), True),
        (("strategy=lrp_path", "forget=class_wise"), False),
    ],
)
def test_condensing_is_planned_where_a_strategy_reads_the_retain_set(
    composed: Compose, overrides: tuple[str, ...], condenses: bool
) -> None:
    plan = plan_of(composed("retain=condensed", *overrides))
    assert any(isinstance(stage, Condense) for stage in plan.unlearning_stages) == condenses


def test_under_the_marker_condensing_reads_marked_forget_images(composed: Compose) -> None:
    stage = plan_of(composed("spd_gan=marker", "retain=condensed")).unlearned.condensed
    assert stage is not None
    assert (stage.forget.subset, stage.retain.subset) == (Subset.PERTURBED_FORGET, Subset.RETAIN)
