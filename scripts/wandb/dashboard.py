"""Saves the project's dashboard as a view of its workspace on W&B: `scripts/wandb/dashboard.py ENTITY [PROJECT]`

Needs `pip install wandb-workspaces` and a login.
"""

from __future__ import annotations

import argparse

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

AVERAGED = ("forget_accuracy", "retain_accuracy", "test_accuracy", "retained_test_accuracy", "mia_logistic_auc")
SETTINGS = {"k": "strategy.k", "noise scale": "strategy.noise_scale"}
STAGES = ("original", "retrained", "unlearned")
RUN = "${run:displayName}"  # W&B's own template
Figure = wr.SummaryMetric


def main() -> None:
    """Save the dashboard and print its address."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("entity", help="user or team")
    parser.add_argument("project", nargs="?", default="unlearn")
    arguments = parser.parse_args()
    print(dashboard(arguments.entity, arguments.project).save().url)


def dashboard(entity: str, project: str) -> ws.Workspace:
    """Return the dashboard with all sections, not saved yet."""
    sections = [
        ws.Section("Forgetting against retention", panels=[*tradeoffs()], is_open=True),
        ws.Section("Gap to the retrained model", panels=[gaps(), floors()], is_open=True),
        ws.Section("k and noise", panels=[*responses()], is_open=True),
        ws.Section("Training", panels=[*curves()]),
    ]
    return ws.Workspace(entity=entity, project=project, name="Unlearning", sections=sections)


def tradeoffs() -> list[wr.ScatterPlot]:
    """Plot one point per run: forgetting against retention, and gap against time."""
    forgotten, gap = Figure("unlearned/forgetting_rate"), Figure("average_gap")
    kept, seconds = Figure("unlearned/memory_retention_rate"), Figure("unlearned/seconds")
    return [
        wr.ScatterPlot(title="forgetting and retention", x=forgotten, y=kept, legend_template=RUN),
        wr.ScatterPlot(title="gap and time (s)", x=seconds, y=gap, log_x=True, legend_template=RUN),
    ]


def gaps() -> wr.BarPlot:
    """Plot the signed gaps by strategy: mean and standard deviation over its runs."""
    return _bars("gap, mean ± std over runs", "gap")


def floors() -> wr.BarPlot:
    """Plot the noise floor, the difference between retrained models; a gap below it means nothing."""
    return _bars("noise floor", "noise_floor")


def _bars(title: str, group: str) -> wr.BarPlot:
    metrics = [Figure(f"{group}/{metric}") for metric in AVERAGED]
    by = wr.Config("choices.strategy")
    return wr.BarPlot(title=title, metrics=metrics, groupby=by, groupby_aggfunc="mean", groupby_rangefunc="stddev")


def responses() -> list[wr.ScatterPlot]:
    """Plot each number against each setting of the strategy on a logarithmic axis, with its running mean."""
    figures = ("average_gap", "unlearned/forget_accuracy", "unlearned/retain_accuracy", "unlearned/mia_logistic_auc")
    return [
        wr.ScatterPlot(
            title=f"{figure} against {setting}",
            x=wr.Config(key),
            y=Figure(figure),
            log_x=True,
            running_ymean=True,
            legend_template=RUN,
        )
        for setting, key in SETTINGS.items()
        for figure in figures
    ]


def curves() -> list[wr.LinePlot]:
    """Plot loss and validation accuracy of each stage over its epochs, and the losses of SPD-GAN over its steps."""
    stages = [
        wr.LinePlot(title=f"{stage}: {column}", x=f"curve/{stage}/epoch", y=[f"curve/{stage}/{column}"])
        for stage in STAGES
        for column in ("loss", "validation_accuracy")
    ]
    losses = [f"curve/spd_gan/{part}_loss" for part in ("generator", "discriminator")]
    return [*stages, wr.LinePlot(title="SPD-GAN", x="curve/spd_gan/step", y=losses)]


if __name__ == "__main__":
    main()
