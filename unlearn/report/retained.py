"""Which accuracy a report grades by: where a request removes classes altogether, that over the retained ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable

RETAINED = {"test_accuracy": "retained_test_accuracy", "validation_accuracy": "retained_validation_accuracy"}
NAMES = {
    "test_accuracy": "test, all classes",
    "retained_test_accuracy": "test, retained",
    "validation_accuracy": "validation, all",
    "retained_validation_accuracy": "validation, retained",
}  # where both are shown
NOTE = (
    "test, retained: without the images of classes that the request removes altogether; it enters the average gap in "
    "place of that over all classes."
)


def graded(metrics: Iterable[str], is_measured: Callable[[str], bool]) -> tuple[str, ...]:
    """The metrics, each replaced by that over the retained classes where it is measured.

    Args:
        metrics: names without a role, such as `test_accuracy`.
        is_measured: whether a report has a metric of that name.
    """
    others = ((metric, RETAINED.get(metric)) for metric in metrics)
    return tuple(other if other and is_measured(other) else metric for metric, other in others)


def renamed(names: dict[str, str], is_measured: Callable[[str], bool]) -> dict[str, str]:
    """Names of metrics for the reader, in which an accuracy over all classes says so where there is another."""
    both = [metric for metric, other in RETAINED.items() if metric in names and is_measured(other)]
    return names | {metric: NAMES[metric] for metric in both}


def accuracy_name(metric: str) -> str:
    """`test accuracy`, and `test accuracy on retained classes`, in a sentence."""
    subset = metric.removesuffix("_accuracy").removeprefix("retained_")
    return f"{subset} accuracy" + " on retained classes" * metric.startswith("retained_")
