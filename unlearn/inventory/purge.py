"""Decides which artifacts derive from given records, by the specs, which name everything an artifact was built from.

Removed: everything built from images of the records, or from a removed artifact: originals, retrained and proxy models;
shadow models trained on one of the records, whatever they forgot later; the images and generators of SPD-GAN, scores,
predictions; and models that were retrained or unlearned for another request while these records were retained.

Kept: models that never saw the records; models that were made to forget all of them, unless they still have the weights
of the original (`identity`) or a part of them (`blend=mix`), or learnt the records under other labels; measurements,
which are numbers; and the splits, which hold indices and tell the next purge which records were in each subset [ours].
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from unlearn.core.errors import ConfigError
from unlearn.inventory.catalogue import BEGINNING, Catalogue, Item
from unlearn.inventory.members import SHADOWED, Members
from unlearn.inventory.removals import Removal
from unlearn.stages.files import read_tensors
from unlearn.stages.shards import RECORDS

MODEL = "model.safetensors"
NUMBERS = {"evaluate": "only numbers", "relearn": "only numbers", "split": "only indices of records"}  # by kind
PICTURE, PNG = b"data:image/png;base64,", b"\x89PNG\r\n\x1a\n"  # in a page; in a file
SAMPLED = ".table.json"  # a table sent to W&B: single records


class Fate(StrEnum):
    """Whether an artifact is removed."""

    GOES = "goes"
    STAYS = "stays"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Decision:
    """Whether one artifact is removed, and the reason."""

    fate: Fate
    why: str


class PurgePolicy:
    """Decides for each artifact of a store whether it derives from the records that `members` knows."""

    def __init__(self, catalogue: Catalogue, members: Members) -> None:
        self.catalogue = catalogue
        self.members = members
        self.of = cache(self._of)  # by key: many artifacts have the same inputs

    def _of(self, key: str) -> Decision:
        item = self.catalogue.items.get(key)
        if item is None:
            return Decision(Fate.UNDECIDED, f"its input {key[:BEGINNING]} is missing")
        if not item.meta:
            return Decision(Fate.UNDECIDED, "its meta.json is damaged")
        try:
            return self._decide(item)
        except (LookupError, TypeError, AttributeError):
            return Decision(Fate.UNDECIDED, "its spec is not understood")

    def _decide(self, item: Item) -> Decision:
        if item.kind in NUMBERS:
            return Decision(Fate.STAYS, NUMBERS[item.kind])
        if item.kind == "unlearn" and item.spec["forget"]["class"] not in SHADOWED:
            return self._unlearned(item)
        rules = {
            "copies": self._copies,
            "blended": self._blended,
            "checkpoint": self._checkpoint,
            "trainslice": self._slice,
        }
        return rules.get(item.kind, self._decide_by_inputs)(item)

    def _decide_by_inputs(self, item: Item) -> Decision:
        """Decide by the images and the artifacts that it was built from."""
        subsets = list(_samples(item.spec))
        is_in = {_describe_subset(samples): self.members.is_in(samples) for samples in subsets}
        inputs = {key: self.of(key) for key in _content_inputs(item.spec)}
        if containing := [subset for subset, answer in is_in.items() if answer]:
            return Decision(Fate.GOES, f"made from their images ({', '.join(containing)})")
        if removed := [key for key, decision in inputs.items() if decision.fate is Fate.GOES]:
            return Decision(Fate.GOES, f"made from {self.catalogue.items[removed[0]].label}")
        if unknown := [subset for subset, answer in is_in.items() if answer is None]:
            return Decision(Fate.UNDECIDED, f"the records in {', '.join(unknown)} are unknown")
        if undecided := [decision.why for decision in inputs.values() if decision.fate is Fate.UNDECIDED]:
            return Decision(Fate.UNDECIDED, undecided[0])
        return Decision(Fate.STAYS, "made without them")

    def _slice(self, item: Item) -> Decision:
        """Decide on a net of a shard by the records that it was trained on, which it lists."""
        index = read_tensors(item.entry, RECORDS)["index"]
        match self.members.are_among(index, item.spec["samples"]["dataset"]):
            case None:
                return Decision(Fate.UNDECIDED, "its records are unknown")
            case True:
                return Decision(Fate.GOES, "trained on them")
            case _:
                return Decision(Fate.STAYS, "made without them")

    def _copies(self, item: Item) -> Decision:
        """Decide on a list of copies, which may name any record of its data set."""
        samples = item.spec["forget"]
        answers = {self.members.is_in(samples | {"subset": part}) for part in ("train", "validation", "holdout")}
        if True in answers:
            return Decision(Fate.GOES, "it may name them")
        if None in answers:
            return Decision(Fate.UNDECIDED, "the records that it may name are unknown")
        return Decision(Fate.STAYS, "of other records")

    def _unlearned(self, item: Item) -> Decision:
        """Decide on an unlearned model; its original was trained on its forget and retain set."""
        forget, *others = (self.members.is_in(item.spec[part]) for part in ("forget", "retain", "validation"))
        if any(others):
            return Decision(Fate.GOES, "they were retained, or validated it")
        if None in (forget, *others):
            return Decision(Fate.UNDECIDED, "the forgotten records are unknown")
        if not forget:
            return self._continued(item)
        if self.members.is_relabelled(item.spec["forget"]):
            return Decision(Fate.GOES, "it learnt them under other labels")
        if self._same_weights(item, "original"):
            return Decision(Fate.GOES, "its weights are the original's")
        return Decision(Fate.STAYS, "it forgot them")

    def _continued(self, item: Item) -> Decision:
        """Decide on an unlearned model that did not read the records; an earlier request may have been for them."""
        original = self.catalogue.items.get(item.spec["original"]["stage"])
        is_continued = original is not None and original.kind == "continued"
        return self.of(original.key) if original and is_continued else Decision(Fate.STAYS, "made without them")

    def _blended(self, item: Item) -> Decision:
        """Decide on a blended model: either the unlearned model itself, or a mixture with the original."""
        if self._same_weights(item, "unlearned"):
            return self.of(item.spec["unlearned"]["stage"])
        return self._decide_by_inputs(item)

    def _same_weights(self, item: Item, part: str) -> bool:
        """Whether a model has the weights of the model that its spec calls `part`."""
        other = self.catalogue.items.get(item.spec[part]["stage"])
        weights = other and other.meta and other.meta["files"].get(MODEL)
        return bool(weights) and weights == item.meta["files"].get(MODEL)

    def _checkpoint(self, item: Item) -> Decision:
        """Decide on a checkpoint by the models unlearned from it: only their specs name its training data."""
        models = [model for model in self.catalogue.dependants[item.key] if model.kind == "unlearn"]
        answers = {self.members.is_in(model.spec[part]) for model in models for part in ("forget", "retain")}
        if True in answers:
            return Decision(Fate.GOES, "trained on them elsewhere")
        if None in answers or not models:
            return Decision(Fate.UNDECIDED, "its training data are unknown")
        return Decision(Fate.STAYS, "made without them")


@dataclass(frozen=True)
class PurgePlan:
    """The removals of a purge, and the artifacts that stay or are undecided, each with the reason."""

    going: tuple[Removal, ...]
    stays: tuple[tuple[Item, str], ...]
    undecided: tuple[tuple[Item, str], ...]


def plan_purge(catalogue: Catalogue, members: Members, remove_undecided: bool) -> PurgePlan:
    """Decide on everything in a store; leftovers of killed processes are removed, since their data are unknown.

    Args:
        catalogue: the store.
        members: knows the requested records.
        remove_undecided: whether undecided artifacts are removed too.
    """
    policy = PurgePolicy(catalogue, members)
    decisions = [(item, policy.of(item.key)) for item in catalogue.items.values()]
    fates = {fate: tuple((item, one.why) for item, one in decisions if one.fate is fate) for fate in Fate}
    going = fates[Fate.GOES] + (fates[Fate.UNDECIDED] if remove_undecided else ())
    unfinished = tuple(Removal(leftover, "unfinished, of unknown data") for leftover in catalogue.leftovers)
    undecided = () if remove_undecided else fates[Fate.UNDECIDED]
    return PurgePlan(tuple(Removal(item, why) for item, why in going) + unfinished, fates[Fate.STAYS], undecided)


def find_pictures(reports: list[Path]) -> Iterator[Path]:
    """Find files with images in the folders of runs and sweeps.

    Yields:
        Report pages and their sources; a folder of W&B is returned whole if it has images or single records.

    Raises:
        ConfigError: a folder does not exist, or a file cannot be read.
    """
    for folder in reports:
        if not folder.is_dir():
            raise ConfigError([f"--reports: expected a folder of runs, got {folder}"])
        try:
            files = (path for path in sorted(folder.rglob("*")) if path.is_file() and _has_images(path))
            yield from dict.fromkeys(_wandb_folder(path, folder) or path for path in files)
        except OSError as error:
            raise ConfigError([f"--reports: expected readable files, got {error}"]) from error


def _wandb_folder(path: Path, folder: Path) -> Path | None:
    """The folder of W&B below `folder` that contains a file; None if there is none."""
    parts = path.relative_to(folder).parts[:-1]
    return folder.joinpath(*parts[: parts.index("wandb") + 1]) if "wandb" in parts else None


def _has_images(path: Path) -> bool:
    content = path.read_bytes()
    return content.startswith(PNG) or PICTURE in content or path.name.endswith(SAMPLED)


def _samples(spec: Any) -> Iterator[dict[str, Any]]:
    """Yield all subsets that a spec names as read by the stage itself."""
    if isinstance(spec, dict) and spec.get("class") in {"Samples", *SHADOWED}:
        yield spec
    elif isinstance(spec, dict | list):
        for item in spec.values() if isinstance(spec, dict) else spec:
            yield from _samples(item)


def _describe_subset(samples: dict[str, Any]) -> str:
    if samples["class"] not in SHADOWED:
        return str(samples["subset"])
    return f"the half of shadow model {samples.get('train_set', samples)['number']}"


def _content_inputs(spec: Any) -> Iterator[str]:
    """Yield the keys of inputs that determine the content; a ranking only decides who is in a subset."""
    if isinstance(spec, dict) and spec.keys() == {"stage"} and isinstance(spec["stage"], str):
        yield spec["stage"]
    elif isinstance(spec, dict | list):
        pairs = spec.items() if isinstance(spec, dict) else enumerate(spec)
        for name, item in pairs:
            if name != "ranking":
                yield from _content_inputs(item)
