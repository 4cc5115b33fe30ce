"""The table that a run ends with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TextIO

ROWS = {
    "forget_accuracy": "forget accuracy",
    "unlearning_accuracy": "  unlearning accuracy (1 - forget)",
    "retain_accuracy": "retain accuracy",
    "test_accuracy": "test accuracy",
    "clean_forget_accuracy": "clean forget accuracy",
    "perturbed_holdout_accuracy": "perturbed holdout accuracy",
    "forgetting_rate": "forgetting rate",
    "memory_retention_rate": "memory retention rate",
    "unlearning_degree": "unlearning degree",
    "unlearning_degree_calibrated": "  calibrated (0 untouched, 1 retrained)",
    "js_to_retrained": "JS to retrained",
    "mia_logistic_auc": "membership attack, AUC",
    "seconds": "seconds",
    "speedup": "speed-up over retraining",
}
COLUMNS = ("original", "retrained", "unlearned", "gap", "noise_floor")


def show(report: dict[str, Any], stream: TextIO) -> None:
    """Print notes and the table of a report."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=_title(report), title_justify="left", caption_justify="left")
    table.add_column("")
    for column in COLUMNS:
        table.add_column(column.replace("_", " "), justify="right")
    for metric, name in ROWS.items():
        cells = [_cell(report, column, metric) for column in COLUMNS]
        if any(cells):
            table.add_row(name, *cells)
    console = Console(file=stream, highlight=False, width=None if stream.isatty() else 110)
    if "spd_gan" in report["notes"]:
        console.print(report["notes"]["spd_gan"], style="yellow")
    console.print(table)
    average, floor = report["metrics"].get("average_gap"), report["metrics"].get("average_noise_floor")
    if average is not None:
        beside = "" if floor is None else f"; between retrained models {floor:.4f}"
        console.print(f"average gap to retrained {average:.4f}{beside}")


def _title(report: dict[str, Any]) -> str:
    edited, total = report["edited_parameters"], report["total_parameters"]
    models = len(report["seeds"]["baseline"])
    return f"{edited:,} of {total:,} parameters edited · {models} retrained model{'s' * (models != 1)}"


def _cell(report: dict[str, Any], column: str, metric: str) -> str:
    key = f"{column}/{metric}"
    if metric == "unlearning_accuracy":  # printed next to forget accuracy, never instead of it
        value = report["metrics"].get(f"{column}/forget_accuracy")
        return "" if value is None or column == "noise_floor" else f"{-value if column == 'gap' else 1 - value:.4f}"
    if key not in report["metrics"]:
        return ""
    value = report["metrics"][key]
    if value is None:
        return "–"
    shown: Callable[[float], str] = {"seconds": "{:.1f}".format, "speedup": "{:.1f}×".format}.get(
        metric, "{:.4f}".format
    )
    spread = report["statistics"][key]["std"] if column == "retrained" else None
    return shown(value) + (f" ± {shown(spread)}" if spread else "")
