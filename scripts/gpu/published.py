"""Prints the published table on random forgetting of CIFAR-10, with our numbers next to it.

    python scripts/gpu/published.py DIR

DIR contains reports of `+experiment=cifar10_table +sweep=published`, with one or several seeds. All numbers are
percentages: UA = 100 - forget accuracy, RA and TA retain and test accuracy, MIA the attack `svc_confidence`. The gap is
the mean distance of the four from the retrained model of the same seed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

# CIFAR-10, ResNet-18, a random tenth, means of ten seeds: from the tables of SalUn (Fan et al. 2024).
PUBLISHED = {
    "retrained": (5.24, 100.00, 94.26, 12.88, 0.0),
    "finetune": (0.63, 99.88, 94.06, 2.70, 3.78),
    "random_label": (7.61, 99.67, 92.83, 37.36, 7.15),
    "gradient_ascent": (0.69, 99.50, 94.01, 1.70, 4.12),
    "influence": (1.07, 99.20, 93.20, 2.67, 4.06),
    "boundary_shrink": (1.78, 98.29, 92.69, 8.96, 2.67),
    "l1_sparse": (4.19, 97.74, 91.59, 9.84, 2.26),
    "salun": (2.85, 99.62, 93.93, 14.39, 1.15),
}
COLUMNS = ("UA", "RA", "TA", "MIA", "gap")
METRICS = ("forget_accuracy", "retain_accuracy", "test_accuracy", "mia_svc_confidence")
NOTE = (
    "influence: ours is a Newton step by conjugate gradients, theirs ('IU') by WoodFisher; boundary_shrink: our recipe."
)
Row = tuple[float, ...]


def main(folder: Path) -> None:
    """Print the table for the reports below a folder."""
    reports = [json.loads(path.read_text()) for path in sorted(folder.rglob("report.json"))]
    if not reports:
        print(f"{folder}: no cell is finished yet")
        return
    print(f"{'':18}" + "".join(f"{name:>24}" for name in COLUMNS))
    rows = measure(reports)
    for name, theirs in PUBLISHED.items():
        cells = (
            [cell(values, known) for values, known in zip(zip(*rows[name], strict=True), theirs, strict=True)]
            if name in rows
            else ["-"]
        )
        print(f"{name:18}" + "".join(f"{text:>24}" for text in cells))
    print("ours (published)")
    config, hardware = reports[0]["config"], " and ".join(sorted(set().union(*map(devices, reports))))
    print(f"{config['train']['epochs']} epochs, precision {config['trainer']['precision']}; {hardware}; ", end="")
    print(", ".join(f"{name} {reports[0]['versions'][name]}" for name in ("torch", "pytorch-lightning", "commit")))
    print(NOTE)


def devices(report: Mapping[str, Any]) -> set[str]:
    """Return the devices that computed the models, or the device of the report if the artifacts name none."""
    computed_on = [part["hardware"] for part in report.get("artifacts", {}).values() if "hardware" in part]
    return {hardware["device"] for hardware in computed_on or [report["hardware"]]}


def measure(reports: Sequence[Mapping[str, Any]]) -> dict[str, list[Row]]:
    """Return one row per seed for each strategy and for the retrained models."""
    rows: dict[str, dict[str, Row]] = {}
    for report in reports:
        name, seed = report["choices"]["strategy"].rpartition("/")[2], json.dumps(report["seeds"])
        retrained, unlearned = (percent(report["metrics"], role) for role in ("retrained", "unlearned"))
        rows.setdefault("retrained", {})[seed] = (*retrained, 0.0)
        rows.setdefault(name, {})[seed] = (
            *unlearned,
            mean(abs(a - b) for a, b in zip(unlearned, retrained, strict=True)),
        )
    return {name: list(by_seed.values()) for name, by_seed in rows.items()}


def percent(metrics: Mapping[str, float], role: str) -> Row:
    """Return UA, RA, TA and MIA in percent."""
    forget, *others = (100 * metrics[f"{role}/{metric}"] for metric in METRICS)
    return (100 - forget, *others)


def cell(values: Sequence[float], published: float) -> str:
    """Format mean and standard deviation, and the published mean."""
    spread = f"±{stdev(values):.2f}" if len(values) > 1 else ""
    return f"{mean(values):.2f}{spread} ({published:.2f})"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
