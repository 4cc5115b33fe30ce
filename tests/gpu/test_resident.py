"""Models stay on the GPU between the stages that read them, and no reader changes another's."""

from __future__ import annotations

from simulated import simulated_cuda
from torch import nn

from unlearn.models.base import Classifier
from unlearn.stages.resident import CAPACITY, ResidentModels


class Reader:
    """Reads a model, and counts."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.count = 0

    def __call__(self) -> Classifier:
        self.count += 1
        return Classifier(nn.Linear(2, 2), (0.5,), (0.5,)).to(self.device).eval().requires_grad_(False)


def test_a_model_is_read_once_and_every_reader_has_a_copy() -> None:
    with simulated_cuda() as device:
        models, read = ResidentModels(), Reader("cuda")
        first = models.get("a", read)
        copies = device.copies.copy()
        first.requires_grad_(True).train()
        first.net.weight.data.zero_()  # type: ignore[operator,union-attr]
        second = models.get("a", read)
        assert read.count == 1
        assert device.copies == copies
        assert not second.training
        assert not any(p.requires_grad or not p.is_cuda for p in second.parameters())
        assert second.net.weight.any()  # type: ignore[operator,union-attr]


def test_the_models_that_were_asked_for_last_are_kept() -> None:
    with simulated_cuda():
        models, read = ResidentModels(), Reader("cuda")
        for key in [*map(str, range(CAPACITY)), "0", "new"]:
            models.get(key, read)
        assert list(models.models) == [*map(str, range(2, CAPACITY)), "0", "new"]
        models.clear()
        models.get("0", read)
        assert read.count == CAPACITY + 2


def test_on_a_cpu_none_is_kept() -> None:
    models, read = ResidentModels(), Reader("cpu")
    models.get("a", read), models.get("a", read)
    assert (read.count, models.models) == (2, {})
