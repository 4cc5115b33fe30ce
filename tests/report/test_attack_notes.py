"""Notes of a report on attacks: how to read them, where they are blind, and which ones may not grade a strategy."""

from __future__ import annotations

import io
from statistics import fmean
from typing import TYPE_CHECKING, Any

import pytest

from unlearn import config
from unlearn.core.types import Measurement
from unlearn.report.assemble import assemble
from unlearn.report.attacks import ATTACK, ENTROPY_ATTACK, SELECTION_ENTROPY_ATTACK, blind_attack_notes, select_criteria
from unlearn.report.figures import AVERAGED, SELECTION
from unlearn.report.page import render
from unlearn.report.pictures import Examples
from unlearn.report.table import show
from unlearn.report.verdict import verdict

if TYPE_CHECKING:
    from conftest import Finished, Run

Report = dict[str, Any]
DESCENT = ("strategy=membership_loss", "strategy.recipe.epochs=1", "strategy.head_epochs=5")
CHEAP = ("attacks.logistic.splits=2", "attacks.logistic.bootstrap=100")


def report_of(found: Finished) -> Report:
    return assemble(found.outcome, config.to_plain_dict(found.composed), {"strategy": "membership_loss"})


@pytest.fixture(scope="module")
def by_another(finished: Finished, run: Run) -> Report:
    return report_of(run(finished.store, *DESCENT, *CHEAP, "attacks.threshold.bootstrap=100"))


@pytest.fixture(scope="module")
def by_none(finished: Finished, run: Run) -> Report:
    return report_of(run(finished.store, *DESCENT, "~attacks.threshold"))


def test_every_attack_names_members_non_members_and_direction(finished: Finished) -> None:
    report = report_of(finished)
    assert set(report["attacks"]) == set(finished.config.attacks)
    attack = report["attacks"]["logistic"]
    assert set(attack) == {"members", "non_members", "direction"}
    page = render(report, Examples())
    assert all(text in page for text in attack.values())


def test_a_strategy_is_not_graded_by_what_it_trained_on(by_another: Report) -> None:
    over = [*AVERAGED[:-1], ENTROPY_ATTACK]
    assert by_another["statistics"]["average_gap"]["over"] == [f"gap/{metric}" for metric in over]
    gaps = [by_another["statistics"][f"gap/{metric}"]["mean_absolute"] for metric in over]
    assert by_another["metrics"]["average_gap"] == pytest.approx(fmean(gaps))
    floors = [by_another["metrics"][f"noise_floor/{metric}"] for metric in over]
    assert by_another["metrics"]["average_noise_floor"] == pytest.approx(fmean(floors))
    assert f"{ENTROPY_ATTACK} instead of {ATTACK}" in by_another["notes"]["grading"]
    assert by_another["judged_by"] == ["forget_accuracy", ENTROPY_ATTACK]
    assert "Attack AUC by entropy: gap" in " ".join(verdict(by_another)["sure"]["lines"])
    assert by_another["metrics"][f"gap/{ATTACK}"] is not None  # reported, but it grades nothing


def test_without_another_attack_it_is_not_graded_at_all(by_none: Report) -> None:
    assert by_none["metrics"]["average_gap"] is None
    assert by_none["metrics"]["average_noise_floor"] is None
    for key in ("grading", "average_gap"):
        assert "attacks=full" in by_none["notes"][key]
    stream = io.StringIO()
    show(by_none, stream)
    assert "trained against attacks" in stream.getvalue()


def test_other_strategies_are_graded_as_ever(finished: Finished) -> None:
    report = report_of(finished)
    assert "grading" not in report["notes"]
    assert report["statistics"]["average_gap"]["over"] == [f"gap/{metric}" for metric in AVERAGED]


@pytest.mark.parametrize("apart", [True, False])
def test_an_attack_that_cannot_distinguish_original_and_retrained_is_named(apart: bool) -> None:
    """The paired interval of original minus retrained includes 0; the usual attack has a note of its own."""
    difference = Measurement(0.2, 100, 0.1, (0.1, 0.3) if apart else (-0.1, 0.5))
    differences = dict.fromkeys(
        ("mia_entropy_auc", "mia_modified_entropy_auc", "forget_accuracy", "selection_auc"), difference
    )
    notes = blind_attack_notes(differences)
    assert set(notes) == (set() if apart else {"blind_attacks"})
    assert apart or ": mia_entropy_auc, mia_modified_entropy_auc." in notes["blind_attacks"]
    assert set(blind_attack_notes({ATTACK: difference})) == (set() if apart else {"attack"})


def test_a_search_is_not_graded_by_it_either(finished: Finished, run: Run) -> None:
    """`selection` ranks by the loss, too: its average gap uses entropy instead."""
    report = report_of(run(finished.store, *DESCENT, "attacks=[selection]", "attacks.selection.bootstrap=100"))
    over = [*SELECTION[:-1], SELECTION_ENTROPY_ATTACK]
    assert report["statistics"]["selection/average_gap"]["over"] == [f"gap/{metric}" for metric in over]
    assert report["metrics"]["selection/average_gap"] is not None
    assert (
        f"selection/average_gap uses {SELECTION_ENTROPY_ATTACK} instead of selection_auc" in report["notes"]["grading"]
    )
    assert report["metrics"]["average_gap"] is not None  # over accuracies alone: no attack on holdout was measured


@pytest.mark.parametrize(
    ("invalid", "expected"),
    [
        ((), ["forget_accuracy", ATTACK, "mia_lira_auc", "mia_rmia_auc"]),
        (("logistic", "lira", "rmia"), ["forget_accuracy", ENTROPY_ATTACK]),
    ],
)
def test_criteria_are_the_attacks_that_the_strategy_did_not_train_on(
    invalid: tuple[str, ...], expected: list[str]
) -> None:
    measured = ("mia_rmia_auc", "mia_lira_auc", ENTROPY_ATTACK, ATTACK, "test_accuracy", "forget_accuracy")
    assert select_criteria(iter(measured), invalid) == expected
