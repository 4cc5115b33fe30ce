"""Who sees which sample when: passes, batches, streams, crops and mirrors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unlearn.core.batch import Batch, iter_batches
from unlearn.core.random_streams import stream
from unlearn.core.types import Images
from unlearn.data.augmentation import Augmentation
from unlearn.data.loaders import ExcludedSamples, Loader, PairedLoader, RankShard, RowSelection, StepLoader

ALTERNATING = Augmentation(flip=True, flip_alternates=True)
FILLS = ("zeros", "reflect")


def data(n: int, first: int = 0) -> Images:
    """Images that carry their number as label and in every pixel; a ramp in the last column tells left from right."""
    numbers = torch.arange(first, first + n)
    images = (numbers % 200)[:, None, None, None].expand(-1, 2, 3, 4).to(torch.uint8).clone()
    images[..., 3] = 255
    return Images(images, numbers, numbers)


def noise(n: int = 6, height: int = 5, width: int = 6) -> Images:
    """Images of distinct, never black pixels."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(1, 256, (n, 2, height, width), generator=generator).to(torch.uint8)
    return Images(images, torch.arange(n), torch.arange(n))


def labels(loader: Loader, epoch: int = 0, lap: int = 0) -> list[list[int]]:
    return [batch.labels.tolist() for batch in loader.batches(epoch, lap)]


@settings(deadline=None)
@given(n=st.integers(1, 70), size=st.integers(1, 40), epoch=st.integers(0, 3))
def test_every_sample_once_and_no_lonely_last_one(n: int, size: int, epoch: int) -> None:
    loader = Loader(data(n), size, 0, "retain")
    batches = labels(loader, epoch)
    assert len(batches) == len(loader)
    assert sorted(chain.from_iterable(batches)) == list(range(n))
    sizes = [len(batch) for batch in batches]
    assert all(full == size for full in sizes[:-1])
    assert size == 1 or n == 1 or 1 < sizes[-1] <= size + 1


@pytest.mark.parametrize(
    ("n", "sizes"), [(1, [1]), (4, [4]), (5, [5]), (6, [4, 2]), (8, [4, 4]), (9, [4, 5]), (10, [4, 4, 2])]
)
def test_a_last_batch_of_one_joins_its_predecessor(n: int, sizes: list[int]) -> None:
    assert [len(batch) for batch in labels(Loader(data(n), 4, 0, "retain"))] == sizes


def test_images_and_labels_belong_together_in_0_to_1() -> None:
    for batch in Loader(data(50), 8, 0, "retain").batches(0):
        assert (batch.images.dtype, batch.labels.dtype) == (torch.float32, torch.int64)
        torch.testing.assert_close(batch.images[:, 0, 0, 0], batch.labels / 255)
        assert (batch.images[..., 3] == 1).all()


def test_seed_role_epoch_and_lap_name_the_order() -> None:
    reference = labels(Loader(data(50), 8, 0, "retain"))
    assert labels(Loader(data(50), 8, 0, "retain")) == reference
    others = [
        labels(Loader(data(50), 8, 1, "retain")),
        labels(Loader(data(50), 8, 0, "forget")),
        labels(Loader(data(50), 8, 0, "retain"), epoch=1),
        labels(Loader(data(50), 8, 0, "retain"), lap=1),
        labels(Loader(data(50), 8, 0, "retain"), epoch=1, lap=1),
    ]
    assert all(a != b for i, a in enumerate([reference, *others]) for b in others[i:])


def test_the_order_does_not_depend_on_augmentation_or_on_earlier_passes() -> None:
    plain, moved = Loader(noise(), 2, 0, "a"), Loader(noise(), 2, 0, "a", Augmentation(2, True))
    list(moved.batches(0))
    assert labels(plain, 1) == labels(moved, 1)


def drawn_batch_by_batch(loader: Loader, epoch: int) -> Iterator[tuple[Tensor, ...]]:
    """The slow twin of a pass: each batch's order, augmentation and rows when it is its turn."""
    data = loader.data
    order = torch.randperm(len(data), generator=stream(loader.seed, "order", loader.role, epoch))
    draws = stream(loader.seed, "augment", loader.role, epoch)
    for chunk in order.tensor_split([step * loader.batch_size for step in range(1, len(loader))]):
        own, weights = loader.rows.select(chunk) if loader.rows else (slice(None), None)
        drawn = loader.augmentation.draw(len(chunk), draws)[:, own]
        images = loader.augmentation(data.images[chunk[own]], drawn).float() / 255
        yield images, data.labels[chunk[own]], weights if weights is None else weights.clone()


@pytest.mark.parametrize("rows", [None, RankShard(1, 3), ExcludedSamples(torch.arange(37) % 5 == 0)])
@pytest.mark.parametrize("augmentation", [Augmentation(), Augmentation(2, True), Augmentation(1, crop_fill="reflect")])
def test_a_pass_drawn_at_once_equals_draws_batch_by_batch(
    rows: RowSelection | None, augmentation: Augmentation
) -> None:
    loader = Loader(noise(37), 8, 3, "train", augmentation, rows)
    for batch, expected in zip(loader.batches(2), drawn_batch_by_batch(loader, 2), strict=True):
        for tensor, same in zip(batch, expected, strict=True):
            assert tensor is same is None or torch.equal(tensor, same)


def offsets(batch: Batch, source: Images, padding: int, mode: str = "constant") -> list[tuple[int, int, bool]]:
    """Row, column and mirroring of each image of a batch, by trying them all."""
    height, width = source.images.shape[-2:]
    padded = F.pad(source.images.float(), (padding,) * 4, mode).div(255)
    found = []
    for image, label in zip(batch.images, batch.labels.tolist(), strict=True):
        matches = [
            (row, column, mirrored)
            for row in range(2 * padding + 1)
            for column in range(2 * padding + 1)
            for mirrored in (False, True)
            if torch.equal(image, turned(padded[label, :, row : row + height, column : column + width], mirrored))
        ]
        assert len(matches) == 1
        found += matches
    return found


def turned(image: Tensor, mirrored: bool) -> Tensor:
    return image.flip(2) if mirrored else image


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("padding", [0, 1])
def test_every_crop_and_mirror_is_drawn_evenly(padding: int, flip: bool) -> None:
    source = noise()
    loader = Loader(source, 3, 0, "train", Augmentation(padding, flip))
    seen = Counter(
        place for epoch in range(60) for batch in loader.batches(epoch) for place in offsets(batch, source, padding)
    )
    cases = (2 * padding + 1) ** 2 * (1 + flip)
    assert len(seen) == cases
    assert all(mirrored <= flip for _, _, mirrored in seen)
    assert max(seen.values()) <= 2.2 * 360 / cases


@pytest.mark.parametrize("padding", [1, 2, 4])
def test_reflected_crops_are_crops_of_pytorch_s_padding(padding: int) -> None:
    """Up to the most that images of 5 x 6 can reflect; they stay as they are."""
    pixels, augmentation = noise(40).images, Augmentation(padding, True, crop_fill="reflect")
    padded = F.pad(pixels.float(), (padding,) * 4, "reflect").byte()
    drawn = augmentation.draw(40, torch.Generator().manual_seed(0))
    places = zip(padded, *drawn.tolist(), strict=True)
    expected = [turned(image[:, r : r + 5, c : c + 6], bool(mirror)) for image, r, c, mirror in places]
    assert torch.equal(augmentation(pixels.clone(), drawn), torch.stack(expected))


def test_what_fills_a_crop_changes_no_draw() -> None:
    zeros, reflect = (Loader(noise(), 3, 0, "train", Augmentation(1, True, crop_fill=fill)) for fill in FILLS)
    for one, other in zip(zeros.batches(3), reflect.batches(3), strict=True):
        assert offsets(one, noise(), 1) == offsets(other, noise(), 1, "reflect")


def mirrored(loader: Loader, epoch: int, lap: int = 0) -> Tensor:
    """Which samples of `data` are mirrored, bool [n]."""
    batches = list(loader.batches(epoch, lap))
    labels, images = (torch.cat(parts) for parts in zip(*((b.labels, b.images) for b in batches), strict=True))
    return (images[:, 0, 0, 0] == 1)[labels.argsort()]


def test_every_image_is_mirrored_in_every_second_epoch() -> None:
    """About half begin mirrored, by seed and role; laps within an epoch alternate too."""
    loader = Loader(data(200), 32, 0, "train", ALTERNATING)
    first = mirrored(loader, 0)
    assert 70 < first.sum() < 130
    for epoch in range(4):
        for lap in range(3):
            assert torch.equal(mirrored(loader, epoch, lap), first ^ ((epoch + lap) % 2 == 1))
    for other in (Loader(data(200), 32, 1, "train", ALTERNATING), Loader(data(200), 32, 0, "forget", ALTERNATING)):
        assert not torch.equal(mirrored(other, 0), first)
    assert torch.equal(mirrored(Loader(data(200), 7, 0, "train", ALTERNATING), 0), first)


def test_at_random_the_same_image_may_be_mirrored_twice_in_a_row() -> None:
    loader = Loader(data(200), 32, 0, "train", Augmentation(flip=True))
    assert 50 < (mirrored(loader, 0) == mirrored(loader, 1)).sum() < 150


def test_rows_of_a_batch_take_their_turns_too() -> None:
    """A process that shares batches, or a replay without some samples, mirrors what the whole batch would."""
    whole = mirrored(Loader(data(60), 8, 0, "train", ALTERNATING), 3)
    lost = torch.arange(60) < 13
    loader = Loader(data(60), 8, 0, "train", ALTERNATING, ExcludedSamples(lost))
    labels = torch.cat([batch.labels for batch in loader.batches(3)])
    images = torch.cat([batch.images for batch in loader.batches(3)])
    assert torch.equal(images[:, 0, 0, 0] == 1, whole[labels])
    assert len(labels) == 47


def test_without_mirroring_nothing_alternates() -> None:
    assert not mirrored(Loader(data(50), 8, 0, "train", Augmentation(flip_alternates=True)), 0).any()


def test_augmentation_repeats_with_the_epoch_alone() -> None:
    def pixels(epoch: int, seed: int = 0) -> Tensor:
        loader = Loader(noise(), 6, seed, "train", Augmentation(2, True))
        (batch,) = loader.batches(epoch)
        return batch.images[batch.labels.argsort()]

    assert torch.equal(pixels(0), pixels(0))
    assert not torch.equal(pixels(0), pixels(1))
    assert not torch.equal(pixels(0), pixels(0, seed=1))


def test_augmentation_leaves_the_data_alone() -> None:
    source = noise()
    before = source.images.clone()
    list(Loader(source, 2, 0, "train", Augmentation(2, True)).batches(0))
    assert torch.equal(source.images, before)


def test_pairs_last_as_long_as_the_first_and_the_second_starts_over() -> None:
    retain, forget = Loader(data(40), 8, 0, "retain"), Loader(data(12, first=100), 8, 0, "forget")
    pairs = PairedLoader({"retain": retain, "forget": forget})
    steps = list(pairs)
    assert len(steps) == len(pairs) == 5
    assert [step["retain"].labels.tolist() for step in steps] == labels(retain)
    wanted = (labels(forget, lap=0) + labels(forget, lap=1) + labels(forget, lap=2))[:5]
    assert [step["forget"].labels.tolist() for step in steps] == wanted
    assert wanted[0] != wanted[2]


def test_a_longer_second_subset_is_cut_and_a_single_sample_repeats() -> None:
    retain = Loader(data(16), 8, 0, "retain")
    long, one = Loader(data(90), 8, 0, "long"), Loader(data(1, first=7), 8, 0, "one")
    assert len(list(PairedLoader({"retain": retain, "long": long}))) == 2
    steps = list(PairedLoader({"retain": retain, "one": one}))
    assert [step["one"].labels.tolist() for step in steps] == [[7], [7]]


def test_pairs_follow_their_epoch() -> None:
    retain = Loader(data(40), 8, 0, "retain")
    pairs = PairedLoader({"retain": retain})
    pairs.epoch = 3
    assert [step["retain"].labels.tolist() for step in pairs] == labels(retain, epoch=3)
    assert len(list(pairs)) == 5


@pytest.mark.parametrize("steps", [1, 3, 20])
def test_steps_pass_over_the_data_as_often_as_it_takes(steps: int) -> None:
    loader = Loader(data(20), 8, 0, "spd_gan")
    found = [batch.labels.tolist() for batch in StepLoader(loader, steps)]
    assert len(found) == len(StepLoader(loader, steps)) == steps
    laps = (batch for lap in range(7) for batch in labels(loader, lap=lap))
    assert found == list(islice(laps, steps))


@pytest.mark.parametrize("size", [1, 4, 9, 100])
def test_evaluation_sees_every_sample_once_in_order(size: int) -> None:
    batches = list(iter_batches(data(9), size))
    assert torch.cat([batch.labels for batch in batches]).tolist() == list(range(9))
    assert torch.equal(torch.cat([batch.images for batch in batches]), data(9).images.float() / 255)
