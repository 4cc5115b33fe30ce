"""Checks of a config with a stream of requests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from unlearn.core.errors import Problem, UnlearnError
from unlearn.core.plugins import option_name
from unlearn.data.request_streams.records import check_stream
from unlearn.data.requests.rules import Random
from unlearn.pipeline.config import END, RunConfig
from unlearn.pipeline.stream_plan import stream_population
from unlearn.spd_gan.options import Off


def check_requests(config: RunConfig) -> Iterator[Problem | str]:
    """Find settings that a stream of requests does not support, and requests that cannot be answered."""
    yield from _check_settings(config)
    yield from _check_metrics(config)
    try:
        population = stream_population(config)
    except UnlearnError as error:
        yield from str(error).splitlines()
        return
    yield from check_stream(config.requests, population)


def _check_settings(config: RunConfig) -> Iterator[Problem]:
    stream = f"with requests={option_name(type(config.requests))}"
    if replace(config.forget, earlier=[]) != Random():
        expected = f"random with its defaults {stream}, which picks the records itself"
        yield Problem("forget", expected, option_name(type(config.forget)))
    if not isinstance(config.spd_gan, Off):
        yield Problem("spd_gan", f"off {stream}", option_name(type(config.spd_gan)))
    if not config.baseline.seeds:
        yield Problem("baseline.seeds", f"one or more retrained models to compare with {stream}", config.baseline.seeds)
    if config.strategy.history is not None:
        expected = f"one that does not replay the original's training {stream}: later requests have none"
        yield Problem("strategy", expected, option_name(type(config.strategy)))
    if config.until != END:
        yield Problem("until", f"{END} {stream}", config.until)
    if config.objective is not None:
        yield Problem("objective", f"null {stream}", config.objective)
    if config.report.ledger is not None:
        yield Problem("report.ledger", f"null {stream}: a ledger has one entry for each run", config.report.ledger)
    if config.report.audit:
        yield Problem("report.audit", f"false {stream}", True)


def _check_metrics(config: RunConfig) -> Iterator[Problem]:
    for group, metrics in (("metrics", config.metrics), ("attacks", config.attacks)):
        for name, metric in metrics.items():
            if metric.shadows or metric.replica_seeds:
                yield Problem(f"{group}.{name}", "none that trains models of its own, with a stream of requests", name)
