"""Only one file touches what Hydra, OmegaConf and submitit do not document; a test fails if a release moves it."""

from __future__ import annotations

import ast
import copy
import inspect
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobStatus
from hydra.plugins.sweeper import Sweeper

import unlearn
from unlearn import config
from unlearn.config import private_hooks

PACKAGE = Path(unlearn.__file__).parent
FENCE = PACKAGE / "config" / "private_hooks.py"


class OwnSweeper(Sweeper):
    """A sweeper with nothing of its own."""

    def setup(self, **_: Any) -> None:
        """Do nothing."""

    def sweep(self, arguments: list[str]) -> None:
        """Do nothing."""


def test_hydras_parser_still_reads_what_the_checks_need() -> None:
    parsed = private_hooks.hydra_parser().parse_args(["-m", "seed=1", "--config-dir", "mine"])
    assert (parsed.multirun, parsed.overrides, parsed.config_dir) == (True, ["seed=1"], "mine")
    assert (parsed.config_name, parsed.config_path) == (None, None)


def test_hydra_still_composes_the_cells_of_a_sweep_by_load_sweep_config() -> None:
    """`test_grid.py` compares the configs."""
    assert [*inspect.signature(ConfigLoaderImpl.load_sweep_config).parameters][1:] == [
        *("master_config", "sweep_overrides")
    ]
    hydras_own = ConfigLoaderImpl.load_sweep_config
    with config.launch_with(lambda overrides: None):
        assert ConfigLoaderImpl.load_sweep_config is not hydras_own
    assert ConfigLoaderImpl.load_sweep_config is hydras_own


def test_hydra_still_checks_cells_by_validate_batch_is_legal() -> None:
    hydras_own = Sweeper.validate_batch_is_legal
    assert BasicSweeper.validate_batch_is_legal is hydras_own
    assert "self.validate_batch_is_legal(" in inspect.getsource(BasicSweeper.sweep)
    with config.launch_with(lambda overrides: None):
        OwnSweeper().validate_batch_is_legal([["no=such", "words"]])  # would need a loader
    assert Sweeper.validate_batch_is_legal is hydras_own


def test_hydras_store_still_takes_groups_that_make_their_schemas_late() -> None:
    store = ConfigStore.instance()
    assert copy.deepcopy(store) is store
    assert "k" in store.load("schema/strategy/top_k.yaml").node
    assert store.get_type("schema/strategy/no_such_strategy.yaml").name == "NOT_FOUND"


def test_submitit_still_waits_by_results(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    core = pytest.importorskip("submitit.core.utils")
    from submitit.slurm.slurm import SlurmJob

    def lost(job: Any) -> list[Any]:
        raise core.UncompletedJobError("no output")

    assert callable(SlurmJob.results)
    monkeypatch.setattr(SlurmJob, "results", lost)
    private_hooks.wait_for_all_slurm_jobs()
    job = type("Job", (), {"job_id": "7", "paths": type("Paths", (), {"stderr": "7.err"})})()
    (outcome,) = SlurmJob.results(job)
    assert outcome.status is JobStatus.COMPLETED
    assert "job 7 ended without a result: 7.err" in capsys.readouterr().err


def test_submitit_still_asks_for_jobs_by_make_command(monkeypatch: pytest.MonkeyPatch) -> None:
    slurm = pytest.importorskip("submitit.slurm.slurm")
    monkeypatch.setattr(slurm.SlurmInfoWatcher, "_make_command", slurm.SlurmInfoWatcher._make_command)
    monkeypatch.setattr(slurm.SlurmJob.watcher, "_delay_s", slurm.SlurmJob.watcher._delay_s)
    private_hooks.poll_slurm_queue()
    watcher = slurm.SlurmInfoWatcher()
    assert watcher._make_command() is None
    watcher.register_job("12_0")
    watcher.register_job("12_1")
    shell, _, query = watcher._make_command()
    assert (shell, query.endswith("--jobs=12")) == ("sh", True)
    assert watcher.read_info("JobID|State|NodeList\n12_0|FAILED|n1\n")["12_0"]["State"] == "FAILED"


def test_no_other_file_touches_private_parts() -> None:
    """Modules with an underscore, and attributes with one that no class of this package has."""
    files = [path for room in ("config", "cli", "api") for path in (PACKAGE / room).glob("*.py") if path != FENCE]
    trees = {path.name: ast.parse(path.read_text("utf-8")) for path in files}
    ours = {name for tree in trees.values() for name in _private_names(tree)}
    touched = {
        f"{file}:{getattr(node, 'lineno', 0)}"
        for file, tree in trees.items()
        for node in ast.walk(tree)
        if _is_private_import(node) or (isinstance(node, ast.Attribute) and _is_private(node.attr, ours))
    }
    assert touched == set()


def _private_names(tree: ast.Module) -> set[str]:
    """Names of functions, classes, fields and attributes that a file defines."""
    nodes = list(ast.walk(tree))
    defined = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    stored = [node for node in nodes if isinstance(getattr(node, "ctx", None), ast.Store)]
    return defined | {getattr(node, "attr", getattr(node, "id", "")) for node in stored} | {"_replace"}  # NamedTuple's


def _is_private(name: str, ours: set[str]) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in ours


def _is_private_import(node: ast.AST) -> bool:
    modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
    parts = [part for name in (*modules, *names) for part in name.split(".")]
    return any(_is_private(part, set()) for part in parts)
