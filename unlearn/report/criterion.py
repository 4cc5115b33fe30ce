"""One metric of the verdict: the differences between the three models, and their uncertainty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any

from unlearn.functional.estimates import LEVEL, NORMAL, t_quantile, two_sided_p_value

Report = dict[str, Any]
Interval = tuple[float, float]
TINY = 1e-12  # replaces a spread of 0


@dataclass(frozen=True)
class Difference:
    """One model minus another in one metric, both measured on the same images.

    Args:
        value: the difference.
        interval: its 95 % interval over images; None if there is none.
        standard_error: over images, without the samples that the interval adds; None if unknown.
    """

    value: float
    interval: Interval | None
    standard_error: float | None = None

    @property
    def is_nonzero(self) -> bool:
        """Whether the interval excludes 0."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]

    @property
    def is_exactly_zero(self) -> bool:
        """Whether the models agree on every image."""
        return self.value == 0 == self.standard_error

    @property
    def error(self) -> float:
        """The standard error over images behind the interval; infinite without an interval."""
        return math.inf if self.interval is None else (self.interval[1] - self.interval[0]) / (2 * NORMAL)


@dataclass(frozen=True)
class RetrainedGap:
    """One model minus the mean of k retrained models in one metric.

    Args:
        difference: the gap over the images measured.
        models: k.
        deviation: standard deviation of the k values; None if k < 2.
    """

    difference: Difference
    models: int
    deviation: float | None

    @property
    def value(self) -> float:
        """The gap."""
        return self.difference.value

    def interval(self, models: int | None = None) -> Interval | None:
        """Compute the 95 % interval over images and retrained models.

        The two parts are independent, so their half-widths add in squares (Zou and Donner 2008). The part of the
        models is Student's t with k - 1 degrees of freedom. The result is clipped to [-1, 1].

        Args:
            models: a larger k, for the interval to expect at the same deviation.

        Returns:
            The two ends, or None if k < 2 or the images give no interval.
        """
        half_width = self.half_width(models or self.models)
        if half_width is None or self.difference.interval is None:
            return None
        below, above = (math.hypot(end - self.value, half_width) for end in self.difference.interval)
        return max(-1.0, self.value - below), min(1.0, self.value + above)

    def half_width(self, models: int) -> float | None:
        """The part of `interval` by the spread of `models` retrained models; None if it is unknown."""
        if self.deviation is None or models < 2:
            return None
        return t_quantile(models - 1) * self.deviation / math.sqrt(models)

    def is_within(self, tolerance: float, models: int | None = None) -> bool:
        """Whether the whole interval lies within ± `tolerance`; `models` as for `interval`."""
        interval = self.interval(models)
        return interval is not None and -tolerance <= interval[0] and interval[1] <= tolerance

    @property
    def p_value(self) -> float:
        """The probability of a gap this large if the model were a further retrained model.

        The larger of two values: from the images, and from the spread of retrained models. 1 if either is unknown.
        """
        interval = self.difference.interval
        if self.deviation is None or interval is None:
            return 1.0
        end_nearer_zero = interval[0] if self.value > 0 else interval[1]
        error = max(abs(self.value - end_nearer_zero) / NORMAL, TINY)
        return max(two_sided_p_value(self.value / error, math.inf), self.p_among(self.models))

    def p_among(self, models: int) -> float:
        """The probability of a gap this large between a further retrained model and the mean of `models` others."""
        assert self.deviation is not None
        spread = self.deviation * math.sqrt(1 + 1 / models)
        return two_sided_p_value(self.value / max(spread, TINY), models - 1)

    def with_cautious_deviation(self, certainty: float) -> RetrainedGap:
        """Return the gap with a deviation that the true one exceeds with probability 1 - `certainty` (chi squared)."""
        from scipy.special import chdtri

        if self.deviation is None:
            return self
        degrees = self.models - 1
        return replace(self, deviation=self.deviation * math.sqrt(degrees / float(chdtri(degrees, certainty))))

    @property
    def one_more(self) -> float | None:
        """The half-width of the 95 % prediction interval of a further retrained model; None if k < 2."""
        if self.deviation is None:
            return None
        return t_quantile(self.models - 1, LEVEL) * self.deviation * math.sqrt(1 + 1 / self.models)


@dataclass(frozen=True)
class Criterion:
    """One metric of the three models.

    Args:
        metric: its name without a role.
        original: its value for the original model; `retrained` is the mean over retrained models.
        gap: unlearned minus retrained.
        untouched: original minus retrained.
        change: unlearned minus original.
        n: number of images.
    """

    metric: str
    original: float
    retrained: float
    unlearned: float
    gap: RetrainedGap
    untouched: RetrainedGap
    change: Difference | None
    n: int

    @property
    def is_on_the_original_side(self) -> bool:
        """Whether the gap points towards the original.

        If the original does not differ from retrained models: upwards, as for a model that remembers.
        """
        side = self.untouched.value if self.untouched.p_value < LEVEL else 1.0
        return self.gap.value * side > 0

    @property
    def progress(self) -> float:
        """(original - unlearned) / (original - retrained): 0 for the original, 1 for a retrained model."""
        return 1 - self.gap.value / self.untouched.value if self.untouched.value else 1.0

    @property
    def progress_interval(self) -> Interval | None:
        """The 95 % interval of `progress` over images and retrained models (Fieller 1954).

        None if the denominator may be 0, or if an interval or the deviation is unknown.
        """
        deviation = self.gap.deviation
        if deviation is None or self.change is None or math.isinf(self.change.error + self.gap.difference.error):
            return None
        images = [part.error**2 for part in (self.gap.difference, self.untouched.difference, self.change)]
        by_models = deviation**2 / self.gap.models  # both gaps subtract the same mean
        gap, untouched = images[0] + by_models, images[1] + by_models
        covariance = (images[0] + images[1] - images[2]) / 2 + by_models
        degrees = (self.gap.models - 1) * (gap / by_models) ** 2  # Satterthwaite's
        square = t_quantile(degrees) ** 2
        return _fieller(self.gap.value, self.untouched.value, gap * square, untouched * square, covariance * square)


def _fieller(a: float, b: float, a_variance: float, b_variance: float, covariance: float) -> Interval | None:
    """The limits of 1 - a / b, from variances times the squared quantile; None if b may be 0."""
    square = b * b - b_variance
    if square <= 0:
        return None
    middle = a * b - covariance
    root = math.sqrt(max(0.0, middle**2 - square * (a * a - a_variance)))
    return 1 - (middle + root) / square, 1 - (middle - root) / square


def criteria(report: Report, metrics: Sequence[str]) -> list[Criterion]:
    """Read the criteria from a report, for those of `metrics` that are known for all three models."""
    return [_criterion(report, metric) for metric in metrics if _is_known(report, metric)]


def distance(report: Report, role: str, metric: str) -> float:
    """Compute the mean absolute difference between the value of a role and that of each retrained model."""
    value = report["metrics"][f"{role}/{metric}"]
    return fmean(abs(value - reading["value"]) for reading in report["statistics"][f"retrained/{metric}"]["readings"])


def difference(statistics: dict[str, Any] | None, value: float | None = None) -> Difference | None:
    """Read a difference from an entry of a report's statistics; `value` replaces the value of the entry."""
    if statistics is None:
        return None
    interval = statistics.get("interval")
    value = statistics["value"] if value is None else value
    ends = (interval[0], interval[1]) if interval else None
    return Difference(value, ends, statistics.get("standard_error"))


def _is_known(report: Report, metric: str) -> bool:
    keys = [f"{role}/{metric}" for role in ("original", "retrained", "unlearned", "gap")]
    return all(report["metrics"].get(key) is not None for key in keys)


def _criterion(report: Report, metric: str) -> Criterion:
    metrics, statistics = report["metrics"], report["statistics"]
    entry = statistics[f"gap/{metric}"]
    gap, untouched = difference(entry, metrics[f"gap/{metric}"]), difference(entry["original"])
    assert gap is not None
    assert untouched is not None
    retrained = [reading["value"] for reading in statistics[f"retrained/{metric}"]["readings"]]
    # Few models may agree by chance: assume that they differ by at least one image.
    deviation = max(stdev(retrained), 1 / entry["n"]) if len(retrained) > 1 else None
    return Criterion(
        metric,
        original=metrics[f"original/{metric}"],
        retrained=metrics[f"retrained/{metric}"],
        unlearned=metrics[f"unlearned/{metric}"],
        gap=RetrainedGap(gap, len(retrained), deviation),
        untouched=RetrainedGap(untouched, len(retrained), deviation),
        change=difference(statistics[f"unlearned/{metric}"].get("change")),
        n=entry["n"],
    )
