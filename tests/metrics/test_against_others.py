"""The composed metrics against SciPy, scikit-learn, closed forms and published numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cosine, jensenshannon
from sklearn.metrics import accuracy_score
from sklearn.metrics.pairwise import paired_euclidean_distances
from torch import Tensor, nn

from unlearn.core.types import Predictions, Subset
from unlearn.metrics.activation_distance import ActivationDistance
from unlearn.metrics.aus import Aus
from unlearn.metrics.base import SampleMean
from unlearn.metrics.evidence import Evidence, ModelEvidence
from unlearn.metrics.forget_information import ForgetInformation
from unlearn.metrics.gradient_match import FORGET as FORGET_GRADIENT
from unlearn.metrics.gradient_match import RETAIN as RETAIN_GRADIENT
from unlearn.metrics.gradient_match import GradientMatch
from unlearn.metrics.layer_distance import LayerDistance
from unlearn.metrics.layers import by_layer
from unlearn.metrics.tug_of_war import TugOfWar
from unlearn.metrics.zrf import Zrf

FORGET, RETAIN, TEST = Subset.FORGET, Subset.RETAIN, Subset.TEST
SETS = (FORGET, RETAIN, TEST)


def drawn(seed: int, n: int = 200, classes: int = 5, scale: float = 3.0, skill: float = 0.0) -> ModelEvidence:
    """Random logits on the same labels for every seed, the true class raised by `skill`."""
    labels = torch.randint(0, classes, (3, n), generator=torch.Generator().manual_seed(100))
    logits = scale * torch.randn(3, n, classes, generator=torch.Generator().manual_seed(seed))
    logits += skill * torch.eye(classes)[labels]
    return ModelEvidence({s: Predictions(logits[k], labels[k], torch.arange(n)) for k, s in enumerate(SETS)})


def probabilities(seen: ModelEvidence) -> np.ndarray:
    return seen[FORGET].logits.double().softmax(1).numpy()


def accuracy(seen: ModelEvidence, subset: Subset) -> float:
    return float(accuracy_score(seen[subset].labels, seen[subset].logits.argmax(1)))


def with_correct(shares: dict[Subset, tuple[float, Tensor]]) -> ModelEvidence:
    """Predictions on labels int64 [n] whose first share is right."""
    found = {}
    for subset, (share, labels) in shares.items():
        right = torch.arange(len(labels)) < round(share * len(labels))
        said = torch.where(right, labels, labels + 1)
        found[subset] = Predictions(torch.eye(int(labels.max()) + 2)[said], labels, torch.arange(len(labels)))
    return ModelEvidence(found)


@pytest.mark.parametrize("scale", [0.1, 3.0, 1e3])
def test_zrf_is_scipys_divergence_in_bits(scale: float) -> None:
    mine, random = drawn(0, scale=scale), drawn(1, scale=scale)
    expected = 1 - np.mean(jensenshannon(probabilities(mine), probabilities(random), base=2, axis=1) ** 2)
    assert Zrf().measure(Evidence(mine, untrained=random))["zrf"].value == pytest.approx(expected, abs=1e-9)


def test_zrf_of_the_random_net_is_one_and_of_its_opposite_nothing() -> None:
    random = drawn(0, scale=1e4)
    other = ModelEvidence({FORGET: replace(random[FORGET], logits=random[FORGET].logits.roll(1, 1))})
    assert Zrf().measure(Evidence(random, untrained=random))["zrf"].value == 1.0
    assert Zrf().measure(Evidence(other, untrained=random))["zrf"].value == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("scale", [0.1, 3.0, 1e3])
def test_activation_distance_is_scikit_learns(scale: float) -> None:
    mine, retrained = drawn(0, scale=scale), drawn(1, scale=scale)
    expected = paired_euclidean_distances(probabilities(mine), probabilities(retrained)).mean()
    found = ActivationDistance().measure(Evidence(mine, retrained=retrained))["activation_distance"].value
    assert found == pytest.approx(expected, abs=1e-9)
    assert 0 <= found <= math.sqrt(2)


@pytest.mark.parametrize("seed", range(5))
def test_tug_of_war_is_the_product_over_accuracies(seed: int) -> None:
    mine, retrained = drawn(seed, skill=seed), drawn(seed + 10, skill=2)
    expected = np.prod([1 - abs(accuracy(mine, s) - accuracy(retrained, s)) for s in SETS])
    found = TugOfWar().measure(Evidence(mine, retrained=retrained))["tug_of_war"]
    assert (found.value, found.n) == (pytest.approx(expected), 600)
    assert 0 <= (found.value or 0) <= 1


@pytest.mark.parametrize("kind", [TugOfWar, Aus])
def test_the_standard_error_agrees_with_resampling(kind: type[TugOfWar] | type[Aus]) -> None:
    """Where no difference is near 0, whose absolute value has no slope."""
    mine, other = drawn(0, skill=1), drawn(1, skill=4)
    error = kind().measure(Evidence(mine, other, other)).popitem()[1].standard_error
    generator, values = torch.Generator().manual_seed(0), []
    for _ in range(400):
        taken = [torch.randint(200, (200,), generator=generator) for _ in SETS]
        again = [
            ModelEvidence(
                {s: Predictions(*(t[k] for t in vars(seen[s]).values())) for s, k in zip(SETS, taken, strict=True)}
            )
            for seen in (mine, other)
        ]
        values.append(kind().measure(Evidence(again[0], again[1], again[1])).popitem()[1].value)
    assert error == pytest.approx(np.std(values), rel=0.15)


def test_aus_of_forgotten_samples() -> None:
    """Best where they are known as well as the test set, and where accuracy held."""
    labels = {s: (1.0, torch.arange(1000) % 3) for s in SETS}
    before = with_correct(labels)
    for test, forget, expected in ((1.0, 1.0, 1.0), (1.0, 0.0, 0.5), (0.8, 0.8, 0.8), (0.8, 0.6, 0.8 / 1.2)):
        after = with_correct(
            {FORGET: (forget, labels[FORGET][1]), RETAIN: labels[RETAIN], TEST: (test, labels[TEST][1])}
        )
        assert Aus().measure(Evidence(after, before))["aus"].value == pytest.approx(expected)


@pytest.mark.parametrize(
    ("retained", "forgotten", "expected"),
    [(0.9447, 0.9503, 0.51), (0.8671, 0.1537, 0.80), (0.8530, 0.1233, 0.81), (0.8873, 0.0243, 0.92)],
)
def test_aus_of_a_class_is_as_published(retained: float, forgotten: float, expected: float) -> None:
    """CIFAR-10, ResNet-18, one class: original, gradient ascent, boundary shrink, DELETE, as the table of POUR has
    them (accuracy on the other classes, on the class, AUS)."""
    others, gone = torch.arange(10_000) % 9, torch.full((10_000,), 9)
    test = torch.cat([others, gone])
    share = {FORGET: (1.0, gone), RETAIN: (1.0, others)}

    def model(on_others: float, on_gone: float) -> ModelEvidence:
        parts = with_correct({RETAIN: (on_others, others), FORGET: (on_gone, gone)})
        both = [torch.nn.functional.pad(p.logits, (0, 11 - p.logits.shape[1])) for p in (parts[RETAIN], parts[FORGET])]
        return ModelEvidence({**with_correct(share), TEST: Predictions(torch.cat(both), test, torch.arange(20_000))})

    found = Aus().measure(Evidence(model(retained, forgotten), model(0.9447, 0.9503)))["aus"]
    assert found.value == pytest.approx(expected, abs=0.005)
    assert found.n == 20_000


def test_aus_of_a_class_that_test_lacks_is_undefined() -> None:
    labels = {
        FORGET: (1.0, torch.full((5,), 2)),
        RETAIN: (1.0, torch.zeros(5).long()),
        TEST: (1.0, torch.zeros(5).long()),
    }
    found = Aus().measure(Evidence(with_correct(labels), with_correct(labels)))["aus"]
    assert found.value is None
    assert found.reason == "test has no images of the forgotten classes"


def two_layers(*, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"net.0.weight": (4, 3), "net.0.bias": (4,), "net.2.weight": (2, 4), "scale": (1,)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def test_layers_are_the_modules_that_own_parameters() -> None:
    assert {name: len(vector) for name, vector in by_layer(two_layers(seed=0)).items()} == {
        "net.0": 16,
        "net.2": 8,
        "": 1,
    }


def test_gradient_match_is_the_mean_of_scipys_cosine_distances() -> None:
    forget, retain = two_layers(seed=0), two_layers(seed=1)
    seen = ModelEvidence(drawn(0).predictions, {FORGET_GRADIENT: forget, RETAIN_GRADIENT: retain})
    a, b = by_layer(forget), by_layer(retain)
    expected = np.mean([cosine(a[layer].numpy(), b[layer].numpy()) for layer in a])
    assert GradientMatch().measure(Evidence(seen))["gradient_match"].value == pytest.approx(expected)


@pytest.mark.parametrize(("factor", "expected"), [(2.0, 0.0), (-3.0, 2.0)])
def test_gradient_match_knows_directions_alone(factor: float, expected: float) -> None:
    forget = two_layers(seed=0)
    retain = {name: factor * tensor for name, tensor in forget.items()}
    seen = ModelEvidence(drawn(0).predictions, {FORGET_GRADIENT: forget, RETAIN_GRADIENT: retain})
    assert GradientMatch().measure(Evidence(seen))["gradient_match"].value == pytest.approx(expected, abs=1e-12)


def test_a_layer_without_gradient_has_no_direction() -> None:
    forget = two_layers(seed=0) | {"net.2.weight": torch.zeros(2, 4)}
    seen = ModelEvidence(drawn(0).predictions, {FORGET_GRADIENT: forget, RETAIN_GRADIENT: two_layers(seed=1)})
    assert GradientMatch().measure(Evidence(seen))["gradient_match"].reason == "the gradient of net.2 is 0"


def test_layer_distances_of_each_layer() -> None:
    mine, theirs = two_layers(seed=0), two_layers(seed=1)
    found = LayerDistance(per_layer=True).measure(
        Evidence(ModelEvidence(weights=mine), ModelEvidence(weights=mine), ModelEvidence(weights=theirs))
    )
    for layer, names in {"net.0": ("net.0.weight", "net.0.bias"), "net.2": ("net.2.weight",), "": tuple(mine)}.items():
        a, b = (np.concatenate([weights[name].numpy().ravel() for name in names]) for weights in (mine, theirs))
        key = f"_{layer}" if layer else ""
        expected = np.linalg.norm(a - b) / np.linalg.norm(b)
        assert found[f"layer_distance_to_retrained{key}"].value == pytest.approx(expected)
        assert found[f"layer_distance_to_original{key}"].value == 0.0


def test_forget_information_of_a_linear_model_in_closed_form() -> None:
    """Of softmax regression ||grad log p_y||^2 = ||p - e_y||^2 (||x||^2 + 1)."""
    torch.manual_seed(0)
    model, images, labels = nn.Sequential(nn.Flatten(), nn.Linear(6, 3)), torch.rand(9, 1, 2, 3), torch.arange(9) % 3
    model.eval()
    (need,) = ForgetInformation().needs()
    scores = need.statistic.compute(model, [(images[:4], labels[:4]), (images[4:], labels[4:])])
    seen = ModelEvidence({FORGET: Predictions(model(images).detach(), labels, torch.arange(9))}, {need: scores})
    residual = model(images).softmax(1) - torch.eye(3)[labels]
    expected = (residual.square().sum(1) * (images.flatten(1).square().sum(1) + 1)).mean().item()
    found = ForgetInformation().measure(Evidence(seen, retrained=seen))
    assert found["forget_information_log"].value == pytest.approx(math.log(expected), abs=1e-5)
    assert found["efficacy"].value == pytest.approx(1 / expected, rel=1e-5)
    assert found["forget_information_ratio"].value == 1.0
    assert {m.n for m in found.values()} == {9}


def test_forget_information_counts_the_samples_it_was_given() -> None:
    metric = ForgetInformation(samples=50)
    (need,) = metric.needs()
    assert need.samples == 50
    seen = ModelEvidence(drawn(0).predictions, {need: {"w": torch.ones(3)}})
    assert {m.n for m in metric.measure(Evidence(seen, retrained=seen)).values()} == {50}


def test_without_a_gradient_there_is_no_information() -> None:
    (need,) = ForgetInformation().needs()
    flat, other = (ModelEvidence(drawn(0).predictions, {need: {"w": torch.tensor([v])}}) for v in (0.0, 2.0))
    found = ForgetInformation().measure(Evidence(flat, retrained=other))
    assert (found["efficacy"].value, found["forget_information_log"].value) == (None, None)
    assert found["forget_information_ratio"].value == 0.0
    assert ForgetInformation().measure(Evidence(other, retrained=flat))["forget_information_ratio"].value is None


def test_a_sample_mean_is_the_mean_of_its_samples() -> None:
    mine, retrained = drawn(0), drawn(1)
    metric: SampleMean = ActivationDistance()
    (each,) = metric.sample_values(Evidence(mine, retrained=retrained)).values()
    (found,) = metric.measure(Evidence(mine, retrained=retrained)).values()
    assert (found.value, found.n) == (each.mean().item(), 200)
    assert found.standard_error == pytest.approx(each.numpy().std(ddof=1) / math.sqrt(200))
