"""Mixed precision is where it belongs: in the forward passes of training and unlearning, and in nothing they leave."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.core.recipe import Recipe
from unlearn.core.types import Curve, Images, Subset
from unlearn.core.validation import problems
from unlearn.data.datasets.digits import Digits
from unlearn.data.loaders import Loader, PairedLoader
from unlearn.models.base import Classifier
from unlearn.models.cnn import Cnn
from unlearn.spd_gan.losses import Guide
from unlearn.spd_gan.options import Marker
from unlearn.strategies.base import Batches, Phase
from unlearn.training.classifier import ClassifierModule
from unlearn.training.prediction import features, predict
from unlearn.training.spd_gan import train_spd_gan
from unlearn.training.trainer import TrainerSettings
from unlearn.training.unlearner import UnlearnerModule

RECIPE = Recipe(epochs=8, batch_size=16)


def digits() -> Images:
    train = Digits().load().train
    return Images(train.images[:400], train.labels[:400], train.index[:400])


def fresh() -> Classifier:
    torch.manual_seed(0)
    return Classifier(Cnn(width=8, hidden=32).net(Digits.shape, Digits.classes), *Digits.normalisation)


def trained(precision: str) -> tuple[Classifier, Curve]:
    model, data = fresh(), digits()
    loader = PairedLoader({"train": Loader(data, RECIPE.batch_size, 0, "original")})
    settings = TrainerSettings("cpu", precision=precision)
    return model, ClassifierModule(model, RECIPE, loader, 0, "original").run(settings, data)


def test_bf16_differs_from_32_bits_and_stays_close() -> None:
    (full, _), (mixed, _), (again, _) = trained("32"), trained("bf16-mixed"), trained("bf16-mixed")
    one, other, same = (predict(model, digits()) for model in (full, mixed, again))
    assert torch.equal(other.logits, same.logits)
    assert not torch.equal(one.logits, other.logits)
    hits = [(p.logits.argmax(1) == p.labels).double().mean().item() for p in (one, other)]
    assert min(hits) > 0.9
    assert abs(hits[0] - hits[1]) < 0.05


def test_weights_and_validation_stay_in_32_bits() -> None:
    model, curve = trained("bf16-mixed")
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}
    predictions = predict(model, digits())
    assert predictions.logits.dtype == torch.float32
    assert not torch.equal(predictions.logits, predictions.logits.bfloat16().float())
    assert curve[-1]["validation_loss"] == F.cross_entropy(predictions.logits.double(), predictions.labels).item()


@pytest.mark.parametrize(("precision", "inside"), [("32", torch.float32), ("bf16-mixed", torch.bfloat16)])
def test_a_phase_runs_in_the_precision_asked_for(precision: str, inside: torch.dtype) -> None:
    seen: set[torch.dtype] = set()

    def loss(model: nn.Module, batch: Batches, _: int) -> Tensor:
        logits = model(batch[Subset.RETAIN].images)
        seen.add(logits.dtype)
        return F.cross_entropy(logits, batch[Subset.RETAIN].labels)

    model, phase = fresh(), Phase({Subset.RETAIN: digits()}, loss, Recipe(epochs=1))
    loader = PairedLoader({Subset.RETAIN: Loader(digits(), 64, 0, "unlearned/retain")})
    UnlearnerModule(model, phase, loader, 0, {}).run(TrainerSettings("cpu", precision=precision))
    assert seen == {inside}
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}


def test_spd_gan_stays_in_32_bits() -> None:
    model, data = fresh().eval(), digits()
    guide = Guide.of(model, features(model, data), data.labels, Digits.classes)

    def weights(precision: str) -> dict[str, Tensor]:
        settings = TrainerSettings("cpu", precision=precision)
        generator, _ = train_spd_gan(Marker(steps=3), guide, data, 0, settings, lambda done, total: None)
        return generator.state_dict()

    one, other = weights("32"), weights("bf16-mixed")
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("precision", ["32", "bf16-mixed", "16-mixed"])
def test_float16_needs_a_gpu(precision: str) -> None:
    keys = [problem.key for problem in problems(TrainerSettings("cpu", precision=precision), "trainer")]
    assert keys == (["trainer.precision"] if precision == "16-mixed" else [])
    assert list(problems(TrainerSettings("gpu", precision=precision), "trainer")) == []


@pytest.mark.parametrize("allowed", [False, True])
def test_tf32_is_only_for_training(allowed: bool) -> None:
    """torch allows it for convolutions unless told otherwise."""
    seen: dict[str, set[tuple[bool, bool]]] = {"train": set(), "predict": set()}

    class Noting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(64, 10)

        def forward(self, x: Tensor) -> Tensor:
            now = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
            seen["train" if self.training else "predict"].add(now)
            logits: Tensor = self.head(x.flatten(1))
            return logits

    settings = TrainerSettings("cpu", tf32=allowed)
    settings.apply()
    loader = PairedLoader({"train": Loader(digits(), RECIPE.batch_size, 0, "original")})
    ClassifierModule(Noting(), Recipe(epochs=1), loader, 0, "original").run(settings, digits())
    assert seen == {"train": {(allowed, allowed)}, "predict": {(False, False)}}
    assert not torch.backends.cudnn.allow_tf32
