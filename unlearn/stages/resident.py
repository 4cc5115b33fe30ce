"""Cache of models that stay on the GPU between stages."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

from unlearn.models.base import Classifier

CAPACITY = 4  # the number of roles in most runs [ours]


@dataclass
class ResidentModels:
    """The models used last, by the key of their stage.

    A caller gets a copy, made on the device, which it may change. On a CPU nothing is kept, because there reading the
    file costs no more than a copy.
    """

    models: dict[str, Classifier] = field(default_factory=dict)  # in order of last use

    def get(self, key: str, read: Callable[[], Classifier]) -> Classifier:
        """Return a copy of the model with this key; `read` loads it if it is not in the cache."""
        model = self.models.pop(key, None) or read()
        if not model.mean.is_cuda:
            return model
        self.models[key] = model
        if len(self.models) > CAPACITY:
            del self.models[next(iter(self.models))]
        return copy.deepcopy(model)

    def clear(self) -> None:
        """Empty the cache."""
        self.models.clear()
