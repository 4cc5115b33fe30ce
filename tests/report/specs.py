"""Reads the specifications of charts: whether Vega-Lite takes them, and what is in them."""

from __future__ import annotations

import importlib.util
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

Spec = dict[str, Any]


@cache
def _schema() -> Any:
    """The schema of Vega-Lite as Altair ships it; to import Altair would take seconds."""
    found = importlib.util.find_spec("altair")
    assert found is not None
    assert found.origin is not None
    schema = json.loads((Path(found.origin).parent / "vegalite/v6/schema/vega-lite-schema.json").read_text())
    return jsonschema.validators.validator_for(schema)(schema)


def check(spec: Spec) -> Spec:
    """Assert that a spec follows the schema, describes itself, is as wide as the page and has texts for tooltips."""
    copy = json.loads(json.dumps(spec, allow_nan=False))
    copy["config"]["legend"].pop("layout")  # Vega takes it, the schema of Vega-Lite does not list its fields
    error = jsonschema.exceptions.best_match(_schema().iter_errors(copy))
    assert error is None, error
    assert spec["description"]
    assert spec["width"] == "container"
    tips = [(layer, field) for layer in spec["layer"] for field in layer["encoding"].get("tooltip", [])]
    assert tips
    for layer, tip in tips:
        assert all(tip["field"] in row for row in layer["data"]["values"]), tip
    return spec


def layers(spec: Spec, mark: str) -> list[Spec]:
    """The layers of one kind of mark."""
    return [
        each
        for each in spec["layer"]
        if mark == (each["mark"] if isinstance(each["mark"], str) else each["mark"]["type"])
    ]


def rows(layer: Spec) -> list[Spec]:
    """The data of a layer."""
    values: list[Spec] = layer["data"]["values"]
    return values


def ends(spec: Spec, axis: str) -> list[float]:
    """The domain that all layers share along an axis."""
    domains = [
        layer["encoding"][axis]["scale"]["domain"]
        for layer in spec["layer"]
        if "scale" in layer["encoding"].get(axis, {})
    ]
    assert all(domain == domains[0] for domain in domains)
    found: list[float] = domains[0]
    return found


def on_page(page: str) -> list[Spec]:
    """The specs of a page, in order."""
    scripts = re.findall(r'<div class="chart"><script type="application/json">(.*?)</script>', page, flags=re.DOTALL)
    return [json.loads(script) for script in scripts]
