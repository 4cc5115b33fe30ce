"""The interface of the option `requests`: the one request of a run, or a stream of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from unlearn.core.errors import Problem, nearest
from unlearn.core.validation import at_least
from unlearn.data.requests.base import Forget

POLICIES = ("unlearn_each", "unlearn_every", "retrain_each", "retrain_every")


class RequestRule(NamedTuple):
    """One request of a stream: its name in messages and reports, and the rule that picks its records."""

    name: str
    rule: Forget


@dataclass(frozen=True)
class Requests(ABC):
    """The requests that a run answers."""

    is_stream: ClassVar[bool] = True

    @abstractmethod
    def rules(self) -> tuple[RequestRule, ...]:
        """The requests of the stream in their order.

        Raises:
            UnlearnError: they cannot be read.
        """


@dataclass(frozen=True)
class NoRequests(Requests):
    """No stream: the run answers one request, that of `forget`."""

    is_stream = False

    def rules(self) -> tuple[RequestRule, ...]:
        return ()


@dataclass(frozen=True)
class RequestStream(Requests):
    """A stream of deletion requests, which several policies answer one after another."""

    # Answer each request as it comes, or `every` requests together; by the strategy, or by retraining.
    policies: list[str] = field(default_factory=lambda: list(POLICIES))
    every: int = at_least(2, 5)  # requests that unlearn_every and retrain_every answer together

    def problems(self, key: str) -> Iterator[Problem]:
        """Report policies that are missing, unknown or listed twice."""
        names = ", ".join(POLICIES)
        if not self.policies:
            yield Problem(f"{key}.policies", f"one or more of {names}", self.policies)
        for policy in self.policies:
            if policy not in POLICIES:
                yield Problem(f"{key}.policies", f"some of {names}{nearest(policy, POLICIES)}", policy)
        if len(set(self.policies)) < len(self.policies):
            yield Problem(f"{key}.policies", "each policy once", self.policies)
