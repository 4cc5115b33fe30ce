"""Measure again what an artefact says was measured, from what it was measured on."""

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

Find = Callable[[str], Entry]  # an artefact by its key
ROOMS = ("unlearn.metrics", "unlearn.attacks")
LOOKS = ("subject", "original", "retrained", "untrained")  # at models, as `Evaluate` has them
MANY = ("subjects", "retrained_models")  # where a metric is of many models
KNOWN = {"kind", "version", "metric", "model", "seed", "shadows", *LOOKS, *MANY}


class NotRepeatableError(Exception):
    """Why something cannot be measured again."""


def remeasure(spec: dict[str, Any], find: Find) -> dict[str, Measurement]:
    """The measurements of an `evaluate` artefact with this spec, by name.

    `find` raises NotRepeatableError for an artefact that is not there.

    Raises:
        NotRepeatableError: the metric has changed since, or reads what is not kept.
    """
    strange = sorted(spec.keys() - KNOWN)
    if spec["version"] != Evaluate.version or strange:
        raise NotRepeatableError("evaluated by another version")
    if spec["shadows"]:
        raise NotRepeatableError("measured by shadow models")
    subject, original, retrained, untrained = (_seen(spec[role], find) for role in LOOKS)
    many = (tuple(_seen(view, find) for view in spec.get(name, ())) for name in MANY)
    evidence = Evidence(subject, original, retrained, untrained, spec["seed"], (), *many)
    return _metric(spec["metric"]).measure(evidence)


def _metric(spec: dict[str, Any]) -> Metric:
    """The metric, if fields and code are still those of the spec."""
    name = spec["class"]
    for room in ROOMS:
        for kind in find_options(room, Metric).values():
            if kind.__qualname__ == name:
                metric: Metric = kind(**{key: value for key, value in spec.items() if key not in ("class", "code")})
                if canonicalize(metric) == spec:
                    return metric
    raise NotRepeatableError(f"the code of {name} is another by now")


def _seen(view: dict[str, Any], find: Find) -> ModelEvidence:
    if view["scores"] or view["weights"]:
        raise NotRepeatableError("what reads weights or gradients is not measured again")
    predictions = {Subset(name): read_predictions(find(each["stage"])) for name, each in view["predictions"].items()}
    relearned = read_accuracy_by_step(find(view["relearned"]["stage"])) if "relearned" in view else {}
    return ModelEvidence(predictions, recovered=_recovered(view, find), relearned=relearned)


def _recovered(view: dict[str, Any], find: Find) -> tuple[Reconstructions, ForgottenImage] | None:
    if "recovered" not in view:
        return None
    guesses, truth = (find(view["recovered"][part]["stage"]) for part in ("by", "forgotten"))
    return read_guesses(guesses), read_truth(truth)
