"""The four answers of a run in sentences: what was forgotten, what was lost, what it cost, how certain that is."""

from __future__ import annotations

from typing import Any

from unlearn.core.plugins import find_option
from unlearn.report.attacks import ATTACK, ENTROPY_ATTACK, SHADOW_ATTACKS
from unlearn.report.cost import cost_answer, cost_lines
from unlearn.report.criterion import Criterion
from unlearn.report.deciding import propose
from unlearn.report.judgement import Forgetting, Verdict, are_different, judge
from unlearn.report.phrases import capitalize, join_words
from unlearn.report.utility import format_gap, utility_answer, utility_lines
from unlearn.strategies.base import Strategy

Report = dict[str, Any]
Answer = dict[str, Any]
NAMES = {
    "forget_accuracy": "forget accuracy",
    ATTACK: "attack AUC",
    ENTROPY_ATTACK: "attack AUC by entropy",
    **dict(zip(SHADOW_ATTACKS.values(), ("LiRA's AUC", "RMIA's AUC", "U-LiRA's AUC"), strict=True)),
}
ANSWERS = {
    Forgetting.UNMEASURED: "Not measured",
    Forgetting.NO_BASELINE: "Unknown: no model was retrained",
    Forgetting.NOT_JUDGED: "Not judged: the model is destroyed",
    Forgetting.NOT_MEASURABLE: "Not measurable: the original model does not differ from retrained models",
    Forgetting.FORGOTTEN: "Forgotten: equivalent to retrained models",
    Forgetting.NOT_FORGOTTEN: "Not forgotten: the model differs from retrained models, towards the original",
    Forgetting.OVER_FORGOTTEN: "Over-forgotten: the model differs from retrained models, away from the original",
    Forgetting.CONTRADICTORY: "Contradictory: the model differs from retrained models in both directions",
    Forgetting.INCONCLUSIVE: "Inconclusive: neither equivalence to retrained models nor a difference is shown",
}
AT_MOST_FIVE = "At most 5 % of retrained models would get this verdict"
CERTAINTY = {
    Forgetting.UNMEASURED: "No claim: nothing was measured",
    Forgetting.NO_BASELINE: "No claim: without a retrained model there is no reference",
    Forgetting.NOT_JUDGED: "No claim about forgetting",
    Forgetting.NOT_MEASURABLE: "No claim: these metrics cannot show forgetting for this request",
    Forgetting.FORGOTTEN: "95 %, over images and retrained models",
    Forgetting.NOT_FORGOTTEN: AT_MOST_FIVE,
    Forgetting.OVER_FORGOTTEN: AT_MOST_FIVE,
    Forgetting.CONTRADICTORY: AT_MOST_FIVE,
    Forgetting.INCONCLUSIVE: "No claim: the data do not suffice",
}
UNCHANGED = "In these criteria the model agrees with the original on every image."


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
            "lines": _describe_forgetting(report, judgement),
            "finding": judgement.forgetting.value,
        },
        "utility": {
            "question": "What was lost?",
            "answer": utility_answer(judgement),
            "lines": utility_lines(report, judgement),
            "finding": judgement.utility.value,
        },
        "cost": {"question": "What did it cost?", "answer": cost_answer(report), "lines": cost_lines(report)},
        "sure": {
            "question": "How sure are we?",
            "answer": CERTAINTY[judgement.forgetting],
            "lines": _describe_certainty(judgement),
        },
    }


def _describe_forgetting(report: Report, judgement: Verdict) -> list[str]:
    if judgement.forgetting is Forgetting.UNMEASURED:
        return [_explain_unmeasured(report)]
    if judgement.forgetting is Forgetting.NO_BASELINE:
        setting = "pass retrained=[...]" if report.get("given_models") else "set baseline=retrain"
        return [
            f"{_describe_changes(report)}.",
            *_list_unchecked(report),
            f"To compare with a retrained model, {setting}.",
        ]
    lines = [_describe_criterion(criterion, judgement) for criterion in judgement.criteria]
    if _is_unchanged(judgement):
        lines.insert(0, UNCHANGED)
    if judgement.forgetting is Forgetting.NOT_MEASURABLE:
        return [*lines, *_suggest_requests(report)]
    if judgement.forgetting is Forgetting.INCONCLUSIVE:
        return [*lines, _suggest_decision(report, judgement)]
    return [*lines, *_name_blind_criteria(judgement)]


def _list_unchecked(report: Report) -> list[str]:
    """Name the checks that a run without a baseline left out."""
    if report.get("given_models"):
        return []
    unchecked = ["whether the model differs from one that never saw the forgotten records"]
    if report.get("config", {}).get("attacks") == {}:
        unchecked.append("whether an attacker recognises them (no attack ran)")
    if report.get("choices", {}).get("spd_gan") == "off":
        unchecked.append("what SPD-GAN's probe finds")
    return [f"Not checked: {join_words(unchecked)}."]


def _explain_unmeasured(report: Report) -> str:
    notes = {metric: report["notes"].get(f"unlearned/{metric}", "undefined") for metric in report["judged_by"]}
    if not notes:
        return "Neither forget accuracy nor an attack was measured; set metrics=accuracy, attacks=default."
    return f"{capitalize(join_words([f'{NAMES[metric]}: {reason}' for metric, reason in notes.items()]))}."


def _describe_criterion(criterion: Criterion, judgement: Verdict) -> str:
    """Describe the values of a criterion, and mark it if some criteria decide and others do not."""
    decides = len(judgement.reasons) < len(judgement.criteria) and criterion in judgement.reasons
    return f"{capitalize(_format_values(criterion))}{'; this criterion differs' if decides else ''}."


def _format_values(criterion: Criterion) -> str:
    """Return `forget accuracy 0.731, retrained 0.410, original 1.000: 46 % of the way (40 to 52)`."""
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
    """Whether the model agrees with the original on every image in every criterion."""
    changes = [criterion.change for criterion in judgement.criteria]
    return bool(changes) and all(change is not None and change.is_exactly_zero for change in changes)


def _name_blind_criteria(judgement: Verdict) -> list[str]:
    if judgement.criteria[0].gap.models < 2:
        return []  # whether the original differs is unknown
    is_visible = are_different([criterion.untouched for criterion in judgement.criteria])
    blind = [NAMES[c.metric] for c, visible in zip(judgement.criteria, is_visible, strict=True) if not visible]
    reason = "the original does not differ from retrained models"
    return [f"{capitalize(join_words(blind))} cannot show forgetting here: {reason}."] if blind else []


def _suggest_requests(report: Report) -> list[str]:
    """Suggest requests that can show forgetting and that the other settings of the run allow."""
    if report.get("given_models"):
        return []
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
    return [f"Requests that can show forgetting: {join_words(requests, 'or')}."] if requests else []


def _suggest_decision(report: Report, judgement: Verdict) -> str:
    proposal = propose(judgement.criteria, judgement.tolerance)
    if proposal.models is not None:
        seeds = _more_seeds(report["seeds"]["baseline"], proposal.models)
        setting = "pass them as retrained=[...]" if report.get("given_models") else f"baseline.seeds={seeds}"
        return f"At the observed spread {proposal.models} retrained models would decide: {setting}."
    if proposal.images is not None:
        return f"At the observed spread {proposal.images:.1f} times as many images would decide."
    if unknown := [NAMES[c.metric] for c in judgement.criteria if c.gap.difference.interval is None]:
        return f"More retrained models would not decide: without an interval over images, {join_words(unknown)} cannot."
    return (
        "More retrained models would not decide, nor would more images alone: the spread of retrained models can "
        f"explain the gap, and both together exceed the tolerance of {judgement.tolerance:g} (report.tolerance)."
    )


def _more_seeds(seeds: list[int], models: int) -> str:
    unused = (seed for seed in range(models + len(seeds)) if seed not in seeds)
    return "[{}]".format(",".join(str(seed) for seed, _ in zip([*seeds, *unused], range(models), strict=False)))


def _describe_changes(report: Report) -> str:
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
    return capitalize(join_words(sentences)) if sentences else "No criterion is defined"


def _describe_certainty(judgement: Verdict) -> list[str]:
    """Describe each gap with its interval, and what the intervals cover."""
    if not judgement.criteria:
        return ["Without a retrained model there is no gap."]
    models = judgement.criteria[0].gap.models
    if models < 2:
        source = "One retrained model has no spread: how much retrained models differ is unknown."
    else:
        source = (
            f"Brackets: 95 % intervals over images and {models} retrained models. Equivalent: within "
            f"±{judgement.tolerance:g} (report.tolerance). One more: 95 % prediction interval of a further retrained "
            "model."
        )
    return [*(_describe_gap(criterion) for criterion in judgement.criteria), source]


def _describe_gap(criterion: Criterion) -> str:
    gap = criterion.gap
    spread = "" if gap.one_more is None else f"; one more ±{gap.one_more:.3f}"
    return f"{capitalize(NAMES[criterion.metric])}: gap {format_gap(gap)}{spread}; n {criterion.n:,}."
