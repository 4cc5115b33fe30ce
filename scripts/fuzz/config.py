"""Set every value of the composed config to hostile values: each must be accepted, or refused with a message.

    python scripts/fuzz/config.py --cases 5000 --seed 0

Composition and all checks before a run are done in this process, a child for each combination of options, so that a
crash of one is counted and not shared. Exit status 1: a case ended in another error, a hang or a signal.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from outcome import outcome

from unlearn import config
from unlearn.config.cell_composer import CellComposer
from unlearn.config.preflight import CellChecks, build_grid
from unlearn.config.suggestions import dotted_keys

SECONDS = 30  # of a case
COMBINATIONS = (
    (),
    ("strategy=top_k", "spd_gan=marker", "metrics=full", "attacks=full"),
    ("strategy=scrub", "strategy/selection=saliency", "forget=hard", "blend=mix", "retain=condensed", "spd_gan=off"),
    ("strategy=ssd", "forget=class_wise", "model=torchvision", "spd_gan=pgd", "logger=wandb_offline"),
    ("strategy=influence", "forget=relabel", "dataset.label_noise=0.2", "spd_gan=error_minimising", "cluster=joblib"),
    ("strategy=fisher", "dataset=mnist", "model=resnet9", "train=cifar", "spd_gan=off", "cluster=ray"),
    ("strategy=mini_unlearning", "dataset=image_folder", "forget=indices", "spd_gan=off", "cluster=slurm"),
    ("checkpoint=file", "dataset=python", "model=python", "trainer=ddp", "spd_gan=noise", "strategy=lrp_path"),
    ("strategy=bad_teacher", "model=whitened_cnn", "train=whitened", "attacks=full", "spd_gan=off"),
    ("strategy=top_k", "model=mlp", "trainer=gpu", "+preset=kdd2026", "spd_gan=off"),
)
VALUES = (
    *(
        "null",
        "true",
        "false",
        "0",
        "-1",
        "1",
        "2",
        "0.5",
        "1.0",
        "-0.0",
        "nan",
        "inf",
        "-inf",
        "1e-300",
        "1e39",
        "1e308",
    ),
    *("9223372036854775808", "-9223372036854775809", "1000000000000", "99999", "[]", "[1,2]", "[[]]", "{}", "{a:1}"),
    *(
        "''",
        "' '",
        "x",
        "'a b'",
        "'[red]<b>'",
        "'\\x1b[31m'",
        "'${nope}'",
        "'${seed}'",
        "'${train}'",
        "'${oc.env:NO_SUCH}'",
    ),
    *(
        "'${nope:1}'",
        "/dev/null",
        "/proc/none/x",
        "/etc/passwd",
        "~",
        "..",
        "'???'",
        "ü",
        "all",
        "auto",
        "0,1",
        "[null]",
    ),
    *("'" + "x" * 300 + "'", "[0,0]", "[-1]", "[1e39]", "'0x10'", "1_000", "'\\u202e'", "choice()", "range(0,3)"),
)


class Case(NamedTuple):
    """One override of a combination."""

    combination: tuple[str, ...]
    override: str


def cases(combination: tuple[str, ...], count: int, draw: random.Random) -> Iterator[Case]:
    """Pairs of a config key and a value, each at most once, in random order."""
    composed = make_composer().compose(combination).config
    pairs = [(leaf, value) for leaf in dotted_keys(composed) for value in VALUES]
    draw.shuffle(pairs)
    yield from (Case(combination, f"{leaf}={value}") for leaf, value in pairs[:count])


def make_composer() -> CellComposer:
    """Create a composer, which composes a combination once for all cases."""
    from hydra.core.global_hydra import GlobalHydra

    return CellComposer(GlobalHydra.instance().config_loader(), None)


def check(composer: CellComposer, case: Case) -> None:
    """Compose and check one command line, as `unlearn` does before any work."""
    command = config.CommandLine([*case.combination, case.override], False, None)
    configs, _ = CellChecks(composer, build_grid(command, composer)).run()
    config.check_surroundings(configs)


def run(combination: tuple[str, ...], count: int, seed: int, report: Path) -> None:
    """Run all cases of a combination; the log gets a line before each case starts."""
    from hydra import initialize_config_dir

    with report.open("w") as file, initialize_config_dir(str(config.CONF), version_base="1.3"):
        composer = make_composer()
        for case in cases(combination, count, random.Random(f"{seed} {combination}")):
            print(f"case\t{' '.join((*combination, case.override))!r}", file=file, flush=True)
            if wrong := outcome(partial(check, composer, case), SECONDS):
                print(f"wrong\t{wrong}", file=file, flush=True)


def in_a_child(combination: tuple[str, ...], count: int, seed: int, folder: Path) -> tuple[int, list[str]]:
    """Count the cases, and list the failures."""
    report = folder / "report"
    pid = os.fork()
    if pid == 0:
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 1
        try:
            run(combination, count, seed, report)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    lines = report.read_text().splitlines() if report.exists() else []
    failures, case = list[str](), ""
    for line in lines:
        kind, _, text = line.partition("\t")
        case = text if kind == "case" else case
        failures += [f"{case}: {text}"] if kind == "wrong" else []
    if status:
        failures.append(f"{case or combination}: the process ended with {status}")
    return sum(line.startswith("case") for line in lines), failures


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    config.register()
    done, offenders = 0, list[str]()
    for combination in COMBINATIONS:
        with tempfile.TemporaryDirectory() as folder:
            count, wrong = in_a_child(
                combination, -(-arguments.cases // len(COMBINATIONS)), arguments.seed, Path(folder)
            )
        done, offenders = done + count, offenders + wrong
    print(*offenders, sep="\n", end="\n" * bool(offenders))
    print(f"config: {done} cases, {len(offenders)} offenders (seed {arguments.seed})")
    sys.exit(bool(offenders) or done < arguments.cases)


if __name__ == "__main__":
    main()
