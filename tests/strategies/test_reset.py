"""MSG, CT and Scissorhands: which weights they reset, by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from test_contract import original, prepare, scenario
from torch import Tensor, nn

from unlearn.core.types import Subset
from unlearn.strategies.base import Context, Edit, Strategy
from unlearn.strategies.ct import Ct
from unlearn.strategies.gradient_phase import GradientPhase
from unlearn.strategies.msg import Msg
from unlearn.strategies.scissorhands import Scissorhands


def edited(strategy: Strategy) -> tuple[dict[str, Tensor], dict[str, Tensor], Context, Edit]:
    """The weights before and after the edit of a convolutional net, with the context."""
    model, context = prepare(strategy, original("cnn"), scenario("random"), 0)
    edit = strategy.edit(model, context)
    before = dict(context.original.named_parameters())
    return before, {name: p.detach() for name, p in model.named_parameters()}, context, edit


def gradient(model: nn.Module, subset: Subset) -> dict[str, Tensor]:
    data, model = scenario("random")[subset], model.requires_grad_(True)
    loss = F.cross_entropy(model(data.images.float() / 255), data.labels)
    return dict(zip(dict(model.named_parameters()), torch.autograd.grad(loss, list(model.parameters())), strict=True))


def test_msg_resets_in_each_kernel_what_serves_both_sets_alike() -> None:
    before, after, context, edit = edited(Msg(part=0.3, retain_samples=None))
    forget, retain = (gradient(original("cnn"), subset) for subset in (Subset.FORGET, Subset.RETAIN))
    fresh = dict(context.fresh_model().named_parameters())
    kernels = [name for name, p in before.items() if p.dim() == 4]
    assert sorted(edit.masks) == sorted(kernels)
    for name, p in before.items():
        if name not in kernels:
            assert torch.equal(after[name], p)
            continue
        difference = (retain[name] - forget[name]).abs().flatten()
        chosen = set(difference.argsort()[: round(0.3 * p.numel())].tolist())
        expected = [fresh[name].flatten()[i] if i in chosen else p.flatten()[i] for i in range(p.numel())]
        assert torch.equal(after[name].flatten(), torch.stack(expected))


def test_msg_slows_the_kernel_entries_that_it_keeps() -> None:
    strategy = Msg(kept_factor=0.25)
    _, _, context, edit = edited(strategy)
    (phase,) = strategy.phases(context, edit)
    assert isinstance(phase, GradientPhase)
    assert list(phase.data) == [Subset.RETAIN]
    for name, factor in phase.factors[Subset.RETAIN].items():
        assert torch.equal(factor, torch.where(edit.masks[name], 1.0, 0.25))


def test_ct_swaps_the_spatial_axes_of_square_kernels_alone() -> None:
    before, after, _, edit = edited(Ct())
    for name, p in before.items():
        assert torch.equal(after[name], p.transpose(2, 3) if p.dim() == 4 else p)
        assert (name in edit.masks) == (p.dim() == 4)
    flat = nn.Sequential(nn.Conv2d(1, 2, (1, 3)))
    assert Ct().edit(flat, Context(flat, lambda: flat, {}, {}, 0)).masks == {}


@pytest.mark.parametrize("strategy", [Ct(), Msg()])
def test_a_net_without_kernels_is_refused(strategy: Strategy) -> None:
    (problem,) = strategy.check(lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 2)))
    assert problem.key == "strategy"


def test_scissorhands_resets_the_connections_of_the_last_layers_that_the_forget_set_uses() -> None:
    before, after, context, edit = edited(Scissorhands(k=5, layers=1))
    forget = gradient(original("cnn"), Subset.FORGET)
    last = list(before)[-2:]
    scores = torch.cat([(forget[name] * before[name]).abs().flatten() for name in last])
    top = scores.topk(5).indices
    masked = torch.cat([edit.masks[name].flatten() for name in last])
    assert sorted(masked.nonzero()[:, 0].tolist()) == sorted(top.tolist())
    fresh = dict(context.fresh_model().named_parameters())
    for name, p in before.items():
        mask = edit.masks.get(name, torch.zeros_like(p, dtype=torch.bool))
        assert torch.equal(after[name], torch.where(mask, fresh[name], p))
    too_many = list(Scissorhands(layers=9).check(lambda: original("cnn")))
    assert [problem.key for problem in too_many] == ["strategy.layers"]
