"""What a strategy has in addition if it states a bound on what its result reveals of the forget set."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any


class Guarantee(ABC):
    """A mixin for strategies with a bound, which fails if more of the original reaches the result.

    Mixing in the original (`blend=mix`) and images that the original made (`retain=condensed`) are then refused.
    """

    @abstractmethod
    def certificate(self) -> dict[str, Any]:
        """Return the bound and what it follows from, as plain JSON for the report."""
