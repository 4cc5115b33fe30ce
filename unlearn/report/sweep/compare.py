"""Which rows are better than others by more than noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import sqrt
from statistics import fmean, stdev

from unlearn.functional.estimates import LEVEL, adjust_by_holm, two_sided_p_value
from unlearn.report.sweep.scenario import Row, Spread

GAP, FLOOR = "average_gap", "average_noise_floor"
TIE = 1e-9  # a smaller difference is one of rounding
NEEDED = 3  # common seeds: with two, the t interval's factor is 12.7 (our choice)
METHOD = (
    f"paired t tests of the average gap over common seeds (at least {NEEDED}), two-sided, at {LEVEL:.0%} over all "
    "pairs of rows (Holm's correction)"
)


@dataclass(frozen=True, eq=False)
class Ranking:
    """The rows to mark, `best` alone or several `tied`, or none; and why, in one line."""

    marked: tuple[Row, ...]
    word: str
    why: str

    def mark(self, row: Row) -> str:
        """The word to write next to a row; empty if there is none."""
        return self.word if any(row is marked for marked in self.marked) else ""


def rank(rows: Sequence[Row]) -> Ranking:
    """Mark the rows that beat some row and that no row beats, by average gap [ours].

    All pairs of rows are compared, since all are looked at: if all rows are equal, anything is marked in at most 5 % of
    sweeps.
    """
    ranked = sorted((row for row in rows if row.spread(GAP)), key=_mean_gap)
    if len(ranked) < 2:
        return _nothing("fewer than two rows have an average gap to rank by")
    pairs = [pair for pair in combinations(ranked, 2) if len(differences(*pair)) >= NEEDED]
    if not pairs:
        return _nothing(f"a paired test needs {NEEDED} common seeds, and no two rows share as many")
    wins = _wins(pairs)
    beaten = [loser for _, loser in wins]
    marked = tuple(row for row in ranked if _is_in(row, [winner for winner, _ in wins]) and not _is_in(row, beaten))
    if not marked:
        return _nothing(f"no row can be told from another by {METHOD}")
    if len(marked) == 1 and sum(winner is marked[0] for winner, _ in wins) == len(ranked) - 1:
        return Ranking(marked, "best", f"Marked as best: {marked[0].label}, which beats every other row by {METHOD}.")
    return Ranking(marked, "tied", f"Marked as tied: the rows that beat some row and that no row beats, by {METHOD}.")


def _nothing(why: str) -> Ranking:
    return Ranking((), "", f"Nothing is marked: {why}.")


def _mean_gap(row: Row) -> float:
    gap = row.spread(GAP)
    assert gap is not None
    return gap.mean


def _is_in(row: Row, rows: Sequence[Row]) -> bool:
    return any(row is other for other in rows)


def _wins(pairs: Sequence[tuple[Row, Row]]) -> list[tuple[Row, Row]]:
    """Winner and loser of each pair that the tests tell apart."""
    gaps = [differences(one, other) for one, other in pairs]
    adjusted = adjust_by_holm([p_value(values) for values in gaps])
    return [
        (one, other) if fmean(values) > 0 else (other, one)
        for (one, other), values, p in zip(pairs, gaps, adjusted, strict=True)
        if p < LEVEL
    ]


def differences(one: Row, other: Row) -> list[float]:
    """Average gap of `other` minus that of `one`, at each common seed."""
    theirs = {cell.seeds: cell.metrics.get(GAP) for cell in other.cells}
    pairs = [(theirs.get(cell.seeds), cell.metrics.get(GAP)) for cell in one.cells]
    return [a - b for a, b in pairs if a is not None and b is not None]


def p_value(values: Sequence[float]) -> float:
    """Of a two-sided t test that the mean of two or more values is 0."""
    mean, spread = fmean(values), stdev(values)
    if spread <= TIE:
        return 0.0 if abs(mean) > TIE else 1.0
    return two_sided_p_value(mean / spread * sqrt(len(values)), len(values) - 1)


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
