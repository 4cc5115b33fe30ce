"""Notes on attacks: how to read them, where they are blind, and which of them must not grade a strategy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from unlearn.attacks.base import Attack
from unlearn.core.plugins import find_option, option_name
from unlearn.core.types import Measurement
from unlearn.pipeline.plan import Outcome

GRADER = "logistic"
ATTACK = f"mia_{GRADER}_auc"  # in the average gap
ENTROPY_ATTACK = "mia_entropy_auc"  # replaces ATTACK for a strategy that trained on losses: entropy needs no label
SELECTOR = "selection"
SELECTION_ATTACK = f"{SELECTOR}_auc"  # as ATTACK, in the average gap that searches minimise
SELECTION_ENTROPY_ATTACK = f"{SELECTOR}_entropy_auc"
SHADOW_ATTACKS = {"lira": "mia_lira_auc", "rmia": "mia_rmia_auc", "u_lira": "mia_u_lira_auc"}  # AUC by attack


def describe_attacks(outcome: Outcome) -> dict[str, dict[str, str]]:
    """Describe the members, the non-members and the direction of every attack, by its name."""
    metrics = [evaluation.stage.metric for evaluation, _ in outcome.measurements]
    return {
        option_name(type(attack)): {
            "members": attack.members,
            "non_members": attack.non_members,
            "direction": attack.direction,
        }
        for attack in metrics
        if isinstance(attack, Attack)
    }


def find_invalid_attacks(strategy: str, attacks: Iterable[str]) -> tuple[str, ...]:
    """Return those of `attacks` that rank by what the strategy trained on."""
    kinds = {name: find_option("unlearn.attacks", Attack, name) for name in attacks}
    return tuple(n for n, kind in kinds.items() if kind and issubclass(kind, Attack) and strategy in kind.invalid_for)


def select_criteria(measured: Iterable[str], invalid: Iterable[str]) -> list[str]:
    """Return the metrics that decide whether the forget set was forgotten.

    These are forget accuracy and the AUCs of the valid attacks. Attacks by shadow models are the strongest: they may
    identify members that the loss alone does not reveal.

    Args:
        measured: all metrics of the run.
        invalid: attacks that must not grade the strategy.
    """
    shadow_attacks = [metric for attack, metric in SHADOW_ATTACKS.items() if attack not in invalid]
    criteria = ["forget_accuracy", ENTROPY_ATTACK if GRADER in invalid else ATTACK, *shadow_attacks]
    known = set(measured)
    return [metric for metric in criteria if metric in known]


def grading_note(strategy: str, attacks: tuple[str, ...], replacements: Sequence[str]) -> str:
    """Return the note on a strategy that trained on what these `attacks` rank by, and on what grades it instead."""
    return (
        f"{strategy} trained against attacks on losses and confidences. Attacks that rank by these "
        f"({', '.join(attacks)}) make it look better than it is: {' and '.join(replacements)}."
    )


def blind_attack_notes(differences: Mapping[str, Measurement]) -> dict[str, str]:
    """Return notes on the attacks that cannot distinguish original and retrained models.

    Args:
        differences: original minus retrained, paired, by metric; an attack is blind if its 95 % interval includes 0.
    """
    intervals = {metric: measurement.interval for metric, measurement in differences.items()}
    blind = [
        metric
        for metric, interval in intervals.items()
        if metric.startswith("mia_") and interval and interval[0] <= 0 <= interval[1]
    ]
    notes = {}
    if ATTACK in blind:
        notes["attack"] = (
            "The attack cannot distinguish original and retrained models: "
            "the 95 % interval of their difference in AUC includes 0."
        )
    if others := [metric for metric in blind if metric != ATTACK]:
        notes["blind_attacks"] = (
            f"These attacks cannot distinguish original and retrained models, at 95 %: {', '.join(others)}."
        )
    return notes
