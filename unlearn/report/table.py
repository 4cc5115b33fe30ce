"""The table that a run ends with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TextIO

from unlearn.core.errors import abbreviate, pluralize
from unlearn.core.progress import escape_control
from unlearn.report.retained import NAMES, NOTE, accuracy_name, graded, renamed
from unlearn.report.verdict import verdict

ROWS = {
    "forget_accuracy": "forget accuracy",
    "unlearning_accuracy": "  1 - forget (UA)",
    "corrected_accuracy": "corrected accuracy",
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
    "relabel",
    "retain",
    "budget",
    "selection",
    "neighbour",
    "solver",
    "spd_gan",
    "grading",
    "objective",
)  # printed above the table
SURE = ("forget_accuracy", "retain_accuracy", "test_accuracy")  # whose gaps' intervals are printed
FORMATS = {"seconds": "{:.1f}", "speedup": "{:.1f}×", "relearn_steps": "{:.1f}"}


def show(report: dict[str, Any], stream: TextIO) -> None:
    """Print the notes, the table and the verdict of a report; fits 80 columns."""
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
        table.add_row(name, *cells)
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
    """The unlearned model in one line, its gaps in brackets."""
    names = {metric: ROWS[metric] for metric in graded((*SURE, "mia_logistic_auc"), measured(report))}
    parts = [
        f"{name.removesuffix(' accuracy')} {mine}" + (f" ({gap})" if (gap := cell(report, "gap", metric)) else "")
        for metric, name in names.items()
        if (mine := cell(report, "unlearned", metric))
    ]
    average = report["metrics"].get("average_gap")
    return ", ".join(parts) + ("" if average is None else f"; average gap {average:.3f}")


def rows(report: dict[str, Any]) -> Iterator[tuple[str, str, list[str]]]:
    """Metric, name, and one cell for each column, of every row that has any."""
    forget = [cell(report, column, "forget_accuracy") for column in COLUMNS]
    for metric, name in renamed(ROWS, measured(report)).items():
        cells = [cell(report, column, metric) for column in COLUMNS]
        repeated = metric == "perturbed_forget_accuracy" and cells == forget  # under the marker
        if any(cells) and not repeated:
            yield metric, name, cells


def measured(report: dict[str, Any]) -> Callable[[str], bool]:
    """Whether the unlearned model has a metric."""
    return lambda metric: f"unlearned/{metric}" in report["metrics"]


def cell(report: dict[str, Any], column: str, metric: str) -> str:
    """A value, with its spread over retrained models; a dash for null, nothing for what was not measured."""
    key, shape = f"{column}/{metric}", FORMATS.get(metric, "{:.3f}")
    if key not in report["metrics"]:
        return ""
    value = report["metrics"][key]
    if value is None:
        return "–"
    spread = report["statistics"][key]["std"] if column == "retrained" else None
    return shape.format(value + 0.0) + (f" ± {shape.format(spread)}" if spread else "")  # + 0.0: no negative zero


def footer(report: dict[str, Any]) -> list[str]:
    """What stands behind the table: counts, how sure gaps are, whether the attack sees anything, the average gap."""
    metrics, statistics, models = report["metrics"], report["statistics"], len(report["seeds"]["baseline"])
    counts = [
        f"{statistics[key]['n']} {subset}"
        for subset in ("forget", "retain", "test")
        if (key := f"original/{subset}_accuracy") in statistics
    ]
    edited = report["edited_parameters"]
    lines = [
        f"n: {', '.join(counts)}; retrained models: {models}{' (mean ± std)' * (models > 1)}"
        + ("" if edited is None else f"; {edited:,} of {report['total_parameters']:,} parameters edited")
    ]
    intervals = [
        f"{accuracy_name(metric).replace(' accuracy', '')} {low:.3f} to {high:.3f}"
        for metric in graded(SURE, measured(report))
        if (found := statistics.get(f"gap/{metric}", {}).get("interval"))
        for low, high in [found]
    ]
    if intervals:
        lines.append(f"95 % of gaps, by sample: {', '.join(intervals)}")
    unsure = [
        name.strip()
        for metric, name, _ in rows(report)
        if metrics.get(f"gap/{metric}") is not None and not statistics[f"gap/{metric}"].get("interval")
    ]
    if unsure:
        lines.append(f"gaps without an interval, being no means over samples: {', '.join(unsure)}")
    if measured(report)("retained_test_accuracy"):
        lines.append(NOTE)
    lines += remaining(report.get("copies"))
    lines += _degrees(report)
    if "blend" in report:
        lines.append(_blended(**report["blend"]))
    fresh = metrics.get("fresh/perturbed_forget_accuracy")
    if fresh is not None:
        lines.append(f"fresh original, never in SPD-GAN's loop: perturbed forget {fresh:.3f}")
    lines += [report["notes"][note] for note in ("attack", "blind_attacks") if note in report["notes"]]
    average, floor = metrics.get("average_gap"), metrics.get("average_noise_floor")
    if average is not None:
        beside = "" if floor is None else f", between retrained models {floor:.3f}"
        lines.append(f"average gap to retrained {average:.3f}{beside}")
    selected = metrics.get("selection/average_gap")
    if selected is not None:
        lines.append(f"the same with validation in place of test and holdout: {selected:.3f}")
    return lines


def remaining(copies: dict[str, Any] | None) -> Iterator[str]:
    """Which identical copies of forgotten images are still there, one line for all."""
    if copies and copies["remain"]:
        named = "; ".join(f"{subset}: {abbreviate(names)}" for subset, names in copies["remain"].items())
        count, same = copies["forgotten"], {"pixels": "of the same pixels", "files": "of the same bytes"}
        yield f"copies of {pluralize(count, 'forgotten image')} remain, {same[copies['compared']]}: {named}"


def _degrees(report: dict[str, Any]) -> Iterator[str]:
    """The calibrated degree with its interval, and beside it that on equally moved images that no model learnt."""
    for metric, name in (("calibrated", "calibrated degree"), ("holdout", "the same on the perturbed holdout")):
        key = f"unlearned/unlearning_degree_{metric}"
        behind = report["statistics"].get(key, {})
        if behind.get("interval"):
            low, high = behind["interval"]
            yield f"{name} {report['metrics'][key]:.3f}, {low:.3f} to {high:.3f} over {behind['over']}"


def _blended(a: float, validation_accuracy: float, target: float) -> str:
    """How much of the original is in the unlearned model."""
    share = f"{a:.3f}" if a else "none"
    return f"blended with {share} of the original: validation accuracy {validation_accuracy:.3f}, target {target:.3f}"
