"""What every strategy must keep to, whatever it does: a new one is found and checked without a line added here."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path

import pytest
import torch
from builders import batch_of, fit_batches
from torch import Tensor, nn

from unlearn.core.plugins import find_options
from unlearn.core.recipe import Recipe
from unlearn.core.types import Images, Subset
from unlearn.data.datasets.digits import Digits
from unlearn.models.base import Classifier
from unlearn.models.cnn import Cnn
from unlearn.models.whitened_cnn import WhitenedCnn, Whitening
from unlearn.strategies.base import Batches, Context, Edit, Phase, Strategy
from unlearn.strategies.last_layers import LastLayers
from unlearn.strategies.perturbation import Perturbation
from unlearn.strategies.selection import Saliency
from unlearn.strategies.sisa import Sisa
from unlearn.training.trainer import TrainerSettings
from unlearn.training.unlearner import UnlearnerModule, build_loader, build_replay_loader

CONF = Path(__file__).parents[2] / "conf/strategy"
KINDS = find_options("unlearn.strategies", Strategy)
del KINDS["sisa"]  # it changes no model: stages train its slices again (tests/stages/test_sisa.py)
RECIPE = Recipe(epochs=1, batch_size=4, momentum=0.9, weight_decay=0.1)
WHITENED = WhitenedCnn(widths=[4, 6])
N = 65  # samples in all; a last batch of one among them


def short(kind: type[Strategy]) -> Strategy:
    """Its defaults, with every recipe cut to one epoch."""
    strategy = kind()
    recipes = {f.name: RECIPE for f in fields(strategy) if isinstance(getattr(strategy, f.name), Recipe)}
    return replace(strategy, **recipes)


def variants() -> dict[str, Strategy]:
    """Every strategy, and once more with the divergence term where it has one."""
    found = {name: short(kind) for name, kind in KINDS.items()}
    return found | {f"{n}+js": replace(s, js_weight=-0.1) for n, s in found.items() if hasattr(s, "js_weight")}


STRATEGIES = variants()
every_strategy = pytest.mark.parametrize("name", STRATEGIES)


def freezing() -> dict[str, Strategy]:
    """Every strategy that fine-tunes, so set that some entries may not move."""
    found: dict[str, Strategy] = {}
    for name, strategy in STRATEGIES.items():
        if isinstance(strategy, Perturbation):
            found |= {f"{name}+{which}": replace(strategy, movable=which, k=0.1) for which in ("selected", "rest")}
        elif isinstance(strategy, LastLayers):
            found[name] = replace(strategy, k=1)
        elif strategy.trains and hasattr(strategy, "selection"):
            found[f"{name}+saliency"] = replace(strategy, selection=Saliency(), k=0.3)
    return found


FREEZING = freezing()


class Normed(nn.Module):
    """Batch normalisation of 1 x 1 maps, which cannot be trained on a batch of one."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 6, 3)
        self.pool = nn.MaxPool2d(6)
        self.norm = nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.pool(self.convolution(x))).relu().flatten(1))


def fresh(architecture: str) -> Classifier:
    return Classifier(NETS[architecture](), *Digits.normalisation)


NETS: dict[str, Callable[[], nn.Module]] = {
    "cnn": lambda: Cnn(width=2, hidden=8).net(Digits.shape, Digits.classes),
    "batch_norm": Normed,
    "whitened": lambda: WHITENED.net(Digits.shape, Digits.classes),
}


def original(architecture: str) -> Classifier:
    """Trained a little, frozen and in eval mode, as stages hand it over."""
    return copy.deepcopy(_trained(architecture))


@cache
def _trained(architecture: str) -> Classifier:
    torch.manual_seed(0)
    model, data = fresh(architecture), digits()
    if architecture == "whitened":
        WHITENED.initialise_from_data(model.net, [model.normalise(data.images.float() / 255)])
    return fit_batches(model, batch_of(data), steps=40).requires_grad_(False)


@cache
def digits() -> Images:
    train = Digits().load().train
    return part(train, torch.arange(N))


def part(data: Images, chosen: Tensor) -> Images:
    return Images(data.images[chosen], data.labels[chosen], data.index[chosen])


def scenario(request: str = "random") -> dict[Subset, Images]:
    """Forget and retain sets: six samples, one, or a class; and a validation set of the last ones."""
    data = digits()
    lost = data.labels == 3 if request == "class" else torch.arange(N) < {"random": 6, "one": 1}[request]
    aside = part(data, torch.arange(N - 20, N))
    forget, retain = part(data, lost), part(data, ~lost)
    return {Subset.FORGET: forget, Subset.RETAIN: retain, Subset.VALIDATION: aside, Subset.TRAIN: data}


@dataclass(frozen=True)
class Watched(Context):
    """A context that notes which streams were drawn from."""

    drawn: list[str] = field(default_factory=list)

    def generator(self, purpose: str) -> torch.Generator:
        self.drawn.append(purpose)
        return super().generator(purpose)


def served(strategy: Strategy) -> dict[Subset, Images]:
    """The scenario of a few samples, or of a class where a strategy serves nothing else."""
    return scenario("class" if strategy.class_wise_only else "random")


def architecture_of(model: Classifier) -> str:
    if isinstance(model.net, Normed):
        return "batch_norm"
    return "whitened" if isinstance(model.net[0], Whitening) else "cnn"  # type: ignore[index]  # both are sequences


def prepare(strategy: Strategy, model: Classifier, data: dict[Subset, Images], seed: int) -> tuple[Classifier, Watched]:
    """A copy to work on, and a context with the scores that the strategy asks for."""
    scored = copy.deepcopy(model).requires_grad_(True)
    whole = data | {Subset.TRAIN: digits()}  # which scores may be of, and nothing else
    batches = {subset: (images.images.float() / 255, images.labels) for subset, images in whole.items()}
    scores = {need: need.statistic.compute(scored, [batches[need.subset]]) for need in strategy.needs()}
    architecture = architecture_of(model)

    def another() -> Classifier:
        with torch.random.fork_rng(devices=[]):  # from a stream of its own, as stages make it
            torch.manual_seed(seed)
            made = fresh(architecture)
        if architecture == "whitened":
            WHITENED.copy_data_dependent(made.net, model.net)
        return made

    return copy.deepcopy(model).requires_grad_(True), Watched(model, another, scores, data, seed)


def fit(model: Classifier, phase: Phase, data: dict[Subset, Images], seed: int, number: int = 0) -> None:
    """As the unlearn stage does it."""
    replays = phase.replays and build_replay_loader(phase, data[Subset.FORGET], seed, "original")
    loader = replays or build_loader(phase, number, seed)
    UnlearnerModule(model, phase, loader, seed, data).run(TrainerSettings("cpu"))


@dataclass
class Result:
    """The unlearned model, and whether anything random went into it."""

    model: Classifier
    random: bool


def unlearn(strategy: Strategy, model: Classifier, data: dict[Subset, Images], seed: int = 0) -> Result:
    copied, context = prepare(strategy, model, data, seed)
    phases = list(strategy.phases(context, strategy.edit(copied, context)))
    for number, phase in enumerate(phases):
        fit(copied, phase, data, seed, number)
    return Result(copied, bool(phases or context.drawn))


def bits(model: nn.Module) -> dict[str, bytes]:
    """Parameters and buffers."""
    return {name: tensor.detach().numpy().tobytes() for name, tensor in model.state_dict().items()}


def hooks(model: nn.Module) -> int:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    on_modules = sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)
    return on_modules + sum(len(p._backward_hooks or ()) for p in model.parameters())


@every_strategy
@pytest.mark.parametrize("architecture", ["cnn", "batch_norm"])
@pytest.mark.parametrize("forget", ["random", "one", "class"])
def test_original_stays_and_result_is_sound(name: str, architecture: str, forget: str) -> None:
    if STRATEGIES[name].class_wise_only and forget != "class":
        pytest.skip("serves requests for whole classes alone")
    model = original(architecture)
    before = bits(model)
    result = unlearn(STRATEGIES[name], model, scenario(forget)).model
    assert bits(model) == before
    assert not any(module.training for module in (*model.modules(), *result.modules()))
    assert not any(p.requires_grad or p.grad is not None for p in model.parameters())
    assert hooks(model) == hooks(result) == 0
    assert all(tensor.isfinite().all() for tensor in result.state_dict().values())
    assert result(digits().images.float() / 255).isfinite().all()
    assert {n: (t.shape, t.dtype) for n, t in result.state_dict().items()} == {
        n: (t.shape, t.dtype) for n, t in model.state_dict().items()
    }


@every_strategy
def test_a_whitening_stays_as_it_is(name: str) -> None:
    """It is computed from the training images, and no parameter; its bias is one."""
    strategy, model = STRATEGIES[name], original("whitened")
    before = bits(model)
    result = unlearn(strategy, model, served(strategy)).model
    after = bits(result)
    assert bits(model) == before
    assert after.keys() == before.keys()
    assert after["net.0.weight"] == before["net.0.weight"] != bits(fresh("whitened"))["net.0.weight"]
    assert all(tensor.isfinite().all() for tensor in result.state_dict().values())


def test_fine_tuning_is_done_in_train_mode() -> None:
    """Dropout drops and batch normalisation learns, as when the original was trained."""
    model, data, modes = original("batch_norm"), scenario(), []
    copied, context = prepare(STRATEGIES["finetune"], model, data, 0)
    (phase,) = STRATEGIES["finetune"].phases(context, Edit({}))

    def loss(trained: nn.Module, batch: Batches, epoch: int) -> Tensor:
        modes.extend(module.training for module in trained.modules())
        return phase.loss(trained, batch, epoch)

    fit(copied, replace(phase, loss=loss), data, 0)
    assert all(modes)
    assert not torch.equal(copied.net.norm.running_mean, model.net.norm.running_mean)


@every_strategy
def test_no_gradient_is_left(name: str) -> None:
    result = unlearn(STRATEGIES[name], original("cnn"), served(STRATEGIES[name])).model
    assert all(p.grad is None for p in result.parameters())


@every_strategy
@pytest.mark.parametrize("architecture", [pytest.param("cnn", marks=pytest.mark.slow), "batch_norm"])
def test_seed_decides_every_bit(name: str, architecture: str) -> None:
    strategy, model, data = STRATEGIES[name], original(architecture), served(STRATEGIES[name])
    first = unlearn(strategy, model, data)
    torch.manual_seed(12345)  # the global generator must not matter
    assert bits(unlearn(strategy, model, data).model) == bits(first.model)
    assert (bits(unlearn(strategy, model, data, seed=1).model) != bits(first.model)) == first.random


@every_strategy
def test_all_but_the_identity_change_the_model(name: str) -> None:
    model = original("cnn")
    result = unlearn(STRATEGIES[name], model, served(STRATEGIES[name])).model
    assert (bits(result) == bits(model)) == (name == "identity")


@pytest.mark.parametrize("name", [name for name, strategy in STRATEGIES.items() if strategy.class_wise_only])
@pytest.mark.parametrize("architecture", ["cnn", "batch_norm"])
def test_class_wise_strategies_make_the_class_less_likely(name: str, architecture: str) -> None:
    model, data = original(architecture), scenario("class")
    images = data[Subset.FORGET].images.float() / 255
    before, after = (m(images).softmax(1)[:, 3].mean() for m in (model, unlearn(STRATEGIES[name], model, data).model))
    assert after < before


@pytest.mark.parametrize("name", FREEZING)
@pytest.mark.parametrize("architecture", ["cnn", "batch_norm"])
def test_frozen_entries_end_bit_identical(name: str, architecture: str) -> None:
    """Under momentum and weight decay, over several steps."""
    strategy = FREEZING[name]
    data = served(strategy)
    model, context = prepare(strategy, original(architecture), data, 0)
    for phase in strategy.phases(context, strategy.edit(model, context)):
        assert phase.trainable_mask is not None
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        fit(model, phase, data, 0)
        same = {n: p.detach().view(torch.int32) == before[n].view(torch.int32) for n, p in model.named_parameters()}
        assert all(same[n][~phase.trainable_mask[n]].all() for n in before)
        may_move = sum(int(mask.sum()) for mask in phase.trainable_mask.values())
        moved = sum(int((~kept).sum()) for kept in same.values())
        assert moved > 0.8 * may_move or moved == may_move == 0


@pytest.mark.parametrize("name", KINDS)
def test_every_option_has_a_module_and_a_yaml(name: str) -> None:
    assert KINDS[name].__module__ == f"unlearn.strategies.{name}"
    assert f"/schema/strategy/{name}@_here_" in (CONF / f"{name}.yaml").read_text()


def test_every_yaml_is_an_option() -> None:
    assert {path.stem for path in CONF.glob("*.yaml")} == {*KINDS, "sisa", "python"}  # python: a user's own class


def test_a_strategy_is_abstract_or_final() -> None:
    """A class with heirs is no option; an option is frozen, has no heir, and can be made without arguments."""
    modules = [module for n, module in sys.modules.items() if n.startswith("unlearn.strategies.")]
    everything = [member for module in modules for member in vars(module).values()]
    classes = {c for c in everything if isinstance(c, type) and issubclass(c, Strategy)}
    assert {c for c in classes if not c.__subclasses__()} == {*KINDS.values(), Sisa}
    assert all(kind.__dataclass_params__.frozen for kind in KINDS.values())  # type: ignore[attr-defined]
    assert all(isinstance(kind(), kind) for kind in KINDS.values())
