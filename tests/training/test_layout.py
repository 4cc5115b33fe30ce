"""Channels last changes where numbers lie and how sums round, and nothing else."""

from __future__ import annotations

import copy

import own_net
import pytest
import torch
from builders import random_images
from torch import Tensor, nn

from unlearn.core.batch import iter_batches
from unlearn.core.recipe import Recipe
from unlearn.core.types import Images
from unlearn.data.loaders import Loader, PairedLoader
from unlearn.models.base import Classifier
from unlearn.models.cnn import Cnn
from unlearn.models.mlp import Mlp
from unlearn.models.resnet18 import Resnet18
from unlearn.training.classifier import ClassifierModule
from unlearn.training.layout import channels_last, check_channels_last, prefers_channels_last
from unlearn.training.prediction import CPU_BATCH_SIZE, features, predict, refresh_batch_norm
from unlearn.training.trainer import TrainerSettings

Shape = tuple[int, int, int]
NETS: dict[str, nn.Module] = {
    "cnn": Cnn(width=4, hidden=8).net((1, 8, 8), 10),
    "three channels": Cnn(width=4, hidden=8).net((3, 8, 8), 10),
    "resnet": Resnet18().net((3, 8, 8), 10),
    "mlp": Mlp(8).net((1, 8, 8), 10),
    "viewing": own_net.Viewing((1, 8, 8), 10),
}


def classifier(name: str) -> tuple[Classifier, Images]:
    shape = (3 if name in {"three channels", "resnet"} else 1, 8, 8)
    model = Classifier(copy.deepcopy(NETS[name]), (0.5,) * shape[0], (0.5,) * shape[0]).eval()
    n = 20 if name == "resnet" else CPU_BATCH_SIZE + 20
    return model, random_images(n, seed=0, classes=10, shape=shape)


@torch.no_grad()
def plainly(model: Classifier, data: Images) -> tuple[Tensor, Tensor]:
    """Features and logits, as the usual layout gives them, one batch of any size."""
    (batch,) = iter_batches(data, len(data))
    return model.features(batch.images)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_the_layout_reaches_the_layers_behind(channels: int) -> None:
    images = torch.rand(5, channels, 4, 6)
    arranged = channels_last(images)
    assert torch.equal(arranged, images)
    assert arranged.stride() == (24 * channels, 1, 6 * channels, channels)
    assert nn.Conv2d(channels, 4, 3)(arranged).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", NETS)
def test_predictions_and_features_are_those_of_the_usual_layout(name: str) -> None:
    model, data = classifier(name)
    known, logits = plainly(model, data)
    predictions = predict(model, data)
    torch.testing.assert_close(predictions.logits, logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(features(model, data), known, rtol=1e-5, atol=1e-5)
    assert predictions.logits.is_contiguous()
    assert torch.equal(predict(model, data).logits, predictions.logits)


def test_batch_norm_sees_no_image_but_the_data() -> None:
    model, data = classifier("resnet")
    norm: nn.BatchNorm2d = model.net.bn1  # type: ignore[assignment]
    refresh_batch_norm(model, data)
    maps = model.net.conv1(((data.images.float() / 255) - 0.5) / 0.5)  # type: ignore[operator]
    torch.testing.assert_close(norm.running_mean, maps.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert norm.num_batches_tracked == 1


@pytest.mark.parametrize(
    ("name", "faster"), [("cnn", True), ("three channels", True), ("mlp", False), ("viewing", False)]
)
def test_only_nets_of_convolutions_that_take_it_get_it(name: str, faster: bool) -> None:
    model, data = classifier(name)
    assert prefers_channels_last(model, model, data.shape) == faster
    problems = [str(problem) for problem in check_channels_last(model.net.to("meta"), data.shape)]
    assert [text.startswith("trainer.channels_last: expected false") for text in problems] == [True] * (
        name == "viewing"
    )


class Indexed(nn.Module):
    """A net that looks pixels up by a buffer, and one that takes no image at all."""

    def __init__(self, able: bool) -> None:
        super().__init__()
        self.able, self.head = able, nn.Linear(4, 2)
        self.register_buffer("index", torch.tensor([3, 0, 2, 1]))

    def forward(self, x: Tensor) -> Tensor:
        if not self.able:
            raise RuntimeError("of another kind")
        logits: Tensor = self.head(x.flatten(1)[:, self.index])  # type: ignore[index]
        return logits


@pytest.mark.parametrize("able", [True, False])
def test_only_nets_that_the_layout_breaks_are_reported(able: bool) -> None:
    assert not list(check_channels_last(Indexed(able).to("meta"), (1, 2, 2)))


@pytest.mark.parametrize(("precision", "close"), [("32", 1e-5), ("bf16-mixed", 0.2)])  # of what was learnt
def test_training_is_the_same_to_rounding(precision: str, close: float) -> None:
    def trained(settings: TrainerSettings) -> dict[str, Tensor]:
        model, data = classifier("three channels")
        first: nn.Module = model.net[0]  # type: ignore[index,assignment]
        first.register_forward_hook(lambda _, inputs, maps: seen.add(maps.is_contiguous()))
        loader = PairedLoader({"train": Loader(data, 16, 0, "original")})
        ClassifierModule(model, Recipe(epochs=2, lr=0.01), loader, 0, "original").run(settings)
        return dict(model.state_dict())

    seen = set[bool]()
    usual = trained(TrainerSettings("cpu"))
    assert seen == {True}
    seen.clear()
    arranged = trained(TrainerSettings("cpu", precision=precision, channels_last=True))
    assert seen == {False}
    start = classifier("three channels")[0].state_dict()
    for name, tensor in arranged.items():
        assert tensor.is_contiguous()
        assert torch.dist(tensor, usual[name]) <= close * torch.dist(start[name], usual[name])
