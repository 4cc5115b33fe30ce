"""Every architecture: any size and any channels, normalisation first, a linear head last."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from builders import uniform
from torch import nn

from unlearn.core.plugins import find_options
from unlearn.models.base import Classifier, Model
from unlearn.models.resnet18 import Resnet18

MODELS = find_options("unlearn.models", Model)
CONF = Path(__file__).parents[2] / "conf/model"
SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 5, 7), (2, 4, 4), (1, 17, 40)]
SETTINGS = {"python": {"factory": "own_net:build"}}  # required fields
every_model = pytest.mark.parametrize("name", MODELS)


def make_net(name: str, shape: tuple[int, int, int] = (3, 8, 8), classes: int = 7) -> nn.Module:
    model = MODELS[name](**SETTINGS.get(name, {}))
    assert isinstance(model, Model)
    torch.manual_seed(0)
    return model.net(shape, classes)


def classifier(name: str) -> Classifier:
    return Classifier(make_net(name), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)).eval()


@every_model
@pytest.mark.parametrize("shape", SHAPES)
def test_any_size_and_channels(name: str, shape: tuple[int, int, int]) -> None:
    """Forwards and backwards, in train mode, with a gradient for every parameter."""
    model = make_net(name, shape)
    logits = model(uniform(2, *shape))
    assert logits.shape == (2, 7)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@every_model
@pytest.mark.parametrize("classes", [2, 100])
def test_any_number_of_classes(name: str, classes: int) -> None:
    assert make_net(name, classes=classes).eval()(uniform(2, 3, 8, 8)).shape == (2, classes)


@every_model
def test_normalisation_comes_first(name: str) -> None:
    model, x = classifier(name), uniform(2, 3, 8, 8)
    by_hand = torch.stack([(x[:, c] - m) / s for c, (m, s) in enumerate([(0.5, 0.2), (0.4, 0.3), (0.3, 0.4)])], 1)
    torch.testing.assert_close(model(x), model.net(by_hand))
    assert {"mean", "std"} <= set(model.state_dict())
    assert not any(p_name in ("mean", "std") for p_name, _ in model.named_parameters())


@every_model
def test_features_are_the_input_of_the_head(name: str) -> None:
    model, x = classifier(name), uniform(2, 3, 8, 8)
    head = [module for module in model.net.modules() if isinstance(module, nn.Linear)][-1]
    features, logits = model.features(x)
    assert features.shape == (2, head.in_features)
    assert torch.equal(logits, model(x))
    assert torch.equal(head(features), logits)
    features.sum().backward()  # SPD-GAN follows them back to the pixels
    assert not head._forward_pre_hooks


def test_features_leave_no_hook_behind_after_an_error() -> None:
    model = classifier("mlp")
    with pytest.raises(RuntimeError):
        model.features(uniform(2, 3, 9, 9))
    assert not any(module._forward_pre_hooks for module in model.modules())


@every_model
def test_a_copy_gives_the_same_in_eval_mode_and_no_buffer_moves(name: str) -> None:
    model, x = classifier(name), uniform(2, 3, 8, 8)
    before = copy.deepcopy(model.state_dict())
    assert torch.equal(model(x), copy.deepcopy(model)(x))
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("name", ["cnn", "mlp"])
def test_dropout_is_drawn_only_in_train_mode(name: str, dropout: float) -> None:
    model, x = MODELS[name](dropout=dropout).net((3, 8, 8), 7), uniform(2, 3, 8, 8)
    assert torch.equal(model.train()(x), model(x)) == (dropout == 0)
    assert torch.equal(model.eval()(x), model(x))


@pytest.mark.parametrize("side", [8, 32, 64])
def test_resnet18_has_a_small_stem_for_small_images(side: int) -> None:
    with torch.device("meta"):
        model = Resnet18().net((3, side, side), 10)
    assert (model.conv1.kernel_size, model.conv1.stride) == ((3, 3), (1, 1))
    assert isinstance(model.maxpool, nn.Identity)
    assert sum(p.numel() for p in model.parameters()) == 11_173_962  # as in the CIFAR-10 tables


def test_resnet18_has_its_own_stem_for_large_images() -> None:
    with torch.device("meta"):
        model = Resnet18().net((3, 224, 224), 1000)
    assert (model.conv1.kernel_size, model.conv1.stride) == ((7, 7), (2, 2))
    assert isinstance(model.maxpool, nn.MaxPool2d)
    assert sum(p.numel() for p in model.parameters()) == 11_689_512  # as torchvision's


@every_model
def test_a_model_has_its_own_module_and_yaml(name: str) -> None:
    assert MODELS[name].__module__ == f"unlearn.models.{name}"
    assert f"/schema/model/{name}@_here_" in (CONF / f"{name}.yaml").read_text()
