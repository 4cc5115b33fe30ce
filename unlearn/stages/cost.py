"""What a run costs beyond its own models, told before it begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unlearn.core.progress import duration
from unlearn.stages.base import BuildContext, Stage


@dataclass(frozen=True)
class Extra:
    """Models that metrics and attacks ask for; each takes a `share` of what the run's own takes."""

    what: str
    trained: Sequence[Stage]
    unlearned: Sequence[Stage]
    share: float = 1.0


def say_cost(extra: Extra, training: Sequence[Stage], unlearning: Sequence[Stage], context: BuildContext) -> None:
    """How much of it is still to be done, and about how long that takes, where the store can tell by this run's own
    `training` and `unlearning`."""
    for work, stages, alike in (("training", extra.trained, training), ("unlearning", extra.unlearned, unlearning)):
        count = sum(context.peek(stage) is None for stage in stages)
        if count:
            took = [entry.seconds for stage in alike if (entry := context.peek(stage))]
            known = took and len(took) == len(alike)
            long = duration(count * extra.share * sum(took))
            long = f"about {long} one by one" if known else "how long one takes is not known yet"
            context.console.say(f"  {extra.what:<28} {count} {work}{'s' * (count > 1)} to come, {long}")
