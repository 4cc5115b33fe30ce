"""Print how much time the models for metrics and attacks will take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unlearn.core.task import format_duration
from unlearn.stages.base import BuildContext, Stage


@dataclass(frozen=True)
class ExtraModels:
    """Models of one kind that metrics and attacks ask for."""

    name: str
    trained: Sequence[Stage]
    unlearned: Sequence[Stage]
    relative_cost: float = 1.0  # of one of them, as a fraction of the run's own training or unlearning


def announce_cost(
    models: ExtraModels, training: Sequence[Stage], unlearning: Sequence[Stage], context: BuildContext
) -> None:
    """Print how many models are still to train and unlearn, and about how long that takes.

    Args:
        models: what metrics and attacks ask for.
        training: the stages of the run's own training, by whose `seconds` in the store the time is estimated.
        unlearning: the same for unlearning.
        context: its store is only read.
    """
    for work, stages, own_stages in (
        ("training", models.trained, training),
        ("unlearning", models.unlearned, unlearning),
    ):
        count = sum(context.peek(stage) is None for stage in stages)
        if count:
            seconds = [entry.seconds for stage in own_stages if (entry := context.peek(stage))]
            is_known = seconds and len(seconds) == len(own_stages)
            duration = format_duration(count * models.relative_cost * sum(seconds))
            estimate = f"about {duration} one by one" if is_known else "how long one takes is not known yet"
            context.console.say(f"  {models.name:<28} {count} {work}{'s' * (count > 1)} to come, {estimate}")
