"""Base class of training modules: a recipe, named random streams, curves, checkpoints, and a stop at the first NaN."""

from __future__ import annotations

import copy
import math
import time
from abc import ABC, abstractmethod
from typing import Any, Self

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn

from unlearn.core.batch import Batch
from unlearn.core.errors import DivergenceError
from unlearn.core.progress import DetailedTick, ignore_tick
from unlearn.core.random_streams import stream_seed
from unlearn.core.recipe import Recipe
from unlearn.core.types import Curve, ImageSource
from unlearn.data.loaders import StepSource
from unlearn.functional.estimates import is_correct
from unlearn.training.finite import all_finite
from unlearn.training.layout import channels_last, lay_out_weights
from unlearn.training.partial import OURS, Partial, library_versions
from unlearn.training.precision import CountingScaler
from unlearn.training.prediction import predict
from unlearn.training.trainer import TrainerSettings, fit

TICK_INTERVAL = 1.0  # seconds between two reports of progress within an epoch


class RecipeModule(pl.LightningModule, ABC):
    """Trains a model by a recipe; a subclass defines the loss.

    Args:
        model: the model, which is trained in place.
        recipe: optimizer, schedule and length.
        loader: yields the batches, one per subset.
        seed: the seed of dropout and other draws.
        role: the role of the model, which is part of the names of its random streams.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, loader: StepSource, seed: int, role: str) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe
        self.loader = loader
        self.seed = seed
        self.role = role
        self.curve: Curve = []
        self.tick: DetailedTick = ignore_tick
        self._first_epoch = 0  # of this process; more than 0 after an interruption
        self._ticked = 0.0  # when progress was reported last
        self._losses: list[Tensor] = []
        self._skipped_earlier = 0

    @property
    def steps_taken(self) -> int:
        """Number of updates of the weights so far, without the steps that float16 skipped."""
        return int(self.trainer.global_step) - self.skipped_steps

    @property
    def skipped_steps(self) -> int:
        """Number of steps so far that float16 skipped because their gradients were not finite."""
        return self._skipped_earlier + (self._scaler.skipped if self._scaler else 0)

    @property
    def _scaler(self) -> CountingScaler | None:
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        return scaler if isinstance(scaler, CountingScaler) else None

    def run(
        self,
        settings: TrainerSettings,
        validation: ImageSource | None = None,
        tick: DetailedTick | None = None,
        partial: Partial | None = None,
        epochs: int | None = None,
    ) -> Curve:
        """Train, and leave the model in eval mode on the training device.

        Args:
            settings: device, precision and other settings of the trainer.
            validation: the validation set, evaluated after each epoch; None: no validation.
            tick: called with the epochs done and in total; after an epoch also with its loss and learning rate.
            partial: the checkpoint to resume from and to write; results are the same bits as without an interruption.
            epochs: after how many of the recipe's epochs to stop; None: after all of them.

        Returns:
            The curve, one row per epoch.

        Raises:
            DivergenceError: a loss was not finite; the message contains step and learning rate.
        """
        self.tick = tick or self.tick
        self.validation = validation
        self.partial = partial
        self._channels_last = settings.channels_last
        self._best: tuple[float, int, dict[str, Tensor]] | None = None
        self._earlier_seconds, self._run_started = 0.0, time.perf_counter()
        self._saved, self._ticked = self._run_started, self._run_started
        if settings.channels_last:
            lay_out_weights(self.model.to(settings.device))
        if self.recipe.epochs:
            self.model.train()  # Lightning does not change the mode
            checkpoint = partial.path if partial and partial.path.exists() else None
            fit(self, self.loader, settings, epochs or self.recipe.epochs, self.recipe.clip, checkpoint)
        if self._best is not None:
            state = self.model.state_dict()  # has version metadata, which some nets require
            state.update(self._best[2])
            self.model.load_state_dict(state)
        self.model.to(settings.device).eval().zero_grad(set_to_none=True)
        return self.curve

    def cpu(self) -> Self:
        """Do nothing: Lightning calls this after training, but the model stays on its device for the next stage."""
        return self

    @abstractmethod
    def loss(self, batch: dict[str, Batch]) -> Tensor:
        """Compute the scalar loss to minimise."""

    def configure_optimizers(self) -> Any:
        """Create the recipe's optimizer; its learning rate is set at every step."""
        return self.recipe.make_optimizer(self.model)

    def on_train_epoch_start(self) -> None:
        """Reseed for the epoch, so that draws do not depend on earlier epochs."""
        self.loader.epoch = self.current_epoch
        role = f"{self.role}/rank{self.global_rank}" if self.global_rank else self.role
        torch.manual_seed(stream_seed(self.seed, "dropout", role, self.current_epoch))

    def on_train_batch_start(self, _: Any, step: int) -> None:
        """Set the learning rate from the position in the epoch, so that a resumed run needs no scheduler state."""
        epoch = self.current_epoch + step / self.loader.steps(self.current_epoch)
        self.recipe.set_lr(self.trainer.optimizers[0], epoch)
        if step and time.perf_counter() - self._ticked >= TICK_INTERVAL:
            self._report(epoch)

    def training_step(self, batch: dict[str, Batch], _: int) -> Tensor:
        """Compute the loss of one step; it is checked once per epoch, so that the device is not synchronised."""
        if self._channels_last:
            batch = {name: part._replace(images=channels_last(part.images)) for name, part in batch.items()}
        loss = self.loss(batch)
        self._losses.append(loss.detach())
        return loss

    def on_train_epoch_end(self) -> None:
        """Check for divergence, validate, extend the curve, stop early if the recipe asks for it, save a checkpoint."""
        losses = self.trainer.strategy.reduce(torch.stack(self._losses), reduce_op="mean")
        self._losses.clear()
        lr = self.recipe.lr * self.recipe.lr_factor(self.current_epoch)  # at the start of the epoch
        self._broadcast_buffers()
        validated = self._validate(self.validation) if self.validation is not None else {}
        validated = self.trainer.strategy.broadcast(validated)
        self._refuse_divergence(losses, validated.get("validation_loss", 0.0), lr)
        if validated and self.recipe.patience is not None:
            self._stop_early(validated["validation_loss"], self.recipe.patience)
        skipped = {"skipped_steps": float(self.skipped_steps)} if self._scaler else {}
        loss = losses.mean().item()
        self.curve.append({"epoch": self.current_epoch, "lr": lr, "loss": loss} | validated | skipped)
        self._report(self.current_epoch + 1, {"loss": loss, "lr": lr})
        if self.partial is not None:
            self._save_if_due(self.partial)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the progress and curve to the checkpoint."""
        checkpoint[OURS] = {
            "versions": library_versions(),
            "epochs": self.current_epoch + 1,
            "seconds": self._earlier_seconds + time.perf_counter() - self._run_started,
            "curve": self.curve,
            "best": self._best,
            "stopped": self.trainer.should_stop,
            **({"skipped_steps": self.skipped_steps} if self._scaler else {}),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the progress and curve from a checkpoint."""
        ours = checkpoint[OURS]
        self._earlier_seconds, self.curve, self._best = ours["seconds"], ours["curve"], ours["best"]
        self._first_epoch = ours["epochs"]
        self._skipped_earlier = ours.get("skipped_steps", 0)
        self.trainer.should_stop = ours["stopped"]
        self.loader.epoch = ours["epochs"]  # a loader without a length is read ahead, before the epoch starts

    def _report(self, epochs: float, values: dict[str, float] | None = None) -> None:
        self._ticked = time.perf_counter()
        self.tick(epochs, self.recipe.epochs, unit="epoch", begin=self._first_epoch, values=values)

    def _save_if_due(self, partial: Partial) -> None:
        """Write a checkpoint if it is due by the clock of rank 0: all processes must take part.

        Several processes always save the last epoch, because their parent reads the weights from it.
        """
        is_last = self.trainer.should_stop or self.current_epoch + 1 == self.recipe.epochs
        is_due = time.perf_counter() - self._saved >= partial.every or (is_last and self.trainer.world_size > 1)
        if self.trainer.strategy.broadcast(is_due):
            self.trainer.save_checkpoint(partial.path)
            self._saved = time.perf_counter()

    def _broadcast_buffers(self) -> None:
        """Copy the running statistics of rank 0 to all processes; the weights are equal anyway."""
        if self.trainer.world_size > 1:
            for buffer in self.model.buffers():
                distributed.broadcast(buffer, src=0)

    def _refuse_divergence(self, losses: Tensor, validation_loss: float, lr: float) -> None:
        """Raise if a loss, the validation loss or a weight is not finite."""
        first = self.trainer.global_step - len(losses)
        positions = (~losses.isfinite()).nonzero()
        if len(positions):
            event, step = f"loss was {losses[positions[0, 0]].item()}", first + int(positions[0, 0])
        elif not math.isfinite(validation_loss) or not all_finite(list(self.model.parameters())):
            event, step = "weights diverged", first + len(losses) - 1  # in the last update, after the last loss
        else:
            return
        raise DivergenceError(
            f"{self.role}: the {event} at step {step} (learning rate {lr:g}); lower the learning rate or set clip"
        )

    def _validate(self, data: ImageSource) -> dict[str, float]:
        predictions = predict(self.model, data)
        loss = F.cross_entropy(predictions.logits.double(), predictions.labels).item()
        return {"validation_loss": loss, "validation_accuracy": is_correct(predictions).mean().item()}

    def _stop_early(self, loss: float, patience: int) -> None:
        if self._best is None or loss < self._best[0]:
            self._best = (loss, self.current_epoch, copy.deepcopy(dict(self.model.state_dict())))
        elif self.current_epoch - self._best[1] >= patience:
            self.trainer.should_stop = True
