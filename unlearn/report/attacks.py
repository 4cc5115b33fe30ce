"""What a report says of its attacks: how to read them, where they are blind, and which of them may grade whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from unlearn.attacks.base import Attack
from unlearn.core.plugins import find_option, snake_case
from unlearn.core.types import Measurement
from unlearn.pipeline.plan import Outcome

GRADER = "logistic"
ATTACK = f"mia_{GRADER}_auc"  # in the average gap
OTHER = "mia_entropy_auc"  # in its place where a strategy trained on what that ranks by: it knows no label, so no loss
SELECTOR = "selection"
SELECTED = f"{SELECTOR}_auc"  # as ATTACK, in what searches minimise
SELECTED_OTHER = f"{SELECTOR}_entropy_auc"
SHADOWS = {"lira": "mia_lira_auc", "rmia": "mia_rmia_auc", "u_lira": "mia_u_lira_auc"}  # they judge beside it


def described(outcome: Outcome) -> dict[str, dict[str, str]]:
    """Members, non-members and direction of every attack, by its name."""
    attacks = [metric for reading, _ in outcome.measurements if isinstance(metric := reading.stage.metric, Attack)]
    return {
        snake_case(type(attack).__name__): {
            "members": attack.members,
            "non_members": attack.non_members,
            "direction": attack.direction,
        }
        for attack in attacks
    }


def descended(strategy: str, attacks: Iterable[str]) -> tuple[str, ...]:
    """Those of the attacks that rank by what a strategy trained on."""
    found = {name: find_option("unlearn.attacks", Attack, name) for name in attacks}
    return tuple(n for n, kind in found.items() if kind and issubclass(kind, Attack) and strategy in kind.invalid_for)


def judges(measured: Iterable[str], unfit: Iterable[str]) -> list[str]:
    """The metrics that say whether something was forgotten: forget accuracy, and the AUCs of attacks that are fit to.

    The strongest attacks are by shadow models: a model that the loss alone does not give away may be found by them.
    """
    fit = {name: area for name, area in SHADOWS.items() if name not in unfit}
    wanted = ["forget_accuracy", OTHER if GRADER in unfit else ATTACK, *fit.values()]
    known = set(measured)
    return [metric for metric in wanted if metric in known]


def grading(strategy: str, attacks: tuple[str, ...], instead: Sequence[str]) -> str:
    """The note on a strategy that trained on what these `attacks` rank by, and on what grades it instead."""
    return (
        f"{strategy} trained against an attacker of losses and confidences, which flatters it in whatever ranks by "
        f"those ({', '.join(attacks)}): {' and '.join(instead)}."
    )


def blind(differences: Mapping[str, Measurement]) -> dict[str, str]:
    """Notes of the AUCs in which original and retrained cannot be told apart: the 95 % interval of their difference,
    paired, holds 0."""
    areas = {metric: each.interval for metric, each in differences.items() if metric.startswith("mia_")}
    found = [metric for metric, interval in areas.items() if interval and interval[0] <= 0 <= interval[1]]
    notes = {}
    if ATTACK in found:
        notes["attack"] = (
            "The attack cannot tell original and retrained apart: the 95 % interval of their difference in AUC holds 0."
        )
    if rest := [metric for metric in found if metric != ATTACK]:
        notes["blind_attacks"] = f"Original and retrained cannot be told apart, at 95 %, by {', '.join(rest)}."
    return notes
