"""Certified unlearning: noise that hides where a model started from, with a bound for every net and loss."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from unlearn.core.batch import Batch
from unlearn.core.errors import Problem, abbreviate
from unlearn.core.types import ImageSource, Subset, as_float
from unlearn.core.validation import at_least, checked, fraction, one_of, positive
from unlearn.functional.privacy_accounting import (
    clipped_chain_mu,
    gaussian_mu,
    least_noise_steps,
    noisy_descent_sensitivity,
)
from unlearn.strategies.base import Batches, Context, Edit, Phase, task_loss
from unlearn.strategies.guarantee import Guarantee
from unlearn.strategies.iterative import Iterative

MOST_STEPS = 100_000
CHAIN_STEPS = 10  # of model clipping; more need less noise
STATEMENT = (
    "Certificate: these weights are (epsilon = {epsilon:g}, delta = {delta:g})-indistinguishable from those that the "
    "same procedure makes of any model that never saw the forget set. It added noise of standard deviation "
    "{noise_scale:.3g} to every weight, {steps} times."
)
ASSUMPTIONS = (
    "It holds against anyone who sees these weights, but not the original.",
    "It does not cover this report, which is measured on the forget set, nor a choice of settings by such reports.",
    "It takes floats for real numbers, and torch's generator for a source of independent draws.",
)
SECRECY = {
    "seed": "Anyone who knows the seed can subtract the noise: publish neither the seed nor this report, or use "
    "strategy.noise_source=system.",
    "system": "Nothing stores the seed of the noise.",
}
PROCESS = {  # the settings that the noise follows from, with epsilon and delta
    "noisy_finetune": ("radius", "gradient_clip", "lr", "decay"),
    "model_clipping": ("radius",),
    "output_perturbation": ("radius",),
}


class AddedNoise(NamedTuple):
    """The noise that a method needs: added `steps` times, with this standard deviation in every weight."""

    steps: int
    scale: float


@dataclass(frozen=True)
class Certified(Guarantee, Iterative):
    """Certified unlearning by noise (Koloskova et al., ICML 2025), then free fine-tuning on D_r.

    For whatever net, loss and forget set: the law of the unlearned weights is (epsilon, delta)-indistinguishable from
    the law that the same procedure has when it starts from any other model, so also from one that never saw D_f. It is
    not a statement about retrained models as such. clip(v, C) scales v to a norm of at most C; c is `centre`, x = theta
    - c, C_0 = `radius`, C_1 = `gradient_clip`, g the gradient of the cross-entropy on a batch of D_r, and every step
    draws new noise in all weights.

    - `method=noisy_finetune` [P]: x = clip(theta_0 - c, C_0), then T times x <- x - lr (clip(g, C_1) + decay x) +
      N(0, sigma^2). See `noisy_descent_sensitivity`.
    - `method=model_clipping` [P]: T times x <- clip(x - lr (g + decay x), C_0) + N(0, sigma^2), from x = theta_0 - c.
      See `clipped_chain_delta`. The paper starts with an epsilon_0 and noise of its own; here delta_0 = 1.
    - `method=output_perturbation` [P]: x = clip(theta_0 - c, C_0) + N(0, sigma^2).

    sigma follows from epsilon and delta. Ours: it is exact for Gaussians where the paper converts a Renyi divergence or
    has the classical formula for epsilon <= 1; the centre may be a fresh initialisation, which depends on no data, so
    that the bound is the same and the net can be trained afterwards; a gradient that is not finite counts as 0.

    What follows reads D_r, the validation set and nothing else, so the bound stays. Refused: other state than weights
    (running statistics, a whitening), budgets that read D_f, `blend=mix`, `retain=condensed`. Augmentation and dropout
    do not depend on the weights and may be used. On a net of many weights with a small epsilon, nothing useful of the
    original survives the noise: what the fine-tuning reaches is then what it reaches from a fresh net.
    """

    method: str = one_of("noisy_finetune", "model_clipping", "output_perturbation")  # where the noise is added
    epsilon: float = checked(1.0, "a number in (0, 100]", lambda v: 0 < v <= 100)  # factor e^epsilon of probabilities
    delta: float = fraction(1e-5, zero=False)  # probability that the factor may be exceeded
    radius: float = positive(0.01)  # C_0: largest norm of all weights together, from the centre
    gradient_clip: float = positive(0.3)  # noisy_finetune, C_1: largest norm of a batch's gradient
    lr: float = positive(0.01)  # step size of the noisy steps
    decay: float = at_least(0, 10.0)  # pull to the centre in each noisy step, times lr
    # T; null: the fewest that need nearly the least noise (noisy_finetune), 10 (model_clipping)
    steps: int | None = checked(None, f"an integer from 1 to {MOST_STEPS}", lambda v: 1 <= v <= MOST_STEPS)
    batch_size: int = at_least(1, 64)  # images of a noisy step
    centre: str = one_of("fresh", "zero")  # what weights are clipped around: a fresh initialisation, or 0 [P]
    noise_source: str = one_of("seed", "system")  # seed: repeatable, but known to all who know the seed

    def problems(self, key: str) -> Iterator[Problem]:
        """Yield problems for settings with which the bound does not hold."""
        if self.method == "noisy_finetune" and self.lr * self.decay > 1:
            yield Problem(f"{key}.decay", f"at most 1 / lr = {1 / self.lr:g}, beyond which steps overshoot", self.decay)
        for name in ("forget_accuracy", "like_unseen"):
            if limit := getattr(self.budget, name):
                expected = "no limit that reads the forget set after the noise"
                yield Problem(f"{key}.budget.{name}", expected, limit)

    def check(self, net: Callable[[], nn.Module]) -> Iterator[Problem]:
        model = net()
        parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
        state = [name for name in model.state_dict() if name.startswith("net.") and name not in parameters]
        if state:
            expected = (
                "a net whose whole state are its weights, for strategy=certified: buffers, such as running statistics "
                "of batch normalisation, are computed from the forget set too and get no noise"
            )
            yield Problem("model", expected, abbreviate(state))

    def needed_noise(self) -> AddedNoise:
        """Return the number of noisy steps, and the noise with which the bound holds."""
        if self.method == "output_perturbation":
            return AddedNoise(1, 2 * self.radius / gaussian_mu(self.epsilon, self.delta))
        if self.method == "model_clipping":
            steps = self.steps or CHAIN_STEPS
            return AddedNoise(steps, 2 * self.radius / clipped_chain_mu(self.epsilon, self.delta, steps))
        process = (self.radius, self.gradient_clip, self.lr, self.decay)
        steps = self.steps or least_noise_steps(*process, MOST_STEPS)
        return AddedNoise(steps, noisy_descent_sensitivity(*process, steps) / gaussian_mu(self.epsilon, self.delta))

    def certificate(self) -> dict[str, Any]:
        noise = self.needed_noise()
        bound = {name: getattr(self, name) for name in ("method", "epsilon", "delta", *PROCESS[self.method])}
        bound |= {"steps": noise.steps, "noise_scale": noise.scale}
        assumptions = [*ASSUMPTIONS, SECRECY[self.noise_source]]
        return bound | {"statement": STATEMENT.format(**bound), "assumptions": assumptions}

    def prepare(self) -> None:
        self.needed_noise()  # which imports scipy

    def edit(self, model: nn.Module, context: Context) -> Edit:
        certificate = self.certificate()
        context.notes["certificate"] = " ".join([certificate["statement"], *certificate["assumptions"]])
        parameters = list(model.parameters())
        start = parameters_to_vector(parameters).detach()
        centre = torch.zeros_like(start)
        if self.centre == "fresh":
            centre = parameters_to_vector(context.fresh_model().parameters()).detach().to(start)
        noise, draws, x = self.needed_noise(), self._generator(start, context), start - centre
        if self.method != "model_clipping":
            x = clip_norm(x, self.radius)
        if self.method == "output_perturbation":
            x = add_noise(x, noise.scale, draws)
        else:
            for done, batch in enumerate(random_batches(context, self.batch_size, noise.steps)):
                _write(centre + x, parameters)
                x = self._step(x, _gradient(model, parameters, batch), noise.scale, draws)
                context.tick(done + 1, noise.steps)
        _write(centre + x, parameters)
        return Edit({name: torch.ones_like(p, dtype=torch.bool) for name, p in model.named_parameters()})

    def phases(self, context: Context, edit: Edit) -> Iterator[Phase]:
        def loss(model: nn.Module, batches: Batches, _: int) -> Tensor:
            return task_loss(model, batches, Subset.RETAIN, self.recipe.label_smoothing)

        if self.recipe.epochs:
            yield Phase({Subset.RETAIN: context.data[Subset.RETAIN]}, loss, self.recipe, None, self.budget)

    def _step(self, x: Tensor, gradient: Tensor, scale: float, draws: torch.Generator) -> Tensor:
        """Return x [N] after one noisy step with the gradient [N]."""
        if self.method == "noisy_finetune":
            moved = x - self.lr * (clip_norm(gradient, self.gradient_clip) + self.decay * x)
        else:
            moved = clip_norm(x - self.lr * (gradient + self.decay * x), self.radius)
        return add_noise(moved, scale, draws)

    def _generator(self, start: Tensor, context: Context) -> torch.Generator:
        """Return the generator of the noise.

        Its stream is that of the seed, the settings, the weights [N] to start from and the retain set: two runs with
        the same noise would cancel it in the difference of their results, and noise that is in the weights already
        would not be new.
        """
        if self.noise_source == "system":
            return torch.Generator().manual_seed(secrets.randbits(63))
        digest = hashlib.sha256(repr(self).encode())
        for tensor in (start, context.data[Subset.RETAIN].index):
            digest.update(tensor.double().cpu().numpy().tobytes())
        return context.generator(f"certified/{digest.hexdigest()}")


def clip_norm(vector: Tensor, limit: float) -> Tensor:
    """Return a vector scaled to a norm of at most `limit`; 0 if its norm is not finite."""
    norm = float(torch.linalg.vector_norm(vector, dtype=torch.float64))
    if not norm < float("inf"):
        return torch.zeros_like(vector)
    return vector * (limit / norm) if norm > limit else vector


def add_noise(vector: Tensor, scale: float, draws: torch.Generator) -> Tensor:
    """Return a vector plus Gaussian noise of standard deviation `scale`, drawn on the CPU."""
    return vector + scale * torch.randn(vector.shape, generator=draws).to(vector)


def random_batches(context: Context, batch_size: int, count: int) -> Iterator[Batch]:
    """Yield `count` batches of the retain set, in a new random order for each pass."""
    data: ImageSource = context.data[Subset.RETAIN]
    draws = context.generator("order/certified")
    chunks = list[Tensor]()
    while len(chunks) < count:
        chunks += torch.split(torch.randperm(len(data), generator=draws), batch_size)
    chunks = [positions.to(data.labels.device) for positions in chunks[:count]]
    for positions, pixels in zip(chunks, data.batches(chunks), strict=True):
        yield Batch(as_float(pixels), data.labels[positions])


def _write(vector: Tensor, parameters: list[nn.Parameter]) -> None:
    """Write a vector [N] into parameters, in their order."""
    with torch.no_grad():
        vector_to_parameters(vector, parameters)


def _gradient(model: nn.Module, parameters: list[nn.Parameter], batch: Batch) -> Tensor:
    """Return the gradient [N] of the mean cross-entropy on a batch."""
    with torch.enable_grad():
        loss = batch.cross_entropy(model(batch.images))
        return parameters_to_vector(torch.autograd.grad(loss, parameters, materialize_grads=True))
