"""What is missing of what the GPU table needs: prints `package==version` of each, as requirements.lock pins them.

    python scripts/gpu/needs.py

It imports nothing but the standard library. Torch and torchvision must be there, built for the GPU.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"
NEEDS = {  # module: package, with what they need themselves
    **{
        name: name
        for name in ("torch", "torchvision", "numpy", "scipy", "joblib", "threadpoolctl", "packaging", "tqdm")
    },
    **{
        name: name
        for name in ("omegaconf", "safetensors", "filelock", "rich", "jinja2", "markupsafe", "mdurl", "pygments")
    },
    **{name: name for name in ("fsspec", "torchmetrics")},
    "PIL": "pillow",
    "antlr4": "antlr4-python3-runtime",
    "hydra": "hydra-core",
    "lightning_utilities": "lightning-utilities",
    "markdown_it": "markdown-it-py",
    "pytorch_lightning": "pytorch-lightning",
    "sklearn": "scikit-learn",
    "typing_extensions": "typing-extensions",
    "yaml": "pyyaml",
}


def main() -> None:
    """One a line."""
    pins = dict(re.findall(r"^([a-z0-9_.-]+)==([^\s;\\]+)", LOCK.read_text(), flags=re.MULTILINE))
    for module, package in NEEDS.items():
        if find_spec(module) is None:
            print(f"{package}=={pins[package]}" if package in pins else package)


if __name__ == "__main__":
    main()
