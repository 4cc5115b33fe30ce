"""A batch's mean, plain and weighted."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from unlearn.core.batch import Batch

LABELS = torch.zeros(4, dtype=torch.int64)
WEIGHTS = torch.tensor([0.25, 0.25, 0.5, 0.0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weighted_means_keep_32_bits_under_autocast(dtype: torch.dtype) -> None:
    """257 has no bfloat16, and 2049 no float16: a product of matrices would round both."""
    batch = Batch(torch.zeros(4, 1, 1, 1), LABELS, WEIGHTS)
    with torch.autocast("cpu", dtype):
        mean = batch.mean(torch.tensor([257.0, 257.0, 2049.0, 1.0]))
    assert mean.dtype == torch.float32
    assert mean.item() == 0.5 * 257 + 0.5 * 2049


def test_weighted_cross_entropy_keeps_32_bits_under_autocast() -> None:
    logits = torch.randn(4, 10, generator=torch.Generator().manual_seed(0))
    expected = (F.cross_entropy(logits, LABELS, reduction="none") * WEIGHTS).sum()
    with torch.autocast("cpu", torch.bfloat16):
        loss = Batch(torch.zeros(4, 1, 1, 1), LABELS, WEIGHTS).cross_entropy(logits)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)


def test_a_weighted_mean_of_doubles_is_double() -> None:
    assert Batch(torch.zeros(4, 1, 1, 1), LABELS, WEIGHTS).mean(torch.ones(4).double()).dtype == torch.float64
