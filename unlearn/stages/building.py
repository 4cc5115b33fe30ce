"""Build stages in order, and train shadow models together where that is faster."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from unlearn.core.errors import DivergenceError
from unlearn.core.memory import is_out_of_memory, release_cuda_memory
from unlearn.core.types import Images, Role
from unlearn.stages.base import BuildContext, Stage, inputs
from unlearn.stages.train import Train

MIN_GROUP = 4  # models; fewer together are not faster than one by one [ours]


def build(stages: Sequence[Stage], context: BuildContext) -> None:
    """Build stages in their order.

    Retrained models are never trained together, because the cost of unlearning is compared with their seconds.
    """
    shadows = [stage for stage in stages if isinstance(stage, Train) and stage.role is Role.SHADOW]
    for stage in stages:
        if shadows and stage is shadows[0]:
            train_together(shadows, context)
        context.get(stage)


def train_together(stages: Iterable[Train], context: BuildContext) -> None:
    """Train the missing stages in groups where their nets can be stacked; the others train alone when needed.

    Artifacts, keys and curves are the same as from training one by one, numbers up to rounding. The `seconds` of a
    group are divided evenly among its models. An interruption loses the work of the current group.

    Args:
        stages: they differ only in samples and seed.
        context: builds the inputs and stores the models.
    """
    missing = [stage for stage in stages if _can_be_stacked(stage, context)]
    if len(missing) < MIN_GROUP:
        return
    for stage in missing:
        for source in inputs(stage):
            context.get(source)
    missing[0].prepare(context)
    size = _group_size(missing[:2], context)
    for group in _groups(missing, size, context) if size else ():
        with context.store.claim(group[0].kind, [stage.key for stage in group]) as claimed:
            stages_here = [stage for stage in group if stage.key in claimed]
            try:
                if len(stages_here) >= MIN_GROUP:
                    _train_group(stages_here, context)
            except DivergenceError:
                continue  # the model that diverges reports it when it trains alone
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
        release_cuda_memory()  # after running out of memory, models train one by one, which needs less


def _can_be_stacked(stage: Train, context: BuildContext) -> bool:
    """Whether a stage is missing, unstarted, and has no setting that stacked training does not support."""
    hardware = context.hardware
    is_plain = stage.numerics == stage.numerics.plain and not hardware.detect_anomaly and not hardware.callbacks
    is_stackable = stage.recipe.epochs > 0 and stage.recipe.patience is None and stage.recipe.optimizer != "muon"
    return is_plain and is_stackable and not context.peek(stage) and not context.store.partial(stage.key).exists()


def _group_size(pair: Sequence[Train], context: BuildContext) -> int:
    """Measure on two models how many train fastest together; 0 if they cannot be stacked."""
    from unlearn.training.stackable import group_size, is_stackable

    loaders = [stage.loader(context) for stage in pair]
    if not all(isinstance(loader.data, Images) for loader in loaders):
        return 0
    models, batches = [stage.initial(context) for stage in pair], [next(loader.batches(0)) for loader in loaders]
    size = group_size(models[0], batches[0])
    return size if size and is_stackable(models, batches) else 0


def _groups(stages: Sequence[Train], max_size: int, context: BuildContext) -> Iterator[list[Train]]:
    """Group stages with equally many samples, in groups of even size; halves of an odd pool differ by one sample."""
    by_size: dict[int, list[Train]] = {}
    for stage in stages:
        by_size.setdefault(len(stage.samples.load(context)), []).append(stage)
    for same_size in by_size.values():
        count = math.ceil(len(same_size) / max_size)
        yield from (same_size[number::count] for number in range(count))


def _train_group(stages: Sequence[Train], context: BuildContext) -> None:
    from unlearn.training.stacked import fit_stacked

    label = f"train {len(stages)} shadow models"
    start = time.perf_counter()
    with context.console.working(label) as tick:
        models, loaders = [stage.initial(context) for stage in stages], [stage.loader(context) for stage in stages]
        assert stages[0].validation is not None, "shadow models are validated as the original is"
        curves = fit_stacked(models, loaders, stages[0].recipe, stages[0].validation.load(context), tick)
    seconds = time.perf_counter() - start
    for stage, model, curve in zip(stages, models, curves, strict=True):
        context.notes[stage.key] = {"stacked": len(stages), "seconds": seconds / len(stages)}
        write, describe = partial(stage.write, classifier=model, curve=curve), partial(context.describe, stage)
        context.entries[stage.key] = context.store.put(stage.kind, stage.key, write, describe)
    context.console.done(label, False, seconds)
