"""Each metric by hand, and what all of them must keep to."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from unlearn.core.plugins import find_options
from unlearn.core.types import Measurement, Predictions, Role, Subset
from unlearn.functional.parameter_scores import Scores
from unlearn.metrics.evidence import Evidence, Metric, ModelEvidence

METRICS = find_options("unlearn.metrics", Metric)
CONF = Path(__file__).parents[2] / "conf/metrics"
every_metric = pytest.mark.parametrize("name", METRICS)

FORGET, RETAIN, TEST = Subset.FORGET, Subset.RETAIN, Subset.TEST
Views = dict[Subset, Predictions]


def views(**confidences: Iterable[float]) -> Views:
    """Two-class predictions from the probability of the true class; above 0.5 is correct."""
    return {Subset(name): binary(list(values)) for name, values in confidences.items()}


def binary(confidences: list[float]) -> Predictions:
    p = torch.tensor(confidences)
    labels = torch.arange(len(p)) % 2
    rows = torch.stack([p, 1 - p], 1)
    return Predictions(torch.where(labels[:, None] == 0, rows, rows.flip(1)).log(), labels, torch.arange(len(p)))


def js(p: float, q: float) -> float:
    """Jensen-Shannon divergence of two coins, from their entropies."""
    entropy = [-x * math.log(x) - (1 - x) * math.log(1 - x) for x in ((p + q) / 2, p, q)]
    return entropy[0] - (entropy[1] + entropy[2]) / 2


ORIGINAL = views(
    forget=[0.9] * 8,
    perturbed_forget=[0.9] * 8,
    perturbed_holdout=[0.9] * 4 + [0.7],
    retain=[0.9, 0.9, 0.9, 0.1],
    test=[0.9, 0.1],
)
RETRAINED = views(
    forget=[0.9] + [0.1] * 7,
    perturbed_forget=[0.9] + [0.1] * 7,
    perturbed_holdout=[0.1] * 5,
    retain=[0.9] * 4,
    test=[0.9, 0.9],
)
SUBJECT = views(
    forget=[0.9] * 5 + [0.3] * 3,
    retain=[0.9, 0.9, 0.1, 0.1],
    test=[0.9, 0.9],
    perturbed_forget=[0.9] * 5 + [0.3] * 3,
    perturbed_holdout=[0.9, 0.1, 0.1, 0.1, 0.1],
    noisy_forget=[0.9] * 8,
    clean_forget=[0.9] * 6 + [0.1] * 2,
    relabelled=[0.9, 0.1, 0.1, 0.2],
    earlier_forget=[0.9, 0.1, 0.1, 0.1, 0.9],
)
UNTRAINED = views(forget=[0.5] * 8, test=[0.5, 0.5])


def by_name(*entries: float) -> dict[str, torch.Tensor]:
    """Five numbers as two layers: two weights and a bias, two weights."""
    a, b, c, d, e = entries
    return {"net.0.weight": torch.tensor([a, b]), "net.0.bias": torch.tensor([c]), "net.1.weight": torch.tensor([d, e])}


SUBJECT_SCORES: dict[tuple[str, Subset], Scores] = {
    ("mean_square", FORGET): by_name(1, 2, 3, 2, 0),
    ("mean_gradient", FORGET): by_name(3, 4, 0, 1, 0),
    ("mean_gradient", RETAIN): by_name(4, 3, 0, 0, 2),
}
RETRAINED_SCORES: dict[tuple[str, Subset], Scores] = {("mean_square", FORGET): by_name(0, 0, 0.5, 0.5, 1)}
RELEARNED = {"subject": {0: 0.5, 1: 0.75, 2: 1.0}, "original": {0: 1.0}, "retrained": {0: 0.25, 3: 0.5, 4: 1.0}}
WEIGHTS = {"subject": by_name(3, 3, 0, 0, 0), "original": by_name(3, 0, 0, 0, 4), "retrained": by_name(0, 0, 2, 0, 0)}
EXPECTED = {
    "accuracy": {
        "forget_accuracy": 5 / 8,
        "unlearning_accuracy": 3 / 8,
        "retain_accuracy": 0.5,
        "test_accuracy": 1.0,
    },
    "loss": {
        "forget_loss": -(5 * math.log(0.9) + 3 * math.log(0.3)) / 8,
        "retain_loss": -(math.log(0.9) + math.log(0.1)) / 2,
        "test_loss": -math.log(0.9),
    },
    "corrected_accuracy": {"corrected_accuracy": 0.25},
    "earlier_accuracy": {"earlier_forget_accuracy": 2 / 5},
    "forgetting_rate": {"forgetting_rate": 3 / 8},
    "forgetting_rate_relative": {"forgetting_rate_relative": 3 / 7},
    "memory_retention_rate": {"memory_retention_rate": 0.5 / 0.75, "memory_retention_rate_test": 2.0},
    "js_to_retrained": {"js_to_retrained": (4 * js(0.9, 0.1) + 3 * js(0.3, 0.1)) / 8},
    "tug_of_war": {"tug_of_war": (1 - 4 / 8) * (1 - 2 / 4) * (1 - 0)},
    "aus": {"aus": (1 - (0.5 - 1.0)) / (1 + 3 / 8)},
    "zrf": {"zrf": 1 - (5 * js(0.9, 0.5) + 3 * js(0.3, 0.5)) / 8 / math.log(2)},
    "activation_distance": {"activation_distance": math.sqrt(2) * (4 * 0.8 + 3 * 0.2) / 8},
    "layer_distance": {"layer_distance_to_original": 5 / 5, "layer_distance_to_retrained": math.sqrt(22) / 2},
    "forget_information": {
        "forget_information_log": math.log(8),
        "forget_information_ratio": 8 / 2,
        "efficacy": 1 / 8,
    },
    "gradient_match": {"gradient_match": 1 - (24 / 25 + 0) / 2},
    "relearn_time": {"relearn_steps": 2.0, "ain": 2 / 4},
    "klom": {  # one of the two subjects equals the retrained models; the other may differ
        "klom_forget": 7 / 8 * math.log(2),
        "klom_forget_p95": math.log(2),
        "klom_forget_reverse": 7 / 8 * (math.log(1 / 2) + math.log(1 + 1e-5) + math.log(1e5) / 2),
        "klom_forget_reverse_p95": math.log(1 / 2) + math.log(1 + 1e-5) + math.log(1e5) / 2,
        "klom_retain": 2 / 4 * math.log(2),
        "klom_retain_p95": math.log(2),
        "klom_retain_reverse": 2 / 4 * (math.log(1 / 2) + math.log(1 + 1e-5) + math.log(1e5) / 2),
        "klom_retain_reverse_p95": math.log(1 / 2) + math.log(1 + 1e-5) + math.log(1e5) / 2,
        "klom_test": 0.0,
        "klom_test_p95": 0.0,
        "klom_test_reverse": 0.0,
        "klom_test_reverse_p95": 0.0,
    },
    "unlearning_degree": {
        "unlearning_degree": 0.9 - 0.675,
        "unlearning_degree_accuracy": 3 / 8,
        "unlearning_degree_loss": 3 / 8 * math.log(3),
    },
    "unlearning_degree_calibrated": {"unlearning_degree_calibrated": (0.9 - 0.675) / (0.9 - 0.2)},
    "unlearning_degree_holdout": {"unlearning_degree_holdout": (0.86 - 0.26) / (0.86 - 0.1)},
    "spd_gan_controls": {
        "perturbed_forget_accuracy": 5 / 8,
        "perturbed_holdout_accuracy": 0.2,
        "noisy_forget_accuracy": 1.0,
        "clean_forget_accuracy": 0.75,
    },
}


def run_metric(
    name: str, subject: Views, original: Views, retrained: Views, untrained: Views = UNTRAINED
) -> dict[str, Measurement]:
    """Run a metric on exactly the evidence that it declares; scores, weights and relearning curves are those above.

    A metric on groups of models gets the subject and the retrained model as subjects, and the same retrained model
    twice.
    """
    metric = METRICS[name]()
    assert isinstance(metric, Metric)

    def evidence_of(role: str, views: Views, scores: dict[tuple[str, Subset], Scores]) -> ModelEvidence:
        computed = {need: scores[need.statistic.name, need.subset] for need in metric.needs()}
        relearned = RELEARNED[role] if metric.relearning else {}
        return ModelEvidence(
            {s: views[s] for s in metric.subsets},
            computed,
            WEIGHTS[role] if metric.weights else {},
            relearned=relearned,
        )

    references = {
        Role.ORIGINAL: lambda: evidence_of("original", original, {}),
        Role.RETRAINED: lambda: evidence_of("retrained", retrained, RETRAINED_SCORES),
        Role.UNTRAINED: lambda: evidence_of("untrained", untrained, {}),
    }
    references_read = (make() if role in metric.references else ModelEvidence() for role, make in references.items())
    of_subject = evidence_of("subject", subject, SUBJECT_SCORES)
    if not metric.replica_seeds:
        return metric.measure(Evidence(of_subject, *references_read))
    of_retrained = evidence_of("retrained", retrained, RETRAINED_SCORES)
    return metric.measure(
        Evidence(ModelEvidence(), subjects=(of_subject, of_retrained), retrained_models=(of_retrained, of_retrained))
    )


def random_views(seed: int, n: int = 60) -> Views:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (len(Subset), n), generator=torch.Generator().manual_seed(0))  # the same for all
    logits = 5 * torch.randn(len(Subset), n, 4, generator=generator)
    return {s: Predictions(logits[i], labels[i], torch.arange(n)) for i, s in enumerate(Subset)}


@every_metric
def test_a_metric_by_hand(name: str) -> None:
    found = run_metric(name, SUBJECT, ORIGINAL, RETRAINED)
    assert {key: m.value for key, m in found.items()} == pytest.approx(EXPECTED[name], abs=1e-6)


def of_classes(labels: list[int], right: list[int]) -> Predictions:
    """Three-class predictions, correct where `right` is 1."""
    y = torch.tensor(labels)
    shown = torch.where(torch.tensor(right) == 1, y, (y + 1) % 3)
    return Predictions(torch.eye(3)[shown], y, torch.arange(len(y)))


def test_where_a_class_vanishes_test_accuracy_is_given_without_it_too() -> None:
    """Class 2 goes: of the test set's six samples the four others count, three of them right; class 1 is retained."""
    test = of_classes([0, 2, 1, 0, 2, 1], [1, 0, 1, 0, 0, 1])
    subject = {FORGET: of_classes([2, 2, 1], [0, 0, 1]), RETAIN: of_classes([0, 1, 1], [1, 1, 1]), Subset.TEST: test}
    found = run_metric("accuracy", subject, subject, subject)
    assert (found["test_accuracy"].value, found["test_accuracy"].n) == (pytest.approx(3 / 6), 6)
    assert (found["retained_test_accuracy"].value, found["retained_test_accuracy"].n) == (pytest.approx(3 / 4), 4)


@pytest.mark.parametrize(
    ("forget", "retain", "test"),
    [
        ([2, 2], [0, 1, 2], [0, 1, 2]),  # one sample of the class stays
        ([2, 2], [0, 1, 1], [0, 1, 1]),  # the test set has none of it
        ([2, 2], [0, 1, 1], [2, 2, 2]),  # or nothing else
    ],
)
def test_where_none_vanishes_from_the_test_set_there_is_no_second_accuracy(
    forget: list[int], retain: list[int], test: list[int]
) -> None:
    parts = {FORGET: forget, RETAIN: retain, Subset.TEST: test}
    subject = {subset: of_classes(labels, [1] * len(labels)) for subset, labels in parts.items()}
    assert set(run_metric("accuracy", subject, subject, subject)) == set(EXPECTED["accuracy"])


def test_n_counts_the_samples() -> None:
    found = run_metric("loss", SUBJECT, ORIGINAL, RETRAINED)
    assert {key: m.n for key, m in found.items()} == {"forget_loss": 8, "retain_loss": 4, "test_loss": 2}
    assert (
        run_metric("unlearning_degree_calibrated", SUBJECT, ORIGINAL, RETRAINED)["unlearning_degree_calibrated"].n == 8
    )


def values(name: str, subject: Views, original: Views, retrained: Views) -> dict[str, float | None]:
    return {key: m.value for key, m in run_metric(name, subject, original, retrained).items()}


def sure(models: Views) -> Views:
    """Always right, by far: what a random model is to be told from."""
    return {s: replace(p, logits=20 * torch.eye(4)[p.labels]) for s, p in models.items()}


@pytest.mark.parametrize("seed", range(5))
def test_the_untouched_original_has_forgotten_nothing(seed: int) -> None:
    retrained = random_views(seed)
    original = sure(retrained)
    for name in (
        "forgetting_rate",
        "forgetting_rate_relative",
        "unlearning_degree",
        "unlearning_degree_calibrated",
        "unlearning_degree_holdout",
    ):
        assert set(values(name, original, original, retrained).values()) == {0.0}
    assert set(values("memory_retention_rate", original, original, retrained).values()) == {1.0}


@pytest.mark.parametrize("seed", range(5))
def test_the_retrained_model_is_exactly_like_retrained(seed: int) -> None:
    retrained = random_views(seed)
    original = sure(retrained)
    for name in ("forgetting_rate_relative", "unlearning_degree_calibrated", "unlearning_degree_holdout"):
        assert values(name, retrained, original, retrained) == {name: 1.0}
    for name, wanted in (("js_to_retrained", 0), ("activation_distance", 0), ("tug_of_war", 1)):
        assert values(name, retrained, original, retrained)[name] == pytest.approx(wanted, abs=1e-15)


@pytest.mark.parametrize(
    "name", ["forgetting_rate_relative", "unlearning_degree_calibrated", "unlearning_degree_holdout"]
)
def test_the_ratio_is_undefined_if_original_and_retrained_are_alike(name: str) -> None:
    before, wanted, after = [0.9, 0.1] * 20, [0.9, 0.1] * 19 + [0.4, 0.6], [0.3] * 40
    models = (views(forget=each, perturbed_forget=each, perturbed_holdout=each) for each in (after, before, wanted))
    (found,) = run_metric(name, *models).values()
    assert (found.value, found.n) == (None, 40)
    assert "standard errors" in (found.reason or "")


@pytest.mark.parametrize(("name", "subset"), [("forgetting_rate", FORGET), ("memory_retention_rate", RETAIN)])
def test_a_rate_of_an_original_that_knows_nothing_is_undefined(name: str, subset: Subset) -> None:
    found = run_metric(name, ORIGINAL, ORIGINAL | {subset: binary([0.1] * len(ORIGINAL[subset].labels))}, {})[name]
    assert found.value is None
    assert "is 0" in (found.reason or "")


@every_metric
def test_the_order_of_samples_does_not_matter(name: str) -> None:
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    models = [random_views(seed) for seed in range(4)]
    shuffled = [
        {s: Predictions(p.logits[order], p.labels[order], p.index[order]) for s, p in each.items()} for each in models
    ]
    found, again = run_metric(name, *models), run_metric(name, *shuffled)
    assert {k: m.value for k, m in found.items()} == pytest.approx({k: m.value for k, m in again.items()}, abs=1e-12)


@every_metric
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
@pytest.mark.parametrize("n", [1, 2, 60])
def test_results_are_finite_or_carry_a_reason(name: str, scale: float, n: int) -> None:
    """For flat and for one-hot predictions, and for a single sample."""
    models = [{s: replace(p, logits=scale * p.logits) for s, p in random_views(seed, n).items()} for seed in range(4)]
    counted = {n * sets for sets in range(1, len(METRICS[name].subsets) + 1)} or {5}  # weights
    for key, m in run_metric(name, *models).items():
        assert m.n in (range(1, n) if key.startswith("retained_") else counted)
        assert m.reason if m.value is None else math.isfinite(m.value)
        assert m.standard_error is None or math.isfinite(m.standard_error)


@every_metric
def test_every_metric_has_a_module_and_a_yaml(name: str) -> None:
    assert METRICS[name].__module__ == f"unlearn.metrics.{name}"
    assert f"/schema/metrics/{name}@{name}" in (CONF / f"{name}.yaml").read_text()


def test_no_two_metrics_measure_under_one_name() -> None:
    models = [random_views(seed) for seed in range(4)]
    found = [key for name in METRICS for key in run_metric(name, *models)]
    assert len(found) == len(set(found))
