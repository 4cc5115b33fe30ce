"""Rank the rows of a comparison group: which are better than others by more than noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import sqrt
from statistics import fmean, stdev

from unlearn.functional.estimates import LEVEL, adjust_by_holm, two_sided_p_value
from unlearn.report.sweep.comparison import Row, Spread

GAP, FLOOR = "average_gap", "average_noise_floor"
TIE = 1e-9  # smaller differences are rounding errors
NEEDED = 3  # common seeds: with two, the t interval's factor is 12.7 [ours]
METHOD = (
    f"paired t tests of the average gap over at least {NEEDED} common seeds, two-sided, at {LEVEL:.0%} over all "
    "pairs of rows (Holm's correction)"
)


@dataclass(frozen=True, eq=False)
class Ranking:
    """The marked rows of a group.

    Args:
        marked: the best row, several tied rows, or none.
        word: `best`, `tied`, or empty.
        why: the reason in one sentence.
    """

    marked: tuple[Row, ...]
    word: str
    why: str

    def mark(self, row: Row) -> str:
        """Return the word to print next to a row; empty if the row is not marked."""
        return self.word if any(row is marked for marked in self.marked) else ""


def rank(rows: Sequence[Row]) -> Ranking:
    """Mark the rows that beat at least one row and that no row beats, by average gap [ours].

    The correction covers all pairs of rows, since all are looked at: if all rows are equal, a row is marked in at most
    5 % of sweeps.
    """
    ranked = sorted((row for row in rows if row.spread(GAP)), key=_mean_gap)
    if len(ranked) < 2:
        return _mark_nothing("fewer than two rows have an average gap")
    pairs = [pair for pair in combinations(ranked, 2) if len(differences(*pair)) >= NEEDED]
    if not pairs:
        return _mark_nothing(f"no two rows have {NEEDED} common seeds, which a paired test needs")
    wins = _find_wins(pairs)
    losers = [loser for _, loser in wins]
    marked = tuple(row for row in ranked if _is_in(row, [winner for winner, _ in wins]) and not _is_in(row, losers))
    if not marked:
        return _mark_nothing(f"no row differs from another by {METHOD}")
    if len(marked) == 1 and sum(winner is marked[0] for winner, _ in wins) == len(ranked) - 1:
        return Ranking(marked, "best", f"Best: {marked[0].label}. It beats every other row by {METHOD}.")
    return Ranking(marked, "tied", f"Tied: rows that beat at least one row and that no row beats, by {METHOD}.")


def _mark_nothing(reason: str) -> Ranking:
    return Ranking((), "", f"No row is marked: {reason}.")


def _mean_gap(row: Row) -> float:
    gap = row.spread(GAP)
    assert gap is not None
    return gap.mean


def _is_in(row: Row, rows: Sequence[Row]) -> bool:
    return any(row is other for other in rows)


def _find_wins(pairs: Sequence[tuple[Row, Row]]) -> list[tuple[Row, Row]]:
    """Return winner and loser of each pair that differs significantly."""
    gaps = [differences(one, other) for one, other in pairs]
    adjusted = adjust_by_holm([p_value(values) for values in gaps])
    return [
        (one, other) if fmean(values) > 0 else (other, one)
        for (one, other), values, p in zip(pairs, gaps, adjusted, strict=True)
        if p < LEVEL
    ]


def differences(one: Row, other: Row) -> list[float]:
    """Return the average gap of `other` minus that of `one` at each common seed."""
    other_gaps = {cell.seeds: cell.metrics.get(GAP) for cell in other.cells}
    pairs = [(other_gaps.get(cell.seeds), cell.metrics.get(GAP)) for cell in one.cells]
    return [a - b for a, b in pairs if a is not None and b is not None]


def p_value(values: Sequence[float]) -> float:
    """Return the p value of a two-sided t test that the mean of two or more values is 0."""
    mean, spread = fmean(values), stdev(values)
    if spread <= TIE:
        return 0.0 if abs(mean) > TIE else 1.0
    return two_sided_p_value(mean / spread * sqrt(len(values)), len(values) - 1)


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of the points that no other point dominates; small x and large y are good."""
    return [
        index
        for index, (x, y) in enumerate(points)
        if not any(a <= x and b >= y and (a < x or b > y) for a, b in points)
    ]


def format_spread(spread: Spread | None, metric: str = "") -> str:
    """Format `0.971 ± 0.012`; empty for None. Seconds and speed-ups have fewer digits."""
    if spread is None:
        return ""
    digits = 3 if metric not in ("seconds", "speedup") else 2 if spread.mean < 10 else 1
    deviation = f" ± {spread.std:.{digits}f}" if spread.std is not None else ""
    return f"{round(spread.mean, digits) + 0.0:.{digits}f}{deviation}"  # + 0.0: no negative zero
