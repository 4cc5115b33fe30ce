"""Replay a stream of requests: build what its plan needs, and evaluate the models after every request."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.core.errors import pluralize
from unlearn.data.request_streams.records import resolve_requests
from unlearn.pipeline.config import RunConfig
from unlearn.pipeline.run_evaluations import Measured, evaluate
from unlearn.pipeline.stream_plan import Step, StreamPlan, plan_stream, stream_population
from unlearn.stages.base import BuildContext
from unlearn.stages.building import build
from unlearn.stages.checkpoint import Checkpoint
from unlearn.stages.plausibility import PlausibilityCheck
from unlearn.stages.samples import load_dataset


@dataclass(frozen=True)
class StepOutcome:
    """The measurements after one request: with all records so far as the forget set, and with this request alone."""

    step: Step
    so_far: Measured
    request: Measured

    @property
    def parts(self) -> dict[str, Measured]:
        """Both by name."""
        return {"so_far": self.so_far, "request": self.request}


@dataclass(frozen=True)
class StreamOutcome:
    """A finished stream: its plan, and the measurements after every request."""

    plan: StreamPlan
    context: BuildContext
    steps: tuple[StepOutcome, ...]
    members: int  # records of D before the first request


def run_stream(config: RunConfig, context: BuildContext) -> StreamOutcome:
    """Answer all requests under every policy, building only what the store does not have.

    Args:
        config: a checked config with a stream of requests.
        context: the store, the hardware and the console.

    Raises:
        DataError: a request picks nothing or everything that is left, or the checkpoint does not know its data;
            before anything is trained.
        UnlearnError: a stage cannot be built.
    """
    population, contents = stream_population(config), load_dataset(config.dataset, context)
    requests = resolve_requests(config.requests.rules(), population, contents.train.labels, contents.subclass)
    plan = plan_stream(config, requests)
    _verify_checkpoint(config, plan, context)
    build((plan.original,), context)
    return StreamOutcome(plan, context, tuple(_run_step(step, context) for step in plan.steps), population.members)


def _verify_checkpoint(config: RunConfig, plan: StreamPlan, context: BuildContext) -> None:
    if isinstance(plan.original, Checkpoint):
        build((plan.first_split, plan.original), context)
        PlausibilityCheck(plan.original, plan.first_split.forget).verify(context, config.checkpoint.accept_accuracy)


def _run_step(step: Step, context: BuildContext) -> StepOutcome:
    records = pluralize(len(step.request.records), "record")
    context.console.say(f"  {f'request {step.number}':<28} {records}, {step.request.name}")
    build(step.stages, context)
    so_far = evaluate(step.evaluations, context)
    return StepOutcome(step, so_far, evaluate(step.request_evaluations, context))
