"""Per-sample values against NumPy, standard errors against SciPy and against repeated draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from scipy.stats import sem

from unlearn.core.types import Measurement, Predictions
from unlearn.functional.estimates import (
    calibrated_ratio,
    confidence,
    cross_entropy,
    is_correct,
    mean,
    ratio_of_means,
    standard_error,
)


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def predictions() -> Predictions:
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(40, 5, generator=generator)
    return Predictions(logits, torch.randint(0, 5, (40,), generator=generator), torch.arange(40))


def test_values_per_sample_equal_numpy() -> None:
    result = predictions()
    logs = log_softmax(result.logits.double().numpy(), 1)[np.arange(40), result.labels.numpy()]
    np.testing.assert_allclose(cross_entropy(result), -logs, atol=1e-12)
    np.testing.assert_allclose(confidence(result), np.exp(logs), atol=1e-12)
    np.testing.assert_array_equal(is_correct(result), result.logits.numpy().argmax(1) == result.labels.numpy())
    assert {measure(result).dtype for measure in (cross_entropy, confidence, is_correct)} == {torch.float64}


def test_mean_and_its_standard_error() -> None:
    values = tensor(1, 2, 4, 9)
    assert mean(values) == Measurement(4.0, 4, pytest.approx(sem(values.numpy())))


def test_one_sample_has_no_standard_error() -> None:
    assert standard_error(tensor(3)) is None
    assert mean(tensor(3)) == Measurement(3.0, 1)
    assert ratio_of_means(tensor(3), tensor(4), "the change") == Measurement(0.75, 1)


def test_ratio_of_means_by_hand() -> None:
    result = ratio_of_means(tensor(1, 2, 3, 6), tensor(2, 2, 4, 8), "the change")  # residuals -0.5, 0.5, 0, 0
    assert result.value == 0.75
    assert result.standard_error == pytest.approx(sem([-0.5, 0.5, 0, 0]) / 4)


def test_standard_error_of_a_ratio_is_its_spread_over_repeated_draws() -> None:
    generator = torch.Generator().manual_seed(0)
    common = torch.rand(400, 500, generator=generator, dtype=torch.float64)
    above, below = common + torch.rand(400, 500, generator=generator), 2 * common + 0.5
    result = [ratio_of_means(a, b, "the change") for a, b in zip(above, below, strict=True)]
    spread = np.std([ratio.value for ratio in result])
    assert np.mean([ratio.standard_error for ratio in result]) == pytest.approx(spread, rel=0.1)


def test_nothing_is_divided_by_zero() -> None:
    result = ratio_of_means(tensor(1, 2), tensor(0, 0), "accuracy")
    assert result == Measurement(None, 2, reason="accuracy is 0")


def test_calibration_needs_three_standard_errors() -> None:
    noise = tensor(*[1, -1] * 50)  # standard error about 0.1
    clear, unclear = (
        calibrated_ratio(noise + 0.2, noise + 0.31, "the change"),
        calibrated_ratio(noise + 0.2, noise + 0.29, "the change"),
    )
    assert clear.value == pytest.approx(0.2 / 0.31)
    assert (unclear.value, unclear.n) == (None, 100)
    assert "standard errors" in (unclear.reason or "")
    assert calibrated_ratio(-noise - 0.2, -noise - 0.31, "the change").value == pytest.approx(0.2 / 0.31)


@pytest.mark.parametrize("whole", [tensor(0, 0, 0), tensor(1)])
def test_calibration_without_a_difference_or_its_error_is_undefined(whole: torch.Tensor) -> None:
    result = calibrated_ratio(torch.ones_like(whole), whole, "the change")
    assert result.value is None
    assert result.reason


def test_calibration_ends_are_exact() -> None:
    whole = torch.rand(97, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert calibrated_ratio(whole, whole, "the change").value == 1.0
    assert calibrated_ratio(torch.zeros(97, dtype=torch.float64), whole, "the change").value == 0.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_measurement_is_finite_or_has_a_reason(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Measurement(bad, 1)
    with pytest.raises(ValueError, match="reason"):
        Measurement(None, 1)
