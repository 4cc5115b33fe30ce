"""Any architecture of torchvision: the right head and stem, published weights, refusals in pre-flight."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from builders import uniform
from torch import Tensor, nn
from torchvision import models

from unlearn import config
from unlearn.config import CommandLine, preflight
from unlearn.core.errors import ConfigError, DataError
from unlearn.core.validation import problems
from unlearn.models.base import Classifier
from unlearn.models.torchvision import Torchvision
from unlearn.stages.keys import canonicalize

config.register()
NAMES = models.list_models(module=models)
# One model for each way of building, ending and loading.
FEW = ["resnet18", "squeezenet1_1", "googlenet", "mnasnet0_5", "mobilenet_v3_small", "shufflenet_v2_x0_5"]


def built(
    name: str, shape: tuple[int, int, int] = (3, 32, 32), classes: int = 7, weights: str | None = None
) -> nn.Module:
    torch.manual_seed(0)
    return Torchvision(name, weights).net(shape, classes)


def refusal(model: Torchvision) -> str:
    """The one line that pre-flight says of it for the digits."""
    (problem,) = [*problems(model, "model")] or [*model.check((1, 8, 8), 10, features=True)]
    assert "\n" not in str(problem)
    return str(problem)


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Tensor]]:
    """`published(name)`: weights that torchvision will find in place of a download."""

    def make(name: str) -> dict[str, Tensor]:
        aux = {"aux_logits": True, "init_weights": False} if name == "googlenet" else {}
        torch.manual_seed(7)
        state: dict[str, Tensor] = models.get_model(name, weights=None, **aux).state_dict()
        monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda url, **_: state)
        return state

    return make


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name != "regnet_y_128gf"])  # needs 2.5 GB
def test_every_model_has_the_right_stem_and_head(name: str) -> None:
    shape = (1, 224, 224)
    assert not [*Torchvision(name).check(shape, 7, features=True)]
    with torch.device("meta"):
        net = Torchvision(name).net(shape, 7)
    layers = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    widths = [layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels for layer in layers]
    assert layers[0].in_channels == 1
    assert widths.count(7) == 1  # auxiliary classifiers are gone
    assert 1000 not in widths


@pytest.mark.parametrize("name", FEW)
def test_a_few_pass_forwards_and_backwards(name: str) -> None:
    net = built(name, (1, 32, 32))
    logits = net.train()(uniform(2, 1, 32, 32))
    assert logits.shape == (2, 7)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_a_vision_transformer_takes_the_size_of_the_images() -> None:
    with torch.device("meta"):
        net = built("vit_b_16", (3, 48, 48))
        assert net(torch.empty(2, 3, 48, 48)).shape == (2, 7)
    assert net.encoder.pos_embedding.shape[1] == 1 + 3 * 3


def test_the_seed_decides_every_weight() -> None:
    first, second = (built("squeezenet1_1", (1, 32, 32)).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("name", FEW)
def test_published_weights_replace_all_but_the_head(name: str, published: Callable[[str], dict[str, Tensor]]) -> None:
    theirs, net = published(name), built(name, weights="DEFAULT")
    fresh = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    rng = torch.get_rng_state()
    Torchvision(name, "DEFAULT").load_published(net)
    assert torch.equal(rng, torch.get_rng_state())
    ours = net.state_dict()
    head = [key for key in ours if ours[key].shape != theirs[key].shape]
    assert [len(ours[key]) for key in head] == [7, 7]  # weight and bias
    assert all(torch.equal(ours[key], fresh[key] if key in head else theirs[key]) for key in ours)
    assert any(not torch.equal(ours[key], fresh[key]) for key in ours)


def test_a_head_for_as_many_classes_is_fresh_too(published: Callable[[str], dict[str, Tensor]]) -> None:
    theirs, net = published("resnet18"), built("resnet18", classes=1000)
    Torchvision("resnet18", "DEFAULT").load_published(net)
    assert torch.equal(net.layer1[0].conv1.weight, theirs["layer1.0.conv1.weight"])
    assert not torch.equal(net.fc.weight, theirs["fc.weight"])


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_published_weights_see_one_channel_as_if_it_were_three(
    channels: int, published: Callable[[str], dict[str, Tensor]]
) -> None:
    published("resnet18")
    model = Torchvision("resnet18", "DEFAULT")
    colour, other = built("resnet18"), built("resnet18", (channels, 32, 32))
    for net in (colour, other):
        model.load_published(net)
    grey = uniform(2, 1, 32, 32)
    expected = colour.conv1(grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(other.conv1(grey.expand(-1, channels, -1, -1)), expected)


def test_a_model_without_weights_downloads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", None)
    Torchvision("squeezenet1_1").load_published(built("squeezenet1_1"))
    assert not [*Torchvision("squeezenet1_1", "DEFAULT").check((3, 32, 32), 7, features=True)]  # nor does pre-flight


@pytest.mark.parametrize(
    "error", [URLError("no route"), RuntimeError('invalid hash value (expected "f37")'), EOFError()]
)
def test_a_failed_download_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    with pytest.raises(DataError, match=r"model\.weights: .*DEFAULT of squeezenet1_1.*checkpoints$") as caught:
        Torchvision("squeezenet1_1", "DEFAULT").load_published(built("squeezenet1_1"))
    assert "\n" not in str(caught.value)


def test_weights_are_keyed_by_the_content_they_name() -> None:
    plain, default, first, second = (
        canonicalize(Torchvision("resnet50", weights))
        for weights in (None, "DEFAULT", "IMAGENET1K_V1", "IMAGENET1K_V2")
    )
    assert plain["weights"] is None
    assert first["weights"] == "resnet50-0676ba61.pth"
    assert default == second != first  # DEFAULT may be another file in a later torchvision


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Torchvision("resnet19"), ["model.name", "(nearest: resnet1", "'resnet19'"]),
        (Torchvision("fasterrcnn_resnet50_fpn"), ["model.name", "classification"]),
        (Torchvision(weights="IMAGENET"), ["model.weights", "one of IMAGENET1K_V1, DEFAULT, or null", "'IMAGENET'"]),
        (Torchvision("vgg16"), ["model.name", "1 x 8 x 8", "Output size is too small", "'vgg16'"]),
        (Torchvision("vit_b_16"), ["model.name", "1 x 8 x 8", "indivisible by patch size"]),
        (Torchvision("vit_b_16", "DEFAULT"), ["model.name", "Expected 224 but got 8"]),
        (Torchvision("maxvit_t"), ["model.name", "not divisible by partition size"]),
    ],
)
def test_refusals(model: Torchvision, words: list[str]) -> None:
    text = refusal(model)
    assert all(word in text for word in words), text


@pytest.mark.parametrize("override", ["model.name=resnet19", "model.weights=IMAGENET", "model.name=vgg16"])
def test_pre_flight_refuses(override: str) -> None:
    with pytest.raises(ConfigError) as caught:
        preflight(CommandLine(["model=torchvision", override], False, None))
    (problem,) = caught.value.problems
    assert problem.startswith(override.partition("=")[0])


def test_a_regnet_is_checked_and_counted_like_the_others() -> None:
    """It cannot be built on the meta device as it stands."""
    model = Torchvision("regnet_x_400mf")
    assert not [*model.check((1, 8, 8), 10, features=True)]
    preflight(CommandLine(["model=torchvision", "model.name=regnet_x_400mf", "strategy.k=100"], False, None))
    with torch.device("meta"):
        assert {p.device.type for p in model.net((1, 8, 8), 10).parameters()} == {"meta"}


@pytest.mark.parametrize("name", ["squeezenet1_1", "resnet18", "mobilenet_v3_small"])
def test_features_are_the_input_of_the_head(name: str) -> None:
    model = Classifier(built(name), (0.5,) * 3, (0.2,) * 3).eval()
    features, logits = model.features(uniform(2, 3, 32, 32))
    assert torch.equal(logits, model(uniform(2, 3, 32, 32)))
    if name == "squeezenet1_1":
        before = model.net.features((uniform(2, 3, 32, 32) - 0.5) / 0.2)
        torch.testing.assert_close(features, before.mean((2, 3)))
        assert features.shape == (2, 512)
    else:
        head = [layer for layer in model.net.modules() if isinstance(layer, nn.Linear)][-1]
        assert torch.equal(head(features), logits)
    assert not any(layer._forward_hooks for layer in model.modules())


@pytest.mark.slow
def test_other_models_need_no_torchvision() -> None:
    code = """
import sys
from unlearn import config
config.register()
config.preflight(config.CommandLine([], False, None))
assert "torchvision" not in sys.modules, "imported"
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "mnasnet0_5"])  # the latter asks saved weights for a version
def test_the_whole_job_runs(run: Callable[..., Any], tmp_path: Path, name: str) -> None:
    model = ("model=torchvision", f"model.name={name}", "train.lr=0.001")
    finished = run(tmp_path, *model, "train.patience=1", "train.epochs=2", "spd_gan.steps=2", "baseline.seeds=[0]")
    assert finished.value("unlearned", "forget_accuracy") is not None
