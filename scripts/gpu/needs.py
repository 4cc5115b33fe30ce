"""Lists the packages that the GPU table needs and that are missing, as `package==version` from requirements.lock.

    python scripts/gpu/needs.py

It imports only the standard library. Torch and torchvision must be installed, built for the GPU.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"
PACKAGES = (  # with their own requirements
    *("torch", "torchvision", "numpy", "scipy", "scikit-learn", "joblib", "threadpoolctl", "pillow", "torchmetrics"),
    *("pytorch-lightning", "lightning-utilities", "fsspec", "packaging", "tqdm", "typing-extensions", "filelock"),
    *("hydra-core", "omegaconf", "antlr4-python3-runtime", "pyyaml", "safetensors", "jinja2", "markupsafe"),
    *("rich", "markdown-it-py", "mdurl", "pygments"),
)
MODULES = {  # of packages with another name than their module
    "antlr4-python3-runtime": "antlr4",
    "hydra-core": "hydra",
    "markdown-it-py": "markdown_it",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
}


def main() -> None:
    """Print one package per line."""
    pins = dict(re.findall(r"^([a-z0-9_.-]+)==([^\s;\\]+)", LOCK.read_text(), flags=re.MULTILINE))
    for package in PACKAGES:
        if find_spec(MODULES.get(package, package.replace("-", "_"))) is None:
            print(f"{package}=={pins[package]}" if package in pins else package)


if __name__ == "__main__":
    main()
