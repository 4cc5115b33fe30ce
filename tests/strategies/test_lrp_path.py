"""Paths that are cut, by hand; noise of the stated size."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from scipy.stats import kstest
from torch import Tensor, nn

from unlearn.core.errors import UnlearnError
from unlearn.core.types import Images, Subset
from unlearn.core.validation import problems
from unlearn.strategies.base import Context, Edit
from unlearn.strategies.lrp_path import NEED, LrpPath, draw_gaussian, draw_laplace

ROWS = torch.tensor(  # of class 1: inputs 4 and 0; 4 and 2; 0 and 4 (tied with 5); the fourth would be 3 and 1
    [
        [9.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        [2.0, 0.0, 1.0, -9.0, 3.0, 0.0],
        [0.0, 8.0, 0.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 1.0, -9.0, 3.0, 0.0],
        [2.0, 0.0, 0.0, 0.0, 1.0, 1.0],
        [0.0, 5.0, 0.0, 6.0, 0.0, 0.0],
    ]
)
LABELS = torch.tensor([0, 1, 2, 1, 1, 1])
PLAIN = LrpPath(samples=3, n=2, m=2)


def net() -> nn.Sequential:
    """Six inputs of the last layer, three classes; no weight is 0."""
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    with torch.no_grad():
        model[2].weight.copy_(torch.arange(1.0, 19).view(3, 6))
    return model


def edited(strategy: LrpPath, forgotten: tuple[int, ...] = (1,), seed: int = 0) -> tuple[nn.Sequential, Edit]:
    original = net()
    model = net()
    model.load_state_dict(original.state_dict())
    labels = torch.tensor(forgotten).repeat(3)
    data = {Subset.FORGET: Images(torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8), labels, labels)}
    scores = {NEED: {"relevance": ROWS, "labels": LABELS}}
    return model, strategy.edit(model, Context(original, net, scores, data, seed))


def chosen(strategy: LrpPath, forgotten: tuple[int, ...] = (1,)) -> list[list[int]]:
    """Columns of the masked entries of each row."""
    mask = edited(strategy, forgotten)[1].masks["2.weight"]
    return [row.nonzero()[:, 0].tolist() for row in mask]


def test_the_most_frequent_of_the_most_relevant_are_cut_from_the_class() -> None:
    """Of class 1's first three samples: input 4 three times, 0 twice, 2 once; the lower index goes before 5."""
    model, edit = edited(PLAIN)
    assert edit.masks.keys() == {"2.weight"}
    assert edit.masks["2.weight"].nonzero().tolist() == [[1, 0], [1, 4]]
    wanted = net()[2].weight.detach().clone()
    wanted[1, [0, 4]] = 0
    assert torch.equal(model[2].weight, wanted)
    assert not edit.refresh_bn


def test_nothing_else_changes() -> None:
    torch.manual_seed(0)
    original = net().state_dict()
    torch.manual_seed(0)
    model, _ = edited(PLAIN)
    assert all(torch.equal(original[name], value) for name, value in model.state_dict().items() if name != "2.weight")


def test_a_column_is_cut_from_all_classes() -> None:
    assert chosen(replace(PLAIN, reach="column")) == [[0, 4]] * 3


def test_ties_go_to_the_lower_index() -> None:
    """With one input a sample: 4, 4, 0. With three: 4, 0, 2; 4, 2, 0; 0, 4, 5: 2 comes up twice, 5 once."""
    assert chosen(replace(PLAIN, n=1 / 6, m=1 / 6)) == [[], [4], []]
    assert chosen(replace(PLAIN, n=3, m=3)) == [[], [0, 2, 4], []]
    assert chosen(replace(PLAIN, samples=2, n=2, m=2)) == [[], [0, 4], []]  # 0 and 2 come up once each


def test_an_input_that_never_comes_up_is_left_alone() -> None:
    assert chosen(replace(PLAIN, m=1.0)) == [[], [0, 2, 4], []]
    assert chosen(replace(PLAIN, m=0)) == [[], [], []]


def test_only_the_first_samples_of_the_class_are_analysed() -> None:
    assert chosen(replace(PLAIN, samples=4, m=1.0)) == [[], [0, 1, 2, 3, 4], []]


def test_each_forgotten_class_has_inputs_of_its_own() -> None:
    assert chosen(replace(PLAIN, n=1 / 6, m=2), (2, 0)) == [[0], [], [1]]
    assert chosen(replace(PLAIN, n=1 / 6, m=2, reach="column"), (2, 0)) == [[0, 1]] * 3


def test_a_class_without_validation_samples_is_an_error() -> None:
    labels = torch.tensor([3])
    data = {Subset.FORGET: Images(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), labels, labels)}
    context = Context(net(), net, {NEED: {"relevance": ROWS, "labels": LABELS}}, data, 0)
    with pytest.raises(UnlearnError, match="validation samples of class 3"):
        PLAIN.edit(net(), context)


@pytest.mark.parametrize(("mode", "draw"), [("gaussian", draw_gaussian), ("laplace", draw_laplace)])
def test_noise_is_the_streams_in_units_of_the_layers_deviation(mode: str, draw: object) -> None:
    model, edit = edited(replace(PLAIN, mode=mode, noise_scale=0.5), seed=3)
    weight = net()[2].weight.detach()
    drawn = draw(weight.shape, Context(net(), net, {}, {}, 3).generator("noise"))  # type: ignore[operator]
    unit = math.sqrt(sum((w - 9.5) ** 2 for w in range(1, 19)) / 18)
    mask = edit.masks["2.weight"]
    torch.testing.assert_close(model[2].weight.detach()[mask], (weight + 0.5 * unit * drawn)[mask])
    assert torch.equal(model[2].weight[~mask], weight[~mask])


@pytest.mark.parametrize(("draw", "law"), [(draw_gaussian, "norm"), (draw_laplace, "laplace")])
def test_noise_follows_its_law_with_variance_one(draw: object, law: str) -> None:
    drawn: Tensor = draw(torch.Size([20000]), torch.Generator().manual_seed(0))  # type: ignore[operator]
    scale = 2**-0.5 if law == "laplace" else 1.0
    assert drawn.dtype == torch.float32
    assert kstest(drawn.numpy(), law, args=(0, scale)).pvalue > 1e-3
    assert drawn.std().item() == pytest.approx(1, abs=0.04)


def test_a_net_without_a_linear_layer_is_refused() -> None:
    (problem,) = LrpPath().check(lambda: nn.ModuleDict({"net": nn.Conv2d(1, 3, 1)}))
    assert problem.key == "strategy"


@pytest.mark.parametrize(("strategy", "keys"), [(PLAIN, []), (LrpPath(n=7, m=6), ["n"]), (LrpPath(n=6, m=9), ["m"])])
def test_a_count_is_held_against_the_layers_inputs(strategy: LrpPath, keys: list[str]) -> None:
    found = strategy.check(lambda: nn.ModuleDict({"net": net()}))
    assert [problem.key for problem in found] == [f"strategy.{key}" for key in keys]


@pytest.mark.parametrize("bad", [{"n": 1}, {"m": 1.5}, {"samples": 0}, {"noise_scale": -1.0}, {"reach": "row"}])
def test_what_cannot_be_is_refused(bad: dict[str, int]) -> None:
    assert [problem.key for problem in problems(replace(PLAIN, **bad), "strategy")] == [f"strategy.{next(iter(bad))}"]
