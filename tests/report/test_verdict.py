"""The verdict says what the numbers say, and no more: one case after the other, by hand."""

from __future__ import annotations

from itertools import combinations
from statistics import fmean
from typing import Any

import pytest

from unlearn.report.verdict import verdict

Values = dict[str, float | list[float]]
ERROR = 0.01  # standard error of every accuracy


def told(original: Values, retrained: Values, unlearned: Values, **more: Any) -> str:
    """The verdict on accuracies by subset; `retrained` holds one value per model."""
    report: dict[str, Any] = {"metrics": {}, "statistics": {}, "notes": more.get("notes", {})}
    metrics, statistics = report["metrics"], report["statistics"]
    for role, values in (("original", original), ("retrained", retrained), ("unlearned", unlearned)):
        for subset, found in values.items():
            each = found if isinstance(found, list) else [found]
            metrics[f"{role}/{subset}_accuracy"] = fmean(each)
            readings = [{"value": value, "standard_error": ERROR} for value in each]
            statistics[f"{role}/{subset}_accuracy"] = {"readings": readings}
    for subset, found in retrained.items():
        assert isinstance(found, list)
        pairs = [abs(a - b) for a, b in combinations(found, 2)]
        metrics[f"noise_floor/{subset}_accuracy"] = fmean(pairs) if pairs else None
    if "average" in more:
        metrics["average_gap"], metrics["average_noise_floor"] = more["average"]
        over = ["gap/forget_accuracy", "gap/test_accuracy", *more.get("over", [])]
        statistics["average_gap"] = {"over": over}
    return verdict(report)


KEPT = {"retain": 1.0, "test": 0.98}
TWO = {"forget": [0.4, 0.5]}  # 0.1 from each other
FULL = KEPT | {"forget": 1.0}


@pytest.mark.parametrize(
    ("forget", "head", "distance"),
    [
        (0.5, "forgot like a retrained one", "0.050"),  # 0.1 and 0 away
        (0.55, "forgot like a retrained one", "0.100"),  # exactly the floor
        (0.56, "forgot too little", "0.110"),
        (0.34, "forgot too much", "0.110"),
    ],
)
def test_the_floor_decides_on_forgetting(forget: float, head: str, distance: str) -> None:
    text = told(FULL, TWO, KEPT | {"forget": forget})
    assert text == (
        f"The unlearned model {head}: its forget accuracy, {forget:.3f}, is {distance} away from the retrained models' "
        "0.450, and they are 0.100 away from each other; retain and test accuracy held."
    )


@pytest.mark.parametrize(
    ("average", "words"),
    [
        ((0.02, 0.03), "it is 0.020 away from them, within their 0.030 from each other"),
        ((0.03, 0.02), "beyond their 0.020"),
    ],
)
def test_the_average_has_a_floor_of_its_own(average: tuple[float, float], words: str) -> None:
    text = told(FULL, TWO, FULL | {"forget": 0.45}, average=average, over=["gap/mia_logistic_auc"])
    assert "averaged over forget and test accuracy and attack AUC, it is" in text
    assert words in text


def test_an_average_that_is_undefined_is_not_told() -> None:
    assert "averaged" not in told(FULL, TWO, FULL, average=(None, None))


@pytest.mark.parametrize("unlearned", [0.98, 0.96, 1.0])
def test_where_the_original_passes_for_retrained_nothing_is_proved(unlearned: float) -> None:
    """As on unmarked data, where i.i.d. images are recognised whether or not they were trained on."""
    text = told(KEPT | {"forget": 0.99}, {"forget": [0.97, 0.99]}, KEPT | {"forget": unlearned})
    assert text.startswith(f"Forget accuracy cannot tell whether the unlearned model forgot ({unlearned:.3f})")
    assert "even the original's 0.990 is only 0.010 away from the retrained models' 0.980, and up to 0.042 is" in text
    assert not any(word in text for word in ("forgot like", "forgot too"))


@pytest.mark.parametrize(("retrained", "among"), [([0.97, 0.99], ", and they are 0.020 away"), ([0.98], "; ")])
def test_what_is_further_from_retraining_than_the_original_is_said_first(retrained: list[float], among: str) -> None:
    text = told(KEPT | {"forget": 0.99}, {"forget": list(retrained)}, KEPT | {"forget": 0.5})
    assert text.startswith("The unlearned model is further from retraining than the untouched original is")
    assert f"0.480 away from the retrained 0.980, the original's 0.010{among}" in text


def test_a_floor_that_is_small_by_chance_proves_nothing() -> None:
    """Two retrained models happen to agree; three standard errors of a difference are 0.0424, two are 0.0283."""
    assert "cannot tell" in told(FULL, {"forget": [0.96, 0.96]}, KEPT | {"forget": 0.93})
    heads = {
        forget: told(FULL, {"forget": [0.9, 0.9]}, KEPT | {"forget": forget}).partition(":")[0].partition("model ")[2]
        for forget in (0.9, 0.88, 0.925, 0.87, 0.93)
    }
    assert heads == {
        0.9: "forgot like a retrained one",
        0.88: "forgot like a retrained one, up to sampling error",
        0.925: "forgot like a retrained one, up to sampling error",
        0.87: "forgot too much",
        0.93: "forgot too little",
    }


def test_one_retrained_model_gives_no_floor() -> None:
    text = told(FULL, {"forget": [0.4]}, KEPT | {"forget": 0.6})
    assert "0.200 away from the one retrained model's 0.400 (the original: 0.600 away)" in text
    assert "no noise floor" in text
    assert not any(word in text for word in ("forgot like", "forgot too"))


@pytest.mark.parametrize(("forget", "words"), [(0.6, "went from 1.000 to 0.600"), (1.0, "stayed at 1.000")])
def test_without_a_baseline_it_only_says_what_changed(forget: float, words: str) -> None:
    text = told(FULL, {}, KEPT | {"forget": forget})
    assert text == (
        f"Forget accuracy {words}, and no model was retrained to say where it should be; retain and test accuracy held."
    )


def test_without_forget_accuracy_it_says_so() -> None:
    assert told({}, {}, {}) == "Forget accuracy was not measured, so whether anything was forgotten cannot be said."


@pytest.mark.parametrize(
    ("retain", "test", "words"),
    [
        (1.0, 0.98, "retain and test accuracy held"),
        (1.0, 0.953, "retain and test accuracy held"),  # 2 standard errors of the difference are 0.0283
        (1.0, 0.95, "retain accuracy held but test accuracy fell (0.980 → 0.950)"),
        (0.9, 0.5, "retain and test accuracy fell (1.000 → 0.900, 0.980 → 0.500)"),
        (1.0, 1.0, "retain and test accuracy held"),
    ],
)
def test_retention_is_judged_by_sampling_error(retain: float, test: float, words: str) -> None:
    assert words in told(FULL, TWO, {"forget": 0.45, "retain": retain, "test": test})


def test_a_blind_attack_is_told() -> None:
    assert told(FULL, TWO, FULL, notes={"attack": "."}).endswith("; the attack is blind here.")
    assert "blind" not in told(FULL, TWO, FULL)
