"""User-supplied architectures: the contract, the key, refusals in pre-flight."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import WriteModule
from torch import nn

from unlearn import config
from unlearn.config import CommandLine, preflight
from unlearn.core.errors import ConfigError, UnlearnError
from unlearn.core.user_code import source_hash
from unlearn.core.validation import problems
from unlearn.models.base import Classifier
from unlearn.models.python import PythonModel
from unlearn.stages.keys import canonicalize

config.register()
HEAD = "import torch\nfrom torch import nn\n"
Write = Callable[[str], str]


@pytest.fixture
def write(write_module: WriteModule) -> Write:
    """`write(source)` returns the factory `f` of a new module in the current folder."""
    return lambda source: f"{write_module(HEAD + source)}:f"


def refusal(factory: str, features: bool = True) -> str:
    """The one line that pre-flight says of it for the digits."""
    model = PythonModel(factory)
    (problem,) = [*problems(model, "model")] or [*model.check((1, 8, 8), 10, features)]
    assert "\n" not in str(problem)
    return str(problem)


def pass_preflight(*overrides: str, multirun: bool = False) -> None:
    preflight(CommandLine(["model=python", *overrides], multirun, None))


def test_the_function_is_given_shape_classes_and_arguments() -> None:
    net = PythonModel("own_net:build", {"width": 3}).net((2, 4, 5), 7)
    assert [layer.weight.shape for layer in net if isinstance(layer, nn.Linear)] == [(3, 40), (7, 3)]


@pytest.mark.parametrize(("argument", "words"), [("width", ""), ("depth", "unexpected keyword argument 'depth'")])
def test_arguments_can_be_set_in_a_users_option_file(tmp_path: Path, argument: str, words: str) -> None:
    defaults = "defaults:\n  - /schema/model/python@_here_\n  - _self_\n"
    (tmp_path / "model").mkdir()
    text = f"{defaults}factory: own_net:build\narguments:\n  {argument}: 5\n"
    (tmp_path / "model" / "mine.yaml").write_text(text)
    command = CommandLine(["model=mine"], False, str(tmp_path))
    if not words:
        preflight(command)
        return
    with pytest.raises(ConfigError, match=words):
        preflight(command)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def g(shape, classes): pass", ["model.factory", "expected a function of own"]),
        ("def f(shape): pass", ["takes 1 positional argument but 2 were given"]),
        ("\ndef f(shape, classes):\n    return {}['a']", ["1 x 8 x 8", "KeyError: 'a', in own", ".py line 5"]),
        ("def f(shape, classes): return 3", ["expected an nn.Module, got a int"]),
        ("def f(shape, classes): return nn.Linear", ["expected an nn.Module, got a type"]),
        ("def f(shape, classes): return nn.Flatten()", ["no parameters to train"]),
        ("def f(shape, classes): return nn.Sequential(nn.Flatten(), nn.LazyLinear(10))", ["lazy layers"]),
        (
            "def f(shape, classes): return nn.Linear(8, 10)",
            ["logits of shape [n, 10] for n = 2 images, got [2, 1, 8, 10]"],
        ),
        ("def f(shape, classes): return nn.Sequential(nn.Flatten(), nn.Linear(64, 9))", ["got [2, 9]"]),
        ("def f(shape, classes): return nn.Sequential(nn.Flatten(), nn.Linear(63, 10))", ["mat1 and mat2 shapes"]),
        ("def f(shape, classes): return nn.LSTM(8, 10)", ["ValueError: LSTM: Expected input"]),
        (
            "class f(nn.Flatten):\n  def __init__(s, *a): super().__init__(); s.p = nn.Parameter(torch.ones(1))\n"
            "  def forward(s, x): return (super().forward(x)[:, :10],)",
            ["got a tuple"],
        ),
        (
            "class f(nn.Flatten):\n  def __init__(s, *a): super().__init__(); s.p = nn.Parameter(torch.ones(1))\n"
            "  def forward(s, x): return super().forward(x)[:, :10] * s.p",
            ["nn.Linear or nn.Conv2d with 10 outputs"],
        ),
    ],
)
def test_refusals(write: Write, source: str, words: list[str]) -> None:
    text = refusal(write(source))
    assert all(word in text for word in words), text


@pytest.mark.parametrize("factory", ["", "own_net.build", "own_net:bild", "nowhere_at_all:build"])
def test_factories_that_do_not_exist_are_refused(factory: str) -> None:
    assert refusal(factory).startswith("model.factory: expected ")


def test_features_are_checked_only_where_they_are_needed(write: Write) -> None:
    source = """
class f(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, shape[1] * shape[2]))
    def forward(self, x):
        return x.flatten(1) @ self.weight.T
"""
    factory = write(source)
    pass_preflight(f"model.factory={factory}", "spd_gan=noise")
    with pytest.raises(ConfigError, match="spd_gan=off"):
        pass_preflight(f"model.factory={factory}", "spd_gan=marker")
    assert "spd_gan=off" in refusal(factory)
    model = Classifier(PythonModel(factory).net((1, 2, 2), 3), (0.5,), (0.5,))
    with pytest.raises(UnlearnError, match="with 3 outputs"):
        model.features(torch.rand(2, 1, 2, 2))
    assert not any(layer._forward_hooks for layer in model.modules())


def test_features_follow_the_order_in_which_layers_run(write: Write) -> None:
    """Not the order of registration; a convolution's are averaged over the image."""
    source = """
class f(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.head = nn.Conv2d(6, classes, 1)
        self.body = nn.Conv2d(shape[0], 6, 3, padding=1)
        self.gate = nn.Linear(6, 6)
    def forward(self, x):
        x = self.body(x)
        x = x * self.gate(x.mean((2, 3)))[:, :, None, None]
        return self.head(x).mean((2, 3))
"""
    model = Classifier(PythonModel(write(source)).net((1, 8, 8), 4), (0.0,), (1.0,))
    features, logits = model.features(torch.rand(2, 1, 8, 8))
    assert features.shape == (2, 6)
    by_hand = features @ model.net.head.weight[:, :, 0, 0].T + model.net.head.bias
    torch.testing.assert_close(by_hand, logits)


def test_pre_flight_moves_no_generator_and_needs_no_meta_device(write: Write) -> None:
    """Rates drawn with `.item()` are common, and fail on the meta device."""
    source = """
def f(shape, classes):
    rates = [rate.item() for rate in torch.linspace(0, 0.5, 3)]
    return nn.Sequential(nn.Flatten(), nn.Dropout(rates[-1]), nn.Linear(64, classes))
"""
    factory, before = write(source), torch.get_rng_state()
    pass_preflight(f"model.factory={factory}", "strategy.k=10")
    assert torch.equal(before, torch.get_rng_state())


def test_the_key_follows_source_and_arguments(write: Write) -> None:
    source = "def f(shape, classes, width=1):\n    return nn.Linear(1, 1)\n"
    factory = write(source)
    before = canonicalize(PythonModel(factory))
    write(source + "# a comment\n")
    source_hash.cache_clear()  # as a new process would
    assert canonicalize(PythonModel(factory)) == before
    assert canonicalize(PythonModel(factory, {"width": 2})) != before
    write(source.replace("Linear(1, 1)", "Linear(1, 2)"))
    source_hash.cache_clear()
    after = canonicalize(PythonModel(factory))
    assert {name for name in after if after[name] != before[name]} == {"source"}


def test_it_is_not_built_for_every_cell_of_a_grid(write: Write, tmp_path: Path) -> None:
    """Once to try it, and once to count its operations."""
    source = """
def f(shape, classes):
    with open("built.txt", "a") as file:
        file.write("x")
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))
"""
    pass_preflight(f"model.factory={write(source)}", "strategy.k=0.1,0.2,0.3", multirun=True)
    assert (tmp_path / "built.txt").read_text() == "xx"
