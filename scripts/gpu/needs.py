"""What is missing of what the GPU table needs: prints `package==version` of each, as requirements.lock pins them.

    python scripts/gpu/needs.py

It imports nothing but the standard library. Torch and torchvision must be there, built for the GPU.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"
PACKAGES = (  # with what they need themselves
    *("torch", "torchvision", "numpy", "scipy", "scikit-learn", "joblib", "threadpoolctl", "pillow", "torchmetrics"),
    *("pytorch-lightning", "lightning-utilities", "fsspec", "packaging", "tqdm", "typing-extensions", "filelock"),
    *("hydra-core", "omegaconf", "antlr4-python3-runtime", "pyyaml", "safetensors", "jinja2", "markupsafe"),
    *("rich", "markdown-it-py", "mdurl", "pygments"),
)
MODULES = {  # where a package's is not called like it
    "antlr4-python3-runtime": "antlr4",
    "hydra-core": "hydra",
    "markdown-it-py": "markdown_it",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
}


def main() -> None:
    """One a line."""
    pins = dict(re.findall(r"^([a-z0-9_.-]+)==([^\s;\\]+)", LOCK.read_text(), flags=re.MULTILINE))
    for package in PACKAGES:
        if find_spec(MODULES.get(package, package.replace("-", "_"))) is None:
            print(f"{package}=={pins[package]}" if package in pins else package)


if __name__ == "__main__":
    main()
