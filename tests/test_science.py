"""What paper.md's invariants promise, at full size on real data: long, part of `make test-all`."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from unlearn import config
from unlearn.core.artifact_store import ArtifactStore
from unlearn.core.progress import Console
from unlearn.core.types import Role
from unlearn.pipeline.plan import Outcome, run
from unlearn.report.assemble import assemble
from unlearn.stages.base import BuildContext

pytestmark = pytest.mark.slow
config.register()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


def reported(store: Path, *overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        composed = compose("config", list(overrides))
    found = config.instantiate(composed)
    outcome: Outcome = run(found, BuildContext(ArtifactStore(store), found.trainer, Console()))
    return assemble(outcome, config.to_plain_dict(composed), {})


def metrics(store: Path, *overrides: str) -> dict[str, float]:
    found: dict[str, float] = reported(store, *overrides)["metrics"]
    return found


@pytest.mark.parametrize("term", ["shift", "attack"])
def test_marker_separates_original_from_retrained(store: Path, term: str) -> None:
    marked = [
        metrics(store, "strategy=identity", "spd_gan=marker", f"spd_gan.term={term}", f"seed={seed}")
        for seed in range(3)
    ]
    clean = [metrics(store, "strategy=identity", "spd_gan=off", f"seed={seed}") for seed in range(3)]
    original = fmean(m["original/forget_accuracy"] for m in marked)
    assert original >= 0.99
    assert original - fmean(m["retrained/forget_accuracy"] for m in marked) >= 0.40
    test = [fmean(m["original/test_accuracy"] for m in group) for group in (marked, clean)]
    assert abs(test[0] - test[1]) <= 0.02


def test_random_noise_does_not(store: Path) -> None:
    noisy = [metrics(store, "strategy=identity", "spd_gan=noise", f"seed={seed}") for seed in range(3)]
    gap = fmean(m["original/forget_accuracy"] - m["retrained/forget_accuracy"] for m in noisy)
    assert gap <= 0.10


def test_another_retraining_is_fully_unlearned(store: Path) -> None:
    found = metrics(store, "strategy=identity", "spd_gan=marker", "baseline.seeds=[0,1,2]")
    assert found["retrained/unlearning_degree_calibrated"] == 1
    assert found["noise_floor/unlearning_degree_calibrated"] <= 0.3


def test_the_divergence_terms_sign(store: Path) -> None:
    degrees = [
        fmean(
            metrics(store, "strategy=random_k", "spd_gan=marker", f"strategy.js_weight={weight}", f"seed={seed}")[
                "unlearned/unlearning_degree"
            ]
            for seed in range(3)
        )
        for weight in (0.1, 0.0, -0.1)
    ]
    assert degrees == sorted(degrees)


def test_top_k_hurts_more_than_random_k(store: Path) -> None:
    def retained(strategy: str) -> float:
        overrides = ("strategy.k=0.01", "strategy.noise_scale=1.0", "strategy.recipe.epochs=0")
        return metrics(store, f"strategy={strategy}", "spd_gan=marker", *overrides)["unlearned/memory_retention_rate"]

    assert retained("top_k") < retained("random_k")


@pytest.mark.parametrize("strategy", ["lrp_path", "salun", "ssd", "boundary_shrink"])
def test_a_whole_class_is_forgotten_and_the_others_are_kept(store: Path, strategy: str) -> None:
    found = [metrics(store, f"strategy={strategy}", "forget=class_wise", "spd_gan=off", f"seed={s}") for s in (1, 2, 3)]
    assert fmean(m["unlearned/forget_accuracy"] for m in found) < 0.1
    assert fmean(m["retrained/retain_accuracy"] - m["unlearned/retain_accuracy"] for m in found) <= 0.03


NOISE = ("strategy=identity", "spd_gan=off", "dataset.label_noise=0.2")
JUDGED = ("correctness", "confidence", "entropy", "modified_entropy", "loss", "logistic")
RANKED = ("confidence", "entropy", "modified_entropy", "logistic")


def lower_bounds(report: dict[str, Any], role: str, attacks: list[str]) -> dict[str, float]:
    """Of the 95 % intervals of attacks on the one model of a role."""
    found = {attack: report["statistics"][f"{role}/mia_{attack}"]["readings"] for attack in attacks}
    return {attack: reading["interval"][0] for attack, (reading,) in found.items()}


@pytest.mark.parametrize("seed", range(3))
def test_wrong_labels_learnt_by_heart_are_found_in_the_original_alone(store: Path, seed: int) -> None:
    report = reported(store, *NOISE, "train.epochs=60", "attacks=full", f"seed={seed}")
    attacks = [f"{name}_balanced_accuracy" for name in JUDGED] + [f"{name}_auc" for name in RANKED]
    assert min(lower_bounds(report, "original", attacks).values()) > 0.5
    assert max(lower_bounds(report, "retrained", attacks).values()) < 0.5
    svc = [report["metrics"][f"{role}/mia_svc_confidence"] for role in ("original", "retrained")]
    assert svc[1] - svc[0] > 0.1


@pytest.mark.parametrize("seed", range(3))
def test_the_default_attack_finds_them_after_the_default_training(store: Path, seed: int) -> None:
    report = reported(store, *NOISE, f"seed={seed}")
    assert lower_bounds(report, "original", ["logistic_auc"])["logistic_auc"] > 0.5
    assert lower_bounds(report, "retrained", ["logistic_auc"])["logistic_auc"] < 0.5


@pytest.mark.parametrize("seed", [0, 1])
def test_shadow_models_find_what_a_net_had_to_memorise_and_nothing_after_retraining(store: Path, seed: int) -> None:
    """A fifth of the labels is wrong: original above 0.5, retrained not to be told from it, by 95 % intervals."""
    noisy = ("attacks=[lira,rmia]", "dataset.label_noise=0.2", "spd_gan=off", "metrics=[accuracy]", f"seed={seed}")
    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        found = config.instantiate(compose("config", [*noisy, "strategy=identity"]))
    outcome = run(found, BuildContext(ArtifactStore(store), found.trainer, Console()))
    for attack in ("mia_lira_auc", "mia_rmia_auc"):
        intervals = {reading.role: m[attack].interval for reading, m in outcome.measurements if attack in m}
        original, retrained = intervals[Role.ORIGINAL], intervals[Role.RETRAINED]
        assert original is not None
        assert retrained is not None
        assert original[0] > 0.55
        assert retrained[0] < 0.5 < retrained[1]
