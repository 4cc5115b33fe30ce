"""The text that `unlearn --help` prints."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

HELP = """\
unlearn: make a trained image classifier forget some of its training data, and measure whether it did.

  unlearn                                          the main job on the bundled digits
  unlearn dataset=mnist dataset.root=DIR strategy=top_k strategy.k=0.01 seed=1
  unlearn checkpoint=model.pt checkpoint.trained_on=all model=torchvision model.name=resnet18 \\
          dataset=image_folder dataset.root=DIR forget=indices forget.file=request.txt     your model, your images
  unlearn -m strategy=random_k,top_k strategy.k=0.001,0.01,0.1 seed=0,1,2     a grid
  unlearn -m ... until=baseline                    only the stages that the cells of a grid share
  unlearn +experiment=demo                         a prepared experiment
  unlearn --cfg job strategy=top_k                 every key with its value
  unlearn help strategy=top_k                      each setting with its meaning, default and valid values

Every setting is an override: key=value. Groups and their options:

{groups}

  unlearn-report DIR...   one report over any number of runs and sweeps
  unlearn-store ls        the artifacts in the store; also show, why, verify, export, gc, purge
  unlearn-data            how a data set numbers its classes and records
  unlearn-audit verify F  checks a run's audit record (report.audit=true)
  unlearn-ledger          the list of the requests that were answered: add, note, list, verify

  --config-dir DIR   more options from your own folder      --hydra-help   the rest of Hydra's flags
Results: report.json and report.html in paths.output; artifacts, built once, in paths.store.
"""


PACKAGE = Path(__file__).resolve().parents[1]
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"  # in a wheel; in the repository


def help_text() -> str:
    """Return the text of `--help`, with the groups and options in `conf/`."""
    options: dict[str, list[str]] = {}
    for group, name, _ in option_files(CONF):
        options.setdefault(group, []).append(name)
    with_plus = {"experiment", "preset", "sweep"}
    lines = [f"  {'+' * (group in with_plus)}{group}: {', '.join(names)}" for group, names in options.items()]
    return HELP.format(groups="\n".join(lines))


def option_files(conf: Path) -> Iterator[tuple[str, str, Path]]:
    """Yield the group, the name and the file of every option in a folder like `conf/`."""
    for path in sorted(conf.glob("*/**/*.yaml")):
        group, name = path.parent.relative_to(conf), path.stem
        if len(group.parts) > 1 and not _has_schema(path.parent, group):
            group, name = group.parent, f"{group.name}/{name}"  # options in a subfolder of their group
        yield group.as_posix(), name, path


@cache
def _has_schema(folder: Path, group: Path) -> bool:
    """Whether a subfolder is a group itself: one of its options names the schema of the group."""
    schema = f"/schema/{group.as_posix()}/"
    return any(schema in path.read_text(encoding="utf-8") for path in folder.glob("*.yaml"))
