"""What training and unlearning share: one recipe, named random streams, curves, and a stop at the first NaN."""

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
from unlearn.core.progress import Tick
from unlearn.core.random_streams import stream_seed
from unlearn.core.recipe import Recipe
from unlearn.core.types import Curve, ImageSource
from unlearn.data.loaders import PairedLoader, SerialLoader
from unlearn.training.finite import all_finite
from unlearn.training.layout import channels_last, lay_out_weights
from unlearn.training.partial import OURS, Partial, library_versions
from unlearn.training.precision import CountingScaler
from unlearn.training.prediction import predict
from unlearn.training.trainer import TrainerSettings, fit


class RecipeModule(pl.LightningModule, ABC):
    """Fits `model` by a recipe over paired batches; a subclass gives the loss."""

    def __init__(
        self, model: nn.Module, recipe: Recipe, loader: PairedLoader | SerialLoader, seed: int, role: str
    ) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe
        self.loader = loader
        self.seed = seed
        self.role = role
        self.curve: Curve = []
        self.tick: Tick = lambda done, total: None
        self._losses: list[Tensor] = []
        self._skipped_earlier = 0

    @property
    def steps_taken(self) -> int:
        """Updates of the weights so far; steps that float16 skipped are none."""
        return int(self.trainer.global_step) - self.skipped_steps

    @property
    def skipped_steps(self) -> int:
        """Steps so far that float16 skipped, since their gradients were not finite."""
        return self._skipped_earlier + (self._scaler.skipped if self._scaler else 0)

    @property
    def _scaler(self) -> CountingScaler | None:
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        return scaler if isinstance(scaler, CountingScaler) else None

    def run(
        self,
        settings: TrainerSettings,
        validation: ImageSource | None = None,
        tick: Tick | None = None,
        partial: Partial | None = None,
        epochs: int | None = None,
    ) -> Curve:
        """Train; returns the curve and leaves the model in eval mode on the training device.

        With a `partial` it goes on from the last epoch that is kept there, with the same bits as if never stopped.
        After `epochs` of the recipe's it ends; None: after all of them.

        Raises:
            DivergenceError: a loss was not finite; the message gives step and learning rate.
        """
        self.tick = tick or self.tick
        self.validation = validation
        self.partial = partial
        self._channels_last = settings.channels_last
        self._best: tuple[float, int, dict[str, Tensor]] | None = None
        self._earlier, self._began = 0.0, time.perf_counter()
        self._kept = self._began
        if settings.channels_last:
            lay_out_weights(self.model.to(settings.device))
        if self.recipe.epochs:
            self.model.train()  # Lightning leaves the mode as it finds it
            checkpoint = partial.path if partial and partial.path.exists() else None
            fit(self, self.loader, settings, epochs or self.recipe.epochs, self.recipe.clip, checkpoint)
        if self._best is not None:
            state = self.model.state_dict()  # with the versions that some nets ask for
            state.update(self._best[2])
            self.model.load_state_dict(state)
        self.model.to(settings.device).eval().zero_grad(set_to_none=True)
        return self.curve

    def cpu(self) -> Self:
        """Lightning calls this when training is over: the model stays on its device for what reads it next."""
        return self

    @abstractmethod
    def loss(self, batch: dict[str, Batch]) -> Tensor:
        """The scalar to minimise."""

    def configure_optimizers(self) -> Any:
        """The recipe's; its schedule is set at every step."""
        return self.recipe.make_optimizer(self.model)

    def on_train_epoch_start(self) -> None:
        """Reseed by epoch, so that no draw depends on how the run came here."""
        self.loader.epoch = self.current_epoch
        whose = f"{self.role}/rank{self.global_rank}" if self.global_rank else self.role
        torch.manual_seed(stream_seed(self.seed, "dropout", whose, self.current_epoch))

    def on_train_batch_start(self, _: Any, step: int) -> None:
        """Set the learning rate by how much of the epoch is over: a resumed run needs no state for it."""
        done = self.current_epoch + step / self.loader.steps(self.current_epoch)
        self.recipe.set_lr(self.trainer.optimizers[0], done)

    def training_step(self, batch: dict[str, Batch], _: int) -> Tensor:
        """One step; losses are looked at once an epoch, so that the device need not wait."""
        if self._channels_last:
            batch = {name: each._replace(images=channels_last(each.images)) for name, each in batch.items()}
        loss = self.loss(batch)
        self._losses.append(loss.detach())
        return loss

    def on_train_epoch_end(self) -> None:
        """Stop on a NaN, note the epoch, stop early if the recipe says so, keep what is there now."""
        losses = self.trainer.strategy.reduce(torch.stack(self._losses), reduce_op="mean")
        self._losses.clear()
        lr = self.recipe.lr * self.recipe.lr_factor(self.current_epoch)  # where the epoch began
        self._agree()
        validated = self._validate(self.validation) if self.validation is not None else {}
        validated = self.trainer.strategy.broadcast(validated)
        self._refuse_divergence(losses, validated.get("validation_loss", 0.0), lr)
        if validated and self.recipe.patience is not None:
            self._stop_early(validated["validation_loss"], self.recipe.patience)
        skipped = {"skipped_steps": float(self.skipped_steps)} if self._scaler else {}
        self.curve.append({"epoch": self.current_epoch, "lr": lr, "loss": losses.mean().item()} | validated | skipped)
        self.tick(self.current_epoch + 1, self.recipe.epochs)
        if self.partial is not None:
            self._keep(self.partial)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning does not know of."""
        checkpoint[OURS] = {
            "versions": library_versions(),
            "epochs": self.current_epoch + 1,
            "seconds": self._earlier + time.perf_counter() - self._began,
            "curve": self.curve,
            "best": self._best,
            "stopped": self.trainer.should_stop,
            **({"skipped_steps": self.skipped_steps} if self._scaler else {}),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it up again."""
        ours = checkpoint[OURS]
        self._earlier, self.curve, self._best = ours["seconds"], ours["curve"], ours["best"]
        self._skipped_earlier = ours.get("skipped_steps", 0)
        self.trainer.should_stop = ours["stopped"]

    def _keep(self, partial: Partial) -> None:
        """Write a checkpoint if it is time to: the first process's clock decides, for all must take part.

        The last epoch of several processes is always kept, for that is how their parent gets at the weights.
        """
        last = self.trainer.should_stop or self.current_epoch + 1 == self.recipe.epochs
        due = time.perf_counter() - self._kept >= partial.every or (last and self.trainer.world_size > 1)
        if self.trainer.strategy.broadcast(due):
            self.trainer.save_checkpoint(partial.path)
            self._kept = time.perf_counter()

    def _agree(self) -> None:
        """Running statistics are the first process's on all of them, as weights are anyway."""
        if self.trainer.world_size > 1:
            for buffer in self.model.buffers():
                distributed.broadcast(buffer, src=0)

    def _refuse_divergence(self, losses: Tensor, validation_loss: float, lr: float) -> None:
        first = self.trainer.global_step - len(losses)
        bad = (~losses.isfinite()).nonzero()
        if len(bad):
            what, step = f"loss was {losses[bad[0, 0]].item()}", first + int(bad[0, 0])
        elif not math.isfinite(validation_loss) or not all_finite(list(self.model.parameters())):
            what, step = "weights blew up", first + len(losses) - 1  # in the last update, which no loss has seen
        else:
            return
        raise DivergenceError(
            f"{self.role}: the {what} at step {step} (learning rate {lr:g}); lower the learning rate or set clip"
        )

    def _validate(self, data: ImageSource) -> dict[str, float]:
        found = predict(self.model, data)
        loss = F.cross_entropy(found.logits.double(), found.labels).item()
        accuracy = (found.logits.argmax(1) == found.labels).double().mean().item()
        return {"validation_loss": loss, "validation_accuracy": accuracy}

    def _stop_early(self, loss: float, patience: int) -> None:
        if self._best is None or loss < self._best[0]:
            self._best = (loss, self.current_epoch, copy.deepcopy(dict(self.model.state_dict())))
        elif self.current_epoch - self._best[1] >= patience:
            self.trainer.should_stop = True
