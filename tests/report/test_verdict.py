"""The sentences of the verdict, case by case."""

from __future__ import annotations

import io
from typing import Any

import pytest
from verdicts import Report, add, entry, report

from unlearn.report.attacks import ATTACK
from unlearn.report.judgement import Forgetting
from unlearn.report.table import show
from unlearn.report.verdict import ANSWERS, CERTAINTY, verdict

THREE = [0.50, 0.51, 0.52]
SIX = [0.50, 0.504, 0.508, 0.512, 0.516, 0.52]  # 0.51 in the mean


def forgotten(report: Report) -> tuple[str, str]:
    """The finding, and all lines of the first answer."""
    answer = verdict(report)["forgotten"]
    assert answer["answer"] == ANSWERS[Forgetting(answer["finding"])]
    return answer["finding"], " ".join(answer["lines"])


@pytest.mark.parametrize(
    ("unlearned", "finding", "words"),
    [
        (0.51, "forgotten", "Forget accuracy 0.510, retrained 0.510, original 0.900: 100 % of the way (97 to 103)."),
        (0.52, "inconclusive", "At the observed spread "),
        (0.56, "not_forgotten", "original 0.900: 87 % of the way"),
        (0.46, "over_forgotten", "113 % of the way"),
        (
            0.90,
            "not_forgotten",
            "In these criteria the model agrees with the original on every image. Forget accuracy 0.900",
        ),
    ],
)
def test_each_finding_has_its_numbers(unlearned: float, finding: str, words: str) -> None:
    word, lines = forgotten(report(0.9, SIX, unlearned))
    assert word == finding
    assert words in lines


def test_criteria_that_differ_are_named() -> None:
    finding, lines = forgotten(add(report(0.9, SIX, 0.51), 0.9, SIX, 0.7, ATTACK))
    assert finding == "not_forgotten"
    assert "Forget accuracy 0.510, retrained 0.510, original 0.900: 100 % of the way (97 to 103)." in lines
    assert "51 % of the way (49 to 54); this criterion differs." in lines


def test_a_criterion_that_cannot_show_forgetting_is_named() -> None:
    finding, lines = forgotten(add(report(0.9, SIX, 0.51), 0.512, SIX, 0.51, ATTACK))
    assert finding == "forgotten"
    assert lines.endswith("Attack AUC cannot show forgetting here: the original does not differ from retrained models.")


def test_progress_is_left_out_if_the_original_does_not_differ() -> None:
    finding, lines = forgotten(report(0.515, SIX, 0.51))
    assert finding == "not_measurable"
    assert "% of the way" not in lines
    assert "spd_gan=marker" in lines


def test_no_suggested_setting_is_one_that_the_run_refuses() -> None:
    """The marker and label noise need training; class-wise strategies need whole classes."""
    found = report(0.515, SIX, 0.51)
    assert "spd_gan=marker, forget=hard or any request with dataset.label_noise=0.2." in forgotten(found)[1]
    found["config"] = {"checkpoint": {"file": "resnet18.pt"}}
    assert "Requests that can show forgetting: forget=hard." in forgotten(found)[1]
    found["choices"] = {"strategy": "lrp_path"}
    assert "Requests that can show" not in forgotten(found)[1]
    found["config"] = {"checkpoint": {}}
    assert "spd_gan=marker or any request with dataset.label_noise=0.2." in forgotten(found)[1]
    found["choices"] = {"forget": "relabel"}
    assert "Requests that can show" not in forgotten(found)[1]


def test_the_proposal_extends_the_present_seeds() -> None:
    found = report(0.9, THREE, 0.51) | {"seeds": {"baseline": [7, 1, 2]}}
    lines = forgotten(found)[1]
    number = int(lines.partition("At the observed spread ")[2].split()[0])
    assert f"{number} retrained models would decide: baseline.seeds=[7,1,2,0,3" in lines
    assert len(lines.partition("baseline.seeds=[")[2].partition("]")[0].split(",")) == number


def test_more_images_are_proposed_if_more_models_would_not_decide() -> None:
    found = add(report(None, SIX, None), 0.9, SIX, 0.51, "forget_accuracy", half=0.05)
    assert "times as many images would decide" in forgotten(found)[1]


def test_nothing_is_proposed_for_a_gap_as_large_as_the_spread_of_retrained_models() -> None:
    assert "More retrained models would not decide" in forgotten(report(0.9, [0.4, 0.5, 0.6, 0.45, 0.55], 0.55))[1]


def test_with_one_retrained_model_no_criterion_is_called_blind() -> None:
    found = add(report(0.9, [0.5], 0.5), 0.96, [0.95], 0.2, "test_accuracy")
    assert forgotten(found)[0] == "not_judged"
    assert "cannot show forgetting" not in forgotten(found)[1]


def test_with_one_retrained_model_more_are_proposed() -> None:
    answers = verdict(report(0.9, [0.5], 0.6))
    assert answers["forgotten"]["finding"] == "inconclusive"
    assert "3 retrained models would decide: baseline.seeds=[0,1,2]" in " ".join(answers["forgotten"]["lines"])
    assert "One retrained model has no spread" in " ".join(answers["sure"]["lines"])


@pytest.mark.parametrize(("unlearned", "words"), [(0.6, "went from 0.900 to 0.600"), (0.9, "stayed at 0.900")])
def test_without_a_retrained_model_only_the_change_is_described(unlearned: float, words: str) -> None:
    finding, lines = forgotten(report(0.9, [], unlearned))
    assert finding == "no_baseline"
    assert words in lines
    assert "baseline=retrain" in lines


def test_without_a_retrained_model_the_checks_that_did_not_run_are_listed() -> None:
    bare = report(0.9, [], 0.6)
    assert "Not checked: whether the model differs from one that never saw the forgotten records." in forgotten(bare)[1]
    quick = bare | {"config": {**bare.get("config", {}), "attacks": {}}, "choices": {"spd_gan": "off"}}
    lines = forgotten(quick)[1]
    assert "whether an attacker recognises them (no attack ran) and what SPD-GAN's probe finds." in lines
    assert "Not checked" not in forgotten(bare | {"given_models": True})[1]


def test_a_missing_criterion_is_explained() -> None:
    assert forgotten(report(None, [0.4], None)) == (
        "unmeasured",
        "Neither forget accuracy nor an attack was measured; set metrics=accuracy, attacks=default.",
    )
    undefined = report(None, [0.4], None) | {"judged_by": [ATTACK], "notes": {f"unlearned/{ATTACK}": "one sample"}}
    undefined["metrics"][f"unlearned/{ATTACK}"] = None
    assert forgotten(undefined) == ("unmeasured", "Attack AUC: one sample.")


def test_every_gap_has_its_interval_and_the_spread_of_retrained_models() -> None:
    lines = verdict(report(0.9, SIX, 0.56))["sure"]["lines"]
    assert lines[0] == "Forget accuracy: gap +0.050 (0.037 to 0.063); one more ±0.021; n 1,000."
    assert "over images and 6 retrained models" in lines[-1]
    found = report(0.9, SIX, 0.56)
    found["statistics"]["gap/forget_accuracy"]["interval"] = None
    assert "gap +0.050, without an interval" in verdict(found)["sure"]["lines"][0]
    assert forgotten(found)[0] == "inconclusive"


TEST = [0.945, 0.948, 0.95, 0.952, 0.955]


@pytest.mark.parametrize(
    ("test", "answer"),
    [
        (0.95, "Kept: any loss is within the tolerance"),
        (0.90, "Reduced: test accuracy by 5.0 points (3.9 to 6.1)"),
        (0.30, "Destroyed: test accuracy 0.300 instead of 0.950, chance 0.100"),
    ],
)
def test_what_was_lost(test: float, answer: str) -> None:
    found = verdict(add(report(0.9, SIX, 0.51), 0.965, TEST, test, "test_accuracy"))
    assert found["utility"]["answer"] == answer
    assert f"Test accuracy fell: 0.965 → {test:.3f}; retrained 0.950" in found["utility"]["lines"][0]


def test_a_destroyed_model_is_not_called_forgotten() -> None:
    finding, lines = forgotten(add(report(0.9, SIX, 0.51), 0.96, TEST, 0.3, "test_accuracy"))
    assert finding == "not_judged"
    assert "Forget accuracy 0.510" in lines


def test_without_a_retrained_model_accuracy_is_compared_with_the_original() -> None:
    found = verdict(add(report(0.9, [], 0.6), 0.96, [], 0.9, "test_accuracy"))
    assert found["utility"]["lines"] == ["Test accuracy fell: 0.960 → 0.900."]
    assert found["utility"]["finding"] == "inconclusive"


@pytest.mark.parametrize(
    ("metrics", "answer", "words"),
    [
        ({}, "5.0 times as fast as retraining", "2.0 s, retraining 10.0 s."),
        ({"unlearned/speedup": 0.5}, "Slower than retraining (0.50×)", "2.0 s"),
        ({"unlearned/speedup": None}, "2.0 s of unlearning", "no speed-up: other machine."),
        ({"unlearned/seconds": 0.004}, "5.0 times as fast as retraining", "0.004 s, retraining"),
    ],
)
def test_times_are_compared_if_the_hardware_is_the_same(metrics: dict[str, Any], answer: str, words: str) -> None:
    found = report(0.9, SIX, 0.51)
    found["metrics"] |= metrics
    found["notes"] = {"unlearned/speedup": "other machine"} if metrics.get("unlearned/speedup", 1) is None else {}
    cost = verdict(found)["cost"]
    assert cost["answer"] == answer
    assert words in " ".join(cost["lines"])


def test_a_speed_up_that_varies_shows_its_spread() -> None:
    found = report(0.9, SIX, 0.51)
    found["statistics"]["unlearned/speedup"]["std"] = 3.0
    assert verdict(found)["cost"]["answer"] == "5.0 ± 3.0 times as fast as retraining"


def test_the_console_ends_with_the_verdict() -> None:
    found, stream = report(0.9, SIX, 0.56) | {"edited_parameters": None}, io.StringIO()
    show(found, stream)
    text = " ".join(stream.getvalue().split())
    for answer in verdict(found).values():
        assert f"{answer['question']} {answer['answer']}." in text
        assert all(line in text for line in answer["lines"])


def test_every_finding_has_an_answer_and_a_certainty() -> None:
    assert set(ANSWERS) == set(CERTAINTY) == set(Forgetting)


def test_a_model_is_unchanged_only_if_it_agrees_on_every_image() -> None:
    """A difference of 0 in the mean is not enough."""
    found = report(0.9, SIX, 0.9)
    found["statistics"]["unlearned/forget_accuracy"]["change"] = entry(0.0) | {"standard_error": 0.01}
    assert "on every image" not in forgotten(found)[1]
