"""Plan a stream of requests: for each request, what every policy builds, and what is measured afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from unlearn.core.random_streams import stream_seed
from unlearn.core.types import Role, Subset
from unlearn.data.population import Population
from unlearn.data.request_streams.records import RecordRequest, Records, StreamRequest, list_records
from unlearn.metrics.accuracy import Accuracy
from unlearn.metrics.evidence import Metric
from unlearn.metrics.layer_distance import LayerDistance
from unlearn.pipeline.config import RunConfig
from unlearn.pipeline.evaluations import Evaluation, EvidencePlanner, plan_single_evaluations
from unlearn.pipeline.plan_stages import (
    list_unlearning_stages,
    plan_clean_data,
    plan_final_model,
    plan_original,
    plan_retrained,
    plan_unlearning,
)
from unlearn.stages.base import Stage
from unlearn.stages.blend import FinalModel
from unlearn.stages.continued import Continued
from unlearn.stages.model import ModelStage
from unlearn.stages.samples import DataView, Samples, Split
from unlearn.stages.shards import Trained

ServedModel = ModelStage | FinalModel


@dataclass(frozen=True)
class Policy:
    """When and how requests are answered: `interval` requests together, by the strategy or by retraining."""

    name: str
    retrains: bool
    interval: int

    @classmethod
    def of(cls, name: str, every: int) -> Policy:
        """Create it from its name in `requests.policies` and the value of `requests.every`."""
        return cls(name, name.startswith("retrain"), 1 if name.endswith("each") else every)


@dataclass(frozen=True)
class RequestView(DataView):
    """The data after a request, with only this request as the forget set, and those before as the earlier ones."""

    request: DataView | None = None

    def __getitem__(self, subset: Subset) -> Samples:
        if self.request is not None and subset in (Subset.FORGET, Subset.EARLIER_FORGET):
            return self.request[subset]
        return super().__getitem__(subset)


@dataclass(frozen=True)
class PolicyStep:
    """What a policy does about one request."""

    policy: Policy
    model: ServedModel  # in service afterwards
    stages: tuple[Stage, ...]  # built for it; none while requests wait
    waiting: int  # requests that are not answered yet
    splits: tuple[Split, ...] = ()  # records of what was forgotten, for purges and for later requests


@dataclass(frozen=True)
class Step:
    """One request: the models after it, and their evaluations.

    Attributes:
        number: of the request, from 1.
        request: its name and its records.
        splits: records of the subsets, for purges.
        retrained: models trained without this request and all before, one for each baseline seed.
        answers: of every policy.
        evaluations: of the original, the retrained models and the served ones. The forget set is all records so far.
        request_evaluations: the same with this request alone as the forget set, and those before as earlier ones.
    """

    number: int
    request: StreamRequest
    splits: tuple[Split, ...]
    retrained: tuple[Trained, ...]
    answers: tuple[PolicyStep, ...]
    evaluations: tuple[Evaluation, ...]
    request_evaluations: tuple[Evaluation, ...]

    @property
    def all_splits(self) -> tuple[Split, ...]:
        """The splits of the evaluations, and those of what policies forgot."""
        return (*self.splits, *chain.from_iterable(answer.splits for answer in self.answers))

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages to build before the evaluations, in their order."""
        answers = chain.from_iterable(answer.stages for answer in self.answers)
        return (*self.all_splits, *self.retrained, *answers)


@dataclass(frozen=True)
class StreamPlan:
    """All stages of a stream of requests."""

    original: ModelStage
    first_split: Split
    steps: tuple[Step, ...] = field(repr=False)


def stream_population(config: RunConfig) -> Population:
    """Return the records of D, validation and holdout before the first request of the stream.

    Raises:
        UnlearnError: the requests cannot be read.
    """
    return _StreamPlanner.of(config).configure(0, 0).population


def plan_stream(config: RunConfig, requests: Sequence[StreamRequest]) -> StreamPlan:
    """Plan all stages of a stream and connect them by their inputs, without computing anything.

    Retrained models depend on the records so far and not on the policy; policies share them, and evaluations of them.

    Args:
        config: a checked config.
        requests: the requests in their order, with their records.
    """
    planner = _StreamPlanner.of(config, requests)
    first = planner.configure(0, 1)
    original = plan_original(first, plan_clean_data(first))[0]
    policies = (Policy.of(name, config.requests.every) for name in config.requests.policies)
    answers, steps = tuple(PolicyStep(policy, original, (), 0) for policy in policies), list[Step]()
    for number in range(1, len(requests) + 1):
        steps.append(planner.plan_step(number, original, answers))
        answers = steps[-1].answers
    return StreamPlan(original, steps[0].splits[0], tuple(steps))


@dataclass(frozen=True)
class _StreamPlanner:
    """Plans the steps of a stream; `listed` are all records that its requests list."""

    config: RunConfig
    requests: Sequence[StreamRequest]
    listed: Records

    @classmethod
    def of(cls, config: RunConfig, requests: Sequence[StreamRequest] = ()) -> _StreamPlanner:
        return cls(config, requests, list_records(config.requests.rules(), config.dataset))

    def configure(self, start: int, stop: int) -> RunConfig:
        """Return the config of a run that answers `requests[start:stop]` together, after those before.

        The first run has the unlearning seed of the config; each later one draws from a seed of its own.
        """
        records, earlier = (_merge(requests) for requests in (self.requests[start:stop], self.requests[:start]))
        forget = RecordRequest(records, earlier, self.listed, earlier=self.config.forget.earlier)
        seeds = self.config.seeds
        if start > 0:
            seeds = replace(seeds, unlearn=stream_seed(seeds.unlearn, "request", epoch=start) % 2**31)
        return replace(self.config, forget=forget, seeds=seeds)

    def plan_step(self, number: int, original: ModelStage, before: Sequence[PolicyStep]) -> Step:
        """Plan the models after a request, and their evaluations; `before` has what policies did until then."""
        whole, alone = self.configure(0, number), self.configure(number - 1, number)
        data, request_data = plan_clean_data(whole), plan_clean_data(alone)
        view = RequestView(data.dataset, data.forget, data.seed, data.trained_on, request=request_data)
        retrained = plan_retrained(whole, data)
        answers = tuple(self.plan_answer(number, answer, retrained) for answer in before)
        models = (original, *retrained, *(answer.model for answer in answers))
        return Step(
            number=number,
            request=self.requests[number - 1],
            splits=(Split(data[Subset.FORGET]), Split(request_data[Subset.FORGET])),
            retrained=retrained,
            answers=answers,
            evaluations=tuple(_plan_evaluations(whole, data, original, models, retrained)),
            request_evaluations=tuple(_plan_evaluations(alone, view, original, models, retrained)),
        )

    def plan_answer(self, number: int, before: PolicyStep, retrained: tuple[Trained, ...]) -> PolicyStep:
        """Plan what a policy does about a request, which waits with those before it until there are enough."""
        policy, waiting = before.policy, before.waiting + 1
        if waiting < policy.interval:
            return PolicyStep(policy, before.model, (), waiting)
        if policy.retrains:
            return PolicyStep(policy, retrained[0], (retrained[0],), 0)
        run = self.configure(number - waiting, number)
        data = plan_clean_data(run)
        unlearned = plan_unlearning(run, data, self.continue_from(before.model, data))
        final_model = plan_final_model(run, unlearned)
        return PolicyStep(policy, final_model, list_unlearning_stages(final_model), 0, (Split(data[Subset.FORGET]),))

    def continue_from(self, model: ServedModel, data: DataView) -> ModelStage:
        """Return the original of a request: the first original, or the model that answered the request before."""
        if isinstance(model, ModelStage):
            return model
        return Continued(
            role=Role.ORIGINAL,
            samples=data[Subset.TRAIN],
            model=self.config.model,
            seed=self.config.seeds.train,
            previous=model,
        )


def _merge(requests: Sequence[StreamRequest]) -> Records:
    return tuple(sorted(chain.from_iterable(request.records for request in requests)))


def _plan_evaluations(
    config: RunConfig,
    data: DataView,
    original: ModelStage,
    models: Sequence[ServedModel],
    retrained: tuple[Trained, ...],
) -> Iterator[Evaluation]:
    """Plan the metrics of the config, and accuracy and drift, on every model once."""
    metrics: dict[str, Metric] = {"accuracy": Accuracy(), "layer_distance": LayerDistance()} | config.all_metrics
    planner = EvidencePlanner(data, original, config.seeds.evaluate, replace(config.trainer.numerics, devices=1))
    subjects = list({model.key: model for model in models}.values())
    for metric in metrics.values():
        yield from plan_single_evaluations(metric, subjects, retrained, planner)
