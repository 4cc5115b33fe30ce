"""The split that lists what a model has forgotten is found by its key: a store may hold thousands of others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import Finished
from safetensors.torch import load_file

from unlearn.core.artifact_meta import META, read_meta
from unlearn.core.artifact_store import Entry
from unlearn.stages import lineage
from unlearn.stages.lineage import lineage_of


def test_the_split_of_perturbed_samples_is_read_and_no_other(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, get = finished.outcome.plan, finished.context.get
    assert get(plan.unlearned).meta["spec"]["forget"]["subset"] == "perturbed_forget"
    for entry in (get(plan.unlearned), get(plan.split)):
        shutil.copytree(entry.folder, tmp_path / entry.folder.parent.name / entry.key)
    split = tmp_path / "split" / plan.split.key
    for number in range(3):
        shutil.copytree(split, split.with_name(f"{number:064}"))
    folders: list[Path] = []
    monkeypatch.setattr(lineage, "read_meta", lambda folder: folders.append(folder) or read_meta(folder))
    folder = tmp_path / "unlearn" / plan.unlearned.key
    forgotten = lineage_of(Entry(folder, read_meta(folder), reused=True))
    assert forgotten is not None
    assert forgotten.split == split / "split.safetensors"
    assert forgotten.records == len(load_file(forgotten.split)["forget"]) > 0
    assert set(folders) == {split}
    (split / META).unlink()
    without = lineage_of(Entry(folder, read_meta(folder), reused=True))
    assert without is not None
    assert (without.split, without.records) == (None, 0)
