"""Optimizers and schedules."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from unlearn.core.recipe import Recipe, norm_parameters
from unlearn.core.validation import problems


def factors(recipe: Recipe, steps: int = 10) -> list[float]:
    """The factor of lr at each step of all epochs."""
    return [recipe.lr_factor(step / steps) for step in range(recipe.epochs * steps)]


def test_cosine_and_linear_fall_from_lr_at_every_step() -> None:
    cosine, linear = (factors(Recipe(2, schedule=name)) for name in ("cosine", "linear"))
    assert cosine == pytest.approx([(1 + math.cos(math.pi * step / 20)) / 2 for step in range(20)])
    assert linear == pytest.approx([1 - step / 20 for step in range(20)])


def test_one_cycle_rises_and_falls_linearly() -> None:
    values = factors(Recipe(1, schedule="one_cycle", rise=0.2, start=0.4, end=0.1), steps=100)
    assert values[0] == pytest.approx(0.4)
    assert values[10] == pytest.approx(0.7)
    assert values[20] == pytest.approx(1.0)
    assert values[60] == pytest.approx(0.55)  # half of the fall from 1 to 0.1
    assert values[99] == pytest.approx(0.1, abs=0.02)
    assert factors(Recipe(1, schedule="one_cycle", rise=0.0))[0] == 1.0


def test_multistep_falls_only_at_its_milestones() -> None:
    values = factors(Recipe(3, schedule="multistep", milestones=[1, 2], gamma=0.5), steps=4)
    assert values == [1.0] * 4 + [0.5] * 4 + [0.25] * 4


def test_warmup_counts_in_epochs_and_rises_at_every_step() -> None:
    values = factors(Recipe(2, warmup=0.5), steps=10)
    assert values[:6] == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert values[6:] == [1.0] * 14


class Net(nn.Module):
    """A convolution, a normalisation and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.norm(self.conv(x)).mean((2, 3)))
        return out


def test_norms_and_biases_can_have_no_decay_and_another_rate() -> None:
    net = Net()
    optimizer = Recipe(lr=0.1, weight_decay=0.01, decay_norms=False, norm_bias_lr=64.0).make_optimizer(net)
    names = {id(p): name for name, p in net.named_parameters()}
    values = {
        names[id(p)]: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]
    }
    assert values == {
        "conv.weight": (0.1, 0.01),
        "head.weight": (0.1, 0.01),
        "conv.bias": (0.1, 0.0),
        "head.bias": (0.1, 0.0),
        "norm.weight": (0.1, 0.0),
        "norm.bias": (6.4, 0.0),
    }


def test_a_schedule_keeps_the_ratio_of_rates() -> None:
    recipe = Recipe(2, lr=0.1, norm_bias_lr=64.0, schedule="linear")
    optimizer = recipe.make_optimizer(Net())
    recipe.set_lr(optimizer, 1.0)
    assert sorted(group["lr"] for group in optimizer.param_groups) == pytest.approx([0.05, 3.2])


def stepped(optimizer: torch.optim.Optimizer, net: nn.Module, steps: int = 3) -> None:
    draws = torch.Generator().manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        net(torch.randn(5, 1, 6, 6, generator=draws)).square().sum().backward()
        optimizer.step()


def same_nets() -> tuple[Net, Net]:
    torch.manual_seed(0)
    first, second = Net(), Net()
    second.load_state_dict(first.state_dict())
    return first, second


@pytest.mark.parametrize("nesterov", [False, True])
def test_plain_settings_equal_torchs_sgd(nesterov: bool) -> None:
    ours, theirs = same_nets()
    stepped(Recipe(lr=0.01, momentum=0.8, weight_decay=0.1, nesterov=nesterov).make_optimizer(ours), ours)
    stepped(torch.optim.SGD(theirs.parameters(), 0.01, 0.8, weight_decay=0.1, nesterov=nesterov), theirs)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_muon_steps_matrices_as_torchs_muon_and_the_rest_by_sgd() -> None:
    """Torch's class takes matrices alone, so the convolution's weight is handed to it as one."""
    ours, theirs = same_nets()
    recipe = Recipe(lr=0.02, momentum=0.9, weight_decay=0.1, nesterov=True, optimizer="muon")
    stepped(recipe.make_optimizer(ours), ours)
    matrix = nn.Parameter(theirs.conv.weight.detach().flatten(1))  # shares memory with the weight
    muon = torch.optim.Muon([matrix, theirs.head.weight], 0.02, weight_decay=0.1, momentum=0.9, nesterov=True)
    vectors = [p for p in theirs.parameters() if p.dim() < 2]
    sgd = torch.optim.SGD(vectors, 0.02, 0.9, weight_decay=0.1, nesterov=True)
    draws = torch.Generator().manual_seed(1)
    for _ in range(3):
        theirs.zero_grad()
        theirs(torch.randn(5, 1, 6, 6, generator=draws)).square().sum().backward()
        assert theirs.conv.weight.grad is not None
        matrix.grad = theirs.conv.weight.grad.flatten(1)
        muon.step()
        sgd.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_muon_steps_a_convolution_in_channels_last_as_any_other() -> None:
    plain = nn.Conv2d(3, 4, 3)
    last = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for model in (plain, last):
        optimizer = Recipe(lr=0.1, optimizer="muon").make_optimizer(model)
        for _ in range(2):
            optimizer.zero_grad()
            model(images).square().mean().backward()
            optimizer.step()
    assert not last.weight.is_contiguous()
    torch.testing.assert_close(last.weight, plain.weight, rtol=1e-2, atol=1e-2)  # torch iterates in bfloat16


@pytest.mark.parametrize(
    ("recipe", "key"),
    [
        (Recipe(schedule="multistep"), "train.milestones"),
        (Recipe(optimizer="adam", nesterov=True), "train.nesterov"),
        (Recipe(nesterov=True, momentum=0.0), "train.momentum"),
        (Recipe(rise=1.0), "train.rise"),
        (Recipe(end=-0.1), "train.end"),
        (Recipe(warmup=-1.0), "train.warmup"),
    ],
)
def test_contradicting_fields_are_refused(recipe: Recipe, key: str) -> None:
    assert [problem.key for problem in problems(recipe, "train")] == [key]


def test_norm_parameters_are_found_by_layer_type() -> None:
    assert norm_parameters(Net()) == {"norm.weight", "norm.bias"}
