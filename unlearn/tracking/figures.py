"""Numbers and curves under the names that a dashboard shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unlearn.core.types import Curve


def summary(report: Mapping[str, Any]) -> dict[str, float]:
    """Numbers of a report under their own names, without nulls; spreads under `std/`, counts under `n/<metric>`."""
    behind = report["statistics"].items()
    figures = {key: value for key, value in report["metrics"].items() if value is not None}
    spreads = {f"std/{key}": found["std"] for key, found in behind if found["std"] is not None}
    counts = {f"n/{key.partition('/')[2]}": found["n"] for key, found in behind if "n" in found}
    return figures | spreads | counts


def words(report: Mapping[str, Any]) -> dict[str, str]:
    """The verdict's words: `verdict/forgotten` and `verdict/utility`."""
    return {f"verdict/{key}": answer["finding"] for key, answer in report["verdict"].items() if "finding" in answer}


def log_curves(run: Any, found: Mapping[str, Curve]) -> int:
    """Each curve on an axis of its own, `curve/<stage>/epoch`, counted through all phases; SPD-GAN's in steps.

    Returns the next step. Steps are numbered from 0, so that W&B drops what a run that goes on has already.
    """
    rows: list[dict[str, float]] = []
    for name, curve in found.items():
        axis = "step" if "step" in curve[0] else "epoch"
        run.define_metric(f"curve/{name}/{axis}", summary="none")
        run.define_metric(f"curve/{name}/*", step_metric=f"curve/{name}/{axis}", summary="none")
        counted = [row if axis == "step" else row | {"epoch": number} for number, row in enumerate(curve)]
        rows += [{f"curve/{name}/{column}": value for column, value in row.items()} for row in counted]
    for step, row in enumerate(rows):
        run.log(row, step=step)
    return len(rows)
