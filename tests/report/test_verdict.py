"""The verdict says what the numbers say, and no more: one case after the other, by hand."""

from __future__ import annotations

import io
from itertools import combinations
from statistics import fmean
from typing import Any

import numpy as np
import pytest

from unlearn.report.attacks import ATTACK
from unlearn.report.judgement import Finding, criteria, distance, reach
from unlearn.report.table import show
from unlearn.report.verdict import HEADS, SURE, verdict

Report = dict[str, Any]
FORGET = "forget_accuracy"
HALF = 0.05  # of every interval
Interval = tuple[float, float]


def report(original: float | None, retrained: list[float], unlearned: float | None, metric: str = FORGET) -> Report:
    """One metric; `retrained` holds one value per model. Every difference is known up to `HALF` at 95 %."""
    found: Report = {
        "metrics": {"unlearned/seconds": 2.0, "retrained/seconds": 10.0, "unlearned/speedup": 5.0},
        "statistics": {"retrained/seconds": {"std": None}, "unlearned/speedup": {"std": 0.5}},
        "notes": {},
        "seeds": {"baseline": list(range(len(retrained)))},
        "judged_by": [],
    }
    return beside(found, original, retrained, unlearned, metric)


def beside(
    found: Report, original: float | None, retrained: list[float], unlearned: float | None, metric: str
) -> Report:
    """With another metric, of which a model's None was not measured."""
    metrics, statistics = found["metrics"], found["statistics"]
    mean = fmean(retrained) if retrained else None
    for role, value in (("original", original), ("retrained", mean), ("unlearned", unlearned)):
        if value is not None:
            metrics[f"{role}/{metric}"] = value
            statistics[f"{role}/{metric}"] = {"n": 100, "std": None}
    if unlearned is None or original is None:
        return found
    found["judged_by"].append(metric)
    change = unlearned - original
    statistics[f"unlearned/{metric}"]["change"] = {"value": change} | around(change, HALF if change else 0.0)
    if mean is None:
        return found
    pairs = [abs(a - b) for a, b in combinations(retrained, 2)]
    metrics |= {f"gap/{metric}": unlearned - mean, f"noise_floor/{metric}": fmean(pairs) if pairs else None}
    statistics[f"retrained/{metric}"]["readings"] = [{"value": value} for value in retrained]
    untouched = {"value": original - mean, "mean_absolute": distance(found, "original", metric)}
    statistics[f"gap/{metric}"] = {
        "n": 100,
        "mean_absolute": distance(found, "unlearned", metric),
        "original": untouched | around(original - mean),
    } | around(unlearned - mean)
    return found


def around(value: float, half: float = HALF) -> dict[str, Any]:
    return {"interval": [value - half, value + half]}


def told(found: Report) -> tuple[str, str]:
    """The finding, and all lines of the first answer."""
    first = verdict(found)["forgotten"]
    assert first["answer"] == HEADS[Finding(first["finding"])]
    return first["finding"], " ".join(first["lines"])


TWO = [0.4, 0.5]  # 0.1 from each other, 0.45 in the mean
SIX = [0.40, 0.42, 0.44, 0.46, 0.48, 0.50]  # 0.0467 from each other, 0.45 in the mean, one more within 0.104


@pytest.mark.parametrize(
    ("unlearned", "finding", "words"),
    [
        (0.45, "indistinguishable", "no further from the 6 retrained models than they are from each other"),
        (0.49, "indistinguishable", "Forget accuracy 0.490, retrained 0.450, original 1.000 (93 % of the way)"),
        (0.52, "unproven", "chance may do that"),
        (0.55, "unproven", "Forget accuracy 0.550"),
        (0.56, "too_little", "still shows what the 6 retrained models do not"),
        (0.99, "too_little", "(2 % of the way)"),
        (1.0, "untouched", "says what the original says of every image. Forget accuracy 1.000"),
        (0.34, "too_much", "went past the 6 retrained models"),
        (-0.2, "worse", "the untouched original was nearer"),
    ],
)
def test_floor_and_seeds_decide_on_forgetting(unlearned: float, finding: str, words: str) -> None:
    found = told(report(1.0, SIX, unlearned))
    assert found[0] == finding
    assert words in found[1]


@pytest.mark.parametrize("models", [2, 3, 5, 10])
def test_a_fresh_retraining_is_seldom_called_something_else(models: int) -> None:
    """Of 1,000 that are drawn as the others are, a twentieth; and most of what is said of them is that they may be."""
    draws = np.random.default_rng(0).normal(0.5, 0.02, (1000, models + 1))
    found = [told(report(1.0, row[1:].tolist(), row[0]))[0] for row in draws]
    assert sum(each in {"too_little", "too_much", "worse"} for each in found) <= 70
    assert sum(each == "indistinguishable" for each in found) >= 500


def test_models_that_agree_by_chance_prove_nothing() -> None:
    """One image of a hundred more or less is within the floor, and four are within reach."""
    assert told(report(1.0, [0.9] * 3, 0.91))[0] == "indistinguishable"
    assert told(report(1.0, [0.9] * 3, 0.94))[0] == "unproven"
    assert verdict(report(1.0, [0.9] * 3, 0.91))["sure"]["lines"][0].endswith(
        "noise floor 0.010, another seed ±0.050, n 100."
    )


def test_an_original_below_retrained_models_remembers_nothing() -> None:
    finding, words = told(report(0.4, [0.5, 0.505, 0.51], 0.6))
    assert finding == "blind"
    assert "original 0.400, retrained 0.505; an original that remembers would be above" in words
    assert told(report(0.4, [0.5], 0.45))[0] == "blind"


def test_accuracy_that_retrained_models_have_is_part_of_the_price() -> None:
    found = report(1.0, TWO, 0.45)
    found["metrics"] |= {f"{role}/test_accuracy": 0.9 for role in ("original", "retrained")}
    found["metrics"] |= {"unlearned/test_accuracy": 0.8, "gap/test_accuracy": -0.1}
    found["statistics"]["unlearned/test_accuracy"] = {"change": {"value": -0.1} | around(-0.1)}
    found["statistics"]["gap/test_accuracy"] = around(-0.1)
    answer = "5.0 times as fast as retraining; 10.0 points of test accuracy lost"
    assert verdict(found)["cost"]["answer"] == answer
    found["statistics"]["gap/test_accuracy"] = around(-0.1, 0.2)
    assert verdict(found)["cost"]["answer"] == "5.0 times as fast as retraining"


def test_a_speed_up_that_varies_says_so() -> None:
    found = report(1.0, TWO, 0.45)
    found["statistics"]["unlearned/speedup"]["std"] = 3.0
    assert verdict(found)["cost"]["answer"] == "5.0 ± 3.0 times as fast as retraining"


def test_reach_is_the_interval_for_one_more() -> None:
    draws = np.random.default_rng(1).normal(0, 1, (4000, 4))
    hit = [abs(row[0] - row[1:].mean()) <= (reach(row[1:].tolist()) or 0) for row in draws]
    assert np.mean(hit) == pytest.approx(0.95, abs=0.015)
    assert reach([0.3]) is None


@pytest.mark.parametrize("unlearned", [0.94, 0.86])
def test_beyond_the_floor_but_not_beyond_samples_is_neither(unlearned: float) -> None:
    """Two retrained models happen to agree: nothing is within a floor of 0, and 0.04 is less than the interval."""
    finding, words = told(report(1.0, [0.9, 0.9], unlearned))
    assert finding == "unproven"
    assert "chance may do that" in words
    assert told(report(1.0, [0.9, 0.9], 0.9))[0] == "indistinguishable"


@pytest.mark.parametrize("unlearned", [0.96, 0.98, 1.0])
def test_where_the_original_passes_for_retrained_nothing_is_proved(unlearned: float) -> None:
    """As on unmarked data, where i.i.d. images are recognised whether or not they were trained on."""
    finding, words = told(report(0.99, [0.97, 0.99], unlearned))
    assert finding == "blind"
    assert "Original and retrained cannot be told apart on it" in words
    assert "original 0.990, retrained 0.980; 95 % of the difference is (-0.040 to 0.060)" in words
    assert "spd_gan=marker" in words


def test_advice_names_no_setting_that_the_run_refuses() -> None:
    """The marker and label noise must be there before training; a whole class is no draw of single images."""
    seen = report(0.99, [0.97, 0.99], 0.98)
    seen["config"] = {"checkpoint": {"file": "resnet18.pt"}}
    assert "A forget set that can: forget=hard." in told(seen)[1]
    seen["choices"] = {"strategy": "lrp_path"}
    assert "A forget set that can" not in told(seen)[1]
    seen["config"] = {"checkpoint": {}}
    assert "A forget set that can: spd_gan=marker or any with dataset.label_noise=0.2." in told(seen)[1]
    seen["choices"] = {"forget": "relabel"}
    assert "A forget set that can" not in told(seen)[1]


def test_seeds_may_hide_what_samples_show() -> None:
    finding, words = told(report(0.5, [0.1, 0.7], 0.4))
    assert finding == "blind"
    assert "retrained models differ by 0.600 themselves" in words


def test_what_is_unchanged_is_told() -> None:
    assert "answers as the original does" in told(report(0.99, [0.97, 0.99], 0.99))[1]
    assert "answers as the original does" not in told(report(0.99, [0.97, 0.99], 0.98))[1]


def test_every_criterion_must_be_within_its_floor() -> None:
    """Forget accuracy is as it should be, and an attack still tells members."""
    found = beside(report(1.0, TWO, 0.45), 0.9, [0.5, 0.51], 0.7, ATTACK)
    finding, words = told(found)
    assert finding == "too_little"
    assert "Attack AUC 0.700, retrained 0.505, original 0.900" in words
    assert "forget accuracy" not in words.lower()
    assert told(beside(report(1.0, TWO, 0.45), 0.8, [0.5, 0.52], 0.51, ATTACK))[0] == "indistinguishable"


def test_what_moved_the_wrong_way_is_told_so() -> None:
    """Further from retraining than the original, but by no more than samples hide: it is not called worse."""
    finding, words = told(report(0.6, [0.5, 0.505, 0.51, 0.505], 0.62))
    assert finding == "too_little"
    assert "(further than the original)" in words


def test_a_criterion_that_shows_nothing_is_named() -> None:
    finding, words = told(beside(report(1.0, TWO, 0.45), 0.51, [0.5, 0.52], 0.51, ATTACK))
    assert finding == "indistinguishable"
    assert words.endswith("Attack AUC cannot show forgetting here.")


def test_one_retrained_model_gives_no_floor() -> None:
    answers = verdict(report(1.0, [0.4], 0.6))
    assert answers["forgotten"]["finding"] == "no_floor"
    assert "baseline.seeds" in " ".join(answers["forgotten"]["lines"])
    assert "One retrained model says nothing of seeds." in " ".join(answers["sure"]["lines"])
    assert told(report(1.0, [0.4], -0.5))[0] == "worse"  # of which one is enough


@pytest.mark.parametrize(("unlearned", "words"), [(0.6, "went from 1.000 to 0.600"), (1.0, "stayed at 1.000")])
def test_without_a_baseline_it_only_says_what_changed(unlearned: float, words: str) -> None:
    finding, lines = told(report(1.0, [], unlearned))
    assert finding == "no_baseline"
    assert words in lines
    assert "No model was retrained" in lines


def test_without_a_criterion_it_says_so() -> None:
    assert told(report(None, [0.4], None))[0] == "unmeasured"


def test_how_sure_is_by_gap_interval_and_floor() -> None:
    lines = verdict(report(1.0, SIX, 0.56))["sure"]["lines"]
    assert lines[0] == "Forget accuracy: gap +0.110 (0.060 to 0.160), noise floor 0.047, another seed ±0.104, n 100."
    assert "how far the 6 retrained models are from each other" in lines[-1]
    found = report(1.0, TWO, 0.56)
    del found["statistics"]["gap/forget_accuracy"]["interval"]
    assert "gap +0.110, without an interval, noise floor" in verdict(found)["sure"]["lines"][0]


def test_without_an_interval_nothing_is_sure() -> None:
    found = report(1.0, TWO, 0.9)
    for behind in (found["statistics"]["gap/forget_accuracy"], found["statistics"]["gap/forget_accuracy"]["original"]):
        behind["interval"] = None
    assert told(found)[0] == "blind"


@pytest.mark.parametrize(
    ("after", "half", "words"),
    [
        (0.95, 0.05, "Test accuracy held: 0.980 → 0.950"),
        (0.9, 0.05, "Test accuracy fell: 0.980 → 0.900"),
        (1.0, 0.01, "Test accuracy rose: 0.980 → 1.000; retrained 0.970."),
        (0.98, 0.0, "Test accuracy held: 0.980 → 0.980"),
    ],
)
def test_retention_is_judged_by_the_interval_of_the_change(after: float, half: float, words: str) -> None:
    found = report(1.0, TWO, 0.45)
    found["metrics"] |= {"original/test_accuracy": 0.98, "unlearned/test_accuracy": after}
    found["metrics"]["retrained/test_accuracy"] = 0.97
    found["statistics"]["unlearned/test_accuracy"] = {"change": {"value": after - 0.98} | around(after - 0.98, half)}
    assert words in " ".join(verdict(found)["cost"]["lines"])


@pytest.mark.parametrize(
    ("metrics", "answer", "words"),
    [
        ({}, "5.0 times as fast as retraining", "2.0 s, retraining 10.0 s."),
        ({"unlearned/speedup": 0.5}, "Slower than retraining (0.50×)", "2.0 s"),
        ({"unlearned/speedup": None}, "2.0 s of unlearning", "no speed-up is given: other machine."),
        ({"unlearned/seconds": 0.004}, "5.0 times as fast as retraining", "0.004 s, retraining"),
    ],
)
def test_time_is_compared_where_it_can_be(metrics: dict[str, Any], answer: str, words: str) -> None:
    found = report(1.0, TWO, 0.45)
    found["metrics"] |= metrics
    found["notes"] = {"unlearned/speedup": "other machine"} if metrics.get("unlearned/speedup", 1) is None else {}
    cost = verdict(found)["cost"]
    assert cost["answer"] == answer
    assert words in " ".join(cost["lines"])


def test_the_console_ends_with_the_same_words() -> None:
    found, stream = report(1.0, TWO, 0.56) | {"edited_parameters": None}, io.StringIO()
    show(found, stream)
    text = " ".join(stream.getvalue().split())
    for answer in verdict(found).values():
        assert f"{answer['question']} {answer['answer']}." in text
        assert all(line in text for line in answer["lines"])


def test_every_finding_has_its_words() -> None:
    assert set(HEADS) == set(Finding)
    assert set(Finding) - set(SURE) == {Finding.WORSE, Finding.TOO_LITTLE, Finding.TOO_MUCH}
    (each,) = criteria(report(1.0, TWO, 0.725))
    assert each.way == pytest.approx(0.5)
