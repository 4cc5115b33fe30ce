"""Repeat the measurements of a stored evaluation from the predictions that it was computed from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from unlearn.core.artifact_store import Entry
from unlearn.core.plugins import find_options
from unlearn.core.types import Measurement, Subset
from unlearn.functional.gradient_inversion import ForgottenImage, Reconstructions
from unlearn.metrics.evidence import Evidence, Metric, ModelEvidence
from unlearn.stages.evaluate import Evaluate
from unlearn.stages.files import read_predictions
from unlearn.stages.invert import read_guesses, read_truth
from unlearn.stages.keys import canonicalize
from unlearn.stages.relearn import read_accuracy_by_step

OpenArtifact = Callable[[str], Entry]  # opens an artifact by its key
PACKAGES = ("unlearn.metrics", "unlearn.attacks")
MODELS = ("subject", "original", "retrained", "untrained")  # single models in the spec of `Evaluate`
MODEL_LISTS = ("subjects", "retrained_models")  # present if the metric reads several models
KNOWN = {"kind", "version", "metric", "model", "seed", "shadows", *MODELS, *MODEL_LISTS}


class NotRepeatableError(Exception):
    """The reason why a measurement cannot be repeated."""


def remeasure(spec: dict[str, Any], open_artifact: OpenArtifact) -> dict[str, Measurement]:
    """Repeat the measurements of an `evaluate` artifact.

    Args:
        spec: the spec of the artifact.
        open_artifact: opens an artifact; raises NotRepeatableError if it is missing.

    Returns:
        The measurements by name.

    Raises:
        NotRepeatableError: the metric has changed since, is user-supplied, or reads something that is not stored.
    """
    if spec["version"] != Evaluate.version or spec.keys() - KNOWN:
        raise NotRepeatableError("measured by another version of unlearn")
    if spec["shadows"]:
        raise NotRepeatableError("measured with shadow models")
    subject, original, retrained, untrained = (_read_model(spec[role], open_artifact) for role in MODELS)
    lists = (tuple(_read_model(model, open_artifact) for model in spec.get(name, ())) for name in MODEL_LISTS)
    evidence = Evidence(subject, original, retrained, untrained, spec["seed"], (), *lists)
    return _build_metric(spec["metric"]).measure(evidence)


def _build_metric(spec: dict[str, Any]) -> Metric:
    """Build the metric if its fields and its code are still those of the spec."""
    name = spec["class"]
    if "source" in spec:
        raise NotRepeatableError(f"{name} is a user-supplied metric")
    for package in PACKAGES:
        for kind in find_options(package, Metric).values():
            if kind.__qualname__ == name:
                metric: Metric = kind(**{key: value for key, value in spec.items() if key not in ("class", "code")})
                if canonicalize(metric) == spec:
                    return metric
    raise NotRepeatableError(f"the code of {name} has changed")


def _read_model(spec: dict[str, Any], open_artifact: OpenArtifact) -> ModelEvidence:
    if spec["scores"] or spec["weights"]:
        raise NotRepeatableError("metrics that read weights or gradients are not repeated")
    predictions = {
        Subset(subset): read_predictions(open_artifact(stage["stage"])) for subset, stage in spec["predictions"].items()
    }
    relearned = read_accuracy_by_step(open_artifact(spec["relearned"]["stage"])) if "relearned" in spec else {}
    return ModelEvidence(predictions, recovered=_read_recovery(spec, open_artifact), relearned=relearned)


def _read_recovery(spec: dict[str, Any], open_artifact: OpenArtifact) -> tuple[Reconstructions, ForgottenImage] | None:
    if "recovered" not in spec:
        return None
    guesses, truth = (open_artifact(spec["recovered"][part]["stage"]) for part in ("by", "forgotten"))
    return read_guesses(guesses), read_truth(truth)
