"""Trainer settings, and the only place that builds a Lightning Trainer."""

from __future__ import annotations

import logging
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from unlearn.core.errors import ConfigError, DivergenceError, Problem, UnlearnError, first_line
from unlearn.core.validation import ADDED, at_least, in_range, one_of
from unlearn.training.callbacks import UserCallback
from unlearn.training.precision import CountingScaler, allow_tf32, tf32
from unlearn.training.threads import MAX_THREADS, threads_for

# In deterministic mode torch by default fills memory that is about to be written, so that a read before the write is
# repeatable. That is a quarter of the operations of a step. Nothing here reads such memory; tests fill it with NaN.
FILL_UNINITIALISED = False


@dataclass(frozen=True)
class Numerics:
    """The settings that affect numerical results; the keys of trained and unlearned models contain them."""

    deterministic: bool
    precision: str
    devices: int
    channels_last: bool = field(default=False, metadata=ADDED)
    threads: int = field(default=1, metadata=ADDED)
    tf32: bool = field(default=False, metadata=ADDED)
    device: str = field(default="cpu", metadata=ADDED)  # cpu or cuda, which differ in rounding and in random numbers
    callbacks: tuple[UserCallback, ...] = field(default=(), metadata=ADDED)  # without passive ones

    @property
    def plain(self) -> Numerics:
        """The settings of stages that neither train nor unlearn: float32, on one device."""
        return Numerics(self.deterministic, "32", 1, threads=self.threads, device=self.device)


@dataclass(frozen=True)
class TrainerSettings:
    """Device, precision and other settings of the trainer; only its `numerics` affect results.

    With a mixed `precision` the forward passes of training and unlearning run in 16 bits where that is safe
    (autocast). Weights, scores, predictions and SPD-GAN stay in float32, also with `tf32`. With `channels_last`,
    bfloat16 is twice as fast as float32 on a processor with avx512_bf16, and a fifth as fast on one with only AVX2
    (measured on the MNIST CNN, with oneDNN restricted to AVX2).
    """

    accelerator: str = one_of("auto", "cpu", "gpu")  # auto: a GPU if there is one
    deterministic: bool = True  # refuse operations that are not repeatable bit for bit
    precision: str = one_of("32", "bf16-mixed", "16-mixed")  # 16-mixed scales the loss and needs a CUDA device
    tf32: bool = False  # on a GPU, train and unlearn in float32 with 10 bits of mantissa: faster
    channels_last: bool = (
        False  # memory layout of images in training and unlearning: faster convolutions, other rounding
    )
    threads: int | None = in_range(1, MAX_THREADS, None)  # on the CPU; null: 1, or 8 for a large net
    detect_anomaly: bool = False  # name the operation that produced a NaN; slow
    devices: int = at_least(1, 1)  # that divide each batch of a training stage; other stages run on one
    checkpoint_every: float = at_least(0, 5)  # seconds between checkpoints, which are written at the end of an epoch
    callbacks: list[Any] = field(default_factory=list, hash=False)  # Lightning callbacks, each as module:factory

    def problems(self, key: str) -> Iterator[Problem | str]:
        """Report callbacks that cannot be built, and float16 on a CPU.

        `find_missing_devices` checks for a GPU on the machine that runs the job.
        """
        for entry in self.callbacks:
            try:
                yield from UserCallback.parse(entry).problems()
            except ConfigError as error:
                yield from error.problems
        if self.precision == "16-mixed" and self.accelerator == "cpu":
            yield Problem(f"{key}.precision", "32 or bf16-mixed where there is no CUDA device", self.precision)

    def find_missing_devices(self) -> Iterator[str]:
        """Report devices that the settings require and this machine does not have."""
        available = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if self.accelerator == "gpu" and not available:
            yield "trainer.accelerator: expected a CUDA device, got none; use trainer=cpu"
        elif self.device == "cuda" and self.devices > available:
            yield f"trainer.devices: expected at most the {available} CUDA devices here, got {self.devices}"
        elif self.device == "cpu" and self.precision == "16-mixed" and self.accelerator != "cpu":
            yield str(Problem("trainer.precision", "32 or bf16-mixed, as there is no CUDA device here", self.precision))

    @property
    def numerics(self) -> Numerics:
        """The settings that affect results."""
        return Numerics(
            self.deterministic,
            self.precision,
            self.devices,
            self.channels_last,
            threads=self.threads or 1,
            tf32=self.tf32,
            device=self.device,
            callbacks=tuple(callback for callback in self.user_callbacks if not callback.is_passive),
        )

    @property
    def user_callbacks(self) -> tuple[UserCallback, ...]:
        """The callbacks of each training."""
        return tuple(map(UserCallback.parse, self.callbacks))

    def without_callbacks(self) -> TrainerSettings:
        """Return the settings for fits that the user's callbacks must not see: SPD-GAN, and what attacks train."""
        return replace(self, callbacks=[])

    def with_threads(self, net: Callable[[], Any], shape: tuple[int, ...]) -> TrainerSettings:
        """Choose the number of threads for a net, unless one is set.

        The choice does not depend on the machine, so results and keys do not either: a machine with fewer cores runs
        several threads per core, and a run on a GPU uses one thread.

        Args:
            net: builds the net.
            shape: channels, height and width of an image.
        """
        if self.threads is not None:
            return self
        return replace(self, threads=threads_for(net(), shape) if self.device == "cpu" else 1)

    @property
    def device(self) -> str:
        """`cuda` or `cpu`; resolves `auto`."""
        uses_gpu = self.accelerator == "gpu" or (self.accelerator == "auto" and torch.cuda.is_available())
        return "cuda" if uses_gpu else "cpu"

    def apply(self) -> None:
        """Apply the settings to torch, once per process.

        Raises:
            UnlearnError: the settings require a GPU, or more GPUs than this machine has.
        """
        for problem in self.find_missing_devices():
            raise UnlearnError(problem)
        torch.set_num_threads(self.threads or 1)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # required for deterministic matrix products
        # equals torch.use_deterministic_algorithms, which would import the compiler: seconds for something unused here
        torch.set_deterministic_debug_mode("error" if self.deterministic else "default")
        allow_tf32(False)  # for predictions, scores and all else; `fit` allows it for training
        deterministic: Any = torch.utils.deterministic  # its stubs lack the property
        deterministic.fill_uninitialized_memory = FILL_UNINITIALISED
        torch.backends.cudnn.benchmark = not self.deterministic  # kernels chosen by timing may differ between runs


def fit(
    module: Any,
    batches: Iterable[Any],
    settings: TrainerSettings,
    epochs: int = 1,
    clip: float | None = None,
    checkpoint: Path | None = None,
) -> None:
    """Train a LightningModule without output.

    In a process started by `training.ranks` all ranks train together; otherwise training runs on one device. The
    environment variables of a cluster are ignored: one job is one process group, whatever SLURM's tasks are.

    Args:
        module: the LightningModule.
        batches: the batches of an epoch.
        settings: device, precision and other settings.
        epochs: the number of epochs.
        clip: the largest gradient norm; None: no clipping.
        checkpoint: the file to resume from; None: start from the beginning.

    Raises:
        DivergenceError: `settings.detect_anomaly` found a NaN.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    trainer = _build_trainer(settings, epochs, clip)
    with warnings.catch_warnings(), tf32(settings.tf32):
        warnings.filterwarnings("ignore", category=UserWarning, module="(pytorch_)?lightning")
        warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated")  # Lightning 2.6 on torch >= 2.12
        try:
            trainer.fit(module, train_dataloaders=batches, ckpt_path=checkpoint, weights_only=True)
        except RuntimeError as error:
            if "returned nan values" not in str(error):
                raise
            message = f"step {trainer.global_step}: {first_line(error)}; lower the learning rate"
            raise DivergenceError(message) from error


def _build_trainer(settings: TrainerSettings, epochs: int, clip: float | None) -> Any:
    """Build a Lightning Trainer that prints and writes nothing of its own accord."""
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import LambdaCallback
    from pytorch_lightning.plugins.environments import LightningEnvironment  # type: ignore[attr-defined]

    from unlearn.training.partial import AtomicIO
    from unlearn.training.ranks import world_size

    ranks, precision_plugins = world_size(), _precision_plugins(settings)
    if ranks > 1:
        os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())  # otherwise Lightning sets its own number
    return pl.Trainer(
        accelerator=settings.device if settings.device == "cpu" else "gpu",
        devices=ranks,
        strategy="ddp" if ranks > 1 else "auto",
        plugins=[LightningEnvironment(), AtomicIO(), *precision_plugins],
        callbacks=[
            LambdaCallback(on_train_start=_restore_handler(signal.SIGTERM)),
            *(callback.build() for callback in settings.user_callbacks),
        ],
        use_distributed_sampler=False,
        default_root_dir=os.devnull,  # nothing is written; in SLURM Lightning would look for a checkpoint there
        max_epochs=epochs,
        gradient_clip_val=clip,
        deterministic=settings.deterministic,
        precision=None if precision_plugins else settings.precision,  # type: ignore[arg-type]  # one of its names
        detect_anomaly=settings.detect_anomaly,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
    )


def _precision_plugins(settings: TrainerSettings) -> list[Any]:
    """Lightning's float16 plugin with our scaler; none for other precisions."""
    if settings.precision != "16-mixed":
        return []
    from pytorch_lightning.plugins import MixedPrecision

    return [MixedPrecision("16-mixed", settings.device, CountingScaler(settings.device))]


def _restore_handler(signum: signal.Signals) -> Callable[..., None]:
    """Make a callback that restores the current signal handler after Lightning has replaced it.

    Lightning's handler would end training after the epoch, with status 0. The current one is
    `progress.exit_on_signal`, or a launcher's: submitit's ignores SIGTERM, so that the job is requeued.
    """
    handler = signal.getsignal(signum)

    def restore(*_: Any) -> None:
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signum, handler)

    return restore
