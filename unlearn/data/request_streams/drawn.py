"""A stream of requests for records that are drawn at random."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.core.validation import at_least
from unlearn.data.request_streams.base import RequestRule, RequestStream
from unlearn.data.requests.rules import Random


@dataclass(frozen=True)
class DrawnRequests(RequestStream):
    """Requests for records that are drawn uniformly from those that are left of D."""

    count: int = at_least(1, 20)  # requests
    size: int = at_least(1, 10)  # records of each request

    def rules(self) -> tuple[RequestRule, ...]:
        rule = Random(share=None, count=self.size)
        return tuple(RequestRule(f"request {number}", rule) for number in range(1, self.count + 1))
