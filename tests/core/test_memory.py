"""Running out of memory: micro-batches with the same results, and one line where not even one sample fits."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from builders import random_images
from torch import Tensor, nn

from unlearn.cli.run import main
from unlearn.core.memory import MicroBatches, is_out_of_memory
from unlearn.core.types import Images
from unlearn.functional import per_sample_gradients as per_sample
from unlearn.functional.parameter_scores import GradientStatistic, Relevance, Scores
from unlearn.models.base import Classifier
from unlearn.training.prediction import features, predict

CUDA = "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 139.81 GiB."
N = 64


class Small(nn.Module):
    """A net on a device with room for so many samples; with `late` it runs out in the middle of the backward pass."""

    def __init__(self, room: int, late: bool = False) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(12, 8), nn.Linear(8, 4)
        self.room, self.late, self.sizes = room, late, list[int]()

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        hidden = self.first(x.flatten(1)).relu()
        if len(x) > self.room and self.late and hidden.requires_grad:
            hidden.register_hook(lambda _: refuse())
        elif len(x) > self.room:
            refuse()
        logits: Tensor = self.head(hidden)
        return logits


def refuse() -> None:
    raise torch.OutOfMemoryError(CUDA)


def pretend_a_gpu(free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for so many numbers."""
    monkeypatch.setattr(per_sample, "_on_gpu", lambda tensor: True)
    monkeypatch.setattr(per_sample, "free_float32_count", lambda device: free)


def model(room: int, late: bool = False) -> Classifier:
    torch.manual_seed(0)
    return Classifier(Small(room, late), (0.5,) * 3, (0.5,) * 3).eval()


def data() -> Images:
    return random_images(N, seed=1, shape=(3, 2, 2))


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (torch.OutOfMemoryError(CUDA), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("OutOfMemoryError: CUDA out of memory."), True),  # of another process
        (MemoryError(), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_out_of_memory_errors_are_recognised(error: Exception, is_one: bool) -> None:
    assert is_out_of_memory(error) is is_one


@pytest.mark.parametrize("room", [1, 5, 63])
def test_predictions_and_features_are_equal_in_micro_batches(room: int) -> None:
    small, roomy = model(room), model(N)
    torch.testing.assert_close(predict(small, data()).logits, predict(roomy, data()).logits)
    torch.testing.assert_close(features(small, data()), features(roomy, data()))
    sizes = small.net.sizes
    assert isinstance(sizes, list)
    assert min(sizes) >= (room + 1) // 2  # halved, and no further than it takes


def test_no_later_micro_batch_is_larger_than_one_that_fitted() -> None:
    seen = list[int]()

    def work(part: Tensor) -> int:
        seen.append(len(part))
        return refuse() or 0 if len(part) > 3 else len(part)

    micro_batches = MicroBatches()
    assert sum(micro_batches.map(work, torch.zeros(8))) == sum(micro_batches.map(work, torch.zeros(8))) == 8
    assert seen == [8, 4, 2, 2, 2, 2, 2, 2, 2, 2]


STATISTICS = [
    GradientStatistic("mean_square"),
    GradientStatistic("sum_absolute"),
    GradientStatistic("mean_gradient"),
    GradientStatistic("mean_square", "sampled"),  # draws, which a repeated micro-batch must draw again
    GradientStatistic("mean_square", "expected"),
    Relevance(),
]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("statistic", STATISTICS, ids=lambda s: f"{s.name} {getattr(s, 'of', '')}")
def test_scores_are_equal_in_micro_batches(
    statistic: GradientStatistic | Relevance, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where memory runs out after some gradients of a piece were added: on a GPU, which is pretended here."""
    if late:
        pretend_a_gpu(10**9, monkeypatch)

    def scores(net: Classifier) -> Scores:
        images, labels = data().images.float() / 255, data().labels
        return statistic.compute(net, [(images[:40], labels[:40]), (images[40:], labels[40:])])

    expected, in_micro_batches = scores(model(N)), scores(model(5, late))
    for name, tensor in expected.items():
        torch.testing.assert_close(in_micro_batches[name], tensor, rtol=1e-5, atol=1e-7)


def test_out_of_memory_does_not_make_a_net_unbatchable() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        per_sample._is_batchable(model(1), data().images[:2].float())


def test_the_number_of_batched_samples_follows_the_free_memory_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not as many as the net has numbers: on 139 GiB a whole batch of 64, on next to nothing one by one."""
    scores_by_memory = {}
    images, labels = data().images.float() / 255, data().labels
    for free in (139 * 2**28, 1000):
        net = model(N)
        pretend_a_gpu(free, monkeypatch)
        monkeypatch.setattr(per_sample, "MIN_ROOM", 1)
        scores_by_memory[free] = GradientStatistic("mean_square").compute(net, [(images, labels)])
        sizes = net.net.sizes
        assert isinstance(sizes, list)
        assert max(sizes) == (N if free > 1000 else 4)  # 125 numbers have room for 4 x (12 + 8) inputs of layers
    for name, tensor in scores_by_memory[1000].items():
        torch.testing.assert_close(scores_by_memory[139 * 2**28][name], tensor, rtol=1e-5, atol=1e-9)


def test_a_stage_without_memory_is_one_line_with_a_remedy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "hungry.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "class Hungry(nn.Module):\n"
        "    def __init__(self, classes):\n"
        "        super().__init__()\n"
        "        self.head = nn.Linear(64, classes)\n"
        "    def forward(self, x):\n"
        "        if len(x) > 16:\n"
        f"            raise torch.OutOfMemoryError({CUDA!r})\n"
        "        return self.head(x.flatten(1))\n"
        "def build(shape, classes):\n"
        "    return Hungry(classes)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    words = ["model=python", "model.factory=hungry:build", "spd_gan=off", "dataset.limit=300", "train.batch_size=32"]
    monkeypatch.setattr(sys, "argv", ["unlearn", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    stderr = capsys.readouterr().err
    assert ended.value.code == 1
    assert "Traceback" not in stderr
    (line,) = [line for line in stderr.splitlines() if line.startswith("unlearn:")]
    expected = "train original (seed 0): expected a stage that fits into the memory of this machine, got out of memory"
    assert line.startswith(f"unlearn: {expected} at 20.00 GiB more; lower train.batch_size")
