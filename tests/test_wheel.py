"""The wheel is complete: it runs where the checkout cannot be imported."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = sysconfig.get_path("purelib")
TOY = ["dataset.limit=400", "train.epochs=1", "spd_gan.steps=3", "strategy.recipe.epochs=1"]
TOY += ["attacks.logistic.bootstrap=100"]
pytestmark = pytest.mark.slow


def python(*arguments: str | Path, path: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run Python without `site`, so that it reads no .pth file and finds no editable install."""
    command = [sys.executable, "-S", *map(str, arguments)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | {"PYTHONPATH": path}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=500, check=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    subprocess.run([*install, "--no-deps", "--target", str(target), str(wheel)], check=True, timeout=120)
    return target


def test_the_wheel_has_every_file_of_the_package_and_no_other(wheel: Path) -> None:
    files = (path for folder in ("unlearn", "conf") for path in (ROOT / folder).rglob("*") if path.is_file())
    sources = {path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts}
    expected = {name if name.startswith("unlearn/") else f"unlearn/{name}" for name in sources}
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == expected
    assert {"unlearn/report/page.html.j2", "unlearn/conf/config.yaml", "unlearn/py.typed"} <= packed


def test_the_checkout_cannot_be_imported(installed: Path, tmp_path: Path) -> None:
    where = "import unlearn; print(unlearn.__file__)"
    assert "ModuleNotFoundError" in python("-c", where, path=PACKAGES, cwd=tmp_path).stderr
    shown = python("-c", where, path=f"{installed}{os.pathsep}{PACKAGES}", cwd=tmp_path).stdout
    assert Path(shown.strip()).is_relative_to(installed)


def test_the_installed_command_prints_its_help_and_runs(installed: Path, tmp_path: Path) -> None:
    script, path = installed / "bin" / "unlearn", f"{installed}{os.pathsep}{PACKAGES}"
    help_text = python(script, "--help", path=path, cwd=tmp_path).stdout
    assert all(word in help_text for word in ("strategy: ", "top_k", "+experiment: ", "demo"))
    done = python(script, *TOY, "paths.output=out", path=path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["versions"]["commit"] == "unknown"  # not that of a checkout somewhere
    assert "</html>" in (tmp_path / "out" / "report.html").read_text()
    assert str(ROOT) not in json.dumps(report) + done.stdout + done.stderr


def test_the_wheel_declares_all_its_dependencies(wheel: Path, tmp_path: Path) -> None:
    """In a new environment with only the wheel and its declared dependencies, at the pinned versions."""
    uv = Path(sys.executable).with_name("uv")
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [line.rstrip(" \\") for line in lines if "==" in line and not line.startswith((" ", "#"))]
    (tmp_path / "pins.txt").write_text("\n".join(pins))
    clean = tmp_path / "clean"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, clean], check=True, timeout=120)
    install = [uv, "pip", "install", "--quiet", "--python", clean / "bin" / "python", "-c", tmp_path / "pins.txt"]
    subprocess.run([*install, wheel], check=True, timeout=600)
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    (tmp_path / "elsewhere").mkdir()
    done = subprocess.run(
        [clean / "bin" / "unlearn", *TOY, "paths.output=out"],
        cwd=tmp_path / "elsewhere",
        env=env,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "elsewhere" / "out" / "report.json").read_text())
    assert report["versions"]["commit"] == "unknown"  # it is in no checkout
    assert (tmp_path / "elsewhere" / "out" / "report.html").is_file()
    shutil.rmtree(clean)  # gigabytes
