"""A Markdown table, mean ± standard deviation over seeds, of the reports of a grid: `scripts/table.py DIR...`"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

COLUMNS = {
    "forget": "forget_accuracy",
    "retain": "retain_accuracy",
    "test": "test_accuracy",
    "FR": "forgetting_rate",
    "MRR": "memory_retention_rate",
    "degree": "unlearning_degree_calibrated",
    "JS": "js_to_retrained",
    "attack AUC": "mia_logistic_auc",
    "seconds": "seconds",
    "speed-up": "speedup",
}
SHARED = ("dataset", "forget", "model", "train", "spd_gan")  # what makes rows comparable
Report = dict[str, Any]


def main() -> None:
    """Print the table of all reports under the folders given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    paths = [path for folder in parser.parse_args().folders for path in sorted(folder.rglob("report.json"))]
    if not paths:
        parser.error("no report.json below these folders")
    reports = [json.loads(path.read_text()) for path in paths]
    apart = [key for key in SHARED if any(report["config"][key] != reports[0]["config"][key] for report in reports)]
    if apart:
        parser.error(f"these reports do not belong in one table: they differ in {', '.join(apart)}")
    rows = defaultdict(list)
    for report in reports:
        rows[_label(report, reports)].append(report)
    print("| |", " | ".join([*COLUMNS, "average gap"]), "|")
    print("|---|" + "---|" * (len(COLUMNS) + 1))
    for role in ("original", "retrained"):
        _print_row(f"*{role}*", role, _one_per_seed(reports))
    for label, group in rows.items():
        _print_row(label, "unlearned", group)
    _print_footer(reports)


def _label(report: Report, reports: list[Report]) -> str:
    """The strategy, with those of its settings that the reports disagree on."""
    strategy = report["choices"]["strategy"]
    own = report["config"]["strategy"]
    alike = [other["config"]["strategy"] for other in reports if other["choices"]["strategy"] == strategy]
    varied = [name for name in own if any(other[name] != own[name] for other in alike)]
    return " ".join([f"`{strategy}`", *(f"{name} = {own[name]}" for name in varied)])


def _one_per_seed(reports: list[Report]) -> list[Report]:
    return list({report["seeds"]["train"]: report for report in reports}.values())


def _print_row(label: str, role: str, group: list[Report]) -> None:
    cells = [_cell([report["metrics"].get(f"{role}/{metric}") for report in group]) for metric in COLUMNS.values()]
    gap = "average_gap" if role == "unlearned" else "average_noise_floor" if role == "retrained" else None
    cells.append(_cell([report["metrics"].get(gap) for report in group]) if gap else "")
    print(f"| {label} |", " | ".join(cells), "|")


def _cell(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    digits = 1 if max(map(abs, known)) >= 2 else 3
    spread = f" ± {stdev(known):.{digits}f}" if len(known) > 1 else ""
    missing = f" (n = {len(known)})" if len(known) < len(values) else ""
    return f"{fmean(known):.{digits}f}{spread}{missing}"


def _print_footer(reports: list[Report]) -> None:
    first, seeds = reports[0], sorted({report["seeds"]["train"] for report in reports})
    versions = ", ".join(f"{name} {first['versions'][name]}" for name in ("unlearn", "torch", "pytorch-lightning"))
    hardware = first["hardware"]
    print(
        f"\nn = {len(seeds)} seeds {seeds}, retrained models per seed {first['seeds']['baseline']}; {versions}; "
        f"{hardware['cpu']}, {hardware['threads']} threads. The retrained row's last column is the noise floor."
    )


if __name__ == "__main__":
    main()
