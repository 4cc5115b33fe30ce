"""What a number was measured with: versions, hardware, the commit."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from unlearn import __version__
from unlearn.training.trainer import TrainerSettings

PACKAGES = (
    "torch",
    "torchvision",
    "pytorch-lightning",
    "hydra-core",
    "omegaconf",
    "scikit-learn",
    "numpy",
)


@cache
def versions() -> dict[str, str]:
    """Installed versions by package, with Python's and the git commit this package stands in."""
    found = {"python": platform.python_version(), "commit": _commit(), "unlearn": __version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def machine(settings: TrainerSettings) -> dict[str, Any]:
    """Processor, cores, threads, device and how many of them; timings are compared only where these are equal."""
    device = settings.device
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "devices": settings.devices,
        "system": platform.system(),
    }


@cache
def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit() -> str:
    """Of the checkout this file belongs to; an installed copy may lie in somebody else's."""
    here = Path(__file__).resolve()
    asked = (["ls-files", "--error-unmatch", here.name], ["describe", "--always", "--dirty", "--abbrev=12"])
    try:
        answers = [
            subprocess.run(["git", *each], cwd=here.parent, capture_output=True, text=True, timeout=5, check=True)
            for each in asked
        ]
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answers[-1].stdout.strip()
