"""User-supplied Lightning callbacks: where they are called, what is in the keys, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import plan_of
from conftest import Compose, Run, WriteModule
from torch import nn

from unlearn import config
from unlearn.core.errors import ConfigError
from unlearn.core.recipe import Recipe
from unlearn.core.types import Images
from unlearn.data.loaders import Loader, PairedLoader
from unlearn.models.base import Classifier
from unlearn.training.classifier import ClassifierModule
from unlearn.training.partial import Partial
from unlearn.training.trainer import TrainerSettings

DOCS = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
EXAMPLE = re.search(r"`clamp\.py`\n\n```python\n(.*?)```", DOCS, flags=re.DOTALL)
assert EXAMPLE is not None
CLAMP = EXAMPLE[1]
MORE = '''
class Count(pl.Callback):
    """Counts epochs, also those before an interruption."""

    totals = []
    epochs = 0

    def on_train_epoch_end(self, trainer, module):
        self.epochs += 1

    def on_train_end(self, trainer, module):
        self.totals.append((module.role, self.epochs))

    def state_dict(self):
        return {"epochs": self.epochs}

    def load_state_dict(self, state):
        self.epochs = state["epochs"]

def passive_count(): return Count()
passive_count.passive = True
def nothing(): return None
def fails(): return {}["a"]
'''


class Killed(BaseException):
    """Ends a training as no handler expects it."""


def train(settings: TrainerSettings, partial: Partial | None = None, kill_at: int | None = None) -> nn.Module:
    """Train a small linear net for 3 epochs."""
    torch.manual_seed(0)
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), (0.5,), (0.5,))
    labels = torch.arange(24) % 3
    data = Images((80 * labels[:, None, None, None]).expand(24, 1, 4, 4).to(torch.uint8), labels, torch.arange(24))

    def tick(done: float, total: int, /, **details: Any) -> None:
        if done == kill_at:
            raise Killed

    loader = PairedLoader({"train": Loader(data, 8, 0, "original")})
    module = ClassifierModule(model, Recipe(epochs=3, lr=1.0, schedule="constant"), loader, 0, "original")
    module.run(settings, None, tick, partial)
    return model


def largest(model: nn.Module) -> float:
    return max(float(p.detach().abs().max()) for p in model.parameters())


def test_callbacks_take_part_in_training(write_module: WriteModule) -> None:
    name = write_module(CLAMP)
    assert largest(train(TrainerSettings("cpu"))) > 0.2
    clamped = TrainerSettings("cpu", callbacks=[{"factory": f"{name}:Clamp", "arguments": {"limit": 0.1}}])
    assert largest(train(clamped)) == pytest.approx(0.1)


def test_the_state_of_a_callback_survives_an_interruption(write_module: WriteModule, tmp_path: Path) -> None:
    name = write_module(CLAMP + MORE)
    settings, partial = TrainerSettings("cpu", callbacks=[f"{name}:Count"]), Partial(tmp_path / "here" / "last.ckpt", 0)
    with pytest.raises(Killed):
        train(settings, partial, kill_at=3)
    train(settings, partial)
    train(settings)
    assert __import__(name).Count.totals == [("original", 3), ("original", 3)]


def keys(composed: Compose, *overrides: str) -> dict[str, str]:
    """Keys by stage: what is trained, what is not trained, and an attack's own training."""
    plan = plan_of(composed("metrics=[relearn_time]", "spd_gan=noise", *overrides))
    relearned = next(e.stage.subject.relearned for e in plan.evaluations if e.stage.subject.relearned)
    spec = relearned.spec["numerics"] if relearned else {}
    return {
        "original": plan.original.key,
        "retrained": plan.retrained[0].key,
        "unlearned": plan.unlearned.key,
        "spd_gan": plan.spd_gan.key if plan.spd_gan else "",
        "relearning": str(sorted(spec.items())),
    }


def test_only_trained_models_have_callbacks_in_their_keys(composed: Compose, write_module: WriteModule) -> None:
    name, plain = write_module(CLAMP + MORE), keys(composed)
    active = keys(composed, f"trainer.callbacks=[{name}:Count]")
    assert {role for role in plain if plain[role] != active[role]} == {"original", "retrained", "unlearned"}
    assert keys(composed, f"trainer.callbacks=[{name}:Steps,{name}:passive_count]") == plain
    limits = [f"trainer.callbacks=[{{factory:{name}:Clamp,arguments:{{limit:{limit}}}}}]" for limit in (0.1, 0.2)]
    assert len({keys(composed, limit)["original"] for limit in limits} | {active["original"]}) == 3


def test_the_source_of_a_callback_is_in_the_keys(composed: Compose, write_module: WriteModule) -> None:
    name = write_module(CLAMP)
    spec = plan_of(composed(f"trainer.callbacks=[{name}:Clamp]")).original.spec
    (entry,) = spec["numerics"]["callbacks"]
    assert entry.keys() == {"class", "factory", "arguments", "source"}


def test_a_strategy_with_a_bound_takes_passive_callbacks_only(composed: Compose, write_module: WriteModule) -> None:
    name, words = write_module(CLAMP), ("strategy=certified", "model=mlp")
    config.instantiate(composed(*words, f"trainer.callbacks=[{name}:Steps]"))
    with pytest.raises(ConfigError, match="expected passive callbacks with strategy=certified"):
        config.instantiate(composed(*words, f"trainer.callbacks=[{name}:Clamp]"))


REFUSED = {
    "no_such_module:Clamp": "a module that can be imported",
    "NAME:Clamb": "(nearest: Clamp)",
    "NAME:nothing": "it returned NoneType",
    "NAME:fails": "KeyError",
    "{factory:NAME:Clamp,arguments:{limt:1}}": "unexpected keyword argument 'limt'",
    "{factory:NAME:Clamp,limit:1}": "expected module:factory or",
    "7": "expected module:factory or",
}


@pytest.mark.parametrize(("entry", "reason"), REFUSED.items())
def test_what_is_no_callback_is_refused(composed: Compose, write_module: WriteModule, entry: str, reason: str) -> None:
    name = write_module(CLAMP + MORE)
    with pytest.raises(ConfigError) as refused:
        config.instantiate(composed(f"trainer.callbacks=[{entry.replace('NAME', name)}]"))
    (problem,) = refused.value.problems
    assert problem.startswith("trainer.callbacks: expected ")
    assert reason in problem


@pytest.mark.slow
def test_every_training_of_a_run_has_its_own_callbacks(run: Run, write_module: WriteModule, tmp_path: Path) -> None:
    """Also a phase of the strategy, and shadow models, which are then not stacked; not relearning, not SPD-GAN."""
    name = write_module(CLAMP + MORE)
    words = ("dataset.limit=301", "metrics=[relearn_time]", "attacks=lira", "attacks.lira.models=4")
    words += ("attacks.lira.bootstrap=100", "train.epochs=2", "baseline.seeds=[0]", "spd_gan=probe", "spd_gan.steps=2")
    run(tmp_path / "store", *words, f"trainer.callbacks=[{name}:passive_count]")
    counted: list[Any] = __import__(name).Count.totals
    assert sorted(counted) == sorted([("original", 2), ("retrained", 2), ("unlearned", 1), *[("shadow", 2)] * 4])
