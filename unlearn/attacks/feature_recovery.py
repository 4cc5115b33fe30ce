"""Feature recovery: reconstruct the single forgotten image."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from unlearn.attacks.base import Attack
from unlearn.core.types import Measurement
from unlearn.core.validation import at_least, positive
from unlearn.functional.gradient_inversion import ForgottenImage, Reconstructions, Recovery
from unlearn.metrics.evidence import Evidence

WINDOW = 7  # side of the SSIM window, in pixels


@dataclass(frozen=True)
class FeatureRecovery(Attack):
    """Can the single forgotten image be reconstructed from the change of weights between the original and this model?

    The attacker has both models and no data. For every class it optimises an image whose gradient at the original
    points in the direction in which the weights changed, and takes the class that explains the change best. Two
    controls show what knowledge of the class alone gives: the mean of its holdout images, and the one of them that is
    nearest to the true image, which an attacker could not even pick. It reconstructs single images, so the request must
    remove one sample, and the attack runs only if it is requested by name.

    Measured on digits, for the sample with the highest loss (`forget=hard`): after gradient ascent (20 steps or one)
    and influence the image can be reconstructed (on MNIST: after one step of ascent); after fine-tuning, an edit by
    top_k, or retraining, which is the reference, the reconstruction is worse than the controls.

    Numbers: against the true image `feature_recovery_mse`, `feature_recovery_psnr` in dB, `feature_recovery_ssim` with
        windows of 7 x 7, and `feature_recovery_class`, 1 if the class is the true one; `feature_recovery_cosine`, which
        the attacker sees and can judge the image by; for the controls `..._class_mean_mse`, `..._class_mean_ssim`,
        `..._nearest_mse`, `..._nearest_ssim`; `feature_recovery_advantage`, the fraction of the squared error of the
        better control that the reconstruction removes. n counts the image.
    Range: errors 0 to 1, SSIM and cosine -1 to 1, the advantage at most 1. Null if no weight changed.
    Reference: the retrained model's value; an advantage above 0 means that both models reveal more than the class.
    Trap: if the original was so sure of the image that its gradient vanishes, the attack finds noise whatever leaks;
        and little noise on black lowers SSIM a lot.
    Source: Hu et al. 2024, "Learn what you want to unlearn" (details in `unlearn/functional/gradient_inversion.py`);
        controls and advantage are ours.
    """

    needs_one_sample = True
    members = "the forgotten image"
    non_members = "holdout images of its class, for comparison"
    direction = "the higher the SSIM and the advantage, the more both models together reveal of the image"

    restarts: int = at_least(1, 2)  # images of noise to start from, for each class
    steps: int = at_least(1, 500)  # optimisation steps for each image
    lr: float = positive(0.1)  # step size; pixels are in [0, 1]
    tv: float = at_least(0, 0.005)  # weight of the total variation, next to the cosine

    @property
    def recovery(self) -> Recovery:
        """How the image is reconstructed."""
        return Recovery(self.restarts, self.steps, self.lr, self.tv)

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        assert evidence.subject.recovered is not None, "declared by `recovery`"
        guesses, truth = evidence.subject.recovered
        measured = _measure_guess(guesses, truth) | _measure_controls(truth)
        measured["advantage"] = _advantage(measured)
        return {f"feature_recovery_{name}": value for name, value in measured.items()}


def _measure_guess(guesses: Reconstructions, truth: ForgottenImage) -> dict[str, Measurement]:
    if not len(guesses.cost):
        reason = "the weights are the original's: nothing changed that an image could explain"
        names = ("mse", "psnr", "ssim", "class", "cosine")
        return {name: Measurement(None, 1, reason=reason) for name in names}
    best = guesses.best
    image = guesses.images[best]
    error = mse(image, truth.image)
    return {
        "mse": Measurement(error, 1),
        "psnr": Measurement(-10 * math.log10(error), 1) if error else Measurement(None, 1, reason="the error is 0"),
        "ssim": Measurement(ssim(image, truth.image), 1),
        "class": Measurement(float(best == truth.label), 1),
        "cosine": Measurement(guesses.cosine[best].item(), 1),
    }


def _measure_controls(truth: ForgottenImage) -> dict[str, Measurement]:
    reason = f"there is no other image of class {truth.label} to compare with"
    measured = {}
    for name, image in (("class_mean", truth.mean), ("nearest", truth.nearest)):
        for key, measure in (("mse", mse), ("ssim", ssim)):
            measured[f"{name}_{key}"] = (
                Measurement(None, 1, reason=reason) if image is None else Measurement(measure(image, truth.image), 1)
            )
    return measured


def _advantage(measured: dict[str, Measurement]) -> Measurement:
    error, *controls = (measured[name] for name in ("mse", "class_mean_mse", "nearest_mse"))
    control_errors = [control.value for control in controls if control.value is not None]
    if error.value is None or not control_errors:
        return Measurement(None, 1, reason=error.reason or controls[0].reason)
    if min(control_errors) == 0:
        return Measurement(None, 1, reason="another image of the class is the same: nothing is left to recover")
    return Measurement(1 - error.value / min(control_errors), 1)


def mse(image: Tensor, other: Tensor) -> float:
    """Return the mean squared error of pixels in [0, 1], 0-1."""
    return (image.double() - other.double()).square().mean().item()


def ssim(image: Tensor, other: Tensor) -> float:
    """Return the structural similarity of two images (Wang et al. 2004), -1 to 1.

    It is the mean over windows of 7 x 7 around every pixel (smaller odd windows in smaller images); images are mirrored
    at their edges.

    Args:
        image: [c, h, w] in [0, 1].
        other: [c, h, w] in [0, 1].
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    side = min(WINDOW, *image.shape[1:])
    odd = side - 1 + side % 2
    similarity = structural_similarity_index_measure(
        image[None].double(), other[None].double(), gaussian_kernel=False, kernel_size=odd, data_range=1.0
    )
    assert isinstance(similarity, Tensor), "without further outputs"
    return similarity.item()
