"""What the report says about earlier requests: counts, seconds of all of them, records asked for twice."""

from __future__ import annotations

from typing import Any

from unlearn.core.errors import abbreviate
from unlearn.data.earlier import SPLIT
from unlearn.data.population import Population
from unlearn.data.requests.listed import Indices
from unlearn.pipeline.plan import Outcome
from unlearn.stages.files import read_tensors
from unlearn.stages.lineage import lineage_of

Report = dict[str, Any]


def count_requests(outcome: Outcome) -> Report:
    """Count the requests up to this one, their records and their seconds.

    Returns:
        Under `requests`: `count`, `records`, `earlier_records`, `already_forgotten` (records of this request that
        earlier ones removed) and `seconds` of unlearning, null if those of an earlier request are unknown. Empty
        without earlier requests.
    """
    plan, get = outcome.plan, outcome.context.get
    population, lineage = plan.split.forget.population, lineage_of(get(plan.original))
    earlier = len(population.kept_out)
    if not earlier:
        return {}
    known = 0 if lineage is None else lineage.requests
    count = max(known, _count_lists(population))
    forget = len(read_tensors(get(plan.split), "split.safetensors")["forget"])
    unlearning = sum(get(stage).seconds for stage in plan.unlearning_stages)
    before = lineage.seconds if lineage is not None and known == count else None
    return {
        "requests": {
            "count": count + 1,
            "records": earlier + forget,
            "earlier_records": earlier,
            "already_forgotten": len(_asked_again(outcome)),
            "seconds": None if before is None else before + unlearning,
        }
    }


def request_notes(outcome: Outcome) -> dict[str, str]:
    """Return a note on the records of earlier requests, and on those that were asked for twice."""
    counts = count_requests(outcome).get("requests")
    if counts is None:
        return {}
    earlier = f"{counts['earlier_records']:,} records of {counts['count'] - 1} earlier request(s)"
    notes = {
        "requests": f"{earlier} are in no subset of this run, and no retrained model was trained on them. The rows of "
        "earlier requests measure whether they are still forgotten."
    }
    if again := _asked_again(outcome):
        notes["already_forgotten"] = (
            f"Already forgotten by an earlier request: {len(again):,} of the records of forget.file "
            f"({abbreviate(again)})."
        )
    return notes


def describe_seconds(report: Report) -> str | None:
    """Return a sentence on the seconds of all requests together; None without earlier requests."""
    counts = report.get("requests")
    if counts is None:
        return None
    of_all = f"All {counts['count']} requests together, {counts['records']:,} records"
    if counts["seconds"] is None:
        return f"{of_all}: seconds of an earlier request are unknown."
    return f"{of_all}: {counts['seconds']:.1f} s of unlearning."


def _count_lists(population: Population) -> int:
    """Count the lists that the user gave; the split of a run may stand for several requests."""
    return sum(not file.endswith(SPLIT) for file in population.earlier.files)


def _asked_again(outcome: Outcome) -> tuple[str, ...]:
    """Return the locations in the request of the records that earlier requests removed."""
    samples = outcome.plan.split.forget
    request = samples.forget
    return request.already_forgotten(samples.population).locations if isinstance(request, Indices) else ()
