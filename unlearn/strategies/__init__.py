"""The strategies, one file each. `unlearn.strategies()` lists them."""

from unlearn.core.plugins import make_callable

make_callable(__name__, base="unlearn.strategies.base:Strategy")
