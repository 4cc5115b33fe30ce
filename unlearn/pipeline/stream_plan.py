"""Plan a stream of requests: for each request, what every policy builds, and what is measured afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from unlearn.core.random_streams import stream_seed
from unlearn.core.types import Role, Subset
from unlearn.data.population import Population
from unlearn.data.request_streams.records import RecordRequest, StreamRequest, list_records
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
from unlearn.stages.train import Train

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
    waiting: tuple[StreamRequest, ...]  # requests that are not answered yet, this one included
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
    retrained: tuple[Train, ...]
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
    return _configure(config, _list_records(config)).population


def plan_stream(config: RunConfig, requests: Sequence[StreamRequest]) -> StreamPlan:
    """Plan all stages of a stream and connect them by their inputs, without computing anything.

    Retrained models depend on the records so far and not on the policy; policies share them, and evaluations of them.

    Args:
        config: a checked config.
        requests: the requests in their order, with their records.
    """
    listed = _list_records(config)
    first = _configure(config, listed, requests[:1])
    original = plan_original(first, plan_clean_data(first))[0]
    policies = [Policy.of(name, config.requests.every) for name in config.requests.policies]
    answers = {policy: PolicyStep(policy, original, (), ()) for policy in policies}
    steps = list[Step]()
    for number in range(1, len(requests) + 1):
        so_far, earlier = requests[:number], requests[: number - 1]
        whole = _configure(config, listed, so_far)
        retrained = plan_retrained(whole, plan_clean_data(whole))
        for policy in policies:
            waiting = (*answers[policy].waiting, requests[number - 1])
            answers[policy] = _plan_answer(config, listed, so_far, replace(answers[policy], waiting=waiting), retrained)
        alone = _configure(config, listed, requests[number - 1 : number], earlier)
        subjects = (original, *retrained, *(answer.model for answer in answers.values()))
        data, request_data = plan_clean_data(whole), plan_clean_data(alone)
        view = RequestView(data.dataset, data.forget, data.seed, data.trained_on, request=request_data)
        steps.append(
            Step(
                number=number,
                request=requests[number - 1],
                splits=(Split(data[Subset.FORGET]), Split(request_data[Subset.FORGET])),
                retrained=retrained,
                answers=tuple(answers.values()),
                evaluations=tuple(_plan_evaluations(whole, data, original, subjects, retrained)),
                request_evaluations=tuple(_plan_evaluations(alone, view, original, subjects, retrained)),
            )
        )
    return StreamPlan(original, steps[0].splits[0], tuple(steps))


def _list_records(config: RunConfig) -> tuple[int, ...]:
    return list_records(config.requests.rules(), config.dataset)


def _configure(
    config: RunConfig,
    listed: tuple[int, ...],
    requests: Sequence[StreamRequest] = (),
    earlier: Sequence[StreamRequest] = (),
) -> RunConfig:
    """Return the config of a run that answers some requests together, after others were answered.

    Each request draws from its own seed of unlearning; the first one has that of the config.
    """
    records = tuple(sorted(chain.from_iterable(request.records for request in requests)))
    earlier_records = tuple(sorted(chain.from_iterable(request.records for request in earlier)))
    forget = RecordRequest(records, earlier_records, listed, earlier=config.forget.earlier)
    seed = config.seeds.unlearn
    seed = stream_seed(seed, "request", epoch=len(earlier)) % 2**31 if earlier else seed
    return replace(config, forget=forget, seeds=replace(config.seeds, unlearn=seed))


def _plan_answer(
    config: RunConfig,
    listed: tuple[int, ...],
    so_far: Sequence[StreamRequest],
    answer: PolicyStep,
    retrained: tuple[Train, ...],
) -> PolicyStep:
    """Plan what a policy does after the last of the requests so far, which waits with those before it."""
    waiting, policy = answer.waiting, answer.policy
    if len(waiting) < policy.interval:
        return replace(answer, stages=(), splits=())
    if policy.retrains:
        return PolicyStep(policy, retrained[0], (retrained[0],), ())
    run = _configure(config, listed, waiting, so_far[: len(so_far) - len(waiting)])
    data, original = plan_clean_data(run), answer.model
    if not isinstance(original, ModelStage):
        train = data[Subset.TRAIN]
        original = Continued(
            role=Role.ORIGINAL, samples=train, model=config.model, seed=config.seeds.train, previous=original
        )
    final_model = plan_final_model(run, plan_unlearning(run, data, original))
    return PolicyStep(policy, final_model, list_unlearning_stages(final_model), (), (Split(data[Subset.FORGET]),))


def _plan_evaluations(
    config: RunConfig,
    data: DataView,
    original: ModelStage,
    models: Sequence[ServedModel],
    retrained: tuple[Train, ...],
) -> Iterator[Evaluation]:
    """Plan the metrics of the config, and accuracy and drift, on every model once."""
    metrics: dict[str, Metric] = {"accuracy": Accuracy(), "layer_distance": LayerDistance()} | config.all_metrics
    planner = EvidencePlanner(data, original, config.seeds.evaluate, replace(config.trainer.numerics, devices=1))
    subjects = list({model.key: model for model in models}.values())
    for metric in metrics.values():
        yield from plan_single_evaluations(metric, subjects, retrained, planner)
