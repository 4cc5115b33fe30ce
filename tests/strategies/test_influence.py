"""Influence against the exact Newton step, and against retraining, on L2 logistic regression in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.core.errors import UnlearnError
from unlearn.core.types import Images, Subset
from unlearn.models.base import Classifier
from unlearn.models.cnn import Cnn
from unlearn.strategies.base import Context
from unlearn.strategies.influence import DAMPING, FORGOTTEN, Influence, conjugate_gradient, gauss_newton

DECAY, CLASSES = 0.02, 3
EXACT = Influence(damping=0, weight_decay=DECAY, samples=None, iterations=500, tolerance=1e-14)
Data = dict[Subset, Images]


def noisy_shades(n: int, seed: int, noise: float = 60) -> Images:
    draws = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (n,), generator=draws)
    shade = torch.zeros(n, 1, 2, 3) + 80 * labels.view(-1, 1, 1, 1) + noise * torch.randn(n, 1, 2, 3, generator=draws)
    return Images(shade.clamp(0, 255).to(torch.uint8), labels, torch.arange(n))


def pixels(part: Images) -> Tensor:
    """As batches give them, in float64."""
    return (part.images.float() / 255).double()


def logistic() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(6, CLASSES)).double().eval()


def objective(model: nn.Module, *parts: Images) -> Callable[[Tensor], Tensor]:
    """Mean cross-entropy and weight decay, as a function of all parameters in one vector."""
    x = torch.cat([pixels(part) for part in parts])
    y = torch.cat([part.labels for part in parts])
    shapes = {name: p.shape for name, p in model.named_parameters()}

    def at(theta: Tensor) -> Tensor:
        cut = torch.split(theta, [shape.numel() for shape in shapes.values()])
        values = {name: part.view(shape) for part, (name, shape) in zip(cut, shapes.items(), strict=True)}
        logits = torch.func.functional_call(model, values, (x,))
        return F.cross_entropy(logits, y) + DECAY / 2 * theta.square().sum()

    return at


def newton(of: Callable[[Tensor], Tensor], theta: Tensor, steps: int) -> Tensor:
    """The reference: dense Hessians."""
    for _ in range(steps):
        gradient, hessian = torch.func.grad(of)(theta), torch.autograd.functional.hessian(of, theta)
        theta = theta - torch.linalg.solve(hessian, gradient)
    return theta


def vector(model: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(model.parameters()).detach()


def optimum(*parts: Images) -> nn.Module:
    model = logistic()
    theta = newton(objective(model, *parts), torch.zeros_like(vector(model)), 30)
    nn.utils.vector_to_parameters(theta, model.parameters())
    return model


def context_of(model: nn.Module, data: Data) -> Context:
    forget = data[Subset.FORGET]
    batch = pixels(forget), forget.labels
    return Context(model, lambda: model, {FORGOTTEN: FORGOTTEN.statistic.compute(model, [batch])}, data, 0)


def edited(strategy: Influence, model: nn.Module, data: Data) -> Tensor:
    copied = copy.deepcopy(model)
    strategy.edit(copied, context_of(model, data))
    return vector(copied)


@pytest.fixture
def data() -> Data:
    return {Subset.FORGET: noisy_shades(7, 1), Subset.RETAIN: noisy_shades(60, 2)}


def test_order_2_is_the_exact_newton_step(data: Data) -> None:
    model = optimum(*data.values())
    exact = newton(objective(model, data[Subset.RETAIN]), vector(model), 1)
    assert (exact - vector(model)).norm() > 0.01
    torch.testing.assert_close(edited(EXACT, model, data), exact, rtol=0, atol=1e-8)


@pytest.mark.parametrize("wrong", [{"weight_decay": 0.0}, {"damping": 0.05}])
def test_another_decay_or_damping_is_another_step(data: Data, wrong: dict[str, float]) -> None:
    model = optimum(*data.values())
    exact = newton(objective(model, data[Subset.RETAIN]), vector(model), 1)
    assert (edited(replace(EXACT, **wrong), model, data) - exact).norm() > 1e-3


def test_a_condensed_retain_set_counts_for_all_of_it(data: Data) -> None:
    """Every third image stands for three: the step is that of the whole set, not three times as long."""
    third, retain = data[Subset.RETAIN], data[Subset.RETAIN].take(torch.arange(60).repeat_interleave(3))
    model = optimum(data[Subset.FORGET], retain)
    whole = edited(EXACT, model, data | {Subset.RETAIN: retain})
    few = copy.deepcopy(model)
    EXACT.edit(few, replace(context_of(model, data | {Subset.RETAIN: third}), condensed_from=len(retain)))
    torch.testing.assert_close(vector(few), whole, rtol=0, atol=1e-8)


@pytest.mark.parametrize("refresh", [True, False])
def test_refresh_bn_requests_new_running_statistics(data: Data, refresh: bool) -> None:
    model = optimum(*data.values())
    assert replace(EXACT, refresh_bn=refresh).edit(copy.deepcopy(model), context_of(model, data)).refresh_bn is refresh


def test_order_1_corrects_labels_by_the_difference_of_gradients(data: Data) -> None:
    right, retain = data[Subset.FORGET], data[Subset.RETAIN]
    wrong = right.relabelled((right.labels + 1) % CLASSES)
    model = optimum(wrong, retain)
    found = edited(
        Influence(order=1, tau=0.25), model, {Subset.FORGET: wrong, Subset.RETAIN: retain, Subset.RELABELLED: right}
    )
    gradients = []
    for labels in (wrong.labels, right.labels):
        loss = F.cross_entropy(model(pixels(right)), labels, reduction="sum")
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))]))
    torch.testing.assert_close(found, vector(model) + 0.25 * (gradients[0] - gradients[1]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("corrects", [False, True])
def test_deletions_and_corrections_have_different_default_damping(data: Data, corrects: bool) -> None:
    wrong = data[Subset.FORGET]
    given = data | ({Subset.RELABELLED: wrong.relabelled((wrong.labels + 1) % CLASSES)} if corrects else {})
    model = optimum(*data.values())
    default, named = (edited(replace(EXACT, damping=d), model, given) for d in (None, 0.03 if corrects else 0.1))
    assert torch.equal(default, named)


@pytest.mark.parametrize(("order", "key"), [(2, "damping"), (1, "tau")])
def test_it_names_the_setting_that_shortens_the_step(data: Data, order: int, key: str) -> None:
    strategy, model = Influence(order=order, damping=0.1), optimum(*data.values())
    assert f"strategy.{key}" in strategy.gentler_advice
    factor = 10 if strategy.gentler_advice.startswith("raise") else 0.1
    gentler = replace(strategy, **{key: getattr(strategy, key) * factor})
    long, short = ((edited(each, model, data) - vector(model)).norm() for each in (strategy, gentler))
    assert short < long


def test_leaving_one_out_comes_close_to_retraining() -> None:
    everything = noisy_shades(61, 2)
    one, others = everything.take(torch.tensor([0])), everything.take(torch.arange(1, 61))
    model, retrained = optimum(everything), vector(optimum(others))
    away = (vector(model) - retrained).norm()
    left = (edited(EXACT, model, {Subset.FORGET: one, Subset.RETAIN: others}) - retrained).norm()
    assert away > 1e-3
    assert left < 0.03 * away


def test_corrected_labels_are_the_exact_newton_step_on_the_corrected_data(data: Data) -> None:
    right, retain = data[Subset.FORGET], data[Subset.RETAIN]
    wrong = right.relabelled((right.labels + 1) % CLASSES)
    model = optimum(wrong, retain)
    exact = newton(objective(model, right, retain), vector(model), 1)
    found = edited(EXACT, model, {Subset.FORGET: wrong, Subset.RETAIN: retain, Subset.RELABELLED: right})
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-8)


def test_order_1_adds_the_sum_of_gradients(data: Data) -> None:
    model = optimum(*data.values())
    forget = data[Subset.FORGET]
    for p in model.parameters():
        p.grad = None
    F.cross_entropy(model(pixels(forget)), forget.labels, reduction="sum").backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    found = edited(Influence(order=1, tau=0.25), model, data)
    torch.testing.assert_close(found, vector(model) + 0.25 * gradient, rtol=1e-12, atol=1e-12)


def test_gauss_newton_is_the_jacobians_product_on_a_deep_net() -> None:
    torch.manual_seed(0)
    model = Classifier(Cnn(width=2, hidden=4).net((1, 5, 5), CLASSES), (0.4,), (0.3,)).double().eval()
    part = Images(torch.randint(0, 256, (5, 1, 5, 5), dtype=torch.uint8), torch.arange(5) % 3, torch.arange(5))
    theta = {name: p.detach() for name, p in model.named_parameters()}
    v = torch.randn(vector(model).shape, dtype=torch.float64)

    def one(values: dict[str, Tensor], image: Tensor) -> Tensor:
        return torch.func.functional_call(model, values, (image[None],))[0]

    expected = torch.zeros_like(v)
    for image in pixels(part):
        rows = torch.func.jacrev(one)(theta, image)
        jacobian = torch.cat([rows[name].reshape(CLASSES, -1) for name in theta], dim=1)
        p = one(theta, image).softmax(0)
        expected += jacobian.T @ (torch.diag(p) - torch.outer(p, p)) @ jacobian @ v
    torch.testing.assert_close(gauss_newton(model, part, v), expected, rtol=1e-10, atol=1e-12)


def test_fewer_samples_estimate_the_same_curvature(data: Data) -> None:
    """Every second of a retain set that holds each image twice."""
    retain = data[Subset.RETAIN]
    twice = retain.take(torch.arange(len(retain)).repeat_interleave(2))
    model = optimum(data[Subset.FORGET], twice)
    doubled = data | {Subset.RETAIN: twice}
    few = edited(replace(EXACT, samples=len(retain)), model, doubled)
    torch.testing.assert_close(few, edited(EXACT, model, doubled), rtol=0, atol=1e-8)


def test_conjugate_gradients_solve_and_stop() -> None:
    draws = torch.Generator().manual_seed(0)
    root = torch.randn(12, 12, generator=draws, dtype=torch.float64)
    a, b = root @ root.T + torch.eye(12), torch.randn(12, generator=draws, dtype=torch.float64)
    ticks: list[tuple[int, int]] = []
    x, residual = conjugate_gradient(lambda v: a @ v, b, 50, 1e-12, lambda *tick: ticks.append(tick))
    torch.testing.assert_close(x, torch.linalg.solve(a, b), rtol=1e-9, atol=1e-9)
    assert residual < 1e-11
    assert 1 < len(ticks) < 50
    x, residual = conjugate_gradient(lambda v: a @ v, torch.zeros(12), 5, 0.1, lambda *tick: None)
    assert (torch.equal(x, torch.zeros(12)), residual) == (True, 0.0)


@pytest.mark.parametrize("iterations", [1, 3, 6])
def test_the_residual_is_that_of_the_step_that_is_returned(iterations: int) -> None:
    draws = torch.Generator().manual_seed(0)
    root = torch.randn(12, 12, generator=draws, dtype=torch.float64)
    a, b = root @ root.T + 0.1 * torch.eye(12), torch.randn(12, generator=draws, dtype=torch.float64)
    x, residual = conjugate_gradient(lambda v: a @ v, b, iterations, 1e-12, lambda *tick: None)
    assert residual == pytest.approx(((b - a @ x).norm() / b.norm()).item(), rel=1e-9)
    assert residual > 0.01


@pytest.mark.parametrize(("iterations", "noted"), [(2, True), (500, False)])
def test_the_report_notes_a_system_that_is_not_solved(data: Data, iterations: int, noted: bool) -> None:
    model = optimum(*data.values())
    context = context_of(model, data)
    replace(EXACT, iterations=iterations, tolerance=1e-6).edit(copy.deepcopy(model), context)
    assert ("solver" in context.notes) is noted
    if noted:
        assert context.notes["solver"].startswith("Conjugate gradients stopped after 2 iterations at a relative resid")


def test_at_its_defaults_it_solves_the_system(data: Data) -> None:
    """No note, and the step that dense matrices give at the same damping, to the tolerance."""
    model = optimum(*data.values())
    context, copied = context_of(model, data), copy.deepcopy(model)
    strategy = Influence(weight_decay=DECAY, samples=None)
    strategy.edit(copied, context)
    forget, retain, theta = data[Subset.FORGET], data[Subset.RETAIN], vector(model)
    hessian = torch.autograd.functional.hessian(objective(model, retain), theta) + DAMPING * torch.eye(len(theta))
    removed = torch.func.grad(objective(model, forget))(theta)  # its mean, with the decay's gradient
    exact = len(forget) / len(retain) * torch.linalg.solve(hessian, removed)
    assert context.notes == {}
    assert (vector(copied) - theta - exact).norm() < 0.05 * exact.norm()


def test_a_parameter_without_gradient_is_an_error(data: Data) -> None:
    model = optimum(*data.values())
    context = context_of(model, data)
    model[1].register_parameter("idle", nn.Parameter(torch.zeros(2, dtype=torch.float64)))
    with pytest.raises(UnlearnError, match=r"got none that depend on 1\.idle"):
        EXACT.edit(copy.deepcopy(model), context)
