"""The chart of the verdict: the three models in every metric that decides."""

from __future__ import annotations

from typing import Any

from unlearn.report.charts.theme import ROLES, Spec, chart, clip, colour, domain, layer, quantity, role_colour, tooltip
from unlearn.report.criterion import Criterion, RetrainedGap, criteria
from unlearn.report.verdict import NAMES

STEP = 84  # pixels of a criterion


def verdict_chart(report: dict[str, Any]) -> Spec | None:
    """Original, retrained and unlearned models per criterion; None without a retrained model.

    The band is where one more retrained model would lie, at 95 %; whiskers are 95 % intervals of the difference to
    retrained models, drawn around the model. All are cut to 0-1, the range of accuracies and AUCs.
    """
    known = criteria(report, report["judged_by"])
    if not known:
        return None
    models = [row for criterion in known for row in _models(report, criterion)]
    bands = [row for criterion in known for row in _band(criterion)]
    reach = domain([row[end] for row in (*models, *bands) for end in ("low", "high")], 0.0, 1.0)
    whiskers = [row for row in models if row["low"] < row["high"]]
    middle = sum(reach) / 2
    position = {
        "x": quantity("value", None, reach),
        "y": {"field": "criterion", "type": "nominal", "title": None, "sort": [NAMES[c.metric] for c in known]},
    }
    of_role = {"yOffset": {"field": "role", "type": "nominal", "sort": list(ROLES)}, "color": role_colour()}
    interval = {"x": quantity("low", None, reach), "x2": {"field": "high"}, "y": position["y"]}
    tips = tooltip("criterion", "model", ("text", "value"), ("interval", "95 % interval"), "n")
    label = {"type": "text", "dy": -11, "align": {"expr": f"datum.value > {middle} ? 'right' : 'left'"}}
    return chart(
        "The three models in the metrics that decide",
        [
            layer(
                {"type": "rect", "color": colour("retrained"), "opacity": 0.18},
                bands,
                **interval,
                tooltip=tooltip("criterion", ("text", "one more retrained model, at 95 %")),
            ),
            layer({"type": "rule", "strokeWidth": 2}, whiskers, **interval, **of_role, tooltip=tips),
            layer({"type": "point", "size": 90}, models, **position, **of_role, tooltip=tips),
            layer(label, models, **position, **{"yOffset": of_role["yOffset"]}, text={"field": "label"}),
        ],
        STEP * len(known),
    )


def _models(report: dict[str, Any], criterion: Criterion) -> list[Spec]:
    """A row for the original, for every retrained and for the unlearned model."""
    evaluations = report["statistics"][f"retrained/{criterion.metric}"]["readings"]
    retrained = [(f"retrained, seed {entry.get('seed', '?')}", entry["value"]) for entry in evaluations]
    return [
        _row(criterion, "original", "original", criterion.original, criterion.untouched),
        *(_row(criterion, "retrained", model, value) for model, value in retrained),
        _row(criterion, "unlearned", "unlearned", criterion.unlearned, criterion.gap),
    ]


def _row(criterion: Criterion, role: str, model: str, value: float, gap: RetrainedGap | None = None) -> Spec:
    ends = gap and (gap.interval() or gap.difference.interval)
    low, high = (clip(criterion.retrained + end) for end in ends) if ends else (value, value)
    return {
        "criterion": NAMES[criterion.metric],
        "role": role,
        "model": model,
        "value": value,
        "low": low,
        "high": high,
        "text": f"{value:.4f}",
        "label": f"{value:.3f}" if gap else "",
        "interval": f"{low:.3f} to {high:.3f}" if ends else "none",
        "n": f"{criterion.n:,} images",
    }


def _band(criterion: Criterion) -> list[Spec]:
    reach = criterion.gap.one_more
    if reach is None:
        return []
    low, high = clip(criterion.retrained - reach), clip(criterion.retrained + reach)
    name = NAMES[criterion.metric]
    return [{"criterion": name, "low": low, "high": high, "text": f"{low:.3f} to {high:.3f}"}]
