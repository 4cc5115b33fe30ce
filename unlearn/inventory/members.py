"""Decides from the store whether a subset in a spec contains any of the requested records."""

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

PARTS = {  # subset -> the parts of the training part in it, by their names in a `split` artifact
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
    "earlier_forget": ("earlier",),
}
SHADOWED = {
    "ShadowTrainSet",
    "ShadowForgetSet",
}  # classes of the subsets of shadow models
NOBODY = -1
# Settings of a user-supplied data set that do not change which images are in its training part.
OTHER_SETTINGS = {"test", "val", *(spec.name for spec in fields(UserDataset))}


class Members:
    """Decides which subsets contain requested records.

    The members of each subset are read from the `split` artifacts of the store, of which every run builds one.

    Args:
        catalogue: the store.
        dataset: the data set of the request.
        requested: indices int64 [n] of the requested records, in the training part.
    """

    def __init__(self, catalogue: Catalogue, dataset: Dataset, requested: Tensor) -> None:
        kinds = find_options("unlearn.data.datasets", Dataset).values()
        requests = find_options("unlearn.data.requests", Forget).values()
        self.relabelling_classes = {
            kind.__qualname__ for kind in requests if issubclass(kind, Forget) and kind.relabels
        }
        self.user_classes = {kind.__qualname__ for kind in kinds if issubclass(kind, UserDataset)}
        self.dataset = self._identify(canonicalize(dataset))
        self.requested = requested
        self.hits: dict[str, dict[str, bool]] = {}  # by population and request: the parts with requested records
        self.pools: dict[str, Tensor] = {}  # by population: which records of its shadow pool are requested, bool [n]
        for item in catalogue.items.values():
            if item.kind == "split" and isinstance(samples := item.spec.get("forget"), dict):
                hit = _hits(item, requested)
                self.hits |= {_name(samples, "train"): hit, _name(samples, "forget"): hit}
                self.pools[_name(samples, "train")] = _pool(item, requested)

    def is_in(self, samples: dict[str, Any]) -> bool | None:
        """Whether any requested record is in a subset; None if it is unknown.

        A user-supplied data set with another fingerprint may contain the same images, before some were added or
        removed. The training half of a shadow model is known exactly; the part of it that was forgotten or retained
        is not, so the answer for the half is returned.
        """
        if samples["class"] in SHADOWED:
            return self._is_in_shadow_half(samples.get("train_set", samples))
        dataset, parts = samples["population"]["dataset"], PARTS.get(samples["subset"])
        if not self._is_of_dataset(dataset):
            return self._is_of_dataset(dataset)
        if not parts:
            return None if parts is None else False
        hits = self.hits.get(_name(samples, samples["subset"]))
        return None if hits is None else any(hits[part] for part in parts)

    def are_among(self, index: Tensor, dataset: dict[str, Any]) -> bool | None:
        """Whether any requested record is among records int64 [n] of the training part of a data set's spec."""
        is_of_dataset = self._is_of_dataset(dataset)
        return bool(torch.isin(index, self.requested).any()) if is_of_dataset else is_of_dataset

    def _is_of_dataset(self, dataset: dict[str, Any]) -> bool | None:
        """Whether a spec is that of the request's data set; None if both are supplied by users and differ."""
        identity = self._identify(dataset)
        if identity == self.dataset:
            return True
        return None if {identity["class"], self.dataset["class"]} <= self.user_classes else False

    def _is_in_shadow_half(self, samples: dict[str, Any]) -> bool | None:
        members = samples["members"]
        pool = self.pools.get(_name(members, "train"))
        if pool is None or self._identify(members["population"]["dataset"]) != self.dataset:
            return self.is_in(members)  # the answer for D
        return bool((pool & draw_half_mask(len(pool), samples["number"], members["population"]["seed"])).any())

    def is_relabelled(self, forget: dict[str, Any]) -> bool:
        """Whether a request corrects labels, so that its samples are learnt under new labels and not forgotten."""
        return forget["forget"]["class"] in self.relabelling_classes

    def _identify(self, dataset: dict[str, Any]) -> dict[str, Any]:
        """The part of the spec of a data set that decides which images are in its training part, and their order."""
        if dataset["class"] not in self.user_classes:
            return {"class": dataset["class"]}
        return {name: value for name, value in dataset.items() if name not in OTHER_SETTINGS}


def _name(samples: dict[str, Any], subset: str) -> str:
    """The part of a spec that decides who is in a subset: the population and, for some, the request."""
    by_request = PARTS[subset] in {("forget",), ("retain",)}
    request = [samples["forget"], samples["ranking"]] if by_request else []
    return json.dumps([samples["population"], *request], sort_keys=True)


def _pool(split: Item, requested: Tensor) -> Tensor:
    """Which records of the shadow pool (D by index, then holdout by index) are requested, bool [n]."""
    parts = read_tensors(split.entry, "split.safetensors")
    members = torch.cat([parts["forget"], parts["retain"]]).sort().values
    holdout = parts["holdout"] if "holdout" in parts else torch.full_like(parts["holdout_of_test"], NOBODY)
    return torch.isin(torch.cat([members, holdout]), requested)


def _hits(split: Item, requested: Tensor) -> dict[str, bool]:
    """Which parts contain a requested record; parts from the test part have other names and contain none."""
    indices = read_tensors(split.entry, "split.safetensors")
    names = {part for parts in PARTS.values() for part in parts}
    return {part: part in indices and bool(torch.isin(indices[part], requested).any()) for part in names}
