"""The library: `unlearn.forget` and `unlearn.evaluate` on models and images in memory, and the listings."""

from __future__ import annotations

import copy
import subprocess
import sys
import warnings
from collections.abc import Iterator

import pytest
import torch
from builders import fit_batches
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import unlearn
from unlearn.core.batch import Batch
from unlearn.core.errors import ConfigError, UnlearnError
from unlearn.strategies.scrub import Scrub

Pair = tuple[Tensor, Tensor]


def build_net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 4 * 4, 16), nn.Linear(16, 3)
    )


def draw_images(n: int, seed: int) -> Pair:
    """Images in which the position of a bright row is the label."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    images = torch.randn(n, 1, 6, 6, generator=generator) * 0.5
    images[torch.arange(n), 0, labels * 2] += 2
    return images, labels


def train(images: Tensor, labels: Tensor, steps: int) -> nn.Module:
    torch.manual_seed(0)
    return fit_batches(build_net(), Batch(images, labels), steps=steps)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return train(*draw_images(90, 0), steps=30)


@pytest.fixture
def data() -> dict[str, Pair]:
    images, labels = draw_images(90, 0)
    return {"forget": (images[:12], labels[:12]), "retain": (images[12:], labels[12:])}


@pytest.fixture
def validation() -> Pair:
    return draw_images(30, 5)


@pytest.fixture(autouse=True)
def unchanged_torch() -> Iterator[None]:
    """No function of the library may change what the user has set."""
    before = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    yield
    assert (torch.get_num_threads(), torch.get_deterministic_debug_mode()) == before


def equal_weights(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().items(), b.state_dict().items(), strict=True)
    return all(m == n and torch.equal(x, y) for (m, x), (n, y) in pairs)


@pytest.mark.parametrize("strategy", ["scrub", "finetune", "top_k", "ssd", "salun", "bad_teacher"])
def test_a_strategy_changes_a_copy_and_repeats(
    model: nn.Module, data: dict[str, Pair], validation: Pair, strategy: str
) -> None:
    before, state = copy.deepcopy(model), torch.get_rng_state()
    epochs = None if strategy == "ssd" else 1
    data |= {"validation": validation}
    first, second = (unlearn.forget(model, **data, strategy=strategy, epochs=epochs) for _ in range(2))
    assert equal_weights(model, before)
    assert equal_weights(first, second)
    assert type(first) is type(model)
    assert not first.training
    assert all(p.requires_grad for p in first.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_wrong_labels_are_forgotten_and_the_rest_is_kept() -> None:
    images, labels = draw_images(90, 0)
    wrong = torch.arange(90) < 12
    labels = torch.where(wrong, (labels + 1) % 3, labels)
    memorised = train(images, labels, steps=200)
    forgotten = unlearn.forget(
        memorised,
        (images[wrong], labels[wrong]),
        (images[~wrong], labels[~wrong]),
        "finetune",
        epochs=60,
        recipe={"lr": 0.1},
    )
    before, after = ((net(images).argmax(1) == labels).float() for net in (memorised, forgotten))
    assert before[wrong].mean() > 0.9
    assert after[wrong].mean() < 0.7
    assert after[~wrong].mean() > 0.95


def test_tensors_a_dataset_and_a_loader_give_the_same(model: nn.Module, data: dict[str, Pair]) -> None:
    sets = {name: TensorDataset(*pair) for name, pair in data.items()}
    loaders = {name: DataLoader(part, batch_size=7) for name, part in sets.items()}
    items = {name: [part[i] for i in range(len(part))] for name, part in sets.items()}
    models = [unlearn.forget(model, **form, strategy="finetune", epochs=1) for form in (data, sets, loaders, items)]
    assert all(equal_weights(models[0], other) for other in models[1:])


def test_bytes_become_floats_from_zero_to_one(model: nn.Module, data: dict[str, Pair]) -> None:
    as_bytes = {name: (images.mul(40).clamp(0, 255).byte(), labels) for name, (images, labels) in data.items()}
    as_floats = {name: (images.float() / 255, labels) for name, (images, labels) in as_bytes.items()}
    models = [unlearn.forget(model, **form, strategy="finetune", epochs=1) for form in (as_bytes, as_floats)]
    assert equal_weights(*models)


def test_settings_reach_the_strategy(model: nn.Module, data: dict[str, Pair]) -> None:
    few = unlearn.forget(model, **data, strategy="finetune", epochs=1, selection="random", k=0.1, recipe={"lr": 0.01})
    changed = sum(int((a != b).sum()) for a, b in zip(few.parameters(), model.parameters(), strict=True))
    total = sum(p.numel() for p in model.parameters())
    assert 0 < changed <= round(0.1 * total) + 1
    by_object = unlearn.forget(model, **data, strategy=Scrub(temperature=2.0), epochs=1)
    by_name = unlearn.forget(model, **data, strategy="scrub", temperature=2.0, epochs=1)
    assert equal_weights(by_object, by_name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strategy": "scrubb"}, r"strategy: expected one of .* \(nearest: scrub\), got 'scrubb'"),
        ({"temperatur": 2.0}, r"temperatur: expected a setting .*\(nearest: temperature\)"),
        ({"temperature": -1.0}, r"^temperature: expected a number > 0, got -1.0"),
        ({"temperature": "hot"}, r"temperature: expected a value like the default 4.0, got 'hot'"),
        ({"recipe": {"lr": 0.0}}, r"^recipe.lr: expected a number > 0, got 0.0"),
        ({"strategy": "ssd", "epochs": 3}, r"^epochs: expected None, got 3 with a strategy that trains nothing"),
        ({"strategy": "mini_unlearning"}, r"^strategy: expected one that starts from the model, got mini_unlearning"),
        (
            {"strategy": "sisa"},
            r"^strategy: expected one that changes a model, got sisa: use unlearn.run with train=sisa",
        ),
        ({"strategy": "lrp_path"}, r"^retain: expected no image of the forgotten classes with strategy=lrp_path"),
        ({"strategy": "gradient_ascent"}, r"^validation: expected labelled images, by which strategy=gradient_ascent"),
        ({"forget": None}, r"^forget: expected \(images, labels\) as tensors, .* got None"),
        ({"forget": (torch.rand(4, 6, 6), torch.arange(4))}, r"^forget: expected images of shape \[n, c, h, w\]"),
        ({"forget": (torch.rand(4, 1, 6, 6), torch.rand(4))}, r"^forget: expected labels: integers of shape \[n\]"),
        ({"forget": (torch.rand(4, 1, 6, 6), torch.arange(3))}, r"^forget: expected as many labels as images, got '4"),
        ({"forget": (torch.rand(4, 3, 6, 6), torch.arange(4))}, r"^retain: expected images of the shape and type"),
        ({"model": nn.Flatten()}, r"^model: expected an nn.Module with parameters"),
        ({"model": "net"}, r"^model: expected an nn.Module, got a str"),
    ],
)
def test_a_bad_argument_is_refused_in_one_line(
    model: nn.Module, data: dict[str, Pair], arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        unlearn.forget(**({"model": model} | data | arguments))  # type: ignore[arg-type]


def test_images_that_a_strategy_reads_in_between_are_asked_for(model: nn.Module, data: dict[str, Pair]) -> None:
    with pytest.raises(ConfigError, match=r"^validation: expected .*, which this strategy reads, got None"):
        unlearn.forget(model, **data, strategy="top_k", epochs=1)


def test_a_layer_without_reset_is_named(data: dict[str, Pair]) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale, self.net = nn.Parameter(torch.ones(1)), build_net()

        def forward(self, images: Tensor) -> Tensor:
            return self.net(self.scale * images)

    with pytest.raises(UnlearnError, match="layers with reset_parameters, which draws new weights, got scale without"):
        unlearn.forget(Scaled(), **data, strategy="bad_teacher", epochs=1)


def test_the_evaluation_compares_models_and_judges(model: nn.Module, data: dict[str, Pair]) -> None:
    forgotten = unlearn.forget(model, **data, strategy="finetune", epochs=1)
    test, holdout = draw_images(60, 1), draw_images(60, 2)
    scores = unlearn.evaluate(
        forgotten, **data, test=test, holdout=holdout, original=model, retrained=[model, forgotten], seed=3
    )
    images, labels = data["retain"]
    expected = (forgotten(images).argmax(1) == labels).double().mean().item()
    assert scores.metrics["unlearned/retain_accuracy"] == pytest.approx(expected)
    assert scores.n["unlearned/retain_accuracy"] == 78
    assert scores.gaps["retain_accuracy"] is not None
    assert "gap/forget_accuracy" in scores.intervals
    assert scores.metrics["unlearned/mia_logistic_auc"] is not None
    assert set(scores.verdict) == {"forgotten", "utility", "cost", "sure"}
    assert "forget accuracy" in scores.table()
    assert "<table>" in scores._repr_html_()
    assert "forget accuracy" in scores._repr_html_()
    assert "numbers" in repr(scores)
    assert "baseline.seeds" not in scores.table()


def test_what_is_not_given_is_left_out_by_default_and_refused_by_name(model: nn.Module, data: dict[str, Pair]) -> None:
    test = draw_images(30, 1)
    scores = unlearn.evaluate(model, **data, test=test)
    assert "unlearned/forget_accuracy" in scores.metrics
    assert not any("mia" in key or "js_to" in key for key in scores.metrics)
    with pytest.raises(ConfigError, match=r"attacks: expected holdout=\.\.\. for logistic, got none"):
        unlearn.evaluate(model, **data, test=test, attacks=["logistic"])
    with pytest.raises(ConfigError, match=r"attacks: expected unlearn.run, which trains the models .* for lira"):
        unlearn.evaluate(model, **data, test=test, holdout=test, attacks=["lira"])
    with pytest.raises(ConfigError, match=r"metrics: expected retrained=\.\.\. for js_to_retrained"):
        unlearn.evaluate(model, **data, test=test, metrics=["js_to_retrained"])
    with pytest.raises(ConfigError, match="metrics: expected a list of names, got 'accuracy'"):
        unlearn.evaluate(model, **data, test=test, metrics="accuracy")


def test_metrics_of_gradients_weights_and_untrained_nets_are_measured(model: nn.Module, data: dict[str, Pair]) -> None:
    names = ["gradient_match", "layer_distance", "zrf", "activation_distance"]
    scores = unlearn.evaluate(model, **data, original=model, retrained=[model], metrics=names, attacks=[])
    assert scores.metrics["unlearned/activation_distance"] == 0


def test_the_listings_give_one_line_each() -> None:
    assert unlearn.strategies()["scrub"].startswith("SCRUB")
    assert unlearn.metrics()["accuracy"].startswith("Fraction of samples")
    assert "logistic" in unlearn.attacks()
    assert all(
        line for listing in (unlearn.strategies, unlearn.metrics, unlearn.attacks) for line in listing().values()
    )


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, unlearn; print(sorted({'torch', 'hydra', 'omegaconf', 'numpy'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'forgett'"):
        _ = unlearn.forgett


def test_no_warning_is_left(model: nn.Module, data: dict[str, Pair]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        unlearn.forget(model, **data, epochs=1)
