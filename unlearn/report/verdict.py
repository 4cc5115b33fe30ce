"""The answers of a run, as sentences: was it forgotten, what was lost, what did it cost, how sure are we?"""

from __future__ import annotations

from typing import Any

from unlearn.core.plugins import find_option
from unlearn.report.attacks import ATTACK, OTHER, SHADOWS
from unlearn.report.cost import account, price
from unlearn.report.criterion import Criterion
from unlearn.report.deciding import propose
from unlearn.report.judgement import Forgetting, Verdict, differ, judge
from unlearn.report.phrases import capital, listed
from unlearn.report.utility import utility_answer, utility_lines, with_interval
from unlearn.strategies.base import Strategy

Report = dict[str, Any]
Answer = dict[str, Any]
NAMES = {
    "forget_accuracy": "forget accuracy",
    ATTACK: "attack AUC",
    OTHER: "attack AUC by entropy",
    **dict(zip(SHADOWS.values(), ("LiRA's AUC", "RMIA's AUC", "U-LiRA's AUC"), strict=True)),
}
ANSWERS = {
    Forgetting.UNMEASURED: "Not measured",
    Forgetting.NO_BASELINE: "Unknown: no model was retrained",
    Forgetting.NOT_JUDGED: "Not judged: the model is destroyed",
    Forgetting.NOT_MEASURABLE: "Not measurable: the original cannot be told from retrained models",
    Forgetting.FORGOTTEN: "Forgotten: equivalent to retrained models",
    Forgetting.NOT_FORGOTTEN: "Not forgotten: it shows what retrained models do not",
    Forgetting.OVER_FORGOTTEN: "Over-forgotten: it went past retrained models",
    Forgetting.CONTRADICTORY: "Contradictory: it differs from retrained models in both directions",
    Forgetting.INCONCLUSIVE: "Inconclusive: neither equal to retrained models nor different is shown",
}
AT_MOST_FIVE = "At most 5 % of retrained models would be called so"
CERTAINTY = {
    Forgetting.UNMEASURED: "There is nothing to be sure of",
    Forgetting.NO_BASELINE: "Not at all: there is no reference",
    Forgetting.NOT_JUDGED: "Nothing is claimed about forgetting",
    Forgetting.NOT_MEASURABLE: "Sure only that these metrics show nothing here",
    Forgetting.FORGOTTEN: "95 %, over images and retrained models",
    Forgetting.NOT_FORGOTTEN: AT_MOST_FIVE,
    Forgetting.OVER_FORGOTTEN: AT_MOST_FIVE,
    Forgetting.CONTRADICTORY: AT_MOST_FIVE,
    Forgetting.INCONCLUSIVE: "Not sure enough for a claim",
}
UNCHANGED = "In these criteria it does not differ from the original on a single image."


def verdict(report: Report) -> dict[str, Answer]:
    """Answer the four questions about a run.

    Args:
        report: a report's JSON.

    Returns:
        `forgotten`, `utility`, `cost` and `sure`, each with a `question`, a short `answer` and `lines` with the
        numbers. `forgotten` and `utility` also have a `finding`: the word of `Forgetting` and of `Utility`.
    """
    judgement = judge(report)
    return {
        "forgotten": {
            "question": "Was it forgotten?",
            "answer": ANSWERS[judgement.forgetting],
            "lines": _reasons(report, judgement),
            "finding": judgement.forgetting.value,
        },
        "utility": {
            "question": "What was lost?",
            "answer": utility_answer(judgement),
            "lines": utility_lines(report, judgement),
            "finding": judgement.utility.value,
        },
        "cost": {"question": "What did it cost?", "answer": price(report), "lines": account(report)},
        "sure": {
            "question": "How sure are we?",
            "answer": CERTAINTY[judgement.forgetting],
            "lines": _certainty(judgement),
        },
    }


def _reasons(report: Report, judgement: Verdict) -> list[str]:
    if judgement.forgetting is Forgetting.UNMEASURED:
        return [_why_unmeasured(report)]
    if judgement.forgetting is Forgetting.NO_BASELINE:
        return [f"{_changes(report)}.", "A retrained model shows where it should be: baseline=retrain."]
    lines = [_line(criterion, judgement) for criterion in judgement.criteria]
    if _is_unchanged(judgement):
        lines.insert(0, UNCHANGED)
    if judgement.forgetting is Forgetting.NOT_MEASURABLE:
        return [*lines, *_harder_requests(report)]
    if judgement.forgetting is Forgetting.INCONCLUSIVE:
        return [*lines, _what_would_decide(report, judgement)]
    return [*lines, *_blind_criteria(judgement)]


def _why_unmeasured(report: Report) -> str:
    notes = {metric: report["notes"].get(f"unlearned/{metric}", "undefined") for metric in report["judged_by"]}
    if not notes:
        return "Neither forget accuracy nor an attack was measured: metrics=accuracy, attacks=default."
    return f"{capital(listed([f'{NAMES[metric]}: {why}' for metric, why in notes.items()]))}."


def _line(criterion: Criterion, judgement: Verdict) -> str:
    """The values of a criterion, and whether it is one of several that decide."""
    decides = len(judgement.reasons) < len(judgement.criteria) and criterion in judgement.reasons
    return f"{capital(_values(criterion))}{'; this one differs' if decides else ''}."


def _values(criterion: Criterion) -> str:
    """`forget accuracy 0.731, retrained 0.410, original 1.000: 46 % of the way (40 to 52)`"""
    values = (
        f"{NAMES[criterion.metric]} {criterion.unlearned:.3f}, retrained {criterion.retrained:.3f}, "
        f"original {criterion.original:.3f}"
    )
    interval = criterion.progress_interval
    if interval is None:
        return values
    low, high = (f"{100 * end + 0.0:.0f}" for end in interval)
    return f"{values}: {100 * criterion.progress:.0f} % of the way ({low} to {high})"


def _is_unchanged(judgement: Verdict) -> bool:
    """Whether no image changes any criterion."""
    changes = [criterion.change for criterion in judgement.criteria]
    return bool(changes) and all(change is not None and change.is_exactly_zero for change in changes)


def _blind_criteria(judgement: Verdict) -> list[str]:
    if judgement.criteria[0].gap.models < 2:
        return []  # whether the original looks retrained is unknown
    is_visible = differ([criterion.untouched for criterion in judgement.criteria])
    blind = [NAMES[c.metric] for c, visible in zip(judgement.criteria, is_visible, strict=True) if not visible]
    return [f"{capital(listed(blind))} cannot show forgetting here: the original looks retrained."] if blind else []


def _harder_requests(report: Report) -> list[str]:
    """Requests that can show forgetting and that the run's other settings allow."""
    choices, checkpoint = report.get("choices", {}), report.get("config", {}).get("checkpoint") or {}
    relabels, trained_here = choices.get("forget") == "relabel", not checkpoint.get("file")
    strategy: Any = find_option("unlearn.strategies", Strategy, str(choices.get("strategy")))
    is_class_wise = strategy is not None and bool(strategy.class_wise_only)
    allowed = {
        "spd_gan=marker": trained_here and not relabels,
        "forget=hard": not relabels and not is_class_wise,
        "any request with dataset.label_noise=0.2": trained_here and not relabels,
    }
    requests = [name for name, is_allowed in allowed.items() if is_allowed]
    return [f"What can show it: {listed(requests, 'or')}."] if requests else []


def _what_would_decide(report: Report, judgement: Verdict) -> str:
    proposal = propose(judgement.criteria, judgement.tolerance)
    if proposal.models is not None:
        seeds = _more_seeds(report["seeds"]["baseline"], proposal.models)
        return f"To decide, at the spread seen: {proposal.models} retrained models, baseline.seeds={seeds}."
    if proposal.images is not None:
        return f"To decide, at the spread seen: {proposal.images:.1f} times as many images."
    return (
        "More retrained models would not decide: the gap is about as large as their own spread, and larger than the "
        f"tolerance of {judgement.tolerance:g} (report.tolerance)."
    )


def _more_seeds(seeds: list[int], models: int) -> str:
    unused = (seed for seed in range(models + len(seeds)) if seed not in seeds)
    return "[{}]".format(",".join(str(seed) for seed, _ in zip([*seeds, *unused], range(models), strict=False)))


def _changes(report: Report) -> str:
    names = {metric: NAMES[metric] for metric in report["judged_by"]}
    values = [
        (name, *(report["metrics"].get(f"{role}/{metric}") for role in ("original", "unlearned")))
        for metric, name in names.items()
    ]
    sentences = [
        f"{name} stayed at {after:.3f}" if before == after else f"{name} went from {before:.3f} to {after:.3f}"
        for name, before, after in values
        if before is not None and after is not None
    ]
    return capital(listed(sentences)) if sentences else "What was measured is undefined"


def _certainty(judgement: Verdict) -> list[str]:
    """Each gap with its interval, and what the intervals cover."""
    if not judgement.criteria:
        return ["Without a retrained model there is no gap."]
    models = judgement.criteria[0].gap.models
    if models < 2:
        source = "One retrained model has no spread: how far retrained models differ from each other is unknown."
    else:
        source = (
            f"In brackets: 95 % over images and {models} retrained models. Equivalent: within ±{judgement.tolerance:g} "
            "(report.tolerance). One more: how far another retrained model would lie from these, at 95 %."
        )
    return [*(_gap(criterion) for criterion in judgement.criteria), source]


def _gap(criterion: Criterion) -> str:
    gap = criterion.gap
    spread = "" if gap.one_more is None else f"; one more ±{gap.one_more:.3f}"
    return f"{capital(NAMES[criterion.metric])}: gap {with_interval(gap)}{spread}; n {criterion.n:,}."
