"""Compares `functional/top_k.py` with `torch.topk` on the concatenated scores, after checking the selection."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from table import MB, Row, compare, extra_memory, run
from torch import Tensor

from unlearn.functional.top_k import top_k_mask

FRACTIONS = {11_000_000: (0.01, 0.1, 0.5), 100_000_000: (0.1,)}
GOALS = {11_000_000: 8.0, 100_000_000: 6.0}
ZEROS = 0.62  # of a ResNet-18's gradients on 32 pixels


def rows() -> Iterator[Row]:
    """Measure memory first, while the process has freed little, then time."""
    for n, fractions in FRACTIONS.items():
        for kind in ("random", "62 % zeros"):
            scores = make_scores(n, kind)
            for fraction in fractions:
                yield from case(f"{n / 1e6:.0f} M, {fraction:.0%}, {kind}", scores, round(fraction * n), GOALS[n])


def make_scores(n: int, kind: str) -> dict[str, Tensor]:
    """Make scores in tensors of uneven sizes, as a net has them."""
    draws = torch.Generator().manual_seed(0)
    values = torch.randn(n, generator=draws).abs_()
    if kind != "random":
        values[torch.rand(n, generator=draws) < ZEROS] = 0
    sizes = [n // 2, 1, n // 5, n // 100]
    return {f"{i}": part.clone() for i, part in enumerate(values.split([*sizes, n - sum(sizes)]))}


def case(name: str, scores: dict[str, Tensor], count: int, goal: float) -> Iterator[Row]:
    """Measure memory and time of one selection."""
    n = sum(score.numel() for score in scores.values())
    used, bound = extra_memory(lambda: top_k_mask(scores, count)), n / MB + 32
    yield Row(f"memory, {name}", "a byte an entry and 32 MB", used, bound, "MB", used / bound, 1.0, True, 1, "")
    check(scores, top_k_mask(scores, count), count)
    pair = compare(lambda: top_k_mask(scores, count), lambda: rival(scores, count), clock=time.process_time)
    yield Row(name, "torch.topk", 1e3 * pair.ours, 1e3 * pair.rival, "ms", pair.ratio, goal, clock="cpu")


def rival(scores: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    """The usual way: concatenate everything, take the K largest, and split the mask again."""
    whole = torch.cat([score.flatten() for score in scores.values()])
    mask = torch.zeros(len(whole), dtype=torch.bool)
    mask[whole.topk(count, sorted=False).indices] = True
    parts = mask.split([score.numel() for score in scores.values()])
    return {name: part.view(score.shape) for part, (name, score) in zip(parts, scores.items(), strict=True)}


def check(scores: dict[str, Tensor], masks: dict[str, Tensor], count: int) -> None:
    """Check that the mask has the K largest entries, and among equal entries the first.

    Raises:
        AssertionError: It has other entries.
    """
    whole, mask = (torch.cat([tensor.flatten() for tensor in parts.values()]) for parts in (scores, masks))
    limit = whole[mask].min()
    ties = mask[whole == limit]
    if int(mask.sum()) != count or bool((mask != (whole >= limit))[whole != limit].any()):
        raise AssertionError("another set than the largest")
    if not bool(ties[: int(ties.sum())].all()):
        raise AssertionError("ties are not in order")


if __name__ == "__main__":
    run(__file__, rows())
