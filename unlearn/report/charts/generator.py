"""How the images were moved: what moves them, how far, and what its training went through, as charts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

from unlearn.pipeline.plan import Outcome
from unlearn.report.charts import svg
from unlearn.report.notes import mover
from unlearn.spd_gan.options import Gan
from unlearn.stages.perturb import Perturb

HIGH, TOP = 110.0, 10.0  # of a chart's plot, and of what stands above it
APART = 13.0  # pixels between the names of lines at the least
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
SHARES = {"guide_accuracy", "net_error"}  # drawn from 0 to 1; changes are drawn from 0 to epsilon


@dataclass(frozen=True)
class Line:
    """Values over steps; `style` is a class of the style sheet."""

    label: str
    values: Sequence[float]
    style: str


def moved_by(outcome: Outcome) -> dict[str, Any]:
    """What the report keeps of it, under `spd_gan`; nothing where no image was moved."""
    stage = outcome.plan.spd_gan
    return {} if stage is None else {"spd_gan": described(stage) | {"curve": stage.curve(outcome.context)}}


def described(stage: Perturb) -> dict[str, Any]:
    """What moves the images, by which term if by SPD-GAN, and the largest change of a pixel in [0, 1]."""
    settings = stage.settings
    channels, *_ = stage.forget.population.dataset.shape
    term = settings.term if isinstance(settings, Gan) else None
    return {"by": mover(settings), "term": term, "epsilon": settings.bound(channels)}


def caption(told: dict[str, Any]) -> str:
    """`SPD-GAN, term attack, ε = 0.2`."""
    return ", ".join([told["by"], *([f"term {told['term']}"] if told["term"] else []), f"ε = {told['epsilon']:.3g}"])


def charts(told: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Caption and chart, for the columns that the curve has: artefacts of earlier versions have fewer."""
    curve = told["curve"]
    for title, columns in CHARTS.items() if len(curve) > 1 else ():
        shown = [
            Line(NAMES[column], [row[column] for row in curve], f"line{number}")
            for number, column in enumerate(columns)
            if column in curve[0]
        ]
        if shown:
            yield title, lines(title, [row["step"] for row in curve], shown, _range(columns, shown, told["epsilon"]))


def _range(columns: Sequence[str], shown: Sequence[Line], epsilon: float) -> tuple[float, float]:
    """Of the upright axis, 0 included."""
    if SHARES & set(columns):
        return 0.0, 1.0
    values = [value for line in shown for value in line.values]
    return (0.0, epsilon) if "max_shift" in columns else (min(0.0, *values), max(0.0, *values))


def lines(title: str, steps: Sequence[float], shown: Sequence[Line], reach: tuple[float, float]) -> str:
    """Lines over steps from a common axis, their names at their ends."""
    left, right = 44.0, svg.WIDTH - max(len(line.label) for line in shown) * svg.LETTER - 8
    low, high = reach if reach[0] < reach[1] else (reach[0], reach[0] + 1)

    def x(step: float) -> float:
        return left + (step - steps[0]) / ((steps[-1] - steps[0]) or 1) * (right - left)

    def y(value: float) -> float:
        return TOP + HIGH - (min(max(value, low), high) - low) / (high - low) * HIGH

    parts: list[Element] = []
    for tick in (low, high):
        parts.append(svg.element("line", style="grid", x1=left, x2=right, y1=y(tick), y2=y(tick)))
        parts.append(svg.letters(f"{tick:.3g}", left - 5, y(tick), "share"))
    parts.append(svg.element("line", style="axis", x1=left, x2=right, y1=y(0.0), y2=y(0.0)))
    parts += [svg.letters(f"{at:g}", x(at), TOP + HIGH + 12, "tick") for at in (steps[0], steps[-1])]
    for line, height in zip(shown, _apart([y(line.values[-1]) for line in shown]), strict=True):
        points = "L".join(f"{x(a):.1f} {y(b):.1f}" for a, b in zip(steps, line.values, strict=True))
        parts.append(svg.element("path", style=f"line {line.style}", d="M" + points))
        parts.append(svg.letters(line.label, right + 6, height, f"name {line.style}"))
    return svg.drawing(title, TOP + HIGH + svg.BELOW, *parts)


def _apart(heights: Sequence[float]) -> list[float]:
    """The same, with at least a line of text between any two."""
    placed: dict[int, float] = {}
    for at in sorted(range(len(heights)), key=heights.__getitem__):
        placed[at] = max(heights[at], *(height + APART for height in placed.values()), 0.0)
    return [placed[at] for at in range(len(heights))]
