"""The typed config of one run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from unlearn.core.errors import Problem
from unlearn.core.validation import at_least, fraction, one_of, runtime
from unlearn.data.population import Population
from unlearn.data.trained_on import CheckpointFile, TrainedOn
from unlearn.metrics.evidence import Metric

END, BASELINE = "end", "baseline"  # values of `until`


@dataclass(frozen=True)
class Seeds:
    """The seed of each kind of random draw; each defaults to `seed`."""

    split: int = at_least(0, 0)  # of validation, holdout and the forget set
    train: int = at_least(0, 0)  # of the original
    unlearn: int = at_least(0, 0)  # of the strategy
    evaluate: int = at_least(0, 0)  # of metrics and attacks


@dataclass(frozen=True)
class Baseline:
    """Training seeds of the retrained models. Two or more give the noise floor; an empty list means no baseline."""

    seeds: list[int] = field(default_factory=list)  # one retrained model each

    def problems(self, key: str) -> Iterator[Problem]:
        """Report seeds that are listed twice."""
        if len(set(self.seeds)) < len(self.seeds):
            yield Problem(f"{key}.seeds", "each seed once", self.seeds)


@dataclass(frozen=True)
class Paths:
    """Folders of the run; no result depends on them."""

    store: str = "artifacts"  # artifacts, shared by all runs
    output: str = "outputs"  # of this run: report and logs
    data: str = "data"  # where data sets lie


@dataclass(frozen=True)
class Page:
    """Options of the report, and the files to write next to `report.json`; no result depends on them."""

    html: bool = runtime(True)  # the page, report.html
    images: bool | None = runtime(None)  # show forgotten images; null: those of public data sets only
    weights: str = runtime(
        one_of("safetensors", "pt", "none")
    )  # write the unlearned model's weights, for use elsewhere
    audit: bool = runtime(False)  # write audit.json, and the key of its HMACs to audit.key (docs/audit.md)
    ledger: str | None = runtime(None)  # at the end, add the request to this file (docs/audit.md)
    tolerance: float = runtime(fraction(0.02, zero=False))  # difference of accuracy or AUC that the verdict calls equal


@dataclass(frozen=True)
class RunConfig:
    """Settings of a run.

    A field of type Any holds the option that was chosen in its config group.
    """

    dataset: Any = MISSING
    forget: Any = MISSING
    requests: Any = MISSING
    model: Any = MISSING
    checkpoint: Any = MISSING
    train: Any = MISSING
    baseline: Any = MISSING
    strategy: Any = MISSING
    retain: Any = MISSING
    blend: Any = MISSING
    spd_gan: Any = MISSING
    metrics: dict[str, Any] = field(default_factory=dict)
    attacks: dict[str, Any] = field(default_factory=dict)
    seeds: Seeds = field(default_factory=Seeds)
    seed: int = at_least(0, 0)  # the default of all `seeds`
    trainer: Any = MISSING
    logger: Any = MISSING
    cluster: Any = MISSING
    paths: Paths = field(default_factory=Paths)
    report: Page = field(default_factory=Page)
    objective: str | None = None  # the number of the report that a search optimises
    until: str = one_of(END, BASELINE)  # baseline: build only what cells share (originals, SPD-GANs, retrained models)
    rebuild_damaged: bool = False  # rebuild artifacts that the store finds damaged

    @property
    def all_metrics(self) -> dict[str, Metric]:
        """All metrics and attacks, by name; with earlier requests, those that ask whether these are still forgotten."""
        metrics = {**self.metrics, **self.attacks}
        if not self.forget.has_earlier:
            return metrics
        from unlearn.attacks.earlier_logistic import EarlierLogistic
        from unlearn.metrics.earlier_accuracy import EarlierAccuracy

        earlier = {"earlier_accuracy": EarlierAccuracy(), "earlier_logistic": EarlierLogistic()}
        return metrics | earlier | metrics  # in this order; settings that are given go first

    @property
    def trained_on(self) -> TrainedOn | None:
        """The records that the checkpoint was trained on; None without a checkpoint."""
        return self.checkpoint.members if isinstance(self.checkpoint, CheckpointFile) else None

    @property
    def population(self) -> Population:
        """The records of D, validation and holdout."""
        return Population.of(self.dataset, self.seeds.split, self.forget, self.trained_on)
