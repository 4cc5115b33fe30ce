"""SISA from its original to its report: which slices a request trains again, and that the result is exact."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from conftest import Finished, Run
from safetensors.torch import load_file

from unlearn import config
from unlearn.core.artifact_store import ArtifactStore
from unlearn.core.progress import Console
from unlearn.core.types import Role
from unlearn.data.datasets.digits import Digits
from unlearn.functional.sharding import assign_slices, expected_images
from unlearn.inventory.catalogue import Catalogue
from unlearn.inventory.members import Members
from unlearn.inventory.purge import plan_purge
from unlearn.models.sharded import ShardedNet
from unlearn.report.assemble import assemble
from unlearn.stages.base import BuildContext
from unlearn.stages.export import export_weights
from unlearn.stages.files import read_tensors
from unlearn.stages.shards import SliceRecord, TrainShards
from unlearn.stages.train import Train

SHARDS, SLICES = 3, 2
REQUEST = [5, 17]  # records
SISA = (
    *("train=sisa", "train.epochs=1", f"train.shards={SHARDS}", f"train.slices={SLICES}", "train.batch_size=16"),
    *("strategy=sisa", "spd_gan=off", "metrics=accuracy", "attacks=none", "baseline=retrain", "forget=indices"),
)


def write_request(path: Path, records: list[int]) -> Path:
    path.write_text("\n".join(map(str, records)))
    return path


@pytest.fixture(scope="module")
def done(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("sisa")
    return run(folder / "store", *SISA, f"forget.file={write_request(folder / 'request.txt', REQUEST)}")


@pytest.fixture(scope="module")
def rebuilt(done: Finished) -> TrainShards:
    stage = done.outcome.plan.unlearned.rebuilt
    assert isinstance(stage, TrainShards)
    return stage


def slices_of(stage: object, done: Finished) -> list[SliceRecord]:
    assert isinstance(stage, TrainShards)
    return stage.slices(done.context)


def places(records: list[int]) -> list[tuple[int, int]]:
    """Shard and slice of some records; the digits of the small run are the records 0 to 299."""
    return [tuple(place) for place in assign_slices(torch.arange(300), SHARDS, SLICES, 0)[records].tolist()]


def test_only_slices_that_the_request_hits_are_trained_again(done: Finished, rebuilt: TrainShards) -> None:
    before = {row.key for row in slices_of(done.outcome.plan.original, done)}
    again = [(row.shard, row.slice) for row in slices_of(rebuilt, done) if row.key not in before]
    first = {shard: min(s for at, s in places(REQUEST) if at == shard) for shard, _ in places(REQUEST)}
    assert again == [(shard, s) for shard in sorted(first) for s in range(first[shard], SLICES)]
    assert 0 < len(again) < SHARDS * SLICES
    assert len(list(done.store.glob("trainslice/*"))) == SHARDS * SLICES + len(again)


def test_it_is_bit_for_bit_the_model_of_its_own_recipe_without_the_records(
    done: Finished, rebuilt: TrainShards, tmp_path: Path
) -> None:
    """Trained in an empty store, where no slice of the original is at hand."""
    context = BuildContext(ArtifactStore(tmp_path / "store"), done.config.trainer, Console(io.StringIO()))
    afresh = rebuilt.load(context).state_dict()
    unlearned = done.outcome.plan.unlearned.load(done.context).state_dict()
    original = done.outcome.plan.original.load(done.context).state_dict()
    assert {name: tensor.tolist() for name, tensor in afresh.items()} == {
        name: tensor.tolist() for name, tensor in unlearned.items()
    }
    assert not all(torch.equal(tensor, original[name]) for name, tensor in unlearned.items())
    trained_on = [read_tensors(entry, "records.safetensors") for entry in context.entries.values() if is_slice(entry)]
    assert len(trained_on) == SHARDS * SLICES
    assert not any(record in rows["index"].tolist() for rows in trained_on for record in REQUEST)


def is_slice(entry: object) -> bool:
    return "trainslice" in str(vars(entry)["folder"])


def test_a_later_request_starts_from_the_slices_that_the_first_one_left(
    done: Finished, rebuilt: TrainShards, run: Run, tmp_path: Path
) -> None:
    split = read_tensors(done.context.get(done.outcome.plan.split), "split.safetensors")
    second = write_request(tmp_path / "second.txt", split["retain"][:1].tolist())
    earlier = write_request(tmp_path / "first.txt", REQUEST)
    more = ("baseline=none", f"forget.file={second}", f"forget.earlier=['{earlier}']")
    later = run(done.store, *SISA, *more)
    keys = [[row.key for row in slices_of(stage, later)] for stage in (later.outcome.plan.original, rebuilt)]
    assert keys[0] == keys[1]
    assert later.outcome.plan.single_model is None


def test_the_report_counts_what_was_trained_again(done: Finished, rebuilt: TrainShards) -> None:
    report = assemble(done.outcome, config.to_plain_dict(done.composed), {"strategy": "sisa"})
    found, rows = report["sisa"], slices_of(done.outcome.plan.original, done)
    sizes = [[row.records for row in rows if row.shard == shard] for shard in range(SHARDS)]
    assert sum(map(sum, sizes)) == len(done.outcome.plan.original.samples.load(done.context))
    assert found["images_expected"] == expected_images(sizes, len(REQUEST))
    assert found["images_all"] == sum(row.images for row in slices_of(rebuilt, done))
    again = [row for row in slices_of(rebuilt, done) if row.key not in {row.key for row in rows}]
    assert found["images_retrained"] == sum(row.images for row in again) < found["images_all"]
    assert found["slices_retrained"] == len(again)
    assert report["metrics"]["unlearned/seconds"] == pytest.approx(sum(row.seconds for row in again), abs=0.5)
    assert report["metrics"]["unlearned/seconds"] < report["metrics"]["retrained/seconds"]
    assert found["ensemble_test_accuracy"] == report["metrics"]["original/test_accuracy"]
    assert 0 <= found["single_test_accuracy"] <= 1
    assert f"trained {len(again)} of 6 slices again" in report["notes"]["sisa"]
    assert report["metrics"]["gap/forget_accuracy"] == 0


def test_the_single_model_costs_as_much_as_the_slices(done: Finished) -> None:
    assert done.outcome.plan.single_model is not None
    single = done.outcome.plan.single_model.model
    assert isinstance(single, Train)
    assert single.recipe.epochs == 2  # 1 epoch * (2 slices + 1) / 2, rounded to even


def test_the_export_is_read_by_a_bare_ensemble(done: Finished, tmp_path: Path) -> None:
    unlearned, context = done.outcome.plan.unlearned, done.context
    exported = load_file(export_weights(context.get(unlearned), tmp_path / "net.safetensors", Role.UNLEARNED))
    net = ShardedNet([done.config.model.net((1, 8, 8), 10) for _ in range(SHARDS)], "mean")
    net.load_state_dict(exported, strict=True)
    model, images = unlearned.load(context), torch.rand(4, 1, 8, 8)
    assert torch.equal(net.eval()(model.normalise(images)), model(images))


def test_a_purge_finds_the_slices_by_their_records(done: Finished, rebuilt: TrainShards) -> None:
    catalogue = Catalogue.read(done.store)
    plan = plan_purge(catalogue, Members(catalogue, Digits(limit=300), torch.tensor(REQUEST[:1])), False)
    going = {removal.target.key for removal in plan.going}
    shard, number = places(REQUEST[:1])[0]
    rows = slices_of(done.outcome.plan.original, done)
    assert {row.key for row in rows if row.shard == shard and row.slice >= number} == going & {row.key for row in rows}
    kept = {row.key for row in slices_of(rebuilt, done)} | {rebuilt.key, done.outcome.plan.unlearned.key}
    assert not kept & going
    assert done.outcome.plan.original.key in going
    assert not plan.undecided


def test_a_garbage_collection_keeps_the_slices_of_an_ensemble(done: Finished, rebuilt: TrainShards) -> None:
    closure = Catalogue.read(done.store).closure([rebuilt.key])
    assert {row.key for row in slices_of(rebuilt, done)} <= closure
