"""Compares `functional/random_k.py`, which chooses K entries at random, with `torch.randperm`; checks counts first."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from table import MB, Row, compare, extra_memory, run
from torch import Tensor

from unlearn.functional.random_k import random_k_mask

N = 11_000_000
GOALS = {0.01: 25.0, 0.1: 7.0, 0.5: 7.0}


def rows() -> Iterator[Row]:
    """Measure memory and time for each fraction."""
    like = {"a": torch.empty(N // 2), "b": torch.empty(N - N // 2)}
    for fraction, goal in GOALS.items():
        count, name = round(fraction * N), f"11 M, {fraction:.0%}"
        used, bound = extra_memory(lambda count=count: random_k_mask(like, count, 0)), N / MB + 16
        yield Row(f"memory, {name}", "a byte an entry and 16 MB", used, bound, "MB", used / bound, 1.0, True, 1, "")
        for masks in (random_k_mask(like, count, 0), rival(like, count)):
            if sum(int(mask.sum()) for mask in masks.values()) != count:
                raise AssertionError("not exactly K")
        pair = compare(
            lambda count=count: random_k_mask(like, count, 0),
            lambda count=count: rival(like, count),
            clock=time.process_time,
        )
        yield Row(name, "torch.randperm", 1e3 * pair.ours, 1e3 * pair.rival, "ms", pair.ratio, goal, clock="cpu")


def rival(like: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    """The usual way: the first K entries of a random permutation."""
    mask = torch.zeros(sum(tensor.numel() for tensor in like.values()), dtype=torch.bool)
    mask[torch.randperm(len(mask))[:count]] = True
    parts = mask.split([tensor.numel() for tensor in like.values()])
    return {name: part.view(tensor.shape) for part, (name, tensor) in zip(parts, like.items(), strict=True)}


if __name__ == "__main__":
    run(__file__, rows())
