"""Blending the unlearned model with the original in a small run: what is measured, shared and reported."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from builders import plan_of

from unlearn import config
from unlearn.core.errors import UnlearnError
from unlearn.core.types import ImageSource, Role, Subset
from unlearn.report.assemble import assemble
from unlearn.report.page import render
from unlearn.report.pictures import Examples
from unlearn.report.table import footer, show
from unlearn.stages.base import BuildContext
from unlearn.stages.blend import Blended
from unlearn.stages.files import read_tensors
from unlearn.stages.predict import Predict
from unlearn.stages.samples import Samples
from unlearn.training.prediction import predict

if TYPE_CHECKING:
    from conftest import Compose, Finished, Run

WRECK = ("strategy=weight_noise", "strategy.noise_scale=2.0", "strategy.js_weight=0.0")
BARE = ("spd_gan=off", "metrics=[accuracy,loss]", "attacks=none", "baseline=none", *WRECK)


@pytest.fixture(scope="module")
def mixed(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One run whose unlearned model must be given a part of the original back."""
    return run(tmp_path_factory.mktemp("store"), *BARE, "blend=mix", "blend.drop=0.1")


def blended(run: Finished) -> Blended:
    judged = run.outcome.plan.final_model
    assert isinstance(judged, Blended)
    return judged


def validation_accuracy(run: Finished, model: torch.nn.Module) -> float:
    data = blended(run).validation.load(run.context)
    found = predict(model, data)
    return float((found.logits.argmax(1) == found.labels).sum()) / len(data)


def test_a_blend_mixes_the_weights_and_reaches_the_target(mixed: Finished) -> None:
    stage, get = blended(mixed), mixed.context.get
    told = get(stage).json("blend.json")
    a, target = told["a"], told["target"]
    before, after, found = (
        read_tensors(get(each), "model.safetensors") for each in (stage.original, stage.unlearned, stage)
    )
    assert 0 < a < 1
    assert found.keys() == before.keys()
    for name, tensor in found.items():
        wanted = a * before[name].double() + (1 - a) * after[name].double()
        if not tensor.is_floating_point():
            wanted = after[name]
        torch.testing.assert_close(tensor.to(wanted.dtype), wanted, rtol=0, atol=1e-6)
    original = validation_accuracy(mixed, stage.original.load(mixed.context))
    assert target == pytest.approx(original - 0.1)
    model = stage.load(mixed.context)
    assert not model.training
    assert told["validation_accuracy"] == pytest.approx(validation_accuracy(mixed, model))
    assert validation_accuracy(mixed, stage.unlearned.load(mixed.context)) < target
    n = len(stage.validation.load(mixed.context))
    assert -1e-9 <= told["validation_accuracy"] - target <= 2 / n


def test_a_blend_reads_only_validation(mixed: Finished, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stage, looked_at = blended(mixed), set[Subset]()
    load = Samples.load

    def spy(samples: Samples, context: BuildContext) -> ImageSource:
        looked_at.add(samples.subset)
        return load(samples, context)

    monkeypatch.setattr(Samples, "load", spy)
    stage.build(tmp_path, mixed.context, lambda done, total: None)
    assert looked_at == {Subset.VALIDATION}
    assert stage.validation == stage.unlearned.validation
    kept = mixed.context.get(stage).file("blend.json")
    assert (tmp_path / "blend.json").read_bytes() == kept.read_bytes()


def test_a_blend_is_measured_in_place_of_the_unlearned_model(mixed: Finished) -> None:
    stage = blended(mixed)
    mine = [reading for reading in mixed.outcome.plan.evaluations if reading.role is Role.UNLEARNED]
    assert mine
    assert all(view.model == stage for reading in mine for view in reading.stage.subject.predictions.values())
    assert {reading.seed for reading in mine} == {stage.unlearned.seed}
    forget = mixed.outcome.plan.unlearned.forget
    found = predict(stage.load(mixed.context), forget.load(mixed.context))
    share = (found.logits.argmax(1) == found.labels).double().mean().item()
    assert mixed.value(Role.UNLEARNED, "forget_accuracy") == pytest.approx(share)
    assert Predict(stage, forget).label == "predict unlearned on forget"


def test_cells_that_differ_in_the_blend_share_everything_before_it(mixed: Finished, run: Run) -> None:
    plain = run(mixed.store, *BARE)
    assert plain.outcome.plan.final_model == plain.outcome.plan.unlearned
    built = {stage.split("/")[0] for stage in _built(plain)}
    assert built == {"predict", "evaluate"}  # of the unlearned model alone
    other = run(mixed.store, *BARE, "blend=mix", "blend.drop=0.3")
    assert {stage.split("/")[0] for stage in _built(other)} == {"blended", "predict", "evaluate"}
    assert _built(run(mixed.store, *BARE, "blend=mix", "blend.drop=0.1")) == set()


def _built(run: Finished) -> set[str]:
    return {f"{entry.folder.parent.name}/{key}" for key, entry in run.context.entries.items() if not entry.reused}


def test_a_blend_changes_no_key_but_its_own(composed: Compose) -> None:
    """Else stores that were filled before there was a blend would be built again."""
    plain, mix = (plan_of(composed(f"blend={name}")) for name in ("none", "mix"))
    assert [stage.key for stage in plain.shared_stages] == [stage.key for stage in mix.shared_stages]
    assert plain.final_model.key == plain.unlearned.key == mix.unlearned.key != mix.final_model.key
    assert "blend" not in json.dumps(plain.unlearned.spec)
    keys = [
        {reading.stage.key for reading in each.evaluations if reading.role is not Role.UNLEARNED}
        for each in (plain, mix)
    ]
    assert keys[0] == keys[1]


@pytest.mark.parametrize("field", ["target=0.8", "drop=0.2", "tolerance=0.1", "scan=3", "precision=0.1", "steps=3"])
def test_the_key_of_a_blend_holds_its_fields_and_its_code(composed: Compose, field: str) -> None:
    one, other = (plan_of(composed("blend=mix", *overrides)).final_model for overrides in ((), (f"blend.{field}",)))
    assert one.key != other.key
    assert len(one.spec["blend"]["code"]) == 16
    assert one.spec["original"] == {"stage": one.unlearned.original.key}  # type: ignore[union-attr]


def test_a_model_that_reaches_the_target_stays_bit_identical(mixed: Finished, run: Run) -> None:
    easy = run(mixed.store, *BARE, "blend=mix", "blend.target=0.01")
    stage, get = blended(easy), easy.context.get
    assert get(stage).json("blend.json")["a"] == 0
    files = [get(each).meta["files"]["model.safetensors"] for each in (stage, stage.unlearned)]
    assert files[0] == files[1]
    assert "blended with none of the original" in " ".join(
        footer(assemble(easy.outcome, config.to_plain_dict(easy.composed), {}))
    )


def test_an_unreachable_target_is_one_line_and_stores_nothing(mixed: Finished, run: Run) -> None:
    before = set(mixed.store.glob("blended/*"))
    with pytest.raises(UnlearnError, match=r"^blend\.target: expected at most the original's validation .*, got 1\.0$"):
        run(mixed.store, *BARE, "blend=mix", "blend.target=1.0")
    assert set(mixed.store.glob("blended/*")) == before


def test_report_table_and_page_show_the_blend_and_its_cost(mixed: Finished, tmp_path: Path) -> None:
    found = assemble(mixed.outcome, config.to_plain_dict(mixed.composed), {"strategy": "weight_noise", "blend": "mix"})
    stage, entry = blended(mixed), mixed.context.get(blended(mixed))
    assert found["blend"] == entry.json("blend.json")
    assert found["artifacts"]["blended"]["key"] == stage.key
    assert found["artifacts"]["unlearned"]["key"] == stage.unlearned.key
    parts = [*stage.unlearned.scores, stage.unlearned, stage]
    assert found["statistics"]["unlearned/seconds"]["keys"] == [part.key for part in parts]
    seconds = sum(mixed.context.get(part).seconds for part in parts)
    assert found["metrics"]["unlearned/seconds"] == pytest.approx(seconds)
    line = "blended with {a:.3f} of the original: validation accuracy {validation_accuracy:.3f}, target {target:.3f}"
    line = line.format(**found["blend"])
    stream = io.StringIO()
    show(found, stream)
    assert line in " ".join(stream.getvalue().split())
    assert line in render(found, Examples())


def test_without_a_blend_a_report_does_not_mention_it(mixed: Finished, run: Run) -> None:
    plain = run(mixed.store, *BARE)
    found = assemble(plain.outcome, config.to_plain_dict(plain.composed), {})
    assert "blend" not in found
    assert "blended" not in found["artifacts"]
    assert not any("blended" in line for line in footer(found))
