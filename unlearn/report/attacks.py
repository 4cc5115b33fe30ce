"""What a report says of its attacks: how to read them, where they are blind, and which of them may grade whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from unlearn.attacks.base import Attack
from unlearn.discovery import options, snake_case
from unlearn.pipeline import Outcome

GRADER = "logistic"
ATTACK = f"mia_{GRADER}_auc"  # in the average gap
OTHER = "mia_entropy_auc"  # in its place where a strategy trained on what that ranks by: it knows no label, so no loss

Intervals = list[tuple[float, float]]


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
    known = {name: kind for name, kind in options("unlearn.attacks", Attack).items() if issubclass(kind, Attack)}
    return tuple(name for name in attacks if name in known and strategy in known[name].descended_by)


def grading(strategy: str, attacks: tuple[str, ...], measured: bool) -> str:
    """The note on a strategy that trained on what these `attacks` rank by, and on what grades it, if `measured`."""
    instead = (
        f"its average gap holds {OTHER} in place of {ATTACK}"
        if measured
        else f"it has no average gap, which with attacks=full holds {OTHER} in place of {ATTACK}"
    )
    return (
        f"{strategy} trained against an attacker of losses and confidences, which flatters it in whatever ranks by "
        f"those ({', '.join(attacks)}): {instead}."
    )


def blind(areas: Mapping[str, tuple[Intervals, Intervals]]) -> dict[str, str]:
    """Notes of the AUCs whose 95 % intervals overlap on the original and on a retrained model."""
    found = [metric for metric, (before, wanted) in areas.items() if _overlap(before, wanted)]
    notes = {}
    if ATTACK in found:
        notes["attack"] = "The attack cannot tell original and retrained apart: their 95 % intervals overlap."
    if rest := [metric for metric in found if metric != ATTACK]:
        notes["blind_attacks"] = f"The 95 % intervals of original and retrained overlap in {', '.join(rest)}."
    return notes


def _overlap(before: Intervals, wanted: Intervals) -> bool:
    return any(one[0] <= high and low <= one[1] for one in before for low, high in wanted)
