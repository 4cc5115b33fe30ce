"""The metrics, one file each. `unlearn.metrics()` lists them."""

from unlearn.core.plugins import make_callable

make_callable(__name__, base="unlearn.metrics.evidence:Metric")
