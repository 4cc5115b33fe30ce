"""Accuracy over the retained classes, for requests that remove whole classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

RETAINED = {"test_accuracy": "retained_test_accuracy", "validation_accuracy": "retained_validation_accuracy"}
NAMES = {
    "test_accuracy": "test, all classes",
    "retained_test_accuracy": "test, retained",
    "validation_accuracy": "validation, all",
    "retained_validation_accuracy": "validation, retained",
}  # if both are printed
NOTE = "test, retained: without the images of classes that the request removes; the average gap uses this accuracy."


def graded(metrics: Iterable[str], is_measured: Callable[[str], bool]) -> tuple[str, ...]:
    """Replace each metric by the one over the retained classes, if that was measured.

    Args:
        metrics: names without a role, such as `test_accuracy`.
        is_measured: whether a report has a metric of that name.
    """
    pairs = ((metric, RETAINED.get(metric)) for metric in metrics)
    return tuple(retained if retained and is_measured(retained) else metric for metric, retained in pairs)


def renamed(names: dict[str, str], is_measured: Callable[[str], bool]) -> dict[str, str]:
    """Rename accuracies over all classes to say so, where the one over the retained classes was measured too."""
    both = [metric for metric, retained in RETAINED.items() if metric in names and is_measured(retained)]
    return names | {metric: NAMES[metric] for metric in both}


def accuracy_name(metric: str) -> str:
    """Name an accuracy in a sentence: `test accuracy` or `test accuracy on retained classes`."""
    subset = metric.removesuffix("_accuracy").removeprefix("retained_")
    return f"{subset} accuracy" + " on retained classes" * metric.startswith("retained_")
