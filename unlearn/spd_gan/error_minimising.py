"""Error-minimising noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from unlearn.core.errors import DivergenceError
from unlearn.core.random_streams import stream_seed
from unlearn.core.types import Curve
from unlearn.core.validation import share
from unlearn.spd_gan.direct import Direct, Scene
from unlearn.spd_gan.look import look
from unlearn.spd_gan.options import quantise


@dataclass(frozen=True)
class ErrorMinimising(Direct):
    """min CE(net(x'), y) over the net and |x' - x| <= epsilon, which makes images "unlearnable" (Huang et al. 2021);
    as a marker, ours.

    A net of its own learns D_r and D_f' by the training recipe; after each epoch x' goes `steps` down its loss, until
    its error on D_f' is below `error`, or the recipe ends.
    """

    said = "error-minimising noise"

    error: float = share(0.01, zero=False)  # of the net on D_f'

    def move(self, scene: Scene) -> tuple[Tensor, Curve]:
        net, moved, n, curve = scene.fresh(), scene.pixels, scene.forgotten, Curve()
        optimizer = scene.recipe.make_optimizer(net)
        for epoch in range(scene.recipe.epochs):
            loss = _learn(net, optimizer, scene, quantise(scene.clean[:n], moved[:n]), epoch)
            for _ in range(self.steps):
                moved = self.climb(net, moved, scene, sign=-1)
            error = 1 - look(net, scene.pixels[:n], moved[:n], scene.labels[:n])[-1].item()
            curve.append(scene.row(epoch, moved) | {"net_loss": loss, "net_error": error})
            scene.tick(epoch + 1, scene.recipe.epochs)
            if error < self.error:
                break
        return moved, curve


def _learn(net: nn.Module, optimizer: Optimizer, scene: Scene, marked: Tensor, epoch: int) -> float:
    """An epoch on D_r and D_f', which leaves the net in eval mode; its mean loss.

    Raises:
        DivergenceError: that is not finite.
    """
    net.train()
    losses = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(scene.seed, "dropout", "error_minimising", epoch))
        for step, batch in enumerate(scene.batches(marked, epoch)):
            scene.recipe.set_lr(optimizer, epoch + step / scene.steps)
            loss = batch.cross_entropy(net(batch.images), scene.recipe.label_smoothing)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            if scene.recipe.clip:
                nn.utils.clip_grad_norm_(net.parameters(), scene.recipe.clip)
            optimizer.step()
            losses.append(loss.detach())
    net.eval()
    mean = torch.stack(losses).mean()
    if not mean.isfinite():
        raise DivergenceError(f"spd_gan: the net's loss was not finite in epoch {epoch}; lower train.lr or set clip")
    return mean.item()
