"""What a run found, in one sentence made from its numbers."""

from __future__ import annotations

from math import hypot
from statistics import fmean
from typing import Any

from unlearn.report.attacks import ATTACK, OTHER
from unlearn.statistics import RESOLUTION

Report = dict[str, Any]
FORGET = "forget_accuracy"
TIE = 1e-9  # distances this close are equal: they were rounded on different ways
ERRORS = 2.0  # standard errors of a difference, up to which two accuracies count as equal (our choice)


def verdict(report: Report) -> str:
    """One sentence: did the model forget as retrained ones would have, did it keep the rest, what cannot be said.

    Distances are mean absolute differences: of one model to each retrained one, or between retrained ones (the noise
    floor). Forget accuracy judges only where the original itself lies beyond that floor and sampling error.
    """
    parts = (_forgetting(report), _average(report), _retention(report), _attack(report))
    return "; ".join(part for part in parts if part) + "."


def _forgetting(report: Report) -> str:
    before, wanted, mine = (
        report["metrics"].get(f"{role}/{FORGET}") for role in ("original", "retrained", "unlearned")
    )
    if mine is None or before is None:
        return "Forget accuracy was not measured, so whether anything was forgotten cannot be said"
    if wanted is None:
        change = f"stayed at {mine:.3f}" if mine == before else f"went from {before:.3f} to {mine:.3f}"
        return f"Forget accuracy {change}, and no model was retrained to say where it should be"
    floor = report["metrics"][f"noise_floor/{FORGET}"]
    own, original = distance(report, "unlearned", FORGET), distance(report, "original", FORGET)
    if own > max(floor or 0, original + ERRORS * _error(report, "unlearned", FORGET)) + TIE:
        among = "" if floor is None else f", and they are {floor:.3f} away from each other"
        return (
            "The unlearned model is further from retraining than the untouched original is: its forget accuracy, "
            f"{mine:.3f}, is {own:.3f} away from the retrained {wanted:.3f}, the original's {original:.3f}{among}"
        )
    if floor is None:
        return (
            f"Forget accuracy is {mine:.3f}, {own:.3f} away from the one retrained model's {wanted:.3f} (the original: "
            f"{original:.3f} away), and a single one gives no noise floor to judge that by"
        )
    noise = max(floor, RESOLUTION * _error(report, "original", FORGET))
    if original <= noise + TIE:
        return (
            f"Forget accuracy cannot tell whether the unlearned model forgot ({mine:.3f}): even the original's "
            f"{before:.3f} is only {original:.3f} away from the retrained models' {wanted:.3f}, and up to "
            f"{noise:.3f} is noise"
        )
    manner = _manner(own, floor, ERRORS * _error(report, "unlearned", FORGET), mine - wanted)
    return (
        f"The unlearned model {manner}: its forget accuracy, {mine:.3f}, is {own:.3f} away from the retrained models' "
        f"{wanted:.3f}, and they are {floor:.3f} away from each other"
    )


def _manner(own: float, floor: float, error: float, gap: float) -> str:
    if own <= floor + TIE:
        return "forgot like a retrained one"
    if own <= error + TIE:  # a floor of few models may be small by chance
        return "forgot like a retrained one, up to sampling error"
    return "forgot too little" if gap > 0 else "forgot too much"


def distance(report: Report, role: str, metric: str) -> float:
    """Mean absolute difference to each retrained model's value."""
    value = report["metrics"][f"{role}/{metric}"]
    return fmean(abs(value - each["value"]) for each in report["statistics"][f"retrained/{metric}"]["readings"])


def _error(report: Report, role: str, metric: str) -> float:
    """Standard error of the difference between one model and one retrained model, as if of different images."""
    pair = (report["statistics"][f"{each}/{metric}"]["readings"][0] for each in (role, "retrained"))
    return hypot(*(reading["standard_error"] or 0.0 for reading in pair))


def _average(report: Report) -> str:
    gap, floor = (report["metrics"].get(key) for key in ("average_gap", "average_noise_floor"))
    if gap is None or floor is None:
        return ""
    where = "within" if gap <= floor + TIE else "beyond"
    return f"averaged over {_over(report)}, it is {gap:.3f} away from them, {where} their {floor:.3f} from each other"


def _over(report: Report) -> str:
    """The metrics of the average, as words: `forget and test accuracy and attack AUC`."""
    metrics = [key.partition("/")[2] for key in report["statistics"]["average_gap"]["over"]]
    accuracies = [metric.removesuffix("_accuracy") for metric in metrics if metric.endswith("_accuracy")]
    words = [f"{_listed(accuracies)} accuracy"] if accuracies else []
    attacks = {ATTACK: "attack AUC", OTHER: "AUC by entropy"}
    return " and ".join(words + [word for metric, word in attacks.items() if metric in metrics])


def _retention(report: Report) -> str:
    """Whether accuracy on retain and test is the original's, up to sampling error."""
    measured = [subset for subset in ("retain", "test") if f"unlearned/{subset}_accuracy" in report["metrics"]]
    fell = [subset for subset in measured if _fell(report, f"{subset}_accuracy")]
    held = [subset for subset in measured if subset not in fell]
    parts = [
        f"{_listed(held)} accuracy held" if held else "",
        f"{_listed(fell)} accuracy fell ({_values(report, fell)})" if fell else "",
    ]
    return " but ".join(part for part in parts if part)


def _fell(report: Report, metric: str) -> bool:
    before, after = (report["metrics"][f"{role}/{metric}"] for role in ("original", "unlearned"))
    errors = [
        report["statistics"][f"{role}/{metric}"]["readings"][0]["standard_error"] or 0.0
        for role in ("original", "unlearned")
    ]
    return bool(before - after > ERRORS * hypot(*errors) + TIE)


def _values(report: Report, subsets: list[str]) -> str:
    pairs = (
        [report["metrics"][f"{role}/{subset}_accuracy"] for role in ("original", "unlearned")] for subset in subsets
    )
    return ", ".join(f"{before:.3f} → {after:.3f}" for before, after in pairs)


def _attack(report: Report) -> str:
    return "the attack is blind here" if "attack" in report["notes"] else ""


def _listed(words: list[str]) -> str:
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)
