"""An edit that leaves the net at chance is reported at once, with the setting that makes it gentler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from unlearn import config
from unlearn.report.assemble import assemble

if TYPE_CHECKING:
    from conftest import Finished, Run

WRECKING = ("strategy=top_k", "strategy.mode=add", "strategy.noise_scale=10", "strategy.k=1.0")
BASELINE = "baseline.seeds=[0,1]"


@pytest.fixture(scope="module")
def wrecked(finished: Finished, run: Run) -> Finished:
    return run(finished.store, *WRECKING, "strategy.recipe.epochs=1")


def notes(run: Finished) -> dict[str, str]:
    report: dict[str, Any] = assemble(run.outcome, config.to_plain_dict(run.composed), {"strategy": "top_k"})
    return report["notes"]  # type: ignore[no-any-return]


def test_one_line_on_the_console_names_the_setting(wrecked: Finished) -> None:
    lines = [line for line in wrecked.console.splitlines() if "at chance" in line]
    assert len(lines) == 1
    assert "unlearn TopK (seed 0): the edit left the net at chance (validation accuracy 0." in lines[0]
    assert "lower strategy.noise_scale or strategy.k" in lines[0]


def test_the_warning_is_printed_before_the_model_is_built(wrecked: Finished) -> None:
    """The reader can still stop the run before the fine-tuning."""
    lines = wrecked.console.splitlines()
    noted = next(number for number, line in enumerate(lines) if "at chance" in line)
    built = next(number for number, line in enumerate(lines) if "unlearn TopK" in line and " built " in line)
    assert noted < built


def test_the_report_notes_the_warning(wrecked: Finished) -> None:
    assert "strategy.noise_scale" in notes(wrecked)["edit"]


def test_a_gentle_edit_gives_no_warning(finished: Finished) -> None:
    assert "at chance" not in finished.console
    assert "edit" not in notes(finished)
