"""`unlearn.run`: what the command `unlearn` does, as a function."""

from __future__ import annotations

import io
import shlex
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from unlearn.api.events import RunEvents, open_event_log
from unlearn.api.files import add_to_ledger, write_report, write_weights
from unlearn.api.results import EvaluationResult
from unlearn.api.torch_state import configure_torch
from unlearn.config.one_run import OneRun, compose_run
from unlearn.core.artifact_store import ArtifactStore
from unlearn.core.errors import ConfigError, Problem
from unlearn.core.progress import Console
from unlearn.core.types import Role
from unlearn.models.base import Classifier
from unlearn.pipeline import plan as pipeline
from unlearn.pipeline.checks import check_machine
from unlearn.pipeline.config import END, RunConfig
from unlearn.pipeline.plan import Outcome
from unlearn.report.assemble import assemble
from unlearn.stages.base import BuildContext
from unlearn.stages.blend import FinalModel
from unlearn.stages.export import export_weights
from unlearn.stages.model import ModelStage
from unlearn.tracking.base import Job, Log


def run(*overrides: str, seed: int | None = None, output: str | Path | None = None, progress: bool = False) -> Result:
    """Train, retrain, unlearn and evaluate: what the command `unlearn` does, with the same store and the same keys.

    Args:
        overrides: the arguments of the command, such as `"dataset=digits"` and `"strategy.k=0.01"`.
        seed: short for `seed=...`.
        output: the folder for the report and for what `logger` writes; None: only the store is written.
        progress: whether progress is printed to standard error.

    Returns:
        The measurements, the verdict and the models.

    Raises:
        ConfigError: with every problem of the overrides, before anything is computed.
        UnlearnError: the run failed.

    Example:
        >>> import tempfile, unlearn
        >>> store = tempfile.TemporaryDirectory()
        >>> result = unlearn.run("dataset.limit=100", "model=mlp", "train.epochs=1", "strategy=ssd", "spd_gan=off",
        ...                      "baseline=none", "metrics=accuracy", "attacks=none", f"paths.store={store.name}")
        >>> "unlearned/forget_accuracy" in result.metrics
        True
        >>> type(result.model("unlearned")).__name__
        'Classifier'
        >>> store.cleanup()
    """
    not_text = [override for override in overrides if not isinstance(override, str)]
    if not_text:
        raise ConfigError([Problem("overrides", "texts such as 'strategy=top_k'", not_text[0])])
    arguments = [*overrides, *([] if seed is None else [f"seed={seed}"])]
    composed = compose_run(arguments)
    if composed.config.until != END:
        raise ConfigError([Problem("until", f"{END}, with a result to return", composed.config.until)])
    if composed.config.requests.is_stream:
        raise ConfigError([Problem("requests", "none (use the command for a stream)", composed.choices["requests"])])
    with configure_torch(composed.config.trainer):
        if problems := list(check_machine(composed.config)):
            raise ConfigError(problems)
        events = RunEvents(open_event_log(composed.config, None if output is None else Path(output)))
        console = Console(None if progress else io.StringIO(), events=events.log)
        store = ArtifactStore(composed.config.paths.store, composed.config.rebuild_damaged)
        context = BuildContext(store, composed.config.trainer, console)
        with events.run(composed.config, composed.choices), _open_log(composed, output) as log:
            outcome = pipeline.run(composed.config, context)
            report = assemble(outcome, composed.plain, composed.choices)
            report["command"] = shlex.join(["unlearn", *arguments])
            result = Result(report, composed.config, outcome)
            if output is not None:
                result.write_files(output)
            log(outcome, report)
            if output is not None:
                add_to_ledger(composed.config, Path(output))
            reused = sum(entry.reused for entry in context.entries.values())
            path = None if output is None else Path(output) / "report.json"
            events.write_done(len(context.entries) - reused, reused, report, path)
    return result


def _open_log(composed: OneRun, output: str | Path | None) -> AbstractContextManager[Log]:
    """Return the context of the run's logger, which writes into `output`; without a folder nothing is logged.

    Raises:
        ConfigError: a logger was chosen, and there is no folder.
    """
    name = composed.choices["logger"]
    if output is not None:
        group = " ".join(composed.choices[key] for key in ("experiment", "sweep") if key in composed.choices) or None
        job: AbstractContextManager[Log] = composed.config.logger.open(
            Job(composed.config, composed.plain, composed.choices, group, Path(output))
        )
        return job
    if name not in ("csv", "none"):
        raise ConfigError([f"output: expected a folder with logger={name}, got None"])
    return nullcontext(lambda outcome, report: None)


@dataclass(frozen=True, repr=False)
class Result(EvaluationResult):
    """The result of `unlearn.run`: what was measured, and the models.

    Args:
        report: the content of the command's `report.json`.
        config: the config of the run.
        outcome: the finished run: its plan and its store.
    """

    config: RunConfig
    outcome: Outcome

    def model(self, role: str = "unlearned", seed: int | None = None) -> nn.Module:
        """Return a model of the run, in eval mode.

        Args:
            role: `unlearned`, `original` or `retrained`.
            seed: which of several retrained models, by its seed; None: the first.

        Returns:
            A new module that maps images in [0, 1], float32 [n, c, h, w], to logits [n, C]. It normalises them itself.

        Raises:
            ConfigError: the run has no such model.
        """
        with configure_torch(self.outcome.context.hardware):
            model: Classifier = self._find(role, seed).load(self.outcome.context)
        return model.requires_grad_(True)

    def export(self, path: str | Path, role: str = "unlearned", seed: int | None = None) -> Path:
        """Write the weights of a model for use without this project.

        `net.load_state_dict(safetensors.torch.load_file(path))` reads them into the architecture: torchvision's, or
        the one that `model.factory` returns. Names and dtypes are those of the imported checkpoint, if there was
        composed. The net does not normalise: give it `(images - mean) / std`, with the `mean` and `std` of each channel
        that the file's metadata hold.

        Args:
            path: the file to write: `.safetensors`, or `.pt` for a state dict of `torch.save`.
            role: as for `model`.
            seed: as for `model`.

        Returns:
            The path.

        Raises:
            ConfigError: the run has no such model, or the path has another suffix.
            OSError: the file cannot be written.
        """
        get = self.outcome.context.get
        model = self._find(role, seed)
        return export_weights(get(model), Path(path), Role(role), get(self.outcome.plan.original))

    def save(self, folder: str | Path) -> Path:
        """Write what the command writes into a folder, and add the run to `report.ledger`; returns the folder."""
        self.write_files(folder)
        add_to_ledger(self.config, Path(folder))
        return Path(folder)

    def write_files(self, folder: str | Path) -> None:
        """Write report, page, weights and audit record into a folder."""
        write_report(self.report, self.config, self.outcome, Path(folder))
        write_weights(self.config, self.outcome, Path(folder))

    def _find(self, role: str, seed: int | None) -> ModelStage | FinalModel:
        plan = self.outcome.plan
        models: dict[Any, tuple[ModelStage | FinalModel, ...]] = {
            Role.UNLEARNED: (plan.final_model,),
            Role.ORIGINAL: (plan.original,),
            Role.RETRAINED: plan.retrained,
        }
        if role not in models:
            raise ConfigError([Problem("role", f"one of {', '.join(models)}", role)])
        matching = [model for model in models[role] if seed is None or model.seed == seed]
        if not matching:
            seeds = ", ".join(str(model.seed) for model in models[role])
            if not seeds:
                raise ConfigError([f"role: expected a model of this run, got {role} (it has none: baseline=none)"])
            raise ConfigError([f"seed: expected one of the run's {role} models ({seeds}), got {seed}"])
        return matching[0]
