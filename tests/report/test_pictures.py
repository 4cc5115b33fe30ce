"""Pictures: right pixel by pixel, and only where they may be shown."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from unlearn.data.datasets.digits import Digits
from unlearn.pipeline.config import Page
from unlearn.report.pictures import LONGEST, Examples, build_examples, data_uri, examples
from unlearn.stages.files import read_tensors

if TYPE_CHECKING:
    from conftest import Finished


def pixels(uri: str) -> torch.Tensor:
    """uint8 [h, w] or [h, w, 3] back from a data URI."""
    import numpy as np
    from PIL import Image

    head, _, body = uri.partition(",")
    assert head == "data:image/png;base64"
    return torch.from_numpy(np.array(Image.open(io.BytesIO(base64.b64decode(body)))))


def drawn(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_grey_and_colour_come_back_bit_for_bit() -> None:
    grey, colour = drawn(1, 8, 6), drawn(3, 8, 6)
    assert torch.equal(pixels(data_uri(grey)), grey[0])
    assert torch.equal(pixels(data_uri(colour)), colour.permute(1, 2, 0))


def test_other_channels_become_grey() -> None:
    image = torch.stack([torch.full((4, 4), 10), torch.full((4, 4), 30)]).to(torch.uint8)
    assert pixels(data_uri(image)).unique().tolist() == [20]


def test_large_images_are_made_small() -> None:
    assert pixels(data_uri(drawn(3, 200, 400))).shape == (LONGEST // 2, LONGEST, 3)


def test_changes_are_amplified_around_grey() -> None:
    clean = torch.full((1, 1, 1, 3), 100, dtype=torch.uint8)
    moved = torch.tensor([100, 110, 80], dtype=torch.uint8).view(1, 1, 1, 3)
    found = build_examples({"clean": clean, "moved": moved, "labels": torch.tensor([3]), "index": torch.tensor([17])})
    assert found.control == ()  # an artefact of an earlier version
    assert found.factor == 127 / 20
    (example,) = found.shown
    assert (example.label, example.index) == (3, 17)
    assert pixels(example.change).tolist() == [[128, 192, 1]]  # 128 + 6.35 * (0, 10, -20), 191.5 to even


def test_the_control_is_amplified_by_the_same_factor() -> None:
    clean, one = torch.full((1, 1, 1, 1), 100, dtype=torch.uint8), torch.ones(1)
    kept = {"clean": clean, "moved": clean + 10, "labels": one, "index": one}
    found = build_examples(
        kept | {f"holdout_{name}": each for name, each in kept.items()} | {"holdout_moved": clean + 20}
    )
    assert found.factor == 127 / 20
    assert [pixels(each.change).item() for each in (*found.shown, *found.control)] == [192, 255]


def test_images_that_did_not_move_are_grey() -> None:
    image = drawn(2, 1, 4, 4)
    found = build_examples({"clean": image, "moved": image, "labels": torch.zeros(2), "index": torch.zeros(2)})
    assert {value for example in found.shown for value in pixels(example.change).unique().tolist()} == {128}


class Private(Digits):
    """Somebody's own."""

    public = False


@pytest.mark.parametrize(
    ("public", "asked", "shown", "why"),
    [
        (True, None, 8, ""),
        (False, None, 0, "report.images=true"),
        (False, True, 8, ""),
        (True, False, 0, "switched off"),
        (False, False, 0, "switched off"),
    ],
)
def test_forgotten_images_leave_for_public_data_or_on_request(
    finished: Finished, public: bool, asked: bool | None, shown: int, why: str
) -> None:
    dataset = finished.config.dataset if public else Private()
    found = examples(replace(finished.config, dataset=dataset, report=Page(images=asked)), finished.outcome)
    assert len(found.shown) == shown
    assert why in found.why
    assert bool(found.why) == bool(why)


def test_an_unmarked_run_has_no_pictures(finished: Finished) -> None:
    plan = replace(finished.outcome.plan, spd_gan=None)
    assert examples(finished.config, replace(finished.outcome, plan=plan)) == Examples()


def test_the_store_keeps_the_first_images_of_the_forget_set(finished: Finished) -> None:
    stage, context = finished.outcome.plan.spd_gan, finished.context
    assert stage is not None
    clean, kept = stage.forget.load(context), read_tensors(context.get(stage), "examples.safetensors")
    moved = read_tensors(context.get(stage), "moved.safetensors")
    of = {"clean", "moved", "labels", "index"}
    assert set(kept) == of | {f"holdout_{name}" for name in of}
    (images,) = clean.batches([torch.arange(8)])
    assert torch.equal(kept["clean"], images)
    assert torch.equal(kept["moved"], moved["forget"][:8])
    assert torch.equal(kept["holdout_moved"], moved["holdout"][:4])
    assert torch.equal(kept["labels"], clean.labels[:8])
    assert torch.equal(kept["index"], moved["forget_index"][:8])
    assert not torch.equal(kept["moved"], kept["clean"])
