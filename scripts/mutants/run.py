# /// script
# requires-python = ">=3.11"
# dependencies = ["mutmut==3.8.1", "libcst==1.9.0"]
# ///
"""Mutation tests: changes one operator or constant at a time and runs the tests of that module (`make mutants`).

    make mutants                                        300 mutants, drawn with seed 0
    make mutants ARGS="--count 60 --only unlearn/core/artifact_store.py"
    make mutants ARGS="--again"                         those that survived, after new tests were written

Mutants are drawn at random from the files in TESTS, the same ones for the same seed and sources. They run one after
another in a copy of the checkout; each must fail a test within its time limit, and the tests named like the file run
first. Results are appended to build/mutants.jsonl, so that an interrupted run can resume. Survivors that no test can
kill are listed in equivalent.txt, with the reason. The tests run in .venv; mutmut, which provides the operators, does
not need to be installed there.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from mutate import Mutant, mutants, mutated

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "build" / "mutants.jsonl"
EQUIVALENT = Path(__file__).with_name("equivalent.txt")
SLACK = 60.0  # seconds, added to three times the duration of the tests without a mutant
# Mutated folders and files -> the tests to run, after those named like the file. If a file is in several entries, the
# first one counts.
TESTS = {
    "unlearn/data/requests/records": ["tests/data/requests/test_records.py"],
    "unlearn/strategies": ["tests/strategies"],
    "unlearn/metrics": ["tests/metrics"],
    "unlearn/attacks": ["tests/attacks"],
    "unlearn/data": ["tests/data"],
    "unlearn/spd_gan": ["tests/spd_gan"],
    "unlearn/core/artifact_store.py": ["tests/core/test_artifact_store.py", "tests/inventory"],
    "unlearn/core/artifact_meta.py": ["tests/core/test_artifact_store.py", "tests/inventory"],
    "unlearn/functional": ["tests/functional"],
    "unlearn/stages": ["tests/stages"],
    "unlearn/report/judgement.py": ["tests/report"],
    "unlearn/report/criterion.py": ["tests/report/test_judgement.py", "tests/report/test_verdict.py"],
    "unlearn/report/verdict.py": ["tests/report"],
    "unlearn/report/degree.py": ["tests/report"],
}


def main() -> None:
    """Entry point."""
    arguments = _parser().parse_args()
    done = _results()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tests = Tests(_copy(Path(folder, "checkout")))
        sample = _sample(arguments)
        repeated = {name for name, verdict in done.items() if verdict != "killed"} if arguments.again else set()
        todo = [mutant for mutant in sample if _id(mutant) not in done or _id(mutant) in repeated]
        print(f"{len(sample)} mutants, {len(sample) - len(todo)} of them known", flush=True)
        for number, mutant in enumerate(todo, start=1):
            verdict, seconds = _verdict(tests, mutant, arguments.own)
            done[_id(mutant)] = verdict
            _keep(mutant, verdict, seconds)
            print(f"{number}/{len(todo)} {verdict:<8} {seconds:4.0f} s  {mutant.name}", flush=True)
    sys.exit(_summary(sample, done))


def _parser() -> ArgumentParser:
    parser = ArgumentParser("mutants", description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300, help="number of mutants (default: 300)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw (default: 0)")
    parser.add_argument("--only", nargs="+", default=[""], metavar="PATH", help="only files below these paths")
    parser.add_argument("--again", action="store_true", help="repeat the mutants that were not killed")
    only = "run only the tests named like the file: fast, but other tests may kill the survivors"
    parser.add_argument("--own", action="store_true", help=only)
    return parser


def _copy(folder: Path) -> Path:
    """Copy the checkout without ignored files, so that the files of the user are never changed."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def _sample(arguments: Namespace) -> list[Mutant]:
    """Draw mutants without replacement; the draw depends only on the seed and the selected files."""
    paths = [path for path in _paths() if path.startswith(tuple(arguments.only))]
    known = _equivalent()
    candidates = [mutant for path in paths for mutant in mutants(ROOT, path) if _text(mutant) not in known]
    return random.Random(arguments.seed).sample(candidates, min(arguments.count, len(candidates)))


def _paths() -> Iterator[str]:
    """Yield the path of each file in TESTS once."""
    files: dict[Path, None] = {}
    for target in TESTS:
        paths = [ROOT / target] if target.endswith(".py") else sorted((ROOT / target).rglob("*.py"))
        files |= dict.fromkeys(paths)
    yield from (str(path.relative_to(ROOT)) for path in files)


def _text(mutant: Mutant) -> str:
    """A mutant without its position in the file, as in equivalent.txt."""
    return f"{mutant.path}: {mutant.before} -> {mutant.after}"


def _equivalent() -> set[str]:
    lines = EQUIVALENT.read_text(encoding="utf-8").splitlines()
    return {line for line in lines if line.startswith("unlearn/")}


def _id(mutant: Mutant) -> str:
    return f"{mutant.digest} {mutant.name}"


def _results() -> dict[str, str]:
    """Read the verdicts by id; the last one counts."""
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.exists() else []
    records = (json.loads(line) for line in lines)
    return {record["id"]: record["verdict"] for record in records}


def _keep(mutant: Mutant, verdict: str, seconds: float) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    record = {"id": _id(mutant)} | asdict(mutant) | {"verdict": verdict, "seconds": round(seconds, 1)}
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def _verdict(tests: Tests, mutant: Mutant, own: bool) -> tuple[str, float]:
    """Run a mutant; returns `killed`, `survived` or `timeout`, and the duration in seconds."""
    path = tests.copy / mutant.path
    named, folders = _tests(tests.copy, mutant.path)
    steps = [step for step in (named, () if own and named else folders) if step]
    limits = [3 * tests.baseline(step) + SLACK for step in steps]
    source, start = path.read_text(encoding="utf-8"), time.monotonic()
    path.write_text(mutated(tests.copy, mutant), encoding="utf-8")
    verdicts = {0: "survived", None: "timeout"}
    try:
        for step, limit in zip(steps, limits, strict=True):
            verdict = verdicts.get(tests.run(step, limit), "killed")
            if verdict != "survived":
                break
    finally:
        path.write_text(source, encoding="utf-8")
    return verdict, time.monotonic() - start


def _tests(copy: Path, path: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The tests named like a file, and the tests that TESTS lists for it."""
    folders = next(tests for target, tests in TESTS.items() if path.startswith(target))
    named = sorted((copy / "tests").rglob(f"test_{Path(path).stem}.py"))
    return tuple(str(file.relative_to(copy)) for file in named), tuple(folders)


class Tests:
    """Runs tests of the copy in forks of a process that has imported torch, which takes longer than most tests."""

    def __init__(self, copy: Path) -> None:
        self.copy = copy
        self.seconds: dict[tuple[str, ...], float] = {}  # duration without a mutant
        environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        command = [str(ROOT / ".venv" / "bin" / "python"), str(Path(__file__).with_name("serve.py"))]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, cwd=copy, env=environment, stdin=pipe, stdout=pipe, text=True)

    def run(self, tests: Sequence[str], limit: float) -> int | None:
        """Run tests; returns the exit status of pytest, or None after `limit` seconds."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"tests": tests, "limit": limit}) + "\n")
        self.process.stdin.flush()
        status: int | None = json.loads(self.process.stdout.readline())
        return status

    def baseline(self, tests: tuple[str, ...]) -> float:
        """Duration of tests without a mutant, in seconds.

        Raises:
            SystemExit: the tests fail without a mutant.
        """
        if tests not in self.seconds:
            start = time.monotonic()
            if self.run(tests, 3600) != 0:
                sys.exit(f"mutants: expected tests that pass without a mutant, got failures in {' '.join(tests)}")
            self.seconds[tests] = time.monotonic() - start
        return self.seconds[tests]


def _summary(sample: list[Mutant], done: dict[str, str]) -> int:
    """Print the survivors and the fraction that was killed; returns exit status 1 below 85 %."""
    verdicts = {mutant: done[_id(mutant)] for mutant in sample}
    for mutant, verdict in sorted(verdicts.items(), key=lambda pair: pair[0].name):
        if verdict == "survived":
            print(f"survived  {mutant.name}")
    counts = Counter(verdicts.values())
    noticed = counts["killed"] + counts["timeout"]
    summary = ", ".join(f"{counts[verdict]} {verdict}" for verdict in ("killed", "timeout", "survived"))
    print(f"{len(sample)} mutants: {summary}; {noticed / max(len(sample), 1):.0%} noticed")
    return int(noticed < 0.85 * len(sample))


if __name__ == "__main__":
    main()
