"""Small reports made by hand, as files: what a summary of a sweep reads."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

Report = dict[str, Any]
ROLES = ("original", "retrained", "unlearned")
RETRAINED = (0.4, 0.5)  # forget accuracy of the two retrained models: 0.1 from each other
FLOOR = 0.04  # of the average gap


def key(*parts: object) -> str:
    """Stands for the hash of an artefact."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def report(
    strategy: str = "top_k", seed: int = 0, gap: float | None = 0.1, floor: float | None = FLOOR, **setting: Any
) -> Report:
    """One cell with two retrained models; `gap` is its average gap, `setting` the strategy's leaves."""
    forget, mean = 0.6 + seed / 100, sum(RETRAINED) / 2
    accuracy = {
        "forget_accuracy": (1.0, mean, forget),
        "retain_accuracy": (1.0, 0.99, 0.9 + seed / 100),
        "test_accuracy": (0.95, 0.94, 0.9),
        "seconds": (20.0, 10.0, 2.0),
    }
    metrics: dict[str, float | None] = {
        f"{role}/{metric}": value
        for metric, values in accuracy.items()
        for role, value in zip(ROLES, values, strict=True)
    }
    metrics |= {"unlearned/speedup": 5.0, "gap/forget_accuracy": forget - mean, "noise_floor/forget_accuracy": 0.1}
    metrics |= {"average_gap": gap, "average_noise_floor": floor}
    config = {
        "dataset": {"limit": 100, "root": "data", "download": False, "workers": 2},
        "forget": {"share": 0.1},
        "train": {"lr": 0.1},
        "strategy": {"k": 0.1, "recipe": {"lr": 0.1}, **setting},
        "metrics": {"accuracy": {}},
        "trainer": {"precision": "32", "deterministic": True, "threads": 1},
        "paths": {"store": "artifacts"},
        "seed": seed,
        "seeds": {"split": seed, "train": seed},
        "baseline": {"seeds": [0, 1]},
    }
    return {
        "schema_version": 1,
        "metrics": metrics,
        "statistics": _statistics(forget),
        "notes": {} if gap is not None else {"average_gap": "one of them is undefined"},
        "artifacts": {
            name: {"key": key(name, *made), "status": "built", "seconds": 1.0}
            for name, made in {
                "original": (seed,),
                "retrained": (seed, 0),
                "retrained_1": (seed, 1),
                "unlearned": (seed, strategy, sorted(setting.items())),
            }.items()
        },
        "choices": {"strategy": strategy, "dataset": "digits", "forget": "random", "model": "cnn", "train": "default"},
        "config": config,
        "seeds": {"split": seed, "train": seed, "baseline": [0, 1]},
        "versions": {"unlearn": "0.1.0", "torch": "2.15.0", "pytorch-lightning": "2.6.6"},
        "hardware": {"cpu": "one", "threads": 1},
        "command": "unlearn -m",
        "edited_parameters": 1,
        "total_parameters": 10,
    }


def _statistics(forget: float) -> dict[str, Any]:
    evaluations = {
        "original/forget_accuracy": [1.0],
        "retrained/forget_accuracy": list(RETRAINED),
        "unlearned/forget_accuracy": [forget],
    }
    behind: dict[str, Any] = {
        name: {"readings": [{"value": v} for v in values]} for name, values in evaluations.items()
    }
    behind["gap/forget_accuracy"] = {"mean_absolute": sum(abs(forget - value) for value in RETRAINED) / 2}
    return behind | {"average_gap": {"over": ["gap/forget_accuracy"]}}


def changed(found: Report, **leaves: Any) -> Report:
    """A copy with config leaves set, `group__name=value`, under an unlearned model of its own."""
    copy: Report = json.loads(json.dumps(found))
    for path, value in leaves.items():
        group, _, name = path.partition("__")
        copy["config"][group][name] = value
    return copy


def write(root: Path, *reports: Report) -> Path:
    """A multirun's folder: `0/report.json`, `1/report.json` and so on, each later than the one before."""
    for number, each in enumerate(reports):
        folder = root / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.json").write_text(json.dumps(each))
        os.utime(folder / "report.json", (number, number))
    return root


def grid(seeds: tuple[int, ...] = (0, 1, 2), ks: tuple[float, ...] = (0.001, 0.01, 0.1)) -> list[Report]:
    """Two strategies, three k, two noise scales: the larger both, the closer to retraining."""
    return [
        report(name, seed, 0.3 - 0.3 * k - 0.02 * scale + 0.05 * far + 0.003 * seed, k=k, noise_scale=scale)
        for far, name in enumerate(("top_k", "random_k"))
        for k in ks
        for scale in (0.5, 1.0)
        for seed in seeds
    ]
