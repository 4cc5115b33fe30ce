"""All metrics on one small run give known answers from what stages build."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import Finished, Run
from scipy.spatial.distance import jensenshannon
from torch import Tensor
from torch.func import functional_call, grad, vmap

from unlearn.core.types import Role, Subset
from unlearn.metrics.zrf import Zrf
from unlearn.models.base import Classifier
from unlearn.stages.files import read_predictions


@pytest.fixture(scope="module")
def full(finished: Finished, run: Run) -> Finished:
    """`identity`: the unlearned model is the original."""
    return run(finished.store, "strategy=identity", "metrics=full", "metrics.layer_distance.per_layer=true")


def weights(model: Classifier) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in model.named_parameters()}


def gradients(run: Finished, model: Classifier, subset: Subset) -> Tensor:
    """Of each sample's loss, [n, parameters], all at once by torch.func."""
    unlearned = run.outcome.plan.unlearned
    data = {Subset.FORGET: unlearned.forget, Subset.RETAIN: unlearned.retain}[subset].load(run.context)
    images = next(iter(data.batches([torch.arange(len(data))]))).float() / 255

    def loss(parameters: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        state = parameters | dict(model.named_buffers())
        return torch.nn.functional.cross_entropy(functional_call(model, state, (image[None],)), label[None])

    found = vmap(grad(loss), in_dims=(None, 0, 0))(weights(model), images, data.labels)
    return torch.cat([each.flatten(1) for each in found.values()], 1).double()


@pytest.mark.parametrize("role", [Role.ORIGINAL, Role.UNLEARNED])
def test_an_unchanged_model_has_distance_zero_from_the_original(full: Finished, role: Role) -> None:
    assert full.value(role, "layer_distance_to_original") == 0.0
    assert full.value(role, "layer_distance_to_original_net.0") == 0.0
    assert full.value(role, "zrf") == full.value(Role.ORIGINAL, "zrf")
    assert full.value(role, "forget_information_log") == full.value(Role.ORIGINAL, "forget_information_log")


@pytest.mark.parametrize(
    ("metric", "wanted"),
    [
        ("activation_distance", 0),
        ("layer_distance_to_retrained", 0),
        ("tug_of_war", 1),
        ("forget_information_ratio", 1),
    ],
)
def test_the_retrained_model_is_exactly_like_retrained(full: Finished, metric: str, wanted: float) -> None:
    assert full.value(Role.RETRAINED, metric) == pytest.approx(wanted, abs=1e-15)
    assert full.value(Role.ORIGINAL, metric) != pytest.approx(wanted, abs=1e-3)


def test_forget_information_is_that_of_per_sample_gradients(full: Finished) -> None:
    for model in (full.outcome.plan.original, full.outcome.plan.retrained[0]):
        information = gradients(full, model.load(full.context), Subset.FORGET).square().sum(1).mean().item()
        assert full.value(model.role, "forget_information_log") == pytest.approx(math.log(information), abs=1e-3)


def test_gradient_match_is_that_of_the_mean_gradients(full: Finished) -> None:
    model = full.outcome.plan.original.load(full.context)
    pair = [gradients(full, model, subset).mean(0) for subset in (Subset.FORGET, Subset.RETAIN)]
    sizes: dict[str, int] = {}
    for name, p in weights(model).items():
        layer = name.rpartition(".")[0]
        sizes[layer] = sizes.get(layer, 0) + p.numel()
    parts = zip(*(vector.split(list(sizes.values())) for vector in pair), strict=True)
    expected = [1 - torch.nn.functional.cosine_similarity(a, b, dim=0).item() for a, b in parts]
    assert full.value(Role.ORIGINAL, "gradient_match") == pytest.approx(sum(expected) / len(expected), abs=1e-4)


def test_layer_distance_is_that_of_the_parameters(full: Finished) -> None:
    original, retrained = (
        torch.cat([p.flatten() for p in weights(model.load(full.context)).values()]).double()
        for model in (full.outcome.plan.original, full.outcome.plan.retrained[0])
    )
    expected = ((original - retrained).norm() / retrained.norm()).item()
    assert full.value(Role.ORIGINAL, "layer_distance_to_retrained") == pytest.approx(expected)


def test_zrf_compares_with_an_untrained_net(full: Finished) -> None:
    """All models are held against the same one, which is sure of nothing; SciPy's divergence from it, in bits."""
    stages = [reading.stage for reading, _ in full.outcome.measurements if isinstance(reading.stage.metric, Zrf)]
    (net,) = {stage.untrained.predictions[Subset.FORGET].key: stage for stage in stages}.values()
    random, mine = (
        read_predictions(full.context.get(view.predictions[Subset.FORGET])).logits.double().softmax(1).numpy()
        for view in (net.untrained, net.subject)
    )
    assert random.max() < 0.3
    expected = 1 - (jensenshannon(mine, random, base=2, axis=1) ** 2).mean()
    assert full.value(net.model.role, "zrf") == pytest.approx(expected)
