"""The only place that builds a Lightning Trainer, with everything off that we do not use."""

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

from unlearn.core.errors import DivergenceError, Problem, UnlearnError, first_line
from unlearn.core.validation import ADDED, at_least, in_range, one_of
from unlearn.training.precision import CountingScaler, allow_tf32, tf32
from unlearn.training.threads import MOST_THREADS, threads_for

# Deterministic mode lets torch fill memory that is about to be written, so that a read before the write repeats: a
# quarter of the operations of a step. Nothing here reads it; tests fill it, with NaN.
FILL_UNINITIALISED = False


@dataclass(frozen=True)
class Numerics:
    """How numbers are computed: the part of the settings that the keys of trained and unlearned models hold."""

    deterministic: bool
    precision: str
    devices: int
    channels_last: bool = field(default=False, metadata=ADDED)
    threads: int = field(default=1, metadata=ADDED)
    tf32: bool = field(default=False, metadata=ADDED)
    device: str = field(default="cpu", metadata=ADDED)  # cpu or cuda: digits and random numbers are other ones

    @property
    def plain(self) -> Numerics:
        """As what is neither trained nor unlearned is computed: in float32, on one device."""
        return Numerics(self.deterministic, "32", 1, threads=self.threads, device=self.device)


@dataclass(frozen=True)
class TrainerSettings:
    """How work is run; only its `numerics` are part of what is computed.

    With a mixed `precision` the forward passes of training and unlearning run in 16 bits where that is safe
    (autocast). Weights, scores, predictions and SPD-GAN stay in float32, also with `tf32`. Together with
    `channels_last` bfloat16 is twice as fast on a processor that computes in it (avx512_bf16), and a fifth as fast on
    one of AVX2 alone (measured on the MNIST CNN, oneDNN being told to do without).
    """

    accelerator: str = one_of("auto", "cpu", "gpu")
    deterministic: bool = True  # refuse operations that do not repeat bit for bit
    precision: str = one_of("32", "bf16-mixed", "16-mixed")  # 16-mixed scales the loss, and needs a CUDA device
    tf32: bool = False  # on a GPU, float32 of training and unlearning with 10 bits of mantissa: faster
    channels_last: bool = False  # images lie so for training and unlearning: convolutions are faster; sums round anew
    threads: int | None = in_range(1, MOST_THREADS, None)  # on the CPU; null: 1, or 8 where the net is worth it
    detect_anomaly: bool = False  # name the operation that made a NaN; slow
    devices: int = at_least(1, 1)  # that share each batch of a training stage; all else runs on one
    checkpoint_every: float = at_least(0, 5)  # seconds, at the end of an epoch; a killed training may lose so many

    def problems(self, key: str) -> Iterator[Problem]:
        """float16 is of no use on a CPU; whether there is a GPU is asked where the job runs."""
        if self.precision == "16-mixed" and self.accelerator == "cpu":
            yield Problem(f"{key}.precision", "32 or bf16-mixed where there is no CUDA device", self.precision)

    def find_missing_devices(self) -> Iterator[str]:
        """What is asked for and this machine does not have."""
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if self.accelerator == "gpu" and not there:
            yield "trainer.accelerator: expected a CUDA device, got none; use trainer=cpu"
        elif self.device == "cuda" and self.devices > there:
            yield f"trainer.devices: expected at most the {there} CUDA devices here, got {self.devices}"
        elif self.device == "cpu" and self.precision == "16-mixed" and self.accelerator != "cpu":
            yield str(Problem("trainer.precision", "32 or bf16-mixed, as there is no CUDA device here", self.precision))

    @property
    def numerics(self) -> Numerics:
        """What of the settings determines results."""
        return Numerics(
            self.deterministic,
            self.precision,
            self.devices,
            self.channels_last,
            threads=self.threads or 1,
            tf32=self.tf32,
            device=self.device,
        )

    def with_threads(self, net: Callable[[], Any], shape: tuple[int, ...]) -> TrainerSettings:
        """With the number of threads that `net()`, for images of `shape`, is worth, unless one is set.

        A GPU waits for one thread, and a machine with fewer cores shares them out: both keep the numbers, and thus the
        keys, those of any other machine.
        """
        if self.threads is not None:
            return self
        return replace(self, threads=threads_for(net(), shape) if self.device == "cpu" else 1)

    @property
    def device(self) -> str:
        """`cuda` or `cpu`, what `auto` stands for included."""
        gpu = self.accelerator == "gpu" or (self.accelerator == "auto" and torch.cuda.is_available())
        return "cuda" if gpu else "cpu"

    def apply(self) -> None:
        """Tell torch, once per process.

        Raises:
            UnlearnError: a GPU was asked for and there is none, or more of them than there are.
        """
        for problem in self.find_missing_devices():
            raise UnlearnError(problem)
        torch.set_num_threads(self.threads or 1)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what deterministic matrix products need
        # as torch.use_deterministic_algorithms, which imports the compiler that nothing here uses: seconds
        torch.set_deterministic_debug_mode("error" if self.deterministic else "default")
        allow_tf32(False)  # predictions, scores and all else; `fit` allows it for training
        fill: Any = torch.utils.deterministic  # a module with a property, which its stubs do not know
        fill.fill_uninitialized_memory = FILL_UNINITIALISED
        torch.backends.cudnn.benchmark = not self.deterministic  # kernels by timing, which may differ from run to run


def fit(
    module: Any,
    batches: Iterable[Any],
    settings: TrainerSettings,
    epochs: int = 1,
    clip: float | None = None,
    checkpoint: Path | None = None,
) -> None:
    """Run a LightningModule over `batches` for a number of epochs, quietly, from a `checkpoint` if there is one.

    In a process that `modules.ranks` started all of them train together; everywhere else on one device. A cluster's
    variables are not looked at: one job is one process group, whatever SLURM says of tasks.
    """
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import LambdaCallback
    from pytorch_lightning.plugins.environments import LightningEnvironment  # type: ignore[attr-defined]

    from unlearn.training.partial import AtomicIO
    from unlearn.training.ranks import world_size

    mixed = _scaled(settings)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    ranks = world_size()
    if ranks > 1:
        os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())  # or Lightning would set its own number
    trainer = pl.Trainer(
        accelerator=settings.device if settings.device == "cpu" else "gpu",
        devices=ranks,
        strategy="ddp" if ranks > 1 else "auto",
        plugins=[LightningEnvironment(), AtomicIO(), *mixed],
        callbacks=[LambdaCallback(on_train_start=_as_before(signal.SIGTERM))],
        use_distributed_sampler=False,
        default_root_dir=os.devnull,  # nothing is written there, nor looked for: in SLURM a checkpoint would be
        max_epochs=epochs,
        gradient_clip_val=clip,
        deterministic=settings.deterministic,
        precision=None if mixed else settings.precision,  # type: ignore[arg-type]  # one of the names it takes
        detect_anomaly=settings.detect_anomaly,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
    )
    with warnings.catch_warnings(), tf32(settings.tf32):
        warnings.filterwarnings("ignore", category=UserWarning, module="(pytorch_)?lightning")
        warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated")  # Lightning 2.6 on torch >= 2.12
        try:
            trainer.fit(module, train_dataloaders=batches, ckpt_path=checkpoint, weights_only=True)
        except RuntimeError as error:
            if "returned nan values" not in str(error):
                raise
            raise DivergenceError(
                f"step {trainer.global_step}: {first_line(error)}; lower the learning rate"
            ) from error


def _scaled(settings: TrainerSettings) -> list[Any]:
    """Lightning's float16, with our scaler in place of its own."""
    if settings.precision != "16-mixed":
        return []
    from pytorch_lightning.plugins import MixedPrecision

    return [MixedPrecision("16-mixed", settings.device, CountingScaler(settings.device))]


def _as_before(signum: signal.Signals) -> Callable[..., None]:
    """Puts back the handler that stands now. Lightning's own would end training at the next epoch with status 0.

    What stands is `console.stop`, or a launcher's: submitit's lets SIGTERM pass and has the job requeued.
    """
    handler = signal.getsignal(signum)

    def put_back(*_: Any) -> None:
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signum, handler)

    return put_back
