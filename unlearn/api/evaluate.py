"""`unlearn.evaluate`: metrics, attacks and the verdict on a user's models, without configs, store or files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from unlearn.api.evidence import EvidenceCache, GivenModel
from unlearn.api.images import LabelledImages, read_images
from unlearn.api.models import require_module, wrap
from unlearn.api.report import build_report
from unlearn.api.results import EvaluationResult
from unlearn.api.strategies import make_option, refuse
from unlearn.api.torch_state import configure_torch, settings_for
from unlearn.core.errors import ConfigError, Problem
from unlearn.core.plugins import option_name
from unlearn.core.types import Images, Role, Subset
from unlearn.metrics.evidence import Metric

# Measured by default, as far as the models and images that they read are given.
METRICS = (
    "accuracy",
    "loss",
    "forgetting_rate",
    "memory_retention_rate",
    "forgetting_rate_relative",
    "js_to_retrained",
    "tug_of_war",
)
ATTACKS = ("logistic", "forgetting_rate_membership")


def evaluate(  # noqa: PLR0913  # one argument for each subset and each kind of model
    model: nn.Module,
    forget: LabelledImages,
    retain: LabelledImages,
    *,
    test: LabelledImages | None = None,
    holdout: LabelledImages | None = None,
    validation: LabelledImages | None = None,
    original: nn.Module | None = None,
    retrained: Sequence[nn.Module] = (),
    metrics: Sequence[str | Metric] | None = None,
    attacks: Sequence[str | Metric] | None = None,
    seed: int = 0,
    tolerance: float = 0.02,
) -> EvaluationResult:
    """Measure whether a model has forgotten, and what it lost.

    Images are as for `unlearn.forget`. A verdict needs the original and two or more retrained models, attacks need
    `holdout`.

    Args:
        model: the model after unlearning; it maps images [n, c, h, w] to logits [n, C].
        forget: the training images that it should have forgotten.
        retain: the other training images.
        test: images that no model was trained on.
        holdout: more of them, only for attacks, which compare them with the forget set.
        validation: more of them, only for the attack `selection`.
        original: the model before unlearning.
        retrained: models trained like the original but without the forget set, with different seeds.
        metrics: names of `unlearn.metrics()`, or metrics; None: those that need no more than is given.
        attacks: names of `unlearn.attacks()`, or attacks; None: those that need no more than is given.
        seed: the seed of all random draws.
        tolerance: the difference of accuracy or AUC, 0 to 1, that the verdict calls equal.

    Returns:
        The measurements, gaps to the retrained models, and the verdict.

    Raises:
        ConfigError: an argument is not valid, or a metric needs what is not given.

    Example:
        >>> import torch, unlearn
        >>> _ = torch.manual_seed(0)
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
        >>> images, labels = torch.rand(30, 1, 4, 4), torch.arange(30) % 3
        >>> scores = unlearn.evaluate(net, (images[:6], labels[:6]), (images[6:20], labels[6:20]),
        ...                           test=(images[20:], labels[20:]), metrics=["accuracy"])
        >>> sorted(scores.metrics)[:2], scores.n["unlearned/forget_accuracy"]
        (['unlearned/forget_accuracy', 'unlearned/retain_accuracy'], 6)
    """
    device = require_module(model, "model")
    given = {"forget": forget, "retain": retain, "test": test, "holdout": holdout, "validation": validation}
    data = _read_all(given, device)
    channels = data[Subset.FORGET].shape[0]
    models = list(_wrap_all(model, original, retrained, channels, device))
    available = Available(data, {item.role for item in models})
    chosen = [*_choose("metrics", metrics, METRICS, available), *_choose("attacks", attacks, ATTACKS, available)]
    with configure_torch(settings_for(device)):
        cache = EvidenceCache(data, seed)
        return EvaluationResult(build_report(models, chosen, cache, tolerance))


def _read_all(given: Mapping[str, LabelledImages | None], device: torch.device) -> dict[Subset, Images]:
    data: dict[Subset, Images] = {}
    for name, images in given.items():
        if images is not None or name in (Subset.FORGET, Subset.RETAIN):
            start = sum(map(len, data.values()))
            data[Subset(name)] = read_images(images, name, device, start)  # type: ignore[arg-type]  # it refuses None
    return data


def _wrap_all(
    model: nn.Module, original: nn.Module | None, retrained: Sequence[nn.Module], channels: int, device: torch.device
) -> Iterator[GivenModel]:
    if isinstance(retrained, nn.Module):
        raise ConfigError(["retrained: expected a list of modules, got one module; write [module]"])
    if original is not None:
        require_module(original, "original")
        yield GivenModel(Role.ORIGINAL, 0, wrap(original, channels).to(device))
    for seed, reference in enumerate(retrained):
        require_module(reference, f"retrained[{seed}]")
        yield GivenModel(Role.RETRAINED, seed, wrap(reference, channels).to(device))
    yield GivenModel(Role.UNLEARNED, 0, wrap(model, channels))


@dataclass(frozen=True)
class Available:
    """What a metric may read here."""

    subsets: Mapping[Subset, Images]
    roles: set[Role]

    def find_missing(self, metric: Metric) -> str | None:
        """Return what a metric reads that is not given, in words; None if nothing is missing."""
        for subset in (*metric.subsets, *(need.subset for need in metric.needs())):
            if subset not in self.subsets and subset is not Subset.TRAIN:
                is_argument = subset in (Subset.TEST, Subset.HOLDOUT, Subset.VALIDATION)
                return f"{subset}=..." if is_argument else f"unlearn.run, which makes {subset} images"
        for role in metric.references:
            if role not in self.roles and role is not Role.UNTRAINED:
                return f"{role}=..."
        if metric.shadows or metric.replica_seeds or metric.relearning or metric.recovery or metric.probing:
            return "unlearn.run, which trains the models that it compares with"
        if metric.needs_one_sample and len(self.subsets[Subset.FORGET]) != 1:
            return "a forget set of one image"
        return "unlearn.run with a request that corrects labels" if metric.needs_relabel else None


def _choose(
    argument: str, chosen: Sequence[str | Metric] | None, defaults: Sequence[str], available: Available
) -> list[Metric]:
    """Return the metrics to measure: the chosen ones, or those of the defaults that can be measured.

    Raises:
        ConfigError: a chosen metric cannot be measured.
    """
    if isinstance(chosen, str):
        raise ConfigError([Problem(argument, "a list of names", chosen)])
    options = [_make_metric(argument, item) for item in (defaults if chosen is None else chosen)]
    missing = {option_name(type(metric)): available.find_missing(metric) for metric in options}
    if chosen is None:
        return [metric for metric in options if missing[option_name(type(metric))] is None]
    problems = [f"{argument}: expected {reason} for {name}, got none" for name, reason in missing.items() if reason]
    if problems:
        raise ConfigError(problems)
    return options


def _make_metric(argument: str, item: str | Metric) -> Metric:
    if not isinstance(item, Metric):
        item = make_option(argument, f"unlearn.{argument}", item, Metric)
    assert isinstance(item, Metric)
    refuse(item, f"{argument}.")
    return item
