"""Write the report of a run, its page and its weights into a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unlearn.core.errors import UnlearnError
from unlearn.core.types import Role
from unlearn.pipeline.config import RunConfig
from unlearn.pipeline.plan import Outcome
from unlearn.stages.export import export_weights


def write_report(report: dict[str, Any], config: RunConfig, outcome: Outcome, folder: Path) -> list[Path]:
    """Write `report.json`, and what the config asks for: the page with its pictures, and the audit record.

    Args:
        report: the report of the run.
        config: the config of the run.
        outcome: the finished run.
        folder: the folder; it is created if need be.

    Returns:
        The files, the main one last.

    Raises:
        UnlearnError: the folder cannot be written.
    """
    from unlearn.audit.build import write_audit
    from unlearn.report.inversion import recovery
    from unlearn.report.pictures import examples
    from unlearn.report.run_folder import write_page, write_pictures
    from unlearn.report.write import write

    paths = [write(report, folder)]
    write_pictures(examples(config, outcome), folder, recovery(config, outcome))
    if config.report.audit:
        paths = write_audit(outcome, report, folder) + paths
    if config.report.html:
        paths.append(write_page(folder))
    return paths


def write_weights(config: RunConfig, outcome: Outcome, folder: Path) -> list[Path]:
    """Write `unlearned.safetensors` or `unlearned.pt`, as `report.weights` asks: the unlearned model, ready for use.

    Args:
        config: the config of the run.
        outcome: the finished run.
        folder: the folder; it is created if need be.

    Returns:
        The file; none if the config asks for none.

    Raises:
        UnlearnError: the folder cannot be written, or a weight does not fit the type it had in the checkpoint.
    """
    if config.report.weights == "none":
        return []
    entry = outcome.context.get(outcome.plan.final_model)
    try:
        return [export_weights(entry, folder / f"unlearned.{config.report.weights}", Role.UNLEARNED)]
    except OSError as error:
        raise UnlearnError(f"paths.output: expected a writable folder, got {folder}: {error}") from error


def add_to_ledger(config: RunConfig, folder: Path) -> list[str]:
    """Add the request to the ledger that `report.ledger` names, once the other files are written.

    Args:
        config: the config of the run.
        folder: the folder of the run.

    Returns:
        Lines for the console; none without a ledger.

    Raises:
        UnlearnError: the ledger is damaged or cannot be written.
    """
    if config.report.ledger is None:
        return []
    from unlearn.audit.ledger_entries import add_request

    ledger = Path(config.report.ledger)
    return list(add_request(ledger, folder, Path(config.paths.store)).describe(ledger))
