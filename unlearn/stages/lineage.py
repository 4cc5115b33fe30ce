"""The requests that a model of ours has gone through, read from the store or from an exported file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearn.core.artifact_meta import META, MetaError, read_meta, spec_key
from unlearn.core.artifact_store import ArtifactStore, Entry
from unlearn.core.errors import UnlearnError
from unlearn.core.types import Subset
from unlearn.models.checkpoints.exported import read_metadata
from unlearn.stages.files import read_tensors
from unlearn.stages.samples import Samples, Split

ORIGIN = "origin.json"  # in the artifact of a checkpoint: its tensors' names in the file, and its lineage if it is ours
FORGETS = ("unlearn", "blended")  # kinds of artifacts that have forgotten their request
STARTS = ("checkpoint", "continued")  # kinds of originals that may have forgotten requests before
SPLIT = "split.safetensors"


@dataclass(frozen=True)
class Lineage:
    """What a model of ours has forgotten.

    Attributes:
        key: key of its artifact.
        requests: number of requests, its own included.
        records: number of records of all of them.
        seconds: of unlearning, of all of them; None if one is unknown.
        split: the `split.safetensors` that lists the records; None if no store at hand has it.
    """

    key: str
    requests: int
    records: int
    seconds: float | None
    split: Path | None = None

    @property
    def plain(self) -> dict[str, Any]:
        """The lineage as JSON, without the path."""
        return {"key": self.key, "requests": self.requests, "records": self.records, "seconds": self.seconds}


def find_lineage(path: Path, store: Path) -> Lineage | None:
    """Find what the model in a file has forgotten.

    Args:
        path: a model of a store, or an exported file.
        store: the store to look for the model of an exported file.

    Returns:
        The lineage; None if the file is not ours, or its model has forgotten nothing.
    """
    entry = stored_entry(path)
    if entry is not None:
        return lineage_of(entry)
    return _complete(_parse(read_metadata(path)), store)


def lineage_of(entry: Entry) -> Lineage | None:
    """Return what a model in the store has forgotten; None if it has forgotten nothing."""
    kind, store = entry.folder.parent.name, _store_of(entry)
    if kind == "continued":
        return next((lineage_of(model) for model in _previous(entry, store)), None)
    if kind == "checkpoint":
        return _complete(_parse(_read_origin(entry).get("lineage") or {}), store.root)
    if kind not in FORGETS:
        return None
    unlearned = entry if kind == "unlearn" else store.lookup("unlearn", entry.meta["spec"]["unlearned"]["stage"])
    if unlearned is None:
        return None
    spec = unlearned.meta["spec"]
    before = next((lineage_of(original) for original in _look_up(spec["original"], STARTS, store)), None)
    if spec.get("relabelled") is not None:  # it corrected labels, and forgot nothing
        return before
    requests, seconds = (0, 0.0) if before is None else (before.requests, before.seconds)
    costs = [seconds, unlearned.seconds, *_other_costs(entry, spec, store)]
    known = [cost for cost in costs if cost is not None]
    split = _find_split(spec["forget"], store.root)
    return Lineage(
        key=entry.key,
        requests=1 + requests,
        records=0 if split is None else _count_records(split),
        seconds=sum(known) if len(known) == len(costs) else None,
        split=split,
    )


def incoming_names(entry: Entry) -> dict[str, tuple[str, str]]:
    """Return, for each tensor of the net, its name and dtype in the checkpoint that a model started from.

    Empty if the model was trained here.
    """
    kind, spec = entry.folder.parent.name, entry.meta.get("spec") or {}
    if kind == "checkpoint":
        names = _read_origin(entry).get("names", {})
        return {name: (there, dtype) for name, (there, dtype) in names.items()}
    store, original = _store_of(entry), spec.get("original")
    if kind == "continued":
        return next((incoming_names(model) for model in _previous(entry, store)), {})
    originals = _look_up(original, STARTS, store) if isinstance(original, dict) else ()
    return next((incoming_names(model) for model in originals), {})


def stored_entry(path: Path) -> Entry | None:
    """Return the artifact that a file belongs to; None if it lies in no store."""
    if not (path.parent / META).is_file():
        return None
    try:
        return Entry(path.parent, read_meta(path.parent), reused=True)
    except (MetaError, OSError):
        return None


def _store_of(entry: Entry) -> ArtifactStore:
    return ArtifactStore(entry.folder.parent.parent)


def _previous(entry: Entry, store: ArtifactStore) -> Iterator[Entry]:
    """Yield the model that a `continued` one continues, if the store has it."""
    return _look_up(entry.meta["spec"]["previous"], FORGETS, store)


def _look_up(stage: Mapping[str, Any], kinds: Sequence[str], store: ArtifactStore) -> Iterator[Entry]:
    """Yield the artifact of a stage in a spec, if it is of one of these kinds and in the store."""
    entries = (store.lookup(kind, stage["stage"]) for kind in kinds)
    yield from (entry for entry in entries if entry is not None)


def _read_origin(entry: Entry) -> dict[str, Any]:
    origin: dict[str, Any] = entry.json(ORIGIN) if ORIGIN in entry.meta["files"] else {}
    return origin


def _complete(noted: Lineage | None, store: Path) -> Lineage | None:
    """Return the lineage of a noted model from the store, with its split; as noted if the store lacks the model."""
    if noted is None:
        return None
    entries = (stored_entry(store / kind / noted.key / META) for kind in FORGETS)
    known = (lineage_of(entry) for entry in entries if entry is not None)
    return next((lineage for lineage in known if lineage is not None), noted)


def _parse(fields: Mapping[str, Any]) -> Lineage | None:
    """Read a lineage from JSON or from the texts of an exported file; None if it has none."""
    try:
        key, requests, records = str(fields["key"]), int(fields["requests"]), int(fields["records"])
        seconds = fields.get("seconds")
        return Lineage(key, requests, records, None if seconds in (None, "") else float(seconds)) if requests else None
    except (KeyError, TypeError, ValueError):
        return None


def _other_costs(entry: Entry, spec: Mapping[str, Any], store: ArtifactStore) -> Iterator[float | None]:
    """Yield the seconds of the scores, the condensed retain set and the blend; None for one that the store lacks."""
    stages = [("score", score) for score in spec["scores"]]
    stages += [("condense", spec["condensed"])] if spec.get("condensed") else []
    entries = [store.lookup(kind, stage["stage"]) for kind, stage in stages]
    yield from (None if cost is None else cost.seconds for cost in entries)
    if entry.folder.parent.name == "blended":
        yield entry.seconds


def _find_split(forget: Mapping[str, Any], store: Path) -> Path | None:
    """Find the split of a run by its key, which follows from the samples that its model forgot.

    They may be perturbed; the split is of the clean ones. A shadow model's forget set has no split.
    """
    if forget["class"] != Samples.__name__:
        return None
    clean = {**forget, "subset": Subset.FORGET.value, "perturbed_by": None}
    key = spec_key({"kind": "split", "version": Split.version, "forget": clean})
    split = store / "split" / key / SPLIT
    return None if stored_entry(split) is None else split


def _count_records(split: Path) -> int:
    entry = stored_entry(split)
    try:
        tensors = read_tensors(entry, SPLIT) if entry is not None else {}
    except UnlearnError:
        return 0
    return sum(len(tensors[name]) for name in ("forget", "earlier") if name in tensors)
