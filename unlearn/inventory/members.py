"""Whether a subset that a spec names holds any of the requested records, by what the store itself remembers."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from unlearn.core.plugins import find_options
from unlearn.data.datasets.base import Dataset
from unlearn.data.datasets.own import UserDataset
from unlearn.data.requests.base import Forget
from unlearn.inventory.catalogue import Catalogue, Item
from unlearn.stages.files import read_tensors
from unlearn.stages.keys import canonicalize
from unlearn.stages.shadow import draw_half_mask

PARTS = {  # of the training part that are in a subset, as a `split` artefact calls them
    "train": ("forget", "retain"),
    "forget": ("forget",),
    "perturbed_forget": ("forget",),
    "noisy_forget": ("forget",),
    "retain": ("retain",),
    "corrected": ("forget", "retain"),
    "relabelled": ("forget",),
    "validation": ("validation",),
    "holdout": ("holdout",),
    "perturbed_holdout": ("holdout",),
    "test": (),
}
SHADOWED = {"ShadowTrainSet", "ShadowForgetSet"}  # what shadow models learn, and what of it they forget or retain
NOBODY = -1
LOOKS = {
    "test",
    "val",
    *(spec.name for spec in fields(UserDataset)),
}  # of one's own data: not whose pictures the training part holds


class Members:
    """Answers for records int64 [n] of the training part of a data set.

    Who was in which subset is read from the store's `split` artefacts, of which every run makes one.
    """

    def __init__(self, catalogue: Catalogue, dataset: Dataset, requested: Tensor) -> None:
        kinds = find_options("unlearn.data.datasets", Dataset).values()
        requests = find_options("unlearn.data.requests", Forget).values()
        self.relabelling = {kind.__qualname__ for kind in requests if issubclass(kind, Forget) and kind.relabels}
        self.own = {kind.__qualname__ for kind in kinds if issubclass(kind, UserDataset)}
        self.dataset = self._whose(canonicalize(dataset))
        self.hits: dict[str, dict[str, bool]] = {}  # by population, and by whom of it is forgotten
        self.pools: dict[str, Tensor] = {}  # by population: who of its pool is requested, bool [n]
        for item in catalogue.items.values():
            if item.kind == "split" and isinstance(samples := item.spec.get("forget"), dict):
                hit = _hits(item, requested)
                self.hits |= {_name(samples, "train"): hit, _name(samples, "forget"): hit}
                self.pools[_name(samples, "train")] = _pool(item, requested)

    def touched(self, samples: dict[str, Any]) -> bool | None:
        """Whether any requested record is in the subset; None where it cannot be known.

        Data of one's own under another fingerprint may be the same pictures before some were added or removed. Of a
        shadow model's half it is known exactly, of what of it was forgotten or retained only that it is of that half.
        """
        if samples["class"] in SHADOWED:
            return self._learnt_by_shadow(samples.get("train_set", samples))
        theirs, parts = self._whose(samples["population"]["dataset"]), PARTS.get(samples["subset"])
        if theirs != self.dataset:
            return None if {theirs["class"], self.dataset["class"]} <= self.own else False
        if not parts:
            return None if parts is None else False
        hits = self.hits.get(_name(samples, samples["subset"]))
        return None if hits is None else any(hits[part] for part in parts)

    def _learnt_by_shadow(self, samples: dict[str, Any]) -> bool | None:
        members = samples["members"]
        pool = self.pools.get(_name(members, "train"))
        if pool is None or self._whose(members["population"]["dataset"]) != self.dataset:
            return self.touched(members)  # as little as of D
        return bool((pool & draw_half_mask(len(pool), samples["number"], members["population"]["seed"])).any())

    def learnt(self, forget: dict[str, Any]) -> bool:
        """Whether a model that served the request learnt its samples under other labels instead of forgetting them."""
        return forget["forget"]["class"] in self.relabelling

    def _whose(self, dataset: dict[str, Any]) -> dict[str, Any]:
        """What a data set's spec says about whose pictures its training part holds, and in which order."""
        if dataset["class"] not in self.own:
            return {"class": dataset["class"]}
        return {name: value for name, value in dataset.items() if name not in LOOKS}


def _name(samples: dict[str, Any], subset: str) -> str:
    """What decides who is in a subset: the population, and for some who of it is forgotten."""
    by_request = PARTS[subset] in {("forget",), ("retain",)}
    who = [samples["forget"], samples["ranking"]] if by_request else []
    return json.dumps([samples["population"], *who], sort_keys=True)


def _pool(split: Item, requested: Tensor) -> Tensor:
    """Who of D and then holdout, each by index, is requested, bool [n]."""
    found = read_tensors(split.entry, "split.safetensors")
    members = torch.cat([found["forget"], found["retain"]]).sort().values
    holdout = found["holdout"] if "holdout" in found else torch.full_like(found["holdout_of_test"], NOBODY)
    return torch.isin(torch.cat([members, holdout]), requested)


def _hits(split: Item, requested: Tensor) -> dict[str, bool]:
    """The parts that hold a requested record; those drawn from the test part go by other names, and hold none."""
    found = read_tensors(split.entry, "split.safetensors")
    names = {part for parts in PARTS.values() for part in parts}
    return {part: part in found and bool(torch.isin(found[part], requested).any()) for part in names}
