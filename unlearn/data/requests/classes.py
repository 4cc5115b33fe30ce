"""Resolves the number or the name of a class."""

from __future__ import annotations

from unlearn.core.errors import nearest
from unlearn.data.datasets.base import Dataset
from unlearn.data.requests.records.record import whole_number


def class_number(item: int | str, dataset: Dataset) -> int:
    """The number of a class from its number or its name.

    Args:
        item: a number from 0, also as text, or a name in `dataset.class_names`.
        dataset: the data set.

    Raises:
        ValueError: it is neither, the name of a class that has another number, or a number that torchvision gives to
            another class.
    """
    number, names = whole_number(item), dataset.class_names
    # 1.0 is the number 1, which may be the name of a class.
    spellings = [str(item), *([] if number is None else [str(number)])]
    by_name = next((names.index(spelling) for spelling in spellings if spelling in names), None)
    if number is None and by_name is None:
        raise ValueError(f"{item!r}{nearest(str(item), names)}")
    if number is not None and by_name not in (None, number):
        raise ValueError(f"{item!r}, the name of class {by_name} and the number of {_class_name(number, names)}")
    if by_name is None and dataset.class_ambiguity:
        raise ValueError(f"the number {item!r}, where {dataset.class_ambiguity}: use the name of the class")
    return int(number if by_name is None else by_name)  # type: ignore[arg-type]


def _class_name(number: int, names: tuple[str, ...]) -> str:
    return repr(names[number]) if 0 <= number < len(names) else "none"
