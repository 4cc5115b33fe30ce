"""Which rows are better than others by more than noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

from unlearn.report.judgement import TIE
from unlearn.report.sweep.scenario import Row, Spread

GAP, FLOOR = "average_gap", "average_noise_floor"
LEVEL = 0.05  # of the whole family of comparisons (our choice)
NEEDED = 3  # common seeds: with two, the t interval's factor is 12.7 (our choice)
METHOD = (
    f"paired t test of the average gap over common seeds (at least {NEEDED}), two-sided at {LEVEL:.0%}, Holm's "
    "correction over all comparisons with the closest row, and a mean difference beyond the noise floor"
)


@dataclass(frozen=True, eq=False)
class Ranking:
    """The rows to mark, `best` alone or `tied` together, or none; and why, in one line."""

    marked: tuple[Row, ...]
    word: str
    why: str

    def mark(self, row: Row) -> str:
        """What to write beside a row."""
        return self.word if any(row is each for each in self.marked) else ""


def rank(rows: Sequence[Row]) -> Ranking:
    """The closest row, alone or with all that cannot be told from it; none where nothing can be told apart.

    The closest is chosen by the same numbers that it is then tested on; the two-sided level and Holm's correction
    over all rows make up for that [ours].
    """
    rated = [(found.mean, number) for number, row in enumerate(rows) if (found := row.spread(GAP))]
    if len(rated) < 2:
        return Ranking((), "", "Nothing is marked: fewer than two rows have an average gap to rank by.")
    best = rows[min(rated)[1]]
    others = [rows[number] for _, number in sorted(rated) if rows[number] is not best]
    refusal = _refusal(best, others)
    if refusal:
        return Ranking((), "", f"Nothing is marked: {refusal}.")
    told = told_apart(best, others)
    ties = [row for row, apart in zip(others, told, strict=True) if not apart]
    if not ties:
        return Ranking((best,), "best", f"Marked as best: {best.label}, apart from every other row by a {METHOD}.")
    if len(ties) == len(others):
        return Ranking((), "", f"Nothing is marked: no row can be told from the closest, {best.label}, by a {METHOD}.")
    why = f"Marked as tied: the closest, {best.label}, and the rows that cannot be told from it by a {METHOD}."
    return Ranking((best, *ties), "tied", why)


def _refusal(best: Row, others: Sequence[Row]) -> str:
    """Why no comparison is possible at all."""
    if best.spread(FLOOR) is None:
        return "there is no noise floor, which needs two or more retrained models (baseline.seeds)"
    most = max(len(differences(best, row)) for row in others)
    if most < NEEDED:
        return (
            f"a paired test needs {NEEDED} common seeds, and the closest row, {best.label}, shares {most} with others"
        )
    return ""


def told_apart(best: Row, others: Sequence[Row]) -> list[bool]:
    """For each other row, whether its average gap is larger by more than noise."""
    pairs = [differences(best, row) for row in others]
    tested = [number for number, found in enumerate(pairs) if len(found) >= NEEDED]
    adjusted = holm([p_value(pairs[number]) for number in tested])
    floor = best.spread(FLOOR)
    assert floor is not None
    apart = {n for n, p in zip(tested, adjusted, strict=True) if p < LEVEL and fmean(pairs[n]) > floor.mean + TIE}
    return [number in apart for number in range(len(others))]


def differences(best: Row, other: Row) -> list[float]:
    """Average gap of `other` minus that of `best`, at each common seed."""
    theirs = {cell.seeds: cell.metrics.get(GAP) for cell in other.cells}
    pairs = [(theirs.get(cell.seeds), cell.metrics.get(GAP)) for cell in best.cells]
    return [a - b for a, b in pairs if a is not None and b is not None]


def p_value(values: Sequence[float]) -> float:
    """Two-sided, of a t test that their mean is 0; needs two values or more."""
    mean, spread = fmean(values), stdev(values)
    if spread <= TIE:
        return 0.0 if abs(mean) > TIE else 1.0
    from scipy.special import stdtr

    return float(2 * stdtr(len(values) - 1, -abs(mean) / spread * sqrt(len(values))))


def holm(values: Sequence[float]) -> list[float]:
    """P values adjusted for how many there are, in their order (Holm, 1979)."""
    adjusted, highest = [0.0] * len(values), 0.0
    for rank_, number in enumerate(sorted(range(len(values)), key=lambda each: values[each])):
        highest = max(highest, min(1.0, (len(values) - rank_) * values[number]))
        adjusted[number] = highest
    return adjusted


def within_floor(row: Row) -> bool:
    """Whether it is on average no further from retrained models than those are from each other."""
    gap, floor = row.spread(GAP), row.spread(FLOOR)
    return gap is not None and floor is not None and gap.mean <= floor.mean + TIE


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """The points that no other beats: none is as far left and as high, and better in one of the two."""
    return [
        number
        for number, (x, y) in enumerate(points)
        if not any(a <= x and b >= y and (a < x or b > y) for a, b in points)
    ]


def show(found: Spread | None, metric: str = "") -> str:
    """`0.971 ± 0.012`; empty where nothing is known. Seconds and factors have fewer digits."""
    if found is None:
        return ""
    digits = 3 if metric not in ("seconds", "speedup") else 2 if found.mean < 10 else 1
    spread = f" ± {found.std:.{digits}f}" if found.std is not None else ""
    return f"{round(found.mean, digits) + 0.0:.{digits}f}{spread}"  # + 0.0: no negative zero
