"""Bad command lines get one line that names the key, before anything runs, and never a traceback."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from conftest import Compose

from unlearn import config
from unlearn.cli.arguments import move_flags_first
from unlearn.config import quote_paths
from unlearn.config.environment_checks import check_surroundings
from unlearn.config.preflight import CheckedCommand
from unlearn.core.errors import ConfigError


def checked(*words: str) -> CheckedCommand:
    return config.preflight(config.CommandLine.parse(move_flags_first(quote_paths(list(words)))))


def refused(*words: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check_surroundings(checked(*words).configs)
    return caught.value.problems


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("train.lr=${trian.epochs}", "train.lr: expected a reference to a key of the config (nearest: train.epochs)"),
        ("paths.store=${oc.env:NO_SUCH}", "paths.store: expected an environment variable NO_SUCH, which is not set"),
        (
            "train.lr=${nope:1}",
            "train.lr: expected a reference to a key, or a function that OmegaConf knows, which nope",
        ),
        ("seed=${seed}", "seed: expected a value, which does not refer to itself"),
        ("seed=${oc.env:HOME}", "seed: expected a reference to a value of its type"),
        ("baseline.seeds=${seed}", "baseline.seeds: expected a reference to a list, got '${seed}'"),
        ("baseline=[]", "baseline: expected a value, got none"),
        ("hydra.run.dir=${nope}", "hydra.run.dir: expected a reference that can be resolved"),
        ("metrics.accuracy=3", "metrics.accuracy: expected null or false, which switch it off"),
        ("attacks=null", "attacks: expected one of default"),
        ("spd_gan=false", "spd_gan: expected one of error_minimising, marker, noise, off, pgd, probe (nearest: off)"),
        ("paths.store=''", "paths.store: expected a path, got ''"),
        ("paths.output=' '", "paths.output: expected a path, got ' '"),
        ("train.lr=1e308", "train.lr: expected a number of at most 3.4e+38"),
        ("train.epochs=99999999999999999999", "train.epochs: expected an integer of at most 64 bits"),
        ("model.width=10000000", "model: expected a net that fits into this machine's"),
        ("trainer.devices=1000", "trainer.devices: expected at most"),
        ("paths.store=" + "x" * 300, "paths.store: expected a folder that can be made and written"),
        ("cluster=slurm", "cluster: expected a machine of SLURM's, with sbatch and srun on its PATH"),
        ("objective=unlearned/forget_acuracy", "objective: expected a number of the report"),
        ("experiment=demo", "experiment: expected +experiment=NAME"),
        ("paths.output=${oc.env:HOME", "paths.output: expected a reference that is closed"),
        ("paths.output=${now:%Q}/${", "paths.output: expected a reference that is closed"),
        ("+dataset.root='${'", "+dataset.root: expected a reference that is closed"),
        ("train.lr=${x", "train.lr: expected a reference that is closed, ${KEY} or ${FUNCTION:…}, got '${x'"),
    ],
)
def test_one_line_names_the_key(word: str, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert [line for line in refused(word) if line.startswith(problem)]


NEEDS_BASELINE = "baseline=retrain, or another number, as unlearned/METRIC, got 'baseline.seeds=[]'"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["objective=gap/seconds"], "objective: expected a number of the report"),
        (["objective=noise_floor/speedup"], "objective: expected a number of the report"),
        (["objective=retrained/speedup"], "objective: expected a number of the report"),
        (
            ["baseline=none", "objective=gap/forget_accuracy"],
            f"objective: expected a retrained model for gap/forget_accuracy: {NEEDS_BASELINE}",
        ),
        (
            ["baseline=none", "+sweep=search"],
            f"objective: expected a retrained model for selection/average_gap: {NEEDS_BASELINE}",
        ),
        (
            ["baseline=none", "objective=unlearned/speedup"],
            f"objective: expected a retrained model for unlearned/speedup: {NEEDS_BASELINE}",
        ),
        (
            ["baseline.seeds=[3]", "objective=noise_floor/forget_accuracy"],
            "objective: expected two or more baseline.seeds for noise_floor/forget_accuracy, got 'baseline.seeds=[3]'",
        ),
        (
            ["objective=selection/average_noise_floor", "attacks=[default,selection]"],
            "objective: expected two or more baseline.seeds for selection/average_noise_floor",
        ),
        (["objective=fresh/recovery_accuracy"], "objective: expected"),
        (["objective=shadow/forget_accuracy"], "objective: expected a number of the report"),
    ],
)
def test_an_objective_that_the_run_does_not_measure_is_refused(words: list[str], problem: str) -> None:
    metrics = ["metrics=without_baseline"] if "baseline=none" in words else []
    assert [line for line in refused(*words, *metrics) if problem in line]


@pytest.mark.parametrize(
    "words",
    [
        ["objective=unlearned/seconds", "baseline=none", "metrics=without_baseline"],
        ["objective=unlearned/speedup"],
        ["objective=retrained/seconds"],
        ["objective=gap/forget_accuracy"],
        ["objective=noise_floor/forget_accuracy", "baseline.seeds=[0,1]"],
        ["+sweep=search"],
    ],
)
def test_an_objective_that_the_run_measures_is_accepted(words: list[str]) -> None:
    assert checked(*words).configs


def test_without_a_gpu_a_run_on_one_is_refused_before_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert refused("trainer=gpu") == ["trainer.accelerator: expected a CUDA device, got none; use trainer=cpu"]


@pytest.mark.parametrize("off", ["null", "false"])
def test_metrics_and_attacks_can_be_switched_off(off: str) -> None:
    (run,) = checked(f"metrics.accuracy={off}", f"attacks.logistic={off}").configs
    assert "accuracy" not in run.metrics
    assert "logistic" not in run.attacks
    assert "loss" in run.metrics


def test_the_reported_config_lacks_metrics_that_are_switched_off(composed: Compose) -> None:
    assert "accuracy" not in config.to_plain_dict(composed("metrics.accuracy=null"))["metrics"]


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        (
            "strategy=glob(topk*)",
            "strategy: expected at least one value, got 'glob(topk*)', which has none (nearest: top_k)",
        ),
        ("seed=range(0,0)", "seed: expected at least one value, got 'range(0,0)', which has none"),
        ("seed=range(0,1000000000)", "-m: expected at most 10,000 cells, got 1,000,000,000 (1,000,000,000 of seed)"),
        ("seed=range(0,9,0)", "seed: expected a range with finite ends and a step other than 0, got 'range(0,9,0)'"),
        ("seed=shuffle(1,2)", "seed: expected an order that repeats, got shuffle(…): Hydra draws a new one each time"),
    ],
)
def test_an_empty_or_too_large_grid_is_refused(word: str, problem: str) -> None:
    assert refused("-m", word) == [problem]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (
            ["-m", "strategy.k=interval(0,1)"],
            "strategy.k: expected values, as 1,2,3, or a search with +sweep=study, which draws them, "
            "got 'interval(0,1)'",
        ),
        (
            ["+sweep=study", "strategy.k=interval(1,0)"],
            "strategy.k: expected interval(LOW,HIGH) of finite numbers, LOW at most HIGH, got 'interval(1,0)'",
        ),
        (
            ["+sweep=study", "strategy.k=tag(log, interval(0,1))"],
            "strategy.k: expected an interval above 0 with tag log, got 'tag(log, interval(0,1))'",
        ),
        (["+sweep=search", "hydra.sweeper.n_jobs=0"], "hydra.sweeper.n_jobs: expected an integer >= 1, got 0"),
        (
            ["+sweep=search", "hydra.sweeper.direction=up"],
            "hydra.sweeper.direction: expected minimize or maximize, got 'up'",
        ),
    ],
)
def test_bad_intervals_and_settings_of_a_search_are_refused(words: list[str], problem: str) -> None:
    assert refused("strategy=top_k", *words) == [problem]


@pytest.mark.parametrize(
    ("words", "got"),
    [
        (["seed=1,2", "hydra.sweep.subdir=x"], "x for cells 0 and 1"),
        (["seed=1,2", "strategy.k=0.1,0.2", "hydra.sweep.subdir=k/../${strategy.k}"], "0.1 for cells 0 and 2"),
        (["+sweep=search", "hydra.sweep.subdir=x"], "x for cells 0 and 1"),
        (["+sweep=study", "hydra.sweep.subdir=x"], "x for cells 0 and 1"),
    ],
)
def test_no_two_cells_share_a_folder(words: list[str], got: str) -> None:
    expected = "hydra.sweep.subdir: expected a folder of its own for each cell, as ${hydra.job.num}"
    assert refused("-m", "strategy=top_k", *words) == [f"{expected}, got {got!r}"]


@pytest.mark.parametrize(
    "words",
    [
        ["seed=1", "hydra.sweep.subdir=x"],
        ["seed=1,2", "hydra.sweep.subdir=a${seed}"],
        ["seed=1,2", "hydra.sweep.subdir=${hydra.job.override_dirname}"],
        ["+sweep=search", "hydra.sweep.subdir=trial${hydra.job.num}"],
    ],
)
def test_cells_with_distinct_folders_are_accepted(words: list[str]) -> None:
    assert checked("-m", "strategy=top_k", *words).configs


def test_a_job_name_must_be_a_file_name() -> None:
    (line,) = refused("hydra.job.name=a/b")
    assert line == "hydra.job.name: expected a file name, without folders, of up to 250 bytes, got 'a/b'"


def test_a_users_primary_config_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 3\n")
    (line,) = refused("--config-dir", str(tmp_path))
    assert line.startswith("--config-dir: expected options in folders of their groups, as experiment/NAME.yaml")
    assert f"{tmp_path}/config.yaml, which no run reads" in line


def test_a_second_folder_of_options_is_refused(tmp_path: Path) -> None:
    (line,) = refused("--config-dir", str(tmp_path), f"--config-dir={tmp_path}")
    assert line == "--config-dir: expected one folder, got 2, of which only the last is read"


def test_cells_are_counted_over_all_axes() -> None:
    (line,) = refused("-m", "seed=range(0,200)", "train.epochs=range(1,101)")
    assert line == "-m: expected at most 10,000 cells, got 20,000 (200 of seed × 100 of train.epochs)"


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("--seed=1", "--seed=1: expected a setting without dashes: seed=1"),
        ("train.lr=0.1 seed=1", "train.lr: expected one setting in a word"),
        ("train.lr=a=b", "train.lr: expected a value that Hydra can read, got 'a=b'; in quotes it is a text: "),
        ("foo", "override: expected key=value, got 'foo'"),
        ("k=0.1", "k: expected a key of the config (nearest: strategy.k)"),
        ("strategy.epochs=3", "strategy.epochs: expected a key of the config (nearest: strategy.recipe.epochs)"),
        ("dataset.root=x", "dataset.root: expected a key of the config, which dataset="),
    ],
)
def test_a_bad_word_is_listed_with_a_suggestion(word: str, problem: str) -> None:
    assert refused("strategy=top_k", word)[0].startswith(problem)


@pytest.mark.parametrize(
    "place", ["a=b", "a b", "a(b)", "[x]", "{x", "'x", "1e3", "it's", "back\\slash", "ends\\", "ü,"]
)
def test_a_path_with_special_characters_is_kept(place: str) -> None:
    if "," in place:  # else it would be a sweep
        place = place.replace(",", "")
    (run,) = checked(f"paths.output={place}").configs
    assert run.paths.output == place


def test_a_tilde_expands_to_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/jane")
    assert quote_paths(["paths.store=~/store", "checkpoint=~/a.pt"]) == [
        "paths.store=/home/jane/store",
        "checkpoint=file",
        "checkpoint.file=/home/jane/a.pt",
    ]


HEADER = "# @package _global_\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (HEADER + "train: [1,\n", "expected YAML"),
        (HEADER + "train:\n  lr: 0.1\n  lr: 0.2\n", "found duplicate key lr"),
        (HEADER + "defaults:\n  - mine\n", "expected defaults that end"),
        (HEADER + "train: &a\n  x: *a\n", "expected values that end"),
        (
            HEADER + "".join(f"k{n}: &k{n} [{', '.join([f'*k{n - 1}' if n else '1'] * 9)}]\n" for n in range(9)),
            "that end",
        ),
        (HEADER + "train:\n  lrr: 1\n", "train.lrr: expected a key of Recipe"),
        (HEADER + "train:\n  lr: abc\n", "train.lr: Value 'abc'"),
        ("train:\n  lr: 0.1\n", "expected '# @package _global_' as its first line"),
        ("- 1\n", "expected keys with values, got a list"),
    ],
)
def test_a_bad_user_file_is_listed_with_its_problem(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    (line,) = refused(f"--config-dir={tmp_path}", "+experiment=mine")
    assert problem in line
    assert "mine" in line


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("010", "got 010 on line 3, which is read in base 8"),
        ("-0_17", "got -0_17 on line 3, which is read in base 8"),
        ("1:30", "got 1:30 on line 3, which is read in base 60"),
        ("[1, 2:03.5]", "got 2:03.5 on line 3, which is read in base 60"),
    ],
)
def test_a_number_that_yaml_reads_in_another_base_is_refused(value: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(f"{HEADER}train:\n  epochs: {value}\n")
    (line,) = refused(f"--config-dir={tmp_path}", "+experiment=mine")
    assert line == (f"--config-dir: experiment/mine.yaml: expected a number in base 10, or text in quotes, {problem}")


@pytest.mark.parametrize("value", ["10", "0x0A", "1_0", "0"])
def test_a_number_in_an_explicit_or_usual_form_is_read(value: str, tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(f"{HEADER}seed: {value}\nstrategy: {{}}\n# 010\n")
    (run,) = checked(f"--config-dir={tmp_path}", "+experiment=mine").configs
    assert run.seed == int(value, 0)


def test_a_pipe_and_a_link_to_itself_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    os.mkfifo(tmp_path / "experiment" / "pipe.yaml")
    (tmp_path / "experiment" / "self.yaml").symlink_to("self.yaml")
    pipe, link = refused("+experiment=demo", "--config-dir", str(tmp_path))
    assert "experiment/pipe.yaml: expected a file of YAML" in pipe
    assert "experiment/self.yaml: expected a file that can be read" in link


def test_a_file_with_the_suffix_yml_is_suggested_for_renaming(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yml").write_text(HEADER)
    (line,) = refused("--config-dir", str(tmp_path), "+experiment=mine")
    assert "rename mine.yml to mine.yaml" in line


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_folder_without_write_access_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    assert refused(f"paths.output={tmp_path}/out")[0].startswith("paths.output: expected a folder that can be made")
