"""Compares the normalisation and the classes that a checkpoint contains with those of the data set."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from unlearn.core.errors import DataError, as_one_line
from unlearn.models.checkpoints.containers import Content, damaged_file
from unlearn.models.checkpoints.content import CONVERT
from unlearn.models.checkpoints.match import MAX_NAME, TRAINING_STATE, Match
from unlearn.models.checkpoints.state_dicts import list_items
from unlearn.models.checkpoints.tensors import StoredTensor, as_stored_tensor
from unlearn.models.checkpoints.unpickle import Instance

# Names of the buffers of a net that normalises its own input.
NORMALISATION = re.compile(
    r"(^|\.)((\w*(norm|preproc|transform|scal|standard)\w*)\.)?((pixel|image|img|input|data|norm)_)?(?P<moment>mean|std)$",
    re.IGNORECASE,
)
# Other names count only as a pair (new_mean and new_std, mu and sigma) with one value per channel.
PAIRED = re.compile(
    r"(?P<before>.*?)(?<![a-z])(?P<moment>means?|mu|stds?|stdevs?|sigma|sd)(?P<after>_?)$", re.IGNORECASE
)
SPREADS = {"mean": ("std", "stdev", "sd"), "means": ("stds", "stdevs"), "mu": ("sigma", "std")}
OF_OTHERS = re.compile(  # statistics of other things than pixels
    r"(^|[^a-z])(running|batch|label|target|loss|score|reward|grad|logit|feature|latent|weight|init|noise|prior|posterior)"
    r"([^a-z]|$)",
    re.IGNORECASE,
)
OF_DATA = re.compile(r"norm|preproc|transform|data|input|image|img|pixel|config|cfg|args|param|meta", re.IGNORECASE)
MAX_CHANNELS = 2**10  # of a mean or a standard deviation
TOLERANCE = 0.002  # published means are rounded to three digits
GREY_LEVELS = 255.0

CLASS_LISTS = {"classes", "classnames", "categories", "labels", "labelnames", "idxtoclass", "id2label", "idx2label"}
CLASS_NUMBERS = {"classtoidx", "classtoindex", "label2id", "label2idx", "class2idx"}

Normalisation = tuple[Sequence[float], Sequence[float]]


@dataclass(frozen=True)
class ExtraValue:
    """A value next to the weights, with its keys in the file; a buffer is a tensor of the state dict itself."""

    name: str
    value: Any
    is_buffer: bool = False

    @property
    def shown(self) -> str:
        """Its keys, for messages."""
        return as_one_line(self.name)


def compare_normalisation(match: Match, content: Content, normalisation: Normalisation, path: Path) -> None:
    """Refuse a file with another normalisation than the data set.

    Args:
        match: the state dict of the file; its surplus tensors are compared too.
        content: the whole file.
        normalisation: mean and standard deviation of the data set, per channel, of pixels in [0, 1].
        path: the path of the file.

    Raises:
        DataError: the normalisation differs; the message gives both.
    """
    buffers = [ExtraValue(name, tensor, is_buffer=True) for name, tensor in match.surplus.items()]
    values = [extra for extra in (*buffers, *_extra_values(match, content)) if len(extra.name) <= MAX_NAME]
    names = {extra.name.lower() for extra in values}
    for extra in values:
        moment = _moment(extra, names, len(normalisation[0]), content)
        if moment is None:
            continue
        key, ours = ("mean", "std")[moment], normalisation[moment]
        theirs = _numbers(extra.value, content, path)
        if theirs is None or len(theirs) not in (1, len(ours)):
            continue
        theirs = [v / GREY_LEVELS for v in theirs] if max(theirs) > 1.5 else theirs  # for pixels in [0, 255]
        theirs = theirs * (len(ours) // len(theirs))
        if not all(abs(one - other) <= TOLERANCE for one, other in zip(theirs, ours, strict=True)):
            shown = ", ".join(f"{value:.4g}" for value in theirs)
            raise DataError(f"dataset.{key}: expected [{shown}], the value of {extra.shown} in {path}, got {[*ours]}")


def compare_classes(match: Match, content: Content, names: Sequence[str], path: Path) -> None:
    """Refuse a file with other classes than the data set, or in another order.

    Args:
        match: the state dict of the file.
        content: the whole file.
        names: names of the classes of the data set in the order of their numbers; empty: nothing is compared.
        path: the path of the file.

    Raises:
        DataError: the classes differ; the message gives the first difference.
    """
    ours = [_plain(name) for name in names]
    for extra in _extra_values(match, content) if names else ():
        theirs = _classes(extra)
        if theirs is None or [_plain(name) for name in theirs] == ours:
            continue
        if extra.name.rpartition("/")[2].lower() == "labels" and len(theirs) != len(ours):
            continue  # labels of something else, such as the curves of a plot
        same = sorted(map(_plain, theirs)) == sorted(ours)
        pairs = enumerate(zip(theirs, ours, strict=False))
        number = next((i for i, (name, other) in pairs if _plain(name) != other), None)
        if number is None:
            difference = f"{len(theirs)} classes, not {len(ours)}"
        else:
            difference = f"class {number} is {as_one_line(theirs[number])!r}, not {names[number]!r}"
        got = "the same classes in another order" if same else "another set of classes"
        hint = "" if same else f" (same classes under other names? save {CONVERT})"
        raise DataError(
            f"checkpoint: expected the data set's classes in their order, got {got} as {extra.shown} in {path}: "
            f"{difference}{hint}"
        )


def _extra_values(match: Match, content: Content) -> Iterator[ExtraValue]:
    """Yield the values in the containers around the state dict, and in containers next to it that hold no model."""
    value, keys = content.payload, match.state_dict.path
    for depth in range(len(keys) + 1):
        inner = {str(name): item for name, item in list_items(value)}
        for name, item in inner.items():
            path = [*keys[:depth], name]
            if depth < len(keys) or as_stored_tensor(item, content.storages) is None:
                yield ExtraValue("/".join(path), item)
            if name not in keys[depth : depth + 1] and not TRAINING_STATE.search(name.lower()):
                yield from (ExtraValue("/".join([*path, str(key)]), part) for key, part in _leaves(item, content))
        value = inner.get(keys[depth]) if depth < len(keys) else None


def _leaves(item: Any, content: Content) -> list[tuple[Any, Any]]:
    """The items of a mapping; empty for one that holds weights."""
    if not isinstance(item, dict | Instance) or as_stored_tensor(item, content.storages) is not None:
        return []
    items = list_items(item)
    inner = (pair for _, part in items if isinstance(part, dict | Instance) for pair in list_items(part))
    tensors = [str(name) for name, part in (*items, *inner) if as_stored_tensor(part, content.storages) is not None]
    return items if all(len(name) <= MAX_NAME and PAIRED.match(name) for name in tensors) else []


def _moment(extra: ExtraValue, names: set[str], channels: int, content: Content) -> int | None:
    """Return 0 for a mean of pixels, 1 for a standard deviation, None for anything else.

    Args:
        extra: the value.
        names: the names of all such values, in lower case.
        channels: the number of channels of the data set.
        content: the whole file.
    """
    dotted = extra.name.replace("/", ".")
    if extra.is_buffer and (known := NORMALISATION.search(dotted)):
        return int(known["moment"].lower() != "mean")
    match = PAIRED.match(dotted)
    if match is None or OF_OTHERS.search(match["before"]) or _size(extra.value, content) not in (1, channels):
        return None
    moment, before, after = match["moment"].lower(), extra.name[: len(match["before"])].lower(), match["after"]
    if before and type(extra.value) in (int, float) and not OF_DATA.search(before):
        return None  # a score
    for mean, spreads in SPREADS.items():
        partners = spreads if moment == mean else (mean,) if moment in spreads else ()
        if any(f"{before}{partner}{after}" in names for partner in partners):
            return int(moment != mean)
    return None


def _size(value: Any, content: Content) -> int | None:
    tensor = as_stored_tensor(value, content.storages)
    if tensor is not None:
        return math.prod(tensor.shape)
    if isinstance(value, list | tuple):
        return len(value)
    return 1 if type(value) in (int, float) else None


def _numbers(value: Any, content: Content, path: Path) -> list[float] | None:
    """The numbers of a tensor, an array, a list or a number; None if the value holds others, or not finite ones."""
    tensor = as_stored_tensor(value, content.storages)
    if tensor is not None:
        if tensor.kind != "dense" or not 0 < math.prod(tensor.shape) <= MAX_CHANNELS:
            return None
        values = read_values(tensor, path)
        if values.is_complex():
            return None
        listed: list[Any] = values.double().flatten().tolist()
    else:
        listed = [*value] if isinstance(value, list | tuple) else [value]
    is_numbers = all(type(item) in (int, float) and math.isfinite(item) for item in listed)
    return [float(item) for item in listed] if listed and is_numbers else None


def read_values(tensor: StoredTensor, path: Path) -> Tensor:
    """Read the values of a tensor.

    Raises:
        DataError: the file is damaged.
    """
    try:
        return tensor.read().detach()
    except Exception as error:  # a damaged file can raise anything
        raise damaged_file(path, error) from error


def _classes(extra: ExtraValue) -> list[str] | None:
    """Names of classes in the order of their numbers; None if the value holds something else."""
    key = re.sub(r"[^a-z0-9]", "", extra.name.rpartition("/")[2].lower())
    value = extra.value
    if isinstance(value, Instance):
        value = dict(list_items(value))  # an OrderedDict
    if isinstance(value, Mapping) and key in CLASS_NUMBERS | CLASS_LISTS:
        pairs = {_number(number): name for name, number in value.items() if isinstance(name, str)}
        if key in CLASS_LISTS and not (pairs and all(number is not None for number in pairs)):
            pairs = {_number(number): name for number, name in value.items()}
        names: list[Any] = [pairs.get(number) for number in range(len(value))]
    elif key in CLASS_LISTS and isinstance(value, list | tuple):
        names = [*value]
    else:
        return None
    return names if names and all(isinstance(name, str) for name in names) and len(set(names)) == len(names) else None


def _number(value: Any) -> int | None:
    if isinstance(value, str):  # as JSON writes keys
        return int(value) if re.fullmatch(r"\d{1,9}", value, re.ASCII) else None
    return value if type(value) is int else None


def _plain(name: str) -> str:
    """Normalise the case and the separators of a name."""
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()
