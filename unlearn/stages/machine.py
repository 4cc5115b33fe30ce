"""Versions, hardware and commit that a number was measured with."""

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
def installed_versions() -> dict[str, str]:
    """Return the versions of the packages and of Python, and the git commit of this package."""
    versions = {"python": platform.python_version(), "commit": _commit(), "unlearn": __version__}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def describe_machine(settings: TrainerSettings) -> dict[str, Any]:
    """Return processor, cores, threads, device and device count. Timings compare only where all of these are equal."""
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
    """Return the commit of the checkout of this file; "unknown" for an installed copy, even inside another checkout."""
    here = Path(__file__).resolve()
    commands = (["ls-files", "--error-unmatch", here.name], ["describe", "--always", "--dirty", "--abbrev=12"])
    try:
        answers = [
            subprocess.run(["git", *command], cwd=here.parent, capture_output=True, text=True, timeout=5, check=True)
            for command in commands
        ]
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answers[-1].stdout.strip()
