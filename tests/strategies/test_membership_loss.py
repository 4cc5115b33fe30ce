"""Both membership terms against NumPy, and an attacker that finds members, and stays as it is."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import batch_of, fit_batches, mlp, only_phase, random_images, random_subsets
from scipy.integrate import quad
from scipy.special import log_softmax
from scipy.stats import norm
from torch import Tensor, nn

from unlearn.core.batch import Batch
from unlearn.core.recipe import Recipe
from unlearn.core.types import Images, Subset
from unlearn.core.validation import problems
from unlearn.strategies.attack_head import attack_features
from unlearn.strategies.base import Context
from unlearn.strategies.membership_loss import MembershipLoss, gaussian_kl, weighted_moments
from unlearn.training.trainer import TrainerSettings
from unlearn.training.unlearner import UnlearnerModule, build_loader

CLASSES = 4
DATA = random_subsets(CLASSES, forget=20, retain=100, validation=60)


def net(seed: int) -> nn.Module:
    return mlp(16, 64, CLASSES, seed=seed)


@pytest.fixture(scope="module")
def original() -> nn.Module:
    """It knows the random labels of the forget and retain sets by heart; frozen and in eval mode."""
    forget, retain = (batch_of(DATA[subset]) for subset in (Subset.FORGET, Subset.RETAIN))
    union = Batch(torch.cat([forget.images, retain.images]), torch.cat([forget.labels, retain.labels]))
    return fit_batches(net(0), union, steps=300).requires_grad_(False)


def context(original: nn.Module, seed: int = 0) -> Context:
    return Context(original, lambda: net(1), {}, DATA, seed)


def batches() -> dict[Subset, Batch]:
    return {Subset.RETAIN: batch_of(random_images(9, seed=4)), Subset.FORGET: batch_of(random_images(7, seed=5))}


def log_p(model: nn.Module, batch: Batch) -> np.ndarray:
    found: np.ndarray = log_softmax(model(batch.images).detach().double().numpy(), 1)
    return found


def losses(model: nn.Module, batch: Batch) -> np.ndarray:
    found: np.ndarray = -log_p(model, batch)[np.arange(len(batch.labels)), batch.labels.numpy()]
    return found


def membership(head: nn.Module, model: nn.Module, batch: Batch) -> np.ndarray:
    """The attacker's logits in float64, from its weights."""
    seen = np.c_[-np.sort(-log_p(model, batch), 1), losses(model, batch)]
    state = {name: value.double().numpy() for name, value in head.state_dict().items()}
    hidden = np.maximum((seen - state["mean"]) / state["std"] @ state["first.weight"].T + state["first.bias"], 0)
    found: np.ndarray = hidden @ state["last.weight"][0] + state["last.bias"]
    return found


# The terms


def test_the_heads_term_is_binary_cross_entropy_of_a_non_member(original: nn.Module) -> None:
    strategy, student, given = MembershipLoss(beta=0.7), net(5), batches()
    head = strategy.train_attacker(context(original))
    believed = membership(head, student, given[Subset.FORGET])
    expected = losses(student, given[Subset.RETAIN]).mean() - 0.7 * np.log(1 / (1 + np.exp(believed))).mean()
    assert only_phase(strategy, context(original)).loss(student, given, 0).item() == pytest.approx(expected, rel=1e-5)


def test_the_gaussian_term_is_the_divergence_of_fitted_gaussians(original: nn.Module) -> None:
    strategy, student, given = MembershipLoss(form="gaussian", beta=0.7, floor=0.05), net(5), batches()
    forget, unseen = losses(student, given[Subset.FORGET]), losses(original, batch_of(DATA[Subset.VALIDATION]))
    (m, v), (m0, v0) = [(values.mean(), values.var() + 0.05) for values in (forget, unseen)]
    divergence = np.log(np.sqrt(v0 / v)) + (v + (m - m0) ** 2) / (2 * v0) - 0.5
    expected = losses(student, given[Subset.RETAIN]).mean() + 0.7 * divergence
    assert only_phase(strategy, context(original)).loss(student, given, 0).item() == pytest.approx(expected, rel=1e-5)


def test_the_divergence_of_gaussians_by_hand_and_by_its_integral() -> None:
    one = [torch.tensor(value, dtype=torch.float64) for value in (0.0, 1.0, 1.0, 4.0)]
    assert gaussian_kl(*one).item() == pytest.approx(np.log(2) + (1 + 1) / 8 - 0.5)
    p, q = norm(0, 1), norm(1, 2)
    integral, _ = quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), -12, 12)
    assert gaussian_kl(*one).item() == pytest.approx(integral, rel=1e-8)
    assert gaussian_kl(*one[2:], *one[2:]).item() == 0


def test_moments_ignore_samples_of_weight_zero() -> None:
    """As rows do that fill up a process's share of a batch."""
    values = torch.tensor([1.0, 2.0, 6.0, 99.0])
    mean, variance = weighted_moments(values, torch.tensor([0.5, 0.5, 0.5, 0.0]))
    assert (mean.item(), variance.item()) == pytest.approx((3.0, 14 / 3))
    assert [value.item() for value in weighted_moments(values, torch.zeros(4))] == [0.0, 0.0]


def test_shares_of_a_batch_count_by_their_size(original: nn.Module) -> None:
    """Of two processes, one with all of the batch: the other's is no part of the loss, and no NaN."""
    strategy, student, given = MembershipLoss(form="gaussian"), net(5), batches()
    loss, forget = only_phase(strategy, context(original)).loss, given[Subset.FORGET]
    retain = losses(student, given[Subset.RETAIN]).mean()
    whole = loss(student, given, 0).item() - retain
    shares = [given | {Subset.FORGET: forget._replace(weights=torch.full((7,), w))} for w in (2 / 7, 0.0)]
    first, second = [loss(student, share, 0).item() - retain for share in shares]
    assert (first + second) / 2 == pytest.approx(whole, rel=1e-5)
    assert second == pytest.approx(0, abs=1e-6)


def test_forget_batches_pass_by_running_statistics() -> None:
    """As the original did when the head was fitted; what is kept up to date are the retain set's."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(int(np.prod(random_images(1, seed=0).shape))), net(1))
    frozen = copy.deepcopy(model).eval().requires_grad_(False)
    expected = copy.deepcopy(model)
    expected(batches()[Subset.RETAIN].images)
    only_phase(MembershipLoss(), context(frozen)).loss(model, batches(), 0)
    assert torch.equal(model[1].running_mean, expected[1].running_mean)


def test_a_forget_batch_of_one_has_a_finite_gradient(original: nn.Module) -> None:
    for form in ("head", "gaussian"):
        student, given = net(5), batches() | {Subset.FORGET: batch_of(random_images(1, seed=5))}
        only_phase(MembershipLoss(form=form), context(original)).loss(student, given, 0).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in student.parameters())


# The attacker


def test_the_attacker_sees_sorted_log_probabilities_and_the_loss() -> None:
    logits = torch.tensor([[0.1, 0.7, 0.2]]).log() + 5
    expected = torch.tensor([[0.7, 0.2, 0.1, 0.2]]).log() * torch.tensor([1, 1, 1, -1])
    torch.testing.assert_close(attack_features(logits, torch.tensor([2])), expected)


def test_it_finds_members_it_was_not_fitted_on(original: nn.Module) -> None:
    """The forget set is of members, too; the others are new. AUC is counted pair by pair."""
    head = MembershipLoss().train_attacker(context(original))
    members, others = (
        membership(head, original, batch_of(data)) for data in (DATA[Subset.FORGET], random_images(60, seed=9))
    )
    assert np.mean(members[:, None] > others[None]) + np.mean(members[:, None] == others[None]) / 2 > 0.7


def test_it_is_fitted_on_as_many_members_as_non_members_of_retain_and_validation(original: nn.Module) -> None:
    """The forget set need not be there; and the mean of what it standardises by is that of 60 and 60."""

    class Noted(dict[Subset, Images]):
        def __getitem__(self, key: Subset) -> Images:
            read.append(key)
            return super().__getitem__(key)

    read: list[Subset] = []
    at_hand = replace(context(original), data=Noted(DATA))
    head = MembershipLoss().train_attacker(at_hand)
    assert set(read) == {Subset.RETAIN, Subset.VALIDATION}
    member = losses(original, batch_of(DATA[Subset.RETAIN])).mean()  # nearly 0 for each of them
    other = losses(original, batch_of(DATA[Subset.VALIDATION])).mean()
    assert head.mean[-1].item() == pytest.approx((member + other) / 2, rel=1e-2)


def test_the_seed_decides_the_attacker_and_the_global_generator_does_not(original: nn.Module) -> None:
    def weights(seed: int) -> list[Tensor]:
        return list(MembershipLoss(head_epochs=3).train_attacker(context(original, seed)).state_dict().values())

    first = weights(0)
    torch.manual_seed(7)
    state = torch.get_rng_state()
    assert all(torch.equal(a, b) for a, b in zip(weights(0), first, strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(torch.equal(a, b) for a, b in zip(weights(1), first, strict=True))


def test_it_stays_as_it_is_while_the_model_unlearns(original: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    strategy = MembershipLoss(recipe=Recipe(epochs=8, batch_size=20, lr=0.05, clip=1.0))
    head = strategy.train_attacker(context(original))
    monkeypatch.setattr(MembershipLoss, "train_attacker", lambda *_: head)
    before = copy.deepcopy(head.state_dict())
    model = copy.deepcopy(original).requires_grad_(True)
    forget = batch_of(DATA[Subset.FORGET])
    believed = membership(head, model, forget).mean()
    phase = only_phase(strategy, context(original))
    UnlearnerModule(model, phase, build_loader(phase, 0, 0), 0, {}).run(TrainerSettings("cpu"))
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())
    assert not head.training
    assert not any(p.requires_grad or p.grad is not None for p in head.parameters())
    assert membership(head, model, forget).mean() < believed - 1


@pytest.mark.parametrize("field", ["beta", "hidden", "head_epochs", "head_lr", "floor"])
def test_impossible_values_are_refused(field: str) -> None:
    assert [problem.key for problem in problems(MembershipLoss(**{field: -1}), "strategy")] == [f"strategy.{field}"]
