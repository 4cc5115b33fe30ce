"""What the names in tables and charts mean: the first line of the docstring of whatever measures them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import cache

from unlearn.attacks.base import Attack
from unlearn.core.plugins import find_option
from unlearn.metrics.evidence import Metric

WORDS = {
    "noise floor": "Mean absolute difference between two retrained models, over all pairs of them: a smaller gap is no "
    "larger than what another seed changes.",
    "gap": "Unlearned minus the mean of retrained models; 0 means as if the data had never been used.",
    "average gap": "Mean absolute gap over forget, retain and test accuracy and the attack's AUC; lower is better.",
    "AUC": "Probability that an attack ranks a member above a non-member: 0.5 is a guess, 1 finds them all.",
}
OWN = {
    "unlearning_accuracy": "UA = 1 - forget accuracy.",
    "seconds": "Wall-clock seconds of unlearning, and of training for the other two models.",
    "speedup": "Seconds of retraining divided by seconds of unlearning.",
    "average_gap": WORDS["average gap"],
    "mia_entropy_auc": "AUC of an attack that ranks samples by the entropy of the prediction; it needs no label.",
    "mia_modified_entropy_auc": "AUC of an attack that ranks samples by the entropy of the prediction given the label.",
}
OPTIONS = {  # of metrics that are not called as the option that measures them; the first that fits
    "forget_accuracy": "accuracy",
    "earlier_forget_accuracy": "earlier_accuracy",
    "mia_earlier": "earlier_logistic",
    "perturbed_": "spd_gan_controls",
    "clean_": "spd_gan_controls",
    "noisy_": "spd_gan_controls",
    "klom": "klom",
    "relearn_steps": "relearn_time",
    "ain": "relearn_time",
    "svc_confidence": "svc_confidence",
    "label_inference": "label_inference",
    "feature_recovery": "feature_recovery",
    "selection": "selection",
}


@cache
def define(metric: str) -> str:
    """The definition of a metric, in one line; empty if nothing by its name is known."""
    if metric in OWN:
        return OWN[metric]
    name = metric.removeprefix("mia_").removesuffix("_auc")
    names = [metric, name, *(option for start, option in OPTIONS.items() if metric.startswith(start))]
    if metric.endswith("_accuracy"):
        names.append("accuracy")
    for option in names:
        for package, base in (("unlearn.metrics", Metric), ("unlearn.attacks", Attack)):
            kind = find_option(package, base, option)
            if kind is not None:
                return (inspect.getdoc(kind) or "").partition("\n")[0]
    return ""


def glossary(
    names: dict[str, str], words: Iterable[str] = WORDS, define: Callable[[str], str] = define
) -> dict[str, str]:
    """Definitions by the name that a table shows, general words first.

    Args:
        names: metrics and the names they are shown by.
        words: entries of `WORDS` to include.
        define: returns the definition of a metric, or an empty text.
    """
    metrics = {name.strip(): meaning for metric, name in names.items() if (meaning := define(metric))}
    return {word: WORDS[word] for word in words} | metrics
