"""Float16 with a scaled loss: decided where the job runs; steps that it skips are counted and are no updates."""

from __future__ import annotations

from itertools import count

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.config import CommandLine, preflight
from unlearn.core.errors import ConfigError
from unlearn.core.recipe import Recipe
from unlearn.core.types import Images, Subset
from unlearn.data.loaders import Loader, PairedLoader
from unlearn.strategies.base import Batches, Budget, Phase
from unlearn.training.precision import INITIAL_SCALE, CountingScaler
from unlearn.training.trainer import TrainerSettings
from unlearn.training.unlearner import UnlearnerModule


def test_a_step_of_infinite_gradients_is_skipped_and_counted() -> None:
    weight = nn.Parameter(torch.ones(1))
    optimizer, scaler = torch.optim.SGD([weight], lr=0.1), CountingScaler("cpu")
    for gradient in (1.0, float("inf"), 1.0):
        optimizer.zero_grad()
        scaler.scale(weight.sum() * gradient).backward()
        scaler.step(optimizer)
        scaler.update()
    assert scaler.skipped == 1
    assert weight.item() == pytest.approx(0.8)
    assert scaler.get_scale() == INITIAL_SCALE / 2


OVERFLOWS = 3  # steps at the start


def overflowing(settings: TrainerSettings, budget: Budget) -> UnlearnerModule:
    """A phase whose first steps have gradients that float16 does not hold, while their losses are finite."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    data = Images(torch.zeros(64, 1, 2, 2, dtype=torch.uint8), torch.zeros(64, dtype=torch.int64), torch.arange(64))
    calls = count()

    def loss(model: nn.Module, batch: Batches, _: int) -> Tensor:
        factor = 1e30 if next(calls) < OVERFLOWS else 1.0
        logits = model(batch[Subset.RETAIN].images)
        return F.cross_entropy(logits.float(), batch[Subset.RETAIN].labels) * factor

    phase = Phase({Subset.RETAIN: data}, loss, Recipe(epochs=4, batch_size=8), budget=budget)
    loader = PairedLoader({Subset.RETAIN: Loader(data, 8, 0, "unlearned/retain")})
    module = UnlearnerModule(model, phase, loader, 0, {})
    module.run(settings)
    return module


def test_skipped_steps_are_not_charged_to_a_budget() -> None:
    module = overflowing(TrainerSettings("cpu", precision="16-mixed"), Budget(steps=10))
    assert module.ended == "steps"
    assert (module.skipped_steps, module.steps_taken) == (OVERFLOWS, 10)
    assert module.curve[-1]["skipped_steps"] == OVERFLOWS


def test_a_curve_without_float16_says_nothing_of_skipped_steps() -> None:
    module = overflowing(TrainerSettings("cpu", precision="bf16-mixed"), Budget(steps=4))
    assert module.steps_taken == 4
    assert "skipped_steps" not in module.curve[-1]


@pytest.mark.parametrize("cluster", ["slurm", "ray"])
def test_a_login_node_without_a_gpu_submits_float16(cluster: str) -> None:
    words = [f"cluster={cluster}", "cluster.gpus=1", "trainer.precision=16-mixed"]
    preflight(CommandLine([*words, "trainer.accelerator=auto", "paths.output=/out"], False, None))
    preflight(CommandLine([*words, "trainer=gpu", "paths.output=/out"], False, None))


def test_where_the_job_runs_it_is_refused_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (problem,) = TrainerSettings("auto", precision="16-mixed").find_missing_devices()
    assert problem.startswith("trainer.precision: expected 32 or bf16-mixed, as there is no CUDA device here")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert list(TrainerSettings("auto", precision="16-mixed").find_missing_devices()) == []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="there is no CUDA device"):  # before anything runs, if it runs here
        preflight(CommandLine(["trainer.accelerator=auto", "trainer.precision=16-mixed"], False, None))
