"""A step of training on a GPU copies nothing and waits for nothing, and its bits are those of a CPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from simulated import simulated_cuda
from torch import Tensor

from unlearn.core.progress import ignore_tick
from unlearn.core.recipe import Recipe
from unlearn.core.types import Images, ImageSource, Subset
from unlearn.data.augmentation import Augmentation
from unlearn.data.datasets.digits import Digits
from unlearn.data.loaders import ExcludedSamples, Loader, PairedLoader, RankShard
from unlearn.data.stream import Stream
from unlearn.models.base import Classifier
from unlearn.models.cnn import Cnn
from unlearn.strategies.base import Phase, task_loss
from unlearn.training.classifier import ClassifierModule
from unlearn.training.layout import lay_out_weights
from unlearn.training.stacked import fit_stacked
from unlearn.training.trainer import TrainerSettings
from unlearn.training.unlearner import UnlearnerModule

N = 32
State = dict[str, Tensor]
Train = Callable[[str, int], State]  # on "gpu" or "cpu", by batches of that size
PLAIN, MOVED = Augmentation(), Augmentation(1, True, crop_fill="reflect")
LOST = ExcludedSamples(torch.arange(N) % 9 == 0)


def digits() -> Images:
    return Digits(limit=N).load().train.take(torch.arange(N))


def streamed() -> Stream:
    data = digits()
    return Stream(lambda i: data.images[i], data.labels, data.index, data.shape, workers=0)


def fresh(seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    return Classifier(Cnn(width=4, hidden=8).net(Digits.shape, Digits.classes), *Digits.normalisation)


def on(accelerator: str, source: ImageSource) -> tuple[TrainerSettings, Classifier, ImageSource]:
    settings = TrainerSettings(accelerator)
    settings.apply()
    return settings, fresh().to(settings.device), source.to(settings.device)


def trained(accelerator: str, loader: Loader, recipe: Recipe) -> State:
    settings, model, data = on(accelerator, loader.data)
    loader = Loader(data, recipe.batch_size, 0, "original", loader.augmentation, loader.rows)
    ClassifierModule(model, recipe, PairedLoader({"train": loader}), 0, "original").run(settings, data)
    return state(model)


def state(model: Classifier) -> State:
    return {name: tensor.cpu() for name, tensor in model.state_dict().items()}


def plainly(augmentation: Augmentation, source: Callable[[], ImageSource] = digits, **recipe: object) -> Train:
    def train(accelerator: str, batch_size: int) -> State:
        wanted = Recipe(epochs=1, batch_size=batch_size, **recipe)  # type: ignore[arg-type]
        return trained(accelerator, Loader(source(), batch_size, 0, "original", augmentation), wanted)

    return train


def without_rows(accelerator: str, batch_size: int) -> State:
    loader = Loader(digits(), batch_size, 0, "original", MOVED, LOST)
    return trained(accelerator, loader, Recipe(epochs=1, batch_size=batch_size))


def frozen(accelerator: str, batch_size: int) -> State:
    """Every second entry may move; gradients are clipped."""
    settings, model, data = on(accelerator, digits())
    recipe = Recipe(epochs=1, batch_size=batch_size, clip=1.0)
    masks = {n: (torch.arange(p.numel()) % 2 == 0).view(p.shape).to(p.device) for n, p in model.named_parameters()}
    loader = PairedLoader({Subset.RETAIN: Loader(data, batch_size, 0, "unlearned/retain")})
    phase = Phase({Subset.RETAIN: data}, lambda m, b, _: task_loss(m, b, Subset.RETAIN, 0.0), recipe, masks)
    UnlearnerModule(model, phase, loader, 0, {}).run(settings)
    return state(model)


def at_once(accelerator: str, batch_size: int) -> State:
    """Two models stacked."""
    settings, _, data = on(accelerator, digits())
    models = [fresh(seed).to(settings.device) for seed in (0, 1)]
    loaders = [Loader(data, batch_size, seed, "shadow") for seed in (0, 1)]
    fit_stacked(models, loaders, Recipe(epochs=1, batch_size=batch_size), data, ignore_tick)
    return {f"{number}.{name}": t for number, model in enumerate(models) for name, t in state(model).items()}


TRAININGS: dict[str, Train] = {
    "plain": plainly(PLAIN),
    "cropped and mirrored": plainly(MOVED, optimizer="adam"),
    "streamed": plainly(MOVED, streamed, optimizer="muon", clip=1.0),
    "without rows": without_rows,
    "frozen": frozen,
    "at once": at_once,
}


@pytest.mark.parametrize("name", TRAININGS)
def test_a_step_copies_nothing_and_waits_for_nothing(name: str) -> None:
    """With twice the steps in as many epochs, the CPU waits no more often; weights are those of `trainer=cpu`."""
    with simulated_cuda() as long:
        found = TRAININGS[name]("gpu", 4)
    with simulated_cuda() as short:
        TRAININGS[name]("gpu", 8)
    assert sum(long.operations.values()) > 1.3 * sum(short.operations.values())
    assert more(long.copies, short.copies) == {}
    assert more(long.synchronisations, short.synchronisations) == {}
    expected = TRAININGS[name]("cpu", 4)
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def more(long: Counter[str], short: Counter[str]) -> dict[str, int]:
    """What came more often; decoding a streamed image is the DataLoader's work, and it waits for nobody."""
    return {place: count for place, count in (long - short).items() if not place.startswith("outside")}


@pytest.mark.parametrize("rows", [None, LOST, RankShard(1, 3)])
def test_an_epoch_takes_the_device_no_blocking_copy(rows: ExcludedSamples | RankShard | None) -> None:
    loader = Loader(digits(), 8, 0, "original", MOVED, rows)
    expected = list(loader.batches(1))
    with simulated_cuda() as device:
        loader.data = loader.data.to("cuda")
        before = device.copies.copy()
        found = list(loader.batches(1))
        assert device.copies == before
        assert not device.synchronisations
        for batch, same in zip(found, expected, strict=True):
            pairs = zip(batch, same, strict=True)
            assert all((a is b is None) or torch.equal(a.cpu(), b) for a, b in pairs)  # type: ignore[union-attr,arg-type]


def test_evaluating_copies_no_positions() -> None:
    """Labels and images are there; only what comes out is copied, and the CPU waits for that."""
    from unlearn.training.prediction import predict

    with simulated_cuda() as device:
        model, data = fresh().to("cuda").eval(), digits().to("cuda")
        before = device.copies.copy()
        predict(model, data)
        assert device.copies == before


@pytest.mark.parametrize("optimizer", ["sgd", "muon"])
def test_weights_of_a_model_on_a_gpu_lie_channels_last(optimizer: str) -> None:
    """They learn what they would learn in the usual layout, to rounding."""
    model = fresh()
    lay_out_weights(model)
    assert strides(model) == strides(fresh())  # on a CPU they stay
    recipe = Recipe(epochs=1, batch_size=8, optimizer=optimizer, clip=1.0)
    expected = plainly(PLAIN, optimizer=optimizer, clip=1.0)("cpu", 8)
    with simulated_cuda():
        settings = TrainerSettings("gpu", channels_last=True)
        model = model.to("cuda")
        loader = PairedLoader({"train": Loader(digits().to("cuda"), 8, 0, "original")})
        ClassifierModule(model, recipe, loader, 0, "original").run(settings)
        weights = [p for p in model.parameters() if p.dim() == 4]
        assert weights
        assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)
        found = state(model)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name].contiguous(), tensor, rtol=0, atol=1e-5)


def strides(model: Classifier) -> list[tuple[int, ...]]:
    return [p.stride() for p in model.parameters()]
