"""The first step on a GPU runs before a stage is timed; a CPU stands in for the GPU here."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch import nn

from unlearn import config
from unlearn.core.artifact_store import ArtifactStore
from unlearn.core.progress import Console
from unlearn.core.recipe import Recipe
from unlearn.pipeline import plan as pipeline
from unlearn.stages.base import BuildContext
from unlearn.stages.train import Train
from unlearn.training import warm_up
from unlearn.training.trainer import TrainerSettings

WORDS = ("dataset.limit=200", "model.width=4", "model.hidden=8", "train.epochs=1", "train.batch_size=24", "spd_gan=off")


def test_a_stage_is_not_charged_with_the_first_step(
    composed: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As where the original is in the store, so that what comes first is what is timed."""
    events: list[Any] = []
    step, build = warm_up.training_step, Train.build

    def noted_step(model: nn.Module, recipe: Recipe, *rest: Any) -> None:
        events.append(recipe.batch_size)
        step(model, recipe, *rest)

    def noted_build(stage: Train, *rest: Any) -> None:
        events.append(stage.label)
        build(stage, *rest)

    settings = config.instantiate(composed(*WORDS))
    stages = pipeline.make_plan(settings)

    def built(folder: str) -> dict[str, Any]:
        context = BuildContext(ArtifactStore(tmp_path / folder), settings.trainer, Console(io.StringIO()))
        return [stage.load(context) for stage in (stages.retrained[0], stages.original)][1].state_dict()

    expected = built("plain")
    monkeypatch.setattr(warm_up, "_is_needed", lambda settings: True)
    monkeypatch.setattr(warm_up, "_done", set())
    monkeypatch.setattr(warm_up, "training_step", noted_step)
    monkeypatch.setattr(Train, "build", noted_build)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: events.append("waited"))
    found = built("warm")
    assert events == [24, "waited", "train retrained (seed 0)", "train original (seed 0)"]  # once, and first
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("precision", ["32", "bf16-mixed"])
def test_the_step_is_of_the_batch_size_and_precision_of_the_training(precision: str) -> None:
    seen: list[tuple[int, torch.dtype]] = []

    class RecordingNet(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits = super().forward(x.flatten(1))
            seen.append((len(x), logits.dtype))
            return logits

    model = RecordingNet(4, 3)
    before = model.bias.detach().clone()
    warm_up.training_step(model, Recipe(batch_size=7, lr=0.1), (1, 2, 2), TrainerSettings("cpu", precision=precision))
    assert seen == [(7, torch.float32 if precision == "32" else torch.bfloat16)]
    assert not torch.equal(model.bias, before)


def test_a_failed_warm_up_is_left_to_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_up, "_is_needed", lambda settings: True)
    monkeypatch.setattr(warm_up, "_done", set())
    state, calls = torch.get_rng_state(), list[int]()

    def fails() -> None:
        calls.append(len(torch.rand(1)))
        raise torch.OutOfMemoryError("CUDA out of memory")

    for _ in range(2):
        warm_up.warm_up_once(TrainerSettings("cpu"), ("a net",), fails)
    assert calls == [1]
    assert torch.equal(torch.get_rng_state(), state)
