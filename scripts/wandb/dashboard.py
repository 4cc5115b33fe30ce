"""The project's dashboard on W&B, as a saved view of its workspace: `scripts/wandb/dashboard.py ENTITY [PROJECT]`

Asks for `pip install wandb-workspaces`, and a login.
"""

from __future__ import annotations

import argparse

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

AVERAGED = ("forget_accuracy", "retain_accuracy", "test_accuracy", "retained_test_accuracy", "mia_logistic_auc")
DIALS = {"k": "strategy.k", "noise scale": "strategy.noise_scale"}
STAGES = ("original", "retrained", "unlearned")
RUN = "${run:displayName}"  # W&B's own template
Figure = wr.SummaryMetric


def main() -> None:
    """Save the dashboard and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("entity", help="user or team")
    parser.add_argument("project", nargs="?", default="unlearn")
    asked = parser.parse_args()
    print(dashboard(asked.entity, asked.project).save().url)


def dashboard(entity: str, project: str) -> ws.Workspace:
    """All its sections, not saved yet."""
    sections = [
        ws.Section("Forgetting against retention", panels=[*tradeoffs()], is_open=True),
        ws.Section("Gap to the retrained model", panels=[gaps(), floors()], is_open=True),
        ws.Section("k and noise", panels=[*responses()], is_open=True),
        ws.Section("Training", panels=[*curves()]),
    ]
    return ws.Workspace(entity=entity, project=project, name="Unlearning", sections=sections)


def tradeoffs() -> list[wr.ScatterPlot]:
    """A point a run: what it forgot, what it kept, what it cost."""
    forgotten, gap = Figure("unlearned/forgetting_rate"), Figure("average_gap")
    kept, seconds = Figure("unlearned/memory_retention_rate"), Figure("unlearned/seconds")
    return [
        wr.ScatterPlot(title="forgetting and retention", x=forgotten, y=kept, legend_template=RUN),
        wr.ScatterPlot(title="gap and time (s)", x=seconds, y=gap, log_x=True, legend_template=RUN),
    ]


def gaps() -> wr.BarPlot:
    """Signed, by strategy: the mean over its runs, with their standard deviation."""
    return _bars("gap, mean ± std over runs", "gap")


def floors() -> wr.BarPlot:
    """How far retrained models are from one another: no gap below it means anything."""
    return _bars("noise floor", "noise_floor")


def _bars(title: str, group: str) -> wr.BarPlot:
    metrics = [Figure(f"{group}/{metric}") for metric in AVERAGED]
    by = wr.Config("choices.strategy")
    return wr.BarPlot(title=title, metrics=metrics, groupby=by, groupby_aggfunc="mean", groupby_rangefunc="stddev")


def responses() -> list[wr.ScatterPlot]:
    """Each figure against each dial of the strategy, on a logarithmic axis, with its running mean as the curve."""
    figures = ("average_gap", "unlearned/forget_accuracy", "unlearned/retain_accuracy", "unlearned/mia_logistic_auc")
    return [
        wr.ScatterPlot(
            title=f"{figure} against {dial}",
            x=wr.Config(key),
            y=Figure(figure),
            log_x=True,
            running_ymean=True,
            legend_template=RUN,
        )
        for dial, key in DIALS.items()
        for figure in figures
    ]


def curves() -> list[wr.LinePlot]:
    """Loss and validation accuracy of each stage over its own epochs; SPD-GAN's losses over its steps."""
    stages = [
        wr.LinePlot(title=f"{stage}: {column}", x=f"curve/{stage}/epoch", y=[f"curve/{stage}/{column}"])
        for stage in STAGES
        for column in ("loss", "validation_accuracy")
    ]
    losses = [f"curve/spd_gan/{part}_loss" for part in ("generator", "discriminator")]
    return [*stages, wr.LinePlot(title="SPD-GAN", x="curve/spd_gan/step", y=losses)]


if __name__ == "__main__":
    main()
