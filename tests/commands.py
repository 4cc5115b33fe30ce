"""Run a console script in a process of its own that starts with the heavy imports done.

Importing torch and Lightning takes longer than most commands. A fork server imports them once per test process and
forks a child for each command, which then has its own memory, working folder, environment and exit code.
"""

from __future__ import annotations

import atexit
import importlib
import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PRELOADED = ["unlearn.cli.run", "unlearn.cli.audit", "pytorch_lightning", "sklearn.datasets", "jinja2", "PIL.Image"]
PRELOADED += ["torchvision.transforms.v2"]  # which folders of images are read with
TIMEOUT = 300  # seconds

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(PRELOADED)


def run_command(module: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run `main()` of a module of `unlearn.cli` with these arguments, and return its exit code and output."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = Path(folder, "stdout"), Path(folder, "stderr")
        call = (module, arguments, cwd, dict(os.environ), outputs)
        process = _server.Process(target=_child, args=call)
        process.start()
        process.join(TIMEOUT)
        if process.is_alive():
            process.kill()
            raise TimeoutError(f"{module} {' '.join(arguments)}: still running after {TIMEOUT} s")
        stdout, stderr = (path.read_text() for path in outputs)
    return subprocess.CompletedProcess(list(arguments), process.exitcode or 0, stdout, stderr)


def unlearn(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command `unlearn`."""
    return run_command("unlearn.cli.run", *arguments, cwd=cwd)


def _child(
    module: str, arguments: tuple[str, ...], cwd: Path, environment: dict[str, str], outputs: tuple[Path, Path]
) -> None:
    for descriptor, path in zip((1, 2), outputs, strict=True):
        with path.open("wb") as file:
            os.dup2(file.fileno(), descriptor)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    multiprocessing.set_start_method("fork", force=True)  # as in a process of its own; here it would be forkserver
    sys.argv = [module.rpartition(".")[2], *arguments]
    try:
        importlib.import_module(module).main()
    finally:
        atexit._run_exitfuncs()  # a forked process would leave without them
