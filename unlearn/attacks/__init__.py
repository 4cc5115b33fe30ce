"""The attacks, one file each. `unlearn.attacks()` lists them."""

from unlearn.core.plugins import make_callable

make_callable(__name__, base="unlearn.metrics.evidence:Metric")
