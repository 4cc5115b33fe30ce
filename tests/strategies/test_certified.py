"""Certified unlearning: the noise that is promised is there, an audit finds no more than epsilon, and refusals."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from functools import cache

import pytest
import torch
from conftest import Compose, Finished, Run
from scipy.stats import beta
from torch import Tensor, nn

from unlearn import config
from unlearn.core.errors import ConfigError
from unlearn.core.recipe import Recipe
from unlearn.core.types import Images, Subset
from unlearn.core.validation import problems
from unlearn.models.base import Classifier
from unlearn.report.assemble import assemble
from unlearn.strategies.base import Budget, Context
from unlearn.strategies.certified import AddedNoise, Certified, clip_norm

METHODS = ("noisy_finetune", "model_clipping", "output_perturbation")
every_method = pytest.mark.parametrize("method", METHODS)
RUNS = 120  # of an audit, from each of two models


@cache
def retain_set(pixels: int) -> dict[Subset, Images]:
    """Two classes that every pixel separates."""
    images = torch.tensor([-1.0, 1.0]).repeat(8).view(-1, 1, 1, 1).repeat(1, 1, 1, pixels)
    return {Subset.RETAIN: Images(images, torch.tensor([0, 1]).repeat(8), torch.arange(16))}


def linear(inputs: int = 1, outputs: int = 2) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, outputs))


def edit(strategy: Certified, start: nn.Module, seed: int = 0) -> Tensor:
    """The edited weights as one vector, of a net that keeps its weights; a fresh model has others."""
    before = nn.utils.parameters_to_vector(start.parameters()).detach()
    data = retain_set(start[1].in_features)  # type: ignore[index]
    strategy.edit(start, Context(start, lambda: fresh(start), {}, data, seed))
    edited = nn.utils.parameters_to_vector(start.parameters()).detach()
    nn.utils.vector_to_parameters(before, start.parameters())
    return edited


def fresh(like: nn.Module) -> nn.Module:
    model = copy.deepcopy(like)
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(2.0)
    return model


def lower_bound(first: Tensor, second: Tensor, delta: float) -> float:
    """A lower bound on epsilon, of 99.9 % confidence on each side, by the sign of a number (Clopper and Pearson)."""
    n, hits, false_alarms = len(first), int((first > 0).sum()), int((second > 0).sum())
    most = float(beta.ppf(0.999, false_alarms + 1, n - false_alarms))
    least = float(beta.ppf(0.001, hits, n - hits + 1)) if hits else 0.0
    return math.log(max(least - delta, 1e-9) / most)


def audit(strategy: Certified) -> float:
    """Unlearn two opposite models many times, and guess from the weights which it was."""
    direction = torch.tensor([-1.0, 1.0, 0.0, 0.0])
    projections = []
    for sign in (1, -1):
        start = linear()
        nn.utils.vector_to_parameters(sign * 10 * direction, start.parameters())
        edited = [edit(strategy, start, seed) @ direction for seed in range(sign * RUNS, sign * RUNS + RUNS)]
        projections.append(torch.stack(edited))
    return lower_bound(*projections, strategy.delta)


@every_method
def test_an_audit_finds_no_more_than_epsilon_and_finds_missing_noise(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    strategy = Certified(
        method=method,
        epsilon=1.0,
        delta=0.1,
        radius=0.3,
        steps=2,
        lr=0.1,
        gradient_clip=0.1,
        decay=1.0,
        centre="zero",
        batch_size=16,
    )
    assert audit(strategy) <= 1.0
    noise = strategy.needed_noise()
    monkeypatch.setattr(Certified, "needed_noise", lambda _: AddedNoise(noise.steps, noise.scale / 4))
    assert audit(strategy) > 1.0


@every_method
def test_noise_of_the_stated_size_is_in_every_weight(method: str) -> None:
    """Around a centre that no data moved: with hardly any gradient all that is left of 20,000 weights is noise."""
    strategy = Certified(method=method, radius=1e-9, gradient_clip=1e-12, lr=1e-9, decay=0.0, steps=3)
    start = linear(9_999)
    noise = strategy.needed_noise()
    steps = noise.steps if method == "noisy_finetune" else 1  # clipping leaves only the last noise
    moved = edit(replace(strategy, centre="zero"), start)
    assert moved.std().item() == pytest.approx(noise.scale * math.sqrt(steps), rel=0.02)
    assert abs(moved.mean().item()) < 4 * noise.scale * math.sqrt(steps / len(moved))
    assert (edit(strategy, start) - 2.0).abs().max() < 1e-6  # the centre is the fresh initialisation


def test_a_noisy_step_clips_the_gradient_and_pulls_to_the_centre() -> None:
    strategy = Certified(lr=0.1, gradient_clip=0.5, decay=2.0)
    x, gradient = torch.tensor([1.0, -2.0]), torch.tensor([3.0, 4.0])
    draws = torch.Generator().manual_seed(0)
    assert torch.allclose(strategy._step(x, gradient, 0.0, draws), 0.8 * x - 0.1 * torch.tensor([0.3, 0.4]))
    clipped = replace(strategy, method="model_clipping", radius=0.1)._step(x, gradient, 0.0, draws)
    assert torch.allclose(clipped, clip_norm(0.8 * x - 0.1 * gradient, 0.1))
    assert clipped.norm().item() == pytest.approx(0.1)


def test_a_vector_that_is_not_finite_is_clipped_to_zero() -> None:
    assert clip_norm(torch.tensor([math.nan, 1.0]), 1.0).tolist() == [0, 0]
    assert clip_norm(torch.tensor([math.inf, 1.0]), 1.0).tolist() == [0, 0]
    assert clip_norm(torch.tensor([0.3, 0.4]), 1.0).tolist() == pytest.approx([0.3, 0.4])


def test_more_steps_need_less_noise_and_a_smaller_epsilon_more() -> None:
    scales = [Certified(method=method, steps=steps).needed_noise().scale for method in METHODS[:2] for steps in (1, 5)]
    assert scales[0] > scales[1] and scales[2] > scales[3]  # noqa: PT018
    for method in METHODS:
        assert (
            Certified(method=method, epsilon=0.5).needed_noise().scale > Certified(method=method).needed_noise().scale
        )


def test_no_two_runs_share_their_noise() -> None:
    """Not with another request, other settings, or a start that has the noise of an earlier run in it."""
    strategy = Certified(method="output_perturbation", radius=1e-12, centre="zero")
    start, other = linear(999), linear(999)
    first = edit(strategy, start)
    assert torch.equal(first, edit(strategy, start))
    for second in (edit(strategy, other), edit(replace(strategy, radius=2e-12), start)):
        assert abs(torch.cosine_similarity(1e12 * first, 1e12 * second, dim=0)) < 0.1


def test_noise_from_the_system_does_not_follow_from_the_seed() -> None:
    strategy = Certified(method="output_perturbation", noise_source="system")
    assert not torch.equal(edit(strategy, linear()), edit(strategy, linear()))
    assert "subtract the noise" not in str(strategy.certificate()["assumptions"])
    assert "subtract the noise" in str(Certified().certificate()["assumptions"])


@pytest.mark.parametrize(
    ("strategy", "key"),
    [
        (Certified(budget=Budget(like_unseen=True)), "strategy.budget.like_unseen"),
        (Certified(budget=Budget(forget_accuracy=0.5)), "strategy.budget.forget_accuracy"),
        (Certified(lr=0.1, decay=11), "strategy.decay"),
        (Certified(epsilon=0.0), "strategy.epsilon"),
        (Certified(delta=0.0), "strategy.delta"),
        (Certified(steps=0), "strategy.steps"),
    ],
)
def test_settings_without_a_bound_are_refused(strategy: Certified, key: str) -> None:
    assert [problem.key for problem in problems(strategy, "strategy")] == [key]


def test_state_beside_the_weights_is_refused() -> None:
    tied = linear(2, 2)
    tied.append(nn.Linear(2, 2))
    tied[2].weight = tied[1].weight  # type: ignore[union-attr]
    for net, names in ((nn.BatchNorm1d(2), "net.running_mean"), (tied, ""), (nn.BatchNorm1d(2, affine=False), "net.r")):
        model = Classifier(net, [0.0], [1.0])
        found = list(Certified().check(lambda model=model: model))  # type: ignore[misc]
        assert len(found) == bool(names)
        assert not names or str(found[0].got).startswith(names)


@pytest.mark.parametrize(
    ("override", "key"), [("blend=mix", "blend"), ("retain=condensed", "retain"), ("model=resnet9", "model")]
)
def test_runs_in_which_the_original_enters_again_are_refused(composed: Compose, override: str, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{key}: expected .*strategy=certified") as refused:
        config.instantiate(composed("strategy=certified", override))
    assert len(refused.value.problems) == 1


def test_the_certificate_is_printed_and_in_the_report(finished: Finished, run: Run) -> None:
    """On the originals of another test's run."""
    certified = run(finished.store, "strategy=certified", "strategy.epsilon=2", "metrics=[accuracy]", "attacks=none")
    report = assemble(certified.outcome, config.to_plain_dict(certified.composed), {"strategy": "certified"})
    certificate = report["certificate"]
    assert (certificate["method"], certificate["epsilon"]) == ("noisy_finetune", 2.0)
    assert certificate["noise_scale"] > 0
    for text in [certificate["statement"], *certificate["assumptions"]]:
        assert text in report["notes"]["certificate"] and text in certified.console  # noqa: PT018
    assert "epsilon = 2" in certificate["statement"]


def test_no_fine_tuning_follows_with_no_epochs() -> None:
    strategy = Certified(recipe=Recipe(epochs=0))
    assert list(strategy.phases(None, None)) == []  # type: ignore[arg-type]
