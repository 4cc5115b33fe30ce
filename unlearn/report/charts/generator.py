"""How images were perturbed: what moved them, how far, and the curves of its training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from unlearn.pipeline.plan import Outcome
from unlearn.report.charts.theme import Spec, chart, colour, domain, faded, layer, legend_filter, quantity, tooltip
from unlearn.report.notes import perturbation_name
from unlearn.spd_gan.options import Gan
from unlearn.stages.perturb import Perturb

NAMES = {
    "discriminator_loss": "discriminator",
    "generator_loss": "generator",
    "term": "term",
    "net_loss": "net",
    "mean_shift": "mean",
    "max_shift": "largest",
    "guide_accuracy": "guide",
    "net_error": "net's error",
}
CHARTS = {  # caption -> columns of the curve
    "losses": ("discriminator_loss", "generator_loss"),
    "term that moves the images away": ("term",),
    "loss of the net that they are fitted to": ("net_loss",),
    "accuracy on moved images": ("guide_accuracy", "net_error"),
    "change of a pixel": ("mean_shift", "max_shift"),
}
FRACTIONS = {"guide_accuracy", "net_error"}  # drawn from 0 to 1; changes of a pixel are drawn from 0 to epsilon


def moved_by(outcome: Outcome) -> dict[str, Any]:
    """The entry `spd_gan` of a report; empty if no image was perturbed."""
    stage = outcome.plan.spd_gan
    return {} if stage is None else {"spd_gan": described(stage) | {"curve": stage.curve(outcome.context)}}


def described(stage: Perturb) -> dict[str, Any]:
    """What moves the images, the term if it is SPD-GAN, and the largest change of a pixel, in [0, 1]."""
    settings = stage.settings
    channels, *_ = stage.forget.population.dataset.shape
    term = settings.term if isinstance(settings, Gan) else None
    return {"by": perturbation_name(settings), "term": term, "epsilon": settings.bound(channels)}


def caption(entry: dict[str, Any]) -> str:
    """`SPD-GAN, term attack, ε = 0.2`"""
    term = [f"term {entry['term']}"] if entry["term"] else []
    return ", ".join([entry["by"], *term, f"ε = {entry['epsilon']:.3g}"])


def training_charts(entry: dict[str, Any]) -> Iterator[tuple[str, Spec]]:
    """Caption and chart for the columns of the curve; artifacts of earlier versions have fewer."""
    curve = entry["curve"]
    for title, columns in CHARTS.items() if len(curve) > 1 else ():
        present = [column for column in columns if column in curve[0]]
        if present:
            yield title, training_chart(title, curve, present, entry["epsilon"])


def training_chart(title: str, curve: Sequence[Spec], columns: Sequence[str], epsilon: float) -> Spec:
    """Columns of a curve over steps, each a line."""
    rows = [
        {"step": row["step"], "value": row[column], "line": NAMES[column], "text": f"{row[column]:.4g}"}
        for column in columns
        for row in curve
    ]
    ends = _domain(columns, [row["value"] for row in rows], epsilon)
    steps = [curve[0]["step"], curve[-1]["step"]]
    names = [NAMES[column] for column in columns]
    colours = {"domain": names, "range": [colour("retrained"), colour("unlearned")][: len(names)]}
    legend = {"title": None} if len(names) > 1 else None
    encoding = {
        "x": quantity("step", "step", steps),
        "y": quantity("value", None, ends),
        "color": {"field": "line", "type": "nominal", "scale": colours, "legend": legend},
    }
    selections = [legend_filter("line")] if legend else []
    fading = {"opacity": faded()} if legend else {}
    dot = {"type": "point", "size": 50, "opacity": 0}
    return chart(
        title,
        [
            layer("line", rows, selections, **encoding, **fading),
            layer(dot, rows, **encoding, tooltip=tooltip("line", "step", ("text", "value"))),
        ],
        150,
    )


def _domain(columns: Sequence[str], values: Sequence[float], epsilon: float) -> list[float]:
    """Ends of the upright axis; 0 is always on it."""
    if FRACTIONS & set(columns):
        return [0.0, 1.0]
    return [0.0, epsilon] if "max_shift" in columns else domain([0.0, *values])
