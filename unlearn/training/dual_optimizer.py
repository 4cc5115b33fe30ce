"""Two optimizers of the same weights, one for each kind of step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class DualOptimizer(torch.optim.Optimizer):
    """One optimizer for retain steps and one for forget steps; each keeps its state while the other steps.

    It shows the groups and the state of the optimizer that takes the next step. So gradients are scaled back, clipped
    and set to zero once, and the learning rate is set, as for a single optimizer.

    Args:
        retain: the optimizer of retain steps.
        forget: the optimizer of forget steps, over the same parameters.
    """

    def __init__(self, retain: torch.optim.Optimizer, forget: torch.optim.Optimizer) -> None:
        super().__init__([p for group in retain.param_groups for p in group["params"]], {})
        self._optimizers = {"retain": retain, "forget": forget}
        self.select("retain")

    def select(self, name: str) -> None:
        """Choose the optimizer of the next step: `retain` or `forget`."""
        self._active = self._optimizers[name]
        self.param_groups, self.state = self._active.param_groups, self._active.state

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step with the chosen optimizer."""
        return self._active.step(closure)

    def state_dict(self) -> dict[str, Any]:
        """Return the states of both optimizers."""
        return {name: optimizer.state_dict() for name, optimizer in self._optimizers.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the states of both optimizers."""
        for name, optimizer in self._optimizers.items():
            optimizer.load_state_dict(state_dict[name])
        self.select("retain")
