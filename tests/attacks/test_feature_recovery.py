"""Feature recovery on made-up guesses: against NumPy and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from builders import uniform
from torch import Tensor

from unlearn.attacks.feature_recovery import FeatureRecovery, mse, ssim
from unlearn.core.types import Measurement
from unlearn.functional.gradient_inversion import ForgottenImage, Reconstructions
from unlearn.metrics.evidence import Evidence, ModelEvidence

CONTROLS = [f"{control}_{of}" for control in ("class_mean", "nearest") for of in ("mse", "ssim")]


def windowed(x: np.ndarray, y: np.ndarray, side: int) -> float:
    """SSIM as Wang et al. write it, a window around each pixel, the variances those of the window's pixels."""
    c1, c2, found = 0.01**2, 0.03**2, []
    for pair in zip(x, y, strict=True):
        a, b = (np.pad(each, side // 2, mode="reflect") for each in pair)
        for i in range(a.shape[0] - side + 1):
            for j in range(a.shape[1] - side + 1):
                u, v = (each[i : i + side, j : j + side].ravel() for each in (a, b))
                cov = ((u - u.mean()) * (v - v.mean())).mean()
                above = (2 * u.mean() * v.mean() + c1) * (2 * cov + c2)
                found.append(above / ((u.mean() ** 2 + v.mean() ** 2 + c1) * (u.var() + v.var() + c2)))
    return float(np.mean(found))


@pytest.mark.parametrize(("shape", "side"), [((1, 8, 8), 7), ((3, 12, 9), 7), ((1, 7, 7), 7), ((1, 4, 6), 3)])
def test_ssim_is_that_of_its_formula(shape: tuple[int, ...], side: int) -> None:
    x, y = uniform(*shape, seed=0), uniform(*shape, seed=1)
    near = (0.8 * x + 0.2 * y).clamp(0, 1)
    for other in (y, near):
        assert ssim(x, other) == pytest.approx(windowed(x.double().numpy(), other.double().numpy(), side), abs=1e-6)
    assert ssim(x, x) == pytest.approx(1)
    assert ssim(near, x) > ssim(y, x)


def attacked(guesses: Reconstructions, truth: ForgottenImage) -> dict[str, Measurement]:
    found = FeatureRecovery().measure(Evidence(ModelEvidence(recovered=(guesses, truth))))
    return {name.removeprefix("feature_recovery_"): each for name, each in found.items()}


def guessed(images: Tensor, cost: list[float]) -> Reconstructions:
    return Reconstructions(images, torch.linspace(0.5, 0.7, len(images)), torch.tensor(cost))


def test_the_guess_that_explains_best_is_taken_right_or_wrong() -> None:
    image = uniform(1, 8, 8, seed=0)
    images = torch.stack([image + 0.1, image, uniform(1, 8, 8, seed=1)])
    peers = uniform(1, 8, 8, seed=2), uniform(1, 8, 8, seed=3)
    found = attacked(guessed(images, [0.1, 0.2, 0.3]), ForgottenImage(image, 1, 5, *peers))
    assert found["mse"].value == pytest.approx(0.01)
    assert found["psnr"].value == pytest.approx(20, abs=1e-4)
    assert found["class"].value == 0
    assert found["cosine"].value == pytest.approx(0.5)
    assert found["ssim"].value == pytest.approx(ssim(image + 0.1, image))
    assert [found[name].value for name in CONTROLS] == [
        pytest.approx(measure(peer, image)) for peer in peers for measure in (mse, ssim)
    ]
    best = min(mse(peer, image) for peer in peers)
    assert found["advantage"].value == pytest.approx(1 - 0.01 / best)


def test_the_very_image_has_no_ratio_to_its_error() -> None:
    image = uniform(1, 8, 8, seed=0)
    found = attacked(guessed(image[None], [0.0]), ForgottenImage(image, 0, 1, image / 2, image / 3))
    assert found["ssim"].value == pytest.approx(1)
    assert (found["mse"].value, found["class"].value) == (0, 1)
    assert (found["psnr"].value, found["psnr"].reason) == (None, "the error is 0")
    assert found["advantage"].value == 1


def test_an_image_that_its_class_reveals_gives_no_advantage() -> None:
    image = uniform(1, 8, 8, seed=0)
    found = attacked(guessed(image[None] / 2, [0.0]), ForgottenImage(image, 0, 2, image / 2, image))
    assert (found["advantage"].value, found["nearest_mse"].value) == (None, 0)
    assert "the same" in (found["advantage"].reason or "")
    alike = attacked(guessed(image[None] / 2, [0.0]), ForgottenImage(image, 0, 2, image / 2, image / 3))
    assert alike["advantage"].value == 0


def test_unchanged_weights_show_nothing_and_the_controls_stay() -> None:
    image = uniform(1, 8, 8, seed=0)
    found = attacked(guessed(torch.empty(0, 1, 8, 8), []), ForgottenImage(image, 0, 1, image, image))
    assert all("the weights are the original's" in (found[name].reason or "") for name in set(found) - set(CONTROLS))
    assert all(found[name].value is not None for name in CONTROLS)


def test_without_another_image_of_the_class_there_is_no_control() -> None:
    image = uniform(1, 8, 8, seed=0)
    found = attacked(guessed(image[None] / 2, [0.0]), ForgottenImage(image, 0, 0, None, None))
    assert all("no other image of class 0" in (found[name].reason or "") for name in (*CONTROLS, "advantage"))
    assert math.isfinite(found["ssim"].value or math.nan)
