"""Send a report to W&B: as an artifact, and as tables of images and predictions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from unlearn.pipeline.config import RunConfig
from unlearn.pipeline.plan import Outcome
from unlearn.report.inversion import recovery
from unlearn.report.page import render
from unlearn.report.pictures import examples
from unlearn.report.write import write, write_text
from unlearn.tracking.sample import sample_predictions
from unlearn.tracking.wandb_client import import_wandb


def log_report(run: Any, report: dict[str, Any], config: RunConfig, outcome: Outcome, folder: Path) -> None:
    """Log the report as an artifact.

    Its page is rendered again in `folder`: the pictures of the user's own page may be private.
    """
    artifact = import_wandb().Artifact(f"report-{run.id}", type="report")
    page = write_text(render(report, examples(config, outcome), recovery(config, outcome)), folder / "report.html")
    for path in (write(report, folder), page):
        artifact.add_file(str(path), policy="immutable", skip_cache=True)
    run.log_artifact(artifact)


def build_tables(config: RunConfig, outcome: Outcome) -> dict[str, Any]:
    """Return tables of images that SPD-GAN changed, of recovered images, and of predictions, if there are any."""
    table = import_wandb().Table
    rows = list(sample_predictions(outcome))
    tables = {"predictions": build_table(rows)} if rows else {}
    changed = examples(config, outcome)
    data = [
        [
            name,
            example.index,
            example.label,
            *map(_image, (example.clean, example.moved, example.change)),
            changed.caption,
        ]
        for name, subset in (("forget", changed.shown), ("holdout", changed.control))
        for example in subset
    ]
    if data:
        columns = ["subset", "index", "label", "x", "x'", f"x' - x, times {changed.factor:.1f}", "moved by"]
        tables["spd_gan"] = table(columns=columns, data=data)
    if recovered := recovery(config, outcome).shown:
        data = [[picture.name, picture.numbers, _image(picture.image)] for picture in recovered]
        tables["recovery"] = table(columns=["name", "numbers", "image"], data=data)
    return tables


def build_table(rows: Iterable[Mapping[str, Any]]) -> Any:
    """Build a W&B table from at least one row; all rows have the same columns."""
    rows = list(rows)
    return import_wandb().Table(columns=list(rows[0]), data=[list(row.values()) for row in rows])


def _image(uri: str) -> Any:
    """Convert a data URI to a W&B image."""
    import base64
    import io

    from PIL import Image

    return import_wandb().Image(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))
