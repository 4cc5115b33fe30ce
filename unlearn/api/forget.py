"""`unlearn.forget`: a strategy on a user's model and images, without configs, store or files."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from torch import nn

from unlearn.api.images import LabelledImages, join, read_images
from unlearn.api.models import reinitialise, require_module, unwrap, wrap
from unlearn.api.strategies import make_strategy
from unlearn.api.torch_state import configure_torch, settings_for
from unlearn.core.batch import evenly_spaced, iter_batches
from unlearn.core.errors import ConfigError, abbreviate
from unlearn.core.plugins import option_name
from unlearn.core.types import Images, Subset
from unlearn.functional.parameter_scores import Need, Scores
from unlearn.models.base import Classifier
from unlearn.strategies.base import Context, Strategy
from unlearn.strategies.sisa import Sisa

SCORING_BATCH = 256


def forget(
    model: nn.Module,
    forget: LabelledImages,
    retain: LabelledImages,
    strategy: str | Strategy = "scrub",
    validation: LabelledImages | None = None,
    epochs: int | None = None,
    seed: int = 0,
    **settings: Any,
) -> nn.Module:
    """Make a copy of a trained classifier forget some of its training images.

    Images are tensors, a `Dataset` or a `DataLoader` of (image, label). Floats reach the model as they are: normalise
    them as for its training. uint8 becomes float32 in [0, 1]. All images are read into memory.

    Args:
        model: maps images [n, c, h, w] to logits [n, C]. It stays as it is.
        forget: the training images to forget.
        retain: the other training images.
        strategy: a name of `unlearn.strategies()`, or a strategy.
        validation: images that the model was not trained on. Strategies that stop or compare by them need them.
        epochs: the epochs of fine-tuning; None: the default of the strategy.
        seed: the seed of all random draws. Equal seeds give equal weights on a CPU.
        settings: settings of the strategy, such as `k=0.05`, `selection="random"` or `recipe={"lr": 0.01}`.

    Returns:
        A new module of the same class, on the same device, in eval mode.

    Raises:
        ConfigError: an argument is not valid, or the strategy needs more than these arguments.
        UnlearnError: the strategy failed, for instance because training diverged.

    Example:
        >>> import torch, unlearn
        >>> _ = torch.manual_seed(0)
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
        >>> images, labels = torch.rand(30, 1, 4, 4), torch.arange(30) % 3
        >>> forgotten = unlearn.forget(net, (images[:6], labels[:6]), (images[6:], labels[6:]), "finetune", epochs=1)
        >>> forgotten(images).shape
        torch.Size([30, 3])
    """
    chosen = make_strategy(strategy, epochs, settings)
    device = require_module(model, "model")
    data = GivenSubsets(_read_subsets(forget, retain, validation, device))
    original = wrap(model, data[Subset.FORGET].shape[0])
    _refuse_unsuitable(chosen, original, data)
    with configure_torch(settings_for(device)):
        unlearned = _run(chosen, original, data, seed)
    return unwrap(unlearned, model)


class GivenSubsets(dict[Subset, Images]):
    """The images that the user passed, by subset."""

    def __missing__(self, subset: Subset) -> Images:
        raise ConfigError([f"{subset}: expected labelled images, which this strategy reads, got None"])


def _read_subsets(
    forget: LabelledImages, retain: LabelledImages, validation: LabelledImages | None, device: torch.device
) -> dict[Subset, Images]:
    """Return forget, retain, both together as `train`, and validation if it is given."""
    forget_images = read_images(forget, "forget", device)
    retain_images = read_images(retain, "retain", device, start=len(forget_images))
    if retain_images.shape != forget_images.shape or retain_images.images.dtype != forget_images.images.dtype:
        got = f"{list(retain_images.images.shape)} and {list(forget_images.images.shape)}"
        raise ConfigError([f"retain: expected images of the shape and type of forget, got {got}"])
    train = join(forget_images, retain_images)
    data = {Subset.FORGET: forget_images, Subset.RETAIN: retain_images, Subset.TRAIN: train}
    if validation is not None:
        data[Subset.VALIDATION] = read_images(validation, "validation", device, start=len(train))
    return data


def _refuse_unsuitable(strategy: Strategy, model: Classifier, data: GivenSubsets) -> None:
    """Refuse a strategy that needs more than a model and images, or that these do not suit.

    Raises:
        ConfigError: with every problem.
    """
    name = option_name(type(strategy))
    problems = [str(problem).removeprefix("strategy.") for problem in strategy.check(lambda: model)]
    if strategy.history is not None:
        problems.append(f"strategy: expected one that starts from the model, got {name}: use unlearn.run, which trains")
    if isinstance(strategy, Sisa):
        problems.append(f"strategy: expected one that changes a model, got {name}: use unlearn.run with train=sisa")
    common = set(data[Subset.FORGET].labels.tolist()) & set(data[Subset.RETAIN].labels.tolist())
    if strategy.class_wise_only and common:
        got = f"images of class {abbreviate(sorted(common))}"
        problems.append(f"retain: expected no image of the forgotten classes with strategy={name}, got {got}")
    budget, recipe = getattr(strategy, "budget", None), getattr(strategy, "recipe", None)
    stops_by_validation = (budget and budget.needs_accuracies) or (recipe and recipe.patience is not None)
    if stops_by_validation and Subset.VALIDATION not in data:
        problems.append(f"validation: expected labelled images, by which strategy={name} stops, got None")
    if problems:
        raise ConfigError(problems)


def _run(strategy: Strategy, original: Classifier, data: GivenSubsets, seed: int) -> Classifier:
    from unlearn.stages.run_strategy import RunSettings, StrategyRun

    strategy.prepare()
    context = Context(
        original=original,
        fresh_model=lambda: reinitialise(original, seed),
        scores={need: compute_score(need, original, data[need.subset]) for need in strategy.needs()},
        data=data,
        seed=seed,
    )
    model = copy.deepcopy(original).requires_grad_(True)
    settings = RunSettings(settings_for(original.mean.device), _warn)
    return StrategyRun(strategy, model, context, settings).run().model


def compute_score(need: Need, model: Classifier, images: Images) -> Scores:
    """Compute a statistic of a model's gradients on images, on at most as many samples as it asks for."""
    scored = copy.deepcopy(model).requires_grad_(True)
    return need.statistic.compute(
        scored, ((b.images, b.labels) for b in iter_batches(evenly_spaced(images, need.samples), SCORING_BATCH))
    )


def _warn(note: str) -> None:
    """Warn with a note of a strategy; settings are arguments here, without the prefix that configs have."""
    warnings.warn(note.replace("strategy.", ""), stacklevel=2)
