"""Strategies whose phases several processes cannot share."""

from __future__ import annotations


class OneDevice:
    """Mixin of strategies whose loss on a batch is more than a mean of values that each sample has by itself.

    Processes that share a batch would compute another loss, so the phases run on one device, whatever
    `trainer.devices` is. A docstring says why.
    """
