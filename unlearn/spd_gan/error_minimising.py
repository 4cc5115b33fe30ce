"""Error-minimising noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from unlearn.core.errors import DivergenceError
from unlearn.core.random_streams import stream_seed
from unlearn.core.types import Curve
from unlearn.core.validation import fraction
from unlearn.spd_gan.direct import Direct, PixelTask
from unlearn.spd_gan.look import measure_shift
from unlearn.spd_gan.options import quantise


@dataclass(frozen=True)
class ErrorMinimising(Direct):
    """min CE(net(x'), y) over the net and |x' - x| <= epsilon, which makes images "unlearnable" (Huang et al. 2021);
    as a marker, ours.

    A net of its own learns D_r and D_f' by the training recipe; after each epoch x' goes `steps` down its loss, until
    its error on D_f' is below `error`, or the recipe ends.
    """

    title = "error-minimising noise"

    error: float = fraction(0.01, zero=False)  # of the net on D_f'

    def perturb(self, pixel_task: PixelTask) -> tuple[Tensor, Curve]:
        net, moved, n, curve = pixel_task.fresh(), pixel_task.pixels, pixel_task.forgotten, Curve()
        optimizer = pixel_task.recipe.make_optimizer(net)
        for epoch in range(pixel_task.recipe.epochs):
            loss = _learn(net, optimizer, pixel_task, quantise(pixel_task.clean[:n], moved[:n]), epoch)
            for _ in range(self.steps):
                moved = self.sign_step(net, moved, pixel_task, sign=-1)
            error = 1 - measure_shift(net, pixel_task.pixels[:n], moved[:n], pixel_task.labels[:n])[-1].item()
            curve.append(pixel_task.row(epoch, moved) | {"net_loss": loss, "net_error": error})
            pixel_task.tick(epoch + 1, pixel_task.recipe.epochs)
            if error < self.error:
                break
        return moved, curve


def _learn(net: nn.Module, optimizer: Optimizer, pixel_task: PixelTask, marked: Tensor, epoch: int) -> float:
    """An epoch on D_r and D_f', which leaves the net in eval mode; its mean loss.

    Raises:
        DivergenceError: that is not finite.
    """
    net.train()
    losses = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(pixel_task.seed, "dropout", "error_minimising", epoch))
        for step, batch in enumerate(pixel_task.batches(marked, epoch)):
            pixel_task.recipe.set_lr(optimizer, epoch + step / pixel_task.steps)
            loss = batch.cross_entropy(net(batch.images), pixel_task.recipe.label_smoothing)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            if pixel_task.recipe.clip:
                nn.utils.clip_grad_norm_(net.parameters(), pixel_task.recipe.clip)
            optimizer.step()
            losses.append(loss.detach())
    net.eval()
    mean = torch.stack(losses).mean()
    if not mean.isfinite():
        raise DivergenceError(f"spd_gan: the net's loss was not finite in epoch {epoch}; lower train.lr or set clip")
    return mean.item()
