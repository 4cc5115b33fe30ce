"""The answers of a run, in words made from its numbers: was it forgotten, how sure are we, what did it cost?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unlearn.discovery import option
from unlearn.report.attacks import ATTACK, OTHER, SHADOWS
from unlearn.report.cost import account, price
from unlearn.report.judgement import Criterion, Difference, Finding, criteria, finding
from unlearn.report.phrases import capital, listed
from unlearn.strategies.base import Strategy

Report = dict[str, Any]
Answer = dict[str, Any]
NAMES = {
    "forget_accuracy": "forget accuracy",
    ATTACK: "attack AUC",
    OTHER: "attack AUC by entropy",
    **dict(zip(SHADOWS.values(), ("LiRA's AUC", "RMIA's AUC", "U-LiRA's AUC"), strict=True)),
}
HEADS = {
    Finding.UNMEASURED: "Not measured",
    Finding.NO_BASELINE: "Cannot be said without a retrained model",
    Finding.NO_FLOOR: "Cannot be judged by one retrained model",
    Finding.BLIND: "This forget set cannot show forgetting",
    Finding.WORSE: "No: further from retraining than before",
    Finding.UNTOUCHED: "No: it answers as the original does",
    Finding.TOO_LITTLE: "No: too little was forgotten",
    Finding.TOO_MUCH: "Too much: unlike retrained models",
    Finding.UNPROVEN: "Perhaps: outside the noise floor, not beyond chance",
    Finding.INDISTINGUISHABLE: "Yes: indistinguishable from retraining",
}
SURE = {
    Finding.UNMEASURED: "Nothing to be sure of",
    Finding.NO_BASELINE: "Not at all: there is no reference",
    Finding.NO_FLOOR: "Not enough: the noise floor is unknown",
    Finding.BLIND: "Sure only that nothing can be told",
    Finding.UNTOUCHED: "Sure: nothing changed",
    Finding.UNPROVEN: "Not sure: too few retrained models, or images",
    Finding.INDISTINGUISHABLE: "As sure as these retrained models make it",
}
BEYOND = "Sure at 95 %, as to images and seeds"  # of what else was found
ALONE = "Sure at 95 % as to images; seeds are unknown"  # the same by one retrained model
BY = "by more than images and seeds explain"


def verdict(report: Report) -> dict[str, Answer]:
    """`forgotten`, `sure` and `cost`: each a `question`, a short `answer`, and the `lines` that give its numbers.

    `forgotten` also names its `finding`. The report's notes are not repeated.
    """
    found = criteria(report)
    what, by = finding(report, found)
    return {
        "forgotten": {
            "question": "Was it forgotten?",
            "answer": HEADS[what],
            "lines": _forgotten(report, what, by, found),
            "finding": what.value,
        },
        "sure": {
            "question": "How sure are we?",
            "answer": _sureness(report, what),
            "lines": _sure(report, found),
        },
        "cost": {"question": "What did it cost?", "answer": price(report), "lines": account(report)},
    }


def _forgotten(report: Report, what: Finding, by: Sequence[Criterion], found: Sequence[Criterion]) -> list[str]:
    """The reason, by what was measured."""
    told = [f"{capital(_values(each))}." for each in by]
    if what is Finding.UNMEASURED:
        return ["Neither forget accuracy nor an attack was measured: metrics=accuracy, attacks=default."]
    if what is Finding.NO_BASELINE:
        return [f"{_changes(report)}.", "No model was retrained to say where it should be: baseline=retrain."]
    if what is Finding.BLIND:
        names = listed([NAMES[each.metric] for each in by])
        first = (
            f"Original and retrained cannot be told apart on it by {names}, which thus show nothing of the strategy."
        )
        same = ["What was unlearned answers as the original does."] if all(each.unchanged for each in by) else []
        return [first, *same, *(f"{capital(_untouched(each))}." for each in by), *_harder(report)]
    if what is Finding.NO_FLOOR:
        return [*told, "How far retrained models are from each other is not known: baseline.seeds=[0,1,2]."]
    hidden = [NAMES[each.metric] for each in found if not each.visible]
    blind = [f"{capital(listed(hidden))} cannot show forgetting here."] if hidden else []
    return [_manner(what, f"the {_models(report)} retrained models"), *told, *blind]


def _harder(report: Report) -> list[str]:
    """Forget sets that can show forgetting, of those that the run's other settings allow."""
    choices, checkpoint = report.get("choices", {}), report.get("config", {}).get("checkpoint") or {}
    relabels, trained_here = choices.get("forget") == "relabel", not checkpoint.get("file")
    kind = option("unlearn.strategies", Strategy, str(choices.get("strategy")))
    whole_class = kind is not None and issubclass(kind, Strategy) and kind.class_wise_only
    allowed = {
        "spd_gan=marker": trained_here and not relabels,
        "forget=hard": not relabels and not whole_class,
        "any with dataset.label_noise=0.2": trained_here and not relabels,
    }
    sets = [name for name, is_allowed in allowed.items() if is_allowed]
    return [f"A forget set that can: {listed(sets, 'or')}."] if sets else []


def _manner(what: Finding, them: str) -> str:
    return {
        Finding.WORSE: "Unlearning moved it away from retraining: the untouched original was nearer.",
        Finding.INDISTINGUISHABLE: f"It is no further from {them} than they are from each other.",
        Finding.UNTOUCHED: f"{capital(them)} answer otherwise; it says what the original says of every image.",
        Finding.UNPROVEN: f"It is further from {them} than they are from each other, but chance may do that.",
        Finding.TOO_LITTLE: f"It still shows what {them} do not, {BY}.",
        Finding.TOO_MUCH: f"It went past {them}, {BY}.",
    }[what]


def _values(each: Criterion) -> str:
    """`forget accuracy 0.731, retrained 0.410, original 1.000 (46 % of the way)`"""
    way = f"{100 * each.way:.0f} % of the way" if each.way >= 0 else "further than the original"
    told = f"{NAMES[each.metric]} {each.unlearned:.3f}, retrained {each.retrained:.3f}, original {each.original:.3f}"
    return f"{told} ({way})" if each.visible else told


def _untouched(each: Criterion) -> str:
    """How little the original differs, and whether seeds or samples hide it."""
    if each.untouched.interval is None:
        hidden = "so few images give no interval"
    elif not each.untouched.sure:
        hidden = f"95 % of the difference is{_interval(each.untouched)}"
    elif each.untouched.value < 0:
        hidden = "an original that remembers would be above"
    else:
        hidden = f"retrained models differ by {each.floor or 0:.3f} themselves"
    return f"{NAMES[each.metric]}: original {each.original:.3f}, retrained {each.retrained:.3f}; {hidden}"


def _changes(report: Report) -> str:
    pairs = [
        (NAMES[metric], *(report["metrics"].get(f"{role}/{metric}") for role in ("original", "unlearned")))
        for metric in report["judged_by"]
    ]
    told = [
        f"{name} stayed at {after:.3f}" if before == after else f"{name} went from {before:.3f} to {after:.3f}"
        for name, before, after in pairs
        if before is not None and after is not None
    ]
    return capital(listed(told)) if told else "What was measured is undefined"


def _sureness(report: Report, what: Finding) -> str:
    return SURE.get(what) or (BEYOND if _models(report) > 1 else ALONE)


def _models(report: Report) -> int:
    return len(report["seeds"]["baseline"])


def _sure(report: Report, found: Sequence[Criterion]) -> list[str]:
    """Every gap with its interval, noise floor and reach, and what these speak of."""
    if not found:
        return ["Without a retrained model there is neither a gap nor a noise floor."]
    models = _models(report)
    seeds = (
        f"Noise floor: how far the {models} retrained models are from each other. Another seed: how far from them one "
        "more would be, at 95 %."
        if models > 1
        else "One retrained model says nothing of seeds."
    )
    return [
        *(_gap(each, report["statistics"][f"gap/{each.metric}"]["n"]) for each in found),
        f"In brackets: 95 % as to images, the same ones under both models. {seeds}",
    ]


def _gap(each: Criterion, n: int) -> str:
    floor = "" if each.floor is None else f", noise floor {each.floor:.3f}, another seed ±{each.reach or 0:.3f}"
    interval = _interval(each.gap) or ", without an interval"
    return f"{capital(NAMES[each.metric])}: gap {each.gap.value + 0.0:+.3f}{interval}{floor}, n {n:,}."


def _interval(found: Difference) -> str:
    return f" ({found.interval[0] + 0.0:.3f} to {found.interval[1] + 0.0:.3f})" if found.interval else ""
