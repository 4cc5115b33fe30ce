"""The W&B package: import it quietly, start and finish runs, and keep errors of W&B from ending a run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from unlearn.core.errors import first_line

FALLBACK = {"offline": "kept offline, `wandb sync` sends it later", "disabled": "not tracked"}
# By default W&B would send host, user, folders, command line, git remote, packages and system load.
PRIVATE_SETTINGS = {
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "host": "",
    "silent": True,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}


def import_wandb() -> Any:
    """Import the package without output; it must not send reports of its own crashes, which contain local values."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    wandb.setup(wandb.Settings(silent=True))
    return wandb


def find_credentials_problem() -> str:
    """Return why W&B cannot log in, or an empty text; does not prompt the user and sends nothing."""
    wandb = import_wandb()
    wandb.setup(wandb.Settings(mode="online"))
    try:
        return "" if wandb.login(prompt=False, verify=False) else "none"
    except wandb.Error as error:
        return first_line(error)


def start_run(init: Callable[..., Any], mode: str) -> Any:
    """Start a run with `wandb.init` in the given mode; if that fails, offline, and if that fails too, disabled."""
    try:
        return init(mode=mode)
    except Exception as error:  # of the server, of wandb's own process, or of the disk
        if mode == "disabled":
            raise
        fallback = "offline" if mode == "online" else "disabled"
        warn(f"{first_line(error)}; this run is {FALLBACK[fallback]}")
        with suppress(Exception):
            import_wandb().teardown()  # its process still holds the failed run
        return start_run(init, fallback)


def without_import_hooks(run: Any) -> Any:
    """Remove the hooks with which W&B records imports, and return the run.

    They end a forked worker that reads images, where torchvision is imported first.
    """
    from wandb.sdk.lib.import_hooks import unregister_all_post_import_hooks

    unregister_all_post_import_hooks()
    return run


def finish_run(run: Any, code: int) -> None:
    """Finish a run with an exit code."""
    with warn_on_error():
        run.finish(exit_code=code)


@contextmanager
def warn_on_error() -> Iterator[None]:
    """Print any error as a warning: the report is the product, and W&B only shows it."""
    try:
        yield
    except Exception as error:
        warn(f"{first_line(error)}; the report is complete, and `wandb sync` may send it later")


def warn(text: str) -> None:
    """Print a warning to stderr."""
    print(f"unlearn: wandb: {text}", file=sys.stderr, flush=True)


@contextmanager
def staged_in(folder: Path) -> Iterator[None]:
    """Let W&B copy files that it has yet to send to `folder`, and not to the user's home."""
    before = os.environ.get("WANDB_DATA_DIR")
    os.environ["WANDB_DATA_DIR"] = before or str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["WANDB_DATA_DIR"]
