"""What was derived from given records, judged by what the specs say each artefact was computed from.

Goes: whatever was made from images of the records, or from an artefact that goes: originals, fresh and proxy models,
shadow models that learnt one of them, whatever they were made to forget then, SPD-GAN's images and generators, scores,
predictions, and models that were retrained or unlearned for somebody else while these records were retained. Stays:
models that never saw the records; models that were made to forget all of them, unless their weights are the original's
still (`identity`), or in part (`blend=mix`), or they learnt them under other labels; measurements, which are numbers;
and the splits, which hold record numbers and tell the next purge who was where [ours].
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

MODEL = "model.safetensors"
NUMBERS = {"evaluate": "numbers alone", "relearn": "numbers alone", "split": "record numbers alone"}  # by kind
PICTURE, PNG = b"data:image/png;base64,", b"\x89PNG\r\n\x1a\n"  # in a page or beside it; a file of its own
SAMPLED = ".table.json"  # a table sent to W&B: single records


class Fate(StrEnum):
    """What becomes of an artefact."""

    GOES = "goes"
    STAYS = "stays"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Decision:
    """On one artefact, with the reason."""

    fate: Fate
    why: str


class PurgePolicy:
    """Judges artefacts of a store against the requested records that `members` knows."""

    def __init__(self, catalogue: Catalogue, members: Members) -> None:
        self.catalogue = catalogue
        self.members = members
        self.of = cache(self._of)  # by key: inputs are asked for by all that was made from them

    def _of(self, key: str) -> Decision:
        item = self.catalogue.items.get(key)
        if item is None:
            return Decision(Fate.UNDECIDED, f"its input {key[:BEGINNING]} is not there to ask")
        if not item.meta:
            return Decision(Fate.UNDECIDED, "its meta.json is damaged")
        try:
            return self._judge(item)
        except (LookupError, TypeError, AttributeError):
            return Decision(Fate.UNDECIDED, "its spec is not understood")

    def _judge(self, item: Item) -> Decision:
        match item.kind:
            case kind if kind in NUMBERS:
                return Decision(Fate.STAYS, NUMBERS[kind])
            case "copies":
                return self._copies(item)
            case "unlearn" if item.spec["forget"]["class"] not in SHADOWED:
                return self._unlearned(item)
            case "blended":
                return self._blended(item)
            case "checkpoint":
                return self._checkpoint(item)
        return self._made(item)

    def _made(self, item: Item) -> Decision:
        """Of images, and of other artefacts."""
        subsets = list(_samples(item.spec))
        touched = {_told(samples): self.members.touched(samples) for samples in subsets}
        made_of = {key: self.of(key) for key in _made_of(item.spec)}
        if hit := [subset for subset, answer in touched.items() if answer]:
            return Decision(Fate.GOES, f"made from their images ({', '.join(hit)})")
        if gone := [key for key, judged in made_of.items() if judged.fate is Fate.GOES]:
            return Decision(Fate.GOES, f"made from {self.catalogue.items[gone[0]].label}")
        if unknown := [subset for subset, answer in touched.items() if answer is None]:
            return Decision(Fate.UNDECIDED, f"who was in {', '.join(unknown)} is not known")
        if unsure := [judged.why for judged in made_of.values() if judged.fate is Fate.UNDECIDED]:
            return Decision(Fate.UNDECIDED, unsure[0])
        return Decision(Fate.STAYS, "made without them")

    def _copies(self, item: Item) -> Decision:
        """It may name any record of its data set."""
        samples = item.spec["forget"]
        answers = {self.members.touched(samples | {"subset": part}) for part in ("train", "validation", "holdout")}
        if True in answers:
            return Decision(Fate.GOES, "it may name them")
        if None in answers:
            return Decision(Fate.UNDECIDED, "whom it may name is not known")
        return Decision(Fate.STAYS, "of other records")

    def _unlearned(self, item: Item) -> Decision:
        """Its original was trained on its forget and retain set."""
        forget, *others = (self.members.touched(item.spec[part]) for part in ("forget", "retain", "validation"))
        if any(others):
            return Decision(Fate.GOES, "they were retained, or validated it")
        if None in (forget, *others):
            return Decision(Fate.UNDECIDED, "who was forgotten is not known")
        if not forget:
            return Decision(Fate.STAYS, "made without them")
        if self.members.learnt(item.spec["forget"]):
            return Decision(Fate.GOES, "it learnt them under other labels")
        if self._same_weights(item, "original"):
            return Decision(Fate.GOES, "its weights are the original's")
        return Decision(Fate.STAYS, "it forgot them")

    def _blended(self, item: Item) -> Decision:
        """It holds the original in part, or nothing of it: then it is the unlearned model."""
        if self._same_weights(item, "unlearned"):
            return self.of(item.spec["unlearned"]["stage"])
        return self._made(item)

    def _same_weights(self, item: Item, part: str) -> bool:
        """As the model that its spec calls `part`."""
        other = self.catalogue.items.get(item.spec[part]["stage"])
        weights = other and other.meta and other.meta["files"].get(MODEL)
        return bool(weights) and weights == item.meta["files"].get(MODEL)

    def _checkpoint(self, item: Item) -> Decision:
        """Its spec does not say what it was trained on; those of the models do that were made to forget from it."""
        made = [each for each in self.catalogue.dependants[item.key] if each.kind == "unlearn"]
        answers = {self.members.touched(each.spec[part]) for each in made for part in ("forget", "retain")}
        if True in answers:
            return Decision(Fate.GOES, "trained on them elsewhere")
        if None in answers or not made:
            return Decision(Fate.UNDECIDED, "what it was trained on is not known")
        return Decision(Fate.STAYS, "made without them")


@dataclass(frozen=True)
class PurgePlan:
    """What a purge does: what goes, and the artefacts that stay or are undecided, each with the reason."""

    going: tuple[Removal, ...]
    stays: tuple[tuple[Item, str], ...]
    undecided: tuple[tuple[Item, str], ...]


def plan_purge(catalogue: Catalogue, members: Members, remove_undecided: bool) -> PurgePlan:
    """PurgePolicy everything in a store; what killed processes left goes too: its data is not known."""
    judge = PurgePolicy(catalogue, members)
    judged = [(item, judge.of(item.key)) for item in catalogue.items.values()]
    fates = {fate: tuple((item, each.why) for item, each in judged if each.fate is fate) for fate in Fate}
    going = fates[Fate.GOES] + (fates[Fate.UNDECIDED] if remove_undecided else ())
    unfinished = tuple(Removal(each, "unfinished, of unknown data") for each in catalogue.leftovers)
    undecided = () if remove_undecided else fates[Fate.UNDECIDED]
    return PurgePlan(tuple(Removal(*each) for each in going) + unfinished, fates[Fate.STAYS], undecided)


def find_pictures(reports: list[Path]) -> Iterator[Path]:
    """What holds pictures in folders: pages of runs and sweeps, what these are made from, and, whole, the folders of
    W&B with pictures or single records.

    Raises:
        ConfigError: there is no such folder, or a file cannot be read.
    """
    for folder in reports:
        if not folder.is_dir():
            raise ConfigError([f"--reports: expected a folder of runs, got {folder}"])
        try:
            holding = (path for path in sorted(folder.rglob("*")) if path.is_file() and _holds_pictures(path))
            yield from dict.fromkeys(_sent(path, folder) or path for path in holding)
        except OSError as error:
            raise ConfigError([f"--reports: expected readable files, got {error}"]) from error


def _sent(path: Path, folder: Path) -> Path | None:
    """The folder of W&B below `folder` that a file lies in, if it does."""
    parts = path.relative_to(folder).parts[:-1]
    return folder.joinpath(*parts[: parts.index("wandb") + 1]) if "wandb" in parts else None


def _holds_pictures(path: Path) -> bool:
    content = path.read_bytes()
    return content.startswith(PNG) or PICTURE in content or path.name.endswith(SAMPLED)


def _samples(spec: Any) -> Iterator[dict[str, Any]]:
    """Every subset that a spec names, as the stage itself read it."""
    if isinstance(spec, dict) and spec.get("class") in {"Samples", *SHADOWED}:
        yield spec
    elif isinstance(spec, dict | list):
        for item in spec.values() if isinstance(spec, dict) else spec:
            yield from _samples(item)


def _told(samples: dict[str, Any]) -> str:
    if samples["class"] not in SHADOWED:
        return str(samples["subset"])
    return f"the half of shadow model {samples.get('half', samples)['number']}"


def _made_of(spec: Any) -> Iterator[str]:
    """Keys of inputs whose content went into it; a ranking only tells who is in a subset."""
    if isinstance(spec, dict) and spec.keys() == {"stage"} and isinstance(spec["stage"], str):
        yield spec["stage"]
    elif isinstance(spec, dict | list):
        pairs = spec.items() if isinstance(spec, dict) else enumerate(spec)
        for name, item in pairs:
            if name != "ranking":
                yield from _made_of(item)
