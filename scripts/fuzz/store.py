"""Damage stores and read them with all commands: no traceback, no hang, no damage without a message.

    python scripts/fuzz/store.py [--count 600] [--seed 0]

Each case damages a copy of a small store (bytes, files, links, pipes, fields of `meta.json` with and without a new
digest), reads every artifact as a run does, runs `unlearn-store` ls, show, verify, gc and why, and rebuilds. A case
fails if an exception other than `UnlearnError` is raised, if it takes longer than LIMIT, if an edited artifact is read
without a message, or if verify and rebuilding disagree. Exit status 1: a case failed.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import traceback
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hydra import compose, initialize_config_dir

from unlearn import config
from unlearn.cli import store as command
from unlearn.cli.lines import describe_answers
from unlearn.core.artifact_meta import META, add_digest, spec_key
from unlearn.core.artifact_store import ArtifactStore
from unlearn.core.errors import UnlearnError
from unlearn.core.progress import Console
from unlearn.inventory.catalogue import Catalogue
from unlearn.inventory.removals import read_removals
from unlearn.inventory.verify import find_problems
from unlearn.inventory.why import explain_stages, list_stages
from unlearn.pipeline import plan as pipeline
from unlearn.pipeline.config import RunConfig
from unlearn.stages.base import BuildContext, Stage
from unlearn.stages.files import read_tensors

LIMIT = 60  # seconds a case
SMALL = ["dataset.limit=200", "model=mlp", "train.epochs=1", "spd_gan=off", "metrics=spd_gan_off", "attacks=none"]
SMALL += ["strategy=random_k", "baseline.seeds=[0]"]
HOSTILE: list[Any] = [None, True, -1, 0, 1.5, 1e308, float("inf"), float("nan"), 10**400, 2**63, "", "x", "a" * 10_000]
HOSTILE += ["\x1b[2J\x07", "\ud800", "../../../etc/passwd", "\0", [], {}, [[]], {"stage": 5}, {"stage": [1]}]
HOSTILE += [{"class": None}, {"bytes": -1, "sha256": "x"}]


@dataclass(frozen=True)
class Base:
    """The undamaged store, and the run that filled it."""

    root: Path
    run: RunConfig
    stages: list[Stage]


def main() -> None:
    """Entry point."""
    parser = ArgumentParser("store", description=__doc__)
    parser.add_argument("--count", type=int, default=600, help="cases (default: 600)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        base, names = _base(Path(folder, "base")), sorted(DAMAGES)
        for number in range(arguments.count):
            draw, name = random.Random(f"{arguments.seed}/{number}"), names[number % len(names)]
            root = Path(shutil.copytree(base.root, Path(folder, "store"), symlinks=True))
            failure = _case(base, root, name, draw)
            counts["failed" if failure else "passed"] += 1
            if failure:
                print(f"case {number} ({name}): {failure}", flush=True)
            shutil.rmtree(root)
    print(f"{arguments.count} forged stores: {counts['passed']} passed, {counts['failed']} failed")
    sys.exit(int(counts["failed"] > 0))


def _base(root: Path) -> Base:
    config.register()
    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        run = config.instantiate(compose("config", SMALL))
    pipeline.run(run, BuildContext(ArtifactStore(root), run.trainer, Console(io.StringIO())))
    return Base(root, run, list_stages([run]))


def _case(base: Base, root: Path, name: str, draw: random.Random) -> str:
    """Run one case; returns its failure, or an empty text."""

    def ring(*_: object) -> None:
        raise TimeoutError(f"longer than {LIMIT} s")

    old = signal.signal(signal.SIGALRM, ring)
    signal.alarm(LIMIT)
    try:
        edited = DAMAGES[name](root, draw)
        return "; ".join(_complaints(base, root, edited))
    except (Exception, RecursionError):
        return traceback.format_exc()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)


def _complaints(base: Base, root: Path, edited: list[Path]) -> Iterator[str]:
    unread = {stage.key for stage in base.stages if not _reads(ArtifactStore(root), stage)}
    yield from (f"{path} was read without a message" for path in edited if path.name not in unread)
    for words in (
        ["ls"],
        ["ls", "--json"],
        ["verify"],
        ["gc", "--older-than", "0", "--keep-kind", "train", "--dry-run"],
    ):
        yield from _tool(root, *words)
    for path in edited[:1]:
        yield from _tool(root, "show", path.name)
    with contextlib.suppress(UnlearnError):
        catalogue = Catalogue.read(root)
        list(describe_answers(explain_stages(catalogue, base.stages, read_removals(root))))
        yield from _disagreements(base, root, catalogue)


def _reads(store: ArtifactStore, stage: Stage) -> bool:
    """Whether an artifact exists and a run can read all of its files."""
    try:
        entry = store.lookup(stage.kind, stage.key)
        for name in entry.meta["files"] if entry else ():
            _ = entry.json(name) if name.endswith(".json") else read_tensors(entry, name)  # type: ignore[union-attr]
    except UnlearnError:
        return False
    return entry is not None and entry.seconds >= 0


def _disagreements(base: Base, root: Path, catalogue: Catalogue) -> Iterator[str]:
    """Yield artifacts that verify reports as damaged and rebuilding keeps, or the other way round."""
    store = ArtifactStore(root, rebuild_damaged=True)
    for stage in base.stages:
        item = catalogue.items.get(stage.key)
        if item is None or item.kind != stage.kind:
            continue
        damaged = bool(find_problems(item))
        try:
            kept = store.lookup(stage.kind, stage.key) is not None
        except UnlearnError:
            continue
        if kept == damaged:
            yield f"{stage.kind} {stage.key[:12]}: verify finds {'damage' if damaged else 'none'}, rebuilding disagrees"


def _tool(root: Path, *words: str) -> Iterator[str]:
    out, err, argv = (
        io.TextIOWrapper(io.BytesIO(), "utf-8"),
        io.StringIO(),
        ["unlearn-store", "--store", str(root), *words],
    )
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), patch.object(sys, "argv", argv):
        try:
            command.main()
        except SystemExit as ended:
            status = ended.code
    out.flush()
    if status not in (0, 1, 2) or "Traceback" in err.getvalue():
        yield f"{words}: exit status {status}: {err.getvalue()[-300:]}"
    if b"\x1b" in out.buffer.getvalue():
        yield f"{words}: an escape sequence of a forged text reached the terminal"


# Damages: each changes the store and returns the folders of artifacts that must be refused.


def _folders(root: Path) -> list[Path]:
    return sorted(path.parent for path in root.glob(f"*/*/{META}"))


def _file(root: Path, draw: random.Random) -> Path:
    return draw.choice(sorted(path for folder in _folders(root) for path in folder.iterdir()))


def _flip(root: Path, draw: random.Random) -> list[Path]:
    path = _file(root, draw)
    content = bytearray(path.read_bytes())
    before, place = _meaning(path), draw.randrange(len(content))
    content[place] ^= 1 << draw.randrange(8)
    path.write_bytes(content)
    return [path.parent] if _meaning(path) != before else []  # an additional space changes nothing


def _meaning(path: Path) -> Any:
    """The content of a file; for `meta.json` the values, without the digest, which older versions did not write."""
    if path.name != META:
        return path.read_bytes()
    try:
        return {name: value for name, value in json.loads(path.read_bytes()).items() if "igest" not in name}
    except (ValueError, AttributeError):
        return None


def _cut(root: Path, draw: random.Random) -> list[Path]:
    path = _file(root, draw)
    content = path.read_bytes()
    path.write_bytes(content[: draw.randrange(len(content) - 1)])
    return [path.parent]


def _remove(root: Path, draw: random.Random) -> list[Path]:
    path = _file(root, draw)
    path.unlink()
    return [path.parent]


def _replace(root: Path, draw: random.Random) -> list[Path]:
    """Replace a file or an artifact by a folder, a pipe, an empty file or a link."""
    path = _file(root, draw)
    folder = path.parent
    target = draw.choice([path, folder])
    shutil.rmtree(target) if target == folder else target.unlink()
    made: list[Callable[[], object]] = [target.mkdir, lambda: os.mkfifo(target), target.touch]
    made += [lambda where=where: target.symlink_to(where) for where in (target, "nowhere", "/dev/zero", root, "..")]
    draw.choice(made)()
    return [folder]


def _swap_folders(root: Path, draw: random.Random) -> list[Path]:
    one, other = draw.sample(_folders(root), 2)
    aside = root / "aside"
    for old, new in ((one, aside), (other, one), (aside, other)):
        old.rename(new)
    return [one, other]


def _swap_files(root: Path, draw: random.Random) -> list[Path]:
    one, other = _file(root, draw), _file(root, draw)
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    return [one.parent, other.parent] if first != second else []


def _copy_to_another_kind(root: Path, draw: random.Random) -> list[Path]:
    folder, other = draw.choice(_folders(root)), draw.choice(_folders(root)).parent
    if other != folder.parent:
        shutil.copytree(folder, other / folder.name)
    return []


def _edit(root: Path, draw: random.Random) -> list[Path]:
    """Change one value of a `meta.json`, with the old digest."""
    return _edited(draw.choice(_folders(root)), draw, with_digest=False)


def _edit_and_seal(root: Path, draw: random.Random) -> list[Path]:
    """Change one value with a new digest: it must not crash, though it need not be detected."""
    _edited(draw.choice(_folders(root)), draw, with_digest=True)
    return []


def _forge(root: Path, draw: random.Random) -> list[Path]:
    """Change the spec and the key to match."""
    folder = draw.choice(_folders(root))
    meta = json.loads((folder / META).read_text())
    _put(meta["spec"], draw)
    key = spec_key(meta["spec"])
    target = folder.rename(folder.with_name(key)) if not folder.with_name(key).exists() else folder
    (target / META).write_text(json.dumps(add_digest(meta | {"key": target.name})))
    return []


def _edited(folder: Path, draw: random.Random, with_digest: bool) -> list[Path]:
    path = folder / META
    meta = json.loads(path.read_text())
    before = json.dumps(meta, sort_keys=True)
    _put(meta, draw)
    same = json.dumps(meta, sort_keys=True) == before
    path.write_text(json.dumps(add_digest(meta) if with_digest else meta))
    return [] if same else [folder]


def _put(value: dict[str, Any], draw: random.Random) -> None:
    """Put a hostile value in a random position, at any depth, except the digest."""
    places: list[tuple[Any, Any]] = []
    todo: list[Any] = [value]
    while todo:
        node = todo.pop()
        for name, item in node.items() if isinstance(node, dict) else enumerate(node):
            if name != "digest":
                places.append((node, name))
            if isinstance(item, dict | list):
                todo.append(item)
    node, name = draw.choice(places)
    node[name] = draw.choice(HOSTILE)


def _whole_meta(root: Path, draw: random.Random) -> list[Path]:
    """Replace the whole `meta.json`."""
    folder = draw.choice(_folders(root))
    text = (folder / META).read_text()
    others = [b"", b"null", b"[]", b"{}", b"[" * 100_000, b'{"a":' * 5_000, b"\xff\xfe", b"1" * 10_000, b"NaN"]
    others += [("{" + '"seconds": 1, ' * draw.randrange(1, 9) + text[1:]).encode()[:-1], b"\0" * 100]
    (folder / META).write_bytes(draw.choice(others))
    return [folder]


def _around(root: Path, draw: random.Random) -> list[Path]:
    """Damage files next to the artifacts."""
    place = root / draw.choice(
        ["pins/x.txt", "removals/x.json", "locks/x.lock", "building/x", "partial/x", "\x1b[2J/x"]
    )
    place.parent.mkdir(exist_ok=True)
    texts = [
        b"",
        b"{}",
        b"[" * 100_000,
        b'{"removed": 5}',
        b'{"removed": [{"key": []}], "time": "x", "by": 1}',
        b"\xff",
    ]
    made: list[Callable[[], object]] = [lambda text=text: place.write_bytes(text) for text in texts]
    made += [place.mkdir, lambda: os.mkfifo(place), lambda: place.symlink_to(place)]
    draw.choice(made)()
    return []


DAMAGES: dict[str, Callable[[Path, random.Random], list[Path]]] = {
    damage.__name__[1:]: damage
    for damage in (_flip, _cut, _remove, _replace, _swap_folders, _swap_files, _copy_to_another_kind)
} | {damage.__name__[1:]: damage for damage in (_edit, _edit_and_seal, _forge, _whole_meta, _around)}


if __name__ == "__main__":
    main()
