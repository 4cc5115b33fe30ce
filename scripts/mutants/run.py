# /// script
# requires-python = ">=3.11"
# dependencies = ["mutmut==3.8.1", "libcst==1.9.0"]
# ///
"""Do the tests notice? Changes one operator or constant at a time and runs the tests of that module: `make mutants`.

    make mutants                                        300 mutants, drawn with seed 0
    make mutants ARGS="--count 60 --only unlearn/store.py"
    make mutants ARGS="--again"                         those that survived, after new tests were written

Mutants are drawn at random from the files in TESTS, the same ones for the same seed and sources. They run in a copy of
the checkout, one after another; each must fail a test, the file's own tests first, within its time. Verdicts are kept
in build/mutants.jsonl as they come, so that a run which was stopped goes on. Survivors that no test can kill are listed
in equivalent.txt, with the reason. The tests themselves run in .venv; mutmut, whose operators are used, does not need
to be installed there.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from mutate import Mutant, mutants, mutated

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "build" / "mutants.jsonl"
EQUIVALENT = Path(__file__).with_name("equivalent.txt")
SLACK = 60.0  # seconds that a mutant may take beyond three times what its tests take without one
# What is mutated, and the tests that are run: those whose file is named like the module's come first.
TESTS = {
    "unlearn/strategies": ["tests/strategies"],
    "unlearn/metrics": ["tests/metrics"],
    "unlearn/attacks": ["tests/attacks"],
    "unlearn/data": ["tests/data"],
    "unlearn/spd_gan": ["tests/spd_gan"],
    "unlearn/store.py": ["tests/test_store.py", "tests/test_inventory.py"],
    "unlearn/stages": ["tests/stages"],
    "unlearn/report/judgement.py": ["tests/report"],
    "unlearn/report/verdict.py": ["tests/report"],
    "unlearn/report/degree.py": ["tests/report"],
}


def main() -> None:
    """Entry point."""
    arguments = _parser().parse_args()
    done = _results()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = _copy(Path(folder, "checkout"))
        sample = _sample(arguments)
        again = {name for name, verdict in done.items() if verdict != "killed"} if arguments.again else set()
        todo = [mutant for mutant in sample if _id(mutant) not in done or _id(mutant) in again]
        print(f"{len(sample)} mutants, {len(sample) - len(todo)} of them known", flush=True)
        for number, mutant in enumerate(todo, start=1):
            verdict, seconds = _verdict(copy, mutant)
            done[_id(mutant)] = verdict
            _keep(mutant, verdict, seconds)
            print(f"{number}/{len(todo)} {verdict:<8} {seconds:4.0f} s  {mutant.name}", flush=True)
    sys.exit(_summary(sample, done))


def _parser() -> ArgumentParser:
    parser = ArgumentParser("mutants", description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300, help="how many are drawn (default: 300)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default: 0)")
    parser.add_argument("--only", nargs="+", default=[""], metavar="PATH", help="of files whose path begins so")
    parser.add_argument("--again", action="store_true", help="run once more those that were not killed")
    return parser


def _copy(folder: Path) -> Path:
    """The checkout as it stands, without what git ignores: the user's own files are never changed."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def _sample(arguments: Namespace) -> list[Mutant]:
    """Drawn without replacement. The draw depends on the seed and the files that are asked for alone."""
    paths = [path for path in _paths() if path.startswith(tuple(arguments.only))]
    known = _equivalent()
    every = [mutant for path in paths for mutant in mutants(ROOT, path) if _text(mutant) not in known]
    return random.Random(arguments.seed).sample(every, min(arguments.count, len(every)))


def _paths() -> Iterator[str]:
    for target in TESTS:
        found = [ROOT / target] if target.endswith(".py") else sorted((ROOT / target).rglob("*.py"))
        yield from (str(path.relative_to(ROOT)) for path in found)


def _text(mutant: Mutant) -> str:
    """A mutant without its place in the file, as equivalent.txt lists it."""
    return f"{mutant.path}: {mutant.before} -> {mutant.after}"


def _equivalent() -> set[str]:
    lines = EQUIVALENT.read_text(encoding="utf-8").splitlines()
    return {line for line in lines if line.startswith("unlearn/")}


def _id(mutant: Mutant) -> str:
    return f"{mutant.digest} {mutant.name}"


def _results() -> dict[str, str]:
    """Verdicts by id; the last one counts."""
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.exists() else []
    records = (json.loads(line) for line in lines)
    return {record["id"]: record["verdict"] for record in records}


def _keep(mutant: Mutant, verdict: str, seconds: float) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    record = {"id": _id(mutant)} | asdict(mutant) | {"verdict": verdict, "seconds": round(seconds, 1)}
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def _verdict(copy: Path, mutant: Mutant) -> tuple[str, float]:
    """`killed`, `survived` or `timeout`, and the seconds it took."""
    tests, path = _tests(copy, mutant.path), copy / mutant.path
    limit = 3 * _baseline(copy, tests) + SLACK
    whole = path.read_text(encoding="utf-8")
    path.write_text(mutated(copy, mutant), encoding="utf-8")
    try:
        status, seconds = _pytest(copy, tests, limit)
    finally:
        path.write_text(whole, encoding="utf-8")
    return {None: "timeout", 0: "survived"}.get(status, "killed"), seconds


def _tests(copy: Path, path: str) -> tuple[str, ...]:
    """The tests of a file, those that are named like it first."""
    folders = next(tests for target, tests in TESTS.items() if path.startswith(target))
    stem = Path(path).stem
    own = sorted((copy / "tests").rglob(f"test_{stem}*.py"))
    return (*(str(file.relative_to(copy)) for file in own), *folders)


_seconds: dict[tuple[str, ...], float] = {}  # that tests take without a mutant


def _baseline(copy: Path, tests: tuple[str, ...]) -> float:
    """Seconds that the tests take without a mutant.

    Raises:
        SystemExit: they fail: they could not tell a mutant.
    """
    folders = tuple(name for name in tests if not name.endswith(".py")) or tests
    if folders not in _seconds:
        status, _seconds[folders] = _pytest(copy, folders, 3600)
        if status != 0:
            sys.exit(f"mutants: expected passing tests before anything is changed, got failures in {' '.join(folders)}")
    return _seconds[folders]


def _pytest(copy: Path, tests: Sequence[str], limit: float) -> tuple[int | None, float]:
    """Exit status, None if it ran out of time; and seconds. No bytecode: a mutant may be as long as its file."""
    command = [ROOT / ".venv" / "bin" / "python", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    command += ["-m", "not slow and not slurm and not browser", *tests]
    own = {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    start, quiet = time.monotonic(), subprocess.DEVNULL
    process = subprocess.Popen(
        command, cwd=copy, env=os.environ | own, stdout=quiet, stderr=quiet, stdin=quiet, start_new_session=True
    )
    try:
        status: int | None = process.wait(limit)
    except subprocess.TimeoutExpired:
        status = None
    finally:
        _end(process)
    return status, time.monotonic() - start


def _end(process: subprocess.Popen[bytes]) -> None:
    """With all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _summary(sample: list[Mutant], done: dict[str, str]) -> int:
    """Print the survivors and the share that was killed; exit status 1 below 85 %."""
    verdicts = {mutant: done[_id(mutant)] for mutant in sample}
    for mutant, verdict in sorted(verdicts.items(), key=lambda pair: pair[0].name):
        if verdict == "survived":
            print(f"survived  {mutant.name}")
    counts = Counter(verdicts.values())
    noticed = counts["killed"] + counts["timeout"]
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in ("killed", "timeout", "survived"))
    print(f"{len(sample)} mutants: {told}; {noticed / max(len(sample), 1):.0%} noticed")
    return int(noticed < 0.85 * len(sample))


if __name__ == "__main__":
    main()
