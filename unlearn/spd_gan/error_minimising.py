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
from unlearn.spd_gan.options import quantise
from unlearn.spd_gan.shift import measure_shift


@dataclass(frozen=True)
class ErrorMinimising(Direct):
    """Error-minimising noise, which makes images "unlearnable" (Huang et al. 2021); its use as a marker is ours.

    Minimises CE(net(x'), y) over the net and over |x' - x| <= epsilon. A separate net is trained on D_r and D_f' by the
    training recipe. After each epoch x' takes `steps` gradient steps down the net's loss. It ends once the net's error
    on D_f' is below `error`, or with the recipe.
    """

    title = "error-minimising noise"

    error: float = fraction(0.01, zero=False)  # error of the net on D_f' (0-1) at which to end

    def perturb(self, task: PixelTask) -> tuple[Tensor, Curve]:
        net, moved, n, curve = task.fresh(), task.pixels, task.forgotten, Curve()
        optimizer = task.recipe.make_optimizer(net)
        for epoch in range(task.recipe.epochs):
            loss = _train_epoch(net, optimizer, task, quantise(task.clean[:n], moved[:n]), epoch)
            for _ in range(self.steps):
                moved = self.sign_step(net, moved, task, sign=-1)
            error = 1 - measure_shift(net, task.pixels[:n], moved[:n], task.labels[:n])[-1].item()
            curve.append(task.curve_row(epoch, moved) | {"net_loss": loss, "net_error": error})
            task.tick(epoch + 1, task.recipe.epochs)
            if error < self.error:
                break
        return moved, curve


def _train_epoch(net: nn.Module, optimizer: Optimizer, task: PixelTask, marked: Tensor, epoch: int) -> float:
    """Train the net for one epoch on D_r and D_f', and leave it in eval mode.

    Args:
        net: the net.
        optimizer: its optimizer.
        task: the data and the recipe.
        marked: D_f', uint8 [n, c, h, w].
        epoch: from 0.

    Returns:
        The mean loss.

    Raises:
        DivergenceError: the loss is not finite.
    """
    net.train()
    losses = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(task.seed, "dropout", "error_minimising", epoch))
        for step, batch in enumerate(task.batches(marked, epoch)):
            task.recipe.set_lr(optimizer, epoch + step / task.steps)
            loss = batch.cross_entropy(net(batch.images), task.recipe.label_smoothing)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            if task.recipe.clip:
                nn.utils.clip_grad_norm_(net.parameters(), task.recipe.clip)
            optimizer.step()
            losses.append(loss.detach())
    net.eval()
    mean = torch.stack(losses).mean()
    if not mean.isfinite():
        raise DivergenceError(
            f"spd_gan: expected a finite loss, got {mean.item()} in epoch {epoch}; lower train.lr or set train.clip"
        )
    return mean.item()
