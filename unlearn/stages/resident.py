"""Models that stay on the GPU between the stages that read them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

from unlearn.models.base import Classifier

MOST = 4  # as many as most runs have roles (our choice)


@dataclass
class ResidentModels:
    """The models that were read last, by their stage's key.

    A reader gets a copy, made on the device, so that it may do with it what it likes. On a CPU nothing is kept: there
    reading a file costs no more than a copy.
    """

    models: dict[str, Classifier] = field(default_factory=dict)  # the one that was asked for last comes last

    def get(self, key: str, read: Callable[[], Classifier]) -> Classifier:
        """The model of that key, read where it is not kept."""
        model = self.models.pop(key, None) or read()
        if not model.mean.is_cuda:
            return model
        self.models[key] = model
        if len(self.models) > MOST:
            del self.models[next(iter(self.models))]
        return copy.deepcopy(model)

    def clear(self) -> None:
        """Keep none of them."""
        self.models.clear()
