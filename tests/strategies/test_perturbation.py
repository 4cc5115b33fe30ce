"""The edit, bit for bit and in its statistics; the repairing loss against a hand-built one; what may move."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import only_phase
from scipy.spatial.distance import jensenshannon
from scipy.special import log_softmax, rel_entr, softmax
from scipy.stats import kstest
from torch import Tensor, nn

from unlearn.core.batch import Batch
from unlearn.core.recipe import Recipe
from unlearn.core.types import Images, Subset
from unlearn.core.validation import problems
from unlearn.functional.parameter_scores import Sensitivity
from unlearn.strategies.base import Context, Edit, Phase
from unlearn.strategies.finetune import Finetune
from unlearn.strategies.perturbation import Perturbation, noise_units
from unlearn.strategies.random_k import RandomK
from unlearn.strategies.repair import Repair
from unlearn.strategies.selection import All, RandomSelection, exact_count
from unlearn.strategies.top_k import TopK
from unlearn.strategies.weight_noise import WeightNoise

MODES = ("add", "zero", "reinitialise")


def net(seed: int = 0, classes: int = 4) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, classes))


def edited(strategy: Perturbation, original: nn.Module, seed: int = 0) -> tuple[nn.Module, Edit]:
    """A copy of `original` after the edit; parameters score by their size."""
    (need,) = Sensitivity().needs()
    scores = {need: {name: p.detach().abs() for name, p in original.named_parameters()}}
    model = copy.deepcopy(original)
    return model, strategy.edit(model, Context(original, lambda: net(99).to(model[0].weight), scores, {}, seed))


def bits(tensor: Tensor) -> Tensor:
    return tensor.detach().view(torch.int32)


def change(strategy: Perturbation, original: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    model, _ = edited(strategy, original, seed)
    before = dict(original.named_parameters())
    return {name: (p - before[name]).detach() for name, p in model.named_parameters()}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("noise", ["relative", "absolute"])
@pytest.mark.parametrize("k", [0.01, 0.3, 1.0, 2, 100])
@pytest.mark.parametrize("kind", [TopK, RandomK])
def test_exactly_k_entries_are_masked_and_no_other_bit_changes(
    kind: type[Perturbation], k: float | int, noise: str, mode: str
) -> None:
    original = net()
    model, edit = edited(kind(k=k, noise=noise, mode=mode), original)
    n = sum(p.numel() for p in original.parameters())
    assert sum(int(mask.sum()) for mask in edit.masks.values()) == exact_count(k, n)
    before = dict(original.named_parameters())
    for name, p in model.named_parameters():
        same = bits(p) == bits(before[name])
        assert same[~edit.masks[name]].all()
        assert not same[edit.masks[name]].any()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("k", [0, 0.0])
@pytest.mark.parametrize("kind", [TopK, RandomK])
def test_no_entries_is_the_identity(kind: type[Perturbation], k: float | int, mode: str) -> None:
    assert all((bits(a) == 0).all() for a in change(kind(k=k, mode=mode), net()).values())


@pytest.mark.parametrize("noise", ["relative", "absolute"])
@pytest.mark.parametrize("kind", [TopK, RandomK, WeightNoise])
def test_no_noise_is_the_identity(kind: type[Perturbation], noise: str) -> None:
    original = net()
    model, _ = edited(kind(mode="add", noise=noise, noise_scale=0), original)
    pairs = zip(model.parameters(), original.parameters(), strict=True)
    assert all(torch.equal(bits(a), bits(b)) for a, b in pairs)


def wide() -> nn.Sequential:
    """60,000 and 40,000 weights; the second layer is ten times larger."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(300, 200), nn.Linear(200, 200)).double()
    with torch.no_grad():
        model[1].weight *= 10
    return model


@pytest.mark.parametrize(("noise", "scale"), [("absolute", 0.1), ("relative", 2.0)])
def test_noise_is_gaussian_of_the_promised_size(noise: str, scale: float) -> None:
    original = wide()
    moved = change(WeightNoise(noise=noise, noise_scale=scale), original)
    for name in ("0.weight", "1.weight"):
        unit = 1.0 if noise == "absolute" else original.get_parameter(name).detach().numpy().std()
        draws = (moved[name] / (scale * unit)).flatten().numpy()
        assert abs(draws.mean()) < 4 / math.sqrt(len(draws))
        assert draws.std() == pytest.approx(1, abs=4 / math.sqrt(2 * len(draws)))
        assert kstest(draws, "norm").pvalue > 1e-3


def test_relative_noise_follows_the_scale_of_the_weights() -> None:
    original, larger = net().double(), net().double()
    with torch.no_grad():
        for p in larger.parameters():
            p.mul_(1024)
    small, large = (change(WeightNoise(), model) for model in (original, larger))
    for name, value in small.items():
        torch.testing.assert_close(large[name], 1024 * value, rtol=1e-9, atol=0)


@pytest.mark.parametrize("noise", ["relative", "absolute"])
def test_noise_is_one_draw_times_its_scale(noise: str) -> None:
    once, thrice = (change(WeightNoise(noise=noise, noise_scale=s), net().double()) for s in (1.0, 3.0))
    for name, value in once.items():
        torch.testing.assert_close(thrice[name], 3 * value, rtol=1e-9, atol=1e-12)


def test_cells_of_a_grid_share_their_noise() -> None:
    """Where two selections meet, whatever k, the change is the same."""
    everything = change(WeightNoise(), net())
    as_noise = {"mode": "add", "noise_scale": WeightNoise().noise_scale}
    for part in (RandomK(k=0.3, **as_noise), RandomK(k=0.6, **as_noise), TopK(k=0.2, **as_noise)):
        for name, value in change(part, net()).items():
            torch.testing.assert_close(value, torch.where(value == 0, 0.0, everything[name]), rtol=0, atol=0)


def test_the_seed_decides_the_noise() -> None:
    first, again, other = (change(WeightNoise(), net(), seed)["0.weight"] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.isclose(first, other).any()


@pytest.mark.parametrize(
    "constant",
    [
        1.0,
        0.1,
    ],
)
def test_the_unit_of_a_constant_tensor_is_its_root_mean_square(constant: float) -> None:
    assert noise_units({"norm.weight": torch.full((64,), -constant)})["norm.weight"] == pytest.approx(constant)


def test_units_are_population_deviations_and_a_zero_bias_borrows_its_layers() -> None:
    weight = torch.tensor([[1.0, 3.0], [1.0, 3.0]])
    parameters = {"a.weight": weight, "a.bias": torch.zeros(2), "b.bias": torch.tensor([0.0, 4.0])}
    assert noise_units(parameters) == {"a.weight": 1.0, "a.bias": 1.0, "b.bias": 2.0}
    norm = {"n.weight": torch.ones(5), "n.bias": torch.zeros(5)}
    assert noise_units(norm) == {"n.weight": 1.0, "n.bias": 1.0}
    assert noise_units({"c.bias": torch.zeros(3)}) == {"c.bias": 0.0}


def test_zero_and_reinitialise_replace_selected_entries() -> None:
    original, fresh = net(), dict(net(99).named_parameters())
    zeroed, edit = edited(RandomK(mode="zero"), original)
    for name, p in zeroed.named_parameters():
        assert (p[edit.masks[name]] == 0).all()
    renewed, edit = edited(RandomK(mode="reinitialise", strength=1.0), original)
    for name, p in renewed.named_parameters():
        mask = edit.masks[name]
        assert torch.equal(p[mask], fresh[name][mask])


@pytest.mark.parametrize("kind", [TopK, RandomK])
def test_by_default_selected_entries_move_three_tenths_of_the_way_to_fresh_values(kind: type[Perturbation]) -> None:
    original, fresh = net().double(), dict(net(99).double().named_parameters())
    moved, edit = edited(kind(), original)
    for name, before in original.named_parameters():
        wanted = torch.where(edit.masks[name], 0.7 * before + 0.3 * fresh[name], before)
        torch.testing.assert_close(moved.get_parameter(name).detach(), wanted.detach(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("strength", [-0.1, 1.5])
def test_a_strength_is_a_fraction(strength: float) -> None:
    assert [problem.key for problem in problems(TopK(strength=strength), "strategy")] == ["strategy.strength"]


@pytest.mark.parametrize(("mode", "key"), [("add", "noise_scale"), ("reinitialise", "strength"), ("zero", "k")])
def test_an_edit_names_the_setting_that_makes_it_gentler(mode: str, key: str) -> None:
    assert f"strategy.{key}" in TopK(mode=mode).gentler_advice


def test_zeroing_ignores_the_noise_scale() -> None:
    model, edit = edited(RandomK(mode="zero", noise_scale=0), net())
    assert edit.masks
    assert all((p[edit.masks[name]] == 0).all() for name, p in model.named_parameters())


@pytest.mark.parametrize("k", [1, -1, -0.1, 1.5])
def test_a_k_that_could_mean_two_things_is_refused(k: float | int) -> None:
    assert [problem.key for problem in problems(RandomK(k=k), "strategy")] == ["strategy.k"]


@pytest.mark.parametrize("k", [0, 2, 500, 0.0, 0.5, 1.0])
def test_a_share_or_a_count_is_accepted(k: float | int) -> None:
    assert list(problems(RandomK(k=k), "strategy")) == []


def repair_phase(strategy: Repair, original: nn.Module, edit: Edit | None = None) -> Phase:
    one = Images(torch.zeros(1, 1, 1, 30, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64), torch.zeros(1))
    data = dict.fromkeys((Subset.RETAIN, Subset.FORGET, Subset.VALIDATION), one)
    return only_phase(strategy, Context(original, net, {}, data, 0), edit)


def hand_built() -> tuple[nn.Module, nn.Module, dict[Subset, Batch]]:
    """Model, original, and a batch of five retained and three forgotten samples, in float64."""
    generator = torch.Generator().manual_seed(0)

    def batch(n: int) -> Batch:
        images = torch.randn(n, 30, generator=generator, dtype=torch.float64)
        return Batch(images, torch.randint(0, 4, (n,), generator=generator))

    data = {Subset.RETAIN: batch(5), Subset.FORGET: batch(3)}
    return net(1).double(), net(2).double().requires_grad_(False), data


@pytest.mark.parametrize("weight", [0.0, 0.1, -0.1, 2.5])
@pytest.mark.parametrize("form", ["mixture", "mean_kl"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_loss_is_cross_entropy_plus_weighted_divergence(form: str, weight: float, smoothing: float) -> None:
    model, original, batch = hand_built()
    recipe = Recipe(label_smoothing=smoothing)
    found = repair_phase(
        Finetune(recipe=recipe, js_weight=weight, js_form=form, js_from="original", js_while="always"), original
    ).loss(model, batch, 0)

    logs = log_softmax(model(batch[Subset.RETAIN].images).detach().numpy(), 1)
    wanted = (1 - smoothing) * np.eye(4)[batch[Subset.RETAIN].labels.numpy()] + smoothing / 4
    images = batch[Subset.FORGET].images
    p, q = (softmax(each(images).detach().numpy(), 1) for each in (model, original))
    divergence = {
        "mixture": (jensenshannon(p, q, axis=1) ** 2).mean(),
        "mean_kl": (rel_entr(p, q) + rel_entr(q, p)).sum(1).mean() / 2,
    }[form]
    assert divergence > 1e-3
    assert found.item() == pytest.approx(-(wanted * logs).sum(1).mean() + weight * divergence, abs=1e-12)


def test_by_default_the_divergence_is_from_certainty_in_the_label() -> None:
    model, original, batch = hand_built()
    found = repair_phase(Finetune(js_weight=-2.0, js_while="always"), original).loss(model, batch, 0)
    plain = repair_phase(Finetune(), original).loss(model, batch, 0)
    forget = batch[Subset.FORGET]
    p = softmax(model(forget.images).detach().numpy(), 1)
    divergence = (jensenshannon(p, np.eye(4)[forget.labels.numpy()], axis=1) ** 2).mean()
    assert found.item() - plain.item() == pytest.approx(-2 * divergence, abs=1e-12)


def test_both_kls_from_labels_are_refused() -> None:
    found = problems(Finetune(js_form="mean_kl"), "strategy")
    assert [problem.key for problem in found] == ["strategy.js_from"]


def test_a_positive_weight_pulls_towards_the_original_and_a_negative_one_away() -> None:
    model, original, batch = hand_built()
    at_rest = repair_phase(Finetune(), original).loss(model, batch, 0)
    held, pushed = (
        repair_phase(Finetune(js_weight=w, js_from="original", js_while="always"), original).loss(model, batch, 0)
        for w in (0.5, -0.5)
    )
    assert pushed < at_rest < held
    held.backward()
    assert all(p.grad is None for p in original.parameters())


def test_a_forget_batch_of_one_goes_through_batch_norm_in_eval_mode() -> None:
    _, original, batch = hand_built()
    model = nn.Sequential(nn.Linear(30, 20), nn.BatchNorm1d(20), nn.Linear(20, 4)).double().train()
    one = {Subset.RETAIN: batch[Subset.RETAIN], Subset.FORGET: Batch(*(part[:1] for part in batch[Subset.FORGET][:2]))}
    assert repair_phase(Finetune(js_weight=-0.1, js_while="always"), original).loss(model, one, 0).isfinite()
    assert all(module.training for module in model.modules())
    assert model[1].num_batches_tracked == 1


def test_the_forget_set_is_read_only_where_it_counts() -> None:
    model, original, batch = hand_built()
    plain = repair_phase(Finetune(), original)
    assert tuple(plain.data) == (Subset.RETAIN,)
    assert plain.loss(model, {Subset.RETAIN: batch[Subset.RETAIN]}, 0).isfinite()
    assert tuple(repair_phase(Finetune(js_weight=-0.1), original).data) == (Subset.RETAIN, Subset.FORGET)


@pytest.mark.parametrize("kind", [TopK, RandomK])
def test_movable_selects_the_trainable_entries(kind: type[Perturbation]) -> None:
    original, strategy = net(), kind(k=0.2)
    _, edit = edited(strategy, original)
    assert repair_phase(strategy, original, edit).trainable_mask is None
    selected = repair_phase(replace(strategy, movable="selected"), original, edit).trainable_mask
    rest = repair_phase(replace(strategy, movable="rest"), original, edit).trainable_mask
    assert selected is not None
    assert rest is not None
    for name, _ in original.named_parameters():
        assert torch.equal(selected[name], edit.masks[name])
        assert torch.equal(rest[name], ~edit.masks[name])


@pytest.mark.parametrize("selection", [RandomSelection(exclude=["*bias"]), All(exclude=["*bias"])])
def test_a_tensor_that_cannot_be_selected_belongs_to_the_rest(selection: RandomSelection | All) -> None:
    original, strategy = net(), RandomK(selection=selection)
    _, edit = edited(strategy, original)
    selected = repair_phase(replace(strategy, movable="selected"), original, edit).trainable_mask
    rest = repair_phase(replace(strategy, movable="rest"), original, edit).trainable_mask
    assert selected is not None
    assert rest is not None
    assert not selected["0.bias"].any()
    assert rest["0.bias"].all()
