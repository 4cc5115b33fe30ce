"""Name numbers and curves for a dashboard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from unlearn.core.types import Curve
from unlearn.report.stream.lines import MEASURES


def summary(report: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a report without nulls; spreads under `std/<name>`, counts under `n/<metric>`."""
    statistics = report["statistics"].items()
    figures = {key: value for key, value in report["metrics"].items() if value is not None}
    spreads = {f"std/{key}": entry["std"] for key, entry in statistics if entry["std"] is not None}
    counts = {f"n/{key.partition('/')[2]}": entry["n"] for key, entry in statistics if "n" in entry}
    return figures | spreads | counts


def verdict_words(report: Mapping[str, Any]) -> dict[str, str]:
    """Return the words of the verdict under `verdict/forgotten` and `verdict/utility`."""
    return {f"verdict/{key}": answer["finding"] for key, answer in report["verdict"].items() if "finding" in answer}


def request_rows(report: Mapping[str, Any]) -> Iterator[dict[str, float]]:
    """Yield the numbers after every request of a stream under `<model>/<measure>`, and the number of the request."""
    for step in report["steps"]:
        entries = {"retrained": step["retrained"]} | step["models"]
        values = {
            f"{name}/{measure.title}": measure.read(entry, name == "retrained")
            for name, entry in entries.items()
            for measure in MEASURES
        }
        yield {"request": step["request"]} | {name: value for name, value in values.items() if value is not None}


def log_curves(run: Any, curves: Mapping[str, Curve]) -> int:
    """Log each curve over its own axis `curve/<stage>/epoch`, or `step` for SPD-GAN.

    Epochs are counted through all phases of a stage. W&B steps are numbered from 0, so that a resumed run drops rows
    that it has already.

    Returns:
        The next W&B step.
    """
    rows: list[dict[str, float]] = []
    for name, curve in curves.items():
        axis = "step" if "step" in curve[0] else "epoch"
        run.define_metric(f"curve/{name}/{axis}", summary="none")
        run.define_metric(f"curve/{name}/*", step_metric=f"curve/{name}/{axis}", summary="none")
        numbered = [row if axis == "step" else row | {"epoch": number} for number, row in enumerate(curve)]
        rows += [{f"curve/{name}/{column}": value for column, value in row.items()} for row in numbered]
    for step, row in enumerate(rows):
        run.log(row, step=step)
    return len(rows)
