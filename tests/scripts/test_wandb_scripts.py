"""Sweep and dashboard of `scripts/wandb` fit the logs of a run and the command line."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from unlearn import config
from unlearn.report.assemble import assemble, name_stages

if TYPE_CHECKING:
    from conftest import Finished

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")  # of wandb's packages, on import
SCRIPTS = Path(__file__).parents[2] / "scripts" / "wandb"


@pytest.fixture
def definition() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((SCRIPTS / "sweep.yaml").read_text())
    return content


@pytest.mark.slow
def test_every_value_of_the_sweep_passes_pre_flight(
    definition: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """W&B's agent fills in the command."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    monkeypatch.setenv("WANDB_MODE", "offline")  # there is no account here
    grid = {name: parameter["values"] for name, parameter in definition["parameters"].items()}
    commands = set()
    for cell in zip(*grid.values(), strict=True):
        chosen = {name: {"value": value} for name, value in zip(grid, cell, strict=True)}
        filled = create_sweep_command_args({"args": chosen})["args_no_hyphens"]
        program, *words = create_sweep_command(list(definition["command"]))
        at = words.index("${args_no_hyphens}")
        arguments = [*words[:at], *filled, *words[at + 1 :]]
        config.preflight(config.CommandLine.parse(arguments))
        commands.add(" ".join([program, *arguments]))
    assert len(commands) == 3
    assert all(command.startswith("unlearn ") and "logger=wandb" in command for command in commands)


def test_the_sweep_is_a_grid_over_a_metric_that_runs_log(definition: dict[str, Any], finished: Finished) -> None:
    assert set(definition) == {"project", "name", "method", "metric", "command", "parameters"}
    assert definition["method"] == "grid"  # what chooses by this figure would choose on the test set
    report = assemble(finished.outcome, config.to_plain_dict(finished.composed), {})
    assert definition["metric"] == {"name": "average_gap", "goal": "minimize"}
    assert report["metrics"]["average_gap"] is not None


@pytest.fixture
def dashboard() -> ModuleType:
    pytest.importorskip("wandb_workspaces")
    spec = importlib.util.spec_from_file_location("dashboard", SCRIPTS / "dashboard.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_dashboard_shows_only_keys_that_runs_log(dashboard: ModuleType, finished: Finished) -> None:
    view = dashboard.dashboard("me", "unlearn")
    assert (view.entity, view.project) == ("me", "unlearn")
    report = assemble(finished.outcome, config.to_plain_dict(finished.composed), {"strategy": "top_k"})
    curves = {
        f"curve/{name}/{column}"
        for name, stage in name_stages(finished.outcome.plan).items()
        for row in stage.curve(finished.context)
        for column in row
    }
    settings = {f"config:strategy.value.{name}" for name in report["config"]["strategy"]}
    figures = {f"{kind}{key}" for key in report["metrics"] for kind in ("summary:", "summary_metrics.")}
    panels = [panel for section in view.sections for panel in section.panels]
    shown = {axis for panel in panels for axis in axes(panel._to_model().model_dump(by_alias=True)["config"])}
    by_class = {axis for axis in shown if axis.endswith("/retained_test_accuracy")}  # of requests that remove a class
    assert by_class
    assert shown - by_class <= figures | settings | curves
    assert {section.name: len(section.panels) for section in view.sections} == {
        "Forgetting against retention": 2,
        "Gap to the retrained model": 2,
        "k and noise": 8,
        "Training": 7,
    }


def axes(panel: dict[str, Any]) -> set[str]:
    return {panel[name] for name in ("xAxis", "yAxis") if panel.get(name)} | set(panel.get("metrics") or ())
