"""Steps of `first_day.sh` that run the command `unlearn`: `python scripts/gpu/day_runs.py STEP FOLDER`.

A step prints its measurements. It fails if a command fails, or if a command that must be refused is not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DEVICE, TOY = os.environ.get("DEVICE", "cuda"), os.environ.get("TOY", "") not in ("", "0")
TRAINER = "cpu" if DEVICE == "cpu" else "gpu"
PLAIN = ("spd_gan=off", "attacks=none", "metrics=[accuracy]", "report.html=false", "logger=none")
SIZE = ("dataset.limit=200", "train.epochs=1", "model.width=4", "model.hidden=8") if TOY else ()
STRATEGIES = "strategy=identity,finetune,top_k" if TOY else "strategy=glob(*, exclude=[lrp_path,python,sisa])"
ACCURACIES = ("forget_accuracy", "retain_accuracy", "test_accuracy")
# 300 MB: too little for the batch of this step
LITTLE_MEMORY = "import torch; torch.cuda.set_per_process_memory_fraction(3e8 / torch.cuda.mem_get_info()[1])"

Job = subprocess.Popen[str]


def command(folder: Path, *overrides: str) -> list[str]:
    """Return a command line with store and reports in `folder`."""
    paths = (f"paths.store={folder / 'store'}", f"paths.output={folder / 'out'}")
    return [sys.executable, "-m", "unlearn", *paths, *PLAIN, *overrides]


def start(words: Sequence[str], log: Path) -> Job:
    """Start a process that writes its output into a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as file:
        return subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT, text=True)


def run(folder: Path, *overrides: str) -> float:
    """Run the command; returns seconds."""
    began, log = time.perf_counter(), folder / "log.txt"
    status = start(command(folder, *overrides), log).wait()
    if status:
        raise SystemExit(f"{' '.join(overrides)}: status {status}\n{log.read_text()[-2000:]}")
    return time.perf_counter() - began


def reports(folder: Path) -> dict[str, dict[str, Any]]:
    """Read the reports by strategy."""
    reports_ = [json.loads(path.read_text()) for path in sorted((folder / "out").rglob("report.json"))]
    return {report["choices"]["strategy"]: report for report in reports_}


def strategies(folder: Path) -> None:
    """Run every strategy on digits, here and on the CPU at once; prints the largest difference of accuracies."""
    sides = {TRAINER: folder / "strategies", "cpu": folder / "strategies-cpu"}
    jobs = [
        start(command(where, f"trainer={trainer}", *SIZE, "-m", STRATEGIES), where / "log.txt")
        for trainer, where in sides.items()
    ]
    statuses = [job.wait() for job in jobs]
    here, cpu = (reports(where) for where in (sides[TRAINER], folder / "strategies-cpu"))
    for name, report in here.items():
        if name not in cpu:
            print(f"{name:20} no result on the CPU")
            continue
        keys = [f"{role}/{metric}" for role in ("original", "retrained", "unlearned") for metric in ACCURACIES]
        pairs = [(report["metrics"].get(key), cpu[name]["metrics"].get(key)) for key in keys]
        difference = max(abs(a - b) for a, b in pairs if a is not None and b is not None)
        print(f"{name:20} accuracies within {difference:.4f} of the CPU's")
    if any(statuses):
        raise SystemExit(f"a cell failed:\n{(sides[TRAINER] / 'log.txt').read_text()[-2000:]}")


def refusals(folder: Path) -> None:
    """Expect one line with the option for a net that is not deterministic, and one line for too little memory."""
    if DEVICE == "cpu":
        print("without a GPU: nothing to refuse")
        return
    os.environ["PACKED"] = str(folder / "toy.npz")  # few images of CIFAR's size
    subprocess.run([sys.executable, Path(__file__).with_name("day_torch.py"), "toy", folder], check=True)
    data = ("trainer=gpu", "dataset=python", "dataset.factory=packed:cifar10")
    expect_line(folder, command(folder / "vgg", *data, "model=torchvision", "model.name=vgg11"), "determinis")
    words = command(folder / "memory", *data, "model=resnet18", "train.batch_size=1024")
    words[1:3] = ["-c", f"{LITTLE_MEMORY}; from unlearn.cli.run import main; main()"]
    expect_line(folder, words, "memory")


def expect_line(folder: Path, words: Sequence[str], part: str) -> None:
    """Expect that a command fails with one line that contains `part`."""
    log = folder / "refusal.txt"
    status, output = start(words, log).wait(), log.read_text()
    lines = [line for line in output.splitlines() if part in line]
    print(f"status {status}: {lines[0] if lines else output[-500:]}")
    if status == 0 or not lines or "Traceback" in output:
        raise SystemExit(f"expected one line about {part}, without a traceback")


def timing(folder: Path) -> None:
    """Compare the seconds of unlearning after training the original and after reading it from the store."""
    where = folder / "timing"
    for name, seed in (("original trained before", 0), ("original from the store", 1), ("once more", 2)):
        run(where, f"trainer={TRAINER}", *SIZE, "strategy=finetune", "seeds.train=0", f"seeds.unlearn={seed}")
        seconds = reports(where)["finetune"]["metrics"]["unlearned/seconds"]
        print(f"{name:26} {seconds:.3f} s of unlearning", flush=True)


def two_processes(folder: Path) -> None:
    """Compare two commands on one card, each with its own store, with one command alone."""
    words = (f"trainer={TRAINER}", *SIZE, "strategy=finetune")
    alone, began = run(folder / "one", *words), time.perf_counter()
    jobs = [start(command(folder / f"two-{n}", *words), folder / f"two-{n}" / "log.txt") for n in (0, 1)]
    statuses = [job.wait() for job in jobs]
    print(f"one {alone:.1f} s, two at the same time {time.perf_counter() - began:.1f} s")
    numbers = [reports(folder / name)["finetune"]["metrics"]["unlearned/test_accuracy"] for name in ("one", "two-0")]
    if any(statuses) or numbers[0] != numbers[1]:
        raise SystemExit(f"expected two successes with the numbers of one, got {statuses}, {numbers}")


def cifar_94(folder: Path) -> None:
    """Print test accuracy and seconds of training for the net of the speed runs."""
    data = ("dataset=python", "dataset.factory=packed:cifar10")
    means = ("dataset.mean=[0.4914,0.4822,0.4465]", "dataset.std=[0.2470,0.2435,0.2616]")
    toy = ("train.epochs=1", "model.widths=[8,8,8]", "trainer.precision=32", "train.batch_size=32") if TOY else ()
    where = folder / "cifar_94"
    run(where, *data, *means, "+preset=cifar_94", f"trainer={TRAINER}", "strategy=identity", "baseline=none", *toy)
    metrics = reports(where)["identity"]["metrics"]
    print(f"{100 * metrics['original/test_accuracy']:.2f} % in {metrics['original/seconds']:.2f} s of training", end="")
    print("; goal: 94 % in less than 5 s; validation and holdout sets are not used for training")


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]))
