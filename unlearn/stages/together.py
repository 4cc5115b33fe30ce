"""Stages in order, and shadow models at once where that is faster."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from unlearn.core.errors import DivergenceError
from unlearn.core.memory import is_out_of_memory, release
from unlearn.core.types import Images, Role
from unlearn.stages.base import BuildContext, Stage, inputs
from unlearn.stages.train import Train

FEWEST = 4  # models in a group: fewer gain nothing (our choice)


def build(stages: Sequence[Stage], context: BuildContext) -> None:
    """All of them, in their order.

    Retrained models are never trained at once: their seconds are what unlearning's cost is held against.
    """
    shadows = [stage for stage in stages if isinstance(stage, Train) and stage.role is Role.SHADOW]
    for stage in stages:
        if shadows and stage is shadows[0]:
            train_together(shadows, context)
        context.get(stage)


def train_together(stages: Iterable[Train], context: BuildContext) -> None:
    """Build those that are missing and can be stacked, in groups; what is left trains alone when it is needed.

    `stages` differ in samples and seed alone. Artefacts, keys and curves are those of training one by one, numbers to
    rounding; `seconds` are each model's share of its group's. What is interrupted loses its group.
    """
    missing = [stage for stage in stages if _lonely(stage, context)]
    if len(missing) < FEWEST:
        return
    for needed in (needed for stage in missing for needed in inputs(stage)):
        context.get(needed)
    missing[0].prepare(context)
    size = _group_size(missing[:2], context)
    for group in _groups(missing, size, context) if size else ():
        with context.store.claim(group[0].kind, [stage.key for stage in group]) as free:
            ours = [stage for stage in group if stage.key in free]
            try:
                if len(ours) >= FEWEST:
                    _train(ours, context)
            except DivergenceError:
                continue  # who it was, and when, is told when it trains alone
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
        release()  # one by one they need less memory


def _lonely(stage: Train, context: BuildContext) -> bool:
    """Whether it is to be trained, from its start, in the one way that a stack does it."""
    plain = stage.numerics == stage.numerics.plain and not context.hardware.detect_anomaly
    whole = stage.recipe.epochs > 0 and stage.recipe.patience is None and stage.recipe.optimizer != "muon"
    return plain and whole and not context.peek(stage) and not context.store.partial(stage.key).exists()


def _group_size(two: Sequence[Train], context: BuildContext) -> int:
    from unlearn.training.stackable import agree, group_size

    loaders = [stage.loader(context) for stage in two]
    if not all(isinstance(loader.data, Images) for loader in loaders):
        return 0
    models, batches = [stage.initial(context) for stage in two], [next(loader.batches(0)) for loader in loaders]
    size = group_size(models[0], batches[0])
    return size if size and agree(models, batches) else 0


def _groups(stages: Sequence[Train], most: int, context: BuildContext) -> Iterator[list[Train]]:
    """Those of equally many samples, shared out evenly; two halves of an odd number differ by one."""
    sizes: dict[int, list[Train]] = {}
    for stage in stages:
        sizes.setdefault(len(stage.samples.load(context)), []).append(stage)
    for alike in sizes.values():
        count = math.ceil(len(alike) / most)
        yield from (alike[number::count] for number in range(count))


def _train(stages: Sequence[Train], context: BuildContext) -> None:
    from unlearn.training.stacked import fit_stacked

    label = f"train {len(stages)} shadow models"
    start = time.perf_counter()
    with context.console.working(label) as tick:
        models, loaders = [each.initial(context) for each in stages], [each.loader(context) for each in stages]
        curves = fit_stacked(models, loaders, stages[0].recipe, stages[0].validation.load(context), tick)
    seconds = time.perf_counter() - start
    for stage, model, curve in zip(stages, models, curves, strict=True):
        context.notes[stage.key] = {"stacked": len(stages), "seconds": seconds / len(stages)}
        write, describe = partial(stage.write, classifier=model, curve=curve), partial(context.describe, stage)
        context.entries[stage.key] = context.store.put(stage.kind, stage.key, write, describe)
    context.console.done(label, False, seconds)
