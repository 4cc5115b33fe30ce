"""Print the table and the verdict at the end of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TextIO

from unlearn.core.terminal import escape_control
from unlearn.report.copies import describe_copies
from unlearn.report.retained import NAMES, NOTE, accuracy_name, graded, renamed
from unlearn.report.user_metrics import titles
from unlearn.report.verdict import verdict

ROWS = {
    "forget_accuracy": "forget accuracy",
    "unlearning_accuracy": "  1 - forget (UA)",
    "corrected_accuracy": "corrected accuracy",
    "earlier_forget_accuracy": "  earlier requests",
    "retain_accuracy": "retain accuracy",
    "test_accuracy": "test accuracy",
    "retained_test_accuracy": NAMES["retained_test_accuracy"],
    "validation_accuracy": "validation accuracy",
    "retained_validation_accuracy": NAMES["retained_validation_accuracy"],
    "perturbed_forget_accuracy": "perturbed forget",
    "clean_forget_accuracy": "clean forget",
    "perturbed_holdout_accuracy": "perturbed holdout",
    "noisy_forget_accuracy": "noisy forget",
    "forgetting_rate": "forgetting rate",
    "memory_retention_rate": "memory retention",
    "unlearning_degree": "unlearning degree",
    "unlearning_degree_calibrated": "  calibrated",
    "unlearning_degree_holdout": "  on holdout",
    "js_to_retrained": "JS to retrained",
    "activation_distance": "activation dist.",
    "zrf": "ZRF",
    "tug_of_war": "tug of war",
    "relearn_steps": "relearn steps",
    "ain": "  AIN",
    "klom_forget": "KLoM, forget",
    "klom_forget_reverse": "  reverse",
    "klom_retain": "  retain",
    "klom_retain_reverse": "  reverse",
    "klom_test": "  test",
    "klom_test_reverse": "  reverse",
    "mia_logistic_auc": "attack AUC",
    "mia_earlier_auc": "  earlier requests",
    "mia_entropy_auc": "  by entropy",
    "mia_modified_entropy_auc": "  by mod. entropy",
    "mia_lira_auc": "  by LiRA",
    "mia_rmia_auc": "  by RMIA",
    "mia_u_lira_auc": "  by U-LiRA",
    "mia_svc_confidence": "SVC confidence",
    "selection_auc": "  on validation",
    "label_inference_success": "class inferred",
    "feature_recovery_ssim": "recovered SSIM",
    "feature_recovery_advantage": "  beyond its class",
    "seconds": "seconds",
    "speedup": "speed-up",
}
COLUMNS = {
    "original": "original",
    "retrained": "retrained",
    "unlearned": "unlearned",
    "gap": "gap",
    "noise_floor": "floor",
}
NOTES = (
    "checkpoint_accuracy",
    "dataset",
    "checkpoint",
    "split",
    "requests",
    "already_forgotten",
    "sisa",
    "relabel",
    "retain",
    "retain_free",
    "budget",
    "selection",
    "neighbour",
    "solver",
    "spd_gan",
    "grading",
    "objective",
)  # printed above the table
WITH_INTERVALS = ("forget_accuracy", "retain_accuracy", "test_accuracy")  # intervals of their gaps are printed
FORMATS = {"seconds": "{:.1f}", "speedup": "{:.1f}×", "relearn_steps": "{:.1f}"}


def show(report: dict[str, Any], stream: TextIO) -> None:
    """Print the notes, the table and the verdict of a report in at most 80 columns, or in the terminal's width."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD)
    table.add_column("")
    for title in COLUMNS.values():
        table.add_column(title, justify="right", no_wrap=True)
    for _, name, cells in rows(report):
        table.add_row(Text(escape_control(name)), *cells)
    console = Console(file=stream, highlight=False, width=None if stream.isatty() else 80)
    for note in NOTES:
        if note in report["notes"]:
            console.print(escape_control(report["notes"][note]), markup=False)
    console.print(table)
    for line in footer(report):
        console.print(escape_control(line), markup=False)
    for answer in verdict(report).values():
        console.print("\n{question} [bold]{answer}.[/bold]".format(**answer))
        console.print(Padding(Text(escape_control("\n".join(answer["lines"]))), (0, 0, 0, 2)))


def line(report: dict[str, Any]) -> str:
    """Summarise the unlearned model in one line, with its gaps in brackets."""
    names = {metric: ROWS[metric] for metric in graded((*WITH_INTERVALS, "mia_logistic_auc"), measured(report))}
    parts = [
        f"{name.removesuffix(' accuracy')} {value}" + (f" ({gap})" if (gap := cell(report, "gap", metric)) else "")
        for metric, name in names.items()
        if (value := cell(report, "unlearned", metric))
    ]
    average = report["metrics"].get("average_gap")
    return ", ".join(parts) + ("" if average is None else f"; average gap {average:.3f}")


def rows(report: dict[str, Any]) -> Iterator[tuple[str, str, list[str]]]:
    """Yield metric, name and cells of every row that is not empty."""
    forget = [cell(report, column, "forget_accuracy") for column in COLUMNS]
    for metric, name in renamed(ROWS | titles(report), measured(report)).items():
        cells = [cell(report, column, metric) for column in COLUMNS]
        is_repeated = metric == "perturbed_forget_accuracy" and cells == forget  # with SPD-GAN's marker
        if any(cells) and not is_repeated:
            yield metric, name, cells


def measured(report: dict[str, Any]) -> Callable[[str], bool]:
    """Return a function that decides whether a metric of the unlearned model was measured."""
    return lambda metric: f"unlearned/{metric}" in report["metrics"]


def cell(report: dict[str, Any], column: str, metric: str) -> str:
    """Format a value, with its spread over retrained models; a dash for null, empty if it was not measured."""
    key, template = f"{column}/{metric}", FORMATS.get(metric, "{:.3f}")
    if key not in report["metrics"]:
        return ""
    value = report["metrics"][key]
    if value is None:
        return "–"
    spread = report["statistics"][key]["std"] if column == "retrained" else None
    return template.format(value + 0.0) + (f" ± {template.format(spread)}" if spread else "")  # + 0.0: no negative zero


def footer(report: dict[str, Any]) -> list[str]:
    """Return the lines below the table: counts, intervals of gaps, notes on attacks, and the average gap."""
    lines = [_counts(report), *_gap_intervals(report)]
    if measured(report)("retained_test_accuracy"):
        lines.append(NOTE)
    if copies := describe_copies(report.get("copies")):
        lines.append(copies)
    lines += _degree_intervals(report)
    if "blend" in report:
        lines.append(_describe_blend(**report["blend"]))
    fresh = report["metrics"].get("fresh/perturbed_forget_accuracy")
    if fresh is not None:
        lines.append(f"fresh original, which the generator was not trained on: perturbed forget {fresh:.3f}")
    lines += [report["notes"][note] for note in ("attack", "blind_attacks") if note in report["notes"]]
    return [*lines, *_average_gaps(report["metrics"])]


def _counts(report: dict[str, Any]) -> str:
    statistics, models, edited = report["statistics"], len(report["seeds"]["baseline"]), report["edited_parameters"]
    counts = [
        f"{statistics[key]['n']} {subset}"
        for subset in ("forget", "retain", "test")
        if (key := f"original/{subset}_accuracy") in statistics
    ]
    counted = f"n: {', '.join(counts)}; retrained models: {models}{' (mean ± std)' * (models > 1)}"
    return counted if edited is None else f"{counted}; {edited:,} of {report['total_parameters']:,} parameters edited"


def _gap_intervals(report: dict[str, Any]) -> Iterator[str]:
    statistics = report["statistics"]
    intervals = [
        f"{accuracy_name(metric).replace(' accuracy', '')} {interval[0]:.3f} to {interval[1]:.3f}"
        for metric in graded(WITH_INTERVALS, measured(report))
        if (interval := statistics.get(f"gap/{metric}", {}).get("interval"))
    ]
    if intervals:
        yield f"95 % intervals of gaps, over samples: {', '.join(intervals)}"
    without = [
        name.strip()
        for metric, name, _ in rows(report)
        if report["metrics"].get(f"gap/{metric}") is not None and not statistics[f"gap/{metric}"].get("interval")
    ]
    if without:
        yield f"gaps without an interval, since they are not means over samples: {', '.join(without)}"


def _degree_intervals(report: dict[str, Any]) -> Iterator[str]:
    """The calibrated degree with its interval, and that on the holdout images, which no model was trained on."""
    for metric, name in (("calibrated", "calibrated degree"), ("holdout", "the same on the perturbed holdout")):
        key = f"unlearned/unlearning_degree_{metric}"
        statistics = report["statistics"].get(key, {})
        if statistics.get("interval"):
            low, high = statistics["interval"]
            yield f"{name} {report['metrics'][key]:.3f}, {low:.3f} to {high:.3f} over {statistics['over']}"


def _describe_blend(a: float, validation_accuracy: float, target: float) -> str:
    fraction = f"{a:.3f}" if a else "none"
    return (
        f"blended with {fraction} of the original: validation accuracy {validation_accuracy:.3f}, target {target:.3f}"
    )


def _average_gaps(metrics: dict[str, float | None]) -> Iterator[str]:
    average, floor = metrics.get("average_gap"), metrics.get("average_noise_floor")
    if average is not None:
        between = "" if floor is None else f", between retrained models {floor:.3f}"
        yield f"average gap to retrained models {average:.3f}{between}"
    selected = metrics.get("selection/average_gap")
    if selected is not None:
        yield f"the same with validation in place of test and holdout: {selected:.3f}"
