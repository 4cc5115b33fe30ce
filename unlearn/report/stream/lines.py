"""Read the reports of streams as lines over requests: a policy with its setting, with mean and spread over seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unlearn.report.sweep.comparison import Spread
from unlearn.report.sweep.read import flatten
from unlearn.report.sweep.settings import RUNTIME, as_text, format_value

Report = dict[str, Any]
REFERENCES = ("original", "retrained")
OWN = {"requests.policies", "strategy"}  # settings that a line names anyway


@dataclass(frozen=True)
class StreamMeasure:
    """A number that is read after every request: its title, and where it is in an entry of the report.

    Attributes:
        title: in tables and charts.
        path: keys from a model's entry to the number.
        about: its meaning.
        limits: the smallest and the largest possible value, None where there is none.
        floor: keys from the entry of the retrained models to their noise floor, if that is what they are compared by.
    """

    title: str
    path: tuple[str, ...]
    about: str
    limits: tuple[float | None, float | None] = (0.0, 1.0)
    floor: tuple[str, ...] = ()

    def read(self, entry: Mapping[str, Any], is_retrained: bool = False) -> float | None:
        """Return the number of a model, or of the retrained models together; None if it was not measured."""
        value: Any = entry
        for key in self.floor if is_retrained and self.floor else self.path:
            value = value.get(key) if isinstance(value, Mapping) else None
        return None if value is None else float(value)


def _metric(title: str, part: str, name: str, about: str) -> StreamMeasure:
    return StreamMeasure(title, (part, "metrics", name), about)


GAP = StreamMeasure(
    "average gap",
    ("so_far", "average_gap"),
    "Mean absolute gap to the retrained models over forget, retain and test accuracy and the attack's AUC; the forget "
    "set is all records so far. For retrained models: their noise floor.",
    (0.0, None),
    ("so_far", "average_noise_floor"),
)
FORGET = _metric("forget accuracy", "so_far", "forget_accuracy", "Accuracy on all records so far.")
THIS = _metric("this request", "request", "forget_accuracy", "Accuracy on the records of the last request alone.")
EARLIER = _metric(
    "earlier requests",
    "request",
    "earlier_forget_accuracy",
    "Accuracy on the records of the requests before the last. A rise towards the original is a relapse.",
)
ATTACK = _metric("attack AUC", "so_far", "mia_logistic_auc", "The attack on all records so far, against holdout.")
EARLIER_ATTACK = _metric("attack, earlier", "request", "mia_earlier_auc", "The attack on the requests before the last.")
TEST = _metric("test accuracy", "so_far", "test_accuracy", "Accuracy on the test images: the utility that is left.")
SECONDS = StreamMeasure(
    "seconds", ("total_seconds",), "Seconds of all requests so far: of the stages they needed.", (0, None)
)
DRIFT = StreamMeasure(
    "drift",
    ("so_far", "metrics", "layer_distance_to_original"),
    "Distance of the weights from the original's, relative to its norm.",
    (0.0, None),
)
DISTANCE = StreamMeasure(
    "distance to retrained",
    ("so_far", "metrics", "layer_distance_to_retrained"),
    "Distance of the weights from retrained models', relative to their norm. Retrained models of two seeds are about "
    "as far from each other as from any other model.",
    (0.0, None),
    ("so_far", "noise_floor", "layer_distance_to_retrained"),
)
MEASURES = (GAP, FORGET, THIS, EARLIER, ATTACK, EARLIER_ATTACK, TEST, SECONDS, DRIFT, DISTANCE)


@dataclass(frozen=True)
class StreamLine:
    """One policy with one setting, or a reference, over requests.

    Attributes:
        label: the policy, the strategy and the settings that vary; or `original`, `retrained`.
        entries: for each request, the entry of the report, one for each run.
    """

    label: str
    entries: tuple[tuple[Mapping[str, Any], ...], ...]

    @property
    def is_reference(self) -> bool:
        """Whether it is the original or the retrained models."""
        return self.label in REFERENCES

    def spread(self, measure: StreamMeasure, step: int = -1) -> Spread | None:
        """Return mean and spread over runs after a request, by its position; None if nothing was measured."""
        return Spread.of(measure.read(entry, self.label == "retrained") for entry in self.entries[step])


def read_lines(reports: Sequence[Report]) -> list[StreamLine]:
    """Return the lines of some streams over the same number of requests, references first.

    Runs that differ in nothing but their seeds are one line. A policy that retrains does not depend on the strategy.
    """
    steps = min(len(report["steps"]) for report in reports)
    varied = _varied_settings(reports)
    entries: dict[str, dict[str, Report]] = {}  # by label and seeds: a run that is repeated counts once
    for report in reports:
        for label, name in _labels(report, varied):
            entries.setdefault(label, {})[as_text(report["seeds"])] = report | {"line": name}
    return [
        StreamLine(label, tuple(tuple(_entry(run, step) for run in runs.values()) for step in range(steps)))
        for label, runs in sorted(entries.items(), key=lambda item: item[0] not in REFERENCES)
    ]


def _labels(report: Report, varied: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the label and the name in the report of every line."""
    yield from ((name, name) for name in REFERENCES)
    settings = dict(flatten(report["config"]))
    for policy, interval in report["policies"].items():
        retrains = policy.startswith("retrain")
        shown = [key for key in varied if key in settings and not (retrains and key.startswith("strategy."))]
        shown = [key for key in shown if key != "requests.every" or interval > 1]
        words = [] if retrains else [report["choices"]["strategy"]]
        words += [f"{key.rpartition('.')[2]}={format_value(settings[key])}" for key in shown]
        yield " ".join([policy, *words]), policy


def _entry(report: Report, step: int) -> Mapping[str, Any]:
    entries = report["steps"][step]
    entry: Mapping[str, Any] = (
        entries["retrained"] if report["line"] == "retrained" else entries["models"][report["line"]]
    )
    return entry


def _varied_settings(reports: Sequence[Report]) -> list[str]:
    """Return the settings in which runs of the same strategy differ."""
    values: dict[tuple[str, str], set[str]] = {}
    for report in reports:
        for key, value in flatten(report["config"]):
            is_ours = key in OWN or (key.partition(".")[0] in RUNTIME and not key.startswith("requests."))
            if not is_ours:
                values.setdefault((report["choices"]["strategy"], key), set()).add(as_text(value))
    return list(dict.fromkeys(key for (_, key), texts in values.items() if len(texts) > 1))
