"""How images were perturbed, as charts: complete, on fitting axes, and silent about what old artifacts lack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unlearn.report.charts.generator import caption, moved_by, training_chart, training_charts

if TYPE_CHECKING:
    from conftest import Finished

CURVE = [
    {"step": 5 * n, "discriminator_loss": 0.5 - 0.01 * n, "generator_loss": 0.4, "term": -0.2 * n} for n in range(10)
]
EFFECTS = {"mean_shift": 0.1, "max_shift": 0.2, "guide_accuracy": 0.5}
ENTRY: dict[str, Any] = {"by": "SPD-GAN", "term": "shift", "epsilon": 0.2, "curve": [row | EFFECTS for row in CURVE]}


def ends(spec: dict[str, Any]) -> list[float]:
    """The domain of the upright axis."""
    found: list[float] = spec["layer"][0]["encoding"]["y"]["scale"]["domain"]
    return found


def test_every_column_is_a_line_on_an_axis_that_holds_it() -> None:
    charts = dict(training_charts(ENTRY))
    lines = {title: {row["line"] for row in spec["layer"][0]["data"]["values"]} for title, spec in charts.items()}
    assert [len(names) for names in lines.values()] == [2, 1, 1, 2]
    for spec in charts.values():
        low, high = ends(spec)
        assert all(low <= row["value"] <= high for row in spec["layer"][0]["data"]["values"])
    assert ends(charts["accuracy on moved images"]) == [0, 1]
    assert ends(charts["change of a pixel"]) == [0, 0.2]  # epsilon
    assert ends(charts["term that moves the images away"])[0] < -1.8


def test_an_artifact_of_an_earlier_version_shows_what_it_kept() -> None:
    assert list(dict(training_charts(ENTRY | {"curve": CURVE}))) == ["losses", "term that moves the images away"]
    assert list(training_charts(ENTRY | {"curve": []})) == []  # random noise


def test_a_chart_ends_at_the_last_step() -> None:
    spec = training_chart("losses", CURVE, ["term"], 0.2)
    assert spec["layer"][0]["encoding"]["x"]["scale"]["domain"] == [0, 45]


def test_the_report_holds_the_curve_and_the_page_draws_it(finished: Finished) -> None:
    entry = moved_by(finished.outcome)["spd_gan"]
    stage = finished.outcome.plan.spd_gan
    assert stage is not None
    assert entry["curve"] == stage.curve(finished.context)
    assert len(entry["curve"]) == 10
    assert set(EFFECTS) < set(entry["curve"][0])
    assert entry["curve"][0]["max_shift"] == 0  # the generator starts as the identity
    assert 0 < entry["curve"][-1]["mean_shift"] <= entry["curve"][-1]["max_shift"] <= entry["epsilon"] + 1e-6
    assert caption(entry) == "SPD-GAN, term shift, ε = 0.2"
