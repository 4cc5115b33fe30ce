"""Nets that initialise values from data use each model's own training images, once."""

from __future__ import annotations

import pytest
import torch
from conftest import Finished, Run
from torch import Tensor

from unlearn.core.batch import iter_batches
from unlearn.models.base import Classifier
from unlearn.models.whitened_cnn import Whitening
from unlearn.stages.base import BuildContext
from unlearn.stages.run_strategy import _make_fresh_model
from unlearn.stages.samples import SampleSource
from unlearn.stages.shadow_model import collect_trained_models
from unlearn.stages.train import Train

SMALL = ("model=whitened_cnn", "model.widths=[4,6]", "train.epochs=1", "spd_gan=off", "metrics=[accuracy]")
COUNT = 8


@pytest.fixture(scope="module")
def whitened(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Original, retrained and unlearned; and shadow models that are trained at once."""
    attacked = ("attacks=lira", f"attacks.lira.models={COUNT}", "attacks.lira.bootstrap=100")
    options = ("strategy=bad_teacher", "strategy.recipe.epochs=1", "baseline.seeds=[0]")
    return run(tmp_path_factory.mktemp("store"), *SMALL, *attacked, *options)


def basis(model: Classifier) -> Tensor:
    found = model.net[0]  # type: ignore[index]  # a sequence
    assert isinstance(found, Whitening)
    return found.weight


def of_images(samples: SampleSource, context: BuildContext) -> Tensor:
    """What the basis of a model is to be that is trained on these."""
    data, (mean, std) = samples.load(context), samples.population.dataset.normalisation
    (batch,) = iter_batches(data, len(data))
    layer = Whitening(1)
    layer.fit([(batch.images - mean[0]) / std[0]], 5e-4)
    return layer.weight


def trained(finished: Finished) -> list[Train]:
    plan = finished.outcome.plan
    found = [plan.original, *(stage for stage in plan.retrained), *collect_trained_models(plan.shadows)]
    assert all(isinstance(stage, Train) for stage in found)
    return found  # type: ignore[return-value]


def test_each_model_gets_the_whitening_of_its_own_images(whitened: Finished) -> None:
    """The retrained model's thus knows nothing of the forget set."""
    found = []
    for stage in trained(whitened):
        found.append(basis(stage.load(whitened.context)))
        torch.testing.assert_close(found[-1], of_images(stage.samples, whitened.context), rtol=0, atol=1e-4)
    assert len(found) == 2 + COUNT
    assert all((one - other).abs().max() > 1e-3 for i, one in enumerate(found) for other in found[:i])


def test_shadow_models_trained_together_get_it_too(whitened: Finished) -> None:
    entries = [whitened.context.peek(stage) for stage in trained(whitened)[2:]]
    assert [entry.meta.get("stacked") for entry in entries if entry] == [COUNT] * COUNT


def test_unlearned_and_fresh_models_keep_the_whitening_of_the_original(whitened: Finished) -> None:
    stage, context = whitened.outcome.plan.unlearned, whitened.context
    original = stage.original.load(context)
    fresh = _make_fresh_model(stage, original)
    assert torch.equal(basis(stage.load(context)), basis(original))
    assert torch.equal(basis(fresh), basis(original))
    same = [name for name, p in fresh.named_parameters() if torch.equal(p, original.get_parameter(name))]
    assert same == []
    assert not torch.equal(basis(stage.original.fresh("init/untrained", 0)), basis(original))


def test_a_net_without_values_from_data_reads_no_images(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("images were read")

    (stage, *_) = trained(finished)
    monkeypatch.setattr(type(stage.samples), "load", refuse)
    assert stage.initial(finished.context).net is not None
